"""Whether a Delta table's transaction log is whole: every commit, checkpoint and data file, and what can still be read.

Reads the files themselves, by the Delta protocol, and not through a Delta library: those stop at the first thing wrong.
"""

from __future__ import annotations

import io
import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from etl.delta_log import CommitUnreadable, commit_info
from etl.storage import join, list_files, read_bytes

LOG = "_delta_log"
_COMMIT = re.compile(r"^(\d{20})\.json$")
_CHECKPOINT = re.compile(r"^(\d{20})\.checkpoint(?:\.(\d{10})\.(\d{10}))?\.parquet$")
_ACTIONS = {"commitInfo", "protocol", "metaData", "add", "remove", "txn", "cdc", "domainMetadata"}
_FILES_ADDED = ("num_added_files", "num_target_files_added", "numTargetFilesAdded", "numFilesAdded")


class TableNotFound(LookupError):
    """There is no transaction log where a table was expected."""


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True)


class Problem(_Row):
    """One thing that is wrong: the file, what is wrong with it, and what to do."""

    file: str
    problem: str
    next_step: str


class Commit(_Row):
    """One commit of the history. rows_added counts the rows of the files it added, also of those it only rewrote."""

    version: int
    timestamp: datetime | None
    operation: str
    data_changed: bool
    files_added: int
    files_removed: int
    rows_added: int
    run_id: str | None


class Checkpoint(_Row):
    """A checkpoint that is whole, and the number of data files that the table had then."""

    version: int
    files: int


class LogCheck(_Row):
    """The finding. `readable` are the versions whose log and data files are all there, as inclusive ranges."""

    table_uri: str
    status: Literal["whole", "damaged"]
    table_id: str | None
    newest_version: int
    readable: tuple[tuple[int, int], ...]
    problems: tuple[Problem, ...]
    checkpoints: tuple[Checkpoint, ...]
    history: tuple[Commit, ...]
    data_files: int
    data_bytes: int

    @property
    def newest_readable(self) -> int | None:
        return self.readable[-1][1] if self.readable else None


@dataclass
class _Snapshot:
    """The state after a version: data files by path with their sizes."""

    files: dict[str, int] = field(default_factory=dict)
    table_id: str | None = None
    has_protocol: bool = False

    def apply(self, actions: list[dict[str, Any]]) -> None:
        for action in actions:
            if remove := action.get("remove"):
                self.files.pop(unquote(remove["path"]), None)
            elif add := action.get("add"):
                self.files[unquote(add["path"])] = int(add["size"])
            elif metadata := action.get("metaData"):
                self.table_id = metadata["id"]
            elif action.get("protocol"):
                self.has_protocol = True


def check_log(
    table_uri: str, stored: Mapping[str, int] | None = None, read: Callable[[str], bytes] = read_bytes
) -> LogCheck:
    """Read the whole log and look for every data file of every version. Raises TableNotFound, OSError.

    stored: every file below the table with its size; read: the content of a URI. Both for who has ways of his own.
    """
    return _Checker(table_uri, list_files(table_uri) if stored is None else stored, read).run()


def verify_commit(table_uri: str, version: int) -> None:
    """Raise CommitUnreadable if the commit is not whole. Delta libraries open a table with half a commit silently."""
    name = f"{version:020d}.json"
    try:
        _actions(version, read_bytes(join(table_uri, LOG, name)))
    except ValueError as error:
        raise CommitUnreadable(f"{LOG}/{name}: the commit is {error}") from error
    except FileNotFoundError:
        return  # cleaned up after a checkpoint


def damage(table_uri: str) -> str | None:
    """What is wrong with the table and what to do, or None: then an error about it comes from somewhere else."""
    try:
        check = check_log(table_uri)
    except (TableNotFound, OSError):
        return None
    if not check.problems:
        return None
    named = "; ".join(f"{one.file}: {one.problem}; {one.next_step}" for one in check.problems[:3])
    return (
        f"{table_uri} is damaged: {named}. Nothing was changed, and version {check.newest_readable} can still be read;"
        f" see `python scripts/verify_delta_log.py {table_uri}`"
    )


