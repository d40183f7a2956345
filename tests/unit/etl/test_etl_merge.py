from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from etl import merge as merging
from etl.merge import Change, MergeConflict, merge
from etl.sources import empty

FEATURES = ["temperature", "flow"]
START = datetime(2025, 12, 8, tzinfo=UTC)


def readings(*rows: tuple[str, int, float | None, float | None]) -> pl.DataFrame:
    """Rows of (sensor, hours after START, temperature, flow)."""
    columns: dict[str, list[Any]] = {
        "timestamp": [START + timedelta(hours=row[1]) for row in rows],
        "sensor_id": [row[0] for row in rows],
        "temperature": [row[2] for row in rows],
        "flow": [row[3] for row in rows],
    }
    return pl.DataFrame(columns, schema=empty(FEATURES).schema)


def upsert(table: Path | str, frame: pl.DataFrame, features: list[str] = FEATURES) -> Change | None:
    return merge(str(table), frame, features, lambda change: {"run_id": "run"})


def content(table: Path | str) -> pl.DataFrame:
    return pl.scan_delta(str(table)).sort("sensor_id", "timestamp").collect()


def values(table: Path | str, column: str = "temperature") -> list[float | None]:
    return content(table)[column].to_list()


def test_the_table_has_the_fixed_schema_and_is_partitioned_by_date(tmp_path: Path) -> None:
    change = upsert(tmp_path / "t", readings(("A", 0, 1.0, 2.0), ("A", 30, 3.0, 4.0)))
    assert change and (change.version, change.inserted, change.updated) == (1, 2, 0)
    table = DeltaTable(str(tmp_path / "t"))
    assert table.metadata().partition_columns == ["date"]
    schema = content(tmp_path / "t").schema
    assert list(schema) == ["timestamp", "date", "sensor_id", *FEATURES]
    assert schema["timestamp"] == pl.Datetime("us", "UTC")
    assert content(tmp_path / "t")["date"].to_list() == [date(2025, 12, 8), date(2025, 12, 9)]


def test_the_same_input_again_makes_no_commit(tmp_path: Path) -> None:
    rows = readings(("A", 0, 1.0, None), ("A", 1, None, 4.0))
    upsert(tmp_path / "t", rows)
    again = upsert(tmp_path / "t", rows)
    assert again and again.version is None
    assert DeltaTable(str(tmp_path / "t")).version() == 1


def test_no_readings_do_not_even_make_a_table(tmp_path: Path) -> None:
    assert upsert(tmp_path / "t", empty(FEATURES)) is None
    assert not (tmp_path / "t").exists()


def test_late_and_changed_rows_of_closed_days_are_upserted_and_reported(tmp_path: Path) -> None:
    upsert(tmp_path / "t", readings(("A", 0, 1.0, 1.0), ("A", 26, 2.0, 2.0), ("B", 0, 5.0, 5.0)))
    change = upsert(
        tmp_path / "t", readings(("A", 0, 9.0, 1.0), ("A", 1, 3.0, 3.0), ("A", 27, 4.0, 4.0), ("B", 1, 6, 6))
    )
    assert change and (change.inserted, change.updated) == (3, 1)
    assert values(tmp_path / "t") == [9.0, 3.0, 2.0, 4.0, 5.0, 6.0]
    assert change.closed_days.rows() == [("A", date(2025, 12, 8), date(2025, 12, 8), 1, 1, 1)]
    assert change.rewritten.rows() == [("A", "temperature", 1, 1.0, 9.0)]
    assert change.examples.rows() == [("A", START, "temperature", 1.0, 9.0)]
    newest = {row["sensor_id"]: row["last"] for row in change.sensors.iter_rows(named=True)}
    assert newest == {"A": START + timedelta(hours=27), "B": START + timedelta(hours=1)}


