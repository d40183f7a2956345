"""Delta commits as people look at them: what one brought, whose readings, and what became of those."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from shared import records
from shared.domain.quality import QUALITY, QualityCheck
from shared.errors import Permanent
from shared.ports import Lake, StateStore
from shared.queries import checked, opened, token

_PAGE = "commit|"


class Configured(Protocol):
    """The part of the directory that knows whose sensor it is."""

    def by_sensor(self, sensor: str) -> str | None: ...


class Commits:
    """Reads the log's own word, the report of the run that wrote the commit, and the verdict on each circuit shown."""

    def __init__(self, store: StateStore, lake: Lake, directory: Configured) -> None:
        self._store = store
        self._lake = lake
        self._directory = directory

    def show(self, version: int, size: int, continuation: str | None = None) -> Mapping[str, Any] | None:
        """One commit with a page of the circuits that it touched, in key order; None: the log does not have it.

        `reported` is false where no ETL run of ours tells what it brought, or its report is gone. One read a circuit.
        """
        commit = self._lake.read_commit(version)
        if commit is None:
            return None
        report = self._report(commit)
        sensors: Mapping[str, Any] = report.get("sensors", {})
        touched = sorted((circuit, sensor) for sensor in sensors if (circuit := self._directory.by_sensor(sensor)))
        after = opened(continuation, _PAGE) if continuation else ""
        left = [pair for pair in touched if pair[0] > after]
        shown = left[: checked(size)]
        told = ("rows_inserted", "rows_updated", "first_date", "last_date", "rejected", "unknown_sensors")
        return {
            **{name: value for name, value in commit.items() if name != "report"},
            **{name: report.get(name) for name in told},
            "reported": bool(report),
            "touched": len(touched),
            "circuits": [self._circuit(circuit, sensor, sensors[sensor], commit) for circuit, sensor in shown],
            "continuation": token(_PAGE + shown[-1][0]) if len(shown) < len(left) else None,
        }

    def _report(self, commit: Mapping[str, Any]) -> Mapping[str, Any]:
        if commit["report"] is None:
            return {}
        try:
            return self._lake.read_report(commit["report"])
        except Permanent:
            return {}

    def _circuit(
        self, circuit: str, sensor: str, told: Mapping[str, Any], commit: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        identity = f"{circuit}!quality.{commit['table_id']}.{commit['version']}"
        row = self._store.read(self._store.shard_of(circuit), records.finished_key(circuit, QUALITY, identity))
        check = records.item_from(row) if row else None
        return {
            "circuit": circuit,
            "sensor": sensor,
            **{name: told[name] for name in ("rows", "first", "last")},
            "quality": str(check.phase) if check else "",
            "problems": check.problems if isinstance(check, QualityCheck) else (),
        }
