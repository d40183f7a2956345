"""Circuits that leave the configuration: nothing new is released, what serves goes on until a person retires it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.domain import messages as m
from shared.domain.machine import Verdict
from shared.domain.release import Phase
from shared.domain.rules import Rules
from shared.domain.values import OperationState, Stage
from tests.builders import CIRCUIT, ENGINEER, circuits
from tests.simulated import REMOVAL, TEST_INFERENCE, Fate
from tests.world import Fleet, World

BOTH = circuits(2)
STAYS = BOTH[1]
FIRST, SECOND = f"{CIRCUIT}:1", f"{CIRCUIT}:2"
DEPARTURE = f"{CIRCUIT}!departure.1"
LEFT = f"departed:{CIRCUIT}"


@pytest.fixture
def world(worlds: Callable[..., World]) -> World:
    """Two circuits, of which the first is about to leave."""
    made: World = worlds(fleet=Fleet(BOTH))
    return made


def leave(world: World) -> None:
    """The circuit leaves the configuration, and the reconciler looks."""
    world.configure((STAYS,))
    world.app.reconcile_production()
    world.run(minutes=5)


def retire(world: World) -> Verdict:
    return world.order(m.RetireRequested, reason="the pump was dismantled").verdict


@pytest.mark.parametrize(
    "phase",
    [Phase.AWAITING_REGISTRY_APPROVAL, Phase.TESTING, Phase.AWAITING_PRODUCTION_APPROVAL],
)
def test_its_candidate_is_cancelled_before_production(world: World, phase: Phase) -> None:
    world.fate(TEST_INFERENCE, Fate(minutes=60 if phase is Phase.TESTING else 2))
    world.register()
    world.run(minutes=1)
    if phase is not Phase.AWAITING_REGISTRY_APPROVAL:
        world.approve(FIRST)
        world.run(minutes=20)
    assert world.phase(FIRST) == phase
    leave(world)
    assert world.phase(FIRST) == Phase.CANCELLED
    assert world.release(FIRST).reason == "its circuit is not in the configuration any more"
    assert not world.operations.running() and world.circuit().test_owner == ""
    refused = world.order(m.RestartRequested, release=FIRST, how="reopen")
    assert refused.verdict is Verdict.REFUSED and "not in the configuration" in refused.reason


def test_an_approval_given_before_anybody_noticed_brings_nothing_to_production(world: World) -> None:
    world.bring_to_ready_for_production()
    world.configure((STAYS,))
    world.approve(FIRST)
    world.run(minutes=5)
    assert world.phase(FIRST) == Phase.READY and world.circuit().desired is None
    world.app.reconcile_production()
    world.run(minutes=5)
    assert world.phase(FIRST) == Phase.CANCELLED


def test_what_serves_goes_on_and_is_scored_and_people_know(world: World) -> None:
    world.go_live()
    leave(world)
    assert world.topic.notices(LEFT) == ["raised"]
    explained = world.queries.explain(CIRCUIT, world.fleet.rules(CIRCUIT), world.now())
    assert explained is not None and explained.state[0].startswith("not in the configuration any more")
    for day in range(3):
        world.run_until(world.at(1, day=1))
        world.commit(circuits=BOTH)
        world.app.check_daily_scoring()
        world.run(minutes=30)
        run = world.scoring(CIRCUIT)
        assert run is not None and run.phase == "scored", f"day {day}"
    assert world.items(CIRCUIT)[DEPARTURE].phase == "flagged"


def test_one_that_serves_nothing_is_nobodys_business(world: World) -> None:
    leave(world)
    assert DEPARTURE not in world.items(CIRCUIT) and world.topic.alerts() == {}


def test_a_retired_circuit_serves_nothing_is_not_scored_and_keeps_its_history(world: World) -> None:
    world.go_live()
    before = world.history(CIRCUIT, FIRST)
    leave(world)
    assert retire(world) is Verdict.APPLIED
    world.run(minutes=5)
    circuit = world.circuit()
    assert (circuit.serving, circuit.desired, circuit.scoring, circuit.retired) == (None, None, False, True)
    assert world.topic.notices(LEFT)[-1] == "closed"
    world.run_until(world.at(1, day=1))
    world.commit(circuits=BOTH)
    world.app.check_daily_scoring()
    world.app.reconcile_production()
    world.run(hours=12)
    assert world.scoring(CIRCUIT) is None
    assert world.history(CIRCUIT, FIRST) == before
    assert world.queries.as_of(CIRCUIT, world.at(12, day=-1)) is not None
    (departure,) = [each for each in world.queries.orders(CIRCUIT, 50).entries if each["id"] == DEPARTURE]
    assert (departure["by"], departure["reason"]) == (ENGINEER.username, "the pump was dismantled")
    assert retire(world) is Verdict.IGNORED


def test_one_that_is_observed_and_never_scored_again_can_be_retired(world: World) -> None:
    world.bring_to_production()
    leave(world)
    assert world.phase(FIRST) == Phase.OBSERVING
    assert retire(world) is Verdict.APPLIED
    world.run(minutes=5)
    assert world.phase(FIRST) == Phase.ROLLED_BACK and "was retired by" in world.release(FIRST).reason
    assert world.circuit().production_owner == ""


def test_what_the_configuration_has_is_not_retired_and_what_is_being_deployed_comes_to_its_end(world: World) -> None:
    world.bring_to_ready_for_production()
    refused = world.order(m.RetireRequested)
    assert refused.verdict is Verdict.REFUSED and "plants_circuits.yml" in refused.reason
    world.approve(FIRST)
    world.run(minutes=0.1)
    world.configure((STAYS,))
    refused = world.order(m.RetireRequested)
    assert refused.code == "closed" and FIRST in refused.reason
    world.run(minutes=30)
    assert world.phase(FIRST) == Phase.OBSERVING


def test_a_circuit_that_comes_back_is_released_to_again(world: World) -> None:
    world.go_live()
    leave(world)
    world.configure(BOTH)
    world.app.reconcile_production()
    world.run(minutes=5)
    assert world.items(CIRCUIT)[DEPARTURE].phase == "returned"
    assert world.topic.notices(LEFT)[-1] == "closed"
    assert world.bring_to_production(2) == SECOND
    assert world.phase(SECOND) == Phase.OBSERVING


def test_a_retired_circuit_that_comes_back_serves_again_with_a_new_model(world: World) -> None:
    world.go_live()
    leave(world)
    retire(world)
    world.configure(BOTH)
    world.run_until(world.at(1, day=1))
    world.go_live(2)
    circuit = world.circuit()
    assert (circuit.scoring, circuit.retired) == (True, False)


def test_a_queue_is_cancelled_as_a_whole(worlds: Callable[..., World]) -> None:
    world: World = worlds(fleet=Fleet(BOTH, common=Rules(supersede="queue")))
    for version in (1, 2, 3):
        world.register(version=version)
        world.run(minutes=1)
    leave(world)
    assert {release.phase for release in world.releases()} == {Phase.CANCELLED}


def test_a_retired_circuits_deployment_is_deleted_and_leaves_its_place_to_others(world: World) -> None:
    world.go_live()
    leave(world)
    retire(world)
    assert world.items(CIRCUIT)[DEPARTURE].phase == "retiring" and world.circuit().production_owner == DEPARTURE
    world.run(minutes=10)
    assert world.items(CIRCUIT)[DEPARTURE].phase == "retired" and world.circuit().production_owner == ""
    assert world.platform.deployed(Stage.PRODUCTION, CIRCUIT) is None


def test_a_deletion_that_failed_is_told_and_ordered_again(world: World) -> None:
    world.go_live()
    leave(world)
    world.fate(REMOVAL, Fate(state=OperationState.FAILED))
    retire(world)
    world.run(minutes=10)
    assert world.items(CIRCUIT)[DEPARTURE].phase == "errored" and world.topic.notices(LEFT)[-1] == "raised"
    assert world.platform.deployed(Stage.PRODUCTION, CIRCUIT) is not None
    assert retire(world) is Verdict.APPLIED
    world.run(minutes=10)
    assert world.items(CIRCUIT)[DEPARTURE].phase == "retired" and world.topic.notices(LEFT)[-1] == "closed"
    assert world.platform.deployed(Stage.PRODUCTION, CIRCUIT) is None


def test_a_circuit_that_comes_back_while_it_is_being_deleted_is_deployed_after_that(world: World) -> None:
    world.go_live()
    leave(world)
    world.fate(REMOVAL, Fate(minutes=60))
    retire(world)
    world.configure(BOTH)
    world.bring_to_ready_for_production(2)
    world.approve(SECOND)
    world.run(minutes=10)
    assert world.circuit().production_owner == DEPARTURE
    world.run(minutes=120)
    assert world.circuit().production_owner == SECOND
    assert world.platform.deployed(Stage.PRODUCTION, CIRCUIT) is not None
