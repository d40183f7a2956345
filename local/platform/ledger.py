"""The platform's durable state: what was asked for, what became of it, what is deployed, what is still to be told.

One SQLite file in WAL mode, opened by the service's threads and its worker processes alike. Intent comes first: a start
is a row, unique by command id, before anything is done for it. All times are UTC.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from local.platform.faults import Fault, FaultKind
from local.platform.names import Work

BUSY_TIMEOUT_SECONDS = 30
ETL_UNTIL = "etl_until"  # a setting: readings after this time are left for a later run

_SCHEMA = """
CREATE TABLE IF NOT EXISTS work (
    reference TEXT PRIMARY KEY, work TEXT NOT NULL, stage TEXT NOT NULL, circuit TEXT NOT NULL,
    command_id TEXT NOT NULL UNIQUE, request TEXT NOT NULL, target TEXT, state TEXT NOT NULL,
    error TEXT NOT NULL DEFAULT '', outputs TEXT NOT NULL DEFAULT '{}', faults TEXT NOT NULL, attempts INTEGER NOT NULL,
    due REAL NOT NULL, created_at TEXT NOT NULL, started_at TEXT, ended_at TEXT);
CREATE UNIQUE INDEX IF NOT EXISTS one_operation_a_target ON work (target) WHERE state = 'InProgress';
CREATE INDEX IF NOT EXISTS work_by_state ON work (state);
CREATE TABLE IF NOT EXISTS deployment (
    endpoint TEXT NOT NULL, name TEXT NOT NULL, stage TEXT NOT NULL, circuit TEXT NOT NULL,
    model_version INTEGER NOT NULL, environment_version TEXT NOT NULL, tags TEXT NOT NULL,
    scoring_seconds REAL NOT NULL, PRIMARY KEY (endpoint, name));
