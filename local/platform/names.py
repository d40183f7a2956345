"""Names and ids that AzureML and Azure Resource Manager would give."""

from __future__ import annotations

from enum import StrEnum
from uuid import uuid4

from shared.domain.values import Stage

_GROUP = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/sensor-forecast-local/providers"
LAKE_ACCOUNT = "sensorforecastlake"
LAKE_CONTAINER = "lake"
TABLE_PATH = "processed/sensor_data"
STORAGE_ID = f"{_GROUP}/Microsoft.Storage/storageAccounts/{LAKE_ACCOUNT}"
REGISTRY = "registry"


class Work(StrEnum):
    """What the platform can be asked to start."""

    PROMOTION = "promotion"
    ENVIRONMENT = "environment"
    DEPLOYMENT = "deployment"
    REMOVAL = "removal"
    TRAINING = "training"
    SCORING = "scoring"
    ETL = "etl"
    UPKEEP = "upkeep"
    MONITORING = "monitoring"


def workspace_id(stage: Stage) -> str:
    """The workspace's ARM resource id: the `topic` of its events."""
    return f"{_GROUP}/Microsoft.MachineLearningServices/workspaces/{stage}"


def new_job_name(work: Work) -> str:
    """A name the caller could not have guessed, as AzureML gives to jobs it starts for somebody."""
    prefix = {Work.SCORING: "batchjob", Work.TRAINING: "command", Work.MONITORING: "monitor"}.get(work, "spark")
    return f"{prefix}-{uuid4()}"


def new_operation_id() -> str:
    return str(uuid4())
