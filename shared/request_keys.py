"""Request keys: a change that its caller gave a name is made once, however often it is sent.

A row a key, by the UTC day on which it was first heard; keys are known for at least a day. Whoever adds one takes away
a few that are older, so that there are never many.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta

from shared import records
from shared.errors import AlreadyExists, Conflict
from shared.ports import Clock, Row, StateStore, Write

KNOWN_DAYS = 2
"""Today and the day before."""
SWEPT = 3
"""Old keys that go when a new one comes: more than one, so that they end."""
PARTLY = 207
"""Some of a change was not taken: sent again, the rest of it may be."""
LONGEST_ANSWER = 12_000
"""Characters, which a row takes however they are escaped. Answers to changes are short."""


class KeyUsed(Exception):
    """The key names another request of the same person."""


@dataclass(frozen=True)
class Told:
    """What was answered; `repeated`: when the request first came."""

    status: int
    text: str
    repeated: bool = False


def scoped(person: str, key: str) -> str:
    """A person's key, told apart from the same key of anybody else: `monday-round.0f3a5c7e9b1d`."""
    return f"{key}.{hashlib.sha256(person.encode()).hexdigest()[:12]}"


class RequestKeys:
    """Which requests were made under which keys, and what was answered."""

    def __init__(self, store: StateStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def once(self, key: str, request: str, carry_out: Callable[[], Told]) -> Told:
        """What `carry_out` tells, or what it told when the same request came before; `key` is a scoped one.

        What raises was not answered, and is carried out again when it is sent again. Raises `KeyUsed` for a key that
        came with another `request`.
        """
        today = self._clock.now().date()
        row = self._known(key, today) or self._begun(key, request, today)
        if row.body["request"] != request:
            raise KeyUsed
        if "answer" in row.body:
            return Told(row.body["status"], row.body["answer"], repeated=True)
        told = carry_out()
        if told.status != PARTLY and len(told.text) <= LONGEST_ANSWER:
            body = {**row.body, "status": told.status, "answer": told.text}
            self._store.commit(records.REQUESTS, [Write("put", replace(row, body=body))])
        return told

    def _known(self, key: str, today: date) -> Row | None:
        days = (today - timedelta(days=back) for back in range(KNOWN_DAYS))
        rows = (self._store.read(records.REQUESTS, f"{day}|{key}") for day in days)
        return next((row for row in rows if row), None)

    def _begun(self, key: str, request: str, today: date) -> Row:
        """A new key's row, written; or that of whoever was faster."""
        row = Row(f"{today}|{key}", {"request": request})
        oldest = f"{today - timedelta(days=KNOWN_DAYS - 1)}|"
        old = self._store.read_range(records.REQUESTS, "0", oldest, SWEPT)
        new = Write("insert", row)
        try:
            try:
                self._store.commit(records.REQUESTS, [new, *(Write("delete", each) for each in old)])
            except Conflict:  # somebody else took the old ones away
                self._store.commit(records.REQUESTS, [new])
        except AlreadyExists:
            return self._store.read(records.REQUESTS, row.key) or row
        return row
