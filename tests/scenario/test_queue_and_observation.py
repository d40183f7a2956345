"""What the policy says of a newer version while an older one is on its way, and of how long one is observed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from shared.domain import messages as m
from shared.domain.release import Phase
from shared.domain.rules import Rules
from tests.builders import CIRCUIT, model_tags
from tests.simulated import TEST_INFERENCE, UNUSABLE
from tests.world import Fleet, World

FIRST, SECOND, THIRD = (f"{CIRCUIT}:{version}" for version in (1, 2, 3))


def register_all(world: World, *versions: int) -> None:
    for version in versions:
        world.register(version=version)
        world.run(minutes=1)


@pytest.fixture
def queueing(worlds: Callable[..., World]) -> World:
    """A circuit whose versions queue; three were registered."""
    world: World = worlds(fleet=Fleet(common=Rules(supersede="queue")))
    register_all(world, 1, 2, 3)
    return world


def phases(world: World) -> list[str]:
    return [world.phase(release) for release in (FIRST, SECOND, THIRD)]


def test_versions_that_queue_go_their_way_one_after_the_other(queueing: World) -> None:
    world = queueing
    assert phases(world) == [Phase.AWAITING_REGISTRY_APPROVAL, Phase.QUEUED, Phase.QUEUED]
    assert world.release(SECOND).reason == f"queues behind {FIRST}"
    assert world.release(THIRD).reason == f"queues behind {SECOND}"
    world.approve(FIRST)
    world.run(minutes=30)
    world.approve(FIRST)
    world.run(minutes=30)
    assert phases(world) == [Phase.OBSERVING, Phase.AWAITING_REGISTRY_APPROVAL, Phase.QUEUED]
    scored(world)
    for release in (SECOND, THIRD):
        world.approve(release)
        world.run(minutes=30)
        world.approve(release)
        world.run(minutes=30)
        scored(world)
    assert phases(world) == [Phase.LIVE] * 3, world.story(THIRD)


@pytest.mark.parametrize("ends", ["rejected", "cancelled", "expired", "failed"])
def test_a_version_that_ends_lets_the_next_in_the_queue_on(queueing: World, ends: str) -> None:
    world = queueing
    if ends == "rejected":
        world.answer(FIRST, decision="reject")
    elif ends == "cancelled":
        world.order(m.CancelRequested, release=FIRST)
    elif ends == "expired":
        world.run(hours=25)
    else:
        world.fate(TEST_INFERENCE, UNUSABLE)
        world.approve(FIRST)
        world.run(minutes=30)
    world.run(minutes=5)
    assert phases(world) == [ends, Phase.AWAITING_REGISTRY_APPROVAL, Phase.QUEUED]


def test_one_that_leaves_the_queue_has_its_tags_read_again(queueing: World) -> None:
    world = queueing
    world.platform.models[CIRCUIT, 2] = model_tags(version=2, mae="0.09")
    world.order(m.CancelRequested, release=FIRST)
    world.run(minutes=5)
    approval = world.release(SECOND).approval
    assert approval is not None and approval.evidence["candidate"]["metrics"]["mae"] == 0.09


def test_a_queued_version_is_cancelled_and_reopened_into_the_queue(queueing: World) -> None:
    world = queueing
    world.order(m.CancelRequested, release=THIRD)
    world.order(m.RestartRequested, release=THIRD, how="reopen")
    world.run(minutes=5)
    assert world.phase(THIRD) == Phase.QUEUED
    world.order(m.CancelRequested, release=SECOND)
    world.run(minutes=5)
    assert phases(world) == [Phase.AWAITING_REGISTRY_APPROVAL, Phase.CANCELLED, Phase.QUEUED]


def test_a_queue_that_nobody_serves_ends_aloud(queueing: World) -> None:
    world = queueing
    for _ in range(40):  # somebody keeps the first one waiting
        world.run(days=1)
        if world.phase(FIRST) == Phase.EXPIRED:
            world.order(m.RestartRequested, release=FIRST, how="ask again")
    assert Phase.QUEUED not in phases(world)


# --------------------------------------------------------------------------------------------------------- observation


def observed_world(worlds: Callable[..., World], **rules: object) -> World:
    world: World = worlds(fleet=Fleet(common=Rules.model_validate(rules)))
    world.bring_to_production()
    return world


def scored(world: World) -> None:
    """The next day's readings come, and the day is scored."""
    world.run_until(world.at(1, day=1))
    world.commit()
    world.run(minutes=30)


def test_a_release_is_observed_for_as_many_scorings_as_the_policy_asks_and_nobody_is_alarmed(
    worlds: Callable[..., World],
) -> None:
    world = observed_world(worlds, verified_scorings=3)
    for count in (1, 2, 3):
        assert world.phase(FIRST) == Phase.OBSERVING
        scored(world)
        assert world.release(FIRST).observed == count
    assert world.phase(FIRST) == Phase.LIVE
    assert world.topic.alerts() == {}


def test_a_configured_time_ends_the_observation_where_something_was_verified(worlds: Callable[..., World]) -> None:
    world = observed_world(worlds, verified_scorings=30, observation_time=timedelta(hours=40))
    scored(world)
    assert world.phase(FIRST) == Phase.OBSERVING
    world.run(hours=24)
    assert world.phase(FIRST) == Phase.LIVE
    assert world.events(FIRST)[-1] == "ObservationTimeOver"
    assert world.circuit().verified == world.circuit().serving


def test_time_alone_verifies_nothing(worlds: Callable[..., World]) -> None:
    world = observed_world(worlds, verified_scorings=30, observation_time=timedelta(hours=40))
    world.run(hours=60)
    assert world.phase(FIRST) == Phase.OBSERVING and world.circuit().verified is None
    assert world.topic.notices(f"observation:{CIRCUIT}")[:1] == ["raised"]
    scored(world)
    assert (world.phase(FIRST), world.events(FIRST)[-1]) == (Phase.LIVE, "ObservationPassed")
    assert world.topic.notices(f"observation:{CIRCUIT}")[-1] == "closed"
