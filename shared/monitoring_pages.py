"""What monitoring runs wrote for people: the findings about each circuit, and the pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.monitoring_handlers import slice_path
from shared.ports import Documents, Lake
from shared.queries import Listing, checked, opened, token

_FINDINGS = "findings|"


class MonitoringPages:
    """Reads for the API, in proportion to what is asked for."""

    def __init__(self, documents: Documents, lake: Lake) -> None:
        self._documents = documents
        self._lake = lake

    def verdicts(self, run: str, size: int, continuation: str | None = None) -> Listing:
        """What a run found out about each circuit, in the order of their names; none before it has ended."""
        after = opened(continuation, _FINDINGS) if continuation else "0|"
        first, _, last = after.partition("|")
        found: list[Mapping[str, Any]] = []
        cursor: int | None = int(first) if first.isdigit() else 0
        while cursor is not None and len(found) < checked(size):
            read = self._documents.read(slice_path(run, cursor))
            if read is None:
                return Listing(found, None)
            for circuit, finding in sorted(read["findings"].items()):
                if circuit > last and len(found) < size:
                    found.append({"circuit": circuit, **finding})
            more = max(read["findings"], default="") > (found[-1]["circuit"] if found else last)
            if more:
                return Listing(found, token(f"{_FINDINGS}{cursor}|{found[-1]['circuit']}"))
            cursor = read["next"]
        if cursor is None:
            return Listing(found, None)
        return Listing(found, token(f"{_FINDINGS}{cursor}|{found[-1]['circuit']}"))

    def page(self, run: str, name: str) -> bytes | None:
        """A page by the name that the run's findings gave it."""
        return self._lake.read_page(run, name) if name else None
