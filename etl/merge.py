"""Upsert of sensor readings into the one Delta table, keyed by sensor_id + timestamp and partitioned by UTC date.

The rule for several readings of one sensor and moment, in one batch or over many runs: per column the value that
arrived last counts, and a missing value never replaces a measured one.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.schema import Field, PrimitiveType

from etl.storage import storage_options

log = logging.getLogger(__name__)

KEY = ["sensor_id", "timestamp"]
COMMIT_ATTEMPTS = 6
# Versions that data assets and predictions refer to stay readable only while their log is there; `etl.upkeep` decides.
TABLE_PROPERTIES = {"delta.enableExpiredLogCleanup": "false"}
EXAMPLES = 3  # rewritten values that are shown of each sensor; the counts cover all, and the version before has all


class MergeConflict(RuntimeError):
    """Other writers kept committing to the table; nothing was changed, and running again helps."""


@dataclass(frozen=True)
class ChangeSummary:
    """What a batch changes in the table, and the version that holds it; None if there was nothing to change.

    sensors: per changed sensor first and rows (of this change) and last (its newest timestamp in the table afterwards).
    closed_days: per sensor what changed in days before its newest one in the table: first_date, last_date, days, late
    (new rows) and changed (rewritten rows).
    rewritten: the values that were rewritten there, per sensor_id and column: readings, mean_before, mean_after.
    examples: the first EXAMPLES of them per sensor: timestamp, column, before and after.
    Each frame has sensor_id first, then its columns in this order, and is sorted by them.
    """

    table_id: str
    version: int | None
    inserted: int
    updated: int
    first_date: date | None
    last_date: date | None
    sensors: pl.DataFrame
    closed_days: pl.DataFrame
    rewritten: pl.DataFrame
    examples: pl.DataFrame


@dataclass(frozen=True)
class Change(ChangeSummary):
    """With the new state of every changed row: timestamp, date, sensor_id, features, and `is_new`.

    around: rows of the changed sensors that stay as they are, in the span of the change and `look_back` before it:
    timestamp, sensor_id, features.
    """

    rows: pl.DataFrame
    around: pl.DataFrame


def resolve_duplicates(readings: pl.DataFrame, features: Sequence[str]) -> pl.DataFrame:
    """One row per sensor_id and timestamp by the module's rule; rows are taken in order of arrival."""
    repeated = readings.select(pl.struct(KEY).is_duplicated()).to_series()
    if not repeated.any():
        return readings
    last_values = [pl.col(name).drop_nulls().last() for name in features]
    resolved = readings.filter(repeated).group_by(KEY).agg(last_values)
    return pl.concat([readings.filter(~repeated), resolved.select(readings.columns)])


def merge(
    table_uri: str,
    readings: pl.DataFrame,
    features: Sequence[str],
    metadata: Callable[[Change], Mapping[str, str]],
    look_back: timedelta = timedelta(0),
) -> Change | None:
    """Bring readings (timestamp UTC, sensor_id, features; in order of arrival) into the table in at most one commit.

    Creates the table, and columns it lacks. `metadata` is called with what is about to be committed, before it is; what
    it returns is kept in the commit. Without a commit it returns a change whose version is None if the table holds all
    of it already, and None if there are no readings. Raises MergeConflict when other writers win every attempt.
    """
    if readings.is_empty():
        return None
    rows = resolve_duplicates(readings, features).with_columns(pl.col("timestamp").dt.date().alias("date"))
    for attempt in range(COMMIT_ATTEMPTS):
        if attempt:
            time.sleep(random.uniform(0.05, 0.2) * 2**attempt)
        try:
            table = open_table(table_uri, features)
            change = _compare(table, rows, features, look_back)
            if change.version is None:
                return change
            _commit(table, change, metadata(change))
            return change
        except CommitFailedError as conflict:
            log.warning("commit to %s lost to another writer (attempt %d): %s", table_uri, attempt + 1, conflict)
    raise MergeConflict(f"{table_uri}: {COMMIT_ATTEMPTS} commits lost to other writers; run again when they are done")


def open_table(table_uri: str, features: Sequence[str]) -> DeltaTable:
    """The table, created if there is none, with every feature column."""
    options = storage_options(table_uri)
    if not DeltaTable.is_deltatable(table_uri, options):
        columns = [
            ("timestamp", pa.timestamp("us", "UTC")),
            ("date", pa.date32()),
            ("sensor_id", pa.string()),
            *((name, pa.float64()) for name in features),
        ]
        try:
            return DeltaTable.create(
                table_uri,
                pa.schema(columns),
                partition_by=["date"],
                configuration=TABLE_PROPERTIES,
                storage_options=options,
            )
        except DeltaError as error:
            raise CommitFailedError(str(error)) from error  # another writer created it first: look again
    table = DeltaTable(table_uri, storage_options=options)
    present = {field.name for field in table.schema().fields}
    if missing := [name for name in features if name not in present]:
        table.alter.add_columns([Field(name, PrimitiveType("double")) for name in missing])
    return table


