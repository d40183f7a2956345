"""One ETL run: readings from folders and SQL tables into the Delta table, and a report of what changed."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from pathlib import Path

from deltalake.exceptions import DeltaError
from polars.exceptions import PanicException, PolarsError

from etl import quality
from etl.delta_log import CommitNotFound, CommitUnreadable, newest_table_id, newest_version, read_commit
from etl.log_check import damage, verify_commit
from etl.merge import Change, MergeConflict, merge
from etl.read_marks import load_marks, save_marks
from etl.report import EtlReport, build_report, report_path
from etl.source_list import is_source_list, read_source
from etl.sources import Readings, SourceError
from shared.configuration import ConfigurationError, Fleet, Policy, load_fleet


class TableDamaged(RuntimeError):
    """The table's transaction log is not whole: names the files, what can be read and what to do."""


def run_etl(
    source: Path | str,
    table_uri: str,
    run_id: str,
    policy: Policy,
    fleet: Fleet,
    until: datetime | None = None,
) -> EtlReport:
    """Merge the readings of `source` up to `until` (aware of its time zone) in at most one Delta commit.

    source: a folder of Parquet and CSV files, or a sources file (`.yml`, see `etl.source_list`).

    The report is written beside the table before the commit that names it, so that whoever sees the commit finds the
    report; a run that is started again under the same id after its commit returns that report. Raises SourceError when
    nothing can be read, ConfigurationError when the sources file is wrong, TableDamaged when the table cannot be opened
    and MergeConflict when other writers win every attempt; the table is unchanged then.
    """
    try:
        return _run(source, table_uri, run_id, policy, fleet, until)
    except (DeltaError, CommitUnreadable, PolarsError, PanicException, OSError) as error:
        if damaged := damage(table_uri):
            raise TableDamaged(damaged) from error
        raise


def _run(
    source: Path | str, table_uri: str, run_id: str, policy: Policy, fleet: Fleet, until: datetime | None
) -> EtlReport:
    if (earlier := EtlReport.read(table_uri, run_id)) and _was_committed(table_uri, earlier):
        return earlier
    if (version := newest_version(table_uri)) is not None:
        verify_commit(table_uri, version)
    features = list(policy.features)
    marks = load_marks(table_uri, newest_table_id(table_uri)) if is_source_list(source) else {}
    readings = read_source(source, features, until, marks)

    def announce(change: Change) -> dict[str, str]:
        _report(run_id, readings, policy, fleet, change).write(table_uri)
        return {"run_id": run_id, "report": report_path(table_uri, run_id)}

    change = merge(table_uri, readings.rows, features, announce, quality.look_back(fleet))
    report = _report(run_id, readings, policy, fleet, change)
    if report.version is None:
        report.write(table_uri)
    if report.table_id is not None:
        save_marks(table_uri, report.table_id, marks, readings.read_to)
    return report


def _was_committed(table_uri: str, report: EtlReport) -> bool:
    if report.version is None:
        return False
    try:
        commit = read_commit(table_uri, report.version)
    except CommitNotFound:
        return False
    return (commit.table_id, commit.run_id) == (report.table_id, report.run_id)


def _report(run_id: str, readings: Readings, policy: Policy, fleet: Fleet, change: Change | None) -> EtlReport:
    if change is None or change.version is None:
        return build_report(run_id, change, {}, readings.rejected, fleet)
    counts = quality.assess(change.rows, policy.features, change.around)
    return build_report(run_id, change, counts, readings.rejected, fleet)


def main(arguments: list[str] | None = None) -> int:
    """Command line; prints the report as JSON. Exit code 1 names what went wrong on stderr."""
    parser = argparse.ArgumentParser(prog="python -m etl.run", description=__doc__)
    parser.add_argument("source", help="folder of Parquet and CSV files, or a sources file (.yml)")
    parser.add_argument("table", help="URI of the Delta table, e.g. .local/lake/processed/sensor_data")
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--config", default="config", help="configuration folder")
    parser.add_argument("--until", type=datetime.fromisoformat, help="ignore readings after this time (with time zone)")
    options = parser.parse_args(arguments)
    if options.until and options.until.tzinfo is None:
        parser.error("--until needs a time zone, e.g. 2025-12-09T06:00:00Z")
    try:
        fleet = load_fleet(options.config)
        report = run_etl(options.source, options.table, options.run_id, fleet.policy, fleet, options.until)
    except (ConfigurationError, SourceError, MergeConflict, TableDamaged, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(report.model_dump_json(indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
