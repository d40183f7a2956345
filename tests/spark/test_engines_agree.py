"""Spark and delta-rs on the same readings: the same table, row for row, and the same report."""

from __future__ import annotations

import random
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

import etl.run
import etl.spark_job
from etl.delta_log import read_commit
from etl.log_check import check_log
from etl.report import EtlReport, build_report
from etl.sources import SourceError
from etl.spark_merge import SparkChange
from shared.configuration import CircuitConfig, FeatureColumn, Fleet, Policy

START = datetime(2025, 12, 1, tzinfo=UTC)
POLICY = Policy(
    features={
        "temperature": FeatureColumn(unit="degC", minimum=0, maximum=100),
        "flow": FeatureColumn(unit="m3/h", minimum=-1, maximum=1),
    }
)
FEATURES = list(POLICY.features)
FLEET = Fleet(
    policy=POLICY,
    plants={},
    circuits={
        "P1_C1": CircuitConfig.model_validate(
            {
                "plant_id": "P1",
                "circuit_id": "C1",
                "training": {
                    "cutoff_date": "2025-12-01",
                    "environment_version": "1.0.0",
                    "target_column": "temperature",
                    "data_filters": {"sensor_id": "A"},
                },
            }
        )
    },
)


class Engines:
    """The same landing folder into two tables, one an engine."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark, self.landing = spark, folder / "landing"
        self.landing.mkdir()
        self.tables = {"delta-rs": f"{folder}/delta_rs/sensor_data", "spark": f"{folder}/spark/sensor_data"}
        self.runs = 0

    def land(self, name: str, *rows: tuple[str, float, float | None, float | None]) -> None:
        """Rows of (sensor, hours after START, temperature, flow), as CSV or Parquet by the name."""
        frame = pl.DataFrame(
            {
                "timestamp": [START + timedelta(hours=row[1]) for row in rows],
                "sensor_id": [row[0] for row in rows],
                "temperature": [row[2] for row in rows],
                "flow": [row[3] for row in rows],
            },
            schema_overrides={"temperature": pl.Float64, "flow": pl.Float64},
        )
        path = self.landing / name
        if name.endswith(".csv"):
            frame.write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%S%.fZ")
        else:
            frame.write_parquet(path)

    def run(self, source: Path | None = None, until: datetime | None = None) -> dict[str, EtlReport]:
        self.runs += 1
        run_id, given = f"run-{self.runs}", source or self.landing
        table = self.tables["delta-rs"]
        reports = {"delta-rs": etl.run.run_etl(given, table, run_id, POLICY, FLEET, until)}
        table = self.tables["spark"]
        reports["spark"] = etl.spark_job.run_etl(self.spark, str(given), table, run_id, POLICY, FLEET, until)
        return reports

    def assert_same(self, source: Path | None = None, until: datetime | None = None) -> EtlReport:
        """Run both; the tables are equal row for row and the reports number for number. Returns delta-rs's."""
        reports = self.run(source, until)
        ours, theirs = (content(self.tables[engine]) for engine in ("delta-rs", "spark"))
        assert ours.schema == theirs.schema
        assert ours.equals(theirs), f"{ours}\n{theirs}"
        assert numbers(reports["spark"]) == numbers(reports["delta-rs"])
        stored = EtlReport.read(self.tables["spark"], f"run-{self.runs}")
        assert stored == reports["spark"]
        return reports["delta-rs"]


def content(table: str) -> pl.DataFrame:
    return pl.scan_delta(table).sort("sensor_id", "timestamp").collect()


def numbers(report: EtlReport) -> Any:
    """All of a report but the id of the table; means may differ in the last digit, by the order of summation."""
    plain = report.model_dump(exclude={"table_id"})
    for days in plain["changed_closed_days"].values():
        for column in days["columns"].values():
            for name in ("mean_before", "mean_after"):
                column[name] = None if column[name] is None else round(column[name], 9)
    return plain


@pytest.fixture
def engines(spark: SparkSession, tmp_path: Path) -> Engines:
    return Engines(spark, tmp_path)


