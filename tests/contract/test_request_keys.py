"""Request keys on both state stores: once under a key, refused for another request, known for a day and then gone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from azure.data.tables import TableClient

from shared import records
from shared.adapters.azure.state_store import TableStateStore
from shared.adapters.local.state_store import MemoryStateStore
from shared.errors import Transient
from shared.ports import StateStore
from shared.request_keys import KeyUsed, RequestKeys, Told, scoped
from tests.simulated import VirtualClock

DAY = timedelta(days=1)
BEFORE_MIDNIGHT = datetime(2026, 1, 31, 23, 30, tzinfo=UTC)


@pytest.fixture(params=["azure tables", "memory"])
def store(request: pytest.FixtureRequest) -> StateStore:
    if request.param == "memory":
        return MemoryStateStore()
    table: Callable[[], TableClient] = request.getfixturevalue("new_table")
    return TableStateStore(table(), shards=1)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(BEFORE_MIDNIGHT)


@pytest.fixture
def keys(store: StateStore, clock: VirtualClock) -> RequestKeys:
    return RequestKeys(store, clock)


class Change:
    """A change that counts how often it is made."""

    def __init__(self, status: int = 200, text: str = "done") -> None:
        self.made = 0
        self.told = Told(status, text)

    def __call__(self) -> Told:
        self.made += 1
        return self.told


def test_a_request_sent_again_is_not_made_again_and_is_answered_as_before(keys: RequestKeys) -> None:
    change = Change(202, '{"run": "ä\\n"}')
    first = keys.once("key", "hold P001_C001", change)
    again = keys.once("key", "hold P001_C001", change)
    assert (change.made, first.repeated, again.repeated) == (1, False, True)
    assert (again.status, again.text) == (first.status, first.text) == (202, '{"run": "ä\\n"}')


def test_a_key_that_came_with_another_request_is_refused_and_nothing_is_made(keys: RequestKeys) -> None:
    other = Change()
    keys.once("key", "hold P001_C001", Change())
    with pytest.raises(KeyUsed):
        keys.once("key", "hold P001_C002", other)
    assert other.made == 0


def test_the_same_key_of_two_people_is_two_keys() -> None:
    assert scoped("erik", "monday-round") != scoped("maria", "monday-round")
    assert scoped("erik", "monday-round") == scoped("erik", "monday-round")
    assert scoped("erik", "monday-round").startswith("monday-round.")


def test_what_broke_is_made_when_it_is_sent_again(keys: RequestKeys) -> None:
    change = Change()

    def broken() -> Told:
        raise Transient("the store does not answer")

    with pytest.raises(Transient):
        keys.once("key", "hold", broken)
    assert keys.once("key", "hold", change).repeated is False
    assert change.made == 1


def test_what_was_taken_in_part_is_made_when_it_is_sent_again(keys: RequestKeys) -> None:
    change = Change(207)
    assert [keys.once("key", "batch", change).repeated for _ in range(2)] == [False, False]


def test_an_answer_too_long_to_keep_makes_the_change_answer_for_itself(keys: RequestKeys) -> None:
    change = Change(text="ä" * 20_000)
    assert keys.once("key", "batch", change) == keys.once("key", "batch", change)
    assert change.made == 2


def test_a_key_is_known_over_midnight_and_for_a_day_and_may_then_name_another_request(
    keys: RequestKeys, clock: VirtualClock
) -> None:
    change = Change()
    keys.once("key", "hold", change)
    clock.advance_to(BEFORE_MIDNIGHT + DAY)
    assert keys.once("key", "hold", change).repeated is True
    clock.advance_to(BEFORE_MIDNIGHT + 2 * DAY)
    assert keys.once("key", "resume", change).repeated is False


def test_old_keys_go_when_new_ones_come(store: StateStore, keys: RequestKeys, clock: VirtualClock) -> None:
    for number in range(7):
        keys.once(f"old-{number}", "hold", Change())
    clock.advance_to(BEFORE_MIDNIGHT + 2 * DAY)
    for number in range(3):
        keys.once(f"new-{number}", "hold", Change())
    left = [row.key for row in store.read_range(records.REQUESTS, "0", "~")]
    assert [key.partition("|")[2] for key in left] == ["new-0", "new-1", "new-2"]
