"""Rollbacks: back to the last verified pair, by a person's order or because the observed pair failed.

A rollback takes production over from whoever owns it, and no hold, freeze or stop keeps it. What it undid is condemned:
nothing goes back to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

from shared.domain import messages as m
from shared.domain.circuit.draft import Part
from shared.domain.circuit.holds import place
from shared.domain.circuit.root import PAIRS_KEPT, Proved
from shared.domain.machine import Item, Line, NotAllowed, Then, backoff
from shared.domain.operation import expect_look, in_operation, operated
from shared.domain.release import Release
from shared.domain.rollback import ROLLBACK, Phase, Rollback, rollback_id
from shared.domain.values import Pair


class Rollbacks(Part[Rollback]):
    kind = ROLLBACK
    hears = (m.RollbackRequested,)

    def classify(self, event: m.RollbackRequested) -> list[Line]:
        bad = self.root.desired or self.root.serving
        if bad is None:
            raise NotAllowed(f"nothing serves {self.root.id} and nothing is on its way there: nothing can be undone")
        owner = self.draft.items.get(self.root.production_owner)
        if isinstance(owner, Rollback):
            raise NotAllowed(f"{owner.id} is under way, from {owner.bad} to {owner.target}", "closed")
        targets = [proved for proved in self.root.proved if proved.pair != bad]
        possible = ", ".join(str(proved.pair) for proved in targets) or "none"
        if event.version is not None:
            targets = [proved for proved in targets if proved.pair.model == event.version]
            if not targets:
                raise NotAllowed(
                    f"{self.root.id} cannot go back to version {event.version}: it serves, was rolled back, or has not"
                    f" proved itself there; possible: {possible}"
                )
        elif owner is None and self._came_back():
            raise NotAllowed(
                f"{bad} serves since {self.root.served_by}, and a rollback is not rolled back: name the version to go"
                f" further back to; possible: {possible}"
            )
        target = targets[0].pair if targets else None
        return list(self._begin(bad, target, by=event.person.username, reason=event.reason))

    def _came_back(self) -> bool:
        return self.root.served_by in {rollback_id(self.root.id, n + 1) for n in range(self.root.rollbacks)}

    def back_from_environment(self, version: str, by: str) -> Iterator[Line]:
        """Back to what proved itself without the environment: the same model where it has, else what served last.

        No hold follows: what failed is the environment, and newer models go on with the one before.
        """
        bad = self.root.desired or self.root.serving
        assert bad is not None, "an environment that serves has a model with it"
        without = [proved.pair for proved in self.root.proved if proved.pair.environment != version]
        same = [pair for pair in without if pair.model == bad.model]
        target = next(iter((*same, *without)), None)
        reason = f"environment {version} is taken back"
        if not same:
            reason += f"; model {bad.model} never proved itself without it, so look at what serves now"
        yield from self._begin(bad, target, by, reason, hold=False)

    def back_to(self, target: Pair, by: str, reason: str) -> Iterator[Line]:
        """Back to a pair that has proved itself, from whatever is meant to serve."""
        bad = self.root.desired or self.root.serving
        assert bad is not None, "what serves nothing has not degraded"
        yield from self._begin(bad, target, by, reason)

    def _begin(self, bad: Pair, target: Pair | None, by: str, reason: str, hold: bool = True) -> Iterator[Line]:
        number = self.root.rollbacks + 1
        created = {
            "id": rollback_id(self.root.id, number),
            "circuit": self.root.id,
            "bad": bad,
            "target": target,
            "by": by,
            "reason": reason if target else f"no other pair has proved itself, so nothing serves: {reason}",
        }
        begun = m.RollbackBegun if target else m.RollbackToNothing
        if hold:
            yield place(self, by, f"rolled back: {reason}", bad.model)
        yield Line(ROLLBACK, begun(root=self.root.id, by=by, reason=reason), created=created)

    def outcome(self, rollback: Rollback, event: m.Outcome) -> m.Event:
        expect_look(rollback.operation, event)
        if isinstance(event, m.OperationFailed) and rollback.attempt < self.rules.rollback_attempts:
            return m.RollbackAttemptFailed(**event.model_dump())
        return event

    def moved(self, rollback: Rollback, event: m.Event, then: Then, begun: bool) -> Rollback:
        changed: dict[str, Any] = {"operation": operated(rollback.operation, event, self.now)}
        if isinstance(event, m.RollbackAttemptFailed):
            changed |= {"attempt": rollback.attempt + 1, "operation": None}
        return rollback.model_copy(update=changed)

    def settle(self, rollback: Rollback, event: m.Event) -> None:
        if isinstance(event, (m.RollbackBegun, m.RollbackToNothing)):
            self._condemn(rollback)
        match rollback.phase:
            case Phase.ROLLING_BACK:
                self.draft.update(production_owner=rollback.id, desired=rollback.target)
            case Phase.SERVES_NOTHING:
                self.draft.update(
                    desired=None,
                    serving=None,
                    serving_tags={},
                    scoring=False,
                    served_by=rollback.id,
                    production_owner="",
                )
            case Phase.DONE:
                target = self._target(rollback)
                self.draft.update(
                    serving=target.pair, serving_tags=target.tags, served_by=rollback.id, production_owner=""
                )
            case Phase.ERRORED:  # what is deployed now has to be looked at
                self.draft.update(desired=self.root.serving, production_owner="")

    def _condemn(self, rollback: Rollback) -> None:
        proved = tuple(proved for proved in self.root.proved if proved.pair != rollback.bad)
        condemned = (rollback.bad, *(pair for pair in self.root.condemned if pair != rollback.bad))[:PAIRS_KEPT]
        self.draft.update(
            rollbacks=self.root.rollbacks + 1, proved=proved, condemned=condemned, verified=rollback.target
        )
        if rollback.target:
            target = self._target(rollback)
            self.draft.update(proved=self.root.proven(target.pair, target.tags, target.at))

    def _target(self, rollback: Rollback) -> Proved:
        return next(proved for proved in self.root.proved if proved.pair == rollback.target)

    def follow(self, item: Item, event: m.Event) -> Iterable[Line]:
        if isinstance(event, (m.RollbackBegun, m.RollbackToNothing)) and isinstance(item, Rollback):
            yield from self.draft.undo(item.bad, item.id, event.reason)
        if isinstance(event, m.ObservationFailed) and isinstance(item, Release) and self.rules.rolls_back:
            target = next((proved.pair for proved in self.root.proved if proved.pair != item.pair), None)
            yield from self._begin(item.pair, target, by="observation", reason=event.reason)

    def offered(self, item: Rollback) -> dict[str, Any]:
        return {
            "purpose": item.phase,
            **in_operation(item.operation),
            "pair": item.target,
            "previous": self.root.serving,
        }

    def delay(self, item: Rollback) -> timedelta:
        if item.operation:
            return backoff(item.operation.looks, self.rules.first_look, self.rules.longest_look)
        return backoff(item.attempt - 2, self.rules.retry_after, self.rules.longest_look)
