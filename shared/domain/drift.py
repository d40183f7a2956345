"""Drift of one circuit's readings: the verdict of each run, and whether they have drifted."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

from shared.domain import messages as m
from shared.domain.alerts.causes import Cause, warning
from shared.domain.alerts.messages import Evidence
from shared.domain.machine import Item, Kind, Then
from shared.domain.monitoring import messages as mm
from shared.domain.period import Period


class DriftPhase(StrEnum):
    """A run's verdict; `cannot say` is one, and is never counted as good."""

    STEADY = "steady"
    WARNING = "warning"
    DRIFTED = "drifted"
    CANNOT_SAY = "cannot say"


class DriftCheck(Item):
    """The verdict of one run on the circuit's readings; `decides`, or only warns."""

    circuit: str
    run: str
    period: Period
    decides: bool
    finding: mm.Finding


DRIFT_CHECK = Kind(
    name="drift check",
    letter="I",
    item=DriftCheck,
    table={
        (None, mm.DriftAbsent): Then(DriftPhase.STEADY),
        (None, mm.DriftWarned): Then(DriftPhase.WARNING),
        (None, mm.DriftSeen): Then(DriftPhase.DRIFTED),
        (None, mm.DriftUnknown): Then(DriftPhase.CANNOT_SAY),
    },
    ends=frozenset(DriftPhase),
    deadlines={},
)


class Standing(StrEnum):
    """Whether the readings have drifted: a suspicion is a warning, and nothing follows from it but a look."""

    SUSPECTED = "suspected"
    DRIFTED = "drifted"
    SHARED = "drifted with others"
    OVER = "over"


class Drift(Item):
    """The circuit's readings are no longer like those that its model learned from.

    `check` is the verdict that said so, `features` the columns; with another `scope` than the circuit it is shared with
    most of its plant or fleet, and told of there.
    """

    circuit: str
    model: int | None
    check: str
    features: tuple[str, ...] = ()
    scope: mm.Scope = mm.Scope.CIRCUIT
    evidence: Evidence = Evidence()


_DRIFTED = warning(Cause.DRIFT)
TABLE: dict[tuple[str | None, type[m.Event]], Then] = {
    (None, mm.DriftSuspected): Then(Standing.SUSPECTED),
    (None, mm.DriftFound): Then(Standing.DRIFTED, raises=_DRIFTED),
    (None, mm.SharedDriftReached): Then(Standing.SHARED),
    (Standing.SUSPECTED, mm.DriftFound): Then(Standing.DRIFTED, raises=_DRIFTED),
    (Standing.SUSPECTED, mm.SharedDriftReached): Then(Standing.SHARED),
    (Standing.DRIFTED, mm.SharedDriftReached): Then(Standing.SHARED),
    (Standing.SHARED, mm.DriftFound): Then(Standing.DRIFTED, raises=_DRIFTED),
    # What nobody confirms or denies is forgotten; what was decided stands until another run decides.
    (Standing.SUSPECTED, m.DeadlinePassed): Then(Standing.OVER),
    (Standing.DRIFTED, m.DeadlinePassed): Then(Standing.DRIFTED, raises=_DRIFTED),
    (Standing.SHARED, m.DeadlinePassed): Then(Standing.SHARED),
}
for _phase in (Standing.SUSPECTED, Standing.DRIFTED, Standing.SHARED):
    TABLE |= {
        (_phase, mm.DriftOver): Then(Standing.OVER),
        (_phase, mm.DriftedModelReplaced): Then(Standing.OVER),
    }

DRIFT = Kind(
    name="drift",
    letter="W",
    item=Drift,
    table=TABLE,
    ends=frozenset({Standing.OVER}),
    # Longer than a quarter: by then a run has decided.
    deadlines=dict.fromkeys((Standing.SUSPECTED, Standing.DRIFTED, Standing.SHARED), timedelta(days=100)),
    new_attempts=(m.DeadlinePassed,),
)


def drift_id(circuit: str, number: int) -> str:
    """`P001_C001!drift.1`"""
    return f"{circuit}!drift.{number}"
