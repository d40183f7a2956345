"""Retention: what is over leaves the state after its time, is found in the archive, and nothing is lost on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from shared import records
from shared.archive import Archive
from shared.domain import messages as m
from shared.domain.machine import Verdict
from shared.domain.release import RELEASE
from shared.domain.retention import RetentionRules
from shared.domain.scoring import SCORING
from shared.queries import Queries
from tests.builders import CIRCUIT, ENGINEER, registered
from tests.scenario.counted import CountedReads
from tests.simulated import Killed
from tests.world import Fleet, World

SHORT = RetentionRules(
    inbox_days=30,
    lookups_days=30,
    dead_letters_days=7,
    fan_outs_days=1,
    checks_days=14,
    ledger_days=45,
    audit_days=45,
    history_days=45,
)
FIRST, SECOND = f"{CIRCUIT}:1", f"{CIRCUIT}:2"


def a_day(world: World) -> None:
    """Readings come and are scored, production is read, and what was kept for its time goes."""
    world.run_until(world.at(0, 5, day=1))
    world.commit()
    world.app.reconcile_production()
    world.app.check_daily_scoring()
    world.run(minutes=30)
    world.app.retain()


def live(world: World, version: int) -> None:
    """A version goes live with the next day's readings."""
    release = world.bring_to_production(version)
    a_day(world)
    assert world.phase(release) == "live", world.story(release)


def days(world: World, count: int) -> None:
    for _ in range(count):
        a_day(world)


def kinds_of_rows(world: World) -> Counter[str]:
    """How many rows there are of each kind of key, in all partitions."""
    found: Counter[str] = Counter()
    for partition in (*world.store.shards, records.JOBS, records.STARTS, records.GATE_RUNS, records.DEAD):
        for row in world.store.read_range(partition, " ", "~~"):
            parts = row.key.split("|")
            found[parts[0] if parts[0][0] in "$!" else f"{partition if len(parts) < 2 else parts[1]}"] += 1
    return found


@pytest.fixture
def world() -> World:
    return World(Fleet(retention=SHORT))


def test_over_months_the_state_does_not_grow(world: World) -> None:
    world.go_live(1)
    sizes = []
    for version in (2, 3, 4, 5):
        days(world, 48)
        world.bring_to_ready_for_production(version)
        days(world, 2)
        assert world.phase(f"{CIRCUIT}:{version}") == "expired"
        sizes.append(kinds_of_rows(world))
    assert sizes[-1] == sizes[-2] == sizes[-3], (sizes[-1] - sizes[-2], sizes[-2] - sizes[-1])


def test_what_a_release_came_to_is_answered_from_the_archive_and_only_when_asked(world: World) -> None:
    world.go_live(1)
    served = world.now()
    told = world.queries.history(CIRCUIT, RELEASE, FIRST)
    release = world.queries.release(FIRST)
    answered = world.queries.as_of(CIRCUIT, served)
    assert answered and answered["scorings_of_the_day"]
    for version in range(2, 14):  # so many that the first is none that a rollback may go back to any more
        days(world, 3)
        live(world, version)
    days(world, 60)
    assert FIRST not in world.items(CIRCUIT) and world.history(CIRCUIT, FIRST) == []
    assert not world.documents.read_of, "nothing has looked into the archive yet"
    world.queries.release(f"{CIRCUIT}:13")
    world.queries.history_page(CIRCUIT, RELEASE, f"{CIRCUIT}:13", 50)
    assert not world.documents.read_of
    assert world.queries.release(FIRST) == release
    assert world.queries.history(CIRCUIT, RELEASE, FIRST) == told
    page = world.queries.history_page(CIRCUIT, RELEASE, FIRST, 5)
    rest = world.queries.history_page(CIRCUIT, RELEASE, FIRST, 200, page.continuation)
    assert [*page.entries, *rest.entries] == told
    assert world.queries.as_of(CIRCUIT, served) == answered


def test_what_serves_and_what_a_rollback_goes_back_to_stays_however_old_it_is(world: World) -> None:
    world.go_live(1)
    live(world, 2)
    days(world, 50)
    assert {FIRST, SECOND} <= world.items(CIRCUIT).keys()
    assert world.order(m.RollbackRequested).verdict is Verdict.APPLIED
    days(world, 1)
    assert (world.phase(SECOND), str(world.circuit().serving)) == ("rolled back", str(world.release(FIRST).pair))


def test_an_ended_release_that_was_begun_again_is_kept_from_its_new_end_on(world: World) -> None:
    world.bring_to_ready_for_production(1)
    world.run(hours=25)
    assert world.phase(FIRST) == "expired"
    days(world, 40)
    again = m.RestartRequested(
        root=CIRCUIT, person=ENGINEER, reason="we were away", request="again-1", release=FIRST, how="ask again"
    )
    assert world.app.advance(again).verdict is Verdict.APPLIED
    days(world, 10)
    assert world.phase(FIRST) == "expired", "its first end is more than 45 days ago, its second is not"
    days(world, 45)
    assert FIRST not in world.items(CIRCUIT)
    assert [line["event"] for line in world.queries.history(CIRCUIT, RELEASE, FIRST)].count("DeadlinePassed") == 2


