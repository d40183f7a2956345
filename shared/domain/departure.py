"""A departure: a circuit that the configuration has no more, while what serves it goes on until somebody retires it."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

from shared.domain import messages as m
from shared.domain.alerts.causes import Cause, warning
from shared.domain.machine import Item, Kind, Table, Then


class Phase(StrEnum):
    """Where a departure stands; `returned`: the configuration has the circuit again."""

    FLAGGED = "flagged"
    RETURNED = "returned"
    RETIRED = "retired"


class Departure(Item):
    """By whom the circuit was retired, once it is; the reason is theirs."""

    circuit: str
    by: str = ""


_LEFT = warning(Cause.DEPARTED)

TABLE: Table = {
    (None, m.CircuitDeparted): Then(Phase.FLAGGED, raises=_LEFT),
    (None, m.RetireRequested): Then(Phase.RETIRED),
    (Phase.FLAGGED, m.RetireRequested): Then(Phase.RETIRED),
    (Phase.FLAGGED, m.CircuitReturned): Then(Phase.RETURNED),
    # People hear of a circuit that nobody retires, again and again.
    (Phase.FLAGGED, m.DeadlinePassed): Then(Phase.FLAGGED, raises=_LEFT),
}


def departure_id(circuit: str, number: int) -> str:
    """`P001_C001!departure.1`"""
    return f"{circuit}!departure.{number}"


DEPARTURE = Kind(
    name="departure",
    letter="L",
    item=Departure,
    table=TABLE,
    ends=frozenset({Phase.RETURNED, Phase.RETIRED}),
    deadlines={Phase.FLAGGED: timedelta(days=7)},
    new_attempts=(m.DeadlinePassed,),
)
