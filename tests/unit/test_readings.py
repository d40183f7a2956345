from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from local.readings import simulate, write_readings
from shared.configuration import load_fleet

FLEET = load_fleet(Path(__file__).parents[2] / "config")
FEATURES = FLEET.policy.features
START, END = datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 9, 1, tzinfo=UTC)
SENSOR = "SENSOR_P001_C001"


@pytest.fixture(scope="module")
def half_a_year() -> pl.DataFrame:
    return simulate(SENSOR, FEATURES, START, END)


def test_windows_written_one_after_the_other_are_one_series(half_a_year: pl.DataFrame) -> None:
    middle = datetime(2025, 5, 17, 11, tzinfo=UTC)
    parts = [simulate(SENSOR, FEATURES, START, middle), simulate(SENSOR, FEATURES, middle, END)]
    assert pl.concat(parts).equals(half_a_year)


def test_seed_and_sensor_make_the_readings_and_nothing_else(half_a_year: pl.DataFrame) -> None:
    assert simulate(SENSOR, FEATURES, START, END).equals(half_a_year)
    assert not simulate(SENSOR, FEATURES, START, END, seed=1).equals(half_a_year)
    other = simulate("SENSOR_P001_C002", FEATURES, START, END)
    assert not other["temperature"].head(100).equals(half_a_year["temperature"].head(100))


def test_readings_have_the_faults_of_a_real_historian(half_a_year: pl.DataFrame) -> None:
    hours = (END - START) // timedelta(hours=1)
    times = half_a_year["timestamp"]
    assert times.n_unique() < hours, "outages"
    assert times.n_unique() > 0.97 * hours
    assert times.len() > times.n_unique(), "duplicated rows"
    assert (times.diff().drop_nulls() < timedelta(0)).any(), "late rows come after later ones"
    assert half_a_year["flow"].null_count() > 0
    assert any((half_a_year[name] > feature.maximum).any() for name, feature in FEATURES.items()), "impossible values"


def test_readings_have_a_daily_rhythm_memory_and_coupled_channels(half_a_year: pl.DataFrame) -> None:
    sound = (
        half_a_year.unique("timestamp")
        .sort("timestamp")
        .filter(pl.all_horizontal(pl.col(n).is_between(f.minimum, f.maximum) for n, f in FEATURES.items()))
    )
    by_hour = sound.group_by(pl.col("timestamp").dt.hour()).agg(pl.col("temperature").mean())
    assert by_hour["temperature"].std() > 0.4 * sound["temperature"].std()  # type: ignore[operator]
    assert sound.select(pl.corr("temperature", pl.col("temperature").shift(1))).item() > 0.8
    assert abs(sound.select(pl.corr("power", "current")).item()) > 0.5


def test_no_outage_hides_the_midnight_that_forecasts_start_from(half_a_year: pl.DataFrame) -> None:
    midnights = half_a_year.filter(pl.col("timestamp").dt.hour() == 0)["timestamp"].n_unique()
    assert midnights == (END - START).days


def test_files_hold_utc_and_every_column_of_the_policy(tmp_path: Path) -> None:
    written = write_readings(FLEET, tmp_path, END - timedelta(days=2), END)
    assert len(written.files) == len(FLEET)
    assert {path.parent.name for path in written.files} == {circuit.sensor_id for circuit in FLEET}
    frame = pl.read_parquet(written.files[0])
    assert frame.columns == ["timestamp", "sensor_id", *FEATURES]
    assert frame.schema["timestamp"] == pl.Datetime("us", "UTC")
    assert sum(pl.read_parquet(path).height for path in written.files) == written.rows


def test_a_window_without_time_zone_or_length_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="aware of their time zone"):
        write_readings(FLEET, tmp_path, START.replace(tzinfo=None), END)
    with pytest.raises(ValueError, match="start first"):
        write_readings(FLEET, tmp_path, END, START)