def _compare(table: DeltaTable, rows: pl.DataFrame, features: Sequence[str], look_back: timedelta) -> Change:
    first, last = rows["date"].min(), rows["date"].max()
    stored = pl.scan_delta(table).filter(pl.col("date") >= first)
    since: datetime = rows["timestamp"].min() - look_back  # type: ignore[assignment, operator]
    near = pl.scan_delta(table).filter(pl.col("date") >= since.date(), pl.col("date") <= last)
    before = near.select(*KEY, *features).collect()
    joined = rows.join(before.with_columns(known=True), on=KEY, how="left", suffix=" before")
    merged = joined.with_columns(pl.coalesce(name, f"{name} before").alias(name) for name in features)
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name} before")) for name in features)
    changed = merged.filter(pl.col("known").is_null() | differs).with_columns(is_new=pl.col("known").is_null())
    newest = stored.group_by("sensor_id").agg(pl.col("timestamp").max().alias("newest")).collect()
    sensors = (
        changed.group_by("sensor_id")
        .agg(pl.col("timestamp").min().alias("first"), pl.col("timestamp").max().alias("last"), pl.len().alias("rows"))
        .join(newest, on="sensor_id", how="left")
        .with_columns(pl.max_horizontal("last", "newest").alias("last"))
        .sort("sensor_id")
    )
    closed = changed.join(newest, on="sensor_id").filter(pl.col("date") < pl.col("newest").dt.date())
    rewritten = _rewritten_values(closed, features)
    inserted = int(changed["is_new"].sum())
    around = before.filter(pl.col("timestamp") >= since).join(changed, on="sensor_id", how="semi")
    return Change(
        table_id=str(table.metadata().id),
        version=None if changed.is_empty() else table.version() + 1,
        inserted=inserted,
        updated=changed.height - inserted,
        first_date=changed["date"].min(),  # type: ignore[arg-type]
        last_date=changed["date"].max(),  # type: ignore[arg-type]
        sensors=sensors.drop("newest"),
        closed_days=closed.group_by("sensor_id")
        .agg(
            pl.col("date").min().alias("first_date"),
            pl.col("date").max().alias("last_date"),
            pl.col("date").n_unique().alias("days"),
            pl.col("is_new").sum().alias("late"),
            (~pl.col("is_new")).sum().alias("changed"),
        )
        .sort("sensor_id"),
        rewritten=rewritten.group_by("sensor_id", "column")
        .agg(
            pl.len().alias("readings"),
            pl.col("before").mean().alias("mean_before"),
            pl.col("after").mean().alias("mean_after"),
        )
        .sort("sensor_id", "column"),
        examples=_first_of_each_sensor(rewritten),
        rows=changed.select("timestamp", "date", "sensor_id", *features, "is_new"),
        around=around.join(changed, on=KEY, how="anti").select("timestamp", "sensor_id", *features),
    )


def _first_of_each_sensor(rewritten: pl.DataFrame) -> pl.DataFrame:
    """The first EXAMPLES values of each sensor; only what may be among them is sorted."""
    bounds = rewritten.group_by("sensor_id").agg(pl.col("timestamp").bottom_k(EXAMPLES).max().alias("bound"))
    first = rewritten.join(bounds, on="sensor_id").filter(pl.col("timestamp") <= pl.col("bound")).drop("bound")
    in_order = first.sort("sensor_id", "timestamp", "column")
    return in_order.group_by("sensor_id", maintain_order=True).head(EXAMPLES)


def _rewritten_values(closed: pl.DataFrame, features: Sequence[str]) -> pl.DataFrame:
    """Every value of rows that were known before and differs now: sensor_id, timestamp, column, before, after."""
    known = closed.filter(~pl.col("is_new"))
    columns = [
        known.filter(pl.col(name).ne_missing(pl.col(f"{name} before"))).select(
            "sensor_id",
            "timestamp",
            pl.lit(name).alias("column"),
            pl.col(f"{name} before").alias("before"),
            pl.col(name).alias("after"),
        )
        for name in features
    ]
    return pl.concat(columns)


def _commit(table: DeltaTable, change: Change, metadata: Mapping[str, str]) -> None:
    """Add the new rows; where known rows change, write the days that are touched anew.

    Not delta-rs's MERGE: the files it writes call texts `string_view`, which AzureML's loader cannot read (ADR 0015).
    """
    rows, days = change.rows.drop("is_new"), change.rows["date"].unique().sort()
    columns = pa.schema(table.schema().to_arrow())
    if change.updated:
        known = pl.scan_delta(table).filter(pl.col("date").is_in(days.implode())).collect()
        others = [name for name in known.columns if name not in rows.columns]
        rows = rows.join(known.select(*KEY, *others), on=KEY, how="left").select(known.columns)
        rows = pl.concat([known.join(rows, on=KEY, how="anti"), rows])
    rows = rows.with_columns(pl.lit(None).alias(name) for name in columns.names if name not in rows.columns)
    batch = rows.select(columns.names).to_arrow().cast(columns)
    # Without retries inside, a commit that lost is compared anew instead of being moved on top of unknown rows.
    commit = CommitProperties(custom_metadata=dict(metadata), max_commit_retries=0)
    if change.updated:
        touched = " OR ".join(f"date = DATE '{day}'" for day in days)
        write_deltalake(table, batch, mode="overwrite", predicate=touched, commit_properties=commit)
    else:
        write_deltalake(table, batch, mode="append", commit_properties=commit)
    if table.version() != change.version:
        raise AssertionError(f"committed version {table.version()}, announced {change.version}")
