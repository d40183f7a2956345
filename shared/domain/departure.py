"""A departure: a circuit that the configuration has no more, while what serves it goes on until somebody retires it."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

from shared.domain import messages as m
from shared.domain.alerts.causes import Cause, warning
from shared.domain.machine import Item, Kind, Table, Then
from shared.domain.operation import Operation


class Phase(StrEnum):
    """Where a departure stands; `returned`: the configuration has the circuit again.

    From `retiring` on nothing serves; what lies in production is deleted. It is not, where that errored.
    """

    FLAGGED = "flagged"
    RETURNED = "returned"
    RETIRING = "retiring"
    RETIRED = "retired"
    ERRORED = "errored"


class Departure(Item):
    """By whom the circuit was retired, once it is; the reason is theirs."""

    circuit: str
    by: str = ""
    operation: Operation | None = None


_LEFT = warning(Cause.DEPARTED)

TABLE: Table = {
    (None, m.CircuitDeparted): Then(Phase.FLAGGED, raises=_LEFT),
    (None, m.RetireRequested): Then(Phase.RETIRING, (m.RemoveDeployment,)),
    (Phase.FLAGGED, m.RetireRequested): Then(Phase.RETIRING, (m.RemoveDeployment,)),
    (Phase.FLAGGED, m.CircuitReturned): Then(Phase.RETURNED),
    # People hear of a circuit that nobody retires, again and again.
    (Phase.FLAGGED, m.DeadlinePassed): Then(Phase.FLAGGED, raises=_LEFT),
    (Phase.RETIRING, m.OperationStarted): Then(Phase.RETIRING, later=(m.LookAtOperation,)),
    (Phase.RETIRING, m.StillRunning): Then(Phase.RETIRING, later=(m.LookAtOperation,)),
    (Phase.RETIRING, m.DeploymentRemoved): Then(Phase.RETIRED),
    (Phase.RETIRING, m.OperationFailed): Then(Phase.ERRORED, raises=_LEFT),
    (Phase.RETIRING, m.CommandPoisoned): Then(Phase.ERRORED, raises=_LEFT),
    (Phase.RETIRING, m.DeadlinePassed): Then(Phase.ERRORED, raises=_LEFT),
    (Phase.ERRORED, m.RetireRequested): Then(Phase.RETIRING, (m.RemoveDeployment,)),
    (Phase.ERRORED, m.CircuitReturned): Then(Phase.RETURNED),
    (Phase.ERRORED, m.DeadlinePassed): Then(Phase.ERRORED, raises=_LEFT),
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
    deadlines={
        Phase.FLAGGED: timedelta(days=7),
        Phase.RETIRING: timedelta(hours=2),
        Phase.ERRORED: timedelta(days=7),
    },
    new_attempts=(m.DeadlinePassed,),
)
