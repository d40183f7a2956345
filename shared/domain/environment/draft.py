"""The environment's root: one release at a time goes through the fleet, by orders that tell circuits in slices.

How far the fleet is, is counted: nothing that a circuit does writes to this root.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from math import floor
from typing import Any

from shared.domain import approvals
from shared.domain import messages as m
from shared.domain.alerts.causes import Cause
from shared.domain.alerts.draft import AlertingDraft
from shared.domain.environment import messages as e
from shared.domain.environment.release import (
    BEFORE_WAVES,
    ENDS,
    ENVIRONMENT_RELEASE,
    FLEET_ORDER,
    OWNING,
    RESTARTS,
    WAVES,
    EnvironmentRelease,
    FleetOrder,
    Phase,
    Purpose,
)
from shared.domain.machine import Due, Item, Kind, Line, NotAllowed, NotNow, Root, Then, backoff
from shared.domain.operation import expect_look, in_operation, operated
from shared.domain.release import GATES
from shared.domain.release import Phase as ReleasePhase
from shared.domain.values import Gate, version_numbers

KINDS: dict[type[Item], Kind] = {kind.item: kind for kind in (ENVIRONMENT_RELEASE, FLEET_ORDER)}
BROKEN = ("failed", "errored", "rolled back", "rolling back")
"""Phases of an update that count against the failure budget."""


class Environment(Root):
    """`newest` is the highest version heard of, `live` the one that the fleet was last brought to as a whole."""

    newest: str = ""
    live: str = ""


def environment_release_id(root: str, version: str) -> str:
    """`sensor-forecast-env:1.1.0`"""
    return f"{root}:{version}"


class EnvironmentDraft(AlertingDraft):
    root: Environment

    def open(self) -> Iterator[EnvironmentRelease]:
        """The open releases, oldest version first."""
        found = [i for i in self.items.values() if isinstance(i, EnvironmentRelease) and i.phase not in ENDS]
        yield from sorted(found, key=lambda release: version_numbers(release.version))

    def hear(self, event: m.Event) -> None:
        """Anybody can tell of a version: the newest is the one that the platform has described."""

    # ------------------------------------------------------------------------------------------------- what a fact is

    def classify(self, event: m.Event) -> Sequence[Line]:
        match event:
            case m.Outcome():
                return [self._outcome(event)]
            case e.EnvironmentRegistered():
                return self._registered(event)
            case m.ApprovalDecided():
                return [self._decided(event)]
            case m.RestartRequested():
                return [self._restarted(event)]
            case e.HaltOrdered() | e.WavesResumed() | e.EnvironmentRollbackOrdered():
                return [self._ordered(event)]
        raise NotAllowed(f"the environment does not hear {type(event).__name__}")

    def _registered(self, event: e.EnvironmentRegistered) -> list[Line]:
        identity = environment_release_id(self.root.id, event.version)
        newest = self.root.newest
        if identity in self.items or event.version == newest:
            raise NotNow(f"{identity} is known; registering it again changes nothing")
        fields = event.model_dump()
        created = {"id": identity, "version": event.version}
        if newest and version_numbers(event.version) < version_numbers(newest):
            older = e.OlderEnvironmentRegistered(**fields, successor=newest)
            return [Line(ENVIRONMENT_RELEASE, older, created=created)]
        owner = next((release for release in self.open() if release.phase in OWNING), None)
        begun = e.EnvironmentRegisteredWhileOwned(**fields, owner=owner.id) if owner else event
        return [Line(ENVIRONMENT_RELEASE, begun, created=created)]

    def _decided(self, event: m.ApprovalDecided) -> Line:
        release = self.items.get(event.approval.rsplit(":", 2)[0])
        approval = approvals.expect_open(release, event)
        assert isinstance(release, EnvironmentRelease)
        if event.decision == "reject":
            return Line(ENVIRONMENT_RELEASE, m.ApprovalRejected(**event.model_dump()), release.id)
        answer = approvals.not_enough(release, approval, event) or self._opened(approval.gate, event)
        return Line(ENVIRONMENT_RELEASE, answer, release.id)

    def _opened(self, gate: Gate, event: m.ApprovalDecided) -> m.GateApproved:
        fields = event.model_dump()
        if gate is Gate.REGISTRY:
            return m.RegistryApproved(**fields)
        if standstill := self.rules.standstill(self.now):
            return m.ProductionApprovedWhileHeld(**fields, note=f"no wave begins yet: {standstill}")
        return m.ProductionApproved(**fields)

    def _ordered(self, event: e.HaltOrdered | e.WavesResumed | e.EnvironmentRollbackOrdered) -> Line:
        identity = environment_release_id(self.root.id, event.version)
        if identity not in self.items:
            raise NotAllowed(f"{identity} is not under way, and not live: nothing can be ordered of it", "closed")
        return Line(ENVIRONMENT_RELEASE, event, identity)

    def _restarted(self, event: m.RestartRequested) -> Line:
        """The step at which an ended release goes on, if it may."""
        release = self.items.get(event.release)
        if not isinstance(release, EnvironmentRelease):
            raise NotAllowed(f"there is no release {event.release}", "unknown")
        if release.phase not in RESTARTS[event.how]:
            possible = " or ".join(RESTARTS[event.how])
            raise NotAllowed(f"{release.id} is {release.phase}; '{event.how}' is for one that is {possible}", "closed")
        if self.root.newest and version_numbers(self.root.newest) > version_numbers(release.version):
            raise NotAllowed(f"a newer version, {self.root.newest}, is known: release that")
        if owner := next((other for other in self.open() if other.phase in OWNING), None):
            raise NotAllowed(f"{owner.id} is {owner.phase}; try again when it has ended")
        restarted = _RESTARTED.get(Phase(release.ended_in))
        if restarted is None:
            raise NotAllowed(
                f"{release.id} ended while it was {release.ended_in}: roll back each circuit that still serves with it"
            )
        return Line(ENVIRONMENT_RELEASE, restarted(**event.model_dump()), release.id)

    def _outcome(self, event: m.Outcome) -> Line:
        item = self.items.get(event.item)
        if item is None or item.step != event.step:
            raise NotNow(f"{event.item} has moved on since {event.command_id} was given")
        if isinstance(item, FleetOrder):
            return Line(FLEET_ORDER, event, item.id)
        assert isinstance(item, EnvironmentRelease)
        expect_look(item.operation, event)
        if isinstance(event, e.EnvironmentMissing):
            if event.looks != item.looks:
                raise NotNow("another look came first")
            if self.now - item.created_at >= self.rules.tag_grace:
                event = e.EnvironmentNeverCame(**event.model_dump())
        if isinstance(event, e.EnvironmentDescribed):
            event = self._described(item, event)
        if isinstance(event, e.UpdatesCounted):
            event = self._counted(item, event)
        if isinstance(event, m.DeadlinePassed) and item.phase in WAVES and self.rules.standstill(self.now):
            event = m.DeadlineMoved(**event.model_dump())
        return Line(ENVIRONMENT_RELEASE, event, item.id)

    def _described(self, item: EnvironmentRelease, event: e.EnvironmentDescribed) -> m.Outcome:
        if not (self.root.newest or event.served or event.candidates):
            return e.FirstEnvironmentDescribed(**event.model_dump())
        why = self._breaks(item.version, event.tags, event.served)
        return e.EnvironmentBreaks(**event.model_dump(), why=why) if why else event

    def _breaks(self, version: str, tags: Mapping[str, str], served: Sequence[str]) -> str:
        """Why models that are there cannot be scored with the version; nothing when they can."""
        new_major = bool(served) and version_numbers(version)[0] not in {version_numbers(each)[0] for each in served}
        if tags.get("backward_compatible") == "true" and tags.get("requires_retrain") == "false" and not new_major:
            return ""
        said = f"its MAJOR number is not that of {' or '.join(served)}, which serve" if new_major else "its tags say so"
        return (
            f"{version} is not for models that were trained before it ({said}). Set environment_version: {version} in"
            " the circuits' files and merge: they are trained with it, and model and environment are released together"
        )

    # ----------------------------------------------------------------------------------------- what a count comes to

    def _counted(self, release: EnvironmentRelease, event: e.UpdatesCounted) -> e.UpdatesCounted:
        if event.looks != release.looks:
            raise NotNow("another look came first")
        return self._meaning(release, event)(**event.model_dump())

    def _meaning(self, release: EnvironmentRelease, event: e.UpdatesCounted) -> type[e.UpdatesCounted]:
        broken = sum(event.counts.get(phase, 0) for phase in BROKEN) - release.forgiven
        reached = broken + sum(event.counts.get(phase, 0) for phase in ("tested", "observing", "left"))
        over_budget = broken > floor(self.rules.failure_budget * (reached + event.pending))
        match release.phase:
            case Phase.TESTING_ALL if event.pending:
                return e.UpdatesGoOn
            case Phase.TESTING_ALL if over_budget:
                return e.TooManyTestsFailed
            case Phase.TESTING_ALL:
                return e.EveryPairTested if event.counts.get("tested") else e.NothingToUpdate
            case Phase.READY:
                return e.UpdatesGoOn if self.rules.standstill(self.now) else e.FreezeEnded
            case Phase.ROLLING_BACK:
                return e.UpdatesGoOn if event.pending else e.EveryUpdateUndone
            case Phase.OBSERVING if over_budget:
                return e.BudgetExceeded
            case Phase.OBSERVING:
                over = self.now - release.since >= self.rules.environment_observation
                return e.FleetObserved if over and not event.pending else e.UpdatesGoOn
        if over_budget or (release.phase == Phase.UPDATING_CANARIES and broken > 0):
            return e.BudgetExceeded
        if event.pending or self.rules.standstill(self.now):  # in a freeze no further wave begins
            return e.UpdatesGoOn
        return e.WaveEnded if release.more else e.LastWaveEnded

    # --------------------------------------------------------------------------------------------------- what it does

    def subject(self, item: Item, cause: str) -> str:
        if cause == Cause.APPROVAL_AGEING and isinstance(item, EnvironmentRelease):
            return approvals.gate_of(item)
        return super().subject(item, cause)

    def says(self, item: Item) -> str:
        open_gate = approvals.still_open(item) if isinstance(item, EnvironmentRelease) else ""
        return open_gate or super().says(item)

    def reminders(self, item: Item, then: Then) -> Sequence[Due]:
        return approvals.reminders(self.root.id, item, then) if isinstance(item, EnvironmentRelease) else ()

    def moved(self, item: Item, event: m.Event, then: Then, begun: bool) -> Item:
        if isinstance(item, FleetOrder):
            told = len(event.commands) if isinstance(event, e.CircuitsTold) else 0
            left = None if item.remaining is None else item.remaining - told
            named = item.canaries
            if isinstance(event, e.CircuitsTold) and item.purpose is Purpose.CANARIES:
                named = tuple(str(command["root"]) for command in event.commands)
            return item.model_copy(update={"remaining": left, "canaries": named})
        assert isinstance(item, EnvironmentRelease)
        kept = item.operation if not begun or item.phase in ENDS else None
        changed: dict[str, Any] = {"operation": operated(kept, event, self.now)}
        before = self.items.get(item.id)
        if before and item.phase in ENDS and before.phase not in ENDS:
            changed["ended_in"] = before.phase
        if begun:
            changed["looks"] = 0
        elif isinstance(event, (e.EnvironmentMissing, e.UpdatesCounted)):
            changed["looks"] = item.looks + 1
        if isinstance(event, m.ApprovalDecided) and item.approval:
            changed["approval"] = approvals.answered(item.approval, event)
        if isinstance(event, m.ApprovalRequested) and item.approval:
            changed["approval"] = item.approval.model_copy(update={"asked_at": event.asked_at})
        if isinstance(event, m.DeadlineMoved):
            changed["reason"] = ""
        if isinstance(event, e.EveryPairTested):
            changed["forgiven"] = sum(event.counts.get(phase, 0) for phase in BROKEN)
        if isinstance(event, e.WavesResumed):
            changed["forgiven"] = sum(item.counts.get(phase, 0) for phase in BROKEN)
        if m.RequestApproval in then.commands:
            shown = evidence(item, GATES[ReleasePhase(item.phase)], self.root.live)
            changed |= approvals.opened(item, approvals.ask(item, shown, self.rules, self.now))
        elif item.phase in ENDS and item.approval:
            changed["withdrawn"] = item.approval.id
        return item.model_copy(update=changed)

    def settle(self, item: Item, event: m.Event) -> None:
        if isinstance(event, e.EnvironmentDescribed) and isinstance(item, EnvironmentRelease):
            newest = max(item.version, self.root.newest or item.version, key=version_numbers)
            self.root = self.root.model_copy(update={"newest": newest})
        if isinstance(item, EnvironmentRelease) and item.phase == Phase.LIVE:
            self.root = self.root.model_copy(update={"live": item.version})
        if isinstance(item, EnvironmentRelease) and item.phase == Phase.ROLLED_BACK and self.root.live == item.version:
            self.root = self.root.model_copy(update={"live": ""})

    def follow(self, item: Item, event: m.Event) -> Iterable[Line]:
        if isinstance(item, FleetOrder):
            yield from self._told(item, event)
            return
        assert isinstance(item, EnvironmentRelease)
        if item.phase == Phase.CLASSIFIED:
            yield from self._superseded(by=item)
        if purpose := self._purpose(item, event):
            yield from self._order(item, purpose)
        if item.phase == Phase.UPDATING_CANARIES:
            taken = e.FleetTaken(root=self.root.id, successor=item.id)
            yield from [Line(ENVIRONMENT_RELEASE, taken, live.id) for live in self.open() if live.phase == Phase.LIVE]
        if not any(release.phase in OWNING for release in self.open()):
            waiting = [release for release in self.open() if release.phase == Phase.WAITING]
            freed = e.FleetFreed(root=self.root.id)
            yield from [Line(ENVIRONMENT_RELEASE, freed, release.id) for release in waiting[-1:]]

    def _superseded(self, by: EnvironmentRelease) -> list[Line]:
        superseded = m.SupersededByNewer(root=self.root.id, successor=by.id)
        newest = version_numbers(by.version)
        before = [release for release in self.open() if release.phase in BEFORE_WAVES]
        older = [release for release in before if version_numbers(release.version) < newest]
        return [Line(ENVIRONMENT_RELEASE, superseded, release.id) for release in older]

    @staticmethod
    def _purpose(item: EnvironmentRelease, event: m.Event) -> Purpose | None:
        """What the fleet is to be told, now that the release has come here."""
        match event, Phase(item.phase):
            case m.EnvironmentPromoted() | m.RestartedAtTest(), _:
                return Purpose.OFFER
            case m.ProductionApproved() | e.FreezeEnded(), _:
                return Purpose.CANARIES
            case e.WaveEnded() | e.WavesResumed(), _:
                return Purpose.WAVE
            case e.EnvironmentRollbackOrdered(), _:
                return Purpose.UNDO
            case _, phase if phase in ENDS and phase != Phase.ROLLED_BACK and item.orders:
                return Purpose.CONCLUDE
        return None

    def _order(self, item: EnvironmentRelease, purpose: Purpose) -> Iterator[Line]:
        """A new order, which the release waits for."""
        number = item.orders + 1
        identity = f"{item.id}!{purpose}.{number}"
        changed = {"orders": number, "order": identity}
        self.items[item.id] = self._decision.items[item.id] = item.model_copy(update=changed)
        sizes = {Purpose.CANARIES: self.rules.canary_circuits, Purpose.WAVE: self.rules.wave_circuits}
        created = {
            "id": identity,
            "purpose": purpose,
            "release": item.id,
            "version": item.version,
            "cursor": item.cursor if purpose is Purpose.WAVE else "",
            "remaining": sizes.get(purpose),
            "canaries": item.canaries,
        }
        yield Line(FLEET_ORDER, e.FleetOrdered(root=self.root.id), created=created)

    def _told(self, order: FleetOrder, event: m.Event) -> Iterator[Line]:
        release = self.items.get(order.release)
        waits = isinstance(release, EnvironmentRelease) and release.order == order.id and release.phase not in ENDS
        if not isinstance(event, e.LastCircuitsTold) or not isinstance(release, EnvironmentRelease) or not waits:
            return
        if order.purpose is Purpose.CANARIES:
            told = e.FleetTold(root=self.root.id, cursor="", more=True, canaries=order.canaries)
        elif order.purpose is Purpose.WAVE:
            told = e.FleetTold(root=self.root.id, cursor=order.cursor, more=order.more, canaries=release.canaries)
        else:
            told = e.FleetTold(root=self.root.id, cursor=release.cursor, more=release.more, canaries=release.canaries)
        if release.phase in (*WAVES, Phase.TESTING_ALL, Phase.ROLLING_BACK):
            yield Line(ENVIRONMENT_RELEASE, told, release.id)

    def offered(self, item: Item) -> Mapping[str, Any]:
        offered: dict[str, Any] = {"phase": item.phase, "reason": item.reason}
        if isinstance(item, FleetOrder):
            return {**offered, **item.model_dump(include={"purpose", "version", "cursor", "remaining", "canaries"})}
        assert isinstance(item, EnvironmentRelease)
        offered |= {
            "purpose": item.phase,
            **in_operation(item.operation),
            "withdrawn": item.withdrawn,
            "environment": item.version,
            **item.model_dump(include={"version", "cursor", "canaries", "order"}),
        }
        if item.operation is None:
            offered["looks"] = item.looks
        offered |= approvals.in_approval(item.approval)
        return offered

    def further(self, item: Item, event: m.Event) -> Sequence[m.Command]:
        return [m.decode(document) for document in event.commands] if isinstance(event, e.CircuitsTold) else ()

    def delay(self, item: Item) -> timedelta:
        if not isinstance(item, EnvironmentRelease):
            return timedelta(0)
        looks = item.operation.looks if item.operation else item.looks
        return backoff(looks, self.rules.first_look, self.rules.longest_look)


_RESTARTED: Mapping[Phase, type[m.RestartRequested]] = {
    Phase.WAITING: m.RestartedAtRegistration,
    Phase.REGISTERED: m.RestartedAtRegistration,
    Phase.CLASSIFIED: m.RestartedAtRegistration,
    Phase.AWAITING_REGISTRY_APPROVAL: m.RestartedAtRegistryGate,
    Phase.PROMOTING: m.RestartedAtPromotion,
    Phase.TESTING_ALL: m.RestartedAtTest,
    # The fleet may be another since people were asked: what was tested and still holds is not tested again.
    Phase.AWAITING_PRODUCTION_APPROVAL: m.RestartedAtTest,
    Phase.READY: m.RestartedAtTest,
}
"""Where a release goes on that ended in each phase."""


def evidence(release: EnvironmentRelease, gate: Gate, live: str) -> dict[str, Any]:
    """What a person is shown and what their approval is bound to."""
    shown: dict[str, Any] = {
        "release": release.id,
        "target": "shared registry" if gate is Gate.REGISTRY else "production",
        "candidate": {"environment": release.version, "tags": dict(release.tags)},
        "live": live,
        "preview": dict(release.preview),
    }
    if gate is Gate.PRODUCTION:
        shown["tests"] = {"circuits": dict(release.counts), "troubled": list(release.troubled)}
        shown["rollback"] = "each circuit back to the environment it has now, which its deployment records"
    return shown
