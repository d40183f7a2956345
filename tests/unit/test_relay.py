"""The relay: what is put out reaches the queue at least once, also across a crash; what is due not before its time."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from shared import records
from shared.adapters.local.state_store import MemoryStateStore
from shared.domain import messages as m
from shared.domain.machine import Decision, Due, Verdict
from shared.errors import Transient
from shared.ports import Row, Write
from shared.relay import BATCH, Relay, Work
from tests.builders import CIRCUIT, START, registered
from tests.simulated import SimulatedQueue, VirtualClock
from tests.world import World


class Bench:
    """A relay over one partition of a store."""

    def __init__(self) -> None:
        self.clock = VirtualClock(START)
        self.store = MemoryStateStore(shards=2)
        self.queue = SimulatedQueue(self.clock)
        self.relay = Relay(self.store, self.queue, self.clock)
        self.partition = self.store.shard_of(CIRCUIT)

    def put_out(self, count: int = 1) -> list[Row]:
        rows = records.outbox([cover(n) for n in range(count)], self.clock.now())
        for start in range(0, len(rows), BATCH):
            self.store.commit(self.partition, [Write("insert", row) for row in rows[start : start + BATCH]])
        return rows

    def put_due(self, at: datetime, command: m.Command) -> None:
        loaded = records.load(CIRCUIT, self.store.read_range(self.partition, *records.root_range(CIRCUIT)))
        decision = Decision(Verdict.APPLIED, due=[Due(at, command)])
        fact = registered(version=len(self.left()) + 1)
        self.store.commit(self.partition, records.writes(loaded, decision, fact, self.clock.now()))

    def sent(self) -> list[str]:
        return [Work.from_json(message.text).command.id for message in self.queue.messages]

    def left(self) -> list[str]:
        return [row.key for row in self.store.read_range(self.partition, "!", '"')]


def cover(version: int) -> m.CoverCircuit:
    return m.CoverCircuit(
        root=CIRCUIT, item=CIRCUIT, step=0, table="t", version=version, newest=START, counts={"rows": 1.0}
    )


def look() -> m.LookAtOperation:
    fields = {"purpose": "testing", "reference": "job-1", "output_uri": "", "looks": 0, "expected": {}}
    return m.LookAtOperation(root=CIRCUIT, item=f"{CIRCUIT}:1", step=5, **fields)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_nudge_sends_what_a_commit_put_out_and_clears_it(bench: Bench) -> None:
    rows = bench.put_out(3)
    bench.relay.nudge(bench.partition, rows)
    assert bench.sent() == [cover(n).id for n in range(3)]
    assert bench.left() == []


def test_a_sweep_finds_what_a_crash_left_in_any_shard(bench: Bench) -> None:
    bench.put_out(2)
    (other,) = [shard for shard in bench.store.shards if shard != bench.partition]
    bench.store.commit(other, [Write("insert", row) for row in records.outbox([cover(7)], START)])
    assert bench.relay.sweep() == 3
    assert sorted(bench.sent()) == sorted(cover(n).id for n in (0, 1, 7))
    assert bench.relay.sweep() == 0


def test_more_than_one_transaction_is_swept_in_one_go(bench: Bench) -> None:
    bench.put_out(2 * BATCH + 1)
    assert bench.relay.sweep() == 2 * BATCH + 1
    assert len(set(bench.sent())) == 2 * BATCH + 1
    assert bench.left() == []


def test_a_queue_that_does_not_answer_loses_nothing(bench: Bench) -> None:
    rows = bench.put_out(2)
    bench.queue.down = True
    with pytest.raises(Transient):
        bench.relay.nudge(bench.partition, rows)
    bench.queue.down = False
    bench.relay.sweep()
    assert bench.sent() == [cover(0).id, cover(1).id]


def test_a_crash_between_send_and_remove_sends_twice_and_loses_nothing(bench: Bench) -> None:
    rows = bench.put_out(2)
    for row in rows:
        bench.queue.send(Work(records.command_from(row)).to_json())
    bench.relay.sweep()
    assert sorted(bench.sent()) == sorted([cover(0).id, cover(1).id] * 2)
    assert bench.left() == []


def test_rows_that_another_relay_removed_meanwhile_do_not_keep_the_others(bench: Bench) -> None:
    rows = bench.put_out(3)
    bench.store.commit(bench.partition, [Write("delete", Row(rows[1].key, {}))])
    bench.relay.nudge(bench.partition, rows)
    assert bench.left() == []


def test_what_is_due_is_sent_at_its_time_and_not_before(bench: Bench) -> None:
    bench.put_due(START + timedelta(minutes=5), look())
    bench.clock.advance_to(START + timedelta(minutes=4, seconds=59))
    assert bench.relay.sweep() == 0
    bench.clock.advance_to(START + timedelta(minutes=5))
    assert bench.relay.sweep() == 1
    assert bench.sent() == [look().id]


def test_a_look_that_fell_due_says_that_the_reconciler_made_it(bench: Bench) -> None:
    bench.put_due(START, look())
    bench.relay.sweep()
    bench.relay.nudge(bench.partition, bench.put_out())
    noticed = [Work.from_json(message.text).noticed_by for message in bench.queue.messages]
    assert noticed == ["reconciler", "command"]


def test_a_command_that_nobody_understands_keeps_no_other_back_and_ends_as_a_dead_letter() -> None:
    """An older row may wait while a newer version, which dropped or changed its command, is deployed."""
    world = World()
    world.app.advance(registered())
    outdated = Write("insert", Row(f"!0|{records.stamp(START)}|outdated", {"command": "LaunchRocket", "root": CIRCUIT}))
    world.store.commit(world.store.shard_of(CIRCUIT), [outdated])
    world.run(hours=2)
    assert "ModelDescribed" not in world.events(f"{CIRCUIT}:1"), "there is no such model"
    assert "TagsNeverCame" in world.events(f"{CIRCUIT}:1")
    (letter,) = world.dead_letters()
    assert "unknown command 'LaunchRocket'" in letter.body["reason"]


def test_work_survives_its_trip() -> None:
    work = Work(look(), attempt=3, noticed_by="event")
    assert Work.from_json(work.to_json()) == work


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "{}",
        "[]",
        "null",
        '{"command": {"command": "LaunchRocket"}, "attempt": 0, "noticed_by": "event"}',
        '{"command": {"command": "PromoteModel"}, "attempt": 0, "noticed_by": "event"}',
        '{"command": 7, "attempt": 0, "noticed_by": "event"}',
    ],
)
def test_what_is_no_work_is_refused_as_such(text: str) -> None:
    with pytest.raises(ValueError):
        Work.from_json(text)


def test_a_decision_stands_although_the_queue_is_down_and_goes_on_with_the_sweep() -> None:
    world = World()
    world.queue.down = True
    assert world.app.advance(registered()).verdict is Verdict.APPLIED
    world.queue.down = False
    world.app.sweep()
    assert [type(Work.from_json(message.text).command) for message in world.queue.messages] == [m.DescribeModel]
