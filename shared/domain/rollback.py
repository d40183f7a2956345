"""A rollback: a circuit's way back to a pair that has proved itself."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

from shared.domain import messages as m
from shared.domain.alerts.causes import Cause, critical
from shared.domain.machine import Item, Kind, Table, Then
from shared.domain.operation import Operation
from shared.domain.values import Pair


class Phase(StrEnum):
    """Where a rollback stands. It asks nobody, waits for nothing and is held by nothing."""

    ROLLING_BACK = "rolling back"
    DONE = "done"
    SERVES_NOTHING = "serves nothing"
    ERRORED = "errored"


class Rollback(Item):
    """From `bad`, which is never gone back to, to `target` (None: no other pair has proved itself)."""

    circuit: str
    bad: Pair
    target: Pair | None
    by: str
    attempt: int = 1
    operation: Operation | None = None


_BROKE = critical(Cause.ROLLBACK)

TABLE: Table = {
    (None, m.RollbackBegun): Then(Phase.ROLLING_BACK, (m.DeployRollback,)),
    (None, m.RollbackToNothing): Then(Phase.SERVES_NOTHING, raises=critical(Cause.NOTHING_SERVES)),
    (Phase.ROLLING_BACK, m.OperationStarted): Then(Phase.ROLLING_BACK, later=(m.LookAtOperation,)),
    (Phase.ROLLING_BACK, m.StillRunning): Then(Phase.ROLLING_BACK, later=(m.LookAtOperation,)),
    (Phase.ROLLING_BACK, m.RolledBack): Then(
        Phase.DONE, clears=(Cause.ROLLBACK, Cause.NOTHING_SERVES, Cause.PRODUCTION_DIFFERS)
    ),
    (Phase.ROLLING_BACK, m.RollbackAttemptFailed): Then(Phase.ROLLING_BACK, later=(m.DeployRollback,)),
    (Phase.ROLLING_BACK, m.OperationFailed): Then(Phase.ERRORED, (m.ReadProduction,), raises=_BROKE),
    (Phase.ROLLING_BACK, m.CommandPoisoned): Then(Phase.ERRORED, (m.CancelOperation, m.ReadProduction), raises=_BROKE),
    (Phase.ROLLING_BACK, m.DeadlinePassed): Then(Phase.ERRORED, (m.CancelOperation, m.ReadProduction), raises=_BROKE),
}


def rollback_id(circuit: str, number: int) -> str:
    """`P001_C001!rollback.2`"""
    return f"{circuit}!rollback.{number}"


ROLLBACK = Kind(
    name="rollback",
    letter="B",
    item=Rollback,
    table=TABLE,
    ends=frozenset({Phase.DONE, Phase.SERVES_NOTHING, Phase.ERRORED}),
    deadlines={Phase.ROLLING_BACK: timedelta(hours=2)},
    new_attempts=(m.RollbackAttemptFailed,),
)
