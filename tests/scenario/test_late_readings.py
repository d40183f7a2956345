"""Readings that come after the forecast that should have been made from them: noted, and scored again by policy."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from ml.features import LOOKBACK_HOURS
from shared.domain.ledger import Day
from shared.domain.machine import Verdict
from shared.domain.messages import RollbackRequested
from shared.domain.release import Phase
from shared.domain.rules import Rules
from shared.domain.scoring import READINGS_USED
from shared.ledger import Ledger
from tests.builders import CIRCUIT
from tests.world import Fleet, World

RELEASE = f"{CIRCUIT}:1"


def scored_world(worlds: Callable[..., World], **rules: object) -> World:
    """A circuit whose newest day is scored and done."""
    world: World = worlds(fleet=Fleet(common=Rules.model_validate(rules)))
    world.go_live()
    world.run_until(world.at(1, day=1))
    world.commit()
    world.run(minutes=30)
    assert (today(world).state, today(world).partial) == ("done", False)
    return world


def today(world: World) -> Day:
    day = world.now().date()
    (found,) = Ledger(world.store, world.fleet, world.clock).of_circuit(CIRCUIT, day, day)
    return found


def late(world: World, oldest: datetime) -> None:
    """A commit with readings from a time on, up to now."""
    world.commit(oldest=oldest)
    world.run(minutes=30)


def test_a_forecast_that_late_readings_were_missing_from_is_partial_and_stands(worlds: Callable[..., World]) -> None:
    world = scored_world(worlds)
    late(world, world.at(0) - timedelta(hours=3))
    day = today(world)
    assert (day.state, day.partial, len(day.runs)) == ("done", True, 1)
    (line,) = [line for line in world.history(CIRCUIT, day.published_run) if line["event"] == "ReadingsCameLate"]
    assert line["detail"]["version"] == world.circuit().delta_version
    numbers = Ledger(world.store, world.fleet, world.clock).days(world.now().date(), world.now().date())
    assert numbers["total"]["partial"] == 1


@pytest.mark.parametrize(
    "oldest",
    [timedelta(0), timedelta(hours=1), -READINGS_USED - timedelta(hours=1)],
    ids=["from the origin on", "after the origin", "older than any forecast reads"],
)
def test_readings_that_the_forecast_does_not_read_leave_it_whole(
    worlds: Callable[..., World], oldest: timedelta
) -> None:
    world = scored_world(worlds)
    late(world, world.at(0) + oldest)
    assert today(world).partial is False


def test_where_the_policy_says_so_it_is_made_once_more_with_them(worlds: Callable[..., World]) -> None:
    world = scored_world(worlds, late_readings="score again")
    late(world, world.at(0) - timedelta(hours=3))
    day = today(world)
    assert (day.partial, day.retried, len(day.runs)) == (False, False, 2)
    first, second = day.runs
    assert (first.partial, second.partial) == (True, False)
    assert second.run == day.published_run and second.delta_version == world.circuit().delta_version
    assert second.asked_by == "the policy"
    late(world, world.at(0) - timedelta(hours=2))  # and again, beside what stands then
    assert (today(world).partial, len(today(world).runs)) == (False, 3)


def test_what_the_policy_scores_again_is_no_second_day_of_an_observation(worlds: Callable[..., World]) -> None:
    world: World = worlds(fleet=Fleet(common=Rules(late_readings="score again", verified_scorings=3)))
    world.bring_to_production()
    world.run_until(world.at(1, day=1))
    world.commit()
    world.run(minutes=30)
    late(world, world.at(0) - timedelta(hours=3))
    assert len(today(world).runs) == 2
    assert (world.release(RELEASE).observed, world.phase(RELEASE)) == (1, Phase.OBSERVING)


def test_nothing_is_scored_again_while_nothing_serves(worlds: Callable[..., World]) -> None:
    world = scored_world(worlds, late_readings="score again")
    assert world.order(RollbackRequested).verdict is Verdict.APPLIED
    world.run(minutes=30)
    late(world, world.at(0) - timedelta(hours=3))
    assert (today(world).partial, len(today(world).runs)) == (True, 1)


def test_a_commit_told_again_notes_it_once(worlds: Callable[..., World]) -> None:
    world = scored_world(worlds)
    world.commit(oldest=world.at(0) - timedelta(hours=3), hints=3)
    world.run(minutes=30)
    assert [line["event"] for line in world.history(CIRCUIT, today(world).published_run)].count("ReadingsCameLate") == 1


def test_the_time_that_counts_as_late_is_the_time_that_a_forecast_reads() -> None:
    assert timedelta(hours=LOOKBACK_HOURS) == READINGS_USED
