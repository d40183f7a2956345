"""One contract for both state stores; what Azurite gets wrong is asked of the memory store alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.data.tables import TableClient

from shared import records
from shared.adapters.azure.state_store import BODY_LIMIT, TableStateStore
from shared.adapters.local.state_store import MemoryStateStore
from shared.advance import Advance
from shared.domain import messages as m
from shared.domain.machine import Verdict
from shared.domain.rules import Rules
from shared.errors import AlreadyExists, Conflict, Permanent
from shared.ports import Row, StateStore, Write
from shared.relay import Relay
from shared.slots import Slots
from tests.builders import CIRCUIT, START, registered
from tests.simulated import SimulatedQueue, VirtualClock


class Operations(SansIOHTTPPolicy[Any, Any]):
    """Counts what the client really sends: reads are GET, transactions are POST to $batch."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def on_request(self, request: Any) -> None:
        batch = request.http_request.url.partition("?")[0].endswith("$batch")
        self.sent.append("transaction" if batch else request.http_request.method)


@pytest.fixture(params=["azure tables", "memory", "memory with empty pages"])
def store(request: pytest.FixtureRequest) -> StateStore:
    if request.param == "azure tables":
        return TableStateStore(request.getfixturevalue("new_table")(), shards=3)
    return MemoryStateStore(shards=3, empty_pages=request.param.endswith("pages"))


@pytest.fixture
def partition(store: StateStore) -> str:
    return store.shard_of(CIRCUIT)


def insert(key: str, **body: Any) -> Write:
    return Write("insert", Row(key, body))


def keys(rows: list[Row]) -> list[str]:
    return [row.key for row in rows]


def test_a_row_is_read_back_as_it_was_written(store: StateStore, partition: str) -> None:
    body = {"text": "läuft", "number": 1.5, "none": None, "list": [1, {"a": True}], "phase": "testing"}
    store.commit(partition, [insert("a", **body)])
    row = store.read(partition, "a")
    assert row is not None and row.body == body and row.etag
    assert store.read(partition, "b") is None
    assert store.read("another partition", "a") is None


def test_a_root_always_lies_in_the_same_shard(store: StateStore) -> None:
    roots = [f"P{n:03d}_C001" for n in range(40)]
    assert [store.shard_of(root) for root in roots] == [store.shard_of(root) for root in roots]
    assert {store.shard_of(root) for root in roots} == set(store.shards)


def test_both_stores_put_a_root_into_the_same_shard(new_table: Callable[..., TableClient]) -> None:
    table, memory = TableStateStore(new_table(), 16), MemoryStateStore(16)
    assert [table.shard_of(f"C{n}") for n in range(50)] == [memory.shard_of(f"C{n}") for n in range(50)]


def test_an_insert_of_what_is_there_names_the_key(store: StateStore, partition: str) -> None:
    store.commit(partition, [insert("there")])
    with pytest.raises(AlreadyExists) as refused:
        store.commit(partition, [insert("new"), insert("there"), insert("newer")])
    assert refused.value.key == "there"
    with pytest.raises(AlreadyExists) as alone:
        store.commit(partition, [insert("there")])
    assert alone.value.key == "there"


def test_the_first_row_that_is_there_already_is_the_one_that_is_named(store: StateStore, partition: str) -> None:
    """`advance` tells a duplicate from a race by it."""
    store.commit(partition, [insert("b"), insert("a")])
    with pytest.raises(AlreadyExists) as refused:
        store.commit(partition, [insert("c"), insert("b"), insert("a")])
    assert refused.value.key == "b"


@pytest.mark.parametrize("action", ["replace", "delete"])
def test_a_row_that_was_changed_since_is_a_conflict(store: StateStore, partition: str, action: Any) -> None:
    store.commit(partition, [insert("a", n=1)])
    stale = store.read(partition, "a")
    assert stale is not None
    store.commit(partition, [Write("replace", Row("a", {"n": 2}, stale.etag))])
    with pytest.raises(Conflict):
        store.commit(partition, [Write(action, Row("a", {"n": 3}, stale.etag))])
    now = store.read(partition, "a")
    assert now is not None and now.body == {"n": 2}


@pytest.mark.parametrize("action", ["replace", "delete"])
@pytest.mark.parametrize("others", [0, 2])
def test_a_row_that_is_gone_is_a_conflict(store: StateStore, partition: str, action: Any, others: int) -> None:
    store.commit(partition, [insert("a")])
    row = store.read(partition, "a")
    assert row is not None
    store.commit(partition, [Write("delete", row)])
    with pytest.raises(Conflict):
        store.commit(partition, [*(insert(f"o{n}") for n in range(others)), Write(action, row)])
    with pytest.raises(Conflict):
        store.commit(partition, [Write("delete", Row("never there", {}))])


