"""Readings from one SQL table or query through SQLAlchemy, only the rows since the run before."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import sqlalchemy as sa

from etl.source_list import ROW_COLUMNS, SqlSource
from etl.sources import SourceError, checked, empty

CHUNK_ROWS = 100_000
THE_FIRST = datetime(1900, 1, 1, tzinfo=ZoneInfo("UTC"))  # before any sensor, and a date that every database has


def read_sql(
    source: SqlSource, features: Sequence[str], read_to: datetime | None, until: datetime | None
) -> pl.DataFrame:
    """Checked readings from `look_back_hours` before `read_to` (None: all), in order of arrival. Raises SourceError."""
    name = f"sql:{source.name}"
    since = (read_to or THE_FIRST) - timedelta(hours=source.look_back_hours if read_to else 0)
    url = os.environ.get(source.url_env)
    if not url:
        raise SourceError(f"{name}: the environment variable {source.url_env} is not set; it holds the database's URL")
    try:
        engine = sa.create_engine(url)
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        raise SourceError(
            f"{name}: {source.url_env} is not a database URL that can be used here ({_first_line(error)}); write it"
            " like postgresql+psycopg://user:password@host/database, and install the driver it names"
        ) from error
    try:
        with engine.connect() as connection:
            statement, parameters = _statement(source, name, connection, features, since)
            result = connection.execution_options(stream_results=True).execute(statement, parameters)
            fields = [_standard_name(source, column, features) for column in list(result.keys())]
            chunks = [
                checked(_frame(source, name, fields, rows, features).lazy(), name, features, until)
                for rows in result.partitions(CHUNK_ROWS)
            ]
    except sa.exc.SQLAlchemyError as error:
        raise SourceError(
            f"{name} cannot be read ({_first_line(error)}); check {source.url_env}, the network, and the table or query"
        ) from error
    finally:
        engine.dispose()
    rows = pl.concat(chunks) if chunks else empty(features)
    if source.table and not source.arrival_column:  # a table has no order: the same rows must give the same result
        rows = rows.sort("timestamp", "sensor_id", *features)
    return rows


def _statement(
    source: SqlSource, name: str, connection: sa.Connection, features: Sequence[str], since: datetime
) -> tuple[sa.Executable, dict[str, Any]]:
    local = since.astimezone(ZoneInfo(source.time_zone)).replace(tzinfo=None) if source.time_zone else None
    if source.query is not None:
        moment = sa.bindparam("since", type_=sa.DateTime(timezone=local is None))
        return sa.text(source.query).bindparams(moment), {"since": local or since}
    assert source.table is not None
    try:
        table = sa.Table(source.table, sa.MetaData(), schema=source.table_schema, autoload_with=connection)
    except sa.exc.NoSuchTableError:
        there = ", ".join(sorted(sa.inspect(connection).get_table_names(source.table_schema))) or "none"
        raise SourceError(f"{name}: there is no table {source.table}; tables: {there}") from None
    wanted = [
        source.column(column) for column in (*ROW_COLUMNS, *features) if column in (*ROW_COLUMNS, *source.columns)
    ]
    needed = [*wanted, source.arrival_column] if source.arrival_column else wanted
    if missing := [column for column in needed if column not in table.c]:
        raise SourceError(
            f"{name}: {source.table} has no column {', '.join(missing)}; it has {', '.join(table.c.keys())}."
            " Correct `columns` in the sources file"
        )
    statement = sa.select(*(table.c[column] for column in wanted))
    statement = statement.where(table.c[source.column("timestamp")] >= _bound(source, name, table, since, local))
    if source.arrival_column:
        statement = statement.order_by(table.c[source.arrival_column])
    return statement, {}


def _bound(source: SqlSource, name: str, table: sa.Table, since: datetime, local: datetime | None) -> datetime | str:
    """The lower bound as the timestamp column has it; texts are compared by their day, which all spellings share."""
    column = table.c[source.column("timestamp")]
    if isinstance(column.type, sa.DateTime):
        return local or since
    if isinstance(column.type, sa.String):
        return f"{since - timedelta(days=1):%Y-%m-%d}"
    raise SourceError(
        f"{name}: {source.table}.{column.name} has type {column.type}; a date and time is expected: use a query that"
        " converts it"
    )


def _standard_name(source: SqlSource, column: str, features: Sequence[str]) -> str:
    return next((name for name in (*ROW_COLUMNS, *features) if source.column(name) == column), column)


def _frame(
    source: SqlSource, name: str, fields: Sequence[str], rows: Sequence[sa.Row[Any]], features: Sequence[str]
) -> pl.DataFrame:
    columns = []
    for field, values in zip(fields, zip(*rows, strict=True), strict=True):
        if field in features:
            columns.append(_numbers(name, field, values))
        elif field == "timestamp":
            columns.append(_moments(source, name, values))
        elif field == "sensor_id":
            columns.append(pl.Series(field, [None if value is None else str(value) for value in values], pl.String))
    return pl.DataFrame(columns)


def _numbers(name: str, column: str, values: Sequence[Any]) -> pl.Series:
    for value in values:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float | Decimal)):
            raise SourceError(f"{name}: {column} is {value!r} in one row; a number is expected: correct it there")
    return pl.Series(column, [None if value is None else float(value) for value in values], pl.Float64)


def _moments(source: SqlSource, name: str, values: Sequence[Any]) -> pl.Series:
    kinds = {type(value) for value in values if value is not None}
    if not kinds <= {datetime} and not kinds <= {str}:
        found = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise SourceError(f"{name}: timestamp has values of type {found}; a date and time is expected")
    moments = pl.Series("timestamp", values, pl.String) if kinds == {str} else pl.Series("timestamp", values)
    if source.time_zone is None:
        return moments
    if moments.dtype == pl.String:
        moments = moments.str.to_datetime(time_unit="us", strict=False)
    if moments.dtype == pl.Datetime and moments.dtype.time_zone is None:  # type: ignore[attr-defined]
        # The hour that a clock shows twice in autumn counts as the first; only UTC keeps both.
        moments = moments.dt.replace_time_zone(source.time_zone, ambiguous="earliest", non_existent="null")
    return moments


def _first_line(error: BaseException) -> str:
    """The driver's own words: SQLAlchemy's add the statement, and a URL has a password."""
    return (str(getattr(error, "orig", None) or error).splitlines() or [type(error).__name__])[0]
