"""Environment releases under the virtual clock: tested on every live model, taken to the fleet in waves, taken back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.domain.environment import messages as e
from shared.domain.freeze import FreezeWindow
from shared.domain.machine import Verdict
from shared.domain.messages import HoldRequested
from shared.domain.rules import Rules
from shared.domain.values import ENVIRONMENT, Pair, Stage
from tests.builders import DIRECTOR, ENGINEER, circuits, model_tags
from tests.scenario.invariants import check_at_rest, check_replay_changes_nothing
from tests.simulated import (
    ENVIRONMENT_PROMOTION,
    FAILS,
    HANGS,
    PRODUCTION_DEPLOYMENT,
    SCORING,
    TEST_INFERENCE,
    UNUSABLE,
    Fate,
    Killed,
)
from tests.world import Fleet, World

NEW = "1.1.0"
RELEASE = f"{ENVIRONMENT}:{NEW}"
TWELVE = circuits(12)


def world_of(names: Sequence[str] = TWELVE, live: Sequence[str] | None = None, **rules: Any) -> World:
    """A fleet whose circuits serve version 1, proved, with environment 1.0.0."""
    fleet = Fleet(names)
    environment = fleet.environment.model_copy(update={"canary_circuits": 2, "wave_circuits": 4, **rules})
    world = World(Fleet(names, environment=environment, max_invocations=50))
    for circuit in names if live is None else live:
        world.register(circuit)
    world.run(minutes=5)
    for _ in range(2):
        for circuit in names if live is None else live:
            world.approve(f"{circuit}:1")
        world.run(minutes=30)
    world.commit()
    world.run(minutes=30)
    assert {world.phase(f"{circuit}:1") for circuit in (names if live is None else live)} <= {"live"}
    return world


def bring_to_tested(world: World, version: str = NEW) -> str:
    release = world.register_environment(version)
    world.run(minutes=5)
    world.approve(release)
    world.run(minutes=60)
    return release


def bring_to_waves(world: World, version: str = NEW) -> str:
    release = bring_to_tested(world, version)
    world.approve(release)
    world.approve(release, DIRECTOR)
    return release


def next_day(world: World) -> None:
    """The day's readings arrive and are scored."""
    world.run_until(world.at(0, 5, day=1))
    world.commit()
    world.run(hours=1)


def order(world: World, kind: type[Any], version: str = NEW) -> Any:
    ordered = kind(
        root=ENVIRONMENT, person=ENGINEER, reason="a person said so", request=f"{kind.__name__}-1", version=version
    )
    return world.app.advance(ordered)


def serves(world: World) -> dict[str, str]:
    """The environment that each circuit really serves with."""
    found = {c: world.platform.deployed(Stage.PRODUCTION, c) for c in world.fleet.circuits()}
    return {circuit: deployment.pair.environment for circuit, deployment in found.items() if deployment}


def events(world: World, release: str = RELEASE) -> list[str]:
    return world.events(release)


def test_every_live_model_is_tested_then_canaries_then_waves_then_a_day_of_observation() -> None:
    world = world_of()
    release = bring_to_tested(world)
    assert world.phase(release) == "awaiting production approval", world.story(release)
    assert set(serves(world).values()) == {"1.0.0"}
    assert NEW in world.platform.registry_environments
    for circuit in TWELVE:
        assert (circuit, Pair(model=1, environment=NEW)) in world.platform.tested

    world.approve(release)
    assert world.phase(release) == "awaiting production approval"  # both groups are asked
    world.approve(release, DIRECTOR)
    world.run(minutes=1)
    deploying = {operation.circuit for operation in world.operations.running(PRODUCTION_DEPLOYMENT)}
    assert deploying == set(TWELVE[:2])
    world.run(hours=3)
    assert world.phase(release) == "observing", world.story(release)
    assert set(serves(world).values()) == {NEW}
    assert events(world).count("WaveEnded") == 3  # canaries, then 4 and 4; the last 2 end it

    for _ in range(2):
        world.run(hours=12)
        world.commit()
    world.run(hours=2)
    assert world.phase(release) == "live", world.story(release)
    for circuit in TWELVE:
        assert world.circuit(circuit).verified == Pair(model=1, environment=NEW)
        assert world.update(circuit, NEW).previous == Pair(model=1, environment="1.0.0")
    world.run(days=40)
    assert world.phase(release) == "settled"
    check_at_rest(world)
    check_replay_changes_nothing(world)