def aged(count: int = 4) -> World:
    """A world in which everything of some days, and three releases, is due to go at once."""
    world = World(Fleet(retention=SHORT))
    for version in (1, 2, 3):
        world.bring_to_ready_for_production(version)
    for _ in range(count):
        world.run_until(world.at(0, 5, day=1))
        world.commit()
        world.run(minutes=30)
    world.run(days=70)
    return world


def archived(world: World) -> dict[str, list[tuple[str, object]]]:
    archive = Archive(world.documents)
    paths = world.documents.names("archive/")
    return {path: [(row.key, row.body) for row in archive.rows(path)] for path in paths}


def test_retention_that_is_killed_anywhere_loses_nothing_and_ends_as_if_it_had_not_been() -> None:
    whole = aged()
    assert whole.app.retain() > 20
    expected_rows, expected = kinds_of_rows(whole), archived(whole)
    assert expected and whole.app.retain() == 0
    world, killed = aged(), 0
    while True:
        begun = world.effects.points
        last = begun + 3 * (killed + 1)

        def interrupt(point: str, last: int = last) -> None:
            if world.effects.points == last:
                raise Killed

        world.effects.interrupt = interrupt
        try:
            world.app.retain()
            break
        except Killed:
            killed += 1
            world.restart()
    assert killed > 3
    assert kinds_of_rows(world) == expected_rows
    assert archived(world) == expected


def test_an_item_that_changes_while_it_is_archived_stays(world: World) -> None:
    world.bring_to_ready_for_production(1)
    world.run(days=60)
    again = m.RestartRequested(
        root=CIRCUIT, person=ENGINEER, reason="we were away", request="again-1", release=FIRST, how="ask again"
    )

    def interrupt(point: str) -> None:
        if point == "after SimulatedDocuments.append":
            world.effects.interrupt = lambda point: None
            world.app.advance(again)

    world.effects.interrupt = interrupt
    world.app.retain()
    world.run(minutes=5)
    assert world.phase(FIRST) == "awaiting production approval"
    assert world.history(CIRCUIT, FIRST)[0]["event"] == "ModelRegistered"


def test_an_idle_run_reads_a_range_for_each_thing_and_no_history(worlds: Callable[..., World]) -> None:
    world: World = worlds()
    live(world, 1)
    counted = CountedReads(world.store)
    world.store = counted
    world.restart()
    assert world.app.retain() == 0
    first = (counted.reads, counted.rows)
    for version in (2, 3, 4):
        live(world, version)
    before = (counted.reads, counted.rows)
    assert world.app.retain() == 0
    assert (counted.reads - before[0], counted.rows - before[1]) == first
    assert first == (len(world.store.shards) * 6 + 4, 0)


def test_a_fact_that_comes_once_more_after_its_release_was_archived_begins_nothing(world: World) -> None:
    world.go_live(1)
    live(world, 2)
    days(world, 50)
    assert world.app.advance(registered(CIRCUIT, 2)).verdict is Verdict.IGNORED


def test_a_dead_letter_goes_with_its_body_to_the_archive(world: World) -> None:
    letter = world.app.dead_letters.record("work", "the platform did not answer", {"work": "x" * 20_000})
    world.run(days=6)
    world.app.retain()
    assert len(world.dead_letters()) == 1
    world.run(days=3)
    assert world.app.retain() == 1 and not world.dead_letters()
    (kept,) = Archive(world.documents).rows(f"archive/dead-letters/{world.at(0, day=-9):%Y-%m}.jsonl")
    assert kept.key == letter and world.documents.read(kept.body["document"])


def test_the_ledger_goes_back_as_far_as_its_runs_do(world: World) -> None:
    world.go_live(1)
    first: datetime = world.now()
    days(world, 60)
    left = world.now().date() - timedelta(days=SHORT.ledger_days)
    queries, shard = world.queries, world.store.shard_of(CIRCUIT)
    for first_key, last_key in (
        records.days_span(first.date(), left - timedelta(days=1)),
        records.standing_span(CIRCUIT, first.date(), left - timedelta(days=1)),
        records.made_span(CIRCUIT, 1, first.date(), left - timedelta(days=1)),
    ):
        assert world.store.read_range(shard, first_key, last_key) == []
    kept = world.store.read_range(shard, *records.days_span(left, world.now().date()))
    assert len(kept) >= SHORT.ledger_days
    (run,) = Queries(world.store, Archive(world.documents)).as_of(CIRCUIT, first)["scorings_of_the_day"]  # type: ignore[index]
    assert queries.history(CIRCUIT, SCORING, run["id"])[-1]["after"] == "scored"
