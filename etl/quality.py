"""What was wrong with a batch of readings, per sensor. Counts, not verdicts: limits are the monitor's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from shared.configuration import FeatureColumn

STUCK_HOURS = 6  # identical readings for longer than this are no coincidence on a sensor with decimals


@dataclass(frozen=True)
class SensorQuality:
    """Counts over one sensor's readings; per column only where there is something to report.

    gaps: interruptions of the hourly rhythm; missing_hours: hours without a reading in them; stuck: longest run of
    identical readings where it is longer than STUCK_HOURS.
    """

    rows: int
    nulls: dict[str, int]
    out_of_range: dict[str, int]
    gaps: int
    missing_hours: int
    stuck: dict[str, int]


def assess(readings: pl.DataFrame, features: Mapping[str, FeatureColumn]) -> dict[str, SensorQuality]:
    """Quality of readings per sensor_id. Needs timestamp, sensor_id and the feature columns; order does not matter."""
    ordered = readings.sort("sensor_id", "timestamp")
    step = pl.col("timestamp").diff().dt.total_hours()
    counts = ordered.group_by("sensor_id", maintain_order=True).agg(
        pl.len().alias("rows"),
        (step > 1).sum().alias("gaps"),
        (step - 1).clip(lower_bound=0).sum().alias("missing_hours"),
        *(pl.col(name).null_count().alias(f"nulls {name}") for name in features),
        *((~pl.col(n).is_between(f.minimum, f.maximum)).sum().alias(f"range {n}") for n, f in features.items()),
        *(_longest_run(name).alias(f"stuck {name}") for name in features),
    )

    def reported(row: dict[str, int], what: str, above: int = 0) -> dict[str, int]:
        return {name: row[f"{what} {name}"] for name in features if (row[f"{what} {name}"] or 0) > above}

    return {
        row["sensor_id"]: SensorQuality(
            rows=row["rows"],
            nulls=reported(row, "nulls"),
            out_of_range=reported(row, "range"),
            gaps=row["gaps"],
            missing_hours=row["missing_hours"],
            stuck=reported(row, "stuck", above=STUCK_HOURS),
        )
        for row in counts.iter_rows(named=True)
    }


def _longest_run(name: str) -> pl.Expr:
    values = pl.col(name).drop_nulls()
    return values.rle().struct.field("len").max().fill_null(0)
