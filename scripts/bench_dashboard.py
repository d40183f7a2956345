"""What the dashboard's views cost with 200 and 10,000 circuits, on the storage emulator: .local/bench/dashboard.json.

The rows are those that circuits really left: one that went live and scored for some days, one that waits at a gate, one
whose release failed. They are copied under other names, the emulator holds them, and the views are read with the real
client and turned into the JSON that is sent. Operations are counted as Table Storage would bill them. A page is its
slowest view: a browser asks for them together.

`--keep` also keeps the run for docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from azure.data.tables import TableClient

from functions import answers
from functions.parameters import LAST_DAYS
from local.azurite import Azurite
from scripts.bench_core import storage
from shared.adapters.azure.state_store import PAGE_LIMIT, TableStateStore
from shared.adapters.local.state_store import MemoryStateStore
from shared.archive import Archive
from shared.domain.rules import Rules
from shared.domain.values import split_circuit
from shared.ledger import Ledger
from shared.overview import Overview, Show
from shared.ports import Row, Write
from shared.queries import Listing, Queries
from tests.bench.machine import machine, record
from tests.bench.rows import BenchRow, measured, ours_at_most
from tests.builders import CIRCUIT, ENGINEER, circuits
from tests.simulated import TEST_INFERENCE, UNUSABLE
from tests.world import World

ROOT = Path(__file__).resolve().parents[1]
FEW, MANY = 200, 10_000
SHARDS = 4
REPEATS = 5
GOAL_SECONDS = 1.0
WAITING_EVERY, FAILED_EVERY = 40, 100
"""Of so many circuits one waits at a gate, or has a release that failed."""
WHOLE = FEW
"""Circuits that are filled in with their whole history; of the others only what views of the fleet read."""
INDEXES = ("$circuit|", "$open|", "$gate|", "$day|", "$alert|")


class CountingStore(TableStateStore):
    """Counts what Table Storage would bill."""

    def __init__(self, table: TableClient, shards: int) -> None:
        super().__init__(table, shards)
        self.operations = 0

    def read_range(self, partition: str, first: str, last: str, limit: int | None = None) -> list[Row]:
        rows = super().read_range(partition, first, last, limit)
        self.operations += max(1, -(-len(rows) // PAGE_LIMIT))
        return rows

    def read(self, partition: str, key: str) -> Row | None:
        self.operations += 1
        return super().read(partition, key)


class Configured:
    """A configuration of so many circuits."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def circuits(self) -> Sequence[str]:
        return self._names

    def name(self, circuit: str) -> str:
        return f"Pump of {circuit}"

    def rules(self, root: str) -> Rules:
        return Rules()


def lived(story: Callable[[World], Any]) -> tuple[World, list[Row]]:
    """A circuit that lived through a story, and the rows that this left."""
    world = World()
    story(world)
    assert isinstance(world.store, MemoryStateStore)
    rows = [row for shard in world.store.shards for row in world.store.read_range(shard, "$", "~~")]
    return world, [row for row in rows if CIRCUIT in row.key]


def _goes_live(world: World) -> None:
    world.go_live()
    for day in (1, 2):
        world.run_until(world.at(hour=6, day=day))
        world.commit()
        world.run(minutes=30)


def _waits(world: World) -> None:
    world.register()
    world.run(minutes=5)


def _fails(world: World) -> None:
    world.fate(TEST_INFERENCE, UNUSABLE)
    world.register()
    world.run(minutes=5)
    world.approve(f"{CIRCUIT}:1")
    world.run(minutes=60)


def fill(store: TableStateStore, names: Sequence[str]) -> World:
    """A fleet whose circuits stand as those of the stories do; returns the world whose clock it lives by."""
    stories = {name: lived(story) for name, story in (("live", _goes_live), ("waits", _waits), ("fails", _fails))}
    batches: dict[str, list[Write]] = defaultdict(list)
    for number, circuit in enumerate(names):
        story = "waits" if number % WAITING_EVERY == 7 else "fails" if number % FAILED_EVERY == 11 else "live"
        rows = [row for row in stories[story][1] if number < WHOLE or row.key.startswith(INDEXES) or story == "waits"]
        text = json.dumps([[row.key, row.body] for row in rows]).replace(CIRCUIT, circuit)
        partition = store.shard_of(circuit)
        batches[partition] += [Write("put", Row(key, body)) for key, body in json.loads(text)]
        while len(batches[partition]) >= 100:
            store.commit(partition, batches[partition][:100])
            del batches[partition][:100]
    for partition, writes in batches.items():
        if writes:
            store.commit(partition, writes)
    return stories["live"][0]


def _listed(kind: type[answers.Shown], name: str, listing: Listing, **further: Any) -> str:
    shown = {name: listing.entries, "continuation": listing.continuation, **further}
    return kind.model_validate(shown).model_dump_json()


