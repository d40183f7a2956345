"""What an upkeep run is told beforehand, and what it says afterwards: documents beside the table. Light to import."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from etl.report import beside
from etl.storage import read_bytes, write_bytes

if TYPE_CHECKING:
    from etl.log_check import LogCheck

RETENTION_HOURS = 7 * 24
SHORTEST_RETENTION_HOURS = 24  # readers, and writers of new references, must find the files of what is newest


class UpkeepError(ValueError):
    """The upkeep was refused before anything was touched; says why and what to do."""


class UpkeepOrder(BaseModel):
    """The versions of one table that data assets and the ledger refer to.

    A version that is referred to only after this was written is safe for the retention's sake: nothing refers anew to
    versions that old.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    table_id: str = Field(min_length=1)
    spare: tuple[int, ...]
    retention_hours: int = Field(default=RETENTION_HOURS, ge=SHORTEST_RETENTION_HOURS)

    def write(self, table_uri: str, run_id: str) -> None:
        write_bytes(order_uri(table_uri, run_id), self.model_dump_json(indent=2).encode())

    @classmethod
    def read(cls, table_uri: str, run_id: str, read: Callable[[str], bytes] = read_bytes) -> UpkeepOrder:
        """Raises UpkeepError: without an order there is no upkeep. `read` raises OSError where there is no file."""
        uri = order_uri(table_uri, run_id)
        try:
            return cls.model_validate_json(read(uri))
        except (OSError, ValidationError) as error:
            reason = str(error).splitlines()[0]
            raise UpkeepError(
                f"the upkeep order {uri} cannot be read ({reason}); nothing was deleted: the app writes one for"
                " each upkeep that it starts, or use `python -m etl.upkeep vacuum` and name the versions to spare"
            ) from error


class UpkeepResult(BaseModel):
    """What one upkeep did. version: the compaction's commit, or None if the table was compact.

    lost: versions to spare that could not be read even before.
    """

    model_config = ConfigDict(frozen=True)

    version: int | None
    deleted_files: int
    lost: tuple[int, ...]


def to_spare(check: LogCheck, spare: Set[int], table_id: str | None = None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The versions to spare that can be read, and those that are lost already.

    Raises UpkeepError when the log is damaged, is another table's than `table_id`, or lacks a version from the future.
    """
    uri = check.table_uri
    if check.problems:
        first = check.problems[0]
        raise UpkeepError(f"{uri} is damaged ({first.file}: {first.problem}); {first.next_step}, then vacuum")
    if table_id is not None and check.table_id != table_id:
        raise UpkeepError(f"{uri} is table {check.table_id}, the versions to spare are of {table_id}; ask again")
    if unknown := sorted(version for version in spare if not 0 <= version <= check.newest_version):
        raise UpkeepError(
            f"{uri} has versions 0 to {check.newest_version}, not {', '.join(map(str, unknown))};"
            " are the versions to spare another table's?"
        )
    readable = {version for first, last in check.readable for version in range(first, last + 1)}
    return tuple(sorted(spare & readable)), tuple(sorted(spare - readable))


def order_uri(table_uri: str, run_id: str) -> str:
    """Where an upkeep run finds its order: `sensor_data_upkeep/{run_id}.json` beside the table."""
    return beside(table_uri, "upkeep", run_id)


def result_uri(table_uri: str, run_id: str) -> str:
    """Where an upkeep run leaves its result: `sensor_data_upkeep/{run_id}.done.json` beside the table."""
    return beside(table_uri, "upkeep", f"{run_id}.done")