CREATE TABLE IF NOT EXISTS environment (version TEXT PRIMARY KEY, tags TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS promoted_environment (version TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS event (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL, left INTEGER NOT NULL, due REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS event_by_due ON event (due) WHERE left > 0;
CREATE TABLE IF NOT EXISTS fault (
    number INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL, left INTEGER NOT NULL,
    struck INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class State(StrEnum):
    """AzureML's words: an operation is in progress or ended, a job goes through more."""

    IN_PROGRESS = "InProgress"
    NOT_STARTED = "NotStarted"
    PREPARING = "Preparing"
    RUNNING = "Running"
    CANCEL_REQUESTED = "CancelRequested"
    SUCCEEDED = "Succeeded"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELED = "Canceled"


_FINAL = frozenset({State.SUCCEEDED, State.COMPLETED, State.FAILED, State.CANCELED})
_FINAL_SQL = ", ".join(f"'{state}'" for state in sorted(_FINAL))


class CommandReused(Exception):
    """A command id came again with another request."""


class TargetBusy(Exception):
    """An operation on the same deployment or model version is in progress."""


@dataclass(frozen=True)
class WorkItem:
    """One operation or job. `target`: what an operation holds alone while in progress; jobs have none."""

    reference: str
    work: Work
    stage: str
    circuit: str
    command_id: str
    request: Mapping[str, Any]
    state: State
    target: str | None = None
    error: str = ""
    outputs: Mapping[str, str] | None = None
    faults: tuple[Fault, ...] = ()
    attempts: int = 1
    due: float = 0.0
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None

    def fault(self, kind: FaultKind) -> Fault | None:
        """The fault of this kind that struck when the work was accepted."""
        return next((fault for fault in self.faults if fault.kind is kind), None)


@dataclass(frozen=True)
class DeploymentRow:
    """What a batch deployment serves."""

    endpoint: str
    name: str
    stage: str
    circuit: str
    model_version: int
    environment_version: str
    tags: Mapping[str, str]
    scoring_seconds: float


@dataclass(frozen=True)
class PendingEvent:
    """An event that the topic has not accepted as often as it is to be sent."""

    sequence: int
    body: Mapping[str, Any]
    attempts: int


class Ledger:
    """The service's tables. Every method is one transaction; threads and processes may share the file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._local = threading.local()
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.executescript(_SCHEMA)

    # ------------------------------------------------------------------------------------------------- work

    def accept(self, item: WorkItem, strikes: Iterable[FaultKind]) -> tuple[WorkItem, bool]:
        """Write the intent of `item`, or find the work its command id started before; True when it is new.

        `strikes` are the kinds of faults that may befall it. Raises CommandReused or TargetBusy.
        """
        with self._transaction() as rows:
            if known := rows.execute("SELECT * FROM work WHERE command_id = ?", (item.command_id,)).fetchone():
                before = _item(known)
                if (before.work, before.stage, before.circuit, before.request) != (
                    item.work, item.stage, item.circuit, item.request,
                ):  # fmt: skip
                    raise CommandReused(
                        f"command {item.command_id} has already started {before.work} ({before.stage}, "
                        f"{before.circuit or 'the lake'}) with another request; give each request an id of its own"
                    )
                return before, False
            faults = self._struck(rows, strikes, _subject(item))
            try:
                rows.execute(
                    "INSERT INTO work (reference, work, stage, circuit, command_id, request, target, state, faults, "
                    "attempts, due, created_at, started_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?)",
                    (
                        item.reference, item.work, item.stage, item.circuit, item.command_id, json.dumps(item.request),
                        item.target, item.state, json.dumps([fault.model_dump(mode="json") for fault in faults]),
                        item.due + sum(fault.seconds for fault in faults if fault.kind is FaultKind.OPERATION_SLOW),
                        now(), now() if item.state is State.IN_PROGRESS else None,
                    ),
                )  # fmt: skip
            except sqlite3.IntegrityError as error:
                raise TargetBusy(f"an operation on {item.target} is in progress; try again once it ended") from error
            return _item(rows.execute("SELECT * FROM work WHERE reference = ?", (item.reference,)).fetchone()), True

    def find(self, reference: str) -> WorkItem | None:
        row = self._connection.execute("SELECT * FROM work WHERE reference = ?", (reference,)).fetchone()
        return _item(row) if row else None

    def listed(self, *states: State, work: Iterable[Work] = Work) -> list[WorkItem]:
        """Work in one of the states (none given: in any), oldest first."""
        kinds, wanted = list(work), list(states or State)
        rows = self._connection.execute(
            f"SELECT * FROM work WHERE state IN ({_marks(wanted)}) AND work IN ({_marks(kinds)}) ORDER BY rowid",
            (*wanted, *kinds),
        )
        return [_item(row) for row in rows]

    def due_operations(self) -> list[WorkItem]:
        return [item for item in self.listed(State.IN_PROGRESS) if item.due <= time.time()]

    def move(
        self, reference: str, state: State, *, events: Iterable[Mapping[str, Any]] = (), attempt: bool = False
    ) -> bool:
        """Take a job to a later, not final state; False when it has ended or its cancellation was asked for."""
        with self._transaction() as rows:
            moved = rows.execute(
                f"UPDATE work SET state = ?, attempts = attempts + ?, started_at = iif(?, ?, started_at) "
                f"WHERE reference = ? AND state NOT IN ({_FINAL_SQL}, 'CancelRequested')",
                (state, int(attempt), state is State.RUNNING, now(), reference),
            ).rowcount
            if moved:
                self._tell(rows, reference, events)
            return bool(moved)

    def finish(
        self,
        reference: str,
        state: State,
        *,
        error: str = "",
        outputs: Mapping[str, str] | None = None,
        deployment: DeploymentRow | None = None,
        removed: tuple[str, str] | None = None,
        events: Iterable[Mapping[str, Any]] = (),
    ) -> bool:
        """End the work with everything that follows from it, at once; False when it had ended before.

        removed: endpoint and name of the deployment that is no more.
        """
        with self._transaction() as rows:
            ended = rows.execute(
                f"UPDATE work SET state = ?, error = ?, outputs = ?, ended_at = ? "
                f"WHERE reference = ? AND state NOT IN ({_FINAL_SQL})",
                (state, error, json.dumps(dict(outputs or {})), now(), reference),
            ).rowcount
            if ended:
                if deployment:
                    rows.execute(
                        "INSERT OR REPLACE INTO deployment VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                        (deployment.endpoint, deployment.name, deployment.stage, deployment.circuit,
                         deployment.model_version, deployment.environment_version, json.dumps(dict(deployment.tags)),
                         deployment.scoring_seconds),
                    )  # fmt: skip
                if removed:
                    rows.execute("DELETE FROM deployment WHERE endpoint = ? AND name = ?", removed)
                self._tell(rows, reference, events)
            return bool(ended)

    def request_cancel(self, reference: str) -> State | None:
        """Ask that work stops and return its state then; an operation ends at once. None: there is no such work."""
        with self._transaction() as rows:
            rows.execute(
                "UPDATE work SET state = 'Canceled', ended_at = ? WHERE reference = ? AND state = 'InProgress'",
                (now(), reference),
            )
            rows.execute(
                f"UPDATE work SET state = 'CancelRequested' WHERE reference = ? AND state NOT IN ({_FINAL_SQL})",
                (reference,),
            )
            row = rows.execute("SELECT state FROM work WHERE reference = ?", (reference,)).fetchone()
            return State(row["state"]) if row else None

    # ------------------------------------------------------------------------------------------- deployments

    def deployment(self, endpoint: str, name: str) -> DeploymentRow | None:
        row = self._connection.execute(
            "SELECT * FROM deployment WHERE endpoint = ? AND name = ?", (endpoint, name)
        ).fetchone()
        return DeploymentRow(**{**dict(row), "tags": json.loads(row["tags"])}) if row else None

    def scoring_seconds(self, stage: str, circuit: str) -> float:
        """How long a scoring job of the circuit's deployment may take."""
        row = self._connection.execute(
            "SELECT scoring_seconds FROM deployment WHERE stage = ? AND circuit = ?", (stage, circuit)
        ).fetchone()
        return float(row["scoring_seconds"])

    # ------------------------------------------------------------------------------------------ environments

    def register_environment(self, version: str, tags: Mapping[str, str], event: Mapping[str, Any]) -> bool:
        """Keep a version and tell of it, once; False when it is there already, as it was then."""
        with self._transaction() as rows:
            new = rows.execute(
                "INSERT OR IGNORE INTO environment VALUES (?, ?)", (version, json.dumps(dict(tags)))
            ).rowcount
            if new:
                rows.execute("INSERT INTO event (body, left, due) VALUES (?, 1, ?)", (json.dumps(event), time.time()))
            return bool(new)

    def environments(self) -> dict[str, Mapping[str, str]]:
        """The tags of each version."""
        rows = self._connection.execute("SELECT version, tags FROM environment ORDER BY version")
        return {row["version"]: json.loads(row["tags"]) for row in rows}

    def promote_environment(self, version: str) -> None:
        with self._transaction() as rows:
            rows.execute("INSERT OR IGNORE INTO promoted_environment VALUES (?)", (version,))

    def has_promoted_environment(self, version: str) -> bool:
        found = self._connection.execute("SELECT 1 FROM promoted_environment WHERE version = ?", (version,))
        return found.fetchone() is not None

    # ------------------------------------------------------------------------------------------------ events

    def pending_events(self, limit: int = 50) -> list[PendingEvent]:
        """Events due to be sent now, oldest first."""
        rows = self._connection.execute(
            "SELECT * FROM event WHERE left > 0 AND due <= ? ORDER BY due, sequence LIMIT ?", (time.time(), limit)
        )
        return [PendingEvent(row["sequence"], json.loads(row["body"]), row["attempts"]) for row in rows]

    def event_sent(self, sequence: int) -> None:
        with self._transaction() as rows:
            rows.execute("UPDATE event SET left = left - 1 WHERE sequence = ?", (sequence,))

    def event_refused(self, sequence: int, again_in: float) -> None:
        """Sending failed: send again after `again_in` seconds."""
        with self._transaction() as rows:
            due = time.time() + again_in
            rows.execute("UPDATE event SET attempts = attempts + 1, due = ? WHERE sequence = ?", (due, sequence))

    # ------------------------------------------------------------------------------------------------ faults

    def add_fault(self, fault: Fault) -> int:
        with self._transaction() as rows:
            body = fault.model_dump_json()
            return int(rows.execute("INSERT INTO fault (body, left) VALUES (?, ?)", (body, fault.times)).lastrowid or 0)

    def faults(self) -> list[dict[str, Any]]:
        rows = self._connection.execute("SELECT * FROM fault ORDER BY number")
        return [
            {**json.loads(row["body"]), "number": row["number"], "left": row["left"], "struck": row["struck"]}
            for row in rows
        ]

    def clear_faults(self) -> None:
        with self._transaction() as rows:
            rows.execute("DELETE FROM fault")

    def strike(self, kind: FaultKind, **subject: str) -> Fault | None:
        """The fault of this kind that befalls the subject now, counted; None when there is none."""
        with self._transaction() as rows:
            return next(iter(self._struck(rows, [kind], subject)), None)

    # ---------------------------------------------------------------------------------------------- settings

    def setting(self, name: str) -> str | None:
        row = self._connection.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        return str(row["value"]) if row else None

    def set_setting(self, name: str, value: str | None) -> None:
        with self._transaction() as rows:
            rows.execute("DELETE FROM setting WHERE name = ?", (name,))
            if value is not None:
                rows.execute("INSERT INTO setting VALUES (?, ?)", (name, value))

    # ------------------------------------------------------------------------------------------------ inside

    @property
    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA synchronous = NORMAL")
            self._local.connection = connection
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def _tell(self, rows: sqlite3.Connection, reference: str, events: Iterable[Mapping[str, Any]]) -> None:
        subject = _subject(_item(rows.execute("SELECT * FROM work WHERE reference = ?", (reference,)).fetchone()))
        for event in events:
            kinds = (FaultKind.EVENT_LOST, FaultKind.EVENT_REPEATED, FaultKind.EVENT_DELAYED)
            struck = {
                fault.kind: fault for fault in self._struck(rows, kinds, {**subject, "event_type": event["eventType"]})
            }
            copies, due = 1, time.time()
            if repeated := struck.get(FaultKind.EVENT_REPEATED):
                copies = repeated.copies
            if delayed := struck.get(FaultKind.EVENT_DELAYED):
                due += delayed.seconds
            if FaultKind.EVENT_LOST in struck:
                copies = 0
            rows.execute("INSERT INTO event (body, left, due) VALUES (?, ?, ?)", (json.dumps(event), copies, due))

    @staticmethod
    def _struck(rows: sqlite3.Connection, kinds: Iterable[FaultKind], subject: Mapping[str, str]) -> list[Fault]:
        """At most one fault of each kind, the one switched on first; each is counted."""
        struck: dict[FaultKind, Fault] = {}
        wanted = set(kinds)
        for row in rows.execute("SELECT number, body FROM fault WHERE left > 0 ORDER BY number").fetchall():
            fault = Fault.model_validate_json(row["body"])
            if fault.kind in wanted and fault.kind not in struck and fault.strikes(**subject):
                rows.execute("UPDATE fault SET left = left - 1, struck = struck + 1 WHERE number = ?", (row["number"],))
                struck[fault.kind] = fault
        return list(struck.values())


def now() -> str:
    return datetime.now(UTC).isoformat()


def _subject(item: WorkItem) -> dict[str, str]:
    return {"work": item.work, "circuit": item.circuit, "stage": item.stage, "command_id": item.command_id}


def _item(row: sqlite3.Row) -> WorkItem:
    fields = dict(row)
    return WorkItem(
        **{
            **fields,
            "work": Work(fields["work"]),
            "state": State(fields["state"]),
            "request": json.loads(fields["request"]),
            "outputs": json.loads(fields["outputs"]),
            "faults": tuple(Fault.model_validate(fault) for fault in json.loads(fields["faults"])),
            **{name: _time(fields[name]) for name in ("created_at", "started_at", "ended_at")},
        }
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _marks(values: list[Any]) -> str:
    return ", ".join("?" * len(values))
