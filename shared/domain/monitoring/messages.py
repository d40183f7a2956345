"""Messages of monitoring: the runs that look at the whole fleet, and what each circuit is told of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from shared.domain.alerts.messages import Evidence
from shared.domain.messages import Command, Consequence, Event, Outcome
from shared.domain.period import Period
from shared.domain.values import Monitoring, Value


class Scope(StrEnum):
    """Who changed the same way at the same time: this circuit alone, most of its plant, or most of the fleet."""

    CIRCUIT = "this circuit"
    PLANT = "whole plant"
    FLEET = "whole fleet"


class Finding(Value):
    """What a run found out about one circuit.

    `reason` says what the verdict rests on, or why none could be given; `model` is the version that was looked at,
    `features` the columns that changed and how, `numbers` what was measured, `report` the page about it. `shown_at` is
    where a run that was not ours is shown.
    """

    verdict: str
    reason: str = ""
    model: int | None = None
    features: tuple[str, ...] = ()
    scope: Scope = Scope.CIRCUIT
    numbers: Mapping[str, float] = {}
    report: str = ""
    shown_at: str = ""


# -------------------------------------------------------------------------------------------------- runs: from outside


class MonitoringDue(Event):
    """A schedule asks whether something is to be looked at; `slot` is its time (UTC)."""

    monitoring: Monitoring
    slot: datetime

    @property
    def identity(self) -> str:
        return f"monitoring:{self.monitoring}:{self.slot:%Y%m%dT%H%M%S}"


class MonitoringAsked(Event):
    """A person wants something looked at now: of one circuit, of a plant, or of all (`among` is empty).

    Without a period it is the newest that the schedule would take; `request` is the caller's own name for it.
    """

    monitoring: Monitoring
    among: str
    period: Period | None = None
    asked_by: str
    comment: str = ""
    request: str

    @property
    def identity(self) -> str:
        return f"monitoring:{self.monitoring}:{self.request}"

    def onto(self) -> Mapping[str, Any]:
        return {"asked_by": self.asked_by, "comment": self.comment}


# ------------------------------------------------------------------------------------------ runs: what came of commands


class MonitoringAttemptFailed(Outcome):
    """An attempt's machinery broke, and another attempt is allowed."""

    error: str

    def onto(self) -> Mapping[str, Any]:
        return {"reason": self.error}


class NothingServes(Outcome):
    """No circuit that was asked about has a model that serves: there is nothing to look at."""

    def onto(self) -> Mapping[str, Any]:
        return {"reason": "no circuit that was asked about has a model that serves"}


class MonitoringSucceeded(Outcome):
    """The job ended and its results can be read; `counts` has the verdicts, `shared` the plants (or `fleet`) that
    drifted as a whole, `covered` the plants that were looked at."""

    counts: Mapping[str, int]
    report: str
    shared: tuple[str, ...] = ()
    covered: tuple[str, ...] = ()
    noticed_by: str = ""

    def onto(self) -> Mapping[str, Any]:
        return {"counts": dict(self.counts), "report": self.report, "reason": ""}


class FindingsRead(Outcome):
    """One slice of a run's findings: at most 50 commands, one a circuit; `next_cursor` is None at the end."""

    commands: tuple[Mapping[str, Any], ...]
    next_cursor: int | None

    def onto(self) -> Mapping[str, Any]:
        return {"cursor": self.next_cursor}

    def shown(self) -> Mapping[str, Any]:
        return {"circuits": len(self.commands), "next_cursor": self.next_cursor}


class LastFindingsRead(FindingsRead):
    """The last slice of a run's findings."""


# ---------------------------------------------------------------------------------------------- runs: what they come to


class SharedDriftFound(Consequence):
    """A plant, or the fleet, drifted as a whole: it is the season, the plant or the ETL, and not each model."""

    among: str
    run: str

    def onto(self) -> Mapping[str, Any]:
        return {"reason": f"most circuits of {self.among} drifted the same way, by {self.run}"}


class SharedDriftOver(Consequence):
    """A deciding run looked at the plant, or the fleet, and it no longer drifts as a whole."""

    run: str

    def onto(self) -> Mapping[str, Any]:
        return {"reason": f"no longer, by {self.run}"}


# --------------------------------------------------------------------------------------------- circuits: from outside


