"""A store that counts what is read from it."""

from __future__ import annotations

from collections.abc import Sequence

from shared.ports import Page, Row, StateStore, Write


class CountedReads:
    """A store that counts how often it is asked, and how many rows it gave."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self.shards: Sequence[str] = store.shards
        self.reads = 0
        self.rows = 0

    def shard_of(self, root: str) -> str:
        return self._store.shard_of(root)

    def commit(self, partition: str, writes: Sequence[Write]) -> None:
        self._store.commit(partition, writes)

    def read_range(self, partition: str, first: str, last: str, limit: int | None = None) -> list[Row]:
        found = self._store.read_range(partition, first, last, limit)
        self.reads, self.rows = self.reads + 1, self.rows + len(found)
        return found

    def read_page(self, partition: str, first: str, last: str, size: int, continuation: str | None = None) -> Page:
        page = self._store.read_page(partition, first, last, size, continuation)
        self.reads, self.rows = self.reads + 1, self.rows + len(page.rows)
        return page

    def read(self, partition: str, key: str) -> Row | None:
        row = self._store.read(partition, key)
        self.reads, self.rows = self.reads + 1, self.rows + 1
        return row
