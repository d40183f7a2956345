"""What is asked of training and scoring, and what they answer. Light: imported where mlflow and sklearn may not be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from shared.configuration import CircuitConfig, CircuitId, PlantId, SemanticVersion


def _whole_hour_utc(moment: datetime) -> datetime:
    moment = moment.astimezone(UTC)
    if moment != moment.replace(minute=0, second=0, microsecond=0):
        raise ValueError("must be a whole hour")
    return moment


UtcHour = Annotated[AwareDatetime, AfterValidator(_whole_hour_utc)]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class TrainingRequest(_Message):
    """One training of one circuit.

    delta_version None means the newest. plausible_ranges are the policy's (minimum, maximum) per column: values outside
    are taken as missing. artifact_root is where a new experiment keeps its artifacts (None: the store's default).
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