def views(store: TableStateStore, names: Sequence[str], world: World) -> Mapping[str, Callable[[], str]]:
    """The views that pages ask for, each as the JSON that is sent."""
    directory = Configured(names)
    ledger = Ledger(store, directory, world.clock)
    overview = Overview(store, directory, ledger, world.clock)
    queries = Queries(store, Archive(world.documents))
    today = world.clock.now().date()
    middle = names[min(len(names), WHOLE) // 2]

    def glances(**chosen: Any) -> str:
        return _listed(answers.Glances, "circuits", overview.circuits(60, **chosen), plants=overview.plants())

    return {
        "fleet: what needs somebody": lambda: answers.Needs.model_validate(overview.needs()).model_dump_json(),
        "fleet: alerts": lambda: _listed(answers.Alerts, "alerts", queries.alerts(50)),
        "fleet: proposals": lambda: _listed(answers.Proposals, "proposals", queries.proposals(50)),
        "fleet: 60 circuits at a glance": glances,
        "fleet, searched: those named ...C003": lambda: glances(text="C003"),
        "fleet, filtered: those under way": lambda: glances(show=Show.UNDER_WAY),
        "ledger: 7 days' completeness of a plant": lambda: answers.LedgerDays.model_validate(
            ledger.days(today - LAST_DAYS, today, split_circuit(middle)[0])
        ).model_dump_json(),
        "no page: a day's completeness of the whole fleet": lambda: answers.LedgerDays.model_validate(
            ledger.days(today, today)
        ).model_dump_json(),
        "ledger: 50 circuits, 7 days": lambda: _listed(
            answers.DaysOfCircuits, "circuits", overview.days(today - LAST_DAYS, today, 50)
        ),
        "approvals: 50 with evidence": lambda: _listed(answers.Approvals, "approvals", queries.approvals(ENGINEER, 50)),
        "circuit: what serves and is open": lambda: answers.CircuitShown.model_validate(
            queries.circuit(middle)
        ).model_dump_json(),
        "circuit: releases": lambda: _listed(answers.ReleasesOfCircuit, "releases", queries.releases_page(middle, 50)),
        "circuit: 14 days": lambda: answers.LedgerOfCircuit(
            days=tuple(ledger.of_circuit(middle, today - timedelta(days=13), today))
        ).model_dump_json(),
        "audit: 50 acts": lambda: _listed(answers.Acts, "acts", queries.acts(50)),
    }


def measure(store: CountingStore, names: Sequence[str], world: World) -> dict[str, dict[str, float]]:
    """Seconds and operations of each view; of each page the slowest view's seconds, and the operations of all."""
    found: dict[str, dict[str, float]] = {}
    for name, view in views(store, names, world).items():
        view()  # the first request pays for the connection
        store.operations = 0
        walls = []
        for _ in range(REPEATS):
            began = time.perf_counter()
            view()
            walls.append(time.perf_counter() - began)
        found[name] = {"seconds": statistics.median(walls), "operations": store.operations / REPEATS}
    pages: dict[str, dict[str, float]] = defaultdict(lambda: {"seconds": 0.0, "operations": 0.0})
    for name, cost in found.items():
        if not name.startswith("no page"):
            page = pages[f"page {name.partition(':')[0]}"]
            page["seconds"] = max(page["seconds"], cost["seconds"])
            page["operations"] += cost["operations"]
    return {**pages, **found}


def rows_of(few: Mapping[str, Mapping[str, float]], many: Mapping[str, Mapping[str, float]]) -> list[BenchRow]:
    """Pages and views with many circuits beside the same with few; pages have the goal."""
    beside = f"with {FEW} circuits"
    goal = ours_at_most(GOAL_SECONDS)
    return [
        measured(
            f"{name}: {'time' if unit == 'seconds' else unit}, {MANY:,} circuits",
            cost[unit],
            few[name][unit],
            beside,
            "s" if unit == "seconds" else unit,
            goal if unit == "seconds" and name.startswith("page ") else None,
        )
        for name, cost in many.items()
        for unit in ("seconds", "operations")
    ]


def measured_with(emulator: Azurite, size: int) -> dict[str, dict[str, float]]:
    """A fleet of so many circuits, filled in and looked at."""
    with TableClient.from_connection_string(emulator.connection_string, f"fleet{size}") as table:
        table.create_table()
        store, names = CountingStore(table, SHARDS), circuits(size)
        began = time.perf_counter()
        world = fill(store, names)
        print(f"{size:,} circuits, filled in within {time.perf_counter() - began:.0f} s", flush=True)
        return measure(store, names, world)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="keep the run in docs/benchmarks/dashboard.json")
    given = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    described = machine() | storage()
    with Azurite() as emulator:
        few = measured_with(emulator, FEW)
    with Azurite() as emulator:
        many = measured_with(emulator, MANY)
    rows = rows_of(few, many)
    record(rows, described, "dashboard.json", given.keep)
    return 0


if __name__ == "__main__":
    sys.exit(main())
