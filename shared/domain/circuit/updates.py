"""Environment updates: what an environment release means for one circuit.

An update writes the environment's half of the pair that serves when its turn comes; a model release writes the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

from shared.domain import messages as m
from shared.domain import release as r
from shared.domain.circuit.draft import Part
from shared.domain.circuit.rollbacks import Rollbacks
from shared.domain.environment import messages as e
from shared.domain.machine import Item, Line, NotNow, Then, backoff
from shared.domain.operation import expect_look, in_operation, operated
from shared.domain.release import RELEASE, Release
from shared.domain.rollback import Phase as RollbackPhase
from shared.domain.rollback import Rollback
from shared.domain.scoring import ScoringRun, limits
from shared.domain.update import (
    BEFORE_TURN,
    ENDS,
    IN_TEST,
    RESUMABLE,
    UPDATE,
    EnvironmentUpdate,
    Phase,
    Standing,
    update_id,
)
from shared.domain.values import Pair, version_numbers


class Updates(Part[EnvironmentUpdate]):
    kind = UPDATE
    hears = (e.EnvironmentOffered, e.WaveReached, e.EnvironmentUndone, e.EnvironmentConcluded)

    def open(self) -> Iterator[EnvironmentUpdate]:
        """The open updates, oldest first."""
        found = [i for i in self.draft.items.values() if isinstance(i, EnvironmentUpdate) and i.phase not in ENDS]
        yield from sorted(found, key=lambda update: update.created_at)

    # ------------------------------------------------------------------------------------------------- what a fact is

    def classify(self, event: e.ToldOfEnvironment) -> list[Line]:
        identity = update_id(self.root.id, event.version)
        update = self.draft.items.get(identity)
        created = {"id": identity, "circuit": self.root.id, "version": event.version, "order": event.order}
        if not isinstance(update, EnvironmentUpdate) or update.phase in ENDS:
            if isinstance(event, (e.EnvironmentUndone, e.EnvironmentConcluded)):
                raise NotNow(f"{identity} is not under way")
            if isinstance(update, EnvironmentUpdate) and update.phase in RESUMABLE:
                assert isinstance(event, e.EnvironmentOffered)
                return [Line(UPDATE, self._offered(event, update), identity)]
            if self.root.update and self.root.update.version == event.version:
                raise NotNow(f"{identity} has ended: {self.root.update.phase}")
            if isinstance(event, e.EnvironmentOffered):
                return [Line(UPDATE, self._offered(event, None), created=created)]
            assert isinstance(event, e.WaveReached)
            return [Line(UPDATE, self._untested(event), created=created)]
        match event:
            case e.EnvironmentOffered() if update.phase in (Phase.WAITING_FOR_TEST, *IN_TEST, *BEFORE_TURN):
                return [Line(UPDATE, e.EnvironmentOfferedAgain(**event.model_dump()), identity)]
            case e.EnvironmentOffered():
                raise NotNow(f"{identity} is {update.phase}")
            case e.EnvironmentConcluded() if _number(event.order) < _number(update.order):
                raise NotNow(f"{identity} was offered again since")
            case e.WaveReached():
                return [Line(UPDATE, self._turn(update, event), identity)]
            case e.EnvironmentUndone():
                return self._undo(update, event)
        if update.phase in (Phase.DEPLOYING_TO_PRODUCTION, Phase.ROLLING_BACK):
            raise NotNow(f"{identity} is {update.phase}, which comes to an end first")
        return [Line(UPDATE, event, identity)]

    def _in_vain(self, version: str) -> str:
        """Why nothing of the circuit can be tested or updated with the version; nothing when it can."""
        serving = self.root.serving
        if serving is None:
            return "nothing serves"
        has, wanted = version_numbers(serving.environment), version_numbers(version)
        if has == wanted:
            return f"serves with {version} already"
        if has[0] != wanted[0]:
            return f"its model is made for {serving.environment}, whose MAJOR number is another"
        return f"serves with {serving.environment}, which is newer" if has > wanted else ""

    def _offered(self, event: e.EnvironmentOffered, before: EnvironmentUpdate | None) -> m.Event:
        fields = event.model_dump()
        if why := self._in_vain(event.version):
            return e.EnvironmentOfferedInVain(**fields, why=why)
        if before and self.tested(before):
            return e.EnvironmentOfferedTested(**fields)
        return e.EnvironmentOfferedWhileOwned(**fields) if self.root.test_owner else event

    def _turn(self, update: EnvironmentUpdate, event: e.WaveReached) -> m.Event:
        """What the circuit's turn means, whatever was so when its pair was tested."""
        fields = event.model_dump()
        match update.phase:
            case Phase.WAITING_FOR_TEST | Phase.DEPLOYING_TO_TEST | Phase.TESTING if not update.waved:
                return e.WaveReachedInTest(**fields)
            case phase if phase not in BEFORE_TURN:
                raise NotNow(f"{update.id} is {phase}")
        if not self.tested(update):
            return self._untested(event)
        if why := self._in_vain(update.version) or self.draft.withheld():
            return e.WaveReachedInVain(**fields, why=why)
        return e.WaveReachedWhileOwned(**fields) if self.root.production_owner else e.WaveReached(**fields)

    def _untested(self, event: e.WaveReached) -> m.Event:
        fields = event.model_dump()
        if why := self._in_vain(event.version) or self.draft.withheld():
            return e.WaveReachedInVain(**fields, why=why)
        return e.WaveReachedUntestedWhileOwned(**fields) if self.root.test_owner else e.WaveReachedUntested(**fields)

    def tested(self, update: EnvironmentUpdate) -> bool:
        """Whether what would be deployed is what was tested."""
        return bool(update.test) and update.pair == self._wanted(update)

    def _wanted(self, update: EnvironmentUpdate) -> Pair | None:
        serving = self.root.serving
        return Pair(model=serving.model, environment=update.version) if serving else None

    def _undo(self, update: EnvironmentUpdate, event: e.EnvironmentUndone) -> list[Line]:
        serves = self.root.desired or self.root.serving
        if update.phase == Phase.ROLLING_BACK:
            raise NotNow(f"{update.id} goes back already")
        if update.phase == Phase.OBSERVING and (serves is None or serves.environment != update.version):
            why = f"serves {serves} since" if serves else "serves nothing since"
            fields = event.model_dump(exclude={"why"})
            return [Line(UPDATE, e.EnvironmentUndoneAlready(**fields, why=why), update.id)]
        return [Line(UPDATE, event, update.id)]

    # --------------------------------------------------------------------------------------------------- what it does

    def outcome(self, update: EnvironmentUpdate, event: m.Outcome) -> m.Event:
        expect_look(update.operation, event)
        return event

    def moved(self, update: EnvironmentUpdate, event: m.Event, then: Then, begun: bool) -> EnvironmentUpdate:
        kept = update.operation if not begun or update.phase in ENDS else None
        changed: dict[str, Any] = {"operation": operated(kept, event, self.now)}
        if begun and update.phase == Phase.DEPLOYING_TO_TEST:
            changed |= {"pair": self._wanted(update), "test": {}}
        if begun and update.phase == Phase.DEPLOYING_TO_PRODUCTION:
            changed |= {"pair": self._wanted(update), "previous": self.root.serving}
        if isinstance(event, m.ProductionWithheld):
            changed["reason"] = event.reason
        return update.model_copy(update=changed)

    def settle(self, update: EnvironmentUpdate, event: m.Event) -> None:
        testing = update.phase in IN_TEST
        if testing or self.root.test_owner == update.id:
            self.draft.update(test_owner=update.id if testing else "")
        if update.phase == Phase.DEPLOYING_TO_PRODUCTION:
            self.draft.update(production_owner=update.id, desired=update.pair)
        elif self.root.production_owner == update.id:
            if isinstance(event, m.DeployedToProduction):
                self.draft.update(serving=update.pair, served_by=update.id, production_owner="")
            elif not isinstance(event, e.EnvironmentUndone):  # what serves goes on serving
                self.draft.update(desired=self.root.serving, production_owner="")
        if isinstance(event, e.UpdateObserved) and update.pair:
            proved = self.root.proven(update.pair, self.root.serving_tags, self.now)
            self.draft.update(verified=update.pair, proved=proved)
        shown = update.model_dump(include=set(Standing.model_fields))
        self.draft.update(update=Standing.model_validate(shown))

    def next_for_production(self) -> list[Line]:
        waiting = [update for update in self.open() if update.phase == Phase.WAITING_FOR_PRODUCTION]
        return [Line(UPDATE, self._turn(update, self._again(update)), update.id) for update in waiting[:1]]

    def _again(self, update: EnvironmentUpdate) -> e.WaveReached:
        return e.WaveReached(root=self.root.id, version=update.version, order=update.order, verify=update.verify)

    def undone(self, bad: Pair, rollback: str, reason: str) -> Iterable[Line]:
        """A person's rollback of the circuit takes its update back as well."""
        for update in self.open():
            if update.pair == bad and update.phase in (Phase.DEPLOYING_TO_PRODUCTION, Phase.OBSERVING):
                why = f"undone by {rollback}: {reason}"
                undone = e.EnvironmentUndone(root=self.root.id, version=update.version, order=rollback, why=why)
                yield Line(UPDATE, undone, update.id)

    def follow(self, item: Item, event: m.Event) -> Iterable[Line]:
        if isinstance(item, EnvironmentUpdate):
            yield from self._after(item, event)
        if isinstance(item, Rollback) and item.phase in (
            RollbackPhase.DONE,
            RollbackPhase.SERVES_NOTHING,
            RollbackPhase.ERRORED,
        ):
            yield from self._rollback_ended(item)
        if isinstance(item, ScoringRun) and isinstance(event, (m.ScoringVerified, m.ScoringRefused)):
            yield from self._observed(item, event)
        if not self.root.test_owner:
            yield from self._test_freed()

    def _after(self, update: EnvironmentUpdate, event: m.Event) -> Iterator[Line]:
        if update.phase == Phase.TESTED and update.waved:
            yield Line(UPDATE, self._turn(update, self._again(update)), update.id)
        if update.phase == Phase.ROLLING_BACK and isinstance(event, e.EnvironmentUndone):
            owner = self.draft.items.get(self.root.production_owner)
            if update.pair and not isinstance(owner, Rollback):
                yield from self.draft.part(Rollbacks).back_from_environment(update.version, by=event.order)
        # It waited for production and takes it no more: who waits behind it may.
        if isinstance(event, e.WaveReached) and not self.root.production_owner:
            yield from self.draft.next_for_production()

    def _rollback_ended(self, rollback: Rollback) -> Iterator[Line]:
        for update in self.open():
            if update.phase == Phase.ROLLING_BACK:
                ended: m.Event = e.CircuitWentBack(root=self.root.id, serves=str(self.root.serving or "nothing"))
                if rollback.phase == RollbackPhase.ERRORED:
                    ended = e.CircuitStuck(root=self.root.id, why=f"{rollback.id}: {rollback.reason}")
                yield Line(UPDATE, ended, update.id)

    def _observed(self, run: ScoringRun, event: m.ScoringVerified | m.ScoringRefused) -> Iterator[Line]:
        """What a scoring says of the pair that the update made. Machinery that broke says nothing about it."""
        for update in self.open():
            if update.phase != Phase.OBSERVING or update.pair != run.pair or update.proved:
                continue
            if isinstance(event, m.ScoringVerified):
                yield Line(UPDATE, e.UpdateObserved(root=self.root.id), update.id)
            elif self.rules.rolls_back:
                why = f"predictions refused: {'; '.join(event.problems)}"
                undone = e.EnvironmentUndone(root=self.root.id, version=update.version, order=update.order, why=why)
                yield Line(UPDATE, undone, update.id)

    def _test_freed(self) -> list[Line]:
        freed = m.TestFreed(root=self.root.id)
        for item in self.draft.items.values():
            if isinstance(item, Release) and item.phase == r.Phase.WAITING_FOR_TEST:
                return [Line(RELEASE, freed, item.id)]
        waiting = [update for update in self.open() if update.phase == Phase.WAITING_FOR_TEST]
        return [Line(UPDATE, freed, update.id) for update in waiting[:1]]

    def offered(self, item: EnvironmentUpdate) -> dict[str, Any]:
        newest = self.root.newest_reading or item.created_at
        return {
            "purpose": item.phase,
            **in_operation(item.operation),
            "pair": item.pair,
            "previous": self.root.serving,
            "origin": newest.replace(minute=0, second=0, microsecond=0),
            "limits": limits(self.root.serving_tags),
            "table": self.root.table,
            "delta_version": self.root.delta_version,
        }

    def delay(self, item: EnvironmentUpdate) -> timedelta:
        looks = item.operation.looks if item.operation else 0
        first = self.rules.first_job_look if item.phase == Phase.TESTING else self.rules.first_look
        return backoff(looks, first, self.rules.longest_look)


def _number(order: str) -> int:
    """Which order of its release it is: a later one has the greater number."""
    return int(order.rpartition(".")[2])
