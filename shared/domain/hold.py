"""A hold: while it stands, no release enters a circuit's production."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

from shared.domain import messages as m
from shared.domain.alerts.causes import Cause, warning
from shared.domain.machine import Item, Kind, Table, Then


class Phase(StrEnum):
    """Whether the hold stands."""

    STANDING = "standing"
    LIFTED = "lifted"


class Hold(Item):
    """Who placed it and why; `version`: the model version whose rollback placed it."""

    circuit: str
    by: str
    why: str
    version: int | None = None
    lifted_by: str = ""


TABLE: Table = {
    (None, m.HoldPlaced): Then(Phase.STANDING),
    (Phase.STANDING, m.HoldPlaced): Then(Phase.STANDING),
    (Phase.STANDING, m.HoldLifted): Then(Phase.LIFTED),
    # People hear of a hold that nobody lifts, again and again.
    (Phase.STANDING, m.DeadlinePassed): Then(Phase.STANDING, raises=warning(Cause.HOLD)),
}


def hold_id(circuit: str, number: int) -> str:
    """`P001_C001!hold.2`"""
    return f"{circuit}!hold.{number}"


HOLD = Kind(
    name="hold",
    letter="H",
    item=Hold,
    table=TABLE,
    ends=frozenset({Phase.LIFTED}),
    deadlines={Phase.STANDING: timedelta(days=7)},
    new_attempts=(m.DeadlinePassed,),
)
