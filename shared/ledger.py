"""The ledger as it is read: ranges of what `records` keeps by day and by model, never the history of everything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any, Protocol

from shared import records
from shared.domain.circuit import Circuit
from shared.domain.ledger import PUBLISHED, Day, DayState, Run, completeness, day_of
from shared.domain.rules import Rules
from shared.domain.scoring import SCORING, ScoringRun, scoring_id
from shared.domain.values import Pair
from shared.errors import Invalid
from shared.ports import Clock, StateStore
from shared.queries import Listing, checked, merged, opened, page, token

DAYS = "$day|"
FLEET_DAYS = 31
CIRCUIT_DAYS = 366
"""Days that one question may span, of the fleet and of one circuit."""


class Configured(Protocol):
    """The part of the directory that the ledger asks."""

    def circuits(self) -> Sequence[str]: ...

    def rules(self, root: str) -> Rules: ...


class Ledger:
    """What was published, late, missing, failed or made twice: by day, by circuit, and by model."""

    def __init__(self, store: StateStore, directory: Configured, clock: Clock) -> None:
        self._store = store
        self._directory = directory
        self._clock = clock

    def entries(self, first: date, last: date, size: int, continuation: str | None = None) -> Listing:
        """Days that have runs, by day and circuit; one range read a shard. `days` names what has not begun as well."""
        _span(first, last, FLEET_DAYS)
        start, end = records.days_span(first, last)
        if continuation:
            start = max(start, DAYS + opened(continuation, DAYS))
        wanted = checked(size) + 1
        while True:
            rows = merged(self._store, start, end, wanted)
            days = [(key, list(group)) for key, group in groupby(rows, key=lambda row: row.key.partition("@")[0])]
            if len(rows) < wanted or len(days) > 1:
                break
            wanted *= 2  # a circuit's day with more runs than a page has entries
        cut = days.pop()[1][0].key if len(rows) == wanted else None  # its further runs may be on the next page
        runs = [Run.model_validate(row.body) for _, group in days for row in group]
        return Listing([day.model_dump(mode="json") for day in self._days(runs)], token(cut) if cut else None)

    def days(self, first: date, last: date, plant: str = "") -> Mapping[str, Any]:
        """How complete each day is, and which circuits are not done: a row a circuit and day, whatever the history.

        Of the fleet two range reads a shard; of a plant one a day and shard, within the plant's own circuits.
        """
        _span(first, last, FLEET_DAYS)
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)] if plant else []
        spans = [records.circuits_day_span(f"{plant}_", f"{plant}_~", day) for day in days]
        spans = spans or [records.days_span(first, last)]
        rows = [row for span in spans for shard in self._store.shards for row in self._store.read_range(shard, *span)]
        known = self._days(Run.model_validate(row.body) for row in rows)
        begun = {(day.day, day.circuit) for day in known}
        expected = [*known, *self._not_begun(first, last, begun, f"{plant}_" if plant else "")]
        by_day = sorted(expected, key=lambda day: (day.day, day.circuit))
        return {
            "days": [
                {"day": name, **completeness(found).model_dump(mode="json"), "not_done": _not_done(found)}
                for name, found in ((name, list(group)) for name, group in groupby(by_day, key=lambda day: day.day))
            ],
            "total": completeness(by_day).model_dump(mode="json"),
        }

    def of_circuit(self, circuit: str, first: date, last: date) -> list[Day]:
        """One circuit's days, also those where nothing has begun; two range reads."""
        _span(first, last, CIRCUIT_DAYS)
        partition = self._store.shard_of(circuit)
        loaded = records.load(circuit, self._store.read_range(partition, *records.root_range(circuit)))
        span = records.finished_span(circuit, SCORING, f"{circuit}@{first}", f"{circuit}@{last}~")
        ended = [records.item_from(row) for row in self._store.read_range(partition, *span)]
        items = [item for item in (*loaded.items.values(), *ended) if isinstance(item, ScoringRun)]
        runs = [Run.of(run) for run in items if first <= run.origin.date() <= last]
        known = self._days(sorted(runs, key=lambda run: run.origin))
        assert isinstance(loaded.root, Circuit)
        silent = self._silent(circuit, loaded.root.expected_since, first, last, {day.day for day in known})
        return sorted((*known, *silent), key=lambda day: day.day)

    def states(
        self, circuits: Sequence[str], first: date, last: date, roots: Mapping[str, Mapping[str, Any]]
    ) -> Mapping[str, Mapping[str, DayState]]:
        """The state of each day of some circuits, in key order; one range read a day and shard, between first and last.

        `roots` are the rows of the index of circuits; a day that no circuit is expected to have is left out.
        """
        _span(first, last, FLEET_DAYS)
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        rows = [
            row
            for day in days
            for shard in self._store.shards
            for row in self._store.read_range(shard, *records.circuits_day_span(circuits[0], circuits[-1], day))
        ]
        wanted = set(circuits)
        runs = [run for run in (Run.model_validate(row.body) for row in rows) if run.circuit in wanted]
        known = {(day.circuit, day.day): day.state for day in self._days(runs)}
        for circuit in circuits:
            since = roots.get(circuit, {}).get("expected_since")
            taken = {f"{day}" for day in days if (circuit, f"{day}") in known}
            for silent in self._silent(circuit, datetime.fromisoformat(since) if since else None, first, last, taken):
                known[circuit, silent.day] = silent.state
        return {
            circuit: {f"{day}": known[circuit, f"{day}"] for day in days if (circuit, f"{day}") in known}
            for circuit in circuits
        }

    def day(self, circuit: str, day: date) -> list[Run]:
        """The runs of one circuit's day, open and ended; one range read."""
        rows = self._store.read_range(self._store.shard_of(circuit), *records.day_span(circuit, day))
        return [Run.model_validate(row.body) for row in rows]

    def to_fill(self, day: date) -> Mapping[str, str]:
        """The circuits that serve and have no forecast of the day, nor one under way, each with its next run's id.

        Two range reads a shard.
        """
        runs: dict[str, list[Run]] = {}
        serving: list[str] = []
        for shard in self._store.shards:
            for row in self._store.read_range(shard, *records.days_span(day, day)):
                run = Run.model_validate(row.body)
                runs.setdefault(run.circuit, []).append(run)
            rows = self._store.read_range(shard, *records.CIRCUITS)
            serving += [row.body["id"] for row in rows if row.body["serving"] and row.body["scoring"]]
        known = {circuit: runs.get(circuit, []) for circuit in sorted(serving)}
        return {
            circuit: scoring_id(circuit, day, len(found) + 1)
            for circuit, found in known.items()
            if not any(run.settled for run in found)
        }

    def forecasts(
        self, circuit: str, model: int, first: date, last: date, size: int, continuation: str | None = None
    ) -> Listing:
        """Every forecast that one model version ever published for days of a span, and what stands there now.

        Two range reads; where another run was published over it, `stands` is false and `replaced_by` names that run.
        """
        _span(first, last, CIRCUIT_DAYS)
        partition, prefix = self._store.shard_of(circuit), records.made_prefix(circuit, model)
        start, end = records.made_span(circuit, model, first, last)
        if continuation:
            start = max(start, prefix + opened(continuation, prefix))
        rows = self._store.read_range(partition, start, end, checked(size) + 1)
        runs = [Run.model_validate(row.body) for row in rows]
        standing = self._standing(circuit, runs)
        return page([_forecast(run, standing[run.origin.date()]) for run in runs], [row.key for row in rows], size)

    def standing_of(self, circuit: str, model: int, first: date, last: date) -> list[Run]:
        """The runs of one model version whose forecasts stand, by day; two range reads."""
        _span(first, last, FLEET_DAYS)
        span = records.made_span(circuit, model, first, last)
        rows = self._store.read_range(self._store.shard_of(circuit), *span)
        runs = [Run.model_validate(row.body) for row in rows]
        standing = self._standing(circuit, runs)
        return [run for run in runs if standing[run.origin.date()].run == run.run]

    def serving(self, circuit: str) -> Pair | None:
        """What serves a circuit now."""
        partition = self._store.shard_of(circuit)
        root = records.load(circuit, self._store.read_range(partition, *records.root_range(circuit))).root
        assert isinstance(root, Circuit)
        return root.serving

    def _standing(self, circuit: str, runs: Sequence[Run]) -> Mapping[date, Run]:
        """For the days of some runs, the run whose forecast stands."""
        if not runs:
            return {}
        span = records.standing_span(circuit, runs[0].origin.date(), runs[-1].origin.date())
        rows = self._store.read_range(self._store.shard_of(circuit), *span)
        return {run.origin.date(): run for run in (Run.model_validate(row.body) for row in rows)}

    def _days(self, runs: Iterable[Run]) -> list[Day]:
        """Runs in the order of day and circuit, as days."""
        now = self._clock.now()
        groups: dict[tuple[str, date], list[Run]] = {}
        for run in runs:
            groups.setdefault((run.circuit, run.origin.date()), []).append(run)
        return [
            day_of(circuit, found[0].origin, found, self._directory.rules(circuit).late_after, now)
            for (circuit, _), found in groups.items()
        ]

    def _not_begun(self, first: date, last: date, known: set[tuple[str, str]], prefix: str) -> list[Day]:
        """The days of which a scoring is expected and nothing has begun, of every circuit that serves."""
        taken: dict[str, set[str]] = {}
        for day, circuit in known:
            taken.setdefault(circuit, set()).add(day)
        found: list[Day] = []
        for shard in self._store.shards:
            for row in self._store.read_range(shard, f"$circuit|{prefix}", f"$circuit|{prefix}~"):
                circuit, since = row.body["id"], row.body["expected_since"]
                begins = datetime.fromisoformat(since) if since else None
                found += self._silent(circuit, begins, first, last, taken.get(circuit, set()))
        return found

    def _silent(self, circuit: str, since: datetime | None, first: date, last: date, taken: set[str]) -> list[Day]:
        """The days from `since` on of which no run is known."""
        rules, now = self._directory.rules(circuit), self._clock.now()
        newest = rules.origin(now)
        found = []
        for days in range((min(last, newest.date()) - first).days + 1):
            day = first + timedelta(days=days)
            origin = newest.replace(year=day.year, month=day.month, day=day.day)
            if since is not None and origin >= since and f"{day}" not in taken:
                found.append(day_of(circuit, origin, (), rules.late_after, now))
        return found


def _not_done(days: Sequence[Day]) -> Mapping[str, list[str]]:
    """The circuits without a forecast, by how they stand."""
    left = [state for state in DayState if state not in PUBLISHED]
    named = {str(state): [day.circuit for day in days if day.state is state] for state in left}
    return {state: circuits for state, circuits in named.items() if circuits}


def _forecast(run: Run, standing: Run) -> Mapping[str, Any]:
    stands = standing.run == run.run
    other = None if stands else {"run": standing.run, "pair": standing.pair.model_dump() if standing.pair else None}
    return {**run.model_dump(mode="json"), "day": f"{run.origin:%Y-%m-%d}", "stands": stands, "replaced_by": other}


def _span(first: date, last: date, most: int) -> None:
    if not first <= last < first + timedelta(days=most):
        raise Invalid("from", f"{first} to {last} is no span", f"1 to {most} days, the first one first")