def test_several_runs_with_duplicates_late_rows_nulls_and_changed_days_give_the_same_table(engines: Engines) -> None:
    hours = [hour for hour in range(60) if hour not in (7, 8, 9, 30)]  # gaps
    engines.land("1.parquet", *(("A", hour, 20 + hour % 7, 0.1 * (hour % 5)) for hour in hours))
    engines.land(
        "2.csv", *(("B", hour, 150.0 if hour == 3 else 50.0, None) for hour in range(12))
    )  # stuck, out of range
    engines.land("3.parquet", ("A", 5, None, 0.9), ("A", 5, 33.0, None), ("A", 5, None, None), ("A", 0.25, 1 / 3, -0.0))
    first = engines.assert_same()
    assert first.sensors["B"].quality.stuck == {"temperature": 8}
    assert first.sensors["B"].quality.out_of_range == {"temperature": 1}
    assert first.sensors["A"].quality.missing_hours == 4 and first.unknown_sensors == ("B",)
    row = content(engines.tables["spark"]).filter(sensor_id="A", timestamp=START + timedelta(hours=5))
    assert row.select(FEATURES).row(0) == (33.0, 0.9)

    engines.land("4.csv", ("A", 7, 1.0, 0.1), ("A", 4, 99.0, None), ("A", 3, None, None), ("B", 3, 60.0, 0.5))
    engines.land("5.parquet", ("A", 61, 2.0, 0.2), ("B", 13, None, None), ("C", 100, 1.0, 1.0))
    second = engines.assert_same()
    assert (second.version, second.rows_inserted, second.rows_updated) == (2, 4, 2)
    assert second.changed_closed_days["A"].late == 1 and second.changed_closed_days["A"].changed == 1

    third = engines.assert_same()
    assert third.version is None, "the same input again is no commit"
    assert all(DeltaTable(table).version() == 2 for table in engines.tables.values())


def test_a_stuck_sensor_is_followed_over_commits_of_three_hours_alike(engines: Engines) -> None:
    found = []
    for begin, end in ((0, 12), (12, 15), (15, 18)):
        rows = [("A", h, 20.0 if 4 <= h < 15 else 20 + h / 10, h / 100) for h in range(begin, end) if h != 10]
        engines.land(f"{end}.parquet", *rows)
        found.append(engines.assert_same().sensors["A"].quality.stuck)
    assert found == [{"temperature": 7}, {"temperature": 10}, {}]
    engines.land("late.parquet", ("A", 10, 20.0, 0.1))
    assert engines.assert_same().sensors["A"].quality.stuck == {"temperature": 11}, "the hour that was missing"


def test_runs_up_to_a_time_agree(engines: Engines) -> None:
    engines.land("1.parquet", *(("A", hour, float(hour), 0.0) for hour in range(30)))
    report = engines.assert_same(until=START + timedelta(hours=10))
    assert report.rows_inserted == 11
    assert engines.assert_same().rows_inserted == 19


def test_other_zones_spellings_and_number_types_agree(engines: Engines) -> None:
    (engines.landing / "1.csv").write_text(
        "sensor_id,flow,timestamp,temperature,comment\n"
        "A,1e-1,2025-12-01T01:00:00+01:00,  7 ,hello\n"
        'A,,2025-12-01T01:00:00.5Z,NaN,"two\nlines"\n'
        "A,-.5,2025-12-01 03:00:00+0000,inf,\n"
    )
    pl.DataFrame(
        {"timestamp": [START.replace(hour=4)], "sensor_id": ["A"], "temperature": [5]},
        schema_overrides={"temperature": pl.Int32},
    ).write_parquet(engines.landing / "2.parquet")
    zone = pl.DataFrame({"timestamp": [START.replace(hour=5)], "sensor_id": ["A"], "flow": [0.5]})
    zone.with_columns(pl.col("timestamp").dt.convert_time_zone("Asia/Tokyo")).write_parquet(
        engines.landing / "3.parquet"
    )
    engines.assert_same()
    rows = content(engines.tables["spark"])
    assert rows["temperature"].to_list() == [7.0, None, None, 5.0, None]
    assert rows["flow"].to_list() == [0.1, None, -0.5, None, 0.5]


