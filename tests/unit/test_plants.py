"""The simulated plants of `make up`: hour after hour the same readings, whatever happened in between."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from local.configuration import copy_configuration
from local.readings import simulate
from local.up import HISTORY, Plants
from shared.configuration import Fleet

ROOT = Path(__file__).resolve().parents[2]
NOON = datetime(2026, 1, 31, 12, 30, tzinfo=UTC)
CUTOFF = date(2026, 1, 29)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    whole = copy_configuration(ROOT / "config", tmp_path / "config", cutoff_date=CUTOFF)
    return whole.model_copy(update={"circuits": {name: whole.circuits[name] for name in ("P001_C001", "P003_C004")}})


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    return tmp_path / "landing"


def files(landing: Path, sensor: str = "SENSOR_P001_C001") -> list[str]:
    return sorted(path.stem for path in (landing / sensor).glob("*"))


def readings(landing: Path, sensor: str = "SENSOR_P001_C001") -> pl.DataFrame:
    """All that lies in the sensor's folder, each reading once."""
    everything = pl.concat(pl.read_parquet(path) for path in sorted((landing / sensor).glob("*.parquet")))
    return everything.unique(maintain_order=True).sort("timestamp", *everything.columns[2:])


def expected(fleet: Fleet, until: datetime, sensor: str = "SENSOR_P001_C001") -> pl.DataFrame:
    start = datetime(CUTOFF.year, CUTOFF.month, CUTOFF.day, tzinfo=UTC) - HISTORY
    whole = simulate(sensor, fleet.policy.features, start, until)
    return whole.unique(maintain_order=True).sort("timestamp", *whole.columns[2:])


def test_history_reaches_back_before_the_first_day_that_models_are_trained_up_to(fleet: Fleet, landing: Path) -> None:
    assert Plants(fleet, landing).deliver(NOON)
    assert readings(landing).equals(expected(fleet, NOON.replace(minute=0)))
    assert readings(landing)["timestamp"].min() == datetime(2025, 8, 2, tzinfo=UTC)
    assert files(landing) == files(landing, "SENSOR_P003_C004") == ["20250802T0000_20260131T1200"]


def test_each_passing_hour_is_delivered_once(fleet: Fleet, landing: Path) -> None:
    plants = Plants(fleet, landing)
    assert [plants.deliver(NOON + timedelta(minutes=minutes)) for minutes in (0, 10, 29, 30, 45)] == [
        True,
        False,
        False,
        True,
        False,
    ]
    assert readings(landing).equals(expected(fleet, datetime(2026, 1, 31, 13, tzinfo=UTC)))


def test_hours_across_months_restarts_and_outages_add_up_to_the_same_readings_in_few_files(
    fleet: Fleet, landing: Path
) -> None:
    hours = [*range(4), 9, 10, 11, 12, 13, 40, 41, 24 * 30, 24 * 30 + 1]
    plants = Plants(fleet, landing)
    for number, hour in enumerate(hours):
        if number % 3 == 2:
            plants = Plants(fleet, landing)  # as after a restart
        plants.deliver(NOON + timedelta(hours=hour))
    until = (NOON + timedelta(hours=hours[-1])).replace(minute=0)
    assert readings(landing).equals(expected(fleet, until))
    assert len(files(landing)) == 6  # the history, what a gap or the end of a month began, and one being replaced


def test_the_file_that_was_replaced_stays_while_somebody_may_read_it(fleet: Fleet, landing: Path) -> None:
    plants = Plants(fleet, landing)
    kept = []
    for hour in range(4):
        plants.deliver(NOON.replace(day=5) + timedelta(hours=hour))
        kept.append(files(landing)[1:])
    assert kept[1:] == [
        ["20260105T1200_20260105T1300"],
        ["20260105T1200_20260105T1300", "20260105T1200_20260105T1400"],
        ["20260105T1200_20260105T1400", "20260105T1200_20260105T1500"],
    ]


def test_a_sensor_that_is_new_or_was_interrupted_catches_up_alone(fleet: Fleet, landing: Path) -> None:
    only = fleet.model_copy(update={"circuits": {"P001_C001": fleet.circuits["P001_C001"]}})
    Plants(only, landing).deliver(NOON)
    before = files(landing)
    (landing / "SENSOR_P001_C001" / "20260131T1200_20260131T1300.writing").touch()  # left by an interruption
    Plants(fleet, landing).deliver(NOON)
    assert [name for name in files(landing) if "1300" not in name] == before
    assert readings(landing, "SENSOR_P003_C004").equals(expected(fleet, NOON.replace(minute=0), "SENSOR_P003_C004"))


def test_a_clock_that_was_set_back_delivers_nothing_twice(fleet: Fleet, landing: Path) -> None:
    Plants(fleet, landing).deliver(NOON)
    before = files(landing)
    Plants(fleet, landing).deliver(NOON - timedelta(hours=5))
    assert files(landing) == before
