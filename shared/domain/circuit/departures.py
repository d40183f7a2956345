"""Departures: what becomes of a circuit that the configuration has no more, and of one that is retired.

Its candidates are cancelled. What serves goes on and is scored until a person retires the circuit: then nothing serves
and nothing is scored, and the production deployment is deleted. Until it is gone, nothing else enters production.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from shared.domain import messages as m
from shared.domain.circuit.draft import Part
from shared.domain.departure import DEPARTURE, Departure, Phase, departure_id
from shared.domain.discrepancy import DISCREPANCY, Discrepancy
from shared.domain.discrepancy import Phase as DiscrepancyPhase
from shared.domain.environment.messages import EnvironmentUndoneAlready
from shared.domain.machine import Item, Line, NotAllowed, NotNow, Then, backoff
from shared.domain.operation import expect_look, in_operation, operated
from shared.domain.release import RELEASE, UP_TO_READY, Release
from shared.domain.release import Phase as ReleasePhase
from shared.domain.scoring import SCORING, ScoringRun
from shared.domain.update import UPDATE, EnvironmentUpdate
from shared.domain.update import Phase as UpdatePhase


class Departures(Part[Departure]):
    kind = DEPARTURE
    hears = (m.CircuitDeparted, m.CircuitReturned, m.RetireRequested)

    def classify(self, event: m.CircuitDeparted | m.CircuitReturned | m.RetireRequested) -> list[Line]:
        known = self.root.departure or None
        if isinstance(event, m.CircuitReturned):
            if known is None:
                raise NotNow(f"{self.root.id} is not flagged")
            return [Line(DEPARTURE, event, known)]
        errored = known in self.draft.items and self.draft.items[known].phase == Phase.ERRORED
        if (self.root.retired and not errored) or (known and isinstance(event, m.CircuitDeparted)):
            raise NotNow(f"{self.root.id} is {'retired' if self.root.retired else 'flagged'} already")
        if isinstance(event, m.RetireRequested):
            self._expect_retirable()
        created = {"id": departure_id(self.root.id, self.root.departures + 1), "circuit": self.root.id}
        return [*self._candidates(), Line(DEPARTURE, event, known, created={} if known else created)]

    def _expect_retirable(self) -> None:
        if self.rules.configured:
            raise NotAllowed(f"{self.root.id} is in the configuration: take it out of plants_circuits.yml first")
        owner = self.draft.items.get(self.root.production_owner)
        if owner is not None and owner.phase != ReleasePhase.OBSERVING:
            raise NotAllowed(
                f"{owner.id} is changing what serves {self.root.id}: ask again when it has ended", "closed"
            )

    def _candidates(self) -> list[Line]:
        """Every candidate is cancelled, the newest first: none moves up in a queue."""
        gone = m.CandidateDeparted(root=self.root.id)
        releases = [item for item in self.draft.items.values() if isinstance(item, Release)]
        newest = sorted(releases, key=lambda release: release.version, reverse=True)
        return [Line(RELEASE, gone, release.id) for release in newest if release.phase in UP_TO_READY]

    def moved(self, departure: Departure, event: m.Event, then: Then, begun: bool) -> Departure:
        departure = departure.model_copy(update={"operation": operated(departure.operation, event, self.now)})
        if isinstance(event, m.RetireRequested):
            return departure.model_copy(update={"by": event.person.username, "reason": event.reason})
        if isinstance(event, m.CircuitDeparted):
            return departure.model_copy(update={"reason": f"{self.root.id} is not in the configuration any more"})
        return departure

    def outcome(self, item: Departure, event: m.Outcome) -> m.Event:
        expect_look(item.operation, event)
        return event

    def settle(self, departure: Departure, event: m.Event) -> None:
        if departure.sequence == 1:
            self.draft.update(departures=self.root.departures + 1)
        self.draft.update(departure=departure.id if departure.phase in (Phase.FLAGGED, Phase.ERRORED) else "")
        if isinstance(event, m.RetireRequested):
            nothing: dict[str, Any] = {"desired": None, "serving": None, "verified": None, "serving_tags": {}}
            self.draft.update(**nothing, scoring=False, retired=True, served_by=departure.id)
            self.draft.update(production_owner=departure.id)
        elif self.root.production_owner == departure.id and departure.phase != Phase.RETIRING:
            self.draft.update(production_owner="")

    def follow(self, item: Item, event: m.Event) -> Iterable[Line]:
        if not isinstance(item, Departure) or not isinstance(event, m.RetireRequested):
            return
        root, why = self.root.id, f"{self.root.id} was retired by {item.by}: {item.reason}"
        for other in list(self.draft.items.values()):
            match other:
                case Release(phase=ReleasePhase.OBSERVING):
                    yield Line(RELEASE, m.ReleaseRetired(root=root, reason=why), other.id)
                case ScoringRun() if other.phase not in SCORING.ends:
                    yield Line(SCORING, m.ScoringCalledOff(root=root, reason=why), other.id)
                case Discrepancy(phase=DiscrepancyPhase.FLAGGED):
                    yield Line(DISCREPANCY, m.RepairOvertaken(root=root, rollback=item.id), other.id)
                case EnvironmentUpdate(phase=UpdatePhase.OBSERVING):
                    undone = EnvironmentUndoneAlready(root=root, version=other.version, order=item.id, why=why)
                    yield Line(UPDATE, undone, other.id)

    def offered(self, item: Departure) -> dict[str, Any]:
        return {"purpose": item.phase, **in_operation(item.operation)}

    def delay(self, item: Departure) -> timedelta:
        looks = item.operation.looks if item.operation else 0
        return backoff(looks, self.rules.first_look, self.rules.longest_look)
