"""Every series in REFERENCE_DIR/data, hourly and without holes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import polars as pl

from ml.history import Array

ROOT = Path(__file__).resolve().parents[2]
REFERENCE_DATA = ROOT / os.environ.get("REFERENCE_DIR", "../shared") / "data"
MINIMUM_KNOWN_SHARE = 0.7  # columns with more holes would be mostly our own lines between points
MISSING = -200


def real_series() -> dict[str, Array]:
    """Name -> (hours,), holes bridged with straight lines; columns that are mostly holes are left out."""
    found: dict[str, Array] = {}
    for name in ("machine_temperature", "ambient_temperature"):
        frame = pl.read_csv(REFERENCE_DATA / f"{name}_system_failure.csv", try_parse_dates=True)
        found |= _hourly(frame, name + " ")
    frame = pl.read_csv(REFERENCE_DATA / "ETTh1.csv", try_parse_dates=True).rename({"date": "timestamp"})
    found |= _hourly(frame, "transformer ")
    frame = pl.read_csv(REFERENCE_DATA / "AirQuality.csv").with_columns(
        timestamp=(pl.col("Date") + " " + pl.col("Time")).str.to_datetime("%Y-%m-%d %H:%M:%S")
    )
    found |= _hourly(frame.drop("Date", "Time"), "air ")
    return found


def _hourly(frame: pl.DataFrame, prefix: str) -> dict[str, Array]:
    columns = [name for name in frame.columns if name != "timestamp"]
    hourly = (
        frame.with_columns(pl.col("timestamp").dt.truncate("1h"), pl.col(columns).cast(pl.Float64))
        .with_columns(pl.when(pl.col(name) != MISSING).then(pl.col(name)).alias(name) for name in columns)
        .group_by("timestamp")
        .agg(pl.col(columns).mean())
        .sort("timestamp")
        .upsample("timestamp", every="1h")
    )
    known = {name: 1 - hourly[name].null_count() / len(hourly) for name in columns}
    return {
        f"{prefix}{'' if name == 'value' else name}".strip(): np.asarray(
            hourly[name].interpolate().forward_fill().backward_fill().to_numpy(), dtype=np.float64
        )
        for name in columns
        if known[name] >= MINIMUM_KNOWN_SHARE
    }
