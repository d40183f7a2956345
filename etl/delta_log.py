"""What one commit of a Delta table says about itself, read from its log file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from etl.storage import join, read_bytes, storage_options


class CommitNotFound(LookupError):
    """There is no such commit in the log: not yet, not in this table, or cleaned up already."""


class CommitUnreadable(ValueError):
    """The commit's log file is not what the Delta protocol says; names the file."""


@dataclass(frozen=True)
class CommitInfo:
    """What a commit's actions say. data_changed is False for compaction, schema changes and the creation of a table.

    run_id and report_path (relative to the table's parent folder) are None for commits that are not an ETL run's.
    timestamp is None where the commit does not say.
    """

    data_changed: bool
    operation: str
    run_id: str | None
    report_path: str | None
    timestamp: datetime | None
    files_added: int
    files_removed: int


@dataclass(frozen=True)
class CommitSummary(CommitInfo):
    """One commit of one table."""

    table_id: str
    version: int


def read_commit(table_uri: str, version: int) -> CommitSummary:
    """Summary of a commit. Raises CommitNotFound or CommitUnreadable, both naming the log file."""
    actions = _actions(table_uri, version)
    info = commit_info(actions)
    return CommitSummary(**vars(info), table_id=_table_id(table_uri, actions), version=version)


def commit_info(actions: Sequence[Mapping[str, Any]]) -> CommitInfo:
    """What the actions of one commit say, whichever engine wrote it."""
    info: Mapping[str, Any] = next((action["commitInfo"] for action in actions if "commitInfo" in action), {})
    added, removed = ([action[kind] for action in actions if kind in action] for kind in ("add", "remove"))
    ours = {**_user_metadata(info), **info}  # Spark keeps one text of ours, delta-rs our keys beside its own
    milliseconds = info.get("timestamp")
    return CommitInfo(
        data_changed=any(file.get("dataChange", True) for file in (*added, *removed)),
        operation=str(info.get("operation", "unknown")),
        run_id=ours.get("run_id"),
        report_path=ours.get("report"),
        timestamp=None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC),
        files_added=len(added),
        files_removed=len(removed),
    )


def _user_metadata(info: Mapping[str, Any]) -> dict[str, Any]:
    try:
        metadata = json.loads(info.get("userMetadata") or "{}")
    except ValueError:
        return {}  # somebody else's words
    return metadata if isinstance(metadata, dict) else {}


def newest_readings(table_uri: str, version: int) -> dict[str, datetime]:
    """Each sensor with rows in the days that a commit added files to, and its newest timestamp in them (UTC).

    Reads two columns of those days, never more. Raises CommitNotFound, CommitUnreadable, DeltaError.
    """
    import pyarrow as pa  # only the commit of a foreign writer is asked for this
    from deltalake import DeltaTable, QueryBuilder

    added = (action["add"] for action in _actions(table_uri, version) if "add" in action)
    days = {date.fromisoformat(add["partitionValues"]["date"]) for add in added if add.get("dataChange", True)}
    if not days:
        return {}
    table = DeltaTable(table_uri, version=version, storage_options=storage_options(table_uri))
    dates = ", ".join(f"DATE '{day}'" for day in sorted(days))
    newest = "SELECT sensor_id, max(timestamp) FROM readings WHERE date IN (" + dates + ") GROUP BY sensor_id"
    rows = pa.table(QueryBuilder().register("readings", table).execute(newest))
    return {str(sensor): last for sensor, last in zip(*(column.to_pylist() for column in rows.columns), strict=True)}


def newest_version(table_uri: str) -> int | None:
    """The table's newest version, or None while there is no table."""
    from deltalake import DeltaTable  # only the Function App's ETL handler needs it
    from deltalake.exceptions import TableNotFoundError

    try:
        return int(DeltaTable(table_uri, storage_options=storage_options(table_uri)).version())
    except TableNotFoundError:
        return None


def first_day(table_uri: str) -> date | None:
    """The first UTC day that the table has readings of, from its log alone; None while there is no table."""
    from deltalake import DeltaTable
    from deltalake.exceptions import TableNotFoundError

    try:
        partitions = DeltaTable(table_uri, storage_options=storage_options(table_uri)).partitions()
    except TableNotFoundError:
        return None
    return min((date.fromisoformat(str(partition["date"])) for partition in partitions), default=None)


def newest_table_id(table_uri: str) -> str | None:
    """The table's id, or None while there is no table."""
    from deltalake import DeltaTable
    from deltalake.exceptions import TableNotFoundError

    try:
        table = DeltaTable(table_uri, storage_options=storage_options(table_uri))
    except TableNotFoundError:
        return None
    return str(table.metadata().id)


def _actions(table_uri: str, version: int) -> list[dict[str, Any]]:
    log_uri = join(table_uri, "_delta_log", f"{version:020d}.json")
    try:
        content = read_bytes(log_uri)
    except FileNotFoundError:
        raise CommitNotFound(f"{log_uri} does not exist: no version {version}, or its log was cleaned up") from None
    try:
        return [json.loads(line) for line in content.splitlines() if line.strip()]
    except ValueError as error:
        raise CommitUnreadable(f"{log_uri} is not a Delta commit ({error}); restore it or rebuild the table") from error


def _table_id(table_uri: str, actions: list[dict[str, Any]]) -> str:
    """From this commit or the first one; the id never changes. Only a log that was cleaned up must be replayed."""
    if not any("metaData" in action for action in actions):
        try:
            actions = _actions(table_uri, 0)
        except CommitNotFound:
            from deltalake import DeltaTable

            return str(DeltaTable(table_uri, storage_options=storage_options(table_uri)).metadata().id)
    return next(str(action["metaData"]["id"]) for action in actions if "metaData" in action)
