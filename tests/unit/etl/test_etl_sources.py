from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from etl.sources import SourceError, read_folder

FEATURES = ["temperature", "flow"]
NOON = datetime(2025, 12, 9, 12, tzinfo=UTC)


def good(**columns: Any) -> pl.DataFrame:
    return pl.DataFrame({"timestamp": [NOON], "sensor_id": ["S1"], "temperature": [1.5], "flow": [2.0]} | columns)


def reason(folder: Path) -> str:
    with pytest.raises(SourceError) as raised:
        read_folder(folder, FEATURES)
    return str(raised.value)


def test_parquet_and_csv_are_read_alike_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/2.csv").write_text("timestamp,sensor_id,temperature,flow\n2025-12-09T13:00:00+01:00,S1,9,\n")
    good().write_parquet(tmp_path / "1.parquet")
    (tmp_path / "notes.txt").write_text("not a source")
    rows = read_folder(tmp_path, FEATURES).rows
    assert rows["temperature"].to_list() == [1.5, 9.0]
    assert rows["timestamp"].to_list() == [NOON, NOON], "other zones are converted to UTC"
    assert rows["flow"].to_list() == [2.0, None]


def test_an_empty_folder_has_no_readings_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    assert read_folder(tmp_path, FEATURES).rows.is_empty()
    assert "is not a folder" in reason(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (good(timestamp=[NOON.replace(tzinfo=None)]), "timestamps have no time zone"),
        (good(timestamp=["2025-12-09 12:00:00"]), "timestamps have no time zone"),
        (good(timestamp=[1765281600]), "timestamp has type Int64"),
        (good(timestamp=pl.Series([None], dtype=pl.Datetime("us", "UTC"))), "1 rows have no valid timestamp"),
        (good(sensor_id=pl.Series([None], dtype=pl.String)), "1 rows have no valid sensor_id"),
        (good(flow=["much"]), "column flow has type String; numbers are expected"),
        (good().drop("sensor_id"), "has no column sensor_id; it has timestamp, temperature, flow"),
        (good().drop("temperature", "flow"), "has none of the feature columns"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_cause(tmp_path: Path, frame: pl.DataFrame, expected: str) -> None:
    frame.write_parquet(tmp_path / "bad.parquet")
    text = reason(tmp_path)
    assert "bad.parquet" in text
    assert expected in text


def test_a_word_among_the_numbers_of_a_csv_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("timestamp,sensor_id,temperature,flow\n2025-12-09T13:00:00Z,S1,9,much\n")
    text = reason(tmp_path)
    assert "a.csv: flow is 'much' in row 1; a number is expected" in text


def test_one_bad_file_does_not_stop_the_others(tmp_path: Path) -> None:
    good().write_parquet(tmp_path / "good.parquet")
    content = (tmp_path / "good.parquet").read_bytes()
    (tmp_path / "half.parquet").write_bytes(content[: len(content) // 2])
    readings = read_folder(tmp_path, FEATURES)
    assert readings.rows.height == 1
    assert [one.source for one in readings.rejected] == ["half.parquet"]
    assert "is it still being written?" in readings.rejected[0].reason


def test_a_column_the_file_does_not_have_is_missing_and_nan_is_missing_too(tmp_path: Path) -> None:
    good(temperature=[float("nan")]).drop("flow").write_parquet(tmp_path / "1.parquet")
    assert read_folder(tmp_path, FEATURES).rows.row(0)[2:] == (None, None)


def test_readings_after_the_given_time_are_left_for_the_next_run(tmp_path: Path) -> None:
    times = [NOON, NOON.replace(hour=13)]
    good(timestamp=times, sensor_id=["S1"] * 2, temperature=[1.0, 2.0], flow=[1.0] * 2).write_parquet(
        tmp_path / "1.parquet"
    )
    assert read_folder(tmp_path, FEATURES, until=NOON).rows["temperature"].to_list() == [1.0]


def test_a_sensor_that_sends_only_nan_is_left_out_and_named_and_its_neighbours_go_on(tmp_path: Path) -> None:
    hours = [NOON + timedelta(hours=hour) for hour in range(30)]
    healthy = pl.DataFrame({"timestamp": hours, "sensor_id": "S1", "temperature": 20.0, "flow": None})
    flooded = healthy.with_columns(sensor_id=pl.lit("S2"), temperature=pl.lit(float("nan")))
    pl.concat([healthy, flooded], how="vertical_relaxed").write_parquet(tmp_path / "both.parquet")
    readings = read_folder(tmp_path, FEATURES)
    assert readings.rows["sensor_id"].unique().to_list() == ["S1"], "one missing column is no flood"
    (rejection,) = readings.rejected
    assert (rejection.source, rejection.sensor_id) == ("both.parquet", "S2")
    assert "30 of 30 readings of S2 have no value" in rejection.reason
    assert "check the sensor and its export" in rejection.reason


def test_an_outage_of_a_few_hours_is_no_flood(tmp_path: Path) -> None:
    hours = [NOON + timedelta(hours=hour) for hour in range(30)]
    values = [None] * 20 + [1.0] * 10
    pl.DataFrame({"timestamp": hours, "sensor_id": "S1", "temperature": values, "flow": None}).write_parquet(
        tmp_path / "1.parquet"
    )
    readings = read_folder(tmp_path, FEATURES)
    assert readings.rows.height == 30 and not readings.rejected


def test_a_folder_with_nothing_but_floods_is_an_error(tmp_path: Path) -> None:
    hours = [NOON + timedelta(hours=hour) for hour in range(30)]
    pl.DataFrame({"timestamp": hours, "sensor_id": "S1", "temperature": float("nan")}).write_parquet(
        tmp_path / "1.parquet"
    )
    assert "30 of 30 readings of S1" in reason(tmp_path)