@pytest.mark.parametrize(
    "tags", [{"backward_compatible": "false", "requires_retrain": "true"}, {"requires_retrain": "true"}]
)
def test_a_breaking_environment_is_refused_and_sent_the_retraining_way(tags: dict[str, str]) -> None:
    world = world_of(circuits(1))
    release = world.register_environment("2.0.0", tags=tags)
    world.run(minutes=5)
    assert world.phase(release) == "failed"
    assert "environment_version: 2.0.0" in world.asked(release).reason
    assert not world.operations.running(ENVIRONMENT_PROMOTION)
    check_at_rest(world)


def test_the_first_environment_of_a_fresh_fleet_asks_nobody_and_comes_with_the_models() -> None:
    world = World(Fleet(circuits(2)))
    release = world.register_environment("1.0.0")
    world.run(minutes=5)
    assert world.phase(release) == "settled" and "comes with the models" in world.asked(release).reason
    assert not world.approvals.asked and not world.operations.started
    world.platform.registry_environments.clear()
    world.go_live(1, circuits(2)[0])
    assert world.platform.registry_environments == {"1.0.0"}
    newer = world.register_environment(NEW)
    world.run(minutes=5)
    assert world.phase(newer) == "awaiting registry approval", "with something that serves, people are asked"


def test_a_minor_version_of_the_major_that_came_with_its_models_is_no_breaking_one() -> None:
    world = world_of(circuits(2))
    for version in ("2.0.0", "2.1.0"):
        world.platform.dev_environments[version] = {"backward_compatible": "true", "requires_retrain": "false"}
    newer, older = circuits(2)
    world.register(newer, 2, tags=model_tags(newer, 2, environment_version="2.0.0"))
    for _ in range(2):
        world.run(minutes=40)
        world.approve(f"{newer}:2")
    world.run(minutes=30)
    next_day(world)
    release = world.register_environment("2.1.0")
    world.run(minutes=5)
    assert world.phase(release) == "awaiting registry approval", world.story(release)
    assert world.documents.at(str(world.environment_release("2.1.0").preview["uri"]))["left"].keys() == {older}


def test_people_see_beforehand_which_deployments_it_would_touch() -> None:
    world = world_of(circuits(3), live=circuits(3)[:2])
    release = world.register_environment(NEW)
    world.run(minutes=5)
    approval = world.asked(release).approval
    assert approval and approval.evidence["preview"]["touched"] == 2
    shown = world.documents.at(approval.evidence["preview"]["uri"])
    assert set(shown["touched"]) == set(circuits(3)[:2])
    assert shown["left"] == {circuits(3)[2]: "nothing serves"}


def test_an_environment_that_nobody_told_of_is_found() -> None:
    world = world_of(circuits(1))
    release = world.register_environment(NEW, told=False)
    world.tell(lambda app: app.look_for_environments("timer.1"))
    world.run(minutes=5)
    assert world.phase(release) == "awaiting registry approval"


def test_a_circuit_whose_test_fails_keeps_its_environment_and_the_others_go_on() -> None:
    world = world_of()
    world.fate(TEST_INFERENCE, UNUSABLE)
    release = bring_to_waves(world)
    world.run(hours=4)
    failed = [circuit for circuit in TWELVE if world.update(circuit, NEW).phase == "failed"]
    assert len(failed) == 1
    assert world.phase(release) == "observing", world.story(release)
    assert {circuit for circuit, environment in serves(world).items() if environment == "1.0.0"} == set(failed)
    assert world.environment_release(NEW).troubled == tuple(failed)


def test_more_failing_tests_than_the_policy_allows_end_it_before_anybody_is_asked() -> None:
    world = world_of()
    world.fate(TEST_INFERENCE, *[UNUSABLE] * 3)
    release = bring_to_tested(world)
    assert world.phase(release) == "failed"
    world.run(hours=2)
    assert {world.update(circuit, NEW).phase for circuit in TWELVE} == {"failed", "called off"}
    assert set(serves(world).values()) == {"1.0.0"}
    check_at_rest(world)


