"""From a rollback's order to the row that says what production serves: our own time, on the storage emulator.

The platform takes no real time: what remains is the app's, its table's and its documents'.
"""

from __future__ import annotations

from statistics import quantiles
from time import perf_counter

from azure.data.tables import TableServiceClient

from shared.adapters.azure.state_store import TableStateStore
from shared.adapters.local.state_store import MemoryStateStore
from shared.domain import messages as m
from shared.domain.values import Pair
from shared.ports import StateStore
from tests.bench.environment_release import serving
from tests.bench.rows import BenchRow, measured, ours_at_most
from tests.builders import circuits
from tests.world import World

ROLLBACKS = 40
BAD, GOOD = Pair(model=2, environment="1.0.0"), Pair(model=1, environment="1.0.0")
AT_MOST = 5.0
"""Seconds: "seconds of our own time"."""


def measure(connection_string: str) -> list[BenchRow]:
    """Rollbacks of as many circuits, one after the other."""
    table = TableServiceClient.from_connection_string(connection_string).create_table("benchrollback")
    emulated = quantiles(_seconds(TableStateStore(table, shards=4)), n=20)
    sorted_store = quantiles(_seconds(MemoryStateStore()), n=20)
    reference = "with the sorted store, without the emulator"
    return [
        measured(
            f"rollback, order to production row: {name} of {ROLLBACKS}",
            emulated[at],
            sorted_store[at],
            reference,
            "s",
            ours_at_most(AT_MOST),
        )
        for name, at in (("p50", 9), ("p95", 18))
    ]


def _seconds(store: StateStore) -> list[float]:
    names = circuits(ROLLBACKS)
    world = serving(store, names, BAD, GOOD)
    return [_roll_back(world, circuit) for circuit in names]


def _roll_back(world: World, circuit: str) -> float:
    """Everything that the app does until the row says so; virtual time passes between and costs nothing."""
    began = perf_counter()
    world.order(m.RollbackRequested, circuit=circuit)
    seconds = perf_counter() - began
    while world.circuit(circuit).serving != GOOD:
        began = perf_counter()
        while world.step():
            pass
        world.app.sweep()
        seconds += perf_counter() - began
        if following := world.next_time():
            world.clock.advance_to(max(following, world.now()))
    return seconds