class CircuitJudged(Event):
    """A monitoring run looked at the circuit."""

    run: str
    period: Period
    finding: Finding

    @property
    def identity(self) -> str:
        return f"judged:{self.run}"


class PerformanceJudged(CircuitJudged):
    """The circuit's published forecasts were held against what came."""


class DriftJudged(CircuitJudged):
    """The circuit's readings were held against those that its model learned from; this run decides."""


class DriftWarningJudged(CircuitJudged):
    """The circuit's newest readings were held against those that its model learned from; this run only warns."""


class ModelMonitorBreached(Event):
    """A model monitor of AzureML's says that a threshold was broken; `job` is its run, shown at an address in AzureML,
    `tag` what it says."""

    job: str
    tag: str
    shown_at: str = ""
    told_at: datetime

    @property
    def identity(self) -> str:
        return f"model monitor:{self.job}"


# ---------------------------------------------------------------------------------------- circuits: what a verdict was


class Checked(Consequence):
    """A verdict about the circuit."""

    run: str
    reason: str

    def onto(self) -> Mapping[str, Any]:
        return {"reason": self.reason}


class PerformanceKept(Checked):
    """The errors are within the circuit's limits and no worse than the model's backtest."""


class PerformanceWarned(Checked):
    """The errors are above a limit for warnings, or worse than the model's backtest."""


class PerformanceCritical(Checked):
    """The errors are above a critical limit."""


class PerformanceUnknown(Checked):
    """Nothing can be said of the errors; the reason says why."""


class DriftAbsent(Checked):
    """The readings are like those that the model learned from."""


class DriftWarned(Checked):
    """The newest readings look unlike those that the model learned from; a warning, and no decision."""


class DriftSeen(Checked):
    """The readings are unlike those that the model learned from."""


class DriftUnknown(Checked):
    """Nothing can be said of the readings; the reason says why."""


# -------------------------------------------------------------------------------- circuits: what verdicts come to


class StandingChanged(Consequence):
    """What the circuit's verdicts come to has changed; `check` is the verdict that made it so."""

    check: str
    reason: str
    evidence: Evidence = Evidence()

    def onto(self) -> Mapping[str, Any]:
        return {"check": self.check, "reason": self.reason, "evidence": self.evidence}


class PerformanceDegraded(StandingChanged):
    """The model's errors are above the limits for warnings as often as the policy asks."""


class PerformanceDegradedCritically(StandingChanged):
    """The model's errors are above the critical limits as often as the policy asks."""


class PerformanceEased(StandingChanged):
    """The errors are no longer critical, and still above the limits for warnings."""


class PerformanceRecovered(StandingChanged):
    """The errors are within their limits again."""


class DegradedModelReplaced(StandingChanged):
    """Another model serves: what was said of the former one is no longer about what serves."""


class DriftSuspected(StandingChanged):
    """Runs that only warn have warned as often as the policy asks. No decision: that is a deciding run's."""


class DriftFound(StandingChanged):
    """A deciding run found drift in this circuit and not in most of its plant."""

    features: tuple[str, ...] = ()

    def onto(self) -> Mapping[str, Any]:
        return {**super().onto(), "features": self.features, "scope": Scope.CIRCUIT}


class SharedDriftReached(DriftFound):
    """A deciding run found drift in this circuit as in most of its plant or fleet: the finding is theirs."""

    scope: Scope = Scope.PLANT

    def onto(self) -> Mapping[str, Any]:
        return {**super().onto(), "scope": self.scope}


class DriftOver(StandingChanged):
    """The readings are again like those that the model learned from."""


class DriftedModelReplaced(StandingChanged):
    """Another model serves, which learned from other readings."""


# ------------------------------------------------------------------------------------------------------------ commands


class StartMonitoring(Command):
    """Write down what the run looks at, and start its job."""

    monitoring: Monitoring
    among: str
    period: Period


class ReadFindings(Command):
    """Read the next slice of what a run found."""

    cursor: int

    @property
    def id(self) -> str:
        return f"{super().id}.{self.cursor}"


class TellFinding(Command):
    """Tell one circuit what a run found out about it."""

    monitoring: Monitoring
    run: str
    period: Period
    finding: Finding

    @property
    def id(self) -> str:
        return f"{self.item}.told.{self.run}"
