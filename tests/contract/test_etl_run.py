from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from etl.delta_log import CommitNotFound, CommitUnreadable, newest_readings, read_commit
from etl.report import EtlReport, report_uri
from etl.run import TableDamaged, run_etl
from etl.sources import SourceError
from local.readings import write_readings
from shared.adapters.azure.lake import UriLake
from shared.configuration import load_fleet
from shared.errors import Permanent

ROOT = Path(__file__).parents[2]
FLEET = load_fleet(ROOT / "config")
START = datetime(2025, 12, 1, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    write_readings(FLEET, tmp_path / "landing", START, START + timedelta(days=3))
    return tmp_path


def run(lake: Path, run_id: str, until: datetime | None = None) -> EtlReport:
    return run_etl(lake / "landing", f"{lake}/processed/sensor_data", run_id, FLEET.policy, FLEET, until)


def test_a_run_reports_its_commit_and_the_commit_names_the_report(lake: Path) -> None:
    report = run(lake, "run-1")
    table = f"{lake}/processed/sensor_data"
    commit = read_commit(table, 1)
    assert (commit.table_id, commit.version, commit.run_id) == (report.table_id, report.version, "run-1")
    assert commit.data_changed and commit.operation == "WRITE"
    assert (commit.files_added > 0, commit.files_removed) == (True, 0)
    assert commit.report_path == "sensor_data_runs/run-1.json"
    assert json.loads(Path(report_uri(table, commit.report_path)).read_text()) == report.model_dump(mode="json")
    assert set(report.sensors) == {circuit.sensor_id for circuit in FLEET}
    stored = pl.scan_delta(table).collect()
    assert report.rows_inserted == stored.height == sum(sensor.rows for sensor in report.sensors.values())
    newest = stored.group_by("sensor_id").agg(pl.col("timestamp").max())
    assert {name: sensor.last for name, sensor in report.sensors.items()} == dict(newest.iter_rows())


def test_runs_of_three_hours_tell_how_long_a_sensor_has_been_stuck_and_when_it_is_no_more(tmp_path: Path) -> None:
    circuit = next(iter(FLEET))
    column = circuit.target_column
    assert circuit.monitoring.stuck_hours == 24
    hours_told = {}
    for end in range(3, 61, 3):
        hours = range(end - 3, end)
        frame = pl.DataFrame(
            {
                "timestamp": [START + timedelta(hours=hour) for hour in hours],
                "sensor_id": circuit.sensor_id,
                column: [50.0 if 6 <= hour < 45 else 50.0 + hour / 100 for hour in hours],
            }
        )
        (tmp_path / "landing").mkdir(exist_ok=True)
        frame.write_parquet(tmp_path / "landing" / f"{end:03}.parquet")
        quality = run(tmp_path, f"run-{end:03}").sensors[circuit.sensor_id].quality
        assert quality.rows == 3
        hours_told[end] = quality.stuck.get(column, 0)
    assert {end: hours for end, hours in hours_told.items() if hours} == {end: end - 6 for end in range(15, 46, 3)}


def test_a_run_that_changes_nothing_has_no_version_and_no_sensors(lake: Path) -> None:
    first = run(lake, "run-1")
    second = run(lake, "run-2")
    assert (second.table_id, second.version, second.sensors) == (first.table_id, None, {})
    assert EtlReport.read(f"{lake}/processed/sensor_data", "run-2") == second


def test_a_run_started_again_after_its_commit_returns_the_same_report(lake: Path) -> None:
    first = run(lake, "run-1")
    write_readings(FLEET, lake / "landing", START + timedelta(days=3), START + timedelta(days=4))
    assert run(lake, "run-1") == first
    assert DeltaTable(f"{lake}/processed/sensor_data").version() == 1


def test_a_report_whose_commit_never_came_does_not_count(lake: Path) -> None:
    first = run(lake, "run-1", until=START + timedelta(days=1))
    promised = first.model_copy(update={"run_id": "run-2", "version": 2})
    promised.write(f"{lake}/processed/sensor_data")
    again = run(lake, "run-2")
    assert again.version == 2 and again.rows_inserted > 0
    assert again.rows_inserted != promised.rows_inserted


def test_runs_up_to_a_time_add_up_to_one_run(lake: Path) -> None:
    first = run(lake, "run-1", until=START + timedelta(days=1))
    second = run(lake, "run-2")
    assert max(sensor.last for sensor in first.sensors.values()) == START + timedelta(days=1)
    assert min(sensor.first for sensor in second.sensors.values()) > START + timedelta(days=1) - timedelta(hours=30)
    assert (first.version, second.version) == (1, 2)


def test_a_sensor_nobody_configured_is_stored_and_reported(lake: Path) -> None:
    stray = lake / "landing/stray.csv"
    stray.write_text("timestamp,sensor_id,temperature\n2025-12-01T00:00:00Z,SENSOR_NEW,20\n")
    assert run(lake, "run-1").unknown_sensors == ("SENSOR_NEW",)


def test_a_bad_file_is_in_the_report_and_the_other_circuits_go_on(lake: Path) -> None:
    broken = lake / "landing/SENSOR_P001_C001/late.parquet"
    broken.write_bytes(b"PAR1 not really")
    report = run(lake, "run-1")
    assert [one.source for one in report.rejected_sources] == ["SENSOR_P001_C001/late.parquet"]
    assert len(report.sensors) == 12


def test_changed_readings_of_a_closed_day_are_reported_per_sensor_with_before_and_after(lake: Path) -> None:
    run(lake, "run-1")
    stored = pl.scan_delta(f"{lake}/processed/sensor_data").filter(sensor_id="SENSOR_P001_C001").sort("timestamp")
    old = stored.select("timestamp", "sensor_id", "temperature").head(5).collect()
    old.with_columns(pl.col("temperature") + 1).write_parquet(lake / "landing/zz-corrected.parquet")
    closed = run(lake, "run-2").changed_closed_days
    assert set(closed) == {"SENSOR_P001_C001"}
    day = closed["SENSOR_P001_C001"]
    assert (day.first_date, day.days, day.late, day.changed) == (START.date(), 1, 0, 5)
    column = day.columns["temperature"]
    assert column.readings == 5 and column.mean_after == pytest.approx(fmean(old["temperature"]) + 1)
    assert [(one.timestamp, one.before, one.after) for one in day.examples] == [
        (moment, value, value + 1) for moment, _, value in old.head(3).iter_rows()
    ]


def test_the_report_stays_small_when_everything_of_a_large_fleet_changes(tmp_path: Path) -> None:
    features = list(FLEET.policy.features)
    hours = pl.DataFrame({"timestamp": [START + timedelta(hours=hour) for hour in range(24 * 7)]})
    sensors = pl.DataFrame({"sensor_id": [f"SENSOR_{number:04d}" for number in range(200)]})
    rows = sensors.join(hours, how="cross").with_columns(pl.lit(1.5).alias(name) for name in features)
    (tmp_path / "landing").mkdir()
    rows.write_parquet(tmp_path / "landing/1.parquet")
    run(tmp_path, "run-1")
    rows.with_columns(pl.col(features) * 1e6 / 7).write_parquet(tmp_path / "landing/2.parquet")
    report = run(tmp_path, "run-2")
    assert report.rows_updated == 200 * 24 * 7 and len(report.changed_closed_days) == 200
    table = f"{tmp_path}/processed/sensor_data"
    assert Path(report_uri(table, "sensor_data_runs/run-2.json")).stat().st_size < 600_000


def test_runs_from_a_database_read_only_what_is_new_and_a_table_made_anew_gets_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTORIAN_URL", f"sqlite:///{tmp_path}/historian.db")
    sources = tmp_path / "sources.yml"
    sources.write_text(
        "sql: [{name: historian, url_env: HISTORIAN_URL, table: readings, time_zone: UTC, look_back_hours: 2,"
        " columns: {timestamp: at, sensor_id: tag, temperature: celsius}}]"
    )
    database = sqlite3.connect(tmp_path / "historian.db", isolation_level=None)
    database.execute("CREATE TABLE readings (at DATETIME, tag TEXT, celsius REAL)")

    def measure(hour: int, value: float) -> None:
        moment = f"{START + timedelta(hours=hour):%Y-%m-%d %H:%M:%S.%f}"
        database.execute("INSERT INTO readings VALUES (?, 'SENSOR_P001_C001', ?)", (moment, value))

    def rows_of(run_id: str, table: str) -> int:
        return run_etl(sources, f"{tmp_path}/{table}", run_id, FLEET.policy, FLEET).rows_inserted

    for hour in range(10):
        measure(hour, 20.0)
    assert rows_of("run-1", "t") == 10
    for hour in (4, 8, 10):  # one before the look-back, one within, one new
        measure(hour, 21.0)
    report = run_etl(sources, f"{tmp_path}/t", "run-2", FLEET.policy, FLEET)
    assert (report.rows_inserted, report.rows_updated) == (1, 1)
    assert rows_of("run-3", "t") == 0
    shutil.rmtree(tmp_path / "t")
    assert rows_of("run-4", "t") == 11


def test_a_database_that_is_away_changes_nothing_and_is_caught_up_with_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "landing").mkdir()
    (tmp_path / "landing/a.csv").write_text(
        "timestamp,sensor_id,temperature\n2025-12-01T00:00:00Z,SENSOR_P001_C002,20\n"
    )
    sources = tmp_path / "sources.yml"
    sources.write_text(
        "folders: [{path: landing}]\n"
        "sql: [{name: historian, url_env: HISTORIAN_URL, table: readings, time_zone: UTC,"
        " columns: {timestamp: at, sensor_id: tag, temperature: celsius}}]"
    )
    monkeypatch.delenv("HISTORIAN_URL", raising=False)
    first = run_etl(sources, f"{tmp_path}/t", "run-1", FLEET.policy, FLEET)
    assert (list(first.sensors), [one.source for one in first.rejected_sources]) == (
        ["SENSOR_P001_C002"],
        ["sql:historian"],
    )
    database = sqlite3.connect(tmp_path / "historian.db", isolation_level=None)
    database.execute("CREATE TABLE readings (at DATETIME, tag TEXT, celsius REAL)")
    database.execute("INSERT INTO readings VALUES ('2020-01-01 00:00:00.000000', 'SENSOR_P001_C001', 20)")
    monkeypatch.setenv("HISTORIAN_URL", f"sqlite:///{tmp_path}/historian.db")
    assert list(run_etl(sources, f"{tmp_path}/t", "run-2", FLEET.policy, FLEET).sensors) == ["SENSOR_P001_C001"]