def test_a_failing_canary_halts_the_release_and_a_person_may_let_it_go_on() -> None:
    world = world_of()
    release = bring_to_waves(world)
    world.fate(PRODUCTION_DEPLOYMENT, FAILS)
    world.run(hours=1)
    assert world.phase(release) == "halted", world.story(release)
    assert list(serves(world).values()).count(NEW) == 1
    assert any("updates failed" in reason for reason in world.topic.alerts().values())

    assert order(world, e.WavesResumed).verdict is Verdict.APPLIED
    world.run(hours=4)
    assert world.phase(release) == "observing", world.story(release)
    assert list(serves(world).values()).count(NEW) == 11


def test_each_canary_scores_with_it_before_the_first_wave_begins() -> None:
    world = world_of()
    release = bring_to_waves(world)
    world.run(hours=4)
    assert world.phase(release) == "observing", world.story(release)
    scored = [o for o in world.operations.started_for(SCORING) if o.pair and o.pair.environment == NEW]
    assert {operation.circuit for operation in scored} == set(TWELVE[:2])
    ended = [operation.ends_at for operation in scored if operation.ends_at]
    waves = [o for o in world.operations.started_for(PRODUCTION_DEPLOYMENT) if o.pair and o.pair.environment == NEW]
    assert min(o.started_at for o in waves if o.circuit not in TWELVE[:2]) >= max(ended)
    assert all(world.circuit(canary).verified == Pair(model=1, environment=NEW) for canary in TWELVE[:2])


def test_a_canary_whose_predictions_are_refused_halts_it_and_goes_back() -> None:
    world = world_of()
    release = bring_to_waves(world)
    world.fate(SCORING, UNUSABLE)
    world.run(hours=4)
    assert world.phase(release) == "halted", world.story(release)
    back = [circuit for circuit in TWELVE if world.update(circuit, NEW).phase == "rolled back"]
    assert len(back) == 1 and set(back) < set(TWELVE[:2])
    assert list(serves(world).values()).count(NEW) == 1, "the other canary keeps it, and no wave has begun"


def test_where_the_policy_says_so_each_wave_is_verified_before_the_next() -> None:
    world = world_of(verify_waves=True)
    release = bring_to_waves(world)
    world.run(hours=6)
    assert world.phase(release) == "observing", world.story(release)
    assert all(world.circuit(circuit).verified == Pair(model=1, environment=NEW) for circuit in TWELVE)
    assert len([o for o in world.operations.started_for(SCORING) if o.pair and o.pair.environment == NEW]) == 12


def test_canaries_that_cannot_score_halt_it_and_a_person_may_go_on_without() -> None:
    world = world_of()
    bring_to_tested(world)
    world.operations.fate_of = lambda purpose: HANGS if purpose == SCORING else Fate()
    world.approve(RELEASE)
    world.approve(RELEASE, DIRECTOR)
    world.run(hours=13)
    assert world.phase(RELEASE) == "halted", world.story(RELEASE)
    assert list(serves(world).values()).count(NEW) == 2
    assert order(world, e.WavesResumed).verdict is Verdict.APPLIED
    world.run(hours=4)
    assert world.phase(RELEASE) == "observing", world.story(RELEASE)
    assert set(serves(world).values()) == {NEW}


def test_a_person_may_halt_it_between_waves() -> None:
    world = world_of()
    release = bring_to_waves(world)
    world.run(minutes=1)
    assert order(world, e.HaltOrdered).verdict is Verdict.APPLIED
    world.run(hours=5)
    assert world.phase(release) == "halted"
    assert list(serves(world).values()).count(NEW) == 2  # what was under way has ended


def test_a_circuit_on_hold_is_left_and_listed() -> None:
    world = world_of()
    held = TWELVE[5]
    bring_to_tested(world)
    world.told(HoldRequested(root=held, person=ENGINEER, reason="look at the sensor", request="hold-0001"))
    world.run(minutes=1)
    world.approve(RELEASE)
    world.approve(RELEASE, DIRECTOR)
    world.run(hours=4)
    assert world.phase(RELEASE) == "observing", world.story(RELEASE)
    assert world.update(held, NEW).phase == "left" and "on hold" in world.update(held, NEW).reason
    assert {circuit for circuit, environment in serves(world).items() if environment == "1.0.0"} == {held}
    assert world.environment_release(NEW).counts["left"] == 1