def test_files_and_sensors_that_cannot_be_used_are_left_out_alike(engines: Engines) -> None:
    engines.land("good.parquet", *(("A", hour, 1.0, 0.1) for hour in range(3)))
    half = (engines.landing / "good.parquet").read_bytes()
    (engines.landing / "half.parquet").write_bytes(half[: len(half) // 2])
    engines.land("flood.parquet", *(("B", hour, float("nan"), None) for hour in range(30)), ("C", 1, 1.0, 1.0))
    naive = pl.DataFrame({"timestamp": [START.replace(tzinfo=None)], "sensor_id": ["A"], "flow": [1.0]})
    naive.write_parquet(engines.landing / "naive.parquet")
    (engines.landing / "naive.csv").write_text("timestamp,sensor_id,flow\n2025-12-01 00:00:00,A,1\n")
    (engines.landing / "word.csv").write_text(
        "timestamp,sensor_id,flow\n2025-12-01T00:00:00Z,A,1\n2025-12-01T01:00:00Z,A,much\n"
    )
    (engines.landing / "empty-id.csv").write_text("timestamp,sensor_id,flow\n2025-12-01T00:00:00Z,,1\n")
    (engines.landing / "columns.csv").write_text("time;value\n1;2\n")
    reports = engines.run()
    ours, theirs = reports["delta-rs"], reports["spark"]
    assert content(engines.tables["spark"]).equals(content(engines.tables["delta-rs"]))
    assert [(one.source, one.sensor_id) for one in theirs.rejected_sources] == [
        (one.source, one.sensor_id) for one in ours.rejected_sources
    ]
    reasons = {
        one.source: (one.reason, other.reason)
        for one, other in zip(ours.rejected_sources, theirs.rejected_sources, strict=True)
    }
    assert "is it still being written?" in reasons.pop("half.parquet")[1]
    assert len(reasons) == 6
    for reason, other in reasons.values():
        assert reason == other


def test_a_folder_with_nothing_usable_is_an_error_and_makes_no_table(engines: Engines) -> None:
    (engines.landing / "a.csv").write_text("time;value\n1;2\n")
    with pytest.raises(SourceError, match="none of the 1 files"):
        etl.spark_job.run_etl(engines.spark, str(engines.landing), engines.tables["spark"], "r", POLICY, FLEET)
    assert not Path(engines.tables["spark"]).exists()


def test_both_engines_continue_each_others_table(engines: Engines) -> None:
    table = engines.tables["spark"]
    engines.land("1.parquet", *(("A", hour, float(hour), 0.5) for hour in range(30)))
    etl.spark_job.run_etl(engines.spark, str(engines.landing), table, "run-1", POLICY, FLEET)
    engines.land("2.parquet", ("A", 3, 99.0, None), ("A", 31, 1.0, 0.1))
    second = etl.run.run_etl(engines.landing, table, "run-2", POLICY, FLEET)
    engines.land("3.parquet", ("A", 4, 98.0, None), ("A", 32, 2.0, 0.2))
    third = etl.spark_job.run_etl(engines.spark, str(engines.landing), table, "run-3", POLICY, FLEET)
    assert [(r.version, r.rows_inserted, r.rows_updated) for r in (second, third)] == [(2, 1, 1), (3, 1, 1)]
    for version, run_id in ((1, "run-1"), (2, "run-2"), (3, "run-3")):
        commit = read_commit(table, version)
        assert (commit.run_id, commit.report_path) == (run_id, f"sensor_data_runs/{run_id}.json")
        assert commit.table_id == third.table_id and commit.data_changed
    check = check_log(table)
    assert (check.status, check.readable) == ("whole", ((0, 3),))
    once = f"{table}_once"
    etl.run.run_etl(engines.landing, once, "run", POLICY, FLEET)
    assert content(once).equals(content(table))


def test_a_run_started_again_after_its_commit_returns_its_report(engines: Engines) -> None:
    engines.land("1.parquet", ("A", 0, 1.0, 0.1))
    table = engines.tables["spark"]
    first = etl.spark_job.run_etl(engines.spark, str(engines.landing), table, "run-1", POLICY, FLEET)
    engines.land("2.parquet", ("A", 1, 1.0, 0.1))
    again = etl.spark_job.run_etl(engines.spark, str(engines.landing), table, "run-1", POLICY, FLEET)
    assert again == first and DeltaTable(table).version() == 1


def test_a_new_feature_column_is_added(engines: Engines) -> None:
    engines.land("1.parquet", ("A", 0, 1.0, 0.1))
    table = engines.tables["spark"]
    etl.spark_job.run_etl(engines.spark, str(engines.landing), table, "run-1", POLICY, FLEET)
    wider = Policy(features={**POLICY.features, "level": FeatureColumn(unit="m", minimum=0, maximum=9)})
    pl.DataFrame({"timestamp": [START], "sensor_id": ["A"], "level": [5.0]}).write_parquet(
        engines.landing / "2.parquet"
    )
    etl.spark_job.run_etl(engines.spark, str(engines.landing), table, "run-2", wider, FLEET)
    assert content(table).select("temperature", "level").rows() == [(1.0, 5.0)]


def test_a_commit_that_comes_in_between_loses_nothing_and_the_report_is_right(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = engines.tables["spark"]
    engines.land("1.parquet", ("A", 0, 1.0, 0.1))
    etl.spark_job.run_etl(engines.spark, str(engines.landing), table, "run-1", POLICY, FLEET)
    other = engines.landing.parent / "other"
    other.mkdir()
    frame = pl.DataFrame({"timestamp": [START.replace(hour=2)], "sensor_id": ["A"], "flow": [0.7]})
    frame.write_parquet(other / "1.parquet")
    engines.land("2.parquet", ("A", 1, 2.0, 0.2), ("A", 2, 3.0, None))
    interfere = iter(["other"])

    def building(run_id: str, change: SparkChange | None, *rest: Any) -> EtlReport:
        for name in interfere:
            etl.run.run_etl(other, table, name, POLICY, FLEET)
        return build_report(run_id, change, *rest)

    monkeypatch.setattr("etl.spark_job.build_report", building)
    report = etl.spark_job.run_etl(engines.spark, str(engines.landing), table, "run-2", POLICY, FLEET)
    rows = content(table).select(FEATURES).rows()
    assert rows == [(1.0, 0.1), (2.0, 0.2), (3.0, 0.7)]
    assert (report.version, report.rows_inserted, report.rows_updated) == (3, 1, 1)
    assert EtlReport.read(table, "run-2") == report
    assert read_commit(table, 3).run_id == "run-2"


def test_sql_sources_agree_and_are_read_onwards(
    engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTORIAN_URL", f"sqlite:///{tmp_path}/historian.db")
    database = sqlite3.connect(tmp_path / "historian.db", isolation_level=None)
    database.execute("CREATE TABLE readings (at DATETIME, tag TEXT, celsius REAL)")
    rows = [(f"2025-12-01 {hour:02}:00:00.000000", "A", None if hour == 5 else float(hour)) for hour in range(20)]
    database.executemany("INSERT INTO readings VALUES (?, ?, ?)", rows)
    (tmp_path / "sources.yml").write_text(
        "folders: [{path: landing}, {path: nowhere}]\n"
        "sql: [{name: historian, url_env: HISTORIAN_URL, table: readings, time_zone: UTC, look_back_hours: 2,"
        " columns: {timestamp: at, sensor_id: tag, temperature: celsius}}]"
    )
    engines.land("1.parquet", ("A", 3, -1.0, 0.3), ("B", 3, 1.0, 0.1))
    reports = engines.run(tmp_path / "sources.yml")
    assert content(engines.tables["spark"]).equals(content(engines.tables["delta-rs"]))
    assert content(engines.tables["spark"]).filter(sensor_id="A").row(3)[3:] == (3.0, 0.3), "the database came later"
    assert [one.source for one in reports["spark"].rejected_sources] == ["nowhere"]
    marks = [Path(f"{table}_sources/read_to.json").read_text() for table in engines.tables.values()]
    assert all('"historian": "2025-12-01T19:00:00Z"' in mark for mark in marks)
    database.execute(
        "INSERT INTO readings VALUES ('2025-12-01 02:00:00.000000', 'A', 77), ('2025-12-01 20:00:00', 'A', 20)"
    )
    reports = engines.run(tmp_path / "sources.yml")
    assert {report.rows_inserted for report in reports.values()} == {1}
    assert content(engines.tables["spark"]).equals(content(engines.tables["delta-rs"]))


def test_random_batches_give_the_same_table(engines: Engines) -> None:
    chance = random.Random(1)
    for batch in range(2):
        for name in (f"{batch}-0.csv", f"{batch}-1.parquet"):
            rows = [
                (
                    chance.choice("AB"),
                    chance.randint(0, 60),
                    chance.choice([None, float("nan"), 20.0, chance.uniform(-10, 110)]),
                    chance.choice([None, float("inf"), 0.5, chance.gauss(0, 1)]),
                )
                for _ in range(200)
            ]
            engines.land(name, *rows)
        report = engines.assert_same()
        assert report.rows_inserted + report.rows_updated > 50


def test_the_command_runs_the_job_and_names_errors(
    engines: Engines, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Path(__file__).parents[2] / "config"
    engines.land("1.csv", ("A", 0, 1.0, 0.1))
    command = [str(engines.landing), engines.tables["spark"], "--config", str(config), "--run-id"]
    assert etl.spark_job.main([*command, "run-1"]) == 0
    assert EtlReport.model_validate_json(capsys.readouterr().out).rows_inserted == 1
    assert etl.spark_job.main([f"{tmp_path}/nowhere", *command[1:], "run-2"]) == 1
    assert "is not a folder" in capsys.readouterr().err
