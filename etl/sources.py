"""Sensor readings from a folder of Parquet and CSV files, here or in object storage, checked file by file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path, PurePosixPath

import polars as pl

from etl.storage import folder_exists, join, list_files, local_path, read_bytes

TIMESTAMP = pl.Datetime("us", "UTC")
SUFFIXES = (".parquet", ".csv")
FLOOD_ROWS, FLOOD_SHARE = 24, 0.9
REASONS_SHOWN = 20


class SourceError(ValueError):
    """A source file cannot be used: names the file, the cause and what to do."""


@dataclass(frozen=True)
class Rejection:
    """A file or SQL source, or one sensor's readings in it, that was left out of a run, and why."""

    source: str
    reason: str
    sensor_id: str | None = None


@dataclass(frozen=True)
class Readings:
    """Readings in order of arrival: timestamp (UTC, µs), sensor_id, feature columns as Float64.

    read_to: per SQL source that was read without a rejection the newest timestamp that it gave.
    """

    rows: pl.DataFrame
    rejected: tuple[Rejection, ...]
    read_to: Mapping[str, datetime] = field(default_factory=dict)


def read_folder(folder: Path | str, features: Sequence[str], until: datetime | None = None) -> Readings:
    """All readings below `folder` with a timestamp up to `until`, the files in the order of their names.

    folder: a path, or an `az://` or `abfss://` address. A file that cannot be used is rejected and the others go on.
    Raises SourceError if the folder does not exist, cannot be reached, or every file in it was rejected.
    """
    root = str(folder)
    frames: list[pl.DataFrame] = []
    rejected: list[Rejection] = []
    for name in _files(root):
        try:
            rows, flooded = without_flooded(read_file(join(root, name), name, features, until), name, features)
        except SourceError as error:
            rejected.append(Rejection(name, str(error)))
            continue
        rejected += flooded
        if not (flooded and rows.is_empty()):
            frames.append(rows)
    if rejected and not frames:
        raise nothing_usable(rejected, f"the {len(rejected)} files in {root}")
    return Readings(pl.concat(frames) if frames else empty(features), tuple(rejected))


def nothing_usable(rejected: Sequence[Rejection], sources: str) -> SourceError:
    """The error of a run that has rejected everything; lists the first reasons."""
    reasons = [f"  {one.reason}" for one in rejected[:REASONS_SHOWN]]
    if more := len(rejected) - len(reasons):
        reasons.append(f"  ... and {more} more")
    return SourceError("\n".join([f"none of {sources} can be used:", *reasons]))


def empty(features: Sequence[str]) -> pl.DataFrame:
    """No readings, with the columns and types of readings."""
    return pl.DataFrame(schema={"timestamp": TIMESTAMP, "sensor_id": pl.String, **dict.fromkeys(features, pl.Float64)})


def _files(root: str) -> list[str]:
    """The names of the files below the folder, in the order in which they count as having arrived."""
    try:
        there = folder_exists(root)
        found = [PurePosixPath(name) for name in list_files(root)] if there else []
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise SourceError(f"{root} cannot be read ({reason}); check the address and who may read there") from error
    if not there:
        raise SourceError(f"{root} is not a folder; give the folder that the sensor readings land in")
    usable = [path for path in found if path.suffix.lower() in SUFFIXES]
    return [str(path) for path in sorted(usable, key=lambda path: (path.name, path))]


def read_file(uri: str, name: str, features: Sequence[str], until: datetime | None = None) -> pl.DataFrame:
    """One file as checked readings. Raises SourceError."""
    is_text = name.lower().endswith(".csv")
    try:
        content = local_path(uri) or BytesIO(read_bytes(uri))
        frame = pl.scan_csv(content, infer_schema=False) if is_text else pl.scan_parquet(content)
        return checked(frame, name, features, until, numbers_as_text=is_text)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise SourceError(f"{name} cannot be read ({reason}); is it still being written? Export it again") from error