def test_a_stale_row_is_reported_before_a_later_row_that_exists(store: StateStore, partition: str) -> None:
    """The root row goes first, so that a race is a conflict and never a duplicate."""
    store.commit(partition, [insert("root", n=1), insert("inbox")])
    stale = store.read(partition, "root")
    assert stale is not None
    store.commit(partition, [Write("replace", Row("root", {"n": 2}, stale.etag))])
    with pytest.raises(Conflict):
        store.commit(partition, [Write("replace", Row("root", {"n": 3}, stale.etag)), insert("inbox")])


def test_a_transaction_is_all_or_nothing(store: StateStore, partition: str) -> None:
    store.commit(partition, [insert("a", n=1), insert("m", n=1), insert("z", n=1)])
    row = store.read(partition, "a")
    assert row is not None
    with pytest.raises(AlreadyExists):
        store.commit(
            partition,
            [
                Write("replace", Row("a", {"n": 2}, row.etag)),
                Write("put", Row("b", {"n": 2})),
                Write("delete", Row("m", {})),
                insert("n"),
                insert("z", n=2),
            ],
        )
    left = store.read_range(partition, "a", "zz")
    assert [(row.key, row.body) for row in left] == [("a", {"n": 1}), ("m", {"n": 1}), ("z", {"n": 1})]


def test_put_writes_over_whatever_is_there(store: StateStore, partition: str) -> None:
    for number in (1, 2):
        store.commit(partition, [Write("put", Row("a", {"n": number, f"only{number}": 1}))])
    row = store.read(partition, "a")
    assert row is not None and row.body == {"n": 2, "only2": 1}


def test_a_delete_without_a_version_takes_whatever_is_there(store: StateStore, partition: str) -> None:
    store.commit(partition, [insert("a")])
    store.commit(partition, [Write("delete", Row("a", {}))])
    assert store.read(partition, "a") is None


def test_every_write_gives_a_row_another_version(store: StateStore, partition: str) -> None:
    store.commit(partition, [insert("a")])
    first = store.read(partition, "a")
    assert first is not None
    store.commit(partition, [Write("replace", first)])
    second = store.read(partition, "a")
    assert second is not None and second.etag != first.etag


def test_a_range_is_sorted_and_half_open(store: StateStore, partition: str) -> None:
    store.commit(partition, [insert(key) for key in ("c", "a", "d", "b", "B", "a|1")])
    assert keys(store.read_range(partition, "a", "d")) == ["a", "a|1", "b", "c"]
    assert keys(store.read_range(partition, "a|1", "b")) == ["a|1"]
    assert store.read_range(partition, "x", "z") == []
    assert store.read_range("another partition", "a", "z") == []


def test_a_limit_takes_the_first_rows(store: StateStore, partition: str) -> None:
    store.commit(partition, [insert(f"k{n}") for n in range(7)])
    assert keys(store.read_range(partition, "k", "l", limit=3)) == ["k0", "k1", "k2"]
    assert len(store.read_range(partition, "k", "l", limit=100)) == 7


def test_pages_lead_to_every_row_once_whatever_their_size(store: StateStore, partition: str) -> None:
    store.commit(partition, [insert(f"k{n}") for n in range(7)])
    for size in (1, 3, 7, 50):
        found: list[str] = []
        continuation = None
        for _ in range(20):
            page = store.read_page(partition, "k", "l", size, continuation)
            assert len(page.rows) <= size
            found += [row.key for row in page.rows]
            continuation = page.continuation
            if continuation is None:
                break
        assert found == [f"k{n}" for n in range(7)]


def test_the_memory_store_can_answer_with_an_empty_page_that_has_more_behind_it() -> None:
    store = MemoryStateStore(empty_pages=True)
    store.commit(store.shards[0], [insert("a")])
    page = store.read_page(store.shards[0], "a", "b", 10)
    assert not page.rows and page.continuation


def test_every_key_that_the_records_make_is_accepted(store: StateStore, partition: str) -> None:
    odd = "a/b\\c#d?e%f+g h:i@j|k=l~m'n\"ö"
    command = m.ReadDeltaCommit(root="lake", item="lake", step=0, version=1, source=odd)
    made = [
        records.inbox_key(registered(tags_digest=odd)),
        records.history_range(CIRCUIT, odd)[0],
        records.sweep_range(START)[1],
        *(row.key for row in records.outbox([command], START)),
        f"$done|{records.newest_first(START)}|{records.safe(odd)}",
        f"$circuit|{CIRCUIT}",
        f"{CIRCUIT}|8|S|{CIRCUIT}@2026-01-30",
        f"{CIRCUIT}|1|T|{CIRCUIT}~c0ffee",
        f"{CIRCUIT}|8|Q|{CIRCUIT}!quality.table-1.7",
    ]
    store.commit(partition, [insert(key) for key in made])
    for key in made:
        assert store.read(partition, key) is not None, key
    assert keys(store.read_range(partition, "!", "~~")) == sorted(made)


