"""A circuit: what is meant to serve, what serves, who owns its deployments; and every decision about it.

`decide` takes the circuit with everything open under it, names the precise event, walks the tables, and follows the
consequences until nothing more follows. It knows no clock, no store and no SDK.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared.domain import messages as m
from shared.domain.circuit.checks import Checks
from shared.domain.circuit.departures import Departures
from shared.domain.circuit.direct_actions import DirectActions
from shared.domain.circuit.discrepancies import Discrepancies
from shared.domain.circuit.draft import CircuitDraft, Part
from shared.domain.circuit.drifts import DriftChecks, Drifts
from shared.domain.circuit.holds import Holds
from shared.domain.circuit.performances import Degradations, PerformanceChecks
from shared.domain.circuit.proposals import Proposals
from shared.domain.circuit.releases import Releases
from shared.domain.circuit.rollbacks import Rollbacks
from shared.domain.circuit.root import Circuit
from shared.domain.circuit.scorings import Scorings, came_late
from shared.domain.circuit.trainings import Trainings
from shared.domain.circuit.updates import Updates
from shared.domain.environment.messages import EnvironmentOffered
from shared.domain.machine import Decision, Item, Kind
from shared.domain.release import RELEASE, Release, release_id
from shared.domain.rules import Rules
from shared.domain.scoring import SCORING
from shared.domain.update import UPDATE, update_id

PARTS: tuple[type[Part[Any]], ...] = (
    *(Rollbacks, Updates, Releases, Holds, Departures, DirectActions, Discrepancies, Checks, Scorings, Trainings),
    *(PerformanceChecks, Degradations, DriftChecks, Drifts, Proposals),
)
"""In the order in which they say what follows, and are next for a production that is free: what frees or takes it comes
before what is scored there."""
KINDS: dict[type[Item], Kind] = {part.kind.item: part.kind for part in PARTS}

__all__ = ["KINDS", "Circuit", "decide", "draft", "is_in_use", "recalled"]


def recalled(circuit: Circuit, event: m.Event) -> tuple[Kind, str] | None:
    """The item that the event is about even when it has ended; none for most events."""
    match event:
        case m.RollbackRequested():
            undone = circuit.desired or circuit.serving
            return (RELEASE, release_id(circuit.id, undone.model)) if undone else None
        case m.ReleaseOrder():
            return RELEASE, event.release
        case EnvironmentOffered() if circuit.update and circuit.update.version == event.version:
            return (UPDATE, update_id(circuit.id, event.version)) if circuit.update.phase in UPDATE.ends else None
        case m.SensorCovered() if circuit.forecast and came_late(event, circuit.forecast.origin):
            return SCORING, circuit.forecast.run
    return None


def is_in_use(circuit: Circuit, item: Item) -> bool:
    """Whether an ended item is one that serves, stands, or may serve again."""
    if isinstance(item, Release):
        pairs = (circuit.desired, circuit.serving, circuit.verified, *(proved.pair for proved in circuit.proved))
        return item.version in {pair.model for pair in pairs if pair}
    return item.id in (circuit.served_by, circuit.forecast.run if circuit.forecast else "")


def draft(circuit: Circuit, items: Mapping[str, Item], rules: Rules, now: datetime) -> CircuitDraft:
    """The circuit as it will be, while one event is followed to its last consequence."""
    return CircuitDraft(circuit, items, rules, now, PARTS)


def decide(circuit: Circuit, items: Mapping[str, Item], event: m.Event, rules: Rules, now: datetime) -> Decision:
    """Everything the event changes about the circuit and what is open under it."""
    return draft(circuit, items, rules, now).decide(event)