class _Checker:
    def __init__(self, table_uri: str, stored: Mapping[str, int], read: Callable[[str], bytes]) -> None:
        self.table_uri = table_uri
        self.stored = stored
        self.read = read
        self.problems: list[Problem] = []

    def run(self) -> LogCheck:
        names = sorted(name.removeprefix(f"{LOG}/") for name in self.stored if name.startswith(f"{LOG}/"))
        commit_names = {int(match[1]): name for name in names if (match := _COMMIT.match(name))}
        checkpoints = self._checkpoints(names)
        if not commit_names and not checkpoints:
            raise TableNotFound(f"{self.table_uri} has no transaction log; give the address of the Delta table")
        commits = {v: actions for v, name in commit_names.items() if (actions := self._commit(v, name)) is not None}
        newest = max(commit_names.keys() | checkpoints.keys())
        self._last_checkpoint(names, checkpoints)
        self._holes(commit_names, checkpoints, newest)
        readable, snapshot = self._replay(commits, checkpoints, newest)
        return LogCheck(
            table_uri=self.table_uri,
            status="damaged" if self.problems else "whole",
            table_id=snapshot.table_id,
            newest_version=newest,
            readable=_ranges(readable),
            problems=tuple(self.problems),
            checkpoints=tuple(Checkpoint(version=v, files=len(s.files)) for v, s in sorted(checkpoints.items())),
            history=tuple(_history_entry(version, actions) for version, actions in sorted(commits.items())),
            data_files=len(snapshot.files),
            data_bytes=sum(snapshot.files.values()),
        )

    def _report(self, name: str, problem: str, next_step: str) -> None:
        self.problems.append(Problem(file=name, problem=problem, next_step=next_step))

    def _read(self, name: str) -> bytes:
        return self.read(join(self.table_uri, LOG, name))

    def _commit(self, version: int, name: str) -> list[dict[str, Any]] | None:
        """The commit's actions, or None if they cannot be trusted."""
        try:
            return _actions(version, self._read(name))
        except ValueError as error:
            advice = f"restore {LOG}/{name} from the storage's soft delete or a copy"
            self._report(f"{LOG}/{name}", f"the commit is {error}", advice)
            return None

    def _checkpoints(self, names: list[str]) -> dict[int, _Snapshot]:
        parts: dict[int, dict[str, int]] = defaultdict(dict)
        for name in names:
            if match := _CHECKPOINT.match(name):
                parts[int(match[1])][name] = int(match[3] or 1)
        whole = {}
        for version, files in parts.items():
            if len(files) != max(files.values()):
                first = min(files)
                self._report(
                    f"{LOG}/{first}",
                    f"the checkpoint has {len(files)} of {max(files.values())} parts",
                    "delete these parts if the commits up to it are whole, and write a new checkpoint",
                )
                continue
            snapshot = _Snapshot()
            try:
                for name in files:
                    snapshot.apply(_checkpoint_actions(self._read(name)))
                if not (snapshot.has_protocol and snapshot.table_id):
                    raise ValueError("it has no protocol or no metadata")
            except (pa.ArrowException, OSError, ValueError, KeyError) as error:
                self._report(
                    f"{LOG}/{min(files)}",
                    f"the checkpoint cannot be read: {str(error).splitlines()[0]}",
                    "delete it if the commits up to it are whole, and write a new checkpoint; else restore it",
                )
                continue
            whole[version] = snapshot
        return whole

    def _last_checkpoint(self, names: list[str], checkpoints: dict[int, _Snapshot]) -> None:
        if "_last_checkpoint" not in names:
            return
        advice = f"delete {LOG}/_last_checkpoint: readers then list the folder and find what is there"
        try:
            version = int(json.loads(self._read("_last_checkpoint"))["version"])
        except (ValueError, KeyError, TypeError) as error:
            self._report(f"{LOG}/_last_checkpoint", f"it is not a checkpoint's description: {error}", advice)
            return
        if version not in checkpoints:
            self._report(f"{LOG}/_last_checkpoint", f"it points to checkpoint {version}, which is not whole", advice)

    def _holes(self, commits: dict[int, str], checkpoints: dict[int, _Snapshot], newest: int) -> None:
        """Commits that are missing between others; older ones than a checkpoint may have been cleaned up."""
        first = min(commits, default=newest + 1)
        begin = 0 if not any(version >= first - 1 for version in checkpoints) else first
        for version in range(begin, newest + 1):
            if version not in commits:
                name = f"{LOG}/{version:020d}.json"
                self._report(name, "the commit is missing", f"restore {name} from the storage's soft delete or a copy")

    def _replay(
        self, commits: dict[int, list[dict[str, Any]]], checkpoints: dict[int, _Snapshot], newest: int
    ) -> tuple[list[int], _Snapshot]:
        """Versions that can be read, and the state of the newest that has a log, whether or not its files are there."""
        readable: list[int] = []
        last, snapshot = _Snapshot(), None if 0 not in commits else _Snapshot()
        missing: set[str] = set()
        for version in range(newest + 1):
            if snapshot is not None and version in commits:
                snapshot.apply(commits[version])
            else:
                snapshot = None
            if snapshot is None and version in checkpoints:
                held = checkpoints[version]
                snapshot = _Snapshot(dict(held.files), held.table_id, held.has_protocol)
            if snapshot is None:
                continue
            last = snapshot
            absent = {path for path, size in snapshot.files.items() if self.stored.get(path) != size}
            if not absent:
                readable.append(version)
            missing = absent if version == newest else set()  # older ones may have been vacuumed
        for path in sorted(missing):
            there = self.stored.get(path)
            size = last.files[path]
            problem = "the data file is missing" if there is None else f"the data file has {there} of {size} bytes"
            self._report(path, problem, "restore it from the storage's soft delete, or load that day again")
        return readable, last


