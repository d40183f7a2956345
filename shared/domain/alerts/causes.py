"""Causes: what an alert can be about, how severe it is, and who is told of it."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from shared.domain.machine import Alarm
from shared.domain.values import Value


class Severity(StrEnum):
    """CRITICAL: forecasts are missing, wrong or about to be. WARNING: they will be, if nobody looks."""

    WARNING = "warning"
    CRITICAL = "critical"


class Cause(StrEnum):
    """What an alert is about. With its subject it is the alert's key: `scoring:P001_C001`."""

    APPROVAL_AGEING = "approval-ageing"
    DEAD_LETTERS = "dead-letters"
    DEPARTED = "departed"
    DIRECT_ACTION = "direct-action"
    DRIFT = "drift"
    ENVIRONMENT_RELEASE = "environment-release"
    ENVIRONMENT_UPDATE = "environment-update"
    ETL = "etl"
    FAN_OUT = "fan-out"
    FLEET_STOPPED = "fleet-stopped"
    HOLD = "hold"
    MISSING_DAY = "missing-day"
    MONITORING = "monitoring"
    NOTHING_SERVES = "nothing-serves"
    OBSERVATION = "observation"
    PERFORMANCE = "performance"
    PRODUCTION_ADOPTED = "production-adopted"
    PRODUCTION_DIFFERS = "production-differs"
    PROPOSAL = "proposal"
    QUALITY = "quality"
    RELEASE = "release"
    ROLLBACK = "rollback"
    SCORING = "scoring"
    TRAINING = "training"
    TRAINING_FAILURES = "training-failures"
    UPKEEP = "upkeep"


NEWS = frozenset({Cause.DEAD_LETTERS, Cause.DIRECT_ACTION, Cause.PRODUCTION_ADOPTED})
"""What has happened and does not last: it is over once somebody has acknowledged it."""


class Route(Value):
    """Which alerts go to a webhook: of these plants (none named: of all, and of the fleet), of these severities."""

    webhook: str = Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")
    plants: tuple[str, ...] = ()
    severities: tuple[Severity, ...] = Field(default=tuple(Severity), min_length=1)

    def takes(self, plant: str, severity: str) -> bool:
        """Whether an alert about the plant (empty: about no single one) goes this way."""
        return severity in self.severities and (not self.plants or plant in self.plants)


def warning(cause: Cause) -> Alarm:
    return Alarm(cause, Severity.WARNING)


def critical(cause: Cause) -> Alarm:
    return Alarm(cause, Severity.CRITICAL)
