"""What an environment release costs for each circuit of fleets of several sizes: operations, our own time, memory.

The application is the real one under a virtual clock, on the embedded store whose keys are sorted. Its operations are
counted as Table Storage would count them: a range read is one for each page of 1,000 rows.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import process_time

from shared.adapters.local.state_store import MemoryStateStore
from shared.domain.circuit.root import Circuit, Proved
from shared.domain.values import ENVIRONMENT, Deployment, Pair, Stage
from shared.ports import Row, StateStore, Write
from tests.bench.memory import peak_mb
from tests.bench.rows import BenchRow, measured, ours_at_most, ratio_at_most
from tests.builders import DIRECTOR, START, circuits, model_tags
from tests.world import Fleet, World

SIZES = (20, 200, 2000)
SLOTS = 20
"""Jobs at once, whatever the size of the fleet: the policy's default."""
PAGE = 1000
OLD, NEW = "1.0.0", "1.1.0"


class CountingStore(MemoryStateStore):
    """Counts operations by kind."""

    def __init__(self, shards: int = 4) -> None:
        super().__init__(shards=shards)
        self.operations: Counter[str] = Counter()

    def read_range(self, partition: str, first: str, last: str, limit: int | None = None) -> list[Row]:
        rows = super().read_range(partition, first, last, limit)
        if not first.startswith("!"):  # a sweep costs time, not circuits
            self.operations["range reads"] += max(1, -(-len(rows) // PAGE))
        return rows

    def read(self, partition: str, key: str) -> Row | None:
        self.operations["point reads"] += 1
        return super().read(partition, key)

    def commit(self, partition: str, writes: Sequence[Write]) -> None:
        self.operations["transactions"] += 1
        super().commit(partition, writes)


@dataclass(frozen=True)
class Cost:
    """Of one release over a fleet; seconds are processor time of everything but the jobs, which take no time here."""

    circuits: int
    operations: dict[str, int]
    commands: int
    seconds: float
    peak_mb: float


def serving(store: StateStore, names: Sequence[str], *pairs: Pair) -> World:
    """A fleet that serves the first of the pairs, and may go back to the others."""
    world = World(Fleet(names, max_invocations=SLOTS), store=store)
    for circuit in names:
        tags = {name: value for name, value in model_tags(circuit).items() if name.startswith(("target_", "forecast"))}
        root = Circuit(
            id=circuit,
            desired=pairs[0],
            serving=pairs[0],
            verified=pairs[0],
            serving_tags=tags,
            proved=tuple(Proved(pair=pair, at=START, tags=tags) for pair in pairs),
            newest_version=pairs[0].model,
        )
        body = root.model_dump(mode="json")
        rows = [Row(f"{circuit}|0", {**body, "revision": 1}), Row(f"$circuit|{circuit}", {**body, "releases": []})]
        store.commit(store.shard_of(circuit), [Write("insert", row) for row in rows])
        for pair in pairs:
            world.platform.models[circuit, pair.model] = model_tags(circuit, pair.model)
            world.platform.registry.add((circuit, pair.model))
        for stage in (Stage.TEST, Stage.PRODUCTION):
            world.platform.serve(Deployment(circuit=circuit, stage=stage, pair=pairs[0]))
    return world


def cost(size: int) -> Cost:
    """A release from its registration to where the whole fleet serves it; memory is this process's, so far."""
    store = CountingStore()
    world = serving(store, circuits(size), Pair(model=1, environment=OLD))
    store.operations.clear()
    began = process_time()
    release = world.register_environment(NEW)
    world.run(minutes=10)
    world.approve(release)
    _until(world, release, "awaiting production approval", "testing all", "promoting environment")
    world.approve(release)
    world.approve(release, DIRECTOR)
    world.run(hours=1)
    world.commit(circuits=[one for one in world.fleet.circuits() if _serves(world, one, NEW)])  # canaries score it
    _until(world, release, "observing", "updating canaries", "updating waves")
    seconds = process_time() - began
    if left := [one for one in world.fleet.circuits() if not _serves(world, one, NEW)]:
        raise RuntimeError(f"{left} do not serve {NEW}: nothing can be said about the way to it")
    return Cost(size, dict(store.operations), len(world.done), seconds, peak_mb())


def _serves(world: World, circuit: str, environment: str) -> bool:
    deployed = world.platform.deployed(Stage.PRODUCTION, circuit)
    return deployed is not None and deployed.pair.environment == environment


def _until(world: World, release: str, phase: str, *on_the_way: str) -> None:
    while (stands := world.phase(release)) != phase:
        if stands not in on_the_way:
            raise RuntimeError(f"{ENVIRONMENT} is {stands}: {world.story(release)}")
        world.run(hours=1)


def measure(sizes: Sequence[int] = SIZES) -> list[BenchRow]:
    """Each size in a process of its own, against the smallest."""
    costs = [_alone(size) for size in sizes]
    smallest, rows = costs[0], []
    for each in costs:
        fleet = f"environment release, {each.circuits:,} circuits"
        for kind in (*sorted(smallest.operations), "all"):
            ours, reference = _a_circuit(each, kind), _a_circuit(smallest, kind)
            goal = ratio_at_most(1.05) if kind == "all" else None
            named = "storage operations" if kind == "all" else f"of them {kind}"
            rows.append(measured(f"{fleet}: {named}", ours, reference, _than(smallest), "operations a circuit", goal))
        ours, reference = (1000 * run.seconds / run.circuits for run in (each, smallest))
        rows.append(measured(f"{fleet}: time without jobs", ours, reference, _than(smallest), "CPU ms a circuit"))
        rows.append(
            measured(f"{fleet}: memory", each.peak_mb, smallest.peak_mb, _than(smallest), "MB", ours_at_most(1024))
        )
    return rows


def _a_circuit(run: Cost, kind: str) -> float:
    return (sum(run.operations.values()) if kind == "all" else run.operations[kind]) / run.circuits


def _than(smallest: Cost) -> str:
    return f"with {smallest.circuits} circuits"


def _alone(size: int) -> Cost:
    ran = subprocess.run([sys.executable, "-m", __spec__.name, str(size)], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(ran.stderr[-2000:])
    return Cost(**json.loads(ran.stdout))


if __name__ == "__main__":
    import logging

    logging.disable(logging.WARNING)
    print(json.dumps(asdict(cost(int(sys.argv[1])))))
