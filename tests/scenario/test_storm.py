"""A storm: one fact told a hundred times, by many, in any order, has one effect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from random import Random

from shared.domain.release import Phase
from tests.builders import circuits, model_tags, registered
from tests.simulated import PROMOTION
from tests.world import Fleet, World

TEN = circuits(10)


def test_a_thousand_events_about_ten_models_are_ten_releases(worlds: Callable[..., World]) -> None:
    """Of each model a hundred, with as many different ideas of its tags as there are tellers, within ten minutes."""
    world: World = worlds(fleet=Fleet(TEN))
    random = Random(7)
    for circuit in TEN:
        world.platform.models[circuit, 1] = model_tags(circuit)
    told = [registered(circuit, 1, f"digest-{number % 4}") for circuit in TEN for number in range(100)]
    random.shuffle(told)
    for event in told:
        world.told(event, after=timedelta(seconds=random.uniform(0, 600)))
    world.run(minutes=15)
    releases = [release for circuit in TEN for release in world.releases(circuit)]
    assert Counter(release.circuit for release in releases) == dict.fromkeys(TEN, 1)
    assert {release.phase for release in releases} == {Phase.AWAITING_REGISTRY_APPROVAL}
    assert len(world.approvals.open) == len(TEN) and set(world.approvals.asked.values()) == {1}
    for circuit in TEN:
        world.approve(f"{circuit}:1")
        for event in told[:50]:
            world.told(event)
    world.run(minutes=30)
    started = Counter(o.circuit for o in world.operations.started.values() if o.purpose == PROMOTION)
    assert started == dict.fromkeys(TEN, 1)
