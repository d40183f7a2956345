"""What one ETL run did, as JSON beside the table."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from etl.storage import read_bytes, write_bytes

if TYPE_CHECKING:  # whoever only reads reports needs none of these
    from etl.merge import ChangeSummary
    from etl.quality import SensorQuality
    from etl.sources import Rejection
    from shared.configuration import Fleet

REJECTIONS_LISTED = 100

_RUN_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class QualityReport(_Row):
    """Counts over the rows that a run changed; see `etl.quality.SensorQuality`."""

    rows: int
    nulls: dict[str, int]
    out_of_range: dict[str, int]
    gaps: int
    missing_hours: int
    stuck: dict[str, int]


class SensorReport(_Row):
    """One sensor in one run. first, rows: of the changed rows; last: newest timestamp in the table. Times are UTC."""

    first: datetime
    last: datetime
    rows: int
    quality: QualityReport


class RewrittenColumn(_Row):
    """How many known values of a column were rewritten, and their means; None where there was no value."""

    readings: int
    mean_before: float | None
    mean_after: float | None


class RewrittenReading(_Row):
    """One value that was rewritten."""

    timestamp: datetime
    column: str
    before: float | None
    after: float | None


class ClosedDays(_Row):
    """What a run changed in days that were over for the sensor: `late` rows were added, `changed` ones rewritten.

    columns counts every rewritten value; examples are the earliest few. All of them can be compared with the table's
    version before the run's.
    """

    first_date: date
    last_date: date
    days: int
    late: int
    changed: int
    columns: dict[str, RewrittenColumn] = {}
    examples: tuple[RewrittenReading, ...] = ()


class RejectedSource(_Row):
    """A source, or one sensor's readings in it, that was left out, and why."""

    source: str
    sensor_id: str | None = None
    reason: str


class EtlReport(_Row):
    """One run. version is None when the table held everything already; then there are no sensors either.

    Of the rejections at most REJECTIONS_LISTED are listed; rejected counts them all.
    """

    run_id: str
    table_id: str | None
    version: int | None
    rows_inserted: int = 0
    rows_updated: int = 0
    first_date: date | None = None
    last_date: date | None = None
    sensors: dict[str, SensorReport] = {}
    changed_closed_days: dict[str, ClosedDays] = {}
    unknown_sensors: tuple[str, ...] = ()
    rejected: int = 0
    rejected_sources: tuple[RejectedSource, ...] = ()

    def write(self, table_uri: str) -> None:
        write_bytes(report_uri(table_uri, report_path(table_uri, self.run_id)), self.model_dump_json(indent=2).encode())

    @classmethod
    def read(cls, table_uri: str, run_id: str) -> EtlReport | None:
        try:
            return cls.model_validate_json(read_bytes(report_uri(table_uri, report_path(table_uri, run_id))))
        except FileNotFoundError:
            return None


def build_report(
    run_id: str,
    change: ChangeSummary | None,
    quality: Mapping[str, SensorQuality],
    rejected: Sequence[Rejection],
    fleet: Fleet,
) -> EtlReport:
    """The report of a run from what it changes, the quality of the changed rows and what it left out."""
    table_id = change.table_id if change else None
    listed = tuple(
        RejectedSource(source=one.source, sensor_id=one.sensor_id, reason=one.reason)
        for one in rejected[:REJECTIONS_LISTED]
    )
    report = EtlReport(run_id=run_id, table_id=table_id, version=None, rejected=len(rejected), rejected_sources=listed)
    if change is None or change.version is None:
        return report
    known = {circuit.sensor_id for circuit in fleet}
    return report.model_copy(
        update={
            "version": change.version,
            "rows_inserted": change.inserted,
            "rows_updated": change.updated,
            "first_date": change.first_date,
            "last_date": change.last_date,
            "sensors": {
                sensor_id: SensorReport(
                    first=first, last=last, rows=rows, quality=QualityReport(**asdict(quality[sensor_id]))
                )
                for sensor_id, first, last, rows in change.sensors.iter_rows()
            },
            "changed_closed_days": _closed_days(change),
            "unknown_sensors": tuple(sorted(set(quality) - known)),
        }
    )


def _closed_days(change: ChangeSummary) -> dict[str, ClosedDays]:
    columns: dict[str, dict[str, RewrittenColumn]] = defaultdict(dict)
    for sensor_id, column, readings, before, after in change.rewritten.iter_rows():
        columns[sensor_id][column] = RewrittenColumn(readings=readings, mean_before=before, mean_after=after)
    examples: dict[str, list[RewrittenReading]] = defaultdict(list)
    for sensor_id, timestamp, column, before, after in change.examples.iter_rows():
        examples[sensor_id].append(RewrittenReading(timestamp=timestamp, column=column, before=before, after=after))
    return {
        sensor_id: ClosedDays(
            first_date=first,
            last_date=last,
            days=days,
            late=late,
            changed=changed,
            columns=columns[sensor_id],
            examples=tuple(examples[sensor_id]),
        )
        for sensor_id, first, last, days, late, changed in change.closed_days.iter_rows()
    }


def report_path(table_uri: str, run_id: str) -> str:
    """The report's path relative to the folder that the table lies in: `sensor_data_runs/{run_id}.json`."""
    return beside(table_uri, "runs", run_id).removeprefix(f"{table_uri.rstrip('/').rpartition('/')[0]}/")


def beside(table_uri: str, kind: str, run_id: str) -> str:
    """The URI of a run's document of one kind: `sensor_data_{kind}/{run_id}.json` beside the table."""
    if not _RUN_ID.match(run_id):
        raise ValueError(f"run id {run_id!r} cannot name a file; use letters, digits, '_', '.' and '-'")
    return f"{table_uri.rstrip('/')}_{kind}/{run_id}.json"


def report_uri(table_uri: str, relative_path: str) -> str:
    """The URI of a report from its relative path, as a commit's metadata names it."""
    return f"{table_uri.rstrip('/').rpartition('/')[0]}/{relative_path}"
