"""A direct action: what a person did on the model platform past the application (break-glass)."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from shared.domain import messages as m
from shared.domain.alerts.causes import Cause, warning
from shared.domain.machine import Item, Kind, Table, Then

Did = Literal["promote", "deploy to test", "deploy to production"]


class Phase(StrEnum):
    """A direct action is a fact; nothing waits in it."""

    REPORTED = "reported"


class DirectAction(Item):
    """Who did what with which model and environment version (empty where it was no pair), and why."""

    circuit: str
    by: str
    why: str
    did: Did
    model: int
    environment: str = ""


_TOLD = warning(Cause.DIRECT_ACTION)

TABLE: Table = {
    (None, m.PlatformUsedDirectly): Then(Phase.REPORTED, raises=_TOLD),
    (None, m.ProductionChangedDirectly): Then(Phase.REPORTED, (m.ReadProduction,), raises=_TOLD),
}


def direct_action_id(circuit: str, number: int) -> str:
    """`P001_C001!direct.1`"""
    return f"{circuit}!direct.{number}"


DIRECT_ACTION = Kind(
    name="direct action",
    letter="Z",
    item=DirectAction,
    table=TABLE,
    ends=frozenset({Phase.REPORTED}),
    deadlines={},
)
