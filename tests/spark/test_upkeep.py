"""Upkeep on Spark: what it obeys, what it spares, and that delta-rs goes on with what it left."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

import etl.upkeep
from etl.delta_log import read_commit
from etl.log_check import check_log
from etl.merge import merge
from etl.spark_upkeep import keep_up, vacuum
from etl.upkeep_documents import UpkeepError, UpkeepOrder, UpkeepResult, result_uri

START = datetime(2025, 12, 8, tzinfo=UTC)


def write(table: str, day: int, value: float, hours: range = range(3)) -> None:
    moments = [START + timedelta(days=day, hours=hour) for hour in hours]
    rows = pl.DataFrame({"timestamp": moments, "sensor_id": "S1", "temperature": value})
    merge(table, rows, ["temperature"], lambda change: {"run_id": f"{day}-{value}"})


def content(table: str, version: int | None = None) -> pl.DataFrame:
    return pl.scan_delta(DeltaTable(table, version=version)).sort("timestamp").collect()


@pytest.fixture
def table(tmp_path: Path) -> str:
    """Two days; version 2 has value 2 in the first of them, version 3 value 3, and so on to 5."""
    table = f"{tmp_path}/sensor_data"
    write(table, 1, 0.0)
    for value in range(2, 6):
        write(table, 0, float(value))
    return table


@pytest.fixture
def any_retention(spark: SparkSession) -> None:
    spark.conf.set("spark.databricks.delta.retentionDurationCheck.enabled", "false")


def order(table: str, *spare: int, table_id: str | None = None) -> None:
    identity = table_id or str(DeltaTable(table).metadata().id)
    UpkeepOrder(table_id=identity, spare=spare).write(table, "u1")


def test_an_upkeep_on_spark_compacts_and_leaves_its_result(spark: SparkSession, table: str) -> None:
    for hour in range(3):
        write(table, 3, float(hour), range(hour, hour + 1))
    order(table, 3)
    before = content(table)
    done = keep_up(spark, table, "u1")
    assert done == UpkeepResult(version=9, deleted_files=0, lost=())
    assert UpkeepResult.model_validate_json(Path(result_uri(table, "u1")).read_text()) == done
    assert content(table).equals(before) and len(DeltaTable(table).file_uris()) == 3
    assert not read_commit(table, 9).data_changed
    assert keep_up(spark, table, "u1").version is None


def test_vacuum_on_spark_spares_the_versions_that_it_is_given(
    spark: SparkSession, table: str, any_retention: None
) -> None:
    newest, spared = content(table), content(table, 3)
    assert vacuum(spark, table, {3}, 0) == (2, ())
    assert content(table).equals(newest) and content(table, 3).equals(spared)
    for gone in (2, 4):
        with pytest.raises((FileNotFoundError, pl.exceptions.PolarsError)):
            content(table, gone)
    assert check_log(table).status == "whole"
    assert vacuum(spark, table, {2, 3}, 0) == (0, (2,)), "what was gone before is named"
    assert etl.upkeep.vacuum(table, {3}, retention_hours=0).deleted_files == 0, "delta-rs finds nothing more"


def test_the_retention_keeps_every_young_version_on_spark(spark: SparkSession, table: str) -> None:
    assert vacuum(spark, table, set(), 7 * 24) == (0, ())
    assert content(table, 2)["temperature"][0] == 2.0


def test_what_may_not_be_vacuumed_is_refused_on_spark_in_the_same_words(spark: SparkSession, table: str) -> None:
    with pytest.raises(UpkeepError, match=r"upkeep/u1.json cannot be read .*nothing was deleted"):
        keep_up(spark, table, "u1")
    order(table, 3, table_id="another")
    with pytest.raises(UpkeepError, match="the versions to spare are of another"):
        keep_up(spark, table, "u1")
    with pytest.raises(UpkeepError, match="has versions 0 to 5, not 99"):
        vacuum(spark, table, {99}, 7 * 24)
    log = Path(table) / "_delta_log" / f"{4:020d}.json"
    log.write_bytes(log.read_bytes()[:-10])
    with pytest.raises(UpkeepError, match=r"is damaged \(_delta_log/00000000000000000004.json"):
        vacuum(spark, table, set(), 7 * 24)
