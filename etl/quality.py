"""What was wrong with a batch of readings, per sensor. Counts, not verdicts: limits are the monitor's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import polars as pl

from shared.configuration import FeatureColumn, Fleet

STUCK_HOURS = 6  # identical readings for longer than this are no coincidence on a sensor with decimals


@dataclass(frozen=True)
class SensorQuality:
    """Counts over one sensor's readings; per column only where there is something to report.

    gaps: interruptions of the hourly rhythm; missing_hours: hours without a reading in them; stuck: hours with readings
    in the longest run of one and the same value where they are more than STUCK_HOURS.
    """

    rows: int
    nulls: dict[str, int]
    out_of_range: dict[str, int]
    gaps: int
    missing_hours: int
    stuck: dict[str, int]


def look_back(fleet: Fleet) -> timedelta:
    """How far before a change its runs of equal values are followed: twice the longest limit, for hours may be missing.

    A run that is longer than its circuit's limit is seen to be, however few hours a commit brings.
    """
    return timedelta(hours=2 * max((circuit.monitoring.stuck_hours for circuit in fleet), default=0))


def assess(
    readings: pl.DataFrame, features: Mapping[str, FeatureColumn], around: pl.DataFrame | None = None
) -> dict[str, SensorQuality]:
    """Quality of readings per sensor_id. Needs timestamp, sensor_id and the feature columns; order does not matter.

    around: other rows of the same columns, before and between them; runs of equal values that the readings are part of
    go on there. Nothing else of them is counted.
    """
    ordered = readings.sort("sensor_id", "timestamp")
    step = pl.col("timestamp").diff().dt.total_hours()
    counts = ordered.group_by("sensor_id", maintain_order=True).agg(
        pl.len().alias("rows"),
        (step > 1).sum().alias("gaps"),
        (step - 1).clip(lower_bound=0).sum().alias("missing_hours"),
        *(pl.col(name).null_count().alias(f"nulls {name}") for name in features),
        *((~pl.col(n).is_between(f.minimum, f.maximum)).sum().alias(f"range {n}") for n, f in features.items()),
    )
    columns = ["timestamp", "sensor_id", *features]
    known = [readings.select(*columns, touched=True)]
    if around is not None:
        known.append(around.select(*columns, touched=False))
    runs = pl.concat(known).sort("sensor_id", "timestamp")
    stuck = {name: _stuck(runs, name) for name in features}

    def reported(row: dict[str, int], what: str) -> dict[str, int]:
        return {name: row[f"{what} {name}"] for name in features if row[f"{what} {name}"]}

    return {
        row["sensor_id"]: SensorQuality(
            rows=row["rows"],
            nulls=reported(row, "nulls"),
            out_of_range=reported(row, "range"),
            gaps=row["gaps"],
            missing_hours=row["missing_hours"],
            stuck={name: hours[row["sensor_id"]] for name, hours in stuck.items() if row["sensor_id"] in hours},
        )
        for row in counts.iter_rows(named=True)
    }


def _stuck(ordered: pl.DataFrame, name: str) -> dict[str, int]:
    """Hours of the longest touched run of equal values of a column, missing ones skipped; sensors that have a long one.

    An hour counts once, however many readings it has.
    """
    values = ordered.drop_nulls(name).with_columns(run=pl.struct("sensor_id", name).rle_id())
    long = values.group_by("run").agg(pl.len(), pl.col("touched").any())
    long = long.filter(pl.col("len") > STUCK_HOURS, pl.col("touched")).select("run")
    hours = (
        values.join(long, on="run", how="semi")
        .group_by("sensor_id", "run")
        .agg(pl.col("timestamp").dt.truncate("1h").n_unique().alias("hours"))
        .group_by("sensor_id")
        .agg(pl.col("hours").max())
        .filter(pl.col("hours") > STUCK_HOURS)
    )
    return dict(hours.iter_rows())
