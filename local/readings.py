"""Simulated sensor readings: what a plant historian would export, with its rhythm and its faults.

Every circuit has a hidden load with a daily and a weekly rhythm and slow random movement; its channels follow that load
with weights, inertia and noise of their own. Outages, missing and impossible values, duplicated rows and rows that
arrive late are part of it. A reading depends on seed, sensor and hour alone, so that windows written one after the
other, or twice, agree with each other.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shared.configuration import FeatureColumn, Fleet

Array = NDArray[np.float64]

BLOCK_DAYS = 30
MEMORY_HOURS = 240  # past noise that still matters
LATENESS = timedelta(hours=30)
OUTAGE_CHANCE, DUPLICATE_RATE, LATE_RATE, NULL_RATE, SPIKE_RATE = 0.02, 0.002, 0.01, 0.003, 0.0005
_EPOCH = date(2000, 1, 3)  # a Monday: blocks begin on the same weekday pattern everywhere


@dataclass(frozen=True)
class WrittenReadings:
    """What `write_readings` left in the landing folder."""

    files: tuple[Path, ...]
    rows: int


def write_readings(fleet: Fleet, folder: Path | str, start: datetime, end: datetime, seed: int = 0) -> WrittenReadings:
    """Write the readings that *arrive* in [start, end) to `{folder}/{sensor_id}/{start}_{end}.parquet`.

    Columns: timestamp (UTC, hourly), sensor_id, and every feature column of the policy. Rows that are late are in the
    file of the window in which they arrive. Both ends must be aware of their time zone.
    """
    if start.tzinfo is None or end.tzinfo is None or start >= end:
        raise ValueError(f"start and end must be aware of their time zone, start first (got {start}, {end})")
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    files, rows = [], 0
    for circuit in fleet:
        readings = simulate(circuit.sensor_id, fleet.policy.features, start, end, seed)
        path = Path(folder) / circuit.sensor_id / f"{start:%Y%m%dT%H%M}_{end:%Y%m%dT%H%M}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".writing")
        readings.write_parquet(temporary)
        temporary.replace(path)
        files.append(path)
        rows += readings.height
    return WrittenReadings(tuple(files), rows)


def simulate(
    sensor_id: str, features: dict[str, FeatureColumn], start: datetime, end: datetime, seed: int = 0
) -> pl.DataFrame:
    """The readings of one sensor that arrive in [start, end), in order of arrival, duplicates included."""
    blocks = [_block(sensor_id, features, day, seed) for day in _block_days(start - LATENESS, end)]
    arrived = pl.concat(blocks).filter(pl.col("arrival").is_between(start, end, closed="left"))
    return arrived.sort("arrival", maintain_order=True).drop("arrival")


def _block_days(start: datetime, end: datetime) -> Iterator[date]:
    first = (start.date() - _EPOCH).days // BLOCK_DAYS
    last = (end.date() - _EPOCH).days // BLOCK_DAYS
    for number in range(first, last + 1):
        yield _EPOCH + timedelta(days=number * BLOCK_DAYS)


def _generator(*parts: object) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(str(part).encode()) for part in parts])


def _block(sensor_id: str, features: dict[str, FeatureColumn], day: date, seed: int) -> pl.DataFrame:
    """All readings whose own time lies in the block that begins on `day`, each with its time of arrival."""
    hours = BLOCK_DAYS * 24
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    character = _generator(seed, sensor_id)
    load = _load(character, sensor_id, day, seed)
    columns: dict[str, Array] = {}
    for name, feature in features.items():
        columns[name] = _channel(_generator(seed, sensor_id, name), load, feature, sensor_id, name, day, seed)
    timestamps = np.datetime64(begin.replace(tzinfo=None), "us") + np.arange(hours) * np.timedelta64(3600, "s")
    frame = pl.DataFrame({"timestamp": timestamps}).select(
        pl.col("timestamp").dt.replace_time_zone("UTC"),
        pl.lit(sensor_id).alias("sensor_id"),
        *(pl.Series(name, values, nan_to_null=True) for name, values in columns.items()),
        pl.Series("arrival", timestamps).dt.replace_time_zone("UTC"),
    )
    return _with_faults(frame, list(features), features, _generator(seed, sensor_id, "faults", day))


def _noise(memory: float, *key: object, day: date) -> Array:
    """Unit-variance AR(1) noise for the block, a function of `key` and the hour alone: (BLOCK_DAYS * 24,)."""
    before = _generator(*key, day - timedelta(days=BLOCK_DAYS)).standard_normal(BLOCK_DAYS * 24)
    now = _generator(*key, day).standard_normal(BLOCK_DAYS * 24)
    white = np.concatenate([before[-MEMORY_HOURS + 1 :], now])
    noise: Array = np.convolve(white, memory ** np.arange(MEMORY_HOURS), mode="valid") * np.sqrt(1 - memory**2)
    return noise


def _load(character: np.random.Generator, sensor_id: str, day: date, seed: int) -> Array:
    """Hidden load of the block and of the MEMORY_HOURS before it, around zero with a spread of about one."""
    hours = np.arange(-MEMORY_HOURS, BLOCK_DAYS * 24) + (day - _EPOCH).days * 24.0
    peak, evening, weekend, season = character.uniform([9, 0.2, 0.3, 0.1], [17, 0.6, 1.0, 0.4])
    of_day, of_week = 2 * np.pi * (hours - peak) / 24, (hours // 24) % 7
    rhythm = np.cos(of_day) + evening * np.cos(2 * of_day) - weekend * (of_week >= 5)
    rhythm += season * np.cos(2 * np.pi * hours / (365.25 * 24))
    noise = _noise(0.97, seed, sensor_id, "load", day=day)
    previous = _noise(0.97, seed, sensor_id, "load", day=day - timedelta(days=BLOCK_DAYS))
    load: Array = rhythm + 0.08 * np.concatenate([previous[-MEMORY_HOURS:], noise])
    return load


def _channel(
    character: np.random.Generator,
    load: Array,
    feature: FeatureColumn,
    sensor_id: str,
    name: str,
    day: date,
    seed: int,
) -> Array:
    """One measured column of the block in the feature's own unit, well inside its plausible range."""
    sign = -1 if character.random() < 0.25 else 1
    coupling, inertia, middle, swing = character.uniform([0.7, 0.5, 0.4, 0.05], [1.0, 0.9, 0.6, 0.09])
    kernel = inertia ** np.arange(MEMORY_HOURS + 1)
    response = np.convolve(load, kernel / kernel.sum(), mode="valid")[-BLOCK_DAYS * 24 :]
    own = _noise(0.9, seed, sensor_id, name, day=day)
    jitter = _generator(seed, sensor_id, name, "jitter", day).standard_normal(BLOCK_DAYS * 24)
    signal = sign * coupling * response + 0.05 * own + 0.02 * jitter
    span = feature.maximum - feature.minimum
    values: Array = np.round(feature.minimum + span * (middle + swing * signal), 3)
    return values


