"""Sensor readings read by Spark, with the same checks and the same words as `etl.sources`.

One difference: Spark cannot read Parquet timestamps in nanoseconds; such a file is rejected by its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from etl.sources import FLOOD_ROWS, FLOOD_SHARE, SUFFIXES, Rejection, SourceError, nothing_usable

LISTERS = 8  # files whose schema is read at a time
_ZONE = r"(Z|[+-]\d\d:?\d\d)$"
_NUMBER = r"(?i)^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$"
_NO_NUMBER = r"(?i)^[+-]?(nan|inf|infinity)$"
_ENGINE_ERRORS = (PySparkException, Py4JJavaError)  # PySpark translates only some of Java's


@dataclass(frozen=True)
class StoredFile:
    """One file: its qualified address, bytes, and when it was written (milliseconds since 1970, UTC)."""

    path: str
    size: int
    modified: int


class HadoopFiles:
    """Files by any address that Spark itself can open, with Spark's own credentials."""

    def __init__(self, spark: SparkSession) -> None:
        self._jvm: Any = spark._jvm
        self._configuration = spark._jsc.hadoopConfiguration()

    def _at(self, uri: str) -> tuple[Any, Any]:
        path = self._jvm.org.apache.hadoop.fs.Path(uri)
        filesystem = path.getFileSystem(self._configuration)
        if filesystem.getUri().getScheme() == "file":  # without checksum files, which others do not keep up to date
            filesystem = filesystem.getRawFileSystem()
        return filesystem, path

    def is_folder(self, uri: str) -> bool:
        filesystem, path = self._at(uri)
        return bool(filesystem.exists(path) and filesystem.getFileStatus(path).isDirectory())

    def stored(self, uri: str) -> dict[str, StoredFile]:
        """Every file below the folder by its path relative to it; none if there is no folder."""
        filesystem, path = self._at(uri)
        root = filesystem.makeQualified(path).toString().rstrip("/")
        if not filesystem.exists(path):
            return {}
        found, files = filesystem.listFiles(path, True), {}
        while found.hasNext():
            file = found.next()
            address = file.getPath().toString()
            files[address[len(root) + 1 :]] = StoredFile(address, file.getLen(), file.getModificationTime())
        return files

    def read(self, uri: str) -> bytes | None:
        """The file's content, or None if there is none."""
        filesystem, path = self._at(uri)
        if not filesystem.exists(path):
            return None
        stream = filesystem.open(path)
        try:
            return bytes(self._jvm.org.apache.commons.io.IOUtils.toByteArray(stream))
        finally:
            stream.close()

    def read_bytes(self, uri: str) -> bytes:
        """The file's content; raises FileNotFoundError that names the URI."""
        content = self.read(uri)
        if content is None:
            raise FileNotFoundError(uri)
        return content

    def write(self, uri: str, content: bytes) -> None:
        """Write the file; object stores show it only once it is closed."""
        filesystem, path = self._at(uri)
        stream = filesystem.create(path, True)
        try:
            stream.write(bytearray(content))
        finally:
            stream.close()


@dataclass(frozen=True)
class SparkReadings:
    """Readings with `source` and `row`, which order them by arrival; the other columns as in `etl.sources.Readings`."""

    rows: DataFrame
    rejected: tuple[Rejection, ...]


def read_folder(
    spark: SparkSession, folder: str, features: Sequence[str], until: datetime | None, first_source: int = 0
) -> SparkReadings:
    """All readings below the folder up to `until`, as `etl.sources.read_folder`. Raises SourceError.

    `source` is `first_source` for the first file and counts on from there.
    """
    files = HadoopFiles(spark)
    if not files.is_folder(folder):
        raise SourceError(f"{folder} is not a folder; give the folder that the sensor readings land in")
    found = [name for name in files.stored(folder) if name.lower().endswith(SUFFIXES)]
    names = sorted(found, key=lambda name: (name.rpartition("/")[2], name))

    def attempt(numbered: tuple[int, str]) -> DataFrame | Rejection:
        number, name = numbered
        try:
            return _read_file(spark, f"{folder.rstrip('/')}/{name}", name, features).withColumn(
                "source", F.lit(first_source + number)
            )
        except SourceError as error:
            return Rejection(name, str(error))

    with ThreadPoolExecutor(LISTERS) as pool:
        results = list(pool.map(attempt, enumerate(names)))
    read = {
        first_source + number: frame.filter(_up_to(until))
        for number, frame in enumerate(results)
        if isinstance(frame, DataFrame)
    }
    labels = {first_source + number: name for number, name in enumerate(names)}
    refused = {first_source + n: result for n, result in enumerate(results) if isinstance(result, Rejection)}
    refused |= _refused_by_content(read, labels, features)
    usable = {number: frame for number, frame in read.items() if number not in refused}
    rows = _union(spark, usable.values(), features)
    rows, flooded = _without_flooded(rows, labels, features)
    rejections = sorted(
        [*refused.items(), *flooded], key=lambda one: (one[0], one[1].sensor_id or "")
    )  # in the order of the files
    rejected = tuple(rejection for _, rejection in rejections)
    if rejected and (not usable or (flooded and rows.isEmpty())):
        raise nothing_usable(rejected, f"the {len(rejected)} files in {folder}")
    return SparkReadings(rows.select("source", "row", "timestamp", "sensor_id", *features), rejected)


