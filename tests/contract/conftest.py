"""Fixtures of the contract suites."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from azure.data.tables import TableClient

from local.azurite import Azurite

TABLES = (f"contract{number}" for number in count())


@pytest.fixture(scope="session")
def new_table(azurite: Azurite) -> Callable[..., TableClient]:
    def make(**options: Any) -> TableClient:
        table = TableClient.from_connection_string(azurite.connection_string, next(TABLES), **options)
        table.create_table()
        return table

    return make