def _with_faults(
    frame: pl.DataFrame, names: list[str], features: dict[str, FeatureColumn], chance: np.random.Generator
) -> pl.DataFrame:
    rows = frame.height
    for name in names:
        missing = pl.Series(chance.random(rows) < NULL_RATE)
        spike = pl.Series(chance.random(rows) < SPIKE_RATE)
        beyond = features[name].maximum + (features[name].maximum - features[name].minimum)
        frame = frame.with_columns(
            pl.when(missing).then(None).when(spike).then(beyond).otherwise(pl.col(name)).alias(name)
        )
    # Work on a sensor is done by day: an outage begins after 2:00 and is over by 20:00, and only daytime rows are late.
    out = np.zeros(rows, dtype=bool)
    for block_day in np.flatnonzero(chance.random(BLOCK_DAYS) < OUTAGE_CHANCE):
        first = int(block_day) * 24 + int(chance.integers(2, 13))
        out[first : first + int(chance.integers(1, 8))] = True
    hour = np.arange(rows) % 24
    late = (chance.random(rows) < LATE_RATE) & (hour >= 8) & (hour < 16)
    delay = np.where(late, chance.integers(12, 30, rows), 0)
    frame = frame.with_columns(pl.col("arrival") + pl.duration(hours=pl.lit(pl.Series(delay))))
    repeats = 1 + (chance.random(rows) < DUPLICATE_RATE)
    return frame[np.repeat(np.arange(rows), repeats * ~out)]
