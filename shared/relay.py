"""Relay: moves commands from the outbox, and what has fallen due, to the work queue.

`nudge` runs right after a commit; `sweep` is the timer's, and finds what a crash left behind. Both send first and
remove afterwards, so a crash in between sends twice and loses nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared import records
from shared.domain.messages import Command, LookAtOperation, decode, encode
from shared.ports import Clock, Row, StateStore, WorkQueue

BATCH = 100


@dataclass(frozen=True)
class Work:
    """A command on the queue: how often it failed, what made us look, how often it waited for a slot, its trace."""

    command: Command
    attempt: int = 0
    noticed_by: str = "command"
    waits: int = 0
    trace: str = ""

    def to_json(self) -> str:
        return _message(encode(self.command), self.noticed_by, self.trace, attempt=self.attempt, waits=self.waits)

    @classmethod
    def from_json(cls, text: str) -> Work:
        """Raises ValueError for text that is not a command of ours."""
        try:
            document = json.loads(text)
            return cls(
                decode(document["command"]),
                int(document["attempt"]),
                str(document["noticed_by"]),
                int(document.get("waits", 0)),
                str(document.get("trace", "")),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a work message: {error!r}") from error


def _message(command: Mapping[str, Any], noticed_by: str, trace: str, attempt: int = 0, waits: int = 0) -> str:
    document = {"command": command, "attempt": attempt, "noticed_by": noticed_by, "waits": waits, "trace": trace}
    return json.dumps(document, separators=(",", ":"))


class Relay:
    """From rows to the queue, as they are: a command that nobody understands must not keep the others."""

    def __init__(self, store: StateStore, queue: WorkQueue, clock: Clock) -> None:
        self._store = store
        self._queue = queue
        self._clock = clock

    def nudge(self, partition: str, outbox: Sequence[Row]) -> None:
        """Send what a commit has just put out."""
        self._send(partition, outbox)

    def sweep(self) -> int:
        """Send everything that waits or is due, in every shard; returns how many commands that was."""
        sent = 0
        for partition in self._store.shards:
            while rows := self._store.read_range(partition, *records.sweep_range(self._clock.now()), limit=BATCH):
                self._send(partition, rows)
                sent += len(rows)
                if len(rows) < BATCH:
                    break
        return sent

    def _send(self, partition: str, rows: Sequence[Row]) -> None:
        for row in rows:
            due_look = row.key.startswith("!1|") and row.body.get("command") == LookAtOperation.__name__
            command, trace = records.untraced(row)
            self._queue.send(_message(command, "reconciler" if due_look else "command", trace))
        for start in range(0, len(rows), BATCH):
            records.remove(self._store, partition, [row.key for row in rows[start : start + BATCH]])
