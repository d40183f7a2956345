"""Monitoring runs, and what a plant or the fleet shares of what they find."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from hashlib import sha256

from shared.domain import messages as m
from shared.domain.alerts.causes import Cause, warning
from shared.domain.machine import Item, Kind, Then
from shared.domain.monitoring import messages as mm
from shared.domain.operation import Operation
from shared.domain.period import Period
from shared.domain.values import Monitoring


class Phase(StrEnum):
    """Where a monitoring run stands; `telling`: the circuits hear what was found, in slices."""

    REQUESTED = "requested"
    RUNNING = "running"
    TELLING = "telling"
    COMPLETED = "completed"
    ERRORED = "errored"


class MonitoringRun(Item):
    """One look at the fleet, a plant or a circuit (`among`; empty: the fleet).

    `counts` has how many circuits got which verdict; `report` is the fleet's page; `asked_by` who wanted it, if it was
    not the schedule.
    """

    monitoring: Monitoring
    among: str = ""
    period: Period
    asked_by: str = ""
    comment: str = ""
    attempt: int = 1
    operation: Operation | None = None
    cursor: int | None = 0
    counts: Mapping[str, int] = {}
    report: str = ""


_ERRORED, _SHARED = warning(Cause.MONITORING), warning(Cause.DRIFT)
TABLE: dict[tuple[str | None, type[m.Event]], Then] = {
    (None, mm.MonitoringDue): Then(Phase.REQUESTED, (mm.StartMonitoring,)),
    (None, mm.MonitoringAsked): Then(Phase.REQUESTED, (mm.StartMonitoring,)),
    (Phase.REQUESTED, m.OperationStarted): Then(Phase.RUNNING, later=(m.LookAtOperation,)),
    (Phase.REQUESTED, mm.NothingServes): Then(Phase.COMPLETED, clears=(Cause.MONITORING,)),
    (Phase.REQUESTED, m.CommandPoisoned): Then(Phase.ERRORED, raises=_ERRORED),
    (Phase.REQUESTED, m.DeadlinePassed): Then(Phase.ERRORED, raises=_ERRORED),
    (Phase.RUNNING, m.StillRunning): Then(Phase.RUNNING, later=(m.LookAtOperation,)),
    (Phase.RUNNING, mm.MonitoringSucceeded): Then(Phase.TELLING, (mm.ReadFindings,)),
    (Phase.RUNNING, mm.MonitoringAttemptFailed): Then(Phase.REQUESTED, later=(mm.StartMonitoring,)),
    (Phase.RUNNING, m.OperationFailed): Then(Phase.ERRORED, raises=_ERRORED),
    (Phase.RUNNING, m.CommandPoisoned): Then(Phase.ERRORED, (m.CancelOperation,), raises=_ERRORED),
    (Phase.RUNNING, m.DeadlinePassed): Then(Phase.ERRORED, (m.CancelOperation,), raises=_ERRORED),
    (Phase.TELLING, mm.FindingsRead): Then(Phase.TELLING, (mm.ReadFindings,)),
    (Phase.TELLING, mm.LastFindingsRead): Then(Phase.COMPLETED, clears=(Cause.MONITORING,)),
    (Phase.TELLING, m.CommandPoisoned): Then(Phase.ERRORED, raises=_ERRORED),
    (Phase.TELLING, m.DeadlinePassed): Then(Phase.ERRORED, raises=_ERRORED),
}

MONITORING = Kind(
    name="monitoring run",
    letter="M",
    item=MonitoringRun,
    table=TABLE,
    ends=frozenset({Phase.COMPLETED, Phase.ERRORED}),
    deadlines={
        Phase.REQUESTED: timedelta(hours=2),
        Phase.RUNNING: timedelta(hours=4),
        Phase.TELLING: timedelta(hours=4),
    },
)


class SharedPhase(StrEnum):
    """Whether a plant, or the fleet, drifts as a whole."""

    STANDING = "standing"
    OVER = "over"


class SharedDrift(Item):
    """Most circuits of a plant (`among`), or of the `fleet`, drifted the same way; `run` found it."""

    among: str
    run: str
    period: str = ""


SHARED_DRIFT = Kind(
    name="shared drift",
    letter="Y",
    item=SharedDrift,
    table={
        (None, mm.SharedDriftFound): Then(SharedPhase.STANDING, raises=_SHARED),
        (SharedPhase.STANDING, mm.SharedDriftOver): Then(SharedPhase.OVER),
        (SharedPhase.STANDING, m.DeadlinePassed): Then(SharedPhase.STANDING, raises=_SHARED),
    },
    ends=frozenset({SharedPhase.OVER}),
    deadlines={SharedPhase.STANDING: timedelta(days=100)},
    new_attempts=(m.DeadlinePassed,),
)


def run_id(monitoring: Monitoring, period: Period, request: str = "") -> str:
    """`drift-2026-03-31`, the last day of its period; `drift-2026-03-31-7f3a91c204` for what a request asked for."""
    scheduled = f"{monitoring}-{period.last}"
    return f"{scheduled}-{sha256(request.encode()).hexdigest()[:10]}" if request else scheduled


def check_id(circuit: str, run: str) -> str:
    """`P001_C001!drift-2026-03-31`: the verdict of one run on one circuit."""
    return f"{circuit}!{run}"
