"""A new environment that comes with models trained with it: promoted, tested and deployed together, as pairs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import pytest

from shared.domain.messages import CancelRequested, RestartRequested
from shared.domain.values import Pair, Stage
from shared.slots import IMPORT
from tests.builders import circuits, model_tags
from tests.scenario.test_environment_release import next_day, world_of
from tests.simulated import ENVIRONMENT_PROMOTION, FAILS, HANGS, PROMOTION, Killed, Started
from tests.world import World

BREAKING = "2.0.0"
THREE = circuits(3)
PAIR = Pair(model=2, environment=BREAKING)


def retrained(world: World, names: Sequence[str] = THREE, environment: str = BREAKING) -> list[str]:
    """Each circuit's next model, trained with the environment that the build has registered, waits at its gate."""
    for circuit in names:
        world.register(circuit, 2, tags=model_tags(circuit, 2, environment_version=environment))
    world.run(minutes=5)
    return [f"{circuit}:2" for circuit in names]


def approve(world: World, releases: Sequence[str], minutes: float = 60) -> None:
    for release in releases:
        world.approve(release)
    world.run(minutes=minutes)


def imports(world: World) -> list[Started]:
    return world.operations.started_for(ENVIRONMENT_PROMOTION)


def test_a_breaking_environment_is_refused_alone_and_goes_with_its_models_as_pairs() -> None:
    world = world_of(THREE)
    alone = world.register_environment(BREAKING, tags={"backward_compatible": "false", "requires_retrain": "true"})
    world.run(minutes=5)
    assert world.phase(alone) == "failed"
    assert "model and environment are released together" in world.asked(alone).reason

    releases = retrained(world)
    assert not imports(world), "nothing reaches the registry before people agree"
    approve(world, releases)
    (imported,) = imports(world)
    assert imported.circuit == BREAKING
    assert imported.ends_at
    models = world.operations.started_for(PROMOTION)[-3:]
    assert {model.circuit for model in models} == set(THREE)
    assert all(model.started_at >= imported.ends_at for model in models)
    assert all((circuit, PAIR) in world.platform.tested for circuit in THREE)

    approve(world, releases)
    next_day(world)
    for circuit in THREE:
        assert world.circuit(circuit).serving == world.circuit(circuit).verified == PAIR, world.story(f"{circuit}:2")
        deployed = world.platform.deployed(Stage.PRODUCTION, circuit)
        assert deployed and deployed.pair == PAIR


def test_a_model_whose_environment_is_in_the_registry_takes_no_step_more() -> None:
    world = world_of(THREE[:1])
    (release,) = retrained(world, THREE[:1], "1.0.0")
    approve(world, [release])
    assert "EnvironmentNotInRegistry" not in world.events(release) and not imports(world)


def test_an_import_that_fails_is_told_apart_from_the_models_and_made_again_by_retrying() -> None:
    world = world_of(THREE[:1])
    world.register_environment(BREAKING, told=False)
    (release,) = retrained(world, THREE[:1])
    world.fate(ENVIRONMENT_PROMOTION, FAILS)
    approve(world, [release])
    assert world.phase(release) == "errored"
    assert world.release(release).ended_in == "promoting environment"
    assert f"environment {BREAKING} did not reach the registry" in world.asked(release).reason
    assert len(world.operations.started_for(PROMOTION)) == 1, "the model waits for its environment"

    world.order(RestartRequested, circuit=THREE[0], release=release, how="retry")
    world.run(minutes=60)
    assert world.phase(release) == "awaiting production approval", world.story(release)
    assert len(imports(world)) == 2


def test_an_environment_that_nobody_registered_is_named() -> None:
    world = world_of(THREE[:1])
    (release,) = retrained(world, THREE[:1], "3.0.0")
    approve(world, [release])
    assert world.phase(release) == "errored"
    assert "no environment 3.0.0; register it" in world.asked(release).reason
    assert world.app.slots.holders(IMPORT) == []


def test_a_release_that_ends_while_it_imports_holds_up_nobody() -> None:
    world = world_of(THREE)
    world.register_environment(BREAKING, told=False)
    world.fate(ENVIRONMENT_PROMOTION, HANGS)
    first, *others = retrained(world)
    approve(world, [first], minutes=1)
    approve(world, others, minutes=1)
    assert {world.phase(release) for release in (first, *others)} == {"promoting environment"}
    world.order(CancelRequested, circuit=THREE[0], release=first)
    world.run(hours=2)
    assert world.phase(first) == "cancelled"
    assert {world.phase(release) for release in others} == {"awaiting production approval"}
    assert len(imports(world)) == 2


def test_a_release_of_the_environment_and_models_that_need_it_import_it_once() -> None:
    world = world_of(THREE[:2])
    release = world.register_environment("1.1.0")
    models = retrained(world, THREE[:2], "1.1.0")
    world.approve(release)
    approve(world, models)
    assert len(imports(world)) == 1
    assert world.phase(release) == "awaiting production approval", world.story(release)


@pytest.mark.parametrize("seed", range(4))
def test_a_process_that_dies_at_any_point_imports_it_once(seed: int) -> None:
    world = world_of(THREE[:2])
    world.register_environment(BREAKING, told=False)
    releases = retrained(world, THREE[:2])
    points, deaths = count(), set(range(seed, 150, 7))

    def interrupt(point: str) -> None:
        if next(points) in deaths:
            raise Killed(point)

    for release in releases:
        world.approve(release)
    world.effects.interrupt = interrupt
    world.run(hours=1)
    assert {world.phase(release) for release in releases} == {"awaiting production approval"}
    assert len(imports(world)) == 1