def test_a_model_that_went_live_since_the_tests_is_tested_before_its_turn() -> None:
    world = world_of()
    newer = TWELVE[6]
    bring_to_tested(world)
    world.bring_to_production(2, newer)
    assert world.circuit(newer).serving == Pair(model=2, environment="1.0.0")
    assert (newer, Pair(model=2, environment=NEW)) not in world.platform.tested
    world.approve(RELEASE)
    world.approve(RELEASE, DIRECTOR)
    world.run(hours=5)
    assert (
        world.update(newer, NEW).phase == "waiting for production"
    )  # the model's own release owns production until it is proved
    next_day(world)
    world.run(hours=1)
    assert world.phase(RELEASE) == "observing", world.story(RELEASE)
    assert (newer, Pair(model=2, environment=NEW)) in world.platform.tested
    assert world.circuit(newer).serving == Pair(model=2, environment=NEW)


def test_a_circuit_that_came_to_life_since_the_tests_is_tested_in_its_turn() -> None:
    world = world_of(TWELVE, live=TWELVE[:11])
    bring_to_tested(world)
    assert world.update(TWELVE[11], NEW).phase == "left"
    world.go_live(1, TWELVE[11])
    world.approve(RELEASE)
    world.approve(RELEASE, DIRECTOR)
    world.run(hours=5)
    assert world.circuit(TWELVE[11]).serving == Pair(model=1, environment=NEW)


def test_a_release_of_a_model_waits_behind_an_update_in_test_and_is_tested_with_what_serves() -> None:
    world = world_of(circuits(1))
    circuit = circuits(1)[0]
    release = world.register_environment(NEW)
    world.register(circuit, 2)
    world.run(minutes=5)
    world.approve(release)
    world.approve(f"{circuit}:2")
    world.run(hours=1)
    assert world.phase(release) == "awaiting production approval"
    world.approve(release)
    world.approve(release, DIRECTOR)
    world.run(hours=1)
    # Tested with 1.0.0; production has come to 1.1.0 meanwhile, so it is tested again, as that pair.
    assert (circuit, Pair(model=2, environment=NEW)) in world.platform.tested
    world.approve(f"{circuit}:2")
    world.run(hours=1)
    assert world.circuit(circuit).serving == Pair(model=2, environment=NEW)


def test_all_circuits_go_back_to_what_each_had_before() -> None:
    world = world_of()
    release = bring_to_waves(world)
    world.run(hours=5)
    assert set(serves(world).values()) == {NEW}
    assert order(world, e.EnvironmentRollbackOrdered).verdict is Verdict.APPLIED
    world.run(hours=1)
    assert world.phase(release) == "rolled back", world.story(release)
    assert set(serves(world).values()) == {"1.0.0"}
    assert not [circuit for circuit in TWELVE if world.circuit(circuit).hold]
    check_at_rest(world)
    check_replay_changes_nothing(world)


def test_only_the_circuits_that_fail_go_back_while_the_others_are_observed() -> None:
    world = world_of()
    release = bring_to_waves(world)
    world.run(hours=5)
    world.fate(SCORING, *[UNUSABLE] * 3)  # two are of canaries, which have scored usably before
    next_day(world)
    back = [circuit for circuit in TWELVE if world.update(circuit, NEW).phase == "rolled back"]
    assert len(back) == 1
    assert {circuit for circuit, environment in serves(world).items() if environment == "1.0.0"} == set(back)
    assert world.phase(release) == "observing"


def test_a_model_verified_only_with_the_new_environment_goes_back_to_the_pair_before_it_and_is_named() -> None:
    world = world_of(circuits(2))
    circuit = circuits(2)[0]
    bring_to_waves(world)
    next_day(world)
    world.bring_to_production(2, circuit)
    next_day(world)
    assert world.circuit(circuit).serving == Pair(model=2, environment=NEW)
    order(world, e.EnvironmentRollbackOrdered)
    world.run(hours=2)
    assert world.circuit(circuit).serving == Pair(model=1, environment="1.0.0")
    rollbacks = [item for item in world.items(circuit).values() if "!rollback." in item.id]
    assert any("model 2 never proved itself without it" in item.reason for item in rollbacks)


