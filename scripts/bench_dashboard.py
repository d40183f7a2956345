"""What the dashboard's views cost with 200 and 10,000 circuits, on the storage emulator: .local/bench/dashboard.json.

The rows are those that circuits really left: one that went live and scored for some days, one that waits at a gate, one
whose release failed. They are copied under other names, the emulator holds them, and the views are read with the real
client and turned into the JSON that is sent. Operations are counted as Table Storage would bill them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from azure.data.tables import TableClient

from functions import answers
from functions.parameters import LAST_DAYS
from local.azurite import Azurite
from shared.adapters.azure.state_store import PAGE_LIMIT, TableStateStore
from shared.adapters.local.state_store import MemoryStateStore
from shared.archive import Archive
from shared.domain.rules import Rules
from shared.ledger import Ledger
from shared.overview import Overview, Show
from shared.ports import Row, Write
from shared.queries import Listing, Queries
from tests.builders import CIRCUIT, ENGINEER, circuits
from tests.simulated import TEST_INFERENCE, UNUSABLE
from tests.world import World

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / ".local" / "bench" / "dashboard.json"
SIZES = (200, 10_000)
SHARDS = 4
REPEATS = 5
GOAL_SECONDS = 1.0
WAITING_EVERY, FAILED_EVERY = 40, 100
"""Of so many circuits one waits at a gate, or has a release that failed."""
WHOLE = 200
"""Circuits that are filled in with their whole history; of the others only what views of the fleet read."""
INDEXES = ("$circuit|", "$open|", "$gate|", "$day|")


class CountingStore(TableStateStore):
    """Counts what Table Storage would bill, and the rows that came."""

    def __init__(self, table: TableClient, shards: int) -> None:
        super().__init__(table, shards)
        self.operations = 0
        self.rows = 0

    def read_range(self, partition: str, first: str, last: str, limit: int | None = None) -> list[Row]:
        rows = super().read_range(partition, first, last, limit)
        self.operations += max(1, -(-len(rows) // PAGE_LIMIT))
        self.rows += len(rows)
        return rows

    def read(self, partition: str, key: str) -> Row | None:
        self.operations, self.rows = self.operations + 1, self.rows + 1
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
    middle = names[len(names) // 2]

    def glances(**chosen: Any) -> str:
        return _listed(answers.Glances, "circuits", overview.circuits(60, **chosen), plants=overview.plants())

    return {
        "fleet: what needs somebody": lambda: answers.Needs.model_validate(overview.needs()).model_dump_json(),
        "fleet: 60 circuits at a glance": glances,
        "fleet: those named ...C003": lambda: glances(text="C003"),
        "fleet: those under way": lambda: glances(show=Show.UNDER_WAY),
        "fleet: today's completeness": lambda: answers.LedgerDays.model_validate(
            ledger.days(today, today)
        ).model_dump_json(),
        "ledger: 50 circuits, 7 days": lambda: _listed(
            answers.DaysOfCircuits, "circuits", overview.days(today - LAST_DAYS, today, 50)
        ),
        "approvals: 50 with evidence": lambda: _listed(answers.Approvals, "approvals", queries.approvals(ENGINEER, 50)),
        "circuit": lambda: answers.CircuitShown.model_validate(queries.circuit(middle)).model_dump_json(),
        "audit: 50 acts": lambda: _listed(answers.Acts, "acts", queries.acts(50)),
    }


def measure(store: CountingStore, names: Sequence[str], world: World) -> dict[str, Mapping[str, float]]:
    found: dict[str, Mapping[str, float]] = {}
    for name, view in views(store, names, world).items():
        view()  # the first request pays for the connection
        store.operations = store.rows = 0
        walls, cpus, size = [], [], 0
        for _ in range(REPEATS):
            wall, cpu = time.perf_counter(), time.process_time()
            size = len(view())
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
        found[name] = {
            "seconds": round(statistics.median(walls), 3),
            "cpu_seconds": round(statistics.median(cpus), 3),
            "operations": store.operations // REPEATS,
            "rows": store.rows // REPEATS,
            "bytes": size,
        }
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="circuits (default: %(default)s)")
    given = parser.parse_args(arguments)
    result: dict[str, Any] = {"goal_seconds": GOAL_SECONDS, "sizes": {}}
    slow: Counter[str] = Counter()
    with Azurite() as emulator:
        for size in given.sizes:
            table = TableClient.from_connection_string(emulator.connection_string, f"fleet{size}")
            table.create_table()
            store, names = CountingStore(table, SHARDS), circuits(size)
            began = time.perf_counter()
            world = fill(store, names)
            print(f"{size} circuits, filled in {time.perf_counter() - began:.0f} s")
            result["sizes"][size] = measure(store, names, world)
            for name, cost in result["sizes"][size].items():
                slow[name] += cost["seconds"] > GOAL_SECONDS
                print(
                    f"  {name:<34}{cost['seconds']:>7.3f} s{cost['cpu_seconds']:>8.3f} s CPU"
                    f"{cost['operations']:>5.0f} operations{cost['rows']:>7.0f} rows{cost['bytes']:>9.0f} bytes"
                )
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2))
    late = sorted(name for name, times in slow.items() if times)
    print(f"over {GOAL_SECONDS:g} s: {', '.join(late) or 'none'}; written to {RESULT.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
