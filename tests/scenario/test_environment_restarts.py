"""Environment releases that ended without reaching the fleet: asked again, tried again, reopened; or why not."""

from __future__ import annotations

import pytest

from shared.advance import Advanced
from shared.domain.machine import Verdict
from shared.domain.messages import RestartRequested
from shared.domain.values import ENVIRONMENT, Pair
from tests.builders import DIRECTOR, circuits, ordered
from tests.scenario.invariants import check_always, check_replay_changes_nothing
from tests.scenario.test_environment_release import NEW, RELEASE, bring_to_tested, serves, world_of
from tests.simulated import ENVIRONMENT_PROMOTION, FAILS, HANGS, TEST_INFERENCE
from tests.world import World

FOUR = circuits(4)


def restart(world: World, how: str, version: str = NEW) -> Advanced:
    order = ordered(RestartRequested, circuit=ENVIRONMENT, release=f"{ENVIRONMENT}:{version}", how=how)
    return world.app.advance(order)


def done(advanced: Advanced) -> None:
    assert advanced.verdict is Verdict.APPLIED, advanced.reason


def to_the_fleet(world: World) -> None:
    world.approve(RELEASE)
    world.approve(RELEASE, DIRECTOR)
    world.run(hours=4)
    assert set(serves(world).values()) == {NEW}, world.story(RELEASE)


def test_an_import_that_broke_is_made_again_and_nobody_is_asked_twice() -> None:
    world = world_of(FOUR)
    world.register_environment(NEW)
    world.run(minutes=5)
    world.fate(ENVIRONMENT_PROMOTION, FAILS)
    world.approve(RELEASE)
    world.run(minutes=30)
    assert world.phase(RELEASE) == "errored"
    assert f"environment {NEW} did not reach the registry" in world.asked(RELEASE).reason
    done(restart(world, "retry"))
    world.run(hours=1)
    assert world.phase(RELEASE) == "awaiting production approval", world.story(RELEASE)
    assert world.asked(RELEASE).asked == 2  # each gate once
    to_the_fleet(world)


def test_a_registry_gate_that_expired_is_asked_again_with_fresh_evidence() -> None:
    world = world_of(FOUR)
    world.register_environment(NEW)
    world.run(hours=30)
    assert world.phase(RELEASE) == "expired"
    first = world.asked(RELEASE).approval
    done(restart(world, "ask again"))
    world.run(minutes=5)
    again = world.asked(RELEASE).approval
    assert first and again and first.id != again.id and again.expires_at > world.now()
    assert again.id in world.approvals.open


def test_a_production_gate_that_expired_is_asked_again_and_what_was_tested_is_not_tested_twice() -> None:
    world = world_of(FOUR)
    bring_to_tested(world)
    tests = len(world.operations.started_for(TEST_INFERENCE))
    world.run(hours=30)
    assert world.phase(RELEASE) == "expired"
    assert {world.update(circuit, NEW).phase for circuit in FOUR} == {"called off"}
    world.bring_to_production(2, FOUR[0])  # what serves is another meanwhile: that pair is tested
    done(restart(world, "ask again"))
    world.run(hours=1)
    assert world.phase(RELEASE) == "awaiting production approval", world.story(RELEASE)
    assert {world.update(circuit, NEW).phase for circuit in FOUR} == {"tested"}
    assert len(world.operations.started_for(TEST_INFERENCE)) == tests + 2  # the model's own test, and its new pair's
    assert (FOUR[0], Pair(model=2, environment=NEW)) in world.platform.tested
    world.commit(circuits=FOUR[:1])
    world.run(hours=1)
    check_replay_changes_nothing(world)


def test_what_its_tests_refused_is_not_tried_again() -> None:
    world = world_of(FOUR)
    world.fate(TEST_INFERENCE, HANGS)
    bring_to_tested(world)
    world.run(hours=13)  # an update's test may take twelve hours
    broken = [circuit for circuit in FOUR if world.update(circuit, NEW).phase == "errored"]
    assert len(broken) == 1 and world.phase(RELEASE) == "failed", world.story(RELEASE)
    refused = restart(world, "retry")
    assert refused.verdict is Verdict.REFUSED and "'retry' is for one that is errored" in refused.reason


def test_a_rejected_release_is_reopened_with_a_reason() -> None:
    world = world_of(FOUR)
    bring_to_tested(world)
    world.answer(RELEASE, decision="reject")
    world.run(minutes=10)
    assert world.phase(RELEASE) == "rejected"
    done(restart(world, "reopen"))
    world.run(hours=1)
    assert world.phase(RELEASE) == "awaiting production approval", world.story(RELEASE)
    to_the_fleet(world)
    check_always(world)


def test_a_release_that_is_restarted_at_once_is_not_called_off_by_what_is_still_on_its_way() -> None:
    """Circuits hear that it ended, and that it goes on, in any order."""
    world = world_of(FOUR)
    bring_to_tested(world)
    world.choose = lambda count: count - 1  # the latest message first
    world.answer(RELEASE, decision="reject")
    done(restart(world, "reopen"))
    world.run(hours=1)
    assert world.phase(RELEASE) == "awaiting production approval", world.story(RELEASE)
    assert {world.update(circuit, NEW).phase for circuit in FOUR} == {"tested"}


@pytest.mark.parametrize(
    ("how", "why"), [("retry", "is for one that is errored"), ("reopen", "rejected"), ("ask again", "expired")]
)
def test_what_is_under_way_is_not_restarted(how: str, why: str) -> None:
    world = world_of(FOUR[:1])
    world.register_environment(NEW)
    world.run(minutes=5)
    refused = restart(world, how)
    assert refused.verdict is Verdict.REFUSED and why in refused.reason


def test_an_older_version_is_not_restarted_behind_a_newer_one() -> None:
    world = world_of(FOUR[:1])
    world.register_environment(NEW)
    world.run(hours=30)
    world.register_environment("1.2.0")
    world.run(minutes=5)
    refused = restart(world, "ask again")
    assert refused.verdict is Verdict.REFUSED and "a newer version, 1.2.0, is known" in refused.reason