def test_a_run_without_a_usable_file_leaves_the_table_alone(tmp_path: Path) -> None:
    (tmp_path / "landing").mkdir()
    (tmp_path / "landing/a.csv").write_text("time;value\n1;2\n")
    with pytest.raises(SourceError, match=r"none of the 1 files .* can be used"):
        run(tmp_path, "run-1")
    assert not (tmp_path / "processed").exists()


@pytest.mark.parametrize("run_id", ["../up", "", "a/b", "a b"])
def test_a_run_id_that_cannot_name_a_file_is_refused(lake: Path, run_id: str) -> None:
    with pytest.raises(ValueError, match="cannot name a file"):
        run(lake, run_id)


def test_commits_without_readings_say_so_and_missing_or_broken_ones_are_named(lake: Path) -> None:
    run(lake, "run-1")
    table = f"{lake}/processed/sensor_data"
    created = read_commit(table, 0)
    assert not created.data_changed and created.run_id is None
    DeltaTable(table).optimize.compact(partition_filters=[("date", "=", "2025-12-01")])
    write_readings(FLEET, lake / "landing", START + timedelta(days=3), START + timedelta(days=3, hours=1))
    run(lake, "run-2")
    DeltaTable(table).optimize.compact()
    last = DeltaTable(table).version()
    commits = [read_commit(table, version) for version in range(last + 1)]
    assert [c.data_changed for c in commits] == [c.operation == "WRITE" for c in commits]
    with pytest.raises(CommitNotFound, match=rf"{last + 1:020d}\.json does not exist"):
        read_commit(table, last + 1)
    log = Path(table) / "_delta_log" / f"{1:020d}.json"
    log.write_bytes(log.read_bytes()[:200])
    with pytest.raises(CommitUnreadable, match=r"00001\.json is not a Delta commit"):
        read_commit(table, 1)


