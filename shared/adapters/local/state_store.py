"""The state in memory, for the simulator and for tests that need what Azurite gets wrong.

It keeps Table Storage's limits where Azurite does not: transactions of 100 rows, refused key characters, property size,
and pages that may be empty with more behind them.
"""

from __future__ import annotations

import itertools
import json
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from threading import RLock
from typing import Any
from zlib import crc32

from shared.errors import AlreadyExists, Conflict, Permanent
from shared.ports import Page, Row, Write

BODY_LIMIT = 32 * 1024


class MemoryStateStore:
    """Rows in sorted lists; `empty_pages` puts an empty page before every full one, as the real service may."""

    def __init__(self, shards: int = 4, empty_pages: bool = False) -> None:
        self.shards = tuple(f"shard-{n:02d}" for n in range(shards))
        self._empty_pages = empty_pages
        self._lock = RLock()
        self._keys: dict[str, list[str]] = {}
        self._rows: dict[tuple[str, str], tuple[str, str]] = {}
        self._versions = itertools.count(1)

    def shard_of(self, root: str) -> str:
        return self.shards[crc32(root.encode()) % len(self.shards)]

    def read_range(self, partition: str, first: str, last: str, limit: int | None = None) -> list[Row]:
        with self._lock:
            keys = self._keys.get(partition, [])
            found = keys[bisect_left(keys, first) : bisect_left(keys, last)]
            return [self._row(partition, key) for key in found[:limit]]

    def read_page(self, partition: str, first: str, last: str, size: int, continuation: str | None = None) -> Page:
        if self._empty_pages and continuation is None:
            return Page([], f"from:{first}")
        start = continuation.partition(":")[2] if continuation else first
        rows = self.read_range(partition, start, last, size + 1)
        return Page(rows[:size], f"from:{rows[size].key}" if len(rows) > size else None)

    def read(self, partition: str, key: str) -> Row | None:
        with self._lock:
            return self._row(partition, key) if (partition, key) in self._rows else None

    def commit(self, partition: str, writes: Sequence[Write]) -> None:
        if len(writes) > 100:
            raise Permanent(f"a transaction takes 100 rows, not {len(writes)}; split the fan-out")
        keys = [write.row.key for write in writes]
        if len(set(keys)) != len(keys):
            raise Permanent(f"a transaction names a row twice: {sorted(k for k in keys if keys.count(k) > 1)[0]}")
        with self._lock:
            for write in writes:
                self._check(partition, write)
            for write in writes:
                self._apply(partition, write)

    def _check(self, partition: str, write: Write) -> None:
        key = write.row.key
        if set(key) & set("/\\#?") or len(key) > 512:
            raise Permanent(f"row key {key!r}: / \\ # ? are refused, and 512 characters fit")
        if write.action != "delete" and len(_dump(write.row.body)) > BODY_LIMIT:
            raise Permanent(f"row {key} is larger than {BODY_LIMIT} characters. Move what is large to a document")
        there = self._rows.get((partition, key))
        if write.action == "insert" and there:
            raise AlreadyExists(key)
        if write.action in ("replace", "delete") and (there is None or (write.row.etag and there[1] != write.row.etag)):
            raise Conflict(f"{key} changed since it was read")

    def _apply(self, partition: str, write: Write) -> None:
        address = (partition, write.row.key)
        keys = self._keys.setdefault(partition, [])
        if write.action == "delete":
            del self._rows[address]
            keys.pop(bisect_left(keys, write.row.key))
            return
        if address not in self._rows:
            insort(keys, write.row.key)
        self._rows[address] = (_dump(write.row.body), f"v{next(self._versions)}")

    def _row(self, partition: str, key: str) -> Row:
        body, etag = self._rows[partition, key]
        return Row(key, json.loads(body), etag)


def _dump(body: Mapping[str, Any]) -> str:
    return json.dumps(body, separators=(",", ":"))
