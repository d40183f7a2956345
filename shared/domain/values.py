"""Values: what the aggregates are made of. Frozen, compared by content, written to rows as JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

SCORING_TIME = timedelta(minutes=30)
"""How long a scoring job may take where nothing else is said."""


class Value(BaseModel):
    """A frozen record that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Stage(StrEnum):
    """A workspace a model passes through."""

    DEV = "dev"
    TEST = "test"
    PRODUCTION = "production"


class Gate(StrEnum):
    """Where people decide."""

    REGISTRY = "registry"
    PRODUCTION = "production"


class Channel(StrEnum):
    """Where people answer a gate: in the product itself, or in Azure DevOps."""

    PRODUCT = "product"
    DEVOPS = "devops"


class AskState(StrEnum):
    """What became of one approval that was asked outside."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    DEFERRED = "deferred"
    SKIPPED = "skipped"
    TIMED_OUT = "timed out"
    CANCELLED = "cancelled"


class Monitoring(StrEnum):
    """What is looked at over the fleet: errors of published forecasts, drift that decides, drift that only warns."""

    PERFORMANCE = "performance"
    DRIFT = "drift"
    WARNING = "warning"


class ChangeState(StrEnum):
    """What became of a change that was proposed to the configuration's repository. UNKNOWN: it is not there."""

    OPEN = "open"
    MERGED = "merged"
    ABANDONED = "abandoned"
    UNKNOWN = "unknown"


class Pair(Value):
    """The unit of verification, deployment and rollback: a model version with an environment version."""

    model: int
    environment: str

    def __str__(self) -> str:
        return f"model {self.model} with environment {self.environment}"


class OperationState(StrEnum):
    """What a look at started work shows. UNKNOWN: the platform has never heard of it."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class OperationStatus(Value):
    """One look at a long-running operation or job; times are UTC and absent while unknown."""

    reference: str
    state: OperationState
    error: str = ""
    outputs: Mapping[str, str] = {}
    started_at: datetime | None = None
    ended_at: datetime | None = None


class RegisteredModel(Value):
    """A model version in a workspace, with its tags as strings."""

    name: str
    version: int
    tags: Mapping[str, str] = {}


ENVIRONMENT = "sensor-forecast-env"
"""The environment that trains and scores; each of its versions is a semantic one."""


class RegisteredEnvironment(Value):
    """A version of the environment in a workspace, with its tags as strings."""

    version: str
    tags: Mapping[str, str] = {}


SEMANTIC_VERSION = r"(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})"


def is_circuit(root: str) -> bool:
    """Whether a root is a circuit's key, `P001_C001`."""
    return re.fullmatch(r"[A-Za-z][A-Za-z0-9]*_[A-Za-z][A-Za-z0-9]*", root) is not None


def is_semantic(version: str) -> bool:
    """Whether the text is a semantic version of three numbers."""
    return re.fullmatch(SEMANTIC_VERSION, version) is not None


def version_numbers(version: str) -> tuple[int, int, int]:
    """The three numbers of a semantic version, for comparison; raises ValueError for any other text."""
    major, minor, patch = map(int, version.split("."))
    return major, minor, patch


class Deployment(Value):
    """What a workspace really serves for one circuit."""

    circuit: str
    stage: Stage
    pair: Pair
    tags: Mapping[str, str] = {}


def split_circuit(circuit: str) -> tuple[str, str]:
    """`P001_C001` as (`P001`, `C001`)."""
    plant, _, name = circuit.partition("_")
    return plant, name


def model_name(circuit: str) -> str:
    """The registered model's name for a circuit."""
    return f"sensor_model_{circuit}"
