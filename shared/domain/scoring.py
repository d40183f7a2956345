"""A scoring run: one circuit's daily inference, a row of the completeness ledger."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from enum import StrEnum

from shared.domain import messages as m
from shared.domain.alerts.causes import Cause, critical, warning
from shared.domain.machine import Item, Kind, Table, Then
from shared.domain.operation import Operation
from shared.domain.values import Pair


class Phase(StrEnum):
    """Where a day's scoring stands."""

    WAITING_FOR_READINGS = "waiting for readings"
    SCORING = "scoring"
    SCORED = "scored"
    FAILED = "failed"
    ERRORED = "errored"
    MISSED = "missed"
    CALLED_OFF = "called off"


_FAILED = critical(Cause.SCORING)

TABLE: Table = {
    (None, m.ScoringDue): Then(Phase.SCORING, (m.StartScoring,)),
    (None, m.VerificationDue): Then(Phase.SCORING, (m.StartScoring,)),
    (None, m.ScoringRequested): Then(Phase.SCORING, (m.StartScoring,)),
    (None, m.LateReadingsDue): Then(Phase.SCORING, (m.StartScoring,)),
    (None, m.ScoringSkipped): Then(Phase.MISSED, raises=critical(Cause.MISSING_DAY)),
    (None, m.ScoringOverdue): Then(Phase.WAITING_FOR_READINGS, raises=warning(Cause.MISSING_DAY)),
    (Phase.WAITING_FOR_READINGS, m.ReadingsArrived): Then(Phase.SCORING, (m.StartScoring,)),
    (Phase.WAITING_FOR_READINGS, m.DeadlinePassed): Then(Phase.MISSED, raises=critical(Cause.MISSING_DAY)),
    (Phase.SCORING, m.OperationStarted): Then(Phase.SCORING, later=(m.LookAtOperation,)),
    (Phase.SCORING, m.StillRunning): Then(Phase.SCORING, later=(m.LookAtOperation,)),
    (Phase.SCORING, m.ScoringVerified): Then(Phase.SCORED, clears=(Cause.SCORING, Cause.MISSING_DAY)),
    (Phase.SCORING, m.ScoringRefused): Then(Phase.FAILED, raises=_FAILED),
    (Phase.SCORING, m.ScoringAttemptFailed): Then(Phase.SCORING, later=(m.StartScoring,)),
    (Phase.SCORING, m.ScoringOvertaken): Then(Phase.SCORING, later=(m.StartScoring,)),
    (Phase.SCORING, m.OperationFailed): Then(Phase.ERRORED, raises=_FAILED),
    (Phase.SCORING, m.CommandPoisoned): Then(Phase.ERRORED, (m.CancelOperation,), raises=_FAILED),
    (Phase.SCORING, m.DeadlinePassed): Then(Phase.ERRORED, (m.CancelOperation,), raises=_FAILED),
    (Phase.WAITING_FOR_READINGS, m.ScoringCalledOff): Then(Phase.CALLED_OFF),
    (Phase.SCORING, m.ScoringCalledOff): Then(Phase.CALLED_OFF, (m.CancelOperation,)),
    # What a forecast was made without is noted, also when it stands already.
    (Phase.SCORING, m.ReadingsCameLate): Then(Phase.SCORING),
    (Phase.SCORED, m.ReadingsCameLate): Then(Phase.SCORED),
}


class ScoringRun(Item):
    """One forecast origin of one circuit, with the pair that serves it and the readings it used.

    A day that somebody wants once more has another run beside the first; `asked_by` is who. `partial`: readings that it
    was to be made from came after it had begun. `expected`: the circuit served already at the origin.
    """

    circuit: str
    origin: datetime
    pair: Pair | None = None
    table: str = ""
    delta_version: int | None = None
    attempt: int = 1
    operation: Operation | None = None
    job: str = ""
    published_uri: str = ""
    asked_by: str = ""
    comment: str = ""
    partial: bool = False
    expected: bool = True


READINGS_USED = timedelta(days=7)
"""How far before its origin a forecast reads."""


def scoring_id(circuit: str, origin: date, number: int = 1) -> str:
    """`P001_C001@2026-01-31`; the day's second run is `P001_C001@2026-01-31.2`."""
    first = f"{circuit}@{origin:%Y-%m-%d}"
    return first if number == 1 else f"{first}.{number}"


SCORING = Kind(
    name="scoring run",
    letter="S",
    item=ScoringRun,
    table=TABLE,
    ends=frozenset({Phase.SCORED, Phase.FAILED, Phase.ERRORED, Phase.MISSED, Phase.CALLED_OFF}),
    deadlines={Phase.WAITING_FOR_READINGS: timedelta(hours=18), Phase.SCORING: timedelta(hours=6)},
    new_attempts=(m.ScoringAttemptFailed, m.ScoringOvertaken),
)


LIMIT_TAGS = ("forecast_horizon", "target_min", "target_max", "target_sd")


def limits(tags: Mapping[str, str]) -> dict[str, str]:
    """What predictions are held against: the horizon and the range of the target in training."""
    return {name: tags[name] for name in LIMIT_TAGS if name in tags}
