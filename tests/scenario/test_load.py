"""Load: limits that hold however much comes at once, proven from when each piece of work began and ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from shared.domain.release import Phase
from tests.builders import circuits
from tests.simulated import PRODUCTION_DEPLOYMENT, SCORING, TEST_DEPLOYMENT, TEST_INFERENCE, Fate, Started
from tests.world import Fleet, World


def most_at_once(work: Iterable[Started]) -> int:
    """The largest number of pieces of work that ran at the same moment; an end frees its place for a start."""
    moments: list[tuple[datetime, int]] = []
    for each in work:
        assert each.ends_at is not None
        moments += [(each.started_at, 1), (each.ends_at, -1)]
    running = most = 0
    for _, change in sorted(moments):
        running += change
        most = max(most, running)
    return most


def test_fifty_circuits_are_scored_at_once_as_far_as_there_are_slots(worlds: Callable[..., World]) -> None:
    fleet = circuits(50)
    world: World = worlds(fleet=Fleet(fleet, max_invocations=20))
    for circuit in fleet:
        world.register(circuit)
    world.run(minutes=5)
    for _ in range(2):
        for circuit in fleet:
            world.approve(f"{circuit}:1")
        world.run(minutes=30)
    assert {world.phase(f"{circuit}:1") for circuit in fleet} == {Phase.OBSERVING}
    world.run_until(world.at(hour=6, day=1))
    world.operations.fate_of = lambda purpose: Fate(minutes=10)
    world.commit()
    world.run(hours=1)
    scored = world.operations.started_for(SCORING)
    assert {each.circuit for each in scored} == set(fleet) and len(scored) == 50
    assert most_at_once(scored) == 20
    tested = world.operations.started_for(TEST_INFERENCE)
    assert most_at_once(tested) <= 20 and len(tested) == 50
    assert {world.phase(f"{circuit}:1") for circuit in fleet} == {Phase.LIVE}
    assert world.app.slots.holders("invocation") == []


def test_some_are_deployed_to_test_while_others_are_deployed_to_production(worlds: Callable[..., World]) -> None:
    fleet = circuits(20)
    world: World = worlds(fleet=Fleet(fleet, max_invocations=20))
    early, late = fleet[:10], fleet[10:]
    for circuit in early:
        world.bring_to_ready_for_production(1, circuit)
    for circuit in late:
        world.register(circuit)
    world.run(minutes=5)
    world.operations.fate_of = lambda purpose: Fate(minutes=40 if purpose == PRODUCTION_DEPLOYMENT else 10)
    for circuit in fleet:
        world.approve(f"{circuit}:1")
    world.run(minutes=60)
    assert {world.phase(f"{circuit}:1") for circuit in early} == {Phase.OBSERVING}
    assert {world.phase(f"{circuit}:1") for circuit in late} == {Phase.AWAITING_PRODUCTION_APPROVAL}
    to_test = [each for each in world.operations.started_for(TEST_DEPLOYMENT) if each.circuit in late]
    to_production = world.operations.started_for(PRODUCTION_DEPLOYMENT)
    assert (len(to_test), len(to_production)) == (10, 10)
    assert most_at_once([*to_test, *to_production]) == 20, "neither waits for the other"
