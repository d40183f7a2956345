"""A storm of facts: how many releases come of it, and what a fact costs that was heard before."""

from __future__ import annotations

from random import Random

from tests.bench.environment_release import CountingStore
from tests.bench.rows import BenchRow, exactly, measured, ours_at_most
from tests.builders import circuits, model_tags, registered
from tests.world import Fleet, World

MODELS, EVENTS = 10, 1000


def measure() -> list[BenchRow]:
    """1,000 events about 10 models, in any order, all at once."""
    names = circuits(MODELS)
    store = CountingStore()
    world = World(Fleet(names), store=store)
    for circuit in names:
        world.platform.models[circuit, 1] = model_tags(circuit)
    told = [registered(circuit, 1, f"digest-{number % 4}") for circuit in names for number in range(EVENTS // MODELS)]
    Random(7).shuffle(told)
    for event in told:
        world.app.advance(event)
    operations = sum(store.operations.values()) / EVENTS
    world.run(minutes=15)
    releases = sum(len(world.releases(circuit)) for circuit in names)
    asked = sum(world.approvals.asked.values())
    what = f"storm of {EVENTS:,} events for {MODELS} models"
    return [
        measured(f"{what}: releases", releases, MODELS, "one a model", "releases", exactly(MODELS)),
        measured(f"{what}: gates that people are asked", asked, MODELS, "one a model", "gates", exactly(MODELS)),
        measured(f"{what}: an event", operations, 2, "one read and one transaction", "operations", ours_at_most(2)),
    ]
