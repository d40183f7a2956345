"""What a monitoring job is asked and what it answers. Light: imported where numpy, polars and sklearn may not be."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.configuration import CircuitConfig, DriftRules

RESULTS = "results.json"  # in the output folder: a MonitoringResult, written last


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Kind(StrEnum):
    """What is judged: a period's forecast errors; drift, which decides; two short windows in a row, which only warn."""

    PERFORMANCE = "performance"
    DRIFT = "drift"
    WARNING = "warning"


class Verdict(StrEnum):
    """What came out: of performance ok, warning or critical; of drift steady or drifted; of a warning run steady or
    warning. CANNOT_SAY never comes without its reason."""

    OK = "ok"
    STEADY = "steady"
    WARNING = "warning"
    CRITICAL = "critical"
    DRIFTED = "drifted"
    CANNOT_SAY = "cannot say"


class Level(StrEnum):
    """How large a change is, by the circuit's `monitoring.drift` limits."""

    NONE = "none"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Scope(StrEnum):
    """Who changed the same way at the same time."""

    CIRCUIT = "this circuit"
    PLANT = "whole plant"
    FLEET = "whole fleet"


class Role(StrEnum):
    """What a column is to a circuit's model."""

    TARGET = "target"
    FEATURE = "feature"
    FORECAST = "forecast"


class Change(StrEnum):
    """What about a column changed most: where its values lie, or how far they spread."""

    HIGHER = "higher"
    LOWER = "lower"
    WIDER = "wider"
    NARROWER = "narrower"


class Basis(StrEnum):
    """What gave a change away: where the column lies on the whole, or how far it spreads, or that it left its circuit's
    other columns; or a step, by its own past or beside the other columns."""

    LEVEL = "its level"
    SPREAD = "its spread"
    RELATION = "its relation to the other columns"
    STEP = "a step"
    STEP_BESIDE = "a step beside the other columns"


# ---------------------------------------------------------------------------------------------------------- the request


class LiveModel(_Message):
    """The model version that serves, with the tags it was registered with: target_sd, mae, rmse, naive_mae, …"""

    version: int = Field(ge=1)
    cutoff_date: date
    tags: dict[str, str] = {}


class MonitoredCircuit(_Message):
    """One circuit of the run. live None: nothing can be compared, because of `unknown`, and the verdict says so.

    judged False: the circuit only lends its past to what is normal in the fleet; nothing is said about it.
    """

    circuit: CircuitConfig
    live: LiveModel | None = None
    unknown: str = "no live model: nothing serves this circuit"
    judged: bool = True


class MonitoringRequest(_Message):
    """One run over any number of circuits. The period is from first_day to last_day, both included, UTC.

    performance: forecasts whose origin lies in the period. drift: the period is the window that is judged. warning: the
    period's two halves are, one after the other. delta_version None means the newest; predictions_uri is the folder
    that holds `{plant}/{circuit}/YYYY-MM-DD.parquet`. plausible_ranges are the policy's (minimum, maximum) per column.
    """

    kind: Kind
    first_day: date
    last_day: date
    circuits: tuple[MonitoredCircuit, ...] = Field(min_length=1)
    table_uri: str
    table_id: str = ""
    delta_version: int | None = None
    predictions_uri: str
    plausible_ranges: dict[str, tuple[float, float]] = {}
    rules: DriftRules = DriftRules()
    command_id: str = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.last_day < self.first_day:
            raise ValueError(f"the period ends ({self.last_day}) before it begins ({self.first_day})")
        keys = [monitored.circuit.key for monitored in self.circuits]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise ValueError(f"circuits are asked about twice: {', '.join(twice)}")
        return self

    @property
    def begin(self) -> datetime:
        return datetime.combine(self.first_day, time(0), UTC)

    @property
    def end(self) -> datetime:
        """The first moment after the period."""
        return datetime.combine(self.last_day + timedelta(days=1), time(0), UTC)


# ----------------------------------------------------------------------------------------------------------- the answer


class Measures(_Message):
    """What people ask for beside the verdict, raw values of reference and window; none of them decides.

    On sensors their usual limits (psi .2, jensen_shannon .1, wasserstein .1 sd, ks_p_value .05) are passed most weeks.
    """

    psi: float
    jensen_shannon: float
    wasserstein_sd: float
    ks: float
    ks_p_value: float


class ColumnFinding(_Message):
    """One column of one circuit. shift_sd: how far its values moved, in standard deviations of the deseasonalised
    reference, and beside the other columns, from where those would have it; spread_ratio: how many times as far they
    spread within a day. since: where it is a step, the day on which it began.

    effect is what the levels are about: the probability that a value of the window lies above (or further out than) one
    of the reference, less one half. p_value: of windows in which nothing changed; q_value: the smallest false discovery
    rate at which it would count. units_changed: nothing is said, since the source seems to give other units now.
    """

    column: str
    role: Role
    verdict: Verdict
    reason: str = ""
    level: Level = Level.NONE
    change: Change | None = None
    basis: Basis | None = None
    since: date | None = None
    scope: Scope = Scope.CIRCUIT
    effect: float | None = None
    shift_sd: float | None = None
    spread_ratio: float | None = None
    p_value: float | None = None
    q_value: float | None = None
    measures: Measures | None = None
    units_changed: bool = False


class Performance(_Message):
    """Errors of the period's forecasts against what was measured, over all origins and steps.

    mae, rmse and naive_mae are in standard deviations of the target in the training window; mape is None where it
    comes near zero; r2, mase and skill are None where what was measured, or a naive forecast's error, does not vary.
    skill is 1 - mae / naive_mae, of the better naive forecast on the same hours. backtest_mae is the model's own when
    it was registered, expected_mae what that may come to by chance over this many days.
    """

    mae: float
    rmse: float
    mape: float | None
    mase: float | None
    r2: float | None
    naive: str
    naive_mae: float
    skill: float | None
    coverage: float
    backtest_mae: float | None
    expected_mae: float | None
    days: int
    hours: int


class CircuitFinding(_Message):
    """The verdict on one circuit. report is relative to the output folder.

    breaches say, one sentence each, what the verdict rests on; reason is why none could be given.
    """

    circuit: str
    plant_id: str
    circuit_id: str
    sensor_id: str
    model_version: int | None
    verdict: Verdict
    reason: str = ""
    breaches: tuple[str, ...] = ()
    level: Level = Level.NONE
    scope: Scope = Scope.CIRCUIT
    columns: tuple[ColumnFinding, ...] = ()
    performance: Performance | None = None
    report: str = ""


class CommonChange(_Message):
    """A change that most circuits of a plant, or of the fleet (plant_id None), share: look there, not at each model."""

    scope: Scope
    plant_id: str | None
    column: str
    change: Change
    circuits: tuple[str, ...]
    share: float


class MonitoringResult(_Message):
    """Everything a run found: one finding for every circuit that was to be judged, whatever happened to the others."""

    kind: Kind
    first_day: date
    last_day: date
    command_id: str
    delta_version: int
    findings: tuple[CircuitFinding, ...]
    common_changes: tuple[CommonChange, ...] = ()
    fleet_report: str = ""

    def of(self, circuit: str) -> CircuitFinding:
        """The finding of a circuit; KeyError if it was not judged."""
        return {finding.circuit: finding for finding in self.findings}[circuit]
