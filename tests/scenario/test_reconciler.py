"""What is recorded against what production really serves: repaired, adopted or flagged, as the policy says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.domain import messages as m
from shared.domain.discrepancy import Discrepancy, Phase
from shared.domain.machine import Verdict
from shared.domain.rollback import Phase as RollbackPhase
from shared.domain.rules import Rules
from shared.domain.values import Deployment, Pair, Stage
from tests.builders import CIRCUIT
from tests.simulated import FAILS, PRODUCTION_DEPLOYMENT, Fate
from tests.world import Fleet, World

V1, V2 = (Pair(model=version, environment="1.0.0") for version in (1, 2))


def change_by_hand(world: World, pair: Pair) -> None:
    """Somebody changes production outside the application."""
    deployment = Deployment(circuit=CIRCUIT, stage=Stage.PRODUCTION, pair=pair)
    world.platform._deployments[Stage.PRODUCTION, CIRCUIT] = deployment


def reconcile(world: World, hours: float = 0.2) -> None:
    world.app.reconcile_production()
    world.run(hours=hours)


def discrepancies(world: World) -> list[Discrepancy]:
    return [item for item in world.items(CIRCUIT).values() if isinstance(item, Discrepancy)]


def served(world: World) -> Pair | None:
    found = world.platform.deployed(Stage.PRODUCTION, CIRCUIT)
    return found.pair if found else None


def with_policy(worlds: Callable[..., World], policy: str) -> World:
    world = worlds(fleet=Fleet(common=Rules.model_validate({"out_of_band": policy})))
    world.go_live(1)
    world.run(days=1)
    world.go_live(2)
    return world


def test_production_that_is_as_recorded_is_left_alone(worlds: Callable[..., World]) -> None:
    world = with_policy(worlds, "repair")
    before = len(world.operations.started)
    reconcile(world)
    assert not discrepancies(world) and len(world.operations.started) == before


def test_a_change_that_was_not_ours_is_repaired_and_told(worlds: Callable[..., World]) -> None:
    world = with_policy(worlds, "repair")
    change_by_hand(world, V1)
    reconcile(world)
    (found,) = discrepancies(world)
    assert (found.phase, found.found, found.recorded) == (Phase.REPAIRED, V1, V2)
    assert served(world) == world.circuit().serving == V2 and world.circuit().production_owner == ""
    assert found.reason in world.topic.alerts().values()


def test_a_change_that_was_not_ours_is_adopted_where_the_pair_has_proved_itself(worlds: Callable[..., World]) -> None:
    world = with_policy(worlds, "adopt")
    change_by_hand(world, V1)
    reconcile(world)
    (found,) = discrepancies(world)
    assert found.phase == Phase.ADOPTED
    assert served(world) == world.circuit().serving == world.circuit().desired == V1


@pytest.mark.parametrize("policy", ["flag", "adopt"])
def test_a_change_is_flagged_until_it_is_gone(worlds: Callable[..., World], policy: str) -> None:
    world = with_policy(worlds, policy)
    change_by_hand(world, Pair(model=9, environment="1.0.0") if policy == "adopt" else V1)
    reconcile(world)
    (found,) = discrepancies(world)
    assert found.phase == Phase.FLAGGED and world.circuit().serving == V2
    reconcile(world)
    assert len(discrepancies(world)) == 1, "said once"
    world.run(days=2)
    key = f"production-differs:{CIRCUIT}"
    assert world.topic.notices(key) == ["raised", "repeated", "repeated"]
    assert list(world.topic.alerts().values()) == [found.reason]
    change_by_hand(world, V2)
    reconcile(world)
    assert [each.phase for each in discrepancies(world)] == [Phase.GONE]
    assert world.topic.notices(key)[-1] == "closed"


def test_a_deployment_that_is_under_way_is_no_discrepancy(world: World) -> None:
    world.go_live(1)
    world.fate(PRODUCTION_DEPLOYMENT, Fate(minutes=60))
    world.bring_to_ready_for_production(2)
    world.approve(f"{CIRCUIT}:2")
    world.run(minutes=5)
    reconcile(world, hours=2)
    assert not discrepancies(world) and world.circuit().serving == V2


def test_a_rollback_takes_production_from_a_repair(worlds: Callable[..., World]) -> None:
    world = with_policy(worlds, "repair")
    change_by_hand(world, Pair(model=9, environment="1.0.0"))
    world.fate(PRODUCTION_DEPLOYMENT, Fate(minutes=60))
    reconcile(world, hours=0.1)
    assert world.order(m.RollbackRequested).verdict is Verdict.APPLIED
    world.run(minutes=20)
    assert world.rollback().phase == RollbackPhase.ROLLING_BACK, "a deployment under way cannot be cancelled"
    world.run(minutes=60)
    assert world.rollback().phase == RollbackPhase.DONE and served(world) == world.circuit().serving == V1
    assert [each.phase for each in discrepancies(world)] == [Phase.GONE]


def test_a_repair_that_breaks_is_told_and_begun_again_with_the_next_reading(worlds: Callable[..., World]) -> None:
    world = with_policy(worlds, "repair")
    change_by_hand(world, V1)
    world.fate(PRODUCTION_DEPLOYMENT, FAILS)
    reconcile(world)
    assert [each.phase for each in discrepancies(world)] == [Phase.ERRORED]
    world.run(minutes=15)
    reconcile(world)
    assert [each.phase for each in discrepancies(world)] == [Phase.ERRORED, Phase.REPAIRED]
    assert served(world) == V2


def test_what_lies_in_production_after_an_errored_deployment_is_read_at_once(world: World) -> None:
    """The deployment broke after it had changed what serves: the record wins."""
    world.go_live(1)
    world.fate(PRODUCTION_DEPLOYMENT, FAILS)
    world.bring_to_ready_for_production(2)
    world.approve(f"{CIRCUIT}:2")
    world.run(minutes=1)
    change_by_hand(world, V2)
    world.run(minutes=20)
    assert [each.phase for each in discrepancies(world)] == [Phase.REPAIRED]
    assert served(world) == world.circuit().serving == V1


def test_a_start_that_arrives_after_a_rollback_took_production_is_undone(world: World) -> None:
    """The process stalls just before the platform is called; meanwhile the circuit is rolled back."""
    world.go_live(1)
    world.bring_to_ready_for_production(2)

    def stalls(point: str) -> None:
        if point == "before SimulatedPlatform.start_deployment":
            world.effects.interrupt = lambda point: None
            world.order(m.RollbackRequested)
            world.run(minutes=10)

    world.effects.interrupt = stalls
    world.approve(f"{CIRCUIT}:2")
    world.run(minutes=30)
    reconcile(world, hours=1)
    assert world.rollback().phase == RollbackPhase.DONE
    assert served(world) == world.circuit().serving == V1
