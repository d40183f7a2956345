"""What a sweep costs that finds nothing to do, with more and more finished releases in the table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby
from statistics import median
from time import perf_counter
from timeit import timeit

from azure.data.tables import TableClient

from shared import records
from shared.adapters.azure import credentials
from shared.adapters.local.state_store import MemoryStateStore
from shared.domain.release import RELEASE, Phase, Release, release_id
from shared.ports import Row, StateStore, Write
from shared.relay import Relay
from tests.bench.fleet import BenchFleet
from tests.bench.rows import BenchRow, measured, ours_at_most, ratio_at_most
from tests.builders import START, circuits, model_tags
from tests.simulated import SimulatedQueue, VirtualClock

FINISHED = (0, 1_000, 10_000)
CIRCUITS = 200
SWEEPS = 40
BATCH = 99  # a multiple of the rows of one release


def measure(connection_string: str) -> list[BenchRow]:
    """Operations and milliseconds of a sweep.

    The emulator takes longer for any read the more rows there are, whatever the range. So the time there is held
    against bare reads of the same ranges at the same moment; over time with an empty table it is held in the store that
    keeps its keys sorted, as Table Storage does.
    """
    fleet = BenchFleet(connection_string, "benchsweep")
    store = fleet.app.ports.store
    table = credentials.tables(fleet.settings).get_table_client(fleet.settings.state_table)
    rows: list[BenchRow] = []
    there = 0
    for finished in FINISHED:
        _finish(store, there, finished)
        there = finished
        before = fleet.operations.of("sweep")
        ours, bare = [], []
        for _ in range(SWEEPS):
            ours.append(_sweep(fleet))
            bare.append(_bare_reads(table, store.shards, records.sweep_range(fleet.clock.now())))
        operations = (fleet.operations.of("sweep") - before) / SWEEPS
        size = f"{finished:,} finished releases"
        shards = len(store.shards)
        rows += [
            measured(
                f"idle sweep: operations, {size}",
                operations,
                shards,
                "one range read a shard",
                "operations",
                ours_at_most(shards),
            ),
            measured(
                f"idle sweep: time, {size}",
                median(ours) * 1000,
                median(bare) * 1000,
                "the same ranges read bare, same table",
                "ms",
                ratio_at_most(1.5),
            ),
        ]
    return [*rows, *_sorted_store()]


def _sorted_store() -> list[BenchRow]:
    """A binary search takes a few more steps in a larger table: that much may be seen, and no more."""
    clock = VirtualClock(START)
    relays = {}
    for finished in FINISHED:
        store = MemoryStateStore()
        _finish(store, 0, finished)
        relays[finished] = Relay(store, SimulatedQueue(clock), clock)
    turns = [{finished: timeit(relay.sweep, number=50) / 50 for finished, relay in relays.items()} for _ in range(200)]
    times = {finished: median(turn[finished] for turn in turns) for finished in FINISHED}
    return [
        measured(
            f"idle sweep, sorted store: time, {finished:,} finished releases",
            times[finished] * 1e6,
            times[0] * 1e6,
            "with no finished release",
            "µs",
            ratio_at_most(2),
        )
        for finished in FINISHED[1:]
    ]


def _sweep(fleet: BenchFleet) -> float:
    began = perf_counter()
    sent = fleet.app.sweep()
    took = perf_counter() - began
    if sent:
        raise RuntimeError(f"the sweep was to be idle and sent {sent} commands")
    return took


def _bare_reads(table: TableClient, shards: Sequence[str], sweep_range: tuple[str, str]) -> float:
    first, last = sweep_range
    began = perf_counter()
    for shard in shards:
        found = table.query_entities(
            "PartitionKey eq @partition and RowKey ge @first and RowKey lt @last",
            parameters={"partition": shard, "first": first, "last": last},
        )
        list(found)
    return perf_counter() - began


def _finish(store: StateStore, there: int, finished: int) -> None:
    """Put releases number `there` to `finished` into the table as they lie there when they have ended."""
    numbered = ((circuits(CIRCUITS)[number % CIRCUITS], 1 + number // CIRCUITS) for number in range(there, finished))
    by_shard = sorted(numbered, key=lambda release: store.shard_of(release[0]))
    for shard, releases in groupby(by_shard, key=lambda release: store.shard_of(release[0])):
        rows = [row for circuit, version in releases for row in _rows_of(circuit, version)]
        for start in range(0, len(rows), BATCH):
            store.commit(shard, [Write("put", row) for row in rows[start : start + BATCH]])


def _rows_of(circuit: str, version: int) -> list[Row]:
    """Three rows of a release that has ended: itself, its entry among the ended, and the end of its history."""
    ended = START - timedelta(hours=version)
    release = Release(
        id=release_id(circuit, version),
        circuit=circuit,
        version=version,
        workspace="dev",
        phase=Phase.LIVE,
        created_at=ended - timedelta(hours=4),
        since=ended,
        environment="1.0.0",
        trainer="tess@example.org",
        tags=model_tags(circuit, version),
    )
    line = {
        "item": release.id,
        "event": "ObservationPassed",
        "before": Phase.OBSERVING,
        "after": Phase.LIVE,
        "at": ended.isoformat(),
        "detail": {},
    }
    return [
        Row(records.finished_key(circuit, RELEASE, release.id), release.model_dump(mode="json")),
        Row(f"$done|{records.newest_first(ended)}|{records.safe(release.id)}", records.brief(release)),
        Row(f"{records.history_range(circuit, release.id)[0]}000025", line),
    ]
