"""The merge of `etl.merge` and the counts of `etl.quality` on Spark: same rules, same table, same numbers."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import reduce
from typing import Any

import polars as pl
from delta.exceptions import DeltaConcurrentModificationException
from delta.tables import DeltaTable
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from etl.merge import COMMIT_ATTEMPTS, EXAMPLES, KEY, TABLE_PROPERTIES, ChangeSummary, MergeConflict
from etl.quality import STUCK_HOURS, SensorQuality
from etl.sources import TIMESTAMP
from shared.configuration import FeatureColumn

log = logging.getLogger(__name__)

USER_METADATA = "spark.databricks.delta.commitInfo.userMetadata"


@dataclass(frozen=True)
class SparkChange(ChangeSummary):
    """With the quality of the changed rows per sensor."""

    quality: Mapping[str, SensorQuality]


def resolve_duplicates(readings: DataFrame, features: Sequence[str]) -> DataFrame:
    """One row per sensor_id and timestamp: per column the last value in order of arrival (`source`, `row`)."""
    arrival = F.struct("source", "row")
    last_values = [F.max_by(name, F.when(F.col(name).isNotNull(), arrival)).alias(name) for name in features]
    return readings.groupBy(*KEY).agg(*last_values)


def merge(
    spark: SparkSession,
    table_uri: str,
    readings: DataFrame,
    features: Mapping[str, FeatureColumn],
    announce: Callable[[SparkChange], Mapping[str, str]],
    look_back: timedelta = timedelta(0),
) -> SparkChange | None:
    """Bring readings into the table in at most one commit; see `etl.merge.merge`.

    `announce` is called again if another writer's commit came in between and the counts are therefore others.
    """
    names = list(features)
    rows = resolve_duplicates(readings, names).withColumn("date", F.to_date("timestamp")).cache()
    try:
        if rows.isEmpty():
            return None
        for attempt in range(COMMIT_ATTEMPTS):
            if attempt:
                time.sleep(random.uniform(0.05, 0.2) * 2**attempt)
            try:
                table = _open_table(spark, table_uri, names)
                version = _version(table)
                change = compare(spark, table_uri, version, rows, features, look_back)
                if change.version is None:
                    return change
                committed = _commit(spark, table, rows, change, announce(change), names)
            except DeltaConcurrentModificationException as conflict:
                log.warning("commit to %s lost to another writer (attempt %d): %s", table_uri, attempt + 1, conflict)
                continue
            if committed != change.version:
                change = compare(spark, table_uri, committed - 1, rows, features, look_back)
                announce(change)
            return change
        raise MergeConflict(
            f"{table_uri}: {COMMIT_ATTEMPTS} commits lost to other writers; run again when they are done"
        )
    finally:
        rows.unpersist()


def compare(
    spark: SparkSession,
    table_uri: str,
    version: int,
    rows: DataFrame,
    features: Mapping[str, FeatureColumn],
    look_back: timedelta,
) -> SparkChange:
    """What the resolved rows change in a version of the table; equal values are followed `look_back` before them."""
    names = list(features)
    since = F.min("timestamp") - F.lit(look_back)
    bounds = rows.agg(
        F.min("date").alias("first"),
        F.max("date").alias("last"),
        F.to_date(since).alias("near"),
        _micros(since, "since"),
    ).first()
    assert bounds is not None
    table = spark.read.format("delta").option("versionAsOf", version).load(table_uri)
    stored = table.filter(F.col("date") >= F.lit(bounds["first"]))
    near = table.filter(F.col("date").between(F.lit(bounds["near"]), F.lit(bounds["last"])))
    near = near.filter(F.unix_micros("timestamp") >= bounds["since"]).select(*KEY, *names)
    before = stored.filter(F.col("date") <= F.lit(bounds["last"])).select(
        *KEY, F.lit(True).alias("known"), *(F.col(name).alias(f"{name} before") for name in names)
    )
    merged = rows.join(before, KEY, "left").select(
        *KEY,
        "date",
        F.col("known").isNull().alias("is_new"),
        *(F.coalesce(F.col(name), F.col(f"`{name} before`")).alias(name) for name in names),
        *(f"`{name} before`" for name in names),
    )
    changed = merged.filter(F.col("is_new") | _differs(names)).cache()
    try:
        return _summary(spark, table_uri, version, stored, changed, near, features)
    finally:
        changed.unpersist()


def _differs(names: Sequence[str]) -> Column:
    return reduce(Column.__or__, [~F.col(name).eqNullSafe(F.col(f"`{name} before`")) for name in names])


def _summary(
    spark: SparkSession,
    table_uri: str,
    version: int,
    stored: DataFrame,
    changed: DataFrame,
    near: DataFrame,
    features: Mapping[str, FeatureColumn],
) -> SparkChange:
    newest = stored.groupBy("sensor_id").agg(F.max("timestamp").alias("newest"))
    sensors = (
        changed.groupBy("sensor_id")
        .agg(F.min("timestamp").alias("first"), F.max("timestamp").alias("last"), F.count("*").alias("rows"))
        .join(newest, "sensor_id", "left")
        .select("sensor_id", _micros("first"), _micros(F.greatest("last", "newest"), "last"), "rows")
    )
    closed = changed.join(newest, "sensor_id").filter(F.col("date") < F.to_date("newest"))
    closed_days = closed.groupBy("sensor_id").agg(
        F.min("date").alias("first_date"),
        F.max("date").alias("last_date"),
        F.count_distinct("date").alias("days"),
        F.count_if(F.col("is_new")).alias("late"),
        F.count_if(~F.col("is_new")).alias("changed"),
    )
    rewritten = _rewritten_values(closed, list(features))
    counts = rewritten.groupBy("sensor_id", "column").agg(
        F.count("*").alias("readings"), F.avg("before").alias("mean_before"), F.avg("after").alias("mean_after")
    )
    in_order = Window.partitionBy("sensor_id").orderBy("timestamp", "column")
    examples = (
        rewritten.withColumn("position", F.row_number().over(in_order))
        .filter(F.col("position") <= EXAMPLES)
        .select("sensor_id", _micros("timestamp"), "column", "before", "after")
    )
    totals = changed.agg(
        F.count("*").alias("rows"),
        F.count_if(F.col("is_new")).alias("inserted"),
        F.min("date").alias("first"),
        F.max("date").alias("last"),
    ).first()
    assert totals is not None
    moment, day = TIMESTAMP, pl.Date
    return SparkChange(
        table_id=_detail(spark, table_uri)["id"],
        version=version + 1 if totals["rows"] else None,
        inserted=totals["inserted"],
        updated=totals["rows"] - totals["inserted"],
        first_date=totals["first"],
        last_date=totals["last"],
        sensors=_local(sensors, {"first": moment, "last": moment}, "sensor_id"),
        closed_days=_local(closed_days, {"first_date": day, "last_date": day}, "sensor_id"),
        rewritten=_local(counts, {"mean_before": pl.Float64, "mean_after": pl.Float64}, "sensor_id", "column"),
        examples=_local(
            examples,
            {"timestamp": moment, "before": pl.Float64, "after": pl.Float64},
            "sensor_id",
            "timestamp",
            "column",
        ),
        quality=assess(changed, near.join(changed, KEY, "left_anti"), features),
    )


def _rewritten_values(closed: DataFrame, names: Sequence[str]) -> DataFrame:
    value = "struct<column:string,before:double,after:double>"
    pairs = [
        F.when(
            ~F.col(name).eqNullSafe(F.col(f"`{name} before`")),
            F.struct(
                F.lit(name).alias("column"), F.col(f"`{name} before`").alias("before"), F.col(name).alias("after")
            ),
        ).cast(value)
        for name in names
    ]
    known = closed.filter(~F.col("is_new"))
    values = known.select("sensor_id", "timestamp", F.explode(F.array_compact(F.array(*pairs))).alias("value"))
    return values.select("sensor_id", "timestamp", "value.*")


def assess(readings: DataFrame, around: DataFrame, features: Mapping[str, FeatureColumn]) -> dict[str, SensorQuality]:
    """Quality of readings per sensor_id; see `etl.quality.assess`."""
    in_order = Window.partitionBy("sensor_id").orderBy("timestamp")
    microseconds = F.unix_micros("timestamp") - F.lag(F.unix_micros("timestamp")).over(in_order)
    hours = F.floor(microseconds / 3_600_000_000)
    counts = (
        readings.withColumn("step", hours)
        .groupBy("sensor_id")
        .agg(
            F.count("*").alias("rows"),
            F.count_if(F.col("step") > 1).alias("gaps"),
            F.coalesce(F.sum(F.greatest(F.col("step") - 1, F.lit(0))), F.lit(0)).alias("missing_hours"),
            *(F.count_if(F.col(name).isNull()).alias(f"nulls {name}") for name in features),
            *(F.count_if(~F.col(n).between(f.minimum, f.maximum)).alias(f"range {n}") for n, f in features.items()),
        )
    )
    columns = [*KEY, *features]
    known = readings.select(*columns, F.lit(True).alias("touched"))
    known = known.unionByName(around.select(*columns, F.lit(False).alias("touched")))
    stuck = _stuck(known, list(features))
    found = {}
    for row in counts.orderBy("sensor_id").collect():
        sensor_id = row["sensor_id"]
        found[sensor_id] = SensorQuality(
            rows=row["rows"],
            nulls={name: row[f"nulls {name}"] for name in features if row[f"nulls {name}"]},
            out_of_range={name: row[f"range {name}"] for name in features if row[f"range {name}"]},
            gaps=row["gaps"],
            missing_hours=int(row["missing_hours"]),
            stuck={name: stuck[sensor_id, name] for name in features if (sensor_id, name) in stuck},
        )
    return found


def _stuck(known: DataFrame, names: Sequence[str]) -> dict[tuple[str, str], int]:
    """Per sensor and column the hours of the longest touched run of equal values, missing ones skipped."""
    values = known.select(
        "sensor_id",
        "timestamp",
        "touched",
        F.explode(F.array(*(F.struct(F.lit(name).alias("column"), F.col(name).alias("value")) for name in names))),
    ).select("sensor_id", "timestamp", "touched", "col.*")
    in_order = Window.partitionBy("sensor_id", "column").orderBy("timestamp")
    begins = ~F.col("value").eqNullSafe(F.lag("value").over(in_order))
    longest = (
        values.filter(F.col("value").isNotNull())
        .withColumn("begins", begins.cast("int"))
        .withColumn("run", F.sum("begins").over(in_order))
        .groupBy("sensor_id", "column", "run")
        .agg(F.count_distinct(F.date_trunc("hour", "timestamp")).alias("hours"), F.bool_or("touched").alias("touched"))
        .filter(F.col("touched"))
        .groupBy("sensor_id", "column")
        .agg(F.max("hours").alias("hours"))
        .filter(F.col("hours") > STUCK_HOURS)
    )
    return {(row["sensor_id"], row["column"]): row["hours"] for row in longest.collect()}


def _micros(column: str | Column, name: str = "") -> Column:
    """A timestamp as a number: Spark would hand it to Python in the machine's time zone."""
    return F.unix_micros(column).alias(name or str(column))


