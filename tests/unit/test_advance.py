"""`advance`: one read and one transaction an event; a duplicate, a conflict and an impossible event are told apart."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import pytest

from shared import records
from shared.adapters.local.state_store import MemoryStateStore
from shared.advance import CONFLICTS_ALLOWED, Advance
from shared.domain import messages as m
from shared.domain.machine import Verdict
from shared.domain.rules import Rules
from shared.errors import Transient
from shared.ports import Row, Write
from tests.builders import CIRCUIT, ENGINEER, START, STRANGER, covered, decided, model_tags, registered
from tests.simulated import VirtualClock


class WatchedStore(MemoryStateStore):
    """Counts operations, and lets something happen just before a commit."""

    def __init__(self) -> None:
        super().__init__(shards=2)
        self.operations: list[str] = []
        self.before_commit: Callable[[], None] = lambda: None

    def read_range(self, partition: str, first: str, last: str, limit: int | None = None) -> list[Row]:
        self.operations.append("read")
        return super().read_range(partition, first, last, limit)

    def read(self, partition: str, key: str) -> Row | None:
        self.operations.append("read")
        return super().read(partition, key)

    def commit(self, partition: str, writes: Sequence[Write]) -> None:
        happening, self.before_commit = self.before_commit, lambda: None
        happening()
        self.operations.append("commit")
        super().commit(partition, writes)


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore()


@pytest.fixture
def advance(store: WatchedStore) -> Advance:
    return Advance(store, VirtualClock(START), lambda circuit: Rules())


def rows(store: WatchedStore) -> dict[str, Row]:
    return {row.key: row for shard in store.shards for row in MemoryStateStore.read_range(store, shard, " ", "~~")}


def described(version: int = 1) -> m.ModelDescribed:
    return m.ModelDescribed(
        root=CIRCUIT,
        item=f"{CIRCUIT}:{version}",
        step=1,
        command_id=f"{CIRCUIT}:{version}.1.DescribeModel.0",
        environment="1.0.0",
        trainer="tess@example.org",
        tags=model_tags(version=version),
    )


def gate(store: WatchedStore) -> tuple[str, str]:
    """The open gate's approval id and digest."""
    (release,) = [records.item_from(row) for key, row in rows(store).items() if "|1|R|" in key]
    approval = release.model_dump()["approval"]
    return approval["id"], approval["digest"]


def test_an_event_costs_one_read_and_one_transaction(store: WatchedStore, advance: Advance) -> None:
    advanced = advance(registered())
    assert advanced.verdict is Verdict.APPLIED
    assert store.operations == ["read", "commit"]


def test_state_history_inbox_and_outbox_are_written_together(store: WatchedStore, advance: Advance) -> None:
    advanced = advance(registered())
    written = rows(store)
    assert {f"{CIRCUIT}|0", f"{CIRCUIT}|1|R|{CIRCUIT}:1", f"{CIRCUIT}|9|{CIRCUIT}:1|000001"} <= written.keys()
    assert records.inbox_key(registered()) in written
    (sent,) = advanced.outbox
    assert isinstance(records.command_from(written[sent.key]), m.DescribeModel)


def test_a_duplicate_is_known_by_its_inbox_row_and_changes_nothing(store: WatchedStore, advance: Advance) -> None:
    advance(covered(START))
    before = rows(store)
    store.operations.clear()
    again = advance(covered(START))
    assert (again.verdict, again.duplicate, again.outbox) == (Verdict.IGNORED, True, ())
    assert store.operations == ["read", "commit"], "a duplicate fails in its transaction and costs no extra read"
    assert rows(store) == before


def test_an_impossible_event_is_refused_and_says_why(store: WatchedStore, advance: Advance) -> None:
    refused = advance(m.EtlDue(root=CIRCUIT, slot=START))
    assert (refused.verdict, refused.code) == (Verdict.REFUSED, "impossible")
    assert "EtlDue" in refused.reason
    assert not rows(store)


def test_an_answer_told_again_is_a_duplicate_although_its_gate_is_closed(store: WatchedStore, advance: Advance) -> None:
    advance(registered())
    advance(described())
    answer = decided(*gate(store))
    assert advance(answer).verdict is Verdict.APPLIED
    assert advance(answer).duplicate
    other = advance(decided(answer.approval, answer.digest, STRANGER))
    assert (other.verdict, other.code) == (Verdict.REFUSED, "closed")


@pytest.mark.parametrize(
    ("digest", "by", "code"), [("another", ENGINEER, "changed"), ("", STRANGER, "forbidden"), ("", ENGINEER, "")]
)
def test_a_refused_answer_says_which_kind_of_no_it_is(
    store: WatchedStore, advance: Advance, digest: str, by: m.Person, code: str
) -> None:
    advance(registered())
    advance(described())
    approval, shown = gate(store)
    assert advance(decided(approval, digest or shown, by)).code == code


def test_a_late_outcome_changes_nothing(store: WatchedStore, advance: Advance) -> None:
    advance(registered())
    advance(described())
    before = rows(store)
    late = advance(described().model_copy(update={"command_id": "another look"}))
    assert late.verdict is Verdict.IGNORED and not late.duplicate
    assert rows(store) == before


def test_a_conflict_loads_and_decides_again(store: WatchedStore, advance: Advance) -> None:
    """Version 2 is described between the read and the commit of version 1: version 1 is then the older one."""
    advance(registered(version=2))
    store.before_commit = lambda: None if advance(described(version=2)).history else pytest.fail()
    advanced = advance(registered(version=1))
    assert advanced.verdict is Verdict.APPLIED
    assert [(line.event, line.after) for line in advanced.history] == [("OlderModelRegistered", "superseded")]


def test_the_same_fact_told_to_two_workers_at_once_has_one_effect(store: WatchedStore, advance: Advance) -> None:
    store.before_commit = lambda: None if advance(covered(START)).verdict is Verdict.APPLIED else pytest.fail()
    assert advance(covered(START)).duplicate
    assert len([key for key in rows(store) if key.startswith(f"{CIRCUIT}|8|Q|")]) == 1


def test_a_circuit_that_everybody_wants_asks_the_caller_to_come_again(store: WatchedStore, advance: Advance) -> None:
    versions = iter(range(1, CONFLICTS_ALLOWED + 2))

    def somebody_is_faster() -> None:
        advance(covered(START, version=next(versions)))
        store.before_commit = somebody_is_faster

    store.before_commit = somebody_is_faster
    with pytest.raises(Transient, match=f"{CONFLICTS_ALLOWED} conflicts"):
        advance(registered())


def test_each_transition_is_logged_once(advance: Advance, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "fleet.advance"):
        advance(registered())
        advance(registered())
    assert [record.getMessage() for record in caplog.records] == [f"{CIRCUIT}:1 ModelRegistered: - -> registered"]


def test_the_lake_and_the_circuits_do_not_share_a_root(store: WatchedStore, advance: Advance) -> None:
    advance(m.EtlDue(root="lake", slot=START))
    advance(registered())
    assert {key.split("|")[0] for key in rows(store) if key.endswith("|0")} == {"lake", CIRCUIT}