def test_of_many_rewritten_values_the_first_few_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    day = [("A", hour, float(hour), None if hour == 5 else 1.0) for hour in range(24)]
    upsert(tmp_path / "t", readings(*day, ("A", 30, 0.0, 0.0), ("A", 31, 0.0, 0.0)))
    change = upsert(tmp_path / "t", readings(*(("A", hour, hour + 10.0, 1.0) for hour in range(24)), ("A", 30, 5, 5)))
    assert change and change.updated == 25
    assert change.closed_days.select("days", "late", "changed").rows() == [(1, 0, 24)], "the newest day is still open"
    assert change.rewritten.rows() == [("A", "flow", 1, None, 1.0), ("A", "temperature", 24, 11.5, 21.5)]
    assert change.examples.select("timestamp", "before", "after").rows() == [
        (START + timedelta(hours=hour), float(hour), hour + 10.0) for hour in range(3)
    ]


def test_the_newest_reading_of_the_table_is_reported_when_only_late_rows_come(tmp_path: Path) -> None:
    upsert(tmp_path / "t", readings(("A", 100, 1.0, 1.0)))
    change = upsert(tmp_path / "t", readings(("A", 2, 1.0, 1.0)))
    assert change
    assert change.sensors.row(0, named=True) == {
        "sensor_id": "A",
        "first": START + timedelta(hours=2),
        "last": START + timedelta(hours=100),
        "rows": 1,
    }


def test_the_value_that_arrived_last_counts_and_a_missing_one_replaces_nothing(tmp_path: Path) -> None:
    upsert(tmp_path / "t", readings(("A", 0, 1.0, None), ("A", 0, 2.0, 7.0), ("A", 0, None, None)))
    assert (values(tmp_path / "t"), values(tmp_path / "t", "flow")) == ([2.0], [7.0])
    upsert(tmp_path / "t", readings(("A", 0, None, 8.0)))
    assert (values(tmp_path / "t"), values(tmp_path / "t", "flow")) == ([2.0], [8.0])


def test_a_new_feature_column_is_added_and_old_rows_lack_it(tmp_path: Path) -> None:
    upsert(tmp_path / "t", readings(("A", 0, 1.0, 1.0)))
    wider = readings(("A", 1, 2.0, 2.0)).with_columns(level=pl.lit(50.0))
    upsert(tmp_path / "t", wider, [*FEATURES, "level"])
    assert values(tmp_path / "t", "level") == [None, 50.0]
    table = DeltaTable(str(tmp_path / "t"))
    assert [entry["operation"] for entry in table.history()] == ["WRITE", "ADD COLUMN", "WRITE", "CREATE TABLE"]


def test_columns_that_are_no_features_any_more_keep_what_they_have(tmp_path: Path) -> None:
    upsert(tmp_path / "t", readings(("A", 0, 1.0, 7.0), ("A", 1, 1.0, 8.0)))
    upsert(tmp_path / "t", readings(("A", 0, 2.0, None), ("A", 2, 3.0, None)).drop("flow"), ["temperature"])
    assert (values(tmp_path / "t"), values(tmp_path / "t", "flow")) == ([2.0, 1.0, 3.0], [7.0, 8.0, None])


def test_texts_are_plain_strings_in_every_file_so_that_azureml_can_read_them(tmp_path: Path) -> None:
    upsert(tmp_path / "t", readings(("A", 0, 1.0, 1.0)))
    upsert(tmp_path / "t", readings(("A", 0, 2.0, 2.0), ("B", 30, 2.0, 2.0)))
    files = [*(tmp_path / "t").glob("date=*/*.parquet")]
    assert len(files) == 3
    assert {str(pq.read_schema(file).field("sensor_id").type) for file in files} == {"string"}


def test_only_the_days_of_the_change_are_rewritten(tmp_path: Path) -> None:
    upsert(tmp_path / "t", readings(*(("A", 24 * day, float(day), 1.0) for day in range(10))))
    before = set(DeltaTable(str(tmp_path / "t")).file_uris())
    upsert(tmp_path / "t", readings(("A", 24 * 4, -1.0, 1.0)))
    after = set(DeltaTable(str(tmp_path / "t")).file_uris())
    assert len(before - after) == 1 and "date=2025-12-12" in next(iter(before - after))
    assert len(after - before) == 1


