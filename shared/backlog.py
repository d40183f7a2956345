"""The backlog: what waits to be done, and for how long. It says whether sweep and workers keep up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shared import records
from shared.ports import Clock, Row, StateStore, WorkQueue
from shared.slots import INVOCATION, TRAINING, Slots

COUNTED = 200
"""Rows of a shard that are counted; more than that is more than anybody has to know."""


class Backlog:
    """Reads what the sweep would read, the queue's length, and who holds slots."""

    def __init__(
        self, store: StateStore, queue: WorkQueue, slots: Slots, clock: Clock, limits: Mapping[str, int]
    ) -> None:
        self._store = store
        self._queue = queue
        self._slots = slots
        self._clock = clock
        self._limits = limits

    def look(self) -> Mapping[str, Any]:
        """Times are UTC; `oldest` is since when the first has waited, None where nothing waits. One range a shard."""
        now = self._clock.now()
        span = records.sweep_range(now)
        rows = [row for shard in self._store.shards for row in self._store.read_range(shard, *span, limit=COUNTED)]
        return {
            "at": now.isoformat(),
            "queue": {"waiting": self._queue.waiting()},
            "outbox": _waiting([row for row in rows if row.key.startswith("!0|")]),
            "due": _waiting([row for row in rows if row.key.startswith("!1|")]),
            "slots": [
                {"kind": kind, "limit": self._limits[kind], "holders": self._slots.holders(kind)}
                for kind in (TRAINING, INVOCATION)
            ],
        }


def _waiting(rows: Sequence[Row]) -> Mapping[str, Any]:
    oldest = min(map(records.given_at, rows), default=None)
    return {"waiting": len(rows), "oldest": oldest.isoformat() if oldest else None}
