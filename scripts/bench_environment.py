#!/usr/bin/env python3
"""What an environment release costs for each circuit, over fleets of several sizes; writes .local/bench/fleet.json.

The application is the real one, under a virtual clock, on an embedded store whose operations are counted as Table
Storage would: a range read is an operation for each page of 1,000 rows and each shard, a transaction is one. Wall time
is our own work without the jobs, which take no time here.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from shared import records
from shared.adapters.local.state_store import MemoryStateStore
from shared.domain.circuit.root import Circuit, Proved
from shared.domain.values import ENVIRONMENT, Deployment, Pair, Stage
from shared.ports import Row, Write
from tests.builders import DIRECTOR, START, circuits, model_tags
from tests.world import Fleet, World

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / ".local" / "bench" / "fleet.json"
SIZES = (20, 200, 2000)
PAGE = 1000
SLOTS = 400
"""Jobs at once; one row holds all slots, and has room for no more than some hundreds."""
NEW = "1.1.0"


class CountingStore(MemoryStateStore):
    """Counts what Table Storage would bill."""

    def __init__(self, shards: int) -> None:
        super().__init__(shards=shards)
        self.operations: Counter[str] = Counter()

    def read_range(self, partition: str, first: str, last: str, limit: int | None = None) -> list[Row]:
        rows = super().read_range(partition, first, last, limit)
        name = "sweeps" if first.startswith("!") else "range reads"  # a sweep costs time, not circuits
        self.operations[name] += max(1, -(-len(rows) // PAGE))
        return rows

    def read(self, partition: str, key: str) -> Row | None:
        self.operations["point reads"] += 1
        return super().read(partition, key)

    def commit(self, partition: str, writes: Sequence[Write]) -> None:
        self.operations["transactions"] += 1
        super().commit(partition, writes)


def fleet_of(size: int) -> tuple[World, CountingStore]:
    """So many circuits that serve version 1 with environment 1.0.0, proved."""
    store = CountingStore(shards=4)
    names = circuits(size)
    world = World(Fleet(names, max_invocations=min(size, SLOTS)), store=store)
    pair = Pair(model=1, environment="1.0.0")
    for circuit in names:
        tags = {name: value for name, value in model_tags(circuit).items() if name.startswith(("target_", "forecast"))}
        root = Circuit(
            id=circuit,
            desired=pair,
            serving=pair,
            verified=pair,
            serving_tags=tags,
            proved=(Proved(pair=pair, at=START, tags=tags),),
            newest_version=1,
        )
        body = root.model_dump(mode="json")
        rows = [Row(f"{circuit}|0", {**body, "revision": 1}), Row(f"$circuit|{circuit}", {**body, "releases": []})]
        store.commit(store.shard_of(circuit), [Write("insert", row) for row in rows])
        world.platform.models[circuit, 1] = model_tags(circuit)
        world.platform.registry.add((circuit, 1))
        for stage in (Stage.TEST, Stage.PRODUCTION):
            world.platform.serve(Deployment(circuit=circuit, stage=stage, pair=pair))
    store.operations.clear()
    return world, store


def measure(size: int) -> dict[str, object]:
    """One release over a fleet, from its registration to where it is observed."""
    tracemalloc.start()
    world, store = fleet_of(size)
    sent = len(world.done)
    began = time.process_time()
    release = world.register_environment(NEW)
    world.run(minutes=5)
    world.approve(release)
    world.run(hours=2)
    world.approve(release)
    world.approve(release, DIRECTOR)
    while world.phase(release) != "observing":
        assert world.phase(release).startswith("updating"), world.story(release)
        world.run(hours=1)
    seconds = time.process_time() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    found = [world.platform.deployed(Stage.PRODUCTION, circuit) for circuit in world.fleet.circuits()]
    assert {deployment.pair.environment for deployment in found if deployment} == {NEW}
    looks = sum(line["event"] == "UpdatesGoOn" for line in world.history(ENVIRONMENT, release))
    counted = {name: count for name, count in store.operations.items() if name != "sweeps"}
    return {
        "circuits": size,
        "slots": min(size, SLOTS),
        "operations_per_circuit": {name: round(count / size, 2) for name, count in sorted(counted.items())},
        "commands_per_circuit": round((len(world.done) - sent) / size, 2),
        "looks_of_the_release": looks,
        "cpu_seconds": round(seconds, 1),
        "cpu_ms_per_circuit": round(1000 * seconds / size, 1),
        "peak_mb_traced": round(peak / 2**20, 1),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="circuits in each fleet")
    rows = []
    for size in parser.parse_args(arguments).sizes:
        rows.append(measure(size))
        print(json.dumps(rows[-1]))
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps({"environment_release": rows, "rows_a_page": PAGE, "index": records.CIRCUITS[0]}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