def test_a_second_environment_takes_the_place_of_one_whose_waves_have_not_begun() -> None:
    world = world_of(circuits(2))
    first = bring_to_tested(world)
    second = world.register_environment("1.2.0")
    world.run(minutes=30)
    assert world.phase(first) == "superseded" and world.environment_release(NEW).successor == second
    assert world.phase(second) == "awaiting registry approval"


def test_a_second_environment_waits_for_one_whose_waves_have_begun() -> None:
    world = world_of(circuits(3))
    first = bring_to_waves(world)
    world.run(minutes=1)
    second = world.register_environment("1.2.0")
    world.run(hours=5)
    assert world.phase(second) == "waiting for the fleet"
    for _ in range(3):
        world.run(hours=12)
        world.commit()
    world.run(hours=1)
    assert world.phase(first) == "live", world.story(first)
    assert world.phase(second) == "awaiting registry approval"


@pytest.mark.parametrize("seed", range(6))
def test_a_process_that_dies_at_any_point_goes_on_without_repeating(seed: int) -> None:
    """It dies again and again, at other effects each time; nothing is started twice."""
    world = world_of(circuits(4), wave_circuits=1, canary_circuits=1)
    before = len(world.operations.started)
    points = iter(range(seed, 10**6))

    def interrupt(point: str) -> None:
        if next(points) % 23 == 0:
            raise Killed(point)

    world.effects.interrupt = interrupt
    release = world.register_environment(NEW)
    world.run(minutes=10)
    world.effects.interrupt = lambda point: None
    world.approve(release)
    world.effects.interrupt = interrupt
    world.run(hours=2)
    world.effects.interrupt = lambda point: None
    world.approve(release)
    world.approve(release, DIRECTOR)
    world.effects.interrupt = interrupt
    world.run(hours=6)
    world.effects.interrupt = lambda point: None
    world.run(hours=1)
    assert world.phase(release) == "observing", world.story(release)
    started = [operation.command_id for operation in world.operations.started.values()][before:]
    assert (
        len(started) == len(set(started)) == 1 + 4 * 3 + 1
    )  # a promotion; deployed, tested, deployed; the canary scores


def test_people_see_how_far_it_is_and_each_circuits_update() -> None:
    world = world_of()
    bring_to_waves(world)
    world.run(minutes=10)
    queries = world.queries
    shown = queries.environment_release(NEW)
    assert shown and list(shown["updates"]) == list(TWELVE)
    waved = [circuit for circuit, update in shown["updates"].items() if update["waved"]]
    assert TWELVE[:2] == tuple(waved[:2]) and len(waved) < len(TWELVE)
    assert shown["updates"][TWELVE[0]]["previous"] == {"model": 1, "environment": "1.0.0"}
    assert [release["version"] for release in queries.environment_releases(10).entries] == [NEW]
    assert queries.environment_release("9.9.9") is None


def test_a_gate_of_an_environment_is_listed_with_its_evidence() -> None:
    world = world_of(circuits(1))
    world.register_environment(NEW)
    world.run(minutes=5)
    queries = world.queries
    (gate,) = queries.approvals(ENGINEER, 10).entries
    assert gate["release"] == RELEASE and gate["evidence"]["preview"]["touched"] == 1
    assert queries.approval(ENGINEER, f"{RELEASE}:registry:1") and queries.was_asked(f"{RELEASE}:registry:1")


def test_a_model_whose_environment_is_no_semantic_version_is_no_candidate() -> None:
    world = World(Fleet(circuits(1)))
    circuit = circuits(1)[0]
    world.register(circuit, tags=model_tags(circuit, environment_version="latest"))
    world.run(minutes=5)
    assert world.phase(f"{circuit}:1") == "errored"
    assert "three whole numbers" in world.release(f"{circuit}:1").reason


