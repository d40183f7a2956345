"""Releases: what each fact means for a circuit's candidates, and who owns its test and its production deployment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.domain import approvals
from shared.domain import messages as m
from shared.domain import release as r
from shared.domain.circuit.draft import Part
from shared.domain.hold import HOLD
from shared.domain.machine import Item, Line, NotAllowed, NotNow, Then, backoff
from shared.domain.operation import expect_look, in_operation, operated
from shared.domain.promotion import findings
from shared.domain.release import RELEASE, Phase, Release, release_id
from shared.domain.scoring import LIMIT_TAGS, ScoringRun, limits
from shared.domain.values import Gate, Pair, version_numbers

_KEPT_TAGS = ("cutoff_date", "mae", "rmse", "r2", "naive_mae", "skill", *LIMIT_TAGS)


class Releases(Part[Release]):
    kind = RELEASE
    hears = (m.ModelRegistered, m.ApprovalDecided, m.GateOverridden, m.CancelRequested, m.RestartRequested)

    def open(self) -> Iterator[Release]:
        """The open releases, oldest version first."""
        found = [i for i in self.draft.items.values() if isinstance(i, Release) and i.phase not in r.ENDS]
        yield from sorted(found, key=lambda release: release.version)

    def classify(self, event: m.Event) -> list[Line]:
        match event:
            case m.ModelRegistered():
                return self._registered(event)
            case m.CancelRequested():
                return self._cancelled(event)
            case m.RestartRequested():
                return self._restarted(event)
            case m.GateOverridden():
                overridden = event.approval.rsplit(":", 2)[0]
                approvals.expect_blocked(self.draft.items.get(overridden), event, self.rules)
                return [Line(RELEASE, event, overridden)]
        assert isinstance(event, m.ApprovalDecided)
        return self._decided(event)

    def _registered(self, event: m.ModelRegistered) -> list[Line]:
        identity = release_id(self.root.id, event.version)
        fields = event.model_dump()
        known = self.draft.items.get(identity)
        if known is not None:
            if known.phase != Phase.AWAITING_REGISTRY_APPROVAL:
                raise NotNow(
                    f"{identity} is {known.phase}; its tags are read before its first gate, and not afterwards"
                )
            return [Line(RELEASE, m.ModelRegisteredAgain(**fields), identity)]
        created = {
            "id": identity,
            "circuit": self.root.id,
            "version": event.version,
            "workspace": event.workspace,
        }
        newest = self.root.newest_version
        if event.version < newest:
            successor = release_id(self.root.id, newest)
            return [Line(RELEASE, m.OlderModelRegistered(**fields, successor=successor), created=created)]
        if event.version == newest:
            raise NotNow(f"{identity} has ended; registering it again changes nothing")
        return [Line(RELEASE, event, created=created)]

    def _named(self, event: m.ReleaseOrder) -> Release:
        release = self.draft.items.get(event.release)
        if not isinstance(release, Release):
            raise NotAllowed(f"there is no release {event.release}", "unknown")
        return release

    def _cancelled(self, event: m.CancelRequested) -> list[Line]:
        release = self._named(event)
        if release.phase in r.ENDS:
            raise NotAllowed(f"{release.id} has ended: it is {release.phase}", "closed")
        if release.phase not in r.UP_TO_READY:
            raise NotAllowed(f"{release.id} is {release.phase}: roll {self.root.id} back instead")
        return [Line(RELEASE, event, release.id)]

    def _restarted(self, event: m.RestartRequested) -> list[Line]:
        """The step at which an ended release begins anew, if it may."""
        release = self._named(event)
        if not self.rules.configured:
            raise NotAllowed(f"{self.root.id} is not in the configuration any more: nothing new is released to it")
        if release.phase not in r.RESTARTS[event.how]:
            possible = " or ".join(r.RESTARTS[event.how])
            raise NotAllowed(f"{release.id} is {release.phase}; '{event.how}' is for one that is {possible}", "closed")
        newer = [other for other in self.open() if other.version > release.version]
        if newer:
            raise NotAllowed(f"a newer version is on its way: {newer[-1].id} is {newer[-1].phase}")
        if self.root.serving and self.root.serving.model > release.version:
            raise NotAllowed(f"a newer version serves: {self.root.serving}; to go back to an older one, roll back")
        if release.environment and release.pair in self.root.condemned:
            raise NotAllowed(f"{release.pair} was rolled back and does not return: train a new version")
        queues = self.rules.supersede == "queue" and release.ended_in in (Phase.REGISTERED, Phase.QUEUED)
        if not queues and any(other.id != release.id and other.phase in r.UP_TO_READY for other in self.open()):
            raise NotAllowed(f"{next(self.open()).id} is a candidate already; cancel it first")
        return [Line(RELEASE, self._restart(release)(**event.model_dump()), release.id)]

    def _restart(self, release: Release) -> type[m.RestartRequested]:
        tested = release.ended_in in (Phase.AWAITING_PRODUCTION_APPROVAL, Phase.READY, Phase.DEPLOYING_TO_PRODUCTION)
        match Phase.TESTING if tested and self._meant(release) != release.pair else release.ended_in:
            case Phase.REGISTERED | Phase.QUEUED:
                return m.RestartedAtRegistration
            case Phase.AWAITING_REGISTRY_APPROVAL:
                return m.RestartedAtRegistryGate
            case Phase.PROMOTING | Phase.PROMOTING_ENVIRONMENT:
                return m.RestartedAtPromotion
            case Phase.WAITING_FOR_TEST | Phase.DEPLOYING_TO_TEST | Phase.TESTING:
                if self.root.test_owner:
                    raise NotAllowed(
                        f"{self.root.test_owner} owns the test deployment now; try again when it has ended"
                    )
                return m.RestartedAtTest
            case Phase.DEPLOYING_TO_PRODUCTION if release.champion == self.root.serving:
                waits = self.root.production_owner or self.draft.withheld()
                return m.RestartedAtReady if waits else m.RestartedAtProduction
        return m.RestartedAtProductionGate

    def _decided(self, event: m.ApprovalDecided) -> list[Line]:
        release = self.draft.items.get(event.approval.rsplit(":", 2)[0])
        approval = approvals.expect_open(release, event)
        assert isinstance(release, Release)
        if event.lift_hold and not self._may_lift(approval):
            raise NotAllowed(
                f"the evidence of {event.approval} shows no hold that stands: answer without lifting it, or resume the"
                " circuit",
                "changed",
            )
        answered = self._answer(release, approval, event)
        lines = [Line(RELEASE, answered, release.id)]
        lifts = [answer for answer in (*approval.answers, event) if answer.lift_hold]
        if lifts and isinstance(answered, m.GateApproved) and self._may_lift(approval):
            reason = f"lifted with the approval of {release.id}"
            lifted = m.HoldLifted(root=self.root.id, by=lifts[0].person.username, reason=reason)
            lines.append(Line(HOLD, lifted, self.root.hold))
        return lines

    def _may_lift(self, approval: r.Approval) -> bool:
        """Whether the hold that stands is the one that people were shown with this gate."""
        return bool(self.root.hold) and approval.evidence.get("hold", {}).get("id") == self.root.hold

    def _answer(self, release: Release, approval: r.Approval, event: m.ApprovalDecided) -> m.Event:
        fields = event.model_dump()
        if event.decision == "reject":
            return m.ApprovalRejected(**fields)
        if counted := approvals.not_enough(release, approval, event):
            return counted
        if approval.gate is Gate.REGISTRY:
            return m.RegistryApproved(**fields)
        if self.root.production_owner:
            return m.ProductionApprovedWhileOwned(**fields, note=f"waits for {self.root.production_owner}")
        if withheld := self.draft.withheld():
            return m.ProductionApprovedWhileHeld(**fields, note=f"not deployed yet: {withheld}")
        return m.ProductionApproved(**fields)

    def outcome(self, release: Release, event: m.Outcome) -> m.Event:
        expect_look(release.operation, event)
        if isinstance(event, m.TagsMissing):
            if release.phase != Phase.REGISTERED:
                raise NotNow("the tags that the gate was asked with still stand")
            if self.now - release.created_at >= self.rules.tag_grace:
                return m.TagsNeverCame(**event.model_dump())
        if isinstance(event, m.ModelDescribed) and release.phase == Phase.REGISTERED:
            ahead = self._ahead(release) if self.rules.supersede == "queue" else None
            return m.ModelDescribedBehind(**event.model_dump(), behind=ahead.id) if ahead else event
        if isinstance(event, m.ModelDescribed):
            if dict(event.tags) == dict(release.tags):
                raise NotNow("the tags are as they were")
            return m.EvidenceChanged(**event.model_dump())
        if release.phase == Phase.READY:
            return self._at_ready(release, event)
        if release.phase == Phase.OBSERVING and isinstance(event, m.DeadlinePassed) and self._time_is_over(release, 0):
            return m.ObservationTimeOver(**event.model_dump())
        if isinstance(event, m.ModelPromoted) and self.root.test_owner:
            return m.ModelPromotedWhileTestOwned(**event.model_dump())
        if isinstance(event, m.TestInferenceValidated) and self._meant(release) != release.pair:
            return m.TestedBeforeEnvironmentChanged(**event.model_dump())
        return event

    def _ahead(self, release: Release) -> Release | None:
        """The newest older version that is still on its way to production."""
        on_its_way = (*r.UP_TO_READY, Phase.DEPLOYING_TO_PRODUCTION)
        older = [other for other in self.open() if other.version < release.version and other.phase in on_its_way]
        return older[-1] if older else None

    def _time_is_over(self, release: Release, more: int) -> bool:
        """Whether the time to observe it has passed, and at least one scoring, with so many more, was verified."""
        time = self.rules.observation_time
        return time is not None and self.now - release.since >= time and release.observed + more > 0

    def _meant(self, release: Release) -> Pair:
        """The pair that a deployment would make: the model, with the newer of its environment and what serves.

        Where these differ in their MAJOR number, the model takes the environment that it was trained with.
        """
        trained, serving = _trained_with(release), self.root.serving
        environments = [trained]
        if serving and version_numbers(serving.environment)[0] == version_numbers(trained)[0]:
            environments.append(serving.environment)
        return Pair(model=release.version, environment=max(environments, key=version_numbers))

    def _at_ready(self, release: Release, event: m.Outcome) -> m.Event:
        withheld = self.draft.withheld()
        if isinstance(event, m.ProductionAsked):
            if event.looks != release.held_looks or self.root.production_owner:
                raise NotNow("another look came first, or something else owns production and will let go of it")
            if withheld:
                return m.ProductionStillHeld(**event.model_dump(), reason=withheld)
            return m.ProductionFreed(root=self.root.id)
        if isinstance(event, m.DeadlinePassed) and self._held_for(release):
            return m.DeadlineMoved(**event.model_dump())
        return event

    def moved(self, release: Release, event: m.Event, then: Then, begun: bool) -> Release:
        # A release that ends keeps its last operation, so that it can be cancelled.
        kept = release.operation if not begun or release.phase in r.ENDS else None
        changed: dict[str, Any] = {"operation": operated(kept, event, self.now)}
        if isinstance(event, m.GateOverridden):
            release = release.model_copy(update={"overrides": approvals.overridden(release, event, self.now)})
        if isinstance(event, (m.TagsMissing, m.ModelRegisteredAgain)):
            changed["tag_looks"] = release.tag_looks + 1
        if isinstance(event, m.ApprovalDecided) and release.approval:
            changed["approval"] = approvals.answered(release.approval, event)
        if isinstance(event, m.ApprovalRequested) and release.approval:
            changed["approval"] = release.approval.model_copy(update={"asked_at": event.asked_at})
        if isinstance(event, (m.ObservationCounted, m.ObservationPassed)):
            changed["observed"] = release.observed + 1
        before = self.draft.items.get(release.id)
        if before and release.phase in r.ENDS and before.phase not in r.ENDS:
            changed["ended_in"] = before.phase
        if begun and release.phase == Phase.DEPLOYING_TO_TEST:
            changed["environment"] = self._meant(release).environment
        if begun and release.phase == Phase.OBSERVING:
            changed["deadline"] = self.rules.observed_until(self.now)
        if release.phase == Phase.READY:
            changed |= self._held(release, event)
        if m.RequestApproval in then.commands:
            gate = r.GATES[Phase(release.phase)]
            hold = self.draft.hold if gate is Gate.PRODUCTION else None
            champion = self.root.serving
            found = findings(release.tags, champion, self.rules.promotion, release.overrides, self.now)
            shown = approvals.evidence(release, gate, champion, hold, found)
            asked = approvals.ask(release, shown, self.rules, self.now)
            changed |= {"champion": champion, **approvals.opened(release, asked)}
        elif release.phase in r.ENDS and release.approval:
            changed["withdrawn"] = release.approval.id
        if release.phase == Phase.DEPLOYING_TO_PRODUCTION and self.root.production_owner != release.id:
            changed["previous"] = self.root.serving
        return release.model_copy(update=changed)

    def _held(self, release: Release, event: m.Event) -> dict[str, Any]:
        """How long nothing could be done; a deadline that comes meanwhile moves by as much."""
        if isinstance(
            event, (m.ProductionApprovedWhileHeld, m.ProductionHeld, m.ProductionWithheld, m.RestartedAtReady)
        ):
            return {"held_since": self.now, "held_looks": release.held_looks + 1}
        looked: dict[str, Any] = {"held_for": self._held_for(release), "held_looks": release.held_looks + 1}
        if isinstance(event, m.ProductionStillHeld):
            return {**looked, "held_since": self.now}
        if isinstance(event, m.DeadlineMoved):
            since = self.now if self.draft.withheld() else None
            moved = {"deadline": self.now + max(looked["held_for"], timedelta(minutes=1)), "reason": ""}
            return {**moved, **looked, "held_for": timedelta(), "held_since": since}
        return {}

    def _held_for(self, release: Release) -> timedelta:
        running = self.now - release.held_since if release.held_since else timedelta()
        return release.held_for + running

    def settle(self, release: Release, event: m.Event) -> None:
        """Which version is the newest, who owns the two deployments, and what is meant to serve, serves, is verified.

        Anybody can tell of a version; the newest is the one that the platform has described.
        """
        phase = release.phase
        if isinstance(event, m.ModelDescribed):
            self.draft.update(newest_version=max(release.version, self.root.newest_version))
        testing = phase in (Phase.DEPLOYING_TO_TEST, Phase.TESTING)
        if testing or self.root.test_owner == release.id:
            self.draft.update(test_owner=release.id if testing else "")
        if phase == Phase.DEPLOYING_TO_PRODUCTION:
            self.draft.update(production_owner=release.id, desired=release.pair)
        elif self.root.production_owner == release.id:
            kept = {name: release.tags[name] for name in _KEPT_TAGS if name in release.tags}
            if isinstance(event, m.DeployedToProduction):
                served = {"serving": release.pair, "serving_tags": kept, "served_by": release.id}
                self.draft.update(**served, scoring=True, retired=False)
            if phase == Phase.LIVE:
                proved = self.root.proven(release.pair, kept, self.now)
                self.draft.update(verified=release.pair, proved=proved, production_owner="")
            elif phase in r.ENDS or phase == Phase.READY:  # what serves goes on serving
                self.draft.update(desired=self.root.serving, production_owner="")

    def follow(self, item: Item, event: m.Event) -> Iterable[Line]:
        if isinstance(item, Release) and isinstance(event, m.ModelDescribed) and self.rules.supersede == "latest":
            yield from self._superseded(by=item)
        if isinstance(item, Release) and item.phase in (Phase.OBSERVING, *r.ENDS):
            yield from self._queue_moved()
        if isinstance(event, (m.ScoringVerified, m.ScoringRefused)) and isinstance(item, ScoringRun):
            yield from self._observed(item, event)

    def _superseded(self, by: Release) -> list[Line]:
        superseded = m.SupersededByNewer(root=self.root.id, successor=by.id)
        older = [release for release in self.open() if release.phase in r.UP_TO_READY and release.version < by.version]
        return [Line(RELEASE, superseded, release.id) for release in older]

    def _queue_moved(self) -> list[Line]:
        queued = [release for release in self.open() if release.phase == Phase.QUEUED]
        if not queued or self._ahead(queued[0]):
            return []
        return [Line(RELEASE, m.QueueMoved(root=self.root.id), queued[0].id)]

    def champion_changed(self, by: str) -> list[Line]:
        waiting = (*r.AWAITING, Phase.READY)
        return [
            Line(RELEASE, self._compared_with_another(release), release.id)
            for release in self.open()
            if release.id != by and release.phase in waiting and release.champion != self.root.serving
        ]

    def _compared_with_another(self, release: Release) -> m.Event:
        if release.phase == Phase.AWAITING_REGISTRY_APPROVAL or self._meant(release) == release.pair:
            return m.ChampionChanged(root=self.root.id)
        changed = m.EnvironmentChangedWhileTestOwned if self.root.test_owner else m.EnvironmentChanged
        return changed(root=self.root.id)

    def next_for_production(self) -> list[Line]:
        ready = [release for release in self.open() if release.phase == Phase.READY]
        if not ready:
            return []
        if withheld := self.draft.withheld():
            return [Line(RELEASE, m.ProductionHeld(root=self.root.id, reason=withheld), ready[0].id)]
        return [Line(RELEASE, m.ProductionFreed(root=self.root.id), ready[0].id)]

    def undone(self, bad: Pair, rollback: str, reason: str) -> Iterable[Line]:
        release = self.draft.items.get(release_id(self.root.id, bad.model))
        undone = (Phase.DEPLOYING_TO_PRODUCTION, Phase.OBSERVING, Phase.LIVE)
        if isinstance(release, Release) and release.phase in undone and release.pair == bad:
            rolled_back = m.ReleaseRolledBack(root=self.root.id, rollback=rollback, reason=reason)
            yield Line(RELEASE, rolled_back, release.id)

    def _observed(self, run: ScoringRun, event: m.ScoringVerified | m.ScoringRefused) -> list[Line]:
        """What a scoring says of the pair that is observed. Machinery that broke says nothing about it.

        Nor does a day that somebody asked for: it may be of the past, and lack readings that no model can mend.
        """
        lines: list[Line] = []
        if run.asked_by:
            return lines
        for release in self.open():
            if release.phase == Phase.OBSERVING and release.pair == run.pair:
                observed: m.Event = m.ObservationCounted(root=self.root.id)
                if isinstance(event, m.ScoringRefused):
                    reason = f"predictions refused: {'; '.join(event.problems)}"
                    observed = m.ObservationFailed(root=self.root.id, reason=reason)
                elif release.observed + 1 >= self.rules.verified_scorings or self._time_is_over(release, 1):
                    observed = m.ObservationPassed(root=self.root.id)
                lines.append(Line(RELEASE, observed, release.id))
        return lines

    def offered(self, item: Release) -> dict[str, Any]:
        origin = self.root.newest_reading or _cutoff(item.tags, item.created_at)
        offered: dict[str, Any] = {
            "purpose": item.phase,
            **in_operation(item.operation),
            "version": item.version,
            "environment": _trained_with(item),
            "first_asked": item.created_at,
            "withdrawn": item.withdrawn,
            "origin": origin.replace(minute=0, second=0, microsecond=0),
            "limits": limits(item.tags),
            # Before the first commit was heard of, the readings that trained the model are known at least.
            "table": self.root.table or item.tags.get("table_id", ""),
            "delta_version": self.root.delta_version if self.root.table else _trained_on(item.tags),
        }
        if item.environment:
            offered |= {"pair": item.pair, "previous": self.root.serving}
        if item.phase == Phase.READY:
            offered["held_looks"] = item.held_looks
        if item.phase in (Phase.REGISTERED, Phase.AWAITING_REGISTRY_APPROVAL):
            offered["looks"] = item.tag_looks
        offered |= approvals.in_approval(item.approval)
        return offered

    def says(self, item: Release) -> str:
        return approvals.still_open(item)

    def delay(self, item: Release) -> timedelta:
        if item.phase == Phase.READY:
            # A hold that is lifted wakes who waits; a freeze or a stop that ends has to be noticed.
            longest = timedelta(hours=6) if self.draft.hold else timedelta(minutes=30)
            return backoff(item.held_looks, timedelta(minutes=1), longest)
        if item.operation:
            first = self.rules.first_job_look if item.phase == Phase.TESTING else self.rules.first_look
            return backoff(item.operation.looks, first, self.rules.longest_look)
        return backoff(item.tag_looks, self.rules.first_look, self.rules.longest_look)


def _cutoff(tags: Mapping[str, str], otherwise: datetime) -> datetime:
    """The last hour of the day up to which the model was trained."""
    try:
        return datetime.fromisoformat(tags["cutoff_date"]).replace(hour=23, tzinfo=UTC)
    except (KeyError, ValueError):
        return otherwise


def _trained_with(release: Release) -> str:
    """The environment that the model brings along, whatever its pair has become since."""
    return release.tags.get("environment_version", release.environment)


def _trained_on(tags: Mapping[str, str]) -> int | None:
    version = tags.get("delta_version", "")
    return int(version) if version.isdigit() else None
