"""Performance of one circuit: the verdict on each period's forecasts, and whether the model has degraded."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

from shared.domain import messages as m
from shared.domain.alerts.causes import Cause, critical, warning
from shared.domain.alerts.messages import Evidence
from shared.domain.machine import Item, Kind, Then
from shared.domain.monitoring import messages as mm
from shared.domain.period import Period


class PerformancePhase(StrEnum):
    """A period's verdict; `cannot say` is one, and is never counted as good."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    CANNOT_SAY = "cannot say"


class PerformanceCheck(Item):
    """The verdict of one monitoring run on the circuit's published forecasts of one period."""

    circuit: str
    run: str
    period: Period
    finding: mm.Finding


PERFORMANCE = Kind(
    name="performance check",
    letter="P",
    item=PerformanceCheck,
    table={
        (None, mm.PerformanceKept): Then(PerformancePhase.OK),
        (None, mm.PerformanceWarned): Then(PerformancePhase.WARNING),
        (None, mm.PerformanceCritical): Then(PerformancePhase.CRITICAL),
        (None, mm.PerformanceUnknown): Then(PerformancePhase.CANNOT_SAY),
    },
    ends=frozenset(PerformancePhase),
    deadlines={},
)


class DegradationPhase(StrEnum):
    """How bad it is, while it stands."""

    DEGRADED = "degraded"
    CRITICAL = "degraded critically"
    OVER = "over"


class Degradation(Item):
    """The model that serves forecasts worse than it may; `check` is the verdict that said so last."""

    circuit: str
    model: int | None
    check: str
    evidence: Evidence = Evidence()


_STANDS = DegradationPhase
_DEGRADED, _CRITICAL = warning(Cause.PERFORMANCE), critical(Cause.PERFORMANCE)
DEGRADATION = Kind(
    name="degradation",
    letter="G",
    item=Degradation,
    table={
        (None, mm.PerformanceDegraded): Then(_STANDS.DEGRADED, raises=_DEGRADED),
        (None, mm.PerformanceDegradedCritically): Then(_STANDS.CRITICAL, raises=_CRITICAL),
        (_STANDS.DEGRADED, mm.PerformanceDegradedCritically): Then(_STANDS.CRITICAL, raises=_CRITICAL),
        (_STANDS.CRITICAL, mm.PerformanceEased): Then(_STANDS.DEGRADED, raises=_DEGRADED),
        (_STANDS.DEGRADED, mm.PerformanceRecovered): Then(_STANDS.OVER),
        (_STANDS.CRITICAL, mm.PerformanceRecovered): Then(_STANDS.OVER),
        (_STANDS.DEGRADED, mm.DegradedModelReplaced): Then(_STANDS.OVER),
        (_STANDS.CRITICAL, mm.DegradedModelReplaced): Then(_STANDS.OVER),
        # It stands until a verdict or another model ends it, and its alert with it.
        (_STANDS.DEGRADED, m.DeadlinePassed): Then(_STANDS.DEGRADED, raises=_DEGRADED),
        (_STANDS.CRITICAL, m.DeadlinePassed): Then(_STANDS.CRITICAL, raises=_CRITICAL),
    },
    ends=frozenset({_STANDS.OVER}),
    deadlines=dict.fromkeys((_STANDS.DEGRADED, _STANDS.CRITICAL), timedelta(days=100)),
    new_attempts=(m.DeadlinePassed,),
)


def degradation_id(circuit: str, number: int) -> str:
    """`P001_C001!degradation.1`"""
    return f"{circuit}!degradation.{number}"
