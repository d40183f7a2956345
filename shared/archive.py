"""The archive: rows that the state keeps no more, in files of one root, kind and month; read only when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from shared import records
from shared.domain.machine import Kind
from shared.ports import Documents, Row


class Archive:
    """A file only grows, so what was added twice is there twice: by key, the row that was added last counts."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def add(self, path: str, rows: Sequence[Row]) -> None:
        """Add rows to a file."""
        self._documents.append(path, [{"key": row.key, "body": row.body} for row in rows])

    def rows(self, path: str) -> list[Row]:
        """A file's rows in key order."""
        found = {line["key"]: Row(line["key"], line["body"]) for line in self._documents.lines(path)}
        return [found[key] for key in sorted(found)]

    def item(self, root: str, kind: Kind, identity: str) -> Row | None:
        """An ended item."""
        key = records.finished_key(root, kind, identity)
        return next((row for row in self._of_item(root, kind, identity) if row.key == key), None)

    def history(self, root: str, kind: Kind, identity: str) -> list[Row]:
        """Everything that happened to an item, in order."""
        first, last = records.history_range(root, identity)
        return [row for row in self._of_item(root, kind, identity) if first <= row.key < last]

    def of_month(self, root: str, kind: Kind, day: date, first: str, last: str) -> list[Row]:
        """The rows of a day's month with `first <= key < last`."""
        return [row for row in self.rows(records.archive_path(root, kind, day)) if first <= row.key < last]

    def _of_item(self, root: str, kind: Kind, identity: str) -> list[Row]:
        """An item's rows lie in one file; nothing says in which, so the newest is looked into first."""
        whole = records.finished_key(root, kind, identity)
        first, last = records.history_range(root, identity)
        for path in reversed(self._documents.names(records.archive_folder(root, kind))):
            if found := [row for row in self.rows(path) if row.key == whole or first <= row.key < last]:
                return found
        return []