def test_no_day_is_read_that_lies_further_back_than_is_looked(tmp_path: Path) -> None:
    table = tmp_path / "table"
    upsert(table, readings(*(("A", hour, 1.0, 0.1) for hour in range(96)), ("B", 90, 1.0, 0.1)))
    for day in range(2):
        for file in table.glob(f"date={(START + timedelta(days=day)).date()}/*.parquet"):
            file.write_bytes(b"is not read")
    change = merge(str(table), readings(("A", 96, 2.0, 0.1)), FEATURES, lambda _: {}, timedelta(hours=40))
    assert change is not None and change.rows.height == 1
    around = change.around.sort("timestamp")
    assert around["timestamp"].to_list() == [START + timedelta(hours=hour) for hour in range(56, 96)]
    assert around["sensor_id"].unique().to_list() == ["A"], "only of sensors that changed"


def test_a_commit_that_loses_to_another_writer_is_compared_anew(tmp_path: Path) -> None:
    table = str(tmp_path / "t")
    upsert(table, readings(("A", 0, 1.0, 1.0)))
    interfere = iter([readings(("A", 1, 5.0, 5.0))])

    def announce(change: Change) -> dict[str, str]:
        for rows in interfere:
            upsert(table, rows)
        return {"run_id": str(change.version)}

    change = merge(table, readings(("A", 1, 6.0, None), ("A", 2, 7.0, 7.0)), FEATURES, announce)
    assert change and (change.version, change.inserted, change.updated) == (3, 1, 1)
    assert values(table) == [1.0, 6.0, 7.0]
    assert DeltaTable(table).history(1)[0]["run_id"] == "3", "the commit says what was decided the second time"


def test_a_writer_that_always_loses_says_so_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = str(tmp_path / "t")
    monkeypatch.setattr(merging, "COMMIT_ATTEMPTS", 2)
    upsert(table, readings(("A", 0, 1.0, 1.0)))
    hours = iter(range(10, 20))

    def announce(change: Change) -> dict[str, str]:
        upsert(table, readings(("B", next(hours), 0.0, 0.0)))
        return {}

    with pytest.raises(MergeConflict, match="2 commits lost"):
        merge(table, readings(("A", 1, 2.0, 2.0)), FEATURES, announce)
    assert content(table).filter(sensor_id="A").height == 1


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    table = str(tmp_path / "t")
    batches = [readings(*((sensor, hour, 1.0, float(hour)) for hour in range(24))) for sensor in "ABCD"]
    with ThreadPoolExecutor(4) as writers:
        changes = list(writers.map(lambda rows: upsert(table, rows), batches))
    assert content(table).height == 96
    assert len({change.version for change in changes if change}) == 4


row = st.tuples(st.sampled_from("AB"), st.integers(0, 40))


@settings(max_examples=12, deadline=None)
@given(keys=st.lists(row, min_size=1, max_size=12, unique=True), seed=st.integers(0, 10**6), parts=st.integers(1, 3))
def test_any_order_split_and_duplication_of_the_same_rows_gives_the_same_table(
    keys: list[tuple[str, int]], seed: int, parts: int
) -> None:
    chance = random.Random(seed)
    rows = [(sensor, hour, float(hour), chance.choice([None, 1.0])) for sensor, hour in keys]
    shuffled = rows + chance.choices(rows, k=len(rows))
    chance.shuffle(shuffled)
    with TemporaryDirectory() as folder:
        upsert(f"{folder}/once", readings(*rows))
        for part in range(parts):
            upsert(f"{folder}/parts", readings(*shuffled[part::parts]))
        assert content(f"{folder}/parts").equals(content(f"{folder}/once"))


COLUMNS = ["temperature", "flow", "level"]
Cell = tuple[str, int, str]  # sensor, hour, column


def pieces_of(values: dict[Cell, float | None], chance: random.Random) -> list[dict[str, Any]]:
    """Rows that together have every value, each of them with some of the columns, some of them several times."""
    rows: list[dict[str, Any]] = []
    for sensor, hour in {(sensor, hour) for sensor, hour, _ in values}:
        told: set[str] = set()
        while told != set(COLUMNS):
            some = chance.sample(COLUMNS, chance.randint(1, len(COLUMNS)))
            told |= set(some)
            row = {name: values.get((sensor, hour, name)) if name in some else None for name in COLUMNS}
            rows += [{"timestamp": START + timedelta(hours=hour), "sensor_id": sensor, **row}] * chance.randint(1, 2)
    chance.shuffle(rows)
    return rows