def _local(frame: DataFrame, types: Mapping[str, Any], *order: str) -> pl.DataFrame:
    rows = [row.asDict() for row in frame.collect()]
    columns = {name: [row[name] for row in rows] for name in frame.columns}
    return pl.DataFrame(
        [pl.Series(name, values).cast(types.get(name, pl.Series(values).dtype)) for name, values in columns.items()]
    ).sort(*order)


def _open_table(spark: SparkSession, table_uri: str, names: Sequence[str]) -> DeltaTable:
    """The table, created if there is none, with every feature column."""
    builder = DeltaTable.createIfNotExists(spark).location(table_uri).partitionedBy("date")
    for name, kind in [("timestamp", "TIMESTAMP"), ("date", "DATE"), ("sensor_id", "STRING")]:
        builder = builder.addColumn(name, kind)
    for name in names:
        builder = builder.addColumn(name, "DOUBLE")
    for name, value in TABLE_PROPERTIES.items():
        builder = builder.property(name, value)
    if not DeltaTable.isDeltaTable(spark, table_uri):
        return builder.execute()
    table = DeltaTable.forPath(spark, table_uri)
    if missing := [name for name in names if name not in table.toDF().columns]:
        columns = ", ".join(f"`{name}` DOUBLE" for name in missing)
        spark.sql(f"ALTER TABLE delta.`{table_uri}` ADD COLUMNS ({columns})")
    return DeltaTable.forPath(spark, table_uri)


