"""What one ETL run did, as JSON beside the table."""

from __future__ import annotations

import re
from datetime import date, datetime

from pydantic import BaseModel, ConfigDict

from etl.storage import read_bytes, write_bytes

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


class ClosedDay(_Row):
    """Rows of a day that was over for its sensor: `late` ones were added, `changed` ones rewritten."""

    sensor_id: str
    date: date
    late: int
    changed: int


class RejectedSource(_Row):
    """A source file that was left out, and why."""

    file: str
    reason: str


class EtlReport(_Row):
    """One run. version is None when the table held everything already; then there are no sensors either."""

    run_id: str
    table_id: str | None
    version: int | None
    rows_inserted: int = 0
    rows_updated: int = 0
    first_date: date | None = None
    last_date: date | None = None
    sensors: dict[str, SensorReport] = {}
    changed_closed_days: tuple[ClosedDay, ...] = ()
    unknown_sensors: tuple[str, ...] = ()
    rejected_sources: tuple[RejectedSource, ...] = ()

    def write(self, table_uri: str) -> None:
        write_bytes(report_uri(table_uri, report_path(table_uri, self.run_id)), self.model_dump_json(indent=2).encode())

    @classmethod
    def read(cls, table_uri: str, run_id: str) -> EtlReport | None:
        try:
            return cls.model_validate_json(read_bytes(report_uri(table_uri, report_path(table_uri, run_id))))
        except FileNotFoundError:
            return None


def report_path(table_uri: str, run_id: str) -> str:
    """The report's path relative to the folder that the table lies in: `sensor_data_runs/{run_id}.json`."""
    if not _RUN_ID.match(run_id):
        raise ValueError(f"run id {run_id!r} cannot name a file; use letters, digits, '_', '.' and '-'")
    return f"{table_uri.rstrip('/').rpartition('/')[2]}_runs/{run_id}.json"


def report_uri(table_uri: str, relative_path: str) -> str:
    """The URI of a report from its relative path, as a commit's metadata names it."""
    return f"{table_uri.rstrip('/').rpartition('/')[0]}/{relative_path}"
