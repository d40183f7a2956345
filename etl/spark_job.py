"""The ETL as a Synapse Spark batch job: the transformation of `etl.run` on Spark, into the same table.

    spark-submit --py-files fleet.zip etl/spark_job.py SOURCE TABLE --run-id ID --config config [--until TIME]

fleet.zip holds `etl` and `shared`; in a Synapse batch it is one of pyFiles, and `config` one of archives
(`config.zip#config`). The pool needs polars, pydantic, pyyaml and, for SQL sources, SQLAlchemy.

SOURCE is a folder, or a sources file whose folders Spark reads and whose SQL tables the driver reads (only new rows).
Addresses are Spark's: abfss:// with the pool's identity, or local paths.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from delta.tables import DeltaTable
from pydantic import ValidationError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from etl.delta_log import commit_info
from etl.merge import MergeConflict
from etl.quality import look_back
from etl.read_marks import ReadMarks, marks_uri, moved
from etl.report import EtlReport, build_report, report_path, report_uri
from etl.source_list import is_source_list, load_sources, newest_read
from etl.sources import Rejection, SourceError, nothing_usable, without_flooded
from etl.spark_merge import SparkChange, merge
from etl.spark_sources import HadoopFiles, SparkReadings, empty, read_folder
from shared.configuration import ConfigurationError, Fleet, Policy, load_fleet

SETTINGS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.ansi.enabled": "false",
}


def run_etl(
    spark: SparkSession,
    source: str,
    table_uri: str,
    run_id: str,
    policy: Policy,
    fleet: Fleet,
    until: datetime | None = None,
) -> EtlReport:
    """As `etl.run.run_etl`: at most one commit, the report written before it, the same run id never merged twice."""
    for name in ("spark.sql.session.timeZone", "spark.sql.parquet.outputTimestampType", "spark.sql.ansi.enabled"):
        spark.conf.set(name, SETTINGS[name])
    files, path = HadoopFiles(spark), report_path(table_uri, run_id)
    if (earlier := _earlier(files, table_uri, path)) and _was_committed(spark, table_uri, earlier):
        return earlier
    features = list(policy.features)
    marks = _marks(files, spark, table_uri)
    readings, read_to = _read(spark, files, source, features, until, marks)

    def announce(change: SparkChange) -> dict[str, str]:
        _write(files, table_uri, path, build_report(run_id, change, change.quality, readings.rejected, fleet))
        return {"run_id": run_id, "report": path}

    change = merge(spark, table_uri, readings.rows, policy.features, announce, look_back(fleet))
    quality = change.quality if change and change.version is not None else {}
    report = build_report(run_id, change, quality, readings.rejected, fleet)
    if report.version is None:
        _write(files, table_uri, path, report)
    if report.table_id and (further := moved(marks, read_to)):
        content = ReadMarks(table_id=report.table_id, read_to=further).model_dump_json(indent=2)
        files.write(marks_uri(table_uri), content.encode())
    return report


def _write(files: HadoopFiles, table_uri: str, path: str, report: EtlReport) -> None:
    files.write(report_uri(table_uri, path), report.model_dump_json(indent=2).encode())


def _earlier(files: HadoopFiles, table_uri: str, path: str) -> EtlReport | None:
    content = files.read(report_uri(table_uri, path))
    return EtlReport.model_validate_json(content) if content else None


def _was_committed(spark: SparkSession, table_uri: str, report: EtlReport) -> bool:
    if report.version is None or _table_id(spark, table_uri) != report.table_id:
        return False
    history = DeltaTable.forPath(spark, table_uri).history().filter(F.col("version") == report.version)
    commit = history.select("userMetadata").first()
    return commit is not None and commit_info([{"commitInfo": commit.asDict()}]).run_id == report.run_id


def _table_id(spark: SparkSession, table_uri: str) -> str | None:
    if not DeltaTable.isDeltaTable(spark, table_uri):
        return None
    detail = DeltaTable.forPath(spark, table_uri).detail().select("id").first()
    return None if detail is None else str(detail["id"])


def _marks(files: HadoopFiles, spark: SparkSession, table_uri: str) -> dict[str, datetime]:
    content = files.read(marks_uri(table_uri))
    try:
        marks = ReadMarks.model_validate_json(content) if content else None
    except ValidationError:
        return {}
    return dict(marks.read_to) if marks and marks.table_id == _table_id(spark, table_uri) else {}


def _read(
    spark: SparkSession,
    files: HadoopFiles,
    source: str,
    features: Sequence[str],
    until: datetime | None,
    marks: Mapping[str, datetime],
) -> tuple[SparkReadings, dict[str, datetime]]:
    """Readings of the folder or of every listed source, and how far each SQL source was read."""
    if not is_source_list(source):
        return read_folder(spark, source, features, until), {}
    content = files.read(source)
    if content is None:
        raise SourceError(
            f"{source} does not exist; give a sources file or the folder that the sensor readings land in"
        )
    with TemporaryDirectory() as folder:
        local = Path(folder) / source.rpartition("/")[2]
        local.write_bytes(content)
        sources = load_sources(local, features)
    rows: DataFrame | None = None
    rejected: list[Rejection] = []
    read_to: dict[str, datetime] = {}
    base, begin = source.rpartition("/")[0], 0
    for folder_source in sources.folders:
        given = folder_source.path
        address = given if given.startswith("/") or "://" in given else f"{base}/{given}"
        try:
            readings = read_folder(spark, address, features, until, begin)
        except SourceError as error:
            rejected.append(Rejection(given, str(error)))
            continue
        rejected += [Rejection(f"{given}/{one.source}", one.reason, one.sensor_id) for one in readings.rejected]
        rows = readings.rows if rows is None else rows.unionByName(readings.rows)
        begin += 1_000_000  # more files than a folder has
    for sql in sources.sql:
        from etl.sql_source import read_sql

        label = f"sql:{sql.name}"
        try:
            found = read_sql(sql, features, marks.get(sql.name), until)
        except SourceError as error:
            rejected.append(Rejection(label, str(error)))
            continue
        found, flooded = without_flooded(found, label, features)
        rejected += flooded
        if not flooded and (last := newest_read(found)):
            read_to[sql.name] = last
        numbered = [(begin, row, *values) for row, values in enumerate(found.iter_rows())]
        frame = spark.createDataFrame(numbered, empty(spark, features).schema)
        rows = frame if rows is None else rows.unionByName(frame)
        begin += 1
    if rows is None:
        raise nothing_usable(rejected, f"the {len(rejected)} sources")
    return SparkReadings(rows, tuple(rejected)), read_to


def session(settings: Mapping[str, str] | None = None) -> SparkSession:
    """The Spark session of the pool, or a new one with Delta; `settings` are Spark's."""
    builder = SparkSession.builder.appName("sensor-etl")
    for name, value in {**SETTINGS, **(settings or {})}.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def main(arguments: list[str] | None = None) -> int:
    """Command line; prints the report as JSON. Exit code 1 names what went wrong on stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="folder of Parquet and CSV files, or a sources file (.yml)")
    parser.add_argument("table", help="URI of the Delta table")
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--config", default="config", help="configuration folder on the driver")
    parser.add_argument("--until", type=datetime.fromisoformat, help="ignore readings after this time (with time zone)")
    options = parser.parse_args(arguments)
    if options.until and options.until.tzinfo is None:
        parser.error("--until needs a time zone, e.g. 2025-12-09T06:00:00Z")
    try:
        fleet = load_fleet(options.config)
        spark = session()
        report = run_etl(spark, options.source, options.table, options.run_id, fleet.policy, fleet, options.until)
    except (ConfigurationError, SourceError, MergeConflict, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(report.model_dump_json(indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