def frame_of(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=empty(COLUMNS).schema)


def cells(table: str) -> dict[Cell, float | None]:
    return {
        (row["sensor_id"], (row["timestamp"] - START) // timedelta(hours=1), name): row[name]
        for row in content(table).iter_rows(named=True)
        for name in COLUMNS
    }


def batches(rows: list[dict[str, Any]], count: int, chance: random.Random) -> list[list[dict[str, Any]]]:
    """The rows in order, cut at random places."""
    cuts = [0, *sorted(chance.randint(0, len(rows)) for _ in range(count - 1)), len(rows)]
    return [rows[begin:end] for begin, end in pairwise(cuts)]


value = st.one_of(st.none(), st.floats(-1e6, 1e6, allow_nan=False))
moments = st.lists(row, min_size=1, max_size=6, unique=True)


@st.composite
def measured(draw: st.DrawFn) -> dict[Cell, float | None]:
    """One value or none per sensor, hour and column."""
    return {(sensor, hour, name): draw(value) for sensor, hour in draw(moments) for name in COLUMNS}


@settings(max_examples=20, deadline=None)
@given(values=measured(), seed=st.integers(0, 10**6), parts=st.integers(1, 4))
def test_rows_with_some_of_the_columns_add_up_in_any_order_split_and_duplication(
    values: dict[Cell, float | None], seed: int, parts: int
) -> None:
    chance = random.Random(seed)
    with TemporaryDirectory() as folder:
        for batch in batches(pieces_of(values, chance), parts, chance):
            upsert(f"{folder}/t", frame_of(batch), COLUMNS)
        assert cells(f"{folder}/t") == values


@settings(max_examples=20, deadline=None)
@given(
    arrivals=st.lists(st.tuples(row, value, value, value), min_size=1, max_size=15),
    seed=st.integers(0, 10**6),
    parts=st.integers(1, 4),
)
def test_readings_that_contradict_each_other_end_as_the_last_of_each_column_however_they_are_split(
    arrivals: list[tuple[tuple[str, int], float | None, float | None, float | None]], seed: int, parts: int
) -> None:
    expected: dict[Cell, float | None] = {}
    rows = []
    for (sensor, hour), *given_values in arrivals:
        rows.append(
            {"timestamp": START + timedelta(hours=hour), "sensor_id": sensor}
            | dict(zip(COLUMNS, given_values, strict=True))
        )
        for name, given_value in zip(COLUMNS, given_values, strict=True):
            earlier = expected.get((sensor, hour, name))
            expected[sensor, hour, name] = earlier if given_value is None else given_value
    with TemporaryDirectory() as folder:
        for batch in batches(rows, parts, random.Random(seed)):
            upsert(f"{folder}/t", frame_of(batch), COLUMNS)
        assert cells(f"{folder}/t") == expected
        again = upsert(
            f"{folder}/t", frame_of(rows).group_by("sensor_id", "timestamp").agg(pl.all().drop_nulls().last()), COLUMNS
        )
        assert again and again.version is None


@settings(max_examples=6, deadline=None)
@given(values=measured(), seed=st.integers(0, 10**6))
def test_writers_of_the_same_rows_at_the_same_time_lose_nothing(values: dict[Cell, float | None], seed: int) -> None:
    chance = random.Random(seed)
    parts = batches(pieces_of(values, chance), 3, chance)
    with TemporaryDirectory() as folder, ThreadPoolExecutor(3) as writers:
        list(writers.map(lambda rows: upsert(f"{folder}/t", frame_of(rows), COLUMNS), parts))
        assert cells(f"{folder}/t") == values


def test_a_table_made_by_somebody_else_keeps_its_rows(tmp_path: Path) -> None:
    table = str(tmp_path / "t")
    foreign = readings(("A", 0, 1.0, 1.0)).with_columns(date=pl.col("timestamp").dt.date())
    write_deltalake(table, foreign.to_arrow(), partition_by=["date"])
    upsert(table, readings(("A", 0, 1.0, 2.0), ("A", 1, 1.0, 1.0)))
    assert values(table, "flow") == [2.0, 1.0]
