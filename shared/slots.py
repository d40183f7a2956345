"""Slots: how many of a kind may run at once, held by lease in Table Storage, the same for builds and for the app."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from shared import records
from shared.errors import AlreadyExists, Conflict, Transient
from shared.ports import Clock, Row, StateStore, Write

TRAINING = "training"
INVOCATION = "invocation"
IMPORT = "environment import"

Take = Callable[[dict[str, str], datetime], bool]


class Slots:
    """One row a kind names who holds a slot and until when; a lease that ran out frees its slot by itself."""

    def __init__(self, store: StateStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def acquire(self, kind: str, holder: str, limit: int, lease: timedelta) -> bool:
        """Whether `holder` now has a slot; one that holds already keeps it, with a new lease."""

        def take(held: dict[str, str], now: datetime) -> bool:
            if holder not in held and len(held) >= limit:
                return False
            held[holder] = (now + lease).isoformat()
            return True

        return self._change(kind, take)

    def release(self, kind: str, holder: str) -> None:
        """Give the slot back; nothing, when it was not held."""
        self._change(kind, lambda held, _: held.pop(holder, None) is not None)

    def holders(self, kind: str) -> list[str]:
        """Who holds a slot now."""
        row = self._store.read(records.SLOTS, kind)
        return sorted(_held(row, self._clock.now()))

    def _change(self, kind: str, change: Take) -> bool:
        for _ in range(50):
            now = self._clock.now()
            row = self._store.read(records.SLOTS, kind)
            held = _held(row, now)
            if not change(held, now):
                return False
            fresh = Row(kind, {"holders": held}, row.etag if row else "")
            try:
                self._store.commit(records.SLOTS, [Write("replace" if row else "insert", fresh)])
            except (Conflict, AlreadyExists):
                continue
            return True
        raise Transient(f"the slots of {kind} are contended; try again")


def _held(row: Row | None, now: datetime) -> dict[str, str]:
    held: dict[str, str] = dict(row.body["holders"]) if row else {}
    return {holder: until for holder, until in held.items() if datetime.fromisoformat(until) > now}