def _version(table: DeltaTable) -> int:
    newest = table.history(1).first()
    assert newest is not None
    return int(newest["version"])


def _detail(spark: SparkSession, table_uri: str) -> Any:
    return DeltaTable.forPath(spark, table_uri).detail().select("id").first()


def _commit(
    spark: SparkSession,
    table: DeltaTable,
    rows: DataFrame,
    change: SparkChange,
    metadata: Mapping[str, str],
    names: Sequence[str],
) -> int:
    """Merge, and return the version that it became. A missing value leaves what the table has, whoever wrote it."""
    first, last = _date(change.first_date), _date(change.last_date)
    after = {name: F.coalesce(F.col(f"s.`{name}`"), F.col(f"t.`{name}`")) for name in names}
    differs = reduce(Column.__or__, [~after[name].eqNullSafe(F.col(f"t.`{name}`")) for name in names])
    spark.conf.set(USER_METADATA, json.dumps(dict(metadata)))
    try:
        (
            table.alias("t")
            .merge(
                rows.filter(F.col("date").between(first, last)).alias("s"),
                "t.sensor_id = s.sensor_id AND t.timestamp = s.timestamp AND t.date = s.date"
                f" AND t.date >= DATE '{first}' AND t.date <= DATE '{last}'",
            )
            .whenMatchedUpdate(differs, dict(after))
            .whenNotMatchedInsertAll()
            .execute()
        )
    finally:
        spark.conf.unset(USER_METADATA)
    ours = table.history(COMMIT_ATTEMPTS).filter(F.col("userMetadata") == json.dumps(dict(metadata)))
    committed = ours.agg(F.max("version").alias("version")).first()
    assert committed is not None and committed["version"] is not None, "a merge that changes rows is a commit"
    return int(committed["version"])


def _date(value: date | None) -> date:
    assert value is not None, "a change has dates"
    return value
