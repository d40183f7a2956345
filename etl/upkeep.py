"""Upkeep of the Delta table: small files become few, and files that nobody can ask for any more go.

Neither changes data. A version that a data asset or the scoring ledger refers to stays readable for as long as it is
named to `vacuum`, and every version for as long as the retention says.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import time
from collections.abc import Set
from pathlib import Path
from urllib.parse import unquote

from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError
from pydantic import BaseModel, ConfigDict

from etl.log_check import TableNotFound, check_log
from etl.merge import COMMIT_ATTEMPTS, TABLE_PROPERTIES, MergeConflict
from etl.storage import list_files, storage_options, write_bytes
from etl.upkeep_documents import (
    RETENTION_HOURS,
    SHORTEST_RETENTION_HOURS,
    UpkeepError,
    UpkeepOrder,
    UpkeepResult,
    result_uri,
    to_spare,
)

log = logging.getLogger(__name__)


class Compaction(BaseModel):
    """version is None if there was nothing to compact."""

    model_config = ConfigDict(frozen=True)

    version: int | None
    files_before: int
    files_after: int


class Vacuum(BaseModel):
    """What was deleted (in a dry run: would be). `lost`: versions to spare that could not be read even before."""

    model_config = ConfigDict(frozen=True)

    deleted_files: int
    spared_versions: tuple[int, ...]
    lost: tuple[int, ...]
    dry_run: bool


def keep_up(table_uri: str, run_id: str) -> UpkeepResult:
    """Compact the table, and vacuum it as the run's order says; safe to run again. The result is left beside the table.

    Raises UpkeepError before anything is touched when the order cannot be read, and before anything is deleted when it
    is another table's or the log is damaged; MergeConflict as `compact`.
    """
    order = UpkeepOrder.read(table_uri, run_id)
    compaction = compact(table_uri)
    vacuumed = vacuum(table_uri, frozenset(order.spare), order.retention_hours, order.table_id)
    result = UpkeepResult(version=compaction.version, deleted_files=vacuumed.deleted_files, lost=vacuumed.lost)
    write_bytes(result_uri(table_uri, run_id), result.model_dump_json(indent=2).encode())
    return result


def compact(table_uri: str) -> Compaction:
    """Rewrite each day's small files into one, in at most one commit, and write a checkpoint after it.

    Raises MergeConflict when other writers win every attempt: run again, nothing was changed.
    """
    for attempt in range(COMMIT_ATTEMPTS):
        if attempt:
            time.sleep(random.uniform(0.05, 0.2) * 2**attempt)
        table = _open(table_uri)
        try:
            _keep_the_log(table)
            before, version = len(table.file_uris()), table.version()
            table.optimize.compact()
        except CommitFailedError as conflict:
            log.warning("compaction of %s lost to another writer (attempt %d): %s", table_uri, attempt + 1, conflict)
            continue
        table.update_incremental()
        if table.version() == version:
            return Compaction(version=None, files_before=before, files_after=before)
        table.create_checkpoint()
        return Compaction(version=table.version(), files_before=before, files_after=len(table.file_uris()))
    raise MergeConflict(f"{table_uri}: {COMMIT_ATTEMPTS} compactions lost to other writers; run again")


def vacuum(
    table_uri: str,
    spare: Set[int],
    retention_hours: int = RETENTION_HOURS,
    table_id: str | None = None,
    dry_run: bool = False,
) -> Vacuum:
    """Delete the files that only versions older than the retention need, except the versions to `spare`.

    table_id: the table that the versions belong to; another one at this address is refused, as is a damaged log or a
    version that does not exist yet (UpkeepError; nothing is deleted then).
    """
    stored = list_files(table_uri)
    spared, lost = to_spare(check_log(table_uri, stored), spare, table_id)
    table = _open(table_uri)
    if not dry_run:
        _keep_the_log(table)
    named = table.vacuum(
        retention_hours=retention_hours,
        dry_run=dry_run,
        enforce_retention_duration=False,
        full=True,
        keep_versions=list(spared) or None,
    )
    there = {_file_name(path) for path in stored}  # delta-rs also names what earlier vacuums deleted
    deleted = [path for path in named if _file_name(path) in there]
    return Vacuum(deleted_files=len(deleted), spared_versions=spared, lost=lost, dry_run=dry_run)


def _open(table_uri: str) -> DeltaTable:
    return DeltaTable(table_uri, storage_options=storage_options(table_uri))


def _file_name(path: str) -> str:
    """A data file's name, which is unique in a table."""
    return unquote(path).rpartition("/")[2]


def _keep_the_log(table: DeltaTable) -> None:
    """Tables that were made without them get the properties that keep old versions readable."""
    if any(table.metadata().configuration.get(name) != value for name, value in TABLE_PROPERTIES.items()):
        table.alter.set_table_properties(TABLE_PROPERTIES)


def main(arguments: list[str] | None = None) -> int:
    """Command line; prints the result as JSON. Exit code 1 names what went wrong on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m etl.upkeep", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    keeping = commands.add_parser("run", help="both, as the order of a run says")
    keeping.add_argument("table", help="URI of the Delta table")
    keeping.add_argument("--run-id", required=True)
    compacting = commands.add_parser("compact", help="rewrite each day's small files into one")
    vacuuming = commands.add_parser("vacuum", help="delete files that no version needs any more")
    for command in (compacting, vacuuming):
        command.add_argument("table", help="URI of the Delta table")
    spared = vacuuming.add_mutually_exclusive_group(required=True)
    spared.add_argument("--spare", type=int, nargs="+", metavar="VERSION", help="versions that must stay readable")
    spared.add_argument("--spare-file", type=Path, help="the same as a JSON list")
    spared.add_argument("--spare-none", action="store_true", help="nothing refers to this table's versions")
    vacuuming.add_argument("--table-id", help="the table that the versions to spare belong to")
    vacuuming.add_argument("--retention-hours", type=int, default=RETENTION_HOURS)
    vacuuming.add_argument("--dry-run", action="store_true", help="only count what would be deleted")
    options = parser.parse_args(arguments)
    try:
        result: BaseModel
        if options.command == "run":
            result = keep_up(options.table, options.run_id)
        elif options.command == "compact":
            result = compact(options.table)
        elif options.retention_hours < SHORTEST_RETENTION_HOURS:
            parser.error(f"--retention-hours must be {SHORTEST_RETENTION_HOURS} or more: readers may be under way")
        else:
            spare = _versions(options.spare_file) if options.spare_file else set(options.spare or ())
            result = vacuum(options.table, spare, options.retention_hours, options.table_id, options.dry_run)
    except (UpkeepError, MergeConflict, TableNotFound, DeltaError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(result.model_dump_json(indent=2))
    return 0


def _versions(path: Path) -> set[int]:
    try:
        versions = json.loads(path.read_text())
    except ValueError:
        versions = None
    if not isinstance(versions, list) or not all(type(version) is int for version in versions):
        raise UpkeepError(f"{path} is not a JSON list of versions like [3, 17]; write it again")
    return set(versions)


if __name__ == "__main__":
    sys.exit(main())
