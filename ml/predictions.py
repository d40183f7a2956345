"""Forecast files: where they lie, what is in them, whether they can be used. Light: needs pyarrow and nothing else."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from etl.storage import exists, join, read_bytes, write_bytes

UTC_TIME = pa.timestamp("us", tz="UTC")

SCHEMA = pa.schema(
    [
        ("circuit", pa.string()),
        ("sensor_id", pa.string()),
        ("origin", UTC_TIME),
        ("timestamp", UTC_TIME),
        ("step", pa.int32()),
        ("forecast", pa.float64()),
        ("lower", pa.float64()),
        ("upper", pa.float64()),
        ("model_version", pa.int64()),
        ("environment_version", pa.string()),
        ("delta_version", pa.int64()),
        ("command_id", pa.string()),
    ]
)


class PredictionsUnreadable(ValueError):
    """The file is not a forecast file; names it."""


@dataclass(frozen=True)
class ForecastLimits:
    """What a forecast must look like; plausible is up to plausible_range_sd * target_sd beyond target_min and _max."""

    circuit: str
    origin: datetime
    horizon: int
    model_version: int
    command_id: str
    target_min: float
    target_max: float
    target_sd: float
    plausible_range_sd: float = 3.0

    @property
    def lowest(self) -> float:
        return self.target_min - self.plausible_range_sd * self.target_sd

    @property
    def highest(self) -> float:
        return self.target_max + self.plausible_range_sd * self.target_sd


def published_uri(lake: str, plant_id: str, circuit_id: str, day: date) -> str:
    """Where the day's forecast of a circuit is published; day is the UTC date of the forecast origin."""
    return published_below(join(lake, "predictions"), plant_id, circuit_id, day)


def published_below(predictions: str, plant_id: str, circuit_id: str, day: date) -> str:
    """The same, of the folder that holds all predictions."""
    return join(predictions, plant_id, circuit_id, f"{day:%Y-%m-%d}.parquet")


def attempt_uri(lake: str, plant_id: str, circuit_id: str, day: date, command_id: str) -> str:
    """Where one attempt at the day's forecast is kept, for good."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", command_id)[:80]
    if name != command_id:  # two ids must not share a file because they look alike
        name += "-" + hashlib.sha256(command_id.encode()).hexdigest()[:8]
    return join(lake, "predictions", plant_id, circuit_id, "attempts", f"{day:%Y-%m-%d}", f"{name}.parquet")


def write_predictions(uri: str, predictions: pa.Table) -> None:
    """Write a table of SCHEMA; a reader sees all of it or nothing. The same table gives the same bytes."""
    buffer = BytesIO()
    pq.write_table(predictions.cast(SCHEMA), buffer)
    write_bytes(uri, buffer.getvalue())


def read_predictions(uri: str) -> pa.Table:
    """The forecast at the URI, ordered by step. Raises FileNotFoundError or PredictionsUnreadable, naming the file."""
    content = read_bytes(uri)
    try:
        return pq.read_table(BytesIO(content)).select(SCHEMA.names).cast(SCHEMA).sort_by("step")
    except (pa.ArrowException, KeyError) as error:
        raise PredictionsUnreadable(f"{uri} is not a forecast file: {error}") from error


def check_predictions(predictions: pa.Table, limits: ForecastLimits) -> list[str]:
    """Everything that makes a forecast unusable, as sentences; an empty list if it can be used."""
    rows: list[dict[str, Any]] = predictions.to_pylist()
    problems: list[str] = []
    if len(rows) != limits.horizon:
        problems.append(f"{len(rows)} rows instead of {limits.horizon}, one per hour of the horizon")
    for column, expected in (
        ("circuit", limits.circuit),
        ("model_version", limits.model_version),
        ("command_id", limits.command_id),
        ("origin", limits.origin.astimezone(UTC)),
    ):
        if other := sorted({str(row[column]) for row in rows if row[column] != expected}):
            problems.append(f"{column} is {', '.join(other[:3])} instead of {expected}")
    hours = [row["timestamp"] for row in rows]
    if hours != [limits.origin + timedelta(hours=step) for step in range(1, len(rows) + 1)]:
        problems.append(f"target times are not the consecutive hours after {limits.origin:%Y-%m-%dT%H:%MZ}")
    values = [row["forecast"] for row in rows]
    unknown = [value for value in values if value is None or not math.isfinite(value)]
    if unknown:
        problems.append(f"{len(unknown)} of {len(values)} forecasts are not finite numbers")
    beyond = [v for v in values if v is not None and math.isfinite(v) and not limits.lowest <= v <= limits.highest]
    if beyond:
        worst = max(beyond, key=lambda v: abs(v - (limits.lowest + limits.highest) / 2))
        problems.append(
            f"{len(beyond)} of {len(values)} forecasts lie outside the plausible range {limits.lowest:.4g} to"
            f" {limits.highest:.4g}, the furthest is {worst:.4g}"
        )
    if any(not _in_order(row["lower"], row["forecast"], row["upper"]) for row in rows):
        problems.append("lower and upper bound do not enclose the forecast")
    return problems


def _in_order(lower: float | None, forecast: float | None, upper: float | None) -> bool:
    if lower is None or forecast is None or upper is None or not math.isfinite(forecast):
        return forecast is None or not math.isfinite(forecast)  # reported as not finite already
    return lower <= forecast <= upper


def publish(attempt: str, day: str) -> None:
    """Make an attempt the day's forecast: `day` holds the old file or the new one, never a part of it.

    The attempt stays where it is. Publishing the same attempt again changes nothing.
    """
    content = read_bytes(attempt)
    if not exists(day) or read_bytes(day) != content:
        write_bytes(day, content)
