"""Events per second through `advance`, beside the same rows in raw transactions on the same emulator, turn by turn."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import mean, median
from time import perf_counter
from typing import Any

from azure.data.tables import TableClient, UpdateMode

from shared.adapters.azure import credentials
from shared.adapters.azure.state_store import TableStateStore
from shared.advance import Advance
from shared.handlers import Directory
from shared.ports import Row, Write
from shared.settings import Settings
from shared.wiring import provision
from tests.bench.fleet import Told, environment
from tests.bench.rows import BenchRow, measured, ratio_at_least
from tests.simulated import VirtualClock

ROUNDS = 3


class _Watched(TableStateStore):
    """The real store, and what was asked of it last."""

    read_last: tuple[str, str, str]
    committed_last: tuple[str, Sequence[Write]]

    def read_range(self, partition: str, first: str, last: str, limit: int | None = None) -> list[Row]:
        self.read_last = (partition, first, last)
        return super().read_range(partition, first, last, limit)

    def commit(self, partition: str, writes: Sequence[Write]) -> None:
        self.committed_last = (partition, writes)
        super().commit(partition, writes)


@dataclass
class _Seconds:
    """What one round took, in all."""

    ours: float = 0
    raw_transactions: float = 0
    raw_reads: float = 0
    entities: list[int] = field(default_factory=list)


def measure(connection_string: str, facts: Sequence[Told], directory: Directory) -> list[BenchRow]:
    """Tell the facts again to an empty table, ROUNDS times, each time a table of its own."""
    rounds = [_round(connection_string, facts, directory, number) for number in range(ROUNDS)]
    ours = median(len(facts) / seconds.ours for seconds in rounds)
    transactions = median(len(facts) / seconds.raw_transactions for seconds in rounds)
    pairs = median(len(facts) / (seconds.raw_transactions + seconds.raw_reads) for seconds in rounds)
    entities = mean(rounds[0].entities)
    same = f"the same {entities:.1f} entities a transaction"
    return [
        measured(
            "advance: events a second",
            ours,
            transactions,
            f"raw transactions with {same}",
            "1/s",
            ratio_at_least(0.4),
        ),
        measured(
            "advance: events a second, beside read and transaction",
            ours,
            pairs,
            f"raw range read and transaction with {same}",
            "1/s",
            ratio_at_least(0.75),
        ),
    ]


def _round(connection_string: str, facts: Sequence[Told], directory: Directory, number: int) -> _Seconds:
    settings = Settings.read(environment(connection_string, f"benchadvance{number}"))
    provision(settings)
    tables = credentials.tables(settings)
    store = _Watched(tables.get_table_client(settings.state_table), settings.state_shards)
    raw = tables.create_table(f"benchraw{number}")
    clock = VirtualClock(facts[0].at)
    advance = Advance(store, clock, directory.rules)
    seconds = _Seconds()
    for fact in facts:
        clock.advance_to(fact.at)
        began = perf_counter()
        advance(fact.event)
        seconds.ours += perf_counter() - began
        seconds.raw_reads += _raw_read(raw, *store.read_last)
        seconds.raw_transactions += _raw_transaction(raw, *store.committed_last)
        seconds.entities.append(len(store.committed_last[1]))
    return seconds


def _raw_read(table: TableClient, partition: str, first: str, last: str) -> float:
    """Seconds for the range as plain entities; the table holds what ours held before the event."""
    began = perf_counter()
    found = table.query_entities(
        "PartitionKey eq @partition and RowKey ge @first and RowKey lt @last",
        parameters={"partition": partition, "first": first, "last": last},
    )
    list(found)
    return perf_counter() - began


def _raw_transaction(table: TableClient, partition: str, writes: Sequence[Write]) -> float:
    """Seconds for the same entities, without conditions."""
    operations: list[Any] = []
    for write in writes:
        keys = {"PartitionKey": partition, "RowKey": write.row.key}
        if write.action == "delete":
            operations.append(("delete", keys))
        else:
            body = json.dumps(write.row.body, separators=(",", ":"))
            operations.append(("upsert", {**keys, "body": body}, {"mode": UpdateMode.REPLACE}))
    began = perf_counter()
    table.submit_transaction(operations)
    return perf_counter() - began