def test_the_newest_readings_of_a_strangers_commit_are_read_from_its_days_alone(lake: Path) -> None:
    run(lake, "run-1")
    table = f"{lake}/processed/sensor_data"
    moment = START + timedelta(days=1, hours=5, minutes=30)
    columns = pl.scan_delta(table).collect_schema()
    row = {"timestamp": moment, "date": moment.date(), "sensor_id": "SENSOR_NEW", "temperature": 1.0}
    write_deltalake(table, pl.DataFrame([row], schema=columns), mode="append")
    DeltaTable(table).optimize.compact()
    for other in Path(table).glob("date=2025-12-0[13]/*.parquet"):
        other.write_bytes(b"is not read")
    found = newest_readings(table, 2)
    assert found.pop("SENSOR_NEW") == moment
    assert found == {circuit.sensor_id: START + timedelta(days=1, hours=23) for circuit in FLEET}
    assert newest_readings(table, 3) == {}, "a compaction brings nothing"
    lake_port = UriLake(str(lake))
    identity = str(DeltaTable(table).metadata().id)
    assert lake_port.newest_readings(identity, 2)["SENSOR_NEW"] == moment
    assert lake_port.newest_readings("made anew since", 2) == {}
    first = min(path.name.removeprefix("date=") for path in Path(table).glob("date=*"))
    assert f"{lake_port.first_day()}" == first
    assert UriLake(f"{lake}/elsewhere").first_day() is None
    with pytest.raises(Permanent, match="version 9 cannot be read"):
        lake_port.newest_readings(identity, 9)


