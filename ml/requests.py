"""What is asked of training and scoring, and what they answer. Light: imported where mlflow and sklearn may not be."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from math import isfinite
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from shared.configuration import CircuitConfig, CircuitId, PlantId, SemanticVersion
from shared.domain import comparison


def _whole_hour_utc(moment: datetime) -> datetime:
    moment = moment.astimezone(UTC)
    if moment != moment.replace(minute=0, second=0, microsecond=0):
        raise ValueError("must be a whole hour")
    return moment


UtcHour = Annotated[AwareDatetime, AfterValidator(_whole_hour_utc)]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


Verdict = Literal["better", "worse", "no clear difference", "not comparable"]


class Contender(_Message):
    """A model version: readings up to the end of `cutoff_date` (a UTC day) trained it; `folder` is its MLflow model.

    version None: it is not registered yet.
    """

    version: int | None = Field(default=None, ge=1)
    cutoff_date: date
    folder: str

    @property
    def first_unseen(self) -> datetime:
        return datetime.combine(self.cutoff_date + timedelta(days=1), time(0), UTC)


class TrainingRequest(_Message):
    """One training of one circuit.

    delta_version None means the newest. plausible_ranges are the policy's (minimum, maximum) per column: values outside
    are taken as missing. artifact_root is where a new experiment keeps its artifacts (None: the store's default).
    champion is what the new model is compared with.
    """

    circuit: CircuitConfig
    table_uri: str
    delta_version: int | None = None
    plausible_ranges: dict[str, tuple[float, float]] = {}
    tracking_uri: str
    registry_uri: str | None = None
    artifact_root: str | None = None
    git_commit_sha: str
    pr_number: str
    pr_author: str
    command_id: str = Field(min_length=1, max_length=250, pattern=r"^[^'\"]+$")
    seed: int = 0
    champion: Contender | None = None


class TrainingResult(_Message):
    """The registered model version. Errors are in standard deviations of the target in the training window."""

    model_name: str
    model_version: int
    run_id: str
    command_id: str
    metrics: dict[str, float]
    tags: dict[str, str]
    already_registered: bool = False


class ScoringRequest(_Message):
    """One forecast of one circuit: `horizon` hours, the first of them one hour after forecast_origin (UTC).

    circuit is `{plant_id}_{circuit_id}`. The forecast is written to output_uri.
    """

    circuit: str
    plant_id: PlantId
    circuit_id: CircuitId
    forecast_origin: UtcHour
    table_uri: str
    table_id: str
    delta_version: int = Field(ge=0)
    command_id: str = Field(min_length=1)
    output_uri: str
    model_version: int = Field(ge=1)
    environment_version: SemanticVersion
    horizon: int = Field(ge=1, le=168)


class ScoringSummary(_Message):
    """What was written. delta_version is the one that was read: another than requested if that one is gone."""

    circuit: str
    sensor_id: str
    command_id: str
    output_uri: str
    rows: int
    forecast_origin: datetime
    newest_reading: datetime
    rows_read: int
    delta_version: int
    model_version: int
    environment_version: str


class ComparisonRequest(_Message):
    """delta_version None means the newest; champion None that nothing serves yet."""

    table_uri: str
    delta_version: int | None = None
    candidate: Contender
    champion: Contender | None


class Errors(_Message):
    """Errors in standard deviations of the target on the holdout; coverage is the share of it inside the interval."""

    mae: float
    rmse: float
    skill: float
    coverage: float | None = None


class Comparison(_Message):
    """What came out. reason says why not, where it is not comparable; origins are those both forecast from.

    difference is (low, high) of the candidate's mae minus the champion's, 90 % certain, resampled by day.
    """

    verdict: Verdict
    reason: str = ""
    delta_version: int | None = None
    first_origin: datetime | None = None
    last_origin: datetime | None = None
    origins: int = 0
    horizon: int = 0
    candidate_version: int | None
    champion_version: int | None
    candidate: Errors | None = None
    champion: Errors | None = None
    persistence_mae: float | None = None
    seasonal_naive_mae: float | None = None
    difference: tuple[float, float] | None = None
    better_days: int = 0
    days: int = 0

    def tags(self) -> dict[str, str]:
        """What a model version is tagged with, for those who decide about it: `shared.domain.comparison` reads it."""
        tags = {comparison.VERDICT: f"{self.verdict}: {self.reason}" if self.reason else self.verdict}
        if self.champion_version is not None:
            tags[comparison.CHAMPION_VERSION] = str(self.champion_version)
        if self.candidate and self.champion and self.first_origin and self.last_origin:
            tags[comparison.HOLDOUT] = f"{self.first_origin:%Y-%m-%d}/{self.last_origin:%Y-%m-%d}"
            tags |= _metric_tags(comparison.CANDIDATE, self.candidate.model_dump(exclude_none=True))
            tags |= _metric_tags(comparison.CHAMPION, self.champion.model_dump(exclude_none=True))
        if self.persistence_mae is not None and self.seasonal_naive_mae is not None:
            tags |= _metric_tags(comparison.NAIVE, {"mae": min(self.persistence_mae, self.seasonal_naive_mae)})
        if self.difference:
            tags[comparison.DIFFERENCE] = f"{self.difference[0]:+.3g} to {self.difference[1]:+.3g}"
        return tags


def _metric_tags(prefix: str, metrics: Mapping[str, float]) -> dict[str, str]:
    return {prefix + name: f"{value:.6g}" for name, value in metrics.items() if isfinite(value)}
