"""Every kind of bad input, end to end: who is named with what to do, the table unchanged, the other circuits go on."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from etl.report import EtlReport
from etl.run import TableDamaged, run_etl
from etl.sources import SourceError
from local.readings import write_readings
from ml.errors import DamagedTable
from ml.history import open_version, read_history
from shared.adapters.azure.lake import UriLake
from shared.configuration import load_fleet
from shared.errors import Permanent

FLEET = load_fleet(Path(__file__).parents[2] / "config")
START = datetime(2025, 12, 1, tzinfo=UTC)
SENSOR = "SENSOR_P001_C001"
HEALTHY = {circuit.sensor_id for circuit in FLEET} - {SENSOR}


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """A day of readings of the fleet in the table, and another day landed, of which SENSOR's is not written yet."""
    write_readings(FLEET, tmp_path / "landing", START, START + timedelta(days=1))
    run(tmp_path, "run-1")
    write_readings(FLEET, tmp_path / "landing", START + timedelta(days=1), START + timedelta(days=2))
    for file in (tmp_path / "landing" / SENSOR).iterdir():
        file.unlink()
    return tmp_path


def run(lake: Path, run_id: str, landing: str = "landing") -> EtlReport:
    return run_etl(lake / landing, f"{lake}/processed/sensor_data", run_id, FLEET.policy, FLEET)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def day() -> pl.DataFrame:
    moments = [START + timedelta(days=1, hours=hour) for hour in range(24)]
    return pl.DataFrame({"timestamp": moments, "sensor_id": SENSOR, "temperature": 20.0, "power": 1.0})


def half(path: Path) -> None:
    day().write_parquet(path)
    path.write_bytes(path.read_bytes()[:-100])


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no timestamp": (lambda path: day().drop("timestamp").write_parquet(path), "has no column timestamp; it has"),
    "no feature": (lambda path: day().drop("temperature", "power").write_parquet(path), "none of the feature columns"),
    "words for numbers": (
        lambda path: day().with_columns(temperature=pl.lit("warm")).write_parquet(path),
        "column temperature has type String; numbers are expected",
    ),
    "numbers for times": (
        lambda path: day().with_columns(pl.col("timestamp").to_physical()).write_parquet(path),
        "timestamp has type Int64; a date and time with a time zone is expected",
    ),
    "no time zone": (
        lambda path: day().with_columns(pl.col("timestamp").dt.replace_time_zone(None)).write_parquet(path),
        "timestamps have no time zone; write them in UTC",
    ),
    "a flood of NaN": (
        lambda path: day().with_columns(temperature=float("nan"), power=float("inf")).write_parquet(path),
        f"24 of 24 readings of {SENSOR} have no value .* check the sensor and its export",
    ),
    "half of it written": (half, "is it still being written\\? Export it again"),
    "nothing in it": (lambda path: path.write_bytes(b""), "is it still being written\\? Export it again"),
}


@pytest.mark.parametrize("bad", BAD_FILES)
def test_a_bad_file_is_named_with_what_to_do_and_every_other_circuit_goes_on(lake: Path, bad: str) -> None:
    write, expected = BAD_FILES[bad]
    write(lake / "landing" / SENSOR / "bad.parquet")
    report = run(lake, "run-2")
    (rejected,) = report.rejected_sources
    assert rejected.source == f"{SENSOR}/bad.parquet"
    assert re.search(rf"bad\.parquet.*{expected}", rejected.reason), rejected.reason
    assert set(report.sensors) == HEALTHY
    stored = pl.scan_delta(f"{lake}/processed/sensor_data").filter(sensor_id=SENSOR).collect()
    assert stored.height == 24, "what was there stays, nothing of the file came"


@pytest.mark.parametrize("bad", BAD_FILES)
def test_with_nothing_but_a_bad_file_the_run_fails_and_the_table_is_unchanged(lake: Path, bad: str) -> None:
    write, expected = BAD_FILES[bad]
    (lake / "alone").mkdir()
    write(lake / "alone" / "bad.parquet")
    before = contents(lake / "processed/sensor_data")
    with pytest.raises(SourceError, match=rf"bad\.parquet.*{expected}"):
        run(lake, "run-2", "alone")
    assert contents(lake / "processed/sensor_data") == before


def test_a_sensor_that_no_circuit_knows_is_kept_and_named(lake: Path) -> None:
    day().with_columns(sensor_id=pl.lit("SENSOR_X")).write_parquet(lake / "landing" / "stray.parquet")
    report = run(lake, "run-2")
    assert report.unknown_sensors == ("SENSOR_X",) and set(report.sensors) == {*HEALTHY, "SENSOR_X"}


def cut_newest_commit(table: Path) -> str:
    log = table / "_delta_log" / f"{1:020d}.json"
    log.write_bytes(log.read_bytes()[:-20])
    return f"_delta_log/{log.name}: the commit is truncated"


def leave_out_the_last_lines_of_the_newest_commit(table: Path) -> str:
    log = table / "_delta_log" / f"{1:020d}.json"
    log.write_bytes(log.read_bytes().splitlines()[0] + b"\n")
    return f"_delta_log/{log.name}: the commit is truncated"


def cut_a_data_file(table: Path) -> str:
    file = next(table.glob("date=*/*.parquet"))
    file.write_bytes(file.read_bytes()[:-100])
    return f"{file.name}: the data file has "


def lose_a_data_file(table: Path) -> str:
    file = next(table.glob("date=*/*.parquet"))
    file.unlink()
    return f"{file.name}: the data file is missing"


DAMAGES = (
    cut_newest_commit,
    leave_out_the_last_lines_of_the_newest_commit,
    cut_a_data_file,
    lose_a_data_file,
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_table_is_named_by_the_run_and_left_as_it_is(lake: Path, damage: Callable[[Path], str]) -> None:
    table = lake / "processed/sensor_data"
    late = day().with_columns(pl.col("timestamp") - timedelta(days=1), temperature=21.0)
    late.write_parquet(lake / "landing" / "late.parquet")
    expected = damage(table)
    before = contents(table)
    with pytest.raises(TableDamaged, match=f"{expected}.*restore .* version 0 can still be read"):
        run(lake, "run-2")
    assert contents(table) == before


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_table_is_named_by_training_and_scoring(lake: Path, damage: Callable[[Path], str]) -> None:
    """Both read it through `ml.history`."""
    table = lake / "processed/sensor_data"
    expected = damage(table)
    with pytest.raises(DamagedTable, match=f"{expected}.*restore .* version 0 can still be read"):
        read_history(open_version(str(table), None), SENSOR, ("temperature",), None, START + timedelta(hours=9), {})


def test_a_corrupt_commit_is_named_to_the_app_that_hears_of_it(lake: Path) -> None:
    (lake / "processed/sensor_data/_delta_log" / f"{1:020d}.json").write_bytes(b"{not json")
    with pytest.raises(Permanent, match=r"00001\.json is not a Delta commit .*restore it or rebuild the table"):
        UriLake(str(lake)).read_commit(1)
