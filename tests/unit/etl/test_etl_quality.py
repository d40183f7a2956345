from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import polars as pl

from etl.quality import assess
from shared.configuration import FeatureColumn

FEATURES = {
    "temperature": FeatureColumn(unit="degC", minimum=0, maximum=100),
    "flow": FeatureColumn(unit="m3/h", minimum=-1, maximum=1),
}
START = datetime(2025, 12, 9, tzinfo=UTC)


def readings(sensor: str, hours: list[int], temperature: Sequence[float | None]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "timestamp": [START + timedelta(hours=hour) for hour in hours],
            "sensor_id": sensor,
            "temperature": temperature,
            "flow": [0.1 * i % 1 for i in range(len(hours))],
        }
    )


def test_each_sensor_is_counted_by_itself() -> None:
    hours = [5, 4, 3, 2, 0]
    first = readings("A", hours, [50.0, None, 101.0, -1.0, 100.0])
    second = readings("B", [0, 1], [1.0, 2.0])
    quality = assess(pl.concat([first, second]), FEATURES)
    assert quality["A"].rows == 5
    assert quality["A"].nulls == {"temperature": 1}
    assert quality["A"].out_of_range == {"temperature": 2}, "the limits themselves are in range"
    assert (quality["A"].gaps, quality["A"].missing_hours) == (1, 1)
    assert quality["B"] == type(quality["B"])(rows=2, nulls={}, out_of_range={}, gaps=0, missing_hours=0, stuck={})


def test_a_sensor_that_repeats_itself_is_stuck_even_if_rows_are_missing_values() -> None:
    temperature: list[float | None] = [20.0] * 4 + [None] + [20.0] * 4 + [21.0] * 6
    quality = assess(readings("A", list(range(15)), temperature), FEATURES)
    assert quality["A"].stuck == {"temperature": 8}


def test_a_run_of_equal_values_is_followed_into_the_rows_around() -> None:
    before = readings("A", list(range(20)), [19.0] * 5 + [20.0] * 15)
    new = readings("A", [20, 21, 22], [20.0, 20.0, 21.0])
    assert assess(new, FEATURES)["A"].stuck == {}
    assert assess(new, FEATURES, before)["A"].stuck == {"temperature": 17}
    counted = assess(new, FEATURES, before)["A"]
    assert (counted.rows, counted.gaps, counted.missing_hours) == (3, 0, 0), "the rows around are not counted"


def test_a_run_that_the_readings_are_no_part_of_is_not_theirs() -> None:
    before = readings("A", list(range(20)), [20.0] * 20)
    assert assess(readings("A", [20, 21], [21.0, 22.0]), FEATURES, before)["A"].stuck == {}
    assert assess(readings("A", [20, 21], [None, 22.0]), FEATURES, before)["A"].stuck == {}
    assert assess(readings("B", [20, 21], [20.0, 20.0]), FEATURES, before)["B"].stuck == {}


def test_a_late_reading_that_joins_two_runs_makes_one_of_them() -> None:
    hours = [*range(5), *range(6, 11)]
    late = readings("A", [5], [20.0])
    assert assess(late, FEATURES, readings("A", hours, [20.0] * 10))["A"].stuck == {"temperature": 11}


def test_many_readings_within_an_hour_are_one_hour_of_a_run() -> None:
    quarters = pl.DataFrame(
        {
            "timestamp": [START + timedelta(minutes=15 * step) for step in range(40)],
            "sensor_id": "A",
            "temperature": 20.0,
            "flow": [0.01 * step for step in range(40)],
        }
    )
    assert assess(quarters, FEATURES)["A"].stuck == {"temperature": 10}
    assert assess(quarters.head(24), FEATURES)["A"].stuck == {}, "six hours are no more than a coincidence"


def test_a_column_without_any_value_is_all_nulls_and_not_stuck() -> None:
    frame = readings("A", [0, 1], [None, None]).with_columns(pl.col("temperature").cast(pl.Float64))
    quality = assess(frame, FEATURES)["A"]
    assert quality.nulls == {"temperature": 2}
    assert quality.stuck == {} and quality.out_of_range == {}
