"""The directory: what the configuration folder says about the fleet, as the core asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from shared.configuration import Fleet
from shared.domain.alerts.causes import Severity
from shared.domain.rules import Rules
from shared.domain.values import ENVIRONMENT, Channel, Gate
from shared.settings import Settings


class FleetDirectory:
    """Circuits in key order, sensors by id, rules per circuit."""

    def __init__(self, fleet: Fleet, settings: Settings) -> None:
        self.max_invocations = fleet.policy.max_parallel_invocations
        self._circuits = tuple(fleet.circuits)
        self._by_sensor = {circuit.sensor_id: circuit.key for circuit in fleet}
        gates = fleet.policy.approval_groups
        common = Rules(
            requirements={Gate.REGISTRY: gates.registry, Gate.PRODUCTION: gates.production},
            approval_channel=Channel(settings.approval_channel),
            promotion=fleet.policy.promotion,
            origin_hour=fleet.policy.scoring_origin_hour,
            out_of_band=fleet.policy.out_of_band,
            freeze_windows=fleet.policy.freeze_windows,
            rolls_back=fleet.policy.observation.rolls_back,
            verified_scorings=fleet.policy.observation.verified_scorings,
            late_after=timedelta(hours=fleet.policy.ledger.late_after_hours),
            alert_repeats={
                Severity.WARNING: timedelta(hours=fleet.policy.alerts.repeat_hours.warning),
                Severity.CRITICAL: timedelta(hours=fleet.policy.alerts.repeat_hours.critical),
            },
            acknowledged_for=timedelta(days=fleet.policy.alerts.acknowledged_days),
            alert_routes=fleet.policy.alerts.routes,
            approval_timeout=timedelta(hours=fleet.policy.approval_timeout_hours),
            first_look=timedelta(seconds=settings.first_look_seconds),
            first_job_look=timedelta(seconds=settings.first_job_look_seconds),
            longest_look=timedelta(seconds=settings.longest_look_seconds),
        )
        self._common = common
        both = {Gate.REGISTRY: gates.registry, Gate.PRODUCTION: gates.environment_production}
        updates = fleet.policy.environment_updates
        self._environment = common.model_copy(
            update={
                "requirements": both,
                "canary_circuits": updates.canary_circuits,
                "wave_circuits": updates.wave_circuits,
                "failure_budget": updates.failure_budget,
                "environment_observation": timedelta(hours=updates.observation_hours),
            }
        )
        self._rules = {
            circuit.key: common.model_copy(
                update={
                    "scoring_attempts": 1 + circuit.deployment.max_retries,
                    "columns": (circuit.target_column, *circuit.feature_columns),
                    "null_rate": circuit.monitoring.null_rate,
                    "out_of_range_rate": circuit.monitoring.out_of_range_rate,
                    "plausible_range_sd": circuit.monitoring.plausible_range_sd,
                }
            )
            for circuit in fleet
        }

    def circuits(self) -> Sequence[str]:
        return self._circuits

    def by_sensor(self, sensor: str) -> str | None:
        return self._by_sensor.get(sensor)

    def rules(self, root: str) -> Rules:
        """The circuit's rules; the environment's for its releases, and the fleet's for what is neither."""
        return self._environment if root == ENVIRONMENT else self._rules.get(root, self._common)