def _up_to(until: datetime | None) -> Column:
    if until is None:
        return F.lit(True)
    bound = F.timestamp_micros(F.lit(round(until.astimezone(UTC).timestamp() * 1_000_000)))
    return F.col("timestamp").isNull() | (F.col("timestamp") <= bound)


def _read_file(spark: SparkSession, uri: str, name: str, features: Sequence[str]) -> DataFrame:
    """One file; `bad <column>` holds words that are no numbers. Its content is not looked at yet, except of texts."""
    is_text = name.lower().endswith(".csv")
    try:
        if is_text:  # as a whole, in one task: its rows have an order
            frame = spark.read.csv(uri, header=True, multiLine=True, nullValue="")
            row = F.monotonically_increasing_id()
        else:
            frame = spark.read.parquet(uri)
            row = F.col("_metadata.row_index")
        _check_columns(frame.columns, name, features)
        kinds = {field.name: field.dataType for field in frame.schema.fields}
        moment = _moment(frame, kinds["timestamp"], name)
    except _ENGINE_ERRORS as error:
        raise _unreadable(name, error) from error
    columns = [_number(column, kinds.get(column), name, is_text) for column in features]
    bad = [_word(column, is_text and column in kinds) for column in features]
    return frame.select(row.alias("row"), moment.alias("timestamp"), F.col("sensor_id").cast("string"), *columns, *bad)


def _unreadable(name: str, error: Exception) -> SourceError:
    reason = str(error)
    if isinstance(error, Py4JJavaError):
        cause = error.java_exception
        while cause.getCause() is not None:
            cause = cause.getCause()
        reason = cause.getMessage() or cause.toString()
    first_line = reason.strip().splitlines()[0]
    return SourceError(f"{name} cannot be read ({first_line}); is it still being written? Export it again")


def _check_columns(columns: Sequence[str], name: str, features: Sequence[str]) -> None:
    there = ", ".join(columns)
    if missing := [column for column in ("timestamp", "sensor_id") if column not in columns]:
        raise SourceError(f"{name} has no column {' and no column '.join(missing)}; it has {there}")
    if not any(feature in columns for feature in features):
        raise SourceError(
            f"{name} has none of the feature columns of policy.yml ({', '.join(features)}); it has {there}"
        )


def _moment(frame: DataFrame, kind: T.DataType, name: str) -> Column:
    if isinstance(kind, T.TimestampNTZType):
        raise SourceError(f"{name}: timestamps have no time zone; write them in UTC, or give a MAPPING")
    if isinstance(kind, T.TimestampType):
        return F.col("timestamp")
    if isinstance(kind, T.StringType):
        if not frame.filter(~F.col("timestamp").rlike(_ZONE)).isEmpty():
            raise SourceError(f"{name}: timestamps have no time zone; write them like 2025-12-09T06:00:00Z")
        return F.regexp_replace("timestamp", r"([+-]\d\d)(\d\d)$", "$1:$2").cast("timestamp")
    raise SourceError(f"{name}: timestamp has type {kind.simpleString()}; a date and time with a time zone is expected")


