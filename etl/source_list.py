"""The sources file: which folders and SQL tables the readings of a run come from.

folders:
  - path: landing                  # relative to this file, or az://..., or abfss://...
sql:
  - name: historian
    url_env: HISTORIAN_URL         # an SQLAlchemy URL
    table: readings                # or query: a SELECT with the parameter :since
    columns: {timestamp: measured_at, sensor_id: tag, temperature: temp_c}
    arrival_column: id             # which of two rows of one moment came later
    time_zone: Europe/Rome         # of timestamps that do not say
    look_back_hours: 72            # how late rows may be
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Self
from zoneinfo import available_timezones

import polars as pl
from pydantic import AfterValidator, ConfigDict, Field, model_validator

from etl.sources import Readings, Rejection, SourceError, empty, nothing_usable, read_folder, without_flooded
from etl.storage import local_path
from shared.configuration import Frozen
from shared.yaml_documents import Key, YamlReader

ROW_COLUMNS = ("timestamp", "sensor_id")
SUFFIXES = (".yml", ".yaml")


def _known_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"{name!r} is not a time zone; use a name like UTC or Europe/Rome")
    return name


class FolderSource(Frozen):
    """A folder of Parquet and CSV files: a path (a relative one begins at the sources file), az:// or abfss://."""

    path: str = Field(min_length=1)


class SqlSource(Frozen):
    """One SQL table or query.

    columns: the Delta table's columns -> the source's; timestamp and sensor_id only if they are called otherwise.
    A run reads rows from `look_back_hours` before the newest row of the run before; the first run reads all.
    """

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["table"]}, {"required": ["query"]}]})

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")
    url_env: str = Field(pattern=r"^[A-Z][A-Z0-9_]*$")
    table: str | None = None
    table_schema: str | None = None
    query: str | None = None
    columns: dict[str, str] = Field(min_length=1)
    arrival_column: str | None = None
    time_zone: Annotated[str, AfterValidator(_known_zone)] | None = None
    look_back_hours: int = Field(default=72, ge=0, le=24 * 366)

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.table is None) == (self.query is None):
            raise ValueError("give either table or query")
        if self.query is not None and ":since" not in self.query:
            raise ValueError("the query must select by time, e.g. WHERE measured_at >= :since")
        if self.query is not None and (self.arrival_column or self.table_schema):
            raise ValueError("arrival_column and table_schema belong to a table; say the order in the query")
        return self

    def column(self, name: str) -> str:
        """The source's name of a column of the Delta table."""
        return self.columns.get(name, name)


class SourceList(Frozen):
    """Where the readings come from, in the order in which they count as having arrived."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["folders"]}, {"required": ["sql"]}]})

    folders: list[FolderSource] = Field(default=[])
    sql: list[SqlSource] = Field(default=[])

    @model_validator(mode="after")
    def _some_and_distinct(self) -> Self:
        if not (self.folders or self.sql):
            raise ValueError("no source; list at least one under folders or sql")
        repeated = [name for name, count in Counter(source.name for source in self.sql).items() if count > 1]
        if repeated:
            raise ValueError(f"SQL sources need names of their own; repeated: {', '.join(repeated)}")
        return self


def load_sources(path: Path | str, features: Sequence[str]) -> SourceList:
    """The sources that a file lists. Raises ConfigurationError with every problem: file, line, key, what is allowed."""
    file = Path(path)
    reader = YamlReader(file.parent)
    document = reader.read(file, "create it, or give a folder of readings instead")
    sources = reader.parse(SourceList, document) if document else None
    if document and sources:
        for index, source in enumerate(sources.sql):
            for column in source.columns:
                if column not in (*ROW_COLUMNS, *features):
                    key: Key = ("sql", index, "columns", column)
                    allowed = ", ".join((*ROW_COLUMNS, *features))
                    reader.report(document.place(key), key, f"not a column of the table; allowed: {allowed}")
            if not set(source.columns) & set(features):
                key = ("sql", index, "columns")
                reader.report(document.place(key), key, f"maps no feature; at least one of {', '.join(features)}")
    reader.raise_problems()
    assert sources, "a list that is missing was reported"
    return sources


def is_source_list(source: Path | str) -> bool:
    """Whether the source is a file that lists sources; else it is a folder of readings."""
    return Path(source).suffix in SUFFIXES


def read_source(
    source: Path | str, features: Sequence[str], until: datetime | None, read_to: Mapping[str, datetime]
) -> Readings:
    """The readings up to `until` of a folder, or of the sources that a file (`.yml`) lists.

    read_to: per SQL source the newest timestamp that was read before. A source that cannot be used is rejected and the
    others go on. Raises SourceError if nothing can be used, ConfigurationError if the sources file is wrong.
    """
    if not is_source_list(source):
        return read_folder(source, features, until)
    path = local_path(str(source))
    if path is None:
        raise SourceError(
            f"{source}: a sources file is read from this machine; copy it here, it may list az:// folders"
        )
    return _read_all(load_sources(path, features), path.parent, features, until, read_to)


def _read_all(
    sources: SourceList,
    base: Path,
    features: Sequence[str],
    until: datetime | None,
    read_to: Mapping[str, datetime],
) -> Readings:
    frames: list[pl.DataFrame] = []
    rejected: list[Rejection] = []
    newest: dict[str, datetime] = {}
    for folder in sources.folders:
        try:
            remote = local_path(folder.path) is None
            readings = read_folder(folder.path if remote else base / folder.path, features, until)
        except SourceError as error:
            rejected.append(Rejection(folder.path, str(error)))
            continue
        frames.append(readings.rows)
        rejected += [Rejection(f"{folder.path}/{r.source}", r.reason, r.sensor_id) for r in readings.rejected]
    for source in sources.sql:
        from etl.sql_source import read_sql  # only those who have SQL sources pay for SQLAlchemy

        try:
            rows = read_sql(source, features, read_to.get(source.name), until)
        except SourceError as error:
            rejected.append(Rejection(f"sql:{source.name}", str(error)))
            continue
        rows, flooded = without_flooded(rows, f"sql:{source.name}", features)
        rejected += flooded
        frames.append(rows)
        if not flooded and (last := newest_read(rows)):
            newest[source.name] = last
    if rejected and not frames:
        raise nothing_usable(rejected, f"the {len(rejected)} sources")
    return Readings(pl.concat(frames) if frames else empty(features), tuple(rejected), newest)


def newest_read(rows: pl.DataFrame) -> datetime | None:
    """The newest timestamp of rows that were read, at most now: a clock that runs ahead must not hide what follows."""
    last = rows["timestamp"].max()
    return min(last, datetime.now(UTC)) if isinstance(last, datetime) else None