@pytest.mark.parametrize("kept_bytes", ["all but twenty", "the first line"])
def test_a_damaged_log_is_named_with_what_can_be_read_and_nothing_is_written(lake: Path, kept_bytes: str) -> None:
    run(lake, "run-1", until=START + timedelta(days=1))
    table = lake / "processed/sensor_data"
    log = table / "_delta_log" / f"{1:020d}.json"
    content = log.read_bytes()
    log.write_bytes(content[:-20] if kept_bytes == "all but twenty" else content.splitlines()[0] + b"\n")
    files = sorted(table.rglob("*"))
    with pytest.raises(TableDamaged, match=r"00001\.json: the commit is truncated.* version 0 can still be read"):
        run(lake, "run-2")
    assert sorted(table.rglob("*")) == files


def test_a_data_file_that_is_gone_is_named(lake: Path) -> None:
    run(lake, "run-1")
    lost = next((lake / "processed/sensor_data").glob("date=2025-12-02/*.parquet"))
    lost.unlink()
    (lake / "landing/late.csv").write_text(
        "timestamp,sensor_id,temperature\n2025-12-02T00:30:00Z,SENSOR_P001_C001,20\n"
    )
    with pytest.raises(TableDamaged, match=rf"{lost.name}: the data file is missing; restore it"):
        run(lake, "run-2")
    assert DeltaTable(f"{lake}/processed/sensor_data").version() == 1


def test_the_command_prints_the_report_or_the_reason(lake: Path) -> None:
    command = [sys.executable, "-m", "etl.run", f"{lake}/landing", f"{lake}/processed/sensor_data", "--run-id"]
    done = subprocess.run([*command, "run-1"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["version"] == 1
    failed = subprocess.run(
        [sys.executable, "-m", "etl.run", f"{lake}/nowhere", f"{lake}/t", "--run-id", "r"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert failed.returncode == 1 and "is not a folder" in failed.stderr and "Traceback" not in failed.stderr


def test_reading_a_commit_is_light() -> None:
    heavy = (
        "import sys, etl.delta_log, etl.report; print([m for m in ('polars', 'pandas', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", heavy], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
