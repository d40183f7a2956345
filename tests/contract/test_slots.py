"""Slots: never more holders than the limit, whoever asks at the same time; a lease that ran out frees its slot."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from azure.data.tables import TableClient

from shared.adapters.azure.state_store import TableStateStore
from shared.adapters.local.state_store import MemoryStateStore
from shared.ports import StateStore
from shared.slots import INVOCATION, TRAINING, Slots
from tests.builders import START
from tests.scenario.counted import CountedReads
from tests.simulated import VirtualClock

HOUR = timedelta(hours=1)


@pytest.fixture(params=["azure tables", "memory"])
def store(request: pytest.FixtureRequest) -> StateStore:
    if request.param == "memory":
        return MemoryStateStore()
    table: Callable[[], TableClient] = request.getfixturevalue("new_table")
    return TableStateStore(table(), shards=1)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


@pytest.fixture
def slots(store: StateStore, clock: VirtualClock) -> Slots:
    return Slots(store, clock)


def test_the_limit_is_held_and_a_free_slot_is_taken_again(slots: Slots) -> None:
    assert [slots.acquire(TRAINING, holder, 2, HOUR) for holder in ("a", "b", "c")] == [True, True, False]
    assert slots.holders(TRAINING) == ["a", "b"]
    slots.release(TRAINING, "a")
    assert slots.acquire(TRAINING, "c", 2, HOUR)
    assert slots.holders(TRAINING) == ["b", "c"]


def test_who_holds_a_slot_keeps_it_when_asking_again(slots: Slots, clock: VirtualClock) -> None:
    slots.acquire(TRAINING, "a", 1, HOUR)
    clock.advance_to(START + HOUR / 2)
    assert slots.acquire(TRAINING, "a", 1, HOUR)
    clock.advance_to(START + HOUR)
    assert slots.holders(TRAINING) == ["a"], "asking again renews the lease"


def test_a_lease_that_ran_out_frees_its_slot(slots: Slots, clock: VirtualClock) -> None:
    slots.acquire(TRAINING, "a", 1, HOUR)
    clock.advance_to(START + HOUR - timedelta(seconds=1))
    assert not slots.acquire(TRAINING, "b", 1, HOUR)
    clock.advance_to(START + HOUR)
    assert slots.acquire(TRAINING, "b", 1, HOUR)
    assert slots.holders(TRAINING) == ["b"]


def test_kinds_do_not_share_slots(slots: Slots) -> None:
    assert slots.acquire(TRAINING, "a", 1, HOUR)
    assert slots.acquire(INVOCATION, "b", 1, HOUR)


def test_giving_back_what_is_not_held_changes_nothing(slots: Slots) -> None:
    slots.release(TRAINING, "a")
    slots.acquire(TRAINING, "b", 1, HOUR)
    slots.release(TRAINING, "a")
    assert slots.holders(TRAINING) == ["b"]


def test_a_limit_that_was_lowered_lets_nobody_in_until_enough_have_left(slots: Slots) -> None:
    for holder in ("a", "b", "c"):
        slots.acquire(TRAINING, holder, 3, HOUR)
    slots.release(TRAINING, "a")
    assert not slots.acquire(TRAINING, "d", 2, HOUR)
    slots.release(TRAINING, "b")
    assert slots.acquire(TRAINING, "d", 2, HOUR)


def test_a_slot_is_kept_while_it_is_held_and_taken_again_when_it_ran_out(slots: Slots, clock: VirtualClock) -> None:
    assert slots.keep(TRAINING, "a", 1, HOUR), "there was room"
    clock.advance_to(START + HOUR / 2)
    assert slots.keep(TRAINING, "a", 1, HOUR)
    clock.advance_to(START + HOUR)
    assert slots.holders(TRAINING) == ["a"]
    clock.advance_to(START + 3 * HOUR)
    assert slots.acquire(TRAINING, "b", 1, HOUR)
    assert not slots.keep(TRAINING, "a", 1, HOUR), "it ran out, and somebody else has it"
    assert slots.holders(TRAINING) == ["b"]


def test_a_thousand_may_hold_slots_and_keeping_one_reads_one_row(clock: VirtualClock) -> None:
    store = CountedReads(MemoryStateStore())
    slots = Slots(store, clock)
    holders = [f"P{number:03d}_C001@2026-01-31.scoring.{number}" for number in range(1000)]
    assert all(slots.acquire(INVOCATION, holder, 1000, HOUR) for holder in holders)
    assert not slots.acquire(INVOCATION, "one more", 1000, HOUR)
    before = store.rows
    assert slots.keep(INVOCATION, holders[500], 1000, HOUR)
    assert store.rows - before == 1
    clock.advance_to(START + HOUR)
    assert slots.holders(INVOCATION) == []
    assert all(slots.acquire(INVOCATION, f"next {number}", 1000, HOUR) for number in range(20))
    assert len(store.read_range("slots", " ", "~")) == 21, "leases that ran out leave no rows"


def test_many_who_ask_at_once_never_exceed_the_limit(store: StateStore, clock: VirtualClock) -> None:
    def ask(holder: int) -> bool:
        return Slots(store, clock).acquire(TRAINING, f"h{holder}", 3, HOUR)

    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(ask, range(12)))
    assert sum(taken) == 3
    assert len(Slots(store, clock).holders(TRAINING)) == 3
