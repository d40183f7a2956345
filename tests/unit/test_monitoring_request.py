"""What a monitoring job is asked: the order, and what the configuration says of each circuit."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from ml.monitor_messages import MonitoringRequest
from shared.configuration import load_fleet
from shared.domain.alerts.causes import Severity
from shared.domain.period import Every, named
from shared.domain.values import Monitoring
from shared.fleet_directory import FleetDirectory
from shared.ports import LiveModel, MonitoringOrder
from shared.settings import Settings
from tests.unit.test_settings import LOCAL

FLEET = load_fleet(Path(__file__).resolve().parents[2] / "config")
DIRECTORY = FleetDirectory(FLEET, Settings.read(LOCAL))
TAGS = {"cutoff_date": "2025-12-09", "mae": "0.11", "target_sd": "12.0"}


def asked(monitoring: Monitoring, **changes: Any) -> MonitoringRequest:
    quarter = named("2026-Q1")
    given: dict[str, Any] = {
        "command_id": "drift-2026-03-31.1.StartMonitoring",
        "monitoring": monitoring,
        "first": quarter.first,
        "last": quarter.last,
        "judged": ("P001_C001",),
        "live": {"P001_C001": LiveModel(3, TAGS)},
        "table_uri": "lake/processed/sensor_data",
        "table_id": "t1",
        "delta_version": 7,
        "predictions_uri": "lake/predictions",
    }
    return MonitoringRequest.model_validate(DIRECTORY.monitoring_request(MonitoringOrder(**{**given, **changes})))


@pytest.mark.parametrize(
    ("monitoring", "days"),
    [
        (Monitoring.PERFORMANCE, 90),
        (Monitoring.DRIFT, FLEET.policy.drift.window_days),
        (Monitoring.WARNING, 2 * FLEET.policy.drift.warning_days),
    ],
)
def test_drift_is_judged_over_its_own_window_which_ends_with_the_period(monitoring: Monitoring, days: int) -> None:
    request = asked(monitoring)
    assert request.last_day == date(2026, 3, 31)
    assert request.last_day - request.first_day + timedelta(days=1) == timedelta(days=days)


def test_for_drift_the_whole_fleet_lends_its_past_and_only_who_was_asked_about_is_judged() -> None:
    request = asked(Monitoring.DRIFT)
    assert {each.circuit.key for each in request.circuits} == set(FLEET.circuits)
    assert [each.circuit.key for each in request.circuits if each.judged] == ["P001_C001"]
    assert [each.circuit.key for each in asked(Monitoring.PERFORMANCE).circuits] == ["P001_C001"]


def test_a_live_model_is_named_with_what_is_kept_of_it_and_where_nothing_serves_it_is_said() -> None:
    (held,) = (each for each in asked(Monitoring.PERFORMANCE).circuits)
    assert held.live is not None
    assert (held.live.version, held.live.cutoff_date, held.live.tags["mae"]) == (3, date(2025, 12, 9), "0.11")
    (nothing,) = asked(Monitoring.PERFORMANCE, live={}).circuits
    assert nothing.live is None and nothing.unknown == "no live model: nothing serves this circuit"


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({}, "has no tag cutoff_date"),
        ({"cutoff_date": "last week"}, "has the tag cutoff_date 'last week', which is no date"),
    ],
    ids=["missing", "no date"],
)
def test_a_model_that_serves_without_a_usable_cutoff_is_told_from_none_with_the_next_step(
    tags: dict[str, str], said: str
) -> None:
    (unknown,) = asked(Monitoring.PERFORMANCE, live={"P001_C001": LiveModel(3, tags)}).circuits
    assert unknown.live is None
    assert f"model 3 serves and {said}" in unknown.unknown and "Train it anew" in unknown.unknown


def test_the_policy_says_how_often_and_the_circuit_how_persistently() -> None:
    rules = DIRECTORY.rules("P001_C001")
    assert rules.monitored_every == {
        Monitoring.PERFORMANCE: Every.MONTH,
        Monitoring.DRIFT: Every.QUARTER,
        Monitoring.WARNING: Every.DAY,
    }
    assert rules.persistence == FLEET.circuit("P001_C001").monitoring.persistence
    assert rules.readings_settle == timedelta(hours=FLEET.policy.monitoring.settle_hours)
    assert rules.quality.columns[0] == FLEET.circuit("P001_C001").target_column
    assert rules.quality.stuck_hours == FLEET.circuit("P001_C001").monitoring.stuck_hours


def test_the_limits_that_alerts_tell_of_are_the_circuits_own() -> None:
    rules = DIRECTORY.rules("P001_C001")
    monitoring = FLEET.circuit("P001_C001").monitoring
    assert rules.error_limits[Severity.WARNING] == {
        "mae": monitoring.mae.warn,
        "rmse": monitoring.rmse.warn,
        "mape": monitoring.mape.warn,
    }
    assert rules.error_limits[Severity.CRITICAL]["rmse"] == monitoring.rmse.critical
    assert rules.drift_low == monitoring.drift.low
