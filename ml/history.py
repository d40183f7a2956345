"""The hourly past of one sensor, read from the Delta table without touching any other sensor's rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from numpy.typing import NDArray
from polars.exceptions import PanicException, PolarsError

from etl.delta_log import CommitUnreadable
from etl.log_check import damage, verify_commit
from etl.storage import storage_options
from ml.errors import DamagedTable, IncompleteInput

HOUR = timedelta(hours=1)
CARRIED_HOURS = 3  # a hole this long is bridged with the last value; a longer one stays a hole

Array = NDArray[np.float64]


@dataclass(frozen=True)
class History:
    """One sensor's columns on an unbroken hourly grid (UTC); NaN where nothing plausible was measured.

    values: column -> (hours,). start is the first hour; newest the last one with a row in the table.
    """

    start: datetime
    newest: datetime
    values: dict[str, Array]
    rows_read: int

    @property
    def hours(self) -> int:
        return len(next(iter(self.values.values())))

    def position(self, moment: datetime) -> int:
        """Index of an hour on the grid; may lie outside of it."""
        return (moment - self.start) // HOUR

    def without_end(self) -> History:
        """This history up to its newest reading: the grid may reach further."""
        end = self.position(self.newest) + 1
        return replace(self, values={name: values[:end] for name, values in self.values.items()})


def scan(
    table: DeltaTable, sensor_id: str, columns: Sequence[str], first: datetime | None, last: datetime
) -> pl.LazyFrame:
    """The sensor's rows in [first, last] as a query whose filters reach the files."""
    rows = pl.scan_delta(table).filter(
        pl.col("sensor_id") == sensor_id, pl.col("date") <= last.date(), pl.col("timestamp") <= last
    )
    if first is not None:
        rows = rows.filter(pl.col("date") >= first.date(), pl.col("timestamp") >= first)
    return rows.select("timestamp", *columns)


def read_history(
    table: DeltaTable,
    sensor_id: str,
    columns: Sequence[str],
    first: datetime | None,
    last: datetime,
    plausible: Mapping[str, tuple[float, float]],
) -> History:
    """The sensor's history from `first` (None: from its beginning) to `last`, both whole hours UTC.

    Several readings in an hour are averaged, values outside their plausible range are dropped, short holes are bridged
    with the value before. Raises IncompleteInput if there is no row at all, or a column the table does not have.
    """
    present = {field.name for field in table.schema().fields}
    if missing := [name for name in columns if name not in present]:
        raise IncompleteInput(f"{sensor_id}: the table has no column {', '.join(missing)}; add it to policy.yml")
    with _damage_named(table.table_uri):
        readings = scan(table, sensor_id, columns, first, last).collect()
    if readings.is_empty():
        since = f" from {first:%Y-%m-%dT%H:%MZ}" if first else ""
        raise IncompleteInput(f"{sensor_id} has no readings{since} to {last:%Y-%m-%dT%H:%MZ}; check its name, run ETL")
    hourly = (
        readings.lazy()
        .with_columns(
            pl.col("timestamp").dt.truncate("1h"),
            *(pl.when(pl.col(c).is_between(*plausible[c])).then(pl.col(c)).alias(c) for c in columns if c in plausible),
        )
        .group_by("timestamp")
        .agg(pl.col(name).mean() for name in columns)
        .sort("timestamp")
        .collect()
    )
    newest: datetime = hourly["timestamp"][-1].astimezone(UTC)  # polars answers with a zone by name
    start = first if first is not None else hourly["timestamp"][0].astimezone(UTC)
    positions = ((hourly["timestamp"] - start).dt.total_hours()).to_numpy()
    hours = (last - start) // HOUR + 1
    values: dict[str, Array] = {}
    for name in columns:
        grid = np.full(hours, np.nan)
        grid[positions] = hourly[name].to_numpy()
        values[name] = carry_forward(grid, CARRIED_HOURS)
    return History(start, newest, values, readings.height)


def newest_readings(table: DeltaTable, sensor_ids: Collection[str]) -> dict[str, datetime]:
    """The time of each sensor's newest row (UTC); sensors without a row are left out."""
    rows = pl.scan_delta(table).filter(pl.col("sensor_id").is_in(list(sensor_ids)))
    newest = rows.group_by("sensor_id").agg(pl.col("timestamp").max()).collect()
    return {sensor: moment.astimezone(UTC) for sensor, moment in newest.iter_rows()}


def has_readings_after(table: DeltaTable, sensor_id: str, moment: datetime) -> bool:
    """Whether the sensor has a row later than the moment."""
    later = pl.scan_delta(table).filter(
        pl.col("sensor_id") == sensor_id, pl.col("date") >= moment.date(), pl.col("timestamp") > moment
    )
    with _damage_named(table.table_uri):
        return not later.select("timestamp").head(1).collect().is_empty()


def carry_forward(values: Array, limit: int) -> Array:
    """Holes of up to `limit` hours filled with the value before them; uses no later value."""
    known = ~np.isnan(values)
    position = np.where(known, np.arange(len(values)), -1)
    latest = np.maximum.accumulate(position)
    age = np.arange(len(values)) - latest
    usable = (latest >= 0) & (age <= limit)
    return np.where(usable, values[np.maximum(latest, 0)], np.nan)


def open_version(table_uri: str, version: int | None) -> DeltaTable:
    """The table at a version (None: the newest). Raises DamagedTable, and DeltaError where there is no such version."""
    with _damage_named(table_uri):
        table = DeltaTable(table_uri, version=version, storage_options=storage_options(table_uri))
        verify_commit(table_uri, table.version())
        return table


@contextmanager
def _damage_named(table_uri: str) -> Iterator[None]:
    """What fails because the table is damaged says so, and which files are: half a file makes polars panic."""
    try:
        yield
    except (DeltaError, CommitUnreadable, PolarsError, PanicException, OSError) as error:
        if damaged := damage(table_uri):
            raise DamagedTable(damaged) from error
        raise
