"""Series: a circuit's forecasts beside what was measured, hour by hour, and the error of each day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from math import isfinite
from typing import Any, Protocol

from shared import records
from shared.domain.champion import Champion
from shared.domain.ledger import Run
from shared.domain.values import Pair
from shared.errors import Invalid
from shared.ports import ForecastPoint, Lake, StateStore

MOST_DAYS = 31
MOST_CHANGES = 20
READERS = 8
"""Forecast files that are read at once: on Azure each is a request."""


class Configured(Protocol):
    """The part of the directory that is asked for a circuit's sensor and target."""

    def sensor(self, circuit: str) -> str: ...

    def target(self, circuit: str) -> str: ...


class Series:
    """Reads the standing forecasts of some days and the readings of those days, and no others."""

    def __init__(self, store: StateStore, lake: Lake, directory: Configured) -> None:
        self._store = store
        self._lake = lake
        self._directory = directory

    def of_circuit(self, circuit: str, first: date, last: date) -> Mapping[str, Any]:
        """The forecasts that stand for the days of a span, what was measured, each day's error, and model changes.

        Errors are mean absolute ones, in the target's unit, over the hours measured so far. Raises `Invalid`.
        """
        if not first <= last < first + timedelta(days=MOST_DAYS):
            raise Invalid("from", f"{first} to {last} is no span", f"1 to {MOST_DAYS} days, the first one first")
        partition = self._store.shard_of(circuit)
        rows = self._store.read_range(partition, *records.standing_span(circuit, first, last))
        runs = [Run.model_validate(row.body) for row in rows]
        with ThreadPoolExecutor(READERS) as readers:
            points = list(readers.map(self._lake.read_forecast, [run.published_uri for run in runs]))
        begin = datetime.fromisoformat(f"{first}T00:00+00:00")
        end = max([begin + timedelta(days=(last - first).days + 1), *(found[-1].at for found in points if found)])
        measured = self._measured(circuit, begin, end)
        forecasts = [_forecast(run, found, dict(measured)) for run, found in zip(runs, points, strict=True)]
        return {
            "circuit": circuit,
            "target": self._directory.target(circuit),
            "measured": [[at.isoformat(), value] for at, value in measured],
            "forecasts": forecasts,
            "changes": self._changes(circuit, begin, end),
        }

    def of_test(self, circuit: str, test: Mapping[str, Any]) -> Mapping[str, Any]:
        """A release's test forecast beside what was measured before and after its origin, and what serves' own."""
        points = self._lake.read_forecast(str(test["output_uri"])) if test else []
        if not points:
            return {"target": self._directory.target(circuit), "measured": [], "test": [], "serving": []}
        origin = points[0].at - timedelta(hours=1)
        rows = self._store.read_range(
            self._store.shard_of(circuit), *records.standing_span(circuit, origin.date(), origin.date())
        )
        serving = [point for row in rows for point in self._lake.read_forecast(row.body["published_uri"])]
        return {
            "target": self._directory.target(circuit),
            "measured": [
                [at.isoformat(), value]
                for at, value in self._measured(circuit, origin - timedelta(days=3), points[-1].at)
            ],
            "test": _points(points),
            "serving": _points(serving),
        }

    def _measured(self, circuit: str, first: datetime, last: datetime) -> list[tuple[datetime, float]]:
        sensor, target = self._directory.sensor(circuit), self._directory.target(circuit)
        return [(at, value) for at, value in self._lake.hourly_readings(sensor, target, first, last) if isfinite(value)]

    def _changes(self, circuit: str, first: datetime, last: datetime) -> list[Mapping[str, Any]]:
        """What served from when on within the span, the newest first; and what served as it began."""
        span = records.champions_range(circuit, last)
        rows = self._store.read_range(self._store.shard_of(circuit), *span, limit=MOST_CHANGES)
        champions = [Champion.model_validate(row.body) for row in rows]
        within = [champion for champion in champions if champion.since >= first]
        return [champion.model_dump(mode="json") for champion in (*within, *champions[len(within) : len(within) + 1])]


def _forecast(run: Run, points: Sequence[ForecastPoint], measured: Mapping[datetime, float]) -> Mapping[str, Any]:
    known = [(point, measured[point.at]) for point in points if point.at in measured]
    inside = [point.lower <= value <= point.upper for point, value in known]
    return {
        "day": f"{run.origin:%Y-%m-%d}",
        "run": run.run,
        "pair": _pair(run.pair),
        "hours": len(known),
        "mae": sum(abs(point.forecast - value) for point, value in known) / len(known) if known else None,
        "coverage": sum(inside) / len(inside) if inside else None,
        "points": _points(points),
    }


def _points(points: Sequence[ForecastPoint]) -> list[list[Any]]:
    return [[point.at.isoformat(), point.forecast, point.lower, point.upper] for point in points]


def _pair(pair: Pair | None) -> Mapping[str, Any] | None:
    return pair.model_dump() if pair else None
