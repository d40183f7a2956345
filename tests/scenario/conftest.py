"""Worlds to tell a history in; when it is told, what must always hold is checked, and everything is told once more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from azure.data.tables import TableClient

from local.azurite import Azurite
from shared.adapters.azure.state_store import TableStateStore
from tests.scenario.invariants import check_always, check_at_rest, check_replay_changes_nothing
from tests.world import World

TABLES = (f"scenario{number}" for number in count())


@pytest.fixture
def worlds() -> Iterator[Callable[..., World]]:
    """Makes worlds; each is checked in the end."""
    made: list[World] = []

    def make(**arguments: Any) -> World:
        made.append(World(**arguments))
        return made[-1]

    yield make
    for world in made:
        check_always(world)
        world.effects.interrupt = lambda point: None
        world.run(days=12)
        check_at_rest(world)
        check_replay_changes_nothing(world)


@pytest.fixture
def world(worlds: Callable[..., World]) -> World:
    """One circuit, state in memory."""
    return worlds()


@pytest.fixture
def azure_world(worlds: Callable[..., World], azurite: Azurite) -> World:
    """One circuit, state in Azure tables."""
    table = TableClient.from_connection_string(azurite.connection_string, next(TABLES))
    table.create_table()
    return worlds(store=TableStateStore(table, shards=2))
