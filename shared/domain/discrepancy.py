"""A discrepancy: production really serves something else than the circuit's record says."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Literal

from shared.domain import messages as m
from shared.domain.alerts.causes import Cause, critical, warning
from shared.domain.machine import Item, Kind, Then
from shared.domain.operation import Operation
from shared.domain.values import Pair

OutOfBand = Literal["repair", "adopt", "flag"]
"""What the policy makes of a change that was not ours. Only a pair that has proved itself is adopted."""


class Phase(StrEnum):
    """Where a discrepancy stands."""

    FLAGGED = "flagged"
    REPAIRING = "repairing"
    REPAIRED = "repaired"
    ADOPTED = "adopted"
    GONE = "gone"
    ERRORED = "errored"


class Discrepancy(Item):
    """`found` is what production served when it was read, `recorded` what should have."""

    circuit: str
    found: Pair | None
    recorded: Pair | None
    operation: Operation | None = None


_DIFFERS = critical(Cause.PRODUCTION_DIFFERS)
_SERVED = (Cause.ROLLBACK,)
"""What is over once production serves what is recorded."""

TABLE: dict[tuple[str | None, type[m.Event]], Then] = {
    (None, m.ProductionDiffers): Then(Phase.FLAGGED, raises=_DIFFERS),
    (None, m.ProductionAdopted): Then(Phase.ADOPTED, raises=warning(Cause.PRODUCTION_ADOPTED), clears=_SERVED),
    (None, m.RepairBegun): Then(Phase.REPAIRING, (m.DeployRepair,), raises=warning(Cause.PRODUCTION_DIFFERS)),
    (Phase.FLAGGED, m.ProductionAgrees): Then(Phase.GONE),
    (Phase.FLAGGED, m.RepairOvertaken): Then(Phase.GONE),
    (Phase.FLAGGED, m.DeadlinePassed): Then(Phase.FLAGGED, raises=_DIFFERS),
    (Phase.REPAIRING, m.OperationStarted): Then(Phase.REPAIRING, later=(m.LookAtOperation,)),
    (Phase.REPAIRING, m.StillRunning): Then(Phase.REPAIRING, later=(m.LookAtOperation,)),
    (Phase.REPAIRING, m.Repaired): Then(Phase.REPAIRED, clears=_SERVED),
    (Phase.REPAIRING, m.OperationFailed): Then(Phase.ERRORED, raises=_DIFFERS),
    (Phase.REPAIRING, m.RepairOvertaken): Then(Phase.GONE, (m.CancelOperation,)),
    (Phase.REPAIRING, m.CommandPoisoned): Then(Phase.ERRORED, (m.CancelOperation,), raises=_DIFFERS),
    (Phase.REPAIRING, m.DeadlinePassed): Then(Phase.ERRORED, (m.CancelOperation,), raises=_DIFFERS),
}


def discrepancy_id(circuit: str, number: int) -> str:
    """`P001_C001!discrepancy.2`"""
    return f"{circuit}!discrepancy.{number}"


DISCREPANCY = Kind(
    name="discrepancy",
    letter="D",
    item=Discrepancy,
    table=TABLE,
    ends=frozenset({Phase.REPAIRED, Phase.ADOPTED, Phase.GONE, Phase.ERRORED}),
    deadlines={Phase.FLAGGED: timedelta(days=1), Phase.REPAIRING: timedelta(hours=2)},
    new_attempts=(m.DeadlinePassed,),
)