def _actions(version: int, content: bytes) -> list[dict[str, Any]]:
    """The actions of a commit; ValueError says how it is not whole."""
    lines = content.splitlines()
    if not content.strip():
        raise ValueError("empty")
    actions: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        try:
            action = json.loads(line)
            if not isinstance(action, dict) or not action.keys() & _ACTIONS:
                raise ValueError("no action of the Delta protocol")
        except ValueError as error:
            kind = "truncated" if number == len(lines) and not content.endswith(b"\n") else "corrupt"
            raise ValueError(f"{kind} in line {number} of {len(lines)}: {error}") from error
        actions.append(action)
    announced, added = _announced_files(actions), sum("add" in action for action in actions)
    if announced is not None and announced > added:
        raise ValueError(f"truncated: it says it added {announced} files and lists {added}")
    if version == 0 and not {"protocol", "metaData"} <= {kind for action in actions for kind in action}:
        raise ValueError("without protocol or metadata, which the first one must have")
    return actions


def _checkpoint_actions(content: bytes) -> list[dict[str, Any]]:
    wanted = ["add.path", "add.size", "metaData.id", "protocol.minReaderVersion"]
    table = pq.ParquetFile(io.BytesIO(content)).read(columns=wanted)
    return [
        {kind: fields for kind, fields in row.items() if fields and any(value is not None for value in fields.values())}
        for row in table.to_pylist()
    ]


def _announced_files(actions: list[dict[str, Any]]) -> int | None:
    info: dict[str, Any] = next((action["commitInfo"] for action in actions if "commitInfo" in action), {})
    metrics = info.get("operationMetrics") or {}
    return next((int(metrics[name]) for name in _FILES_ADDED if name in metrics), None)


def _history_entry(version: int, actions: list[dict[str, Any]]) -> Commit:
    info = commit_info(actions)
    added = [action["add"] for action in actions if "add" in action]
    return Commit(
        version=version,
        timestamp=info.timestamp,
        operation=info.operation,
        data_changed=info.data_changed,
        files_added=len(added),
        files_removed=sum("remove" in action for action in actions),
        rows_added=sum(json.loads(add.get("stats") or "{}").get("numRecords", 0) for add in added),
        run_id=info.run_id,
    )


def _ranges(versions: list[int]) -> tuple[tuple[int, int], ...]:
    ranges: list[tuple[int, int]] = []
    for version in versions:
        if ranges and ranges[-1][1] == version - 1:
            ranges[-1] = (ranges[-1][0], version)
        else:
            ranges.append((version, version))
    return tuple(ranges)
