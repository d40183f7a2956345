"""The upkeep of `etl.upkeep` as a Synapse Spark batch job: the same order, the same rules, the same result.

    spark-submit --py-files fleet.zip etl/spark_upkeep.py TABLE --run-id ID

Spark's VACUUM knows no versions to spare, but takes a list of the files it may look at: their files are left out of it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Set
from pathlib import PurePosixPath

from delta.tables import DeltaTable
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import types as T

from etl.log_check import LOG, TableNotFound, check_log
from etl.merge import TABLE_PROPERTIES
from etl.spark_job import session
from etl.spark_sources import HadoopFiles
from etl.upkeep_documents import UpkeepError, UpkeepOrder, UpkeepResult, result_uri, to_spare

INVENTORY = T.StructType(
    [
        T.StructField("path", T.StringType()),
        T.StructField("length", T.LongType()),
        T.StructField("isDir", T.BooleanType()),
        T.StructField("modificationTime", T.LongType()),
    ]
)


def keep_up(spark: SparkSession, table_uri: str, run_id: str) -> UpkeepResult:
    """As `etl.upkeep.keep_up`. Raises UpkeepError, and PySparkException when other writers win."""
    files = HadoopFiles(spark)
    order = UpkeepOrder.read(table_uri, run_id, files.read_bytes)
    version = compact(spark, table_uri)
    deleted, lost = vacuum(spark, table_uri, frozenset(order.spare), order.retention_hours, order.table_id)
    result = UpkeepResult(version=version, deleted_files=deleted, lost=lost)
    files.write(result_uri(table_uri, run_id), result.model_dump_json(indent=2).encode())
    return result


def compact(spark: SparkSession, table_uri: str) -> int | None:
    """Rewrite each day's small files into one; the commit's version, or None if there was nothing to compact."""
    table = DeltaTable.forPath(spark, table_uri)
    _keep_the_log(spark, table, table_uri)
    before = _newest(table)
    table.optimize().executeCompaction()
    after = _newest(table)
    return None if after == before else after


def vacuum(
    spark: SparkSession, table_uri: str, spare: Set[int], retention_hours: int, table_id: str | None = None
) -> tuple[int, tuple[int, ...]]:
    """As `etl.upkeep.vacuum`: how many files were deleted, and the versions to spare that were lost before."""
    files = HadoopFiles(spark)
    stored = files.stored(table_uri)
    check = check_log(table_uri, {name: file.size for name, file in stored.items()}, files.read_bytes)
    spared, lost = to_spare(check, spare, table_id)
    _keep_the_log(spark, DeltaTable.forPath(spark, table_uri), table_uri)
    kept = {name for version in spared for name in _files_of(spark, table_uri, version)}
    inventory = [
        (file.path, file.size, False, file.modified)
        for name, file in stored.items()
        if not name.startswith(f"{LOG}/") and PurePosixPath(name).name not in kept
    ]
    spark.createDataFrame(inventory, INVENTORY).createOrReplaceTempView("upkeep_inventory")
    spark.sql(
        f"VACUUM delta.`{table_uri}` USING INVENTORY (SELECT * FROM upkeep_inventory) RETAIN {retention_hours} HOURS"
    )
    return len(stored.keys() - files.stored(table_uri).keys()), lost


def _files_of(spark: SparkSession, table_uri: str, version: int) -> set[str]:
    """The names of a version's data files, which are unique in a table."""
    rows = spark.read.format("delta").option("versionAsOf", version).load(table_uri)
    return {uri.rpartition("/")[2] for uri in rows.inputFiles()}


def _newest(table: DeltaTable) -> int:
    return int(table.history(1).select("version").collect()[0][0])


def _keep_the_log(spark: SparkSession, table: DeltaTable, table_uri: str) -> None:
    properties = table.detail().select("properties").collect()[0][0]
    for name, value in TABLE_PROPERTIES.items():
        if properties.get(name) != value:
            spark.sql(f"ALTER TABLE delta.`{table_uri}` SET TBLPROPERTIES ('{name}' = '{value}')")


def main(arguments: list[str] | None = None) -> int:
    """Command line; prints the result as JSON. Exit code 1 names what went wrong on stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", help="URI of the Delta table")
    parser.add_argument("--run-id", required=True, help="names the order that the app wrote beside the table")
    options = parser.parse_args(arguments)
    try:
        result = keep_up(session(), options.table, options.run_id)
    except (UpkeepError, TableNotFound, PySparkException) as error:
        print(error, file=sys.stderr)
        return 1
    print(result.model_dump_json(indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
