"""Retention: takes what is over out of the state, as the table of `shared.domain.retention` says.

Rows say since when something is kept (`$kept|…`), or sort by time themselves: only what is due is read, in portions.
What is archived is added to its file before it is deleted, and what says that it is due goes last: cut off anywhere, it
is begun again, and nothing is lost.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from functools import partial

from shared import records
from shared.archive import Archive
from shared.domain.machine import Root
from shared.domain.retention import Kept, RetentionRules
from shared.errors import Conflict
from shared.ports import Clock, Row, StateStore, Write

log = logging.getLogger("fleet.retention")

PORTION = 50
"""What goes at once: two rows of a transaction for each."""
MOST = 10_000
"""What goes in one run of the timer; the rest goes in the next."""
ITEMS = (Kept.FAN_OUTS, Kept.CHECKS, Kept.LEDGER, Kept.HISTORY)


@dataclass(frozen=True)
class _Going:
    """What is archived, and the deletes after it, the first of which fails where the item has changed since."""

    file: str
    archived: Sequence[Row]
    writes: Sequence[Write]


class Retention:
    """One run: everything that is due, up to `MOST`."""

    def __init__(self, store: StateStore, archive: Archive, clock: Clock, rules: RetentionRules) -> None:
        self._store = store
        self._archive = archive
        self._rules = rules
        self._now = clock.now()
        self._roots: dict[str, Root] = {}

    def apply(self) -> int:
        """How much was due and went."""
        went = 0
        for portion in self._portions():
            while went < MOST:
                count = portion()
                went += count
                if count < PORTION:
                    break
        return went

    def _portions(self) -> Iterator[Callable[[], int]]:
        yield partial(self._letters)
        for shard in self._store.shards:
            yield partial(self._rows, shard, Kept.INBOX)
            yield partial(self._acts, shard)
            for kept in ITEMS:
                yield partial(self._items, shard, kept)
        for lookups in (records.JOBS, records.STARTS, records.GATE_RUNS):
            yield partial(self._rows, lookups, Kept.LOOKUPS)

    # ---------------------------------------------------------------------------------------------- rows that just go

    def _rows(self, partition: str, kept: Kept) -> int:
        due = self._due(partition, kept)
        if due:
            keys = [key for mark in due for key in (records.kept_key(mark), mark.key)]
            records.remove(self._store, partition, list(dict.fromkeys(keys)))  # a row may be marked for two days
        return len(due)

    def _due(self, partition: str, kept: Kept) -> list[Row]:
        day = self._rules.before(kept, self._now)
        return self._store.read_range(partition, *records.kept_before(kept, day), PORTION)

    # -------------------------------------------------------------------------------- rows whose keys sort newest first

    def _letters(self) -> int:
        return self._oldest(records.DEAD, "", Kept.DEAD_LETTERS)

    def _acts(self, shard: str) -> int:
        return self._oldest(shard, records.ACTS, Kept.AUDIT)

    def _oldest(self, partition: str, prefix: str, kept: Kept) -> int:
        day = self._rules.before(kept, self._now)
        until = records.newest_first(datetime.combine(day, time(), UTC))
        due = self._store.read_range(partition, f"{prefix}{until}", f"{prefix}~", PORTION)
        by_month = defaultdict(list)
        for row in due:
            by_month[str(row.body["at"])[:7]].append(row)
        for month, rows in by_month.items():
            self._archive.add(f"archive/{kept.replace('_', '-')}/{month}.jsonl", rows)
        if due:
            records.remove(self._store, partition, [row.key for row in due])
        return len(due)

    # -------------------------------------------------------------------------------------------- items that have ended

    def _items(self, shard: str, kept: Kept) -> int:
        due = self._due(shard, kept)
        going = [self._going(shard, mark, kept) for mark in due]
        files: defaultdict[str, list[Row]] = defaultdict(list)
        for each in going:
            files[each.file] += each.archived
        for file, rows in files.items():
            if rows:
                self._archive.add(file, rows)
        gone = sum(self._remove(shard, each.writes) for each in going)
        return len(due) if gone else 0

    def _going(self, shard: str, mark: Row, kept: Kept) -> _Going:
        told: Mapping[str, str] = mark.body
        key, root = records.kept_key(mark), told["root"]
        row, unmark = self._store.read(shard, key), Write("delete", Row(mark.key, {}))
        nothing = _Going(told["file"], (), (unmark,))
        if row is None and self._store.read(shard, key.replace("|8|", "|1|", 1)):
            return nothing  # it was begun again, and is marked anew when it ends
        index: list[Row] = []
        if row is not None:
            item = records.item_from(row)
            if item.since.date() >= self._rules.before(kept, self._now):
                return nothing  # it was begun again and has ended since: another mark says so
            if records.is_in_use(self._root(shard, root), item):
                again = Write("put", records.kept(kept, self._now.date(), key, **told))
                return _Going(told["file"], (), (again, unmark))
            index = records.index_rows(self._store, shard, item)
        history = self._store.read_range(shard, *records.history_range(root, told["item"]))
        whole = [row] if row else []
        deletes = [Write("delete", each) for each in (*whole, *index, *history)]
        return _Going(told["file"], [*whole, *history], (*deletes, unmark))

    def _root(self, shard: str, root: str) -> Root:
        if root not in self._roots:
            row = self._store.read(shard, f"{root}|0")
            self._roots[root] = records.load(root, [row] if row else []).root
        return self._roots[root]

    def _remove(self, shard: str, writes: Sequence[Write]) -> bool:
        """Delete an item first, then what is about it, its mark last; False where it has changed since."""
        try:
            for start in range(0, len(writes), 100):
                self._store.commit(shard, writes[start : start + 100])
        except Conflict as changed:
            log.info("%s: it goes another time", changed)
            return False
        return True
