"""The directory: what the configuration folder says about the fleet, as the core asks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from shared.configuration import Fleet
from shared.configuration import Monitoring as Watching
from shared.domain.alerts.causes import Severity
from shared.domain.quality import QualityLimits
from shared.domain.rules import Rules
from shared.domain.values import ENVIRONMENT, Channel, Gate, Monitoring, is_circuit
from shared.ports import LiveModel, MonitoringOrder
from shared.settings import Settings


class FleetDirectory:
    """Circuits in key order, sensors by id, rules per circuit."""

    def __init__(self, fleet: Fleet, settings: Settings) -> None:
        self.max_invocations = fleet.policy.max_parallel_invocations
        self.retention = fleet.policy.retention
        self._fleet = fleet
        self._circuits = tuple(fleet.circuits)
        self._names = {circuit.key: circuit.name for circuit in fleet}
        self._sensors = {circuit.key: circuit.sensor_id for circuit in fleet}
        self._targets = {circuit.key: circuit.target_column for circuit in fleet}
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
            observation_time=timedelta(hours=hours) if (hours := fleet.policy.observation.hours) else None,
            late_after=timedelta(hours=fleet.policy.ledger.late_after_hours),
            alert_repeats={
                Severity.WARNING: timedelta(hours=fleet.policy.alerts.repeat_hours.warning),
                Severity.CRITICAL: timedelta(hours=fleet.policy.alerts.repeat_hours.critical),
            },
            acknowledged_for=timedelta(days=fleet.policy.alerts.acknowledged_days),
            training_failures=fleet.policy.alerts.training_failures,
            alert_routes=fleet.policy.alerts.routes,
            monitored_every=fleet.policy.monitoring.every(),
            readings_settle=timedelta(hours=fleet.policy.monitoring.settle_hours),
            opens_changes=fleet.policy.proposals.open_pull_requests,
            takes_back_degraded=fleet.policy.proposals.roll_back,
            late_readings=fleet.policy.ledger.late_readings,
            approval_timeout=timedelta(hours=fleet.policy.approval_timeout_hours),
            first_look=timedelta(seconds=settings.first_look_seconds),
            first_job_look=timedelta(seconds=settings.first_job_look_seconds),
            longest_look=timedelta(seconds=settings.longest_look_seconds),
        )
        self._common = common
        self._departed = common.model_copy(update={"configured": False})
        both = {Gate.REGISTRY: gates.registry, Gate.PRODUCTION: gates.environment_production}
        updates = fleet.policy.environment_updates
        self._environment = common.model_copy(
            update={
                "requirements": both,
                "canary_circuits": updates.canary_circuits,
                "wave_circuits": updates.wave_circuits,
                "verify_waves": updates.verify_waves,
                "failure_budget": updates.failure_budget,
                "environment_observation": timedelta(hours=updates.observation_hours),
            }
        )
        self._rules = {
            circuit.key: common.model_copy(
                update={
                    "scoring_time": timedelta(minutes=circuit.deployment.scoring_timeout_minutes),
                    "scoring_attempts": 1 + circuit.deployment.max_retries,
                    "supersede": circuit.release.supersede,
                    "quality": QualityLimits(
                        columns=(circuit.target_column, *circuit.feature_columns),
                        **circuit.monitoring.model_dump(include=set(QualityLimits.model_fields) - {"columns"}),
                    ),
                    "plausible_range_sd": circuit.monitoring.plausible_range_sd,
                    "persistence": circuit.monitoring.persistence,
                    "error_limits": _error_limits(circuit.monitoring),
                    "drift_low": circuit.monitoring.drift.low,
                }
            )
            for circuit in fleet
        }

    def circuits(self) -> Sequence[str]:
        return self._circuits

    def name(self, circuit: str) -> str:
        """What people call the circuit; nothing when the configuration does not say."""
        return self._names.get(circuit, "")

    def sensor(self, circuit: str) -> str:
        """The sensor of a configured circuit."""
        return self._sensors[circuit]

    def target(self, circuit: str) -> str:
        """The column that a configured circuit forecasts."""
        return self._targets[circuit]

    def by_sensor(self, sensor: str) -> str | None:
        return self._by_sensor.get(sensor)

    def rules(self, root: str) -> Rules:
        """The circuit's rules; the environment's for its releases, and the fleet's for what is neither.

        A circuit that the configuration has no more goes on by the fleet's.
        """
        if root == ENVIRONMENT:
            return self._environment
        return self._rules.get(root) or (self._departed if is_circuit(root) else self._common)

    def monitoring_request(self, order: MonitoringOrder) -> Mapping[str, Any]:
        """What `ml.monitor` obeys. The window of drift ends with the period, and is as long as the policy says."""
        from ml.monitor_messages import Kind, MonitoredCircuit, MonitoringRequest

        rules, judged = self._fleet.policy.drift, frozenset(order.judged)
        days = {Monitoring.DRIFT: rules.window_days, Monitoring.WARNING: 2 * rules.warning_days}.get(order.monitoring)
        request = MonitoringRequest(
            kind=Kind(order.monitoring),
            first_day=order.last - timedelta(days=days - 1) if days else order.first,
            last_day=order.last,
            circuits=tuple(
                MonitoredCircuit(circuit=circuit, judged=circuit.key in judged, **_live(order.live.get(circuit.key)))
                for circuit in self._fleet
                if circuit.key in judged or order.monitoring is not Monitoring.PERFORMANCE
            ),
            table_uri=order.table_uri,
            table_id=order.table_id,
            delta_version=order.delta_version,
            predictions_uri=order.predictions_uri,
            plausible_ranges={name: (c.minimum, c.maximum) for name, c in self._fleet.policy.features.items()},
            rules=rules,
            command_id=order.command_id,
        )
        return request.model_dump(mode="json")


def _error_limits(monitoring: Watching) -> dict[Severity, dict[str, float]]:
    """The configured limits of each error, by how bad it is to pass them."""
    thresholds = {"mae": monitoring.mae, "rmse": monitoring.rmse, "mape": monitoring.mape}
    return {
        Severity.WARNING: {name: limit.warn for name, limit in thresholds.items()},
        Severity.CRITICAL: {name: limit.critical for name, limit in thresholds.items()},
    }


def _live(model: LiveModel | None) -> dict[str, Any]:
    """What the request says of the model that serves; why it says nothing where nothing is to be compared."""
    from ml.monitor_messages import LiveModel as Monitored

    if model is None:
        return {}
    cutoff = model.tags.get("cutoff_date", "")
    try:
        return {"live": Monitored(version=model.version, cutoff_date=date.fromisoformat(cutoff), tags=dict(model.tags))}
    except ValueError:
        is_what = f"the tag cutoff_date {cutoff!r:.40}, which is no date" if cutoff else "no tag cutoff_date"
        unknown = (
            f"model {model.version} serves and has {is_what}: what it was trained on is not known. Train it anew, or"
            " release a version with the tag as ml/train.py writes it, such as 2025-12-09"
        )
        return {"unknown": unknown}