def checked(
    frame: pl.LazyFrame,
    name: str,
    features: Sequence[str],
    until: datetime | None = None,
    numbers_as_text: bool = False,
) -> pl.DataFrame:
    """The frame as readings up to `until`; NaN and infinite values become missing ones. Raises SourceError."""
    schema = frame.collect_schema()
    _check_columns(schema, name, features)
    frame = _with_utc_timestamps(frame, schema, name)
    if until is not None:
        frame = frame.filter(pl.col("timestamp") <= until.astimezone(UTC))
    columns = [_number(column, schema, name, numbers_as_text) for column in features]
    rows = frame.select("timestamp", pl.col("sensor_id").cast(pl.String), *columns).collect()
    rows = rows.with_columns(_parsed(rows[column], name) for column in features if rows.schema[column] == pl.String)
    for column in ("timestamp", "sensor_id"):
        if nulls := rows[column].null_count():
            raise SourceError(f"{name}: {nulls} rows have no valid {column}; every reading needs one")
    infinite = pl.col(pl.Float64).is_infinite() | pl.col(pl.Float64).is_nan()
    return rows.with_columns(pl.when(infinite).then(None).otherwise(pl.col(pl.Float64)).name.keep())


def without_flooded(
    rows: pl.DataFrame, name: str, features: Sequence[str]
) -> tuple[pl.DataFrame, tuple[Rejection, ...]]:
    """The rows without sensors that hardly send a value, and a rejection for each of those.

    A sensor is flooded if at least FLOOD_ROWS of its readings came and more than FLOOD_SHARE of them have no value in
    any column: an export that broke, not an outage.
    """
    valueless = pl.all_horizontal(pl.col(column).is_null() for column in features)
    flooded = (
        rows.group_by("sensor_id")
        .agg(pl.len().alias("rows"), valueless.sum().alias("valueless"))
        .filter((pl.col("rows") >= FLOOD_ROWS) & (pl.col("valueless") > FLOOD_SHARE * pl.col("rows")))
        .sort("sensor_id")
    )
    rejections = tuple(
        Rejection(
            name,
            f"{name}: {valueless} of {count} readings of {sensor} have no value (missing, NaN or infinite) in any"
            " column; they were left out: check the sensor and its export",
            sensor,
        )
        for sensor, count, valueless in flooded.iter_rows()
    )
    return rows.filter(~pl.col("sensor_id").is_in(flooded["sensor_id"].implode())) if rejections else rows, rejections


def _check_columns(schema: pl.Schema, name: str, features: Sequence[str]) -> None:
    if missing := [column for column in ("timestamp", "sensor_id") if column not in schema]:
        raise SourceError(f"{name} has no column {' and no column '.join(missing)}; it has {', '.join(schema)}")
    if not any(feature in schema for feature in features):
        raise SourceError(
            f"{name} has none of the feature columns of policy.yml ({', '.join(features)}); it has {', '.join(schema)}"
        )


def _with_utc_timestamps(frame: pl.LazyFrame, schema: pl.Schema, name: str) -> pl.LazyFrame:
    match schema["timestamp"]:
        case pl.Datetime(time_zone=None):
            raise SourceError(f"{name}: timestamps have no time zone; write them in UTC, or give a MAPPING")
        case pl.Datetime():
            moment = pl.col("timestamp").dt.convert_time_zone("UTC")
        case pl.String:
            has_zone = pl.col("timestamp").str.contains(r"(Z|[+-]\d\d:?\d\d)$")
            if not frame.select(has_zone.all()).collect().item():
                raise SourceError(f"{name}: timestamps have no time zone; write them like 2025-12-09T06:00:00Z")
            moment = pl.col("timestamp").str.to_datetime(time_zone="UTC", time_unit="us", strict=False)
        case other:
            raise SourceError(f"{name}: timestamp has type {other}; a date and time with a time zone is expected")
    return frame.with_columns(moment.cast(TIMESTAMP))


def _number(column: str, schema: pl.Schema, name: str, as_text: bool) -> pl.Expr:
    if column not in schema:
        return pl.lit(None, dtype=pl.Float64).alias(column)
    if as_text:
        return pl.col(column).str.strip_chars().replace("", None)
    if not (schema[column].is_numeric() or schema[column] == pl.Null):
        raise SourceError(f"{name}: column {column} has type {schema[column]}; numbers are expected")
    return pl.col(column).cast(pl.Float64)


def _parsed(words: pl.Series, name: str) -> pl.Series:
    """A CSV's column as numbers. Raises SourceError that names the first word that is none."""
    numbers = words.cast(pl.Float64, strict=False)
    if (failed := numbers.is_null() & words.is_not_null()).any():
        row = failed.arg_true()[0]
        raise SourceError(f"{name}: {words.name} is {words[row]!r} in row {row + 1}; a number is expected")
    return numbers