def _number(column: str, kind: T.DataType | None, name: str, is_text: bool) -> Column:
    if kind is None:
        return F.lit(None).cast("double").alias(column)
    if is_text:
        word = F.trim(F.col(column))
        return F.when(word.rlike(_NUMBER), word.cast("double")).alias(column)
    if not isinstance(kind, T.NumericType | T.NullType):
        raise SourceError(f"{name}: column {column} has type {kind.simpleString()}; numbers are expected")
    value = F.col(column).cast("double")
    return F.when(F.abs(value) < float("inf"), value).alias(column)  # NaN counts as greater


def _word(column: str, is_text: bool) -> Column:
    if not is_text:
        return F.lit(None).cast("string").alias(f"bad {column}")
    word = F.trim(F.col(column))
    return F.when((word != "") & ~word.rlike(_NUMBER) & ~word.rlike(_NO_NUMBER), word).alias(f"bad {column}")


def _refused_by_content(
    read: dict[int, DataFrame], labels: dict[int, str], features: Sequence[str]
) -> dict[int, Rejection]:
    """Files that Spark fails on, or with rows without time, sensor or number. One job, and one a file if it fails."""
    if not read:
        return {}
    try:
        return _content_problems(reduce(DataFrame.unionByName, read.values()), labels, features)
    except _ENGINE_ERRORS:
        refused: dict[int, Rejection] = {}
        for number, frame in read.items():
            try:
                refused |= _content_problems(frame, labels, features)
            except _ENGINE_ERRORS as error:
                refused[number] = Rejection(labels[number], str(_unreadable(labels[number], error)))
        return refused


def _content_problems(frame: DataFrame, labels: dict[int, str], features: Sequence[str]) -> dict[int, Rejection]:
    needed = ("timestamp", "sensor_id")
    counts = frame.groupBy("source").agg(
        *(F.count_if(F.col(column).isNull()).alias(column) for column in needed),
        *(
            F.min_by(f"bad {column}", F.when(F.col(f"bad {column}").isNotNull(), F.col("row"))).alias(f"bad {column}")
            for column in features
        ),
        *(F.min(F.when(F.col(f"bad {column}").isNotNull(), F.col("row"))).alias(f"at {column}") for column in features),
        F.hash(*(F.sum(column) for column in features)).alias("every value was read"),
    )
    refused = {}
    for row in counts.collect():
        name = labels[row["source"]]
        reasons = [
            f"{name}: {column} is {row[f'bad {column}']!r} in row {row[f'at {column}'] + 1}; a number is expected"
            for column in features
            if row[f"bad {column}"] is not None
        ] + [
            f"{name}: {row[column]} rows have no valid {column}; every reading needs one"
            for column in needed
            if row[column]
        ]
        if reasons:
            refused[row["source"]] = Rejection(name, reasons[0])
    return refused


def _union(spark: SparkSession, frames: Iterable[DataFrame], features: Sequence[str]) -> DataFrame:
    columns = ["source", "row", "timestamp", "sensor_id", *features]
    if held := [frame.select(*columns) for frame in frames]:
        return reduce(DataFrame.unionByName, held)
    return empty(spark, features)


def empty(spark: SparkSession, features: Sequence[str]) -> DataFrame:
    """No readings."""
    doubles = ", ".join(f"`{name}` double" for name in features)
    return spark.createDataFrame([], f"source int, row bigint, timestamp timestamp, sensor_id string, {doubles}")


def _without_flooded(
    rows: DataFrame, labels: dict[int, str], features: Sequence[str]
) -> tuple[DataFrame, list[tuple[int, Rejection]]]:
    """See `etl.sources.without_flooded`."""
    valueless = reduce(Column.__and__, [F.col(column).isNull() for column in features])
    flooded = (
        rows.groupBy("source", "sensor_id")
        .agg(F.count("*").alias("rows"), F.count_if(valueless).alias("valueless"))
        .filter((F.col("rows") >= FLOOD_ROWS) & (F.col("valueless") > FLOOD_SHARE * F.col("rows")))
        .collect()
    )
    if not flooded:
        return rows, []
    rejections = [
        (
            row["source"],
            Rejection(
                labels[row["source"]],
                f"{labels[row['source']]}: {row['valueless']} of {row['rows']} readings of {row['sensor_id']} have no"
                " value (missing, NaN or infinite) in any column; they were left out: check the sensor and its export",
                row["sensor_id"],
            ),
        )
        for row in flooded
    ]
    left_out = [F.struct(F.lit(row["source"]), F.lit(row["sensor_id"])) for row in flooded]
    return rows.filter(~F.struct("source", "sensor_id").isin(left_out)), rejections
