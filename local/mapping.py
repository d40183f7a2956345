"""A folder of somebody's own CSV or Parquet files as sensor readings, by a mapping file that says how to read them.

What comes out is what the pipeline takes anyway: landing files with the table's columns, and a configuration folder
with a circuit for every sensor that was found.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import available_timezones

import polars as pl
from pydantic import AfterValidator, BeforeValidator, Field

from local.configuration import NewCircuit, write_configuration
from shared.configuration import KEY_COLUMNS, ColumnName, FeatureColumn, Fleet, Frozen
from shared.yaml_documents import YamlDocument, YamlReader

CIRCUITS_PER_PLANT = 20  # as many deployments as a batch endpoint takes
SHARED_KEYS = ("files", "overrides")


class MappingError(ValueError):
    """A file does not fit its mapping: names the file, the column and row, and what to change."""


def _known_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"{name!r} is not a time zone; use a name like UTC or Europe/Rome")
    return name


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str | int | float) else value


class Timestamp(Frozen):
    """One or more columns that are joined with a blank, and the strptime format of the result."""

    columns: Annotated[tuple[str, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
    format: str


class Range(Frozen):
    """The values a working sensor can give."""

    minimum: float
    maximum: float


class FileMapping(Frozen):
    """How to read one kind of file.

    target and the keys of `features` are names in the file; the values of `features` are names in the table, by
    default the file's own in lower case. time_zone is what the timestamps are in if they do not say. missing: values
    that mean "not measured". sensor_column: the column that tells sensors apart; without it a file is one sensor.
    """

    timestamp: Timestamp
    time_zone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    target: str
    features: dict[str, ColumnName | None] = Field(default={})
    missing: Annotated[tuple[float | str, ...], BeforeValidator(_as_tuple)] = ()
    sensor_column: str | None = None
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    decimal: str = Field(default=".", pattern=r"^[.,]$")
    ranges: dict[ColumnName, Range] = Field(default={})
    units: dict[ColumnName, str] = Field(default={})

    @property
    def table_columns(self) -> dict[str, str]:
        """File column -> table column, the target first."""
        names = {self.target: self.features.get(self.target)} | self.features
        return {column: name or _column_name(column) for column, name in names.items()}


class MappingFile(Frozen):
    """What the mapping file says beside the keys of `FileMapping`: globs of files, and keys for some of them only."""

    files: Annotated[tuple[str, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
    overrides: dict[str, dict[str, Any]] = Field(default={})


@dataclass(frozen=True)
class MappedSensor:
    """What became of one sensor. first and last: its readings in the landing file, moved forward by shifted_days."""

    circuit: str
    source: str
    rows_read: int
    hours: int
    first: datetime
    last: datetime
    shifted_days: int
    missing_values: int
    impossible_times: int


@dataclass(frozen=True)
class MappingReport:
    """All sensors of a mapped folder and the fleet made of them."""

    fleet: Fleet
    sensors: tuple[MappedSensor, ...]

    def __str__(self) -> str:
        return "\n".join(
            f"{sensor.circuit}: {sensor.source}, {sensor.rows_read} rows to {sensor.hours} hours, moved forward by"
            f" {sensor.shifted_days} days to {sensor.first:%Y-%m-%d} - {sensor.last:%Y-%m-%d},"
            f" {sensor.missing_values} values missing"
            for sensor in self.sensors
        )


def map_readings(
    folder: Path | str,
    mapping_file: Path | str,
    landing: Path | str,
    config_folder: Path | str,
    last_date: date,
    like: Fleet,
) -> MappingReport:
    """Write landing files and a configuration folder for the files that the mapping names.

    Every sensor is moved forward by whole days so that its last reading falls on `last_date` (UTC), and averaged to
    hours. Training ends with the day before. `like`: whose rules and environments the configuration takes over. Raises
    ConfigurationError for the mapping file and MappingError for files.
    """
    features: dict[str, FeatureColumn] = {}
    circuits: list[NewCircuit] = []
    sensors: list[MappedSensor] = []
    for path, mapping in read_mapping(folder, mapping_file):
        for label, hourly, counts in _read_sensors(path, mapping):
            number = len(circuits)
            plant_id = f"P{number // CIRCUITS_PER_PLANT + 1:03d}"
            circuit_id = f"C{number % CIRCUITS_PER_PLANT + 1:03d}"
            newest: datetime = hourly["timestamp"][-1].astimezone(UTC)
            shift = last_date - newest.date()
            moved = hourly.with_columns(pl.col("timestamp") + shift)
            _write_landing(Path(landing), f"SENSOR_{plant_id}_{circuit_id}", moved)
            target, *covariates = mapping.table_columns.values()
            _add_features(features, mapping, hourly)
            circuits.append(
                NewCircuit(plant_id, circuit_id, label, target, tuple(covariates), last_date - timedelta(days=1))
            )
            sensors.append(
                MappedSensor(
                    circuit=f"{plant_id}_{circuit_id}",
                    source=label,
                    rows_read=counts.rows,
                    hours=hourly.height,
                    first=hourly["timestamp"][0].astimezone(UTC) + shift,
                    last=newest + shift,
                    shifted_days=shift.days,
                    missing_values=counts.missing,
                    impossible_times=counts.impossible_times,
                )
            )
    return MappingReport(write_configuration(config_folder, like, features, circuits), tuple(sensors))


def read_mapping(folder: Path | str, mapping_file: Path | str) -> list[tuple[Path, FileMapping]]:
    """Every file that the mapping names, in the order of their names, each with its own mapping.

    Raises ConfigurationError with all problems of the mapping file, and MappingError if a glob names no file.
    """
    mapping_path, root = Path(mapping_file), Path(folder)
    reader = YamlReader(mapping_path.parent)
    document = reader.read(mapping_path)
    reader.raise_problems()
    assert document
    shared = YamlDocument({k: v for k, v in document.content.items() if k not in SHARED_KEYS}, document.places)
    own = {key: document.content[key] for key in SHARED_KEYS if key in document.content}
    chosen = reader.parse(MappingFile, YamlDocument(own, document.places))
    reader.raise_problems()
    assert chosen
    found: dict[Path, FileMapping | None] = {}
    for pattern in chosen.files:
        matches = sorted(path for path in root.glob(pattern) if path.is_file())
        if not matches:
            raise MappingError(f"no file in {root} is called {pattern}; correct `files` in {mapping_path}")
        for path in matches:
            effective = shared
            for override in chosen.overrides:
                if fnmatch.fnmatch(path.name, override):
                    effective = document.below(("overrides", override)).over(effective)
            found[path] = reader.parse(FileMapping, effective)
    reader.raise_problems()
    return [(path, mapping) for path, mapping in sorted(found.items()) if mapping]


@dataclass(frozen=True)
class _Counts:
    rows: int
    missing: int
    impossible_times: int


def _read_sensors(path: Path, mapping: FileMapping) -> Iterator[tuple[str, pl.DataFrame, _Counts]]:
    """Per sensor in the file: a label, hourly readings (timestamp UTC and table columns), and what was left out."""
    text = _read_as_text(path, mapping)
    moments = _timestamps(text, path, mapping)
    columns = mapping.table_columns
    numbers = text.select(_numbers(text, column, path, mapping).alias(name) for column, name in columns.items())
    frame = numbers.insert_column(0, moments)
    if mapping.sensor_column:
        frame = frame.insert_column(0, text[mapping.sensor_column].alias("sensor"))
    else:
        frame = frame.insert_column(0, pl.lit(path.stem).alias("sensor"))
    for (label,), rows in frame.group_by("sensor", maintain_order=True):
        usable = rows.drop("sensor").drop_nulls("timestamp")
        if usable.is_empty():
            raise MappingError(f"{path.name}: sensor {label} has no row with a possible time")
        hourly = (
            usable.group_by(pl.col("timestamp").dt.truncate("1h"))
            .agg(pl.col(name).mean() for name in columns.values())
            .sort("timestamp")
        )
        missing = sum(usable[name].null_count() for name in columns.values())
        source = path.name if mapping.sensor_column is None else f"{path.name} {label}"
        yield source, hourly, _Counts(rows.height, missing, rows.height - usable.height)


def _read_as_text(path: Path, mapping: FileMapping) -> pl.DataFrame:
    needed = [*mapping.timestamp.columns, *mapping.table_columns]
    needed += [mapping.sensor_column] if mapping.sensor_column else []
    try:
        if path.suffix.lower() == ".parquet":
            frame = pl.read_parquet(path)
        else:
            frame = pl.read_csv(
                path, separator=mapping.delimiter, infer_schema=False, truncate_ragged_lines=True, encoding="utf8-lossy"
            )
    except (pl.exceptions.PolarsError, OSError) as error:
        raise MappingError(f"{path.name} cannot be read: {str(error).splitlines()[0]}") from error
    if absent := [column for column in needed if column not in frame.columns]:
        raise MappingError(
            f"{path.name} has no column {', '.join(map(repr, absent))}; with delimiter {mapping.delimiter!r} it has"
            f" {', '.join(map(repr, frame.columns))}"
        )
    # Spreadsheets leave empty rows at the end of an export.
    return frame.select(list(dict.fromkeys(needed))).filter(~pl.all_horizontal(pl.all().is_null()))


def _timestamps(text: pl.DataFrame, path: Path, mapping: FileMapping) -> pl.Series:
    columns = mapping.timestamp.columns
    first = text.schema[columns[0]]
    if len(columns) == 1 and isinstance(first, pl.Datetime):
        moments = text[columns[0]].cast(pl.Datetime("us", first.time_zone))
    else:
        joined = text.select(pl.concat_str([pl.col(c).cast(pl.String) for c in columns], separator=" ")).to_series()
        moments = joined.str.strip_chars().str.to_datetime(mapping.timestamp.format, strict=False, time_unit="us")
        if (failed := moments.is_null()).any():
            row = failed.arg_true()[0]
            raise MappingError(
                f"{path.name}: row {row + 1}: timestamp {joined[row]!r} does not look like"
                f" {mapping.timestamp.format!r}; correct timestamp.format"
            )
    if moments.dtype.time_zone is None:  # type: ignore[attr-defined]
        # An hour that the clock skips cannot have been measured; one that it repeats is taken as the first of the two.
        moments = moments.dt.replace_time_zone(mapping.time_zone, ambiguous="earliest", non_existent="null")
    return moments.dt.convert_time_zone("UTC").alias("timestamp")


def _numbers(text: pl.DataFrame, column: str, path: Path, mapping: FileMapping) -> pl.Series:
    values = text[column]
    if values.dtype == pl.String:
        words = values.str.strip_chars()
        codes = {code for code in mapping.missing if isinstance(code, str)} | {""}
        words = words.set(words.is_in(list(codes)), None)
        plain = words.str.replace(",", ".", literal=True) if mapping.decimal == "," else words
        values = plain.cast(pl.Float64, strict=False)
        if (failed := values.is_null() & words.is_not_null()).any():
            row = failed.arg_true()[0]
            raise MappingError(
                f"{path.name}: row {row + 1}: {column} is {words[row]!r}, not a number with decimal"
                f" {mapping.decimal!r}; correct `decimal`, or add the word to `missing`"
            )
    elif not values.dtype.is_numeric():
        raise MappingError(f"{path.name}: column {column} has type {values.dtype}; a measured column holds numbers")
    values = values.cast(pl.Float64)
    numbers = [float(code) for code in mapping.missing if not isinstance(code, str)]
    return values.set(values.is_in(numbers) | ~values.is_finite(), None)


def _add_features(features: dict[str, FeatureColumn], mapping: FileMapping, hourly: pl.DataFrame) -> None:
    """Ranges as the mapping says, else what was seen and half of its span on both sides."""
    for name in mapping.table_columns.values():
        if name in KEY_COLUMNS:
            raise MappingError(f"a feature may not be called {name}: every table has that column; rename it")
        if stated := mapping.ranges.get(name):
            low, high = stated.minimum, stated.maximum
        else:
            seen = hourly[name].drop_nulls()
            smallest, largest = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 1.0)  # type: ignore[arg-type]
            margin = (largest - smallest) / 2 or 1.0
            low, high = smallest - margin, largest + margin
        if known := features.get(name):
            low, high = min(low, known.minimum), max(high, known.maximum)
        features[name] = FeatureColumn(unit=mapping.units.get(name, ""), minimum=low, maximum=high)


def _write_landing(landing: Path, sensor_id: str, readings: pl.DataFrame) -> None:
    path = landing / sensor_id / "mapped.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".writing")
    readings.with_columns(pl.lit(sensor_id).alias("sensor_id")).write_parquet(temporary)
    temporary.replace(path)


def _column_name(column: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_")
    return name if name[:1].isalpha() else f"column_{name}"