@pytest.mark.parametrize("rows", [100, 101])
def test_a_transaction_takes_a_hundred_rows_and_no_more(store: StateStore, partition: str, rows: int) -> None:
    writes = [insert(f"k{n:03d}") for n in range(rows)]
    if rows <= 100:
        store.commit(partition, writes)
        assert len(store.read_range(partition, "k", "l")) == rows
        return
    with pytest.raises(Permanent, match="100 rows"):
        store.commit(partition, writes)
    assert store.read_range(partition, "k", "l") == []


def test_a_body_that_a_row_cannot_hold_is_refused_and_names_the_row(store: StateStore, partition: str) -> None:
    store.commit(partition, [insert("fits", text="x" * (BODY_LIMIT - 20))])
    with pytest.raises(Permanent, match="large") as refused:
        store.commit(partition, [insert("small"), insert("large", text="x" * BODY_LIMIT)])
    assert "document" in str(refused.value)
    assert store.read(partition, "small") is None


@pytest.mark.parametrize("key", ["a/b", "a\\b", "a#b", "a?b", "k" * 513])
def test_the_memory_store_refuses_keys_that_the_real_service_refuses(key: str) -> None:
    store = MemoryStateStore()
    with pytest.raises(Permanent):
        store.commit(store.shards[0], [insert(key)])


def test_a_row_named_twice_in_one_transaction_is_refused(store: StateStore, partition: str) -> None:
    with pytest.raises(Permanent):
        store.commit(partition, [insert("a"), Write("put", Row("a", {}))])
    assert store.read(partition, "a") is None


# ------------------------------------------------------------------------------- what operations cost, really counted


@pytest.fixture
def counted(new_table: Callable[..., TableClient]) -> Iterator[tuple[TableStateStore, Operations]]:
    operations = Operations()
    store = TableStateStore(new_table(per_call_policies=[operations]), shards=3)
    operations.sent.clear()
    yield store, operations


def test_an_event_costs_one_read_and_one_transaction(counted: tuple[TableStateStore, Operations]) -> None:
    store, operations = counted
    advance = Advance(store, VirtualClock(START), lambda circuit: Rules())
    assert advance(registered()).verdict is Verdict.APPLIED
    assert operations.sent == ["GET", "transaction"]


def test_a_replay_fails_in_its_transaction_at_no_extra_read(counted: tuple[TableStateStore, Operations]) -> None:
    store, operations = counted
    advance = Advance(store, VirtualClock(START), lambda circuit: Rules())
    fact = m.SensorCovered(root=CIRCUIT, table="t", version=1, newest=START, counts={"rows": 1.0})
    advance(fact)
    operations.sent.clear()
    assert advance(fact).duplicate
    assert operations.sent == ["GET", "transaction"]


def test_history_does_not_make_an_event_dearer(counted: tuple[TableStateStore, Operations]) -> None:
    store, operations = counted
    advance = Advance(store, VirtualClock(START), lambda circuit: Rules())
    for version in range(30):
        advance(m.SensorCovered(root=CIRCUIT, table="t", version=version, newest=START, counts={"rows": 1.0}))
    operations.sent.clear()
    advance(registered())
    assert operations.sent == ["GET", "transaction"]


def test_an_idle_sweep_reads_each_shard_once_and_a_nudge_is_one_transaction(
    counted: tuple[TableStateStore, Operations],
) -> None:
    store, operations = counted
    clock = VirtualClock(START)
    relay = Relay(store, SimulatedQueue(clock), clock)
    relay.sweep()
    assert operations.sent == ["GET"] * 3
    advanced = Advance(store, clock, lambda circuit: Rules())(registered())
    operations.sent.clear()
    relay.nudge(advanced.partition, advanced.outbox)
    assert operations.sent == ["transaction"]


def test_a_slot_costs_one_read_and_one_transaction(counted: tuple[TableStateStore, Operations]) -> None:
    store, operations = counted
    slots = Slots(store, VirtualClock(START))
    assert slots.acquire("training", "a", 5, timedelta(hours=1))
    assert operations.sent == ["GET", "transaction"]
