"""Slots: how many of a kind may run at once, held by lease in Table Storage, the same for builds and for the app."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from shared import records
from shared.errors import AlreadyExists, Conflict, Transient
from shared.ports import Clock, Row, StateStore, Write

TRAINING = "training"
INVOCATION = "invocation"
IMPORT = "environment import"
TRIES = 50
MOST_TAKEN_AWAY = 90
"""Leases that ran out, of which a transaction takes the rows away."""


class Slots:
    """A row a holder says until when; a row a kind is written by everybody who takes a slot, and by nobody else.

    So two who take the last one at once do not both get it, while renewing and giving back meet nobody. A lease that
    ran out frees its slot by itself.
    """

    def __init__(self, store: StateStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def acquire(self, kind: str, holder: str, limit: int, lease: timedelta) -> bool:
        """Whether `holder` now has a slot; one that holds already keeps it, with a new lease."""
        for _ in range(TRIES):
            now, rows = self._clock.now(), self._rows(kind)
            turn, key = rows.pop(kind, None), _key(kind, holder)
            over = [row for row in rows.values() if _until(row) <= now and row.key != key]
            mine = rows.get(key)
            held = Row(key, _lease(holder, now + lease), mine.etag if mine else "")
            writes = [Write("replace" if mine else "insert", held)]
            if mine is None or _until(mine) <= now:
                if len(rows.keys() - {key}) - len(over) >= limit:
                    return False
                took = Row(kind, {"taken": 1 + (turn.body["taken"] if turn else 0)}, turn.etag if turn else "")
                writes.append(Write("replace" if turn else "insert", took))
                writes += [Write("delete", row) for row in over[:MOST_TAKEN_AWAY]]
            try:
                self._store.commit(records.SLOTS, writes)
            except (Conflict, AlreadyExists):
                continue
            return True
        raise Transient(f"the slots of {kind} are contended; try again")

    def keep(self, kind: str, holder: str, limit: int, lease: timedelta) -> bool:
        """As `acquire`, for who most likely has a slot: one row is read, whatever the number of holders."""
        now, row = self._clock.now(), self._store.read(records.SLOTS, _key(kind, holder))
        if row is not None and _until(row) > now:
            held = Row(row.key, _lease(holder, now + lease), row.etag)
            with suppress(Conflict):  # given back, or ran out, this moment: it is acquired anew
                self._store.commit(records.SLOTS, [Write("replace", held)])
                return True
        return self.acquire(kind, holder, limit, lease)

    def release(self, kind: str, holder: str) -> None:
        """Give the slot back; nothing, when it was not held."""
        records.remove(self._store, records.SLOTS, [_key(kind, holder)])

    def holders(self, kind: str) -> list[str]:
        """Who holds a slot now."""
        now, rows = self._clock.now(), self._rows(kind)
        return sorted(row.body["holder"] for key, row in rows.items() if key != kind and _until(row) > now)

    def _rows(self, kind: str) -> dict[str, Row]:
        return {row.key: row for row in self._store.read_range(records.SLOTS, kind, f"{kind}|~")}


def _key(kind: str, holder: str) -> str:
    return f"{kind}|{records.safe(holder)}"


def _lease(holder: str, until: datetime) -> Mapping[str, Any]:
    return {"holder": holder, "until": until.isoformat()}


def _until(row: Row) -> datetime:
    return datetime.fromisoformat(row.body["until"])