def test_versions_of_the_environment_that_are_not_semantic_are_not_looked_for() -> None:
    world = world_of(circuits(1))
    world.register_environment("latest", told=False)
    world.tell(lambda app: app.look_for_environments("timer.1"))
    world.run(minutes=5)
    assert not world.items(ENVIRONMENT) and not world.dead_letters()


def test_halting_what_is_not_under_way_says_so() -> None:
    world = world_of(circuits(1))
    refused = order(world, e.HaltOrdered)
    assert refused.verdict is Verdict.REFUSED and "not under way" in refused.reason


def test_the_fleet_is_observed_a_whole_day() -> None:
    world = world_of(circuits(2), environment_observation=timedelta(hours=24))
    release = bring_to_waves(world)
    world.run(hours=5)
    since = world.environment_release(NEW).since
    world.run(days=2)
    observed = next(line for line in world.history(ENVIRONMENT, release) if line["event"] == "FleetObserved")
    late = datetime.fromisoformat(observed["at"]) - since - timedelta(hours=24)
    assert timedelta(0) <= late <= Rules().longest_look + timedelta(minutes=1)


# --------------------------------------------------------------------------------------------------- freeze and waves


def freeze(world: World) -> None:
    """From today on no release enters production, until the next day's noon."""
    ends = world.now().replace(hour=12, minute=0) + timedelta(days=1)
    window = FreezeWindow(name="audit", begins=f"{world.now():%m-%d} 00:00", ends=f"{ends:%m-%d %H:%M}")
    rules = {"freeze_windows": (window,)}
    world.fleet = replace(
        world.fleet,
        common=world.fleet.common.model_copy(update=rules),
        environment=world.fleet.environment.model_copy(update=rules),
    )
    world.configure(world.fleet.names)


def test_an_environment_approved_in_a_freeze_waits_with_its_canaries_until_the_freeze_ends() -> None:
    world = world_of()
    freeze(world)
    release = bring_to_waves(world)
    world.run(hours=2)
    assert set(serves(world).values()) == {"1.0.0"}, "nothing enters production in a freeze"
    world.run_until(world.at(12, day=1))
    world.run(hours=6)
    assert set(serves(world).values()) == {NEW}, world.environment_release(NEW).counts
    canaries = world.environment_release(NEW).canaries
    first = {circuit: world.history(circuit, world.update(circuit, NEW).id) for circuit in TWELVE}
    served = {
        circuit: next(line["at"] for line in lines if line["event"] == "DeployedToProduction")
        for circuit, lines in first.items()
    }
    assert max(served[c] for c in canaries) <= min(at for c, at in served.items() if c not in canaries)
    assert world.phase(release) == "observing"


def test_a_freeze_that_begins_between_waves_costs_time_and_halts_nothing() -> None:
    world = world_of()
    release = bring_to_waves(world)
    while set(serves(world).values()) == {"1.0.0"}:
        world.run(minutes=1)
    freeze(world)
    world.run(hours=20)
    assert world.phase(release) in ("updating canaries", "updating waves"), world.environment_release(NEW).reason
    assert "DeadlineMoved" in world.events(release) and NEW in set(serves(world).values()) != {NEW}
    world.run(hours=24)
    assert world.phase(release) in ("observing", "live") and set(serves(world).values()) == {NEW}
    assert world.topic.alerts() == {}


def test_a_version_that_nobody_registered_takes_no_place_and_gives_none_to_a_lower_one() -> None:
    world = world_of(circuits=TWELVE[:1])
    world.told(e.EnvironmentRegistered(root=ENVIRONMENT, version="9.9.9", asked_by="erik@plant.example"))
    world.run(minutes=1)
    world.register_environment(NEW)
    world.run(minutes=1)
    assert world.phase(RELEASE) == "awaiting registry approval"
    assert world.phase(f"{ENVIRONMENT}:9.9.9") == "registered"
    (told,) = [line for line in world.history(ENVIRONMENT, f"{ENVIRONMENT}:9.9.9") if "asked_by" in line["detail"]]
    assert told["detail"]["asked_by"] == "erik@plant.example"
    world.run(hours=1)
    ended = world.environment_release("9.9.9")
    assert (ended.phase, ended.reason) == ("failed", f"the dev workspace never had {ENVIRONMENT}:9.9.9")
