"""An alert: one cause of one subject, from when it is first seen until it is over."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from shared.domain import messages as m
from shared.domain.alerts import messages as a
from shared.domain.alerts.causes import Cause, Severity
from shared.domain.machine import Item, Kind, Table, Then


class Phase(StrEnum):
    """Where an alert stands. It is repeated while it is open; acknowledged, it is open again after a while."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    CLOSED = "closed"


class Alert(Item):
    """`about` is the item that raised it last, `change` what was told last, `count` how often its cause was seen.

    `reason` is what is wrong, `evidence` what that rests on, `note` why it was closed or what was said with its
    acknowledgement; `plant` and `circuit` are empty where it is about no single one. Times are UTC.
    """

    key: str
    cause: Cause
    severity: Severity
    plant: str
    circuit: str
    about: str
    evidence: a.Evidence = a.Evidence()
    change: a.Change
    count: int
    changed_at: datetime
    acknowledged_by: str = ""
    note: str = ""


TABLE: Table = {
    (None, a.AlertRaised): Then(Phase.OPEN, (a.PublishAlert,)),
    (Phase.OPEN, a.AlertRaised): Then(Phase.OPEN),
    (Phase.OPEN, a.AlertWorsened): Then(Phase.OPEN, (a.PublishAlert,)),
    (Phase.OPEN, m.DeadlinePassed): Then(Phase.OPEN, (a.PublishAlert,)),
    (Phase.OPEN, a.AlertAcknowledged): Then(Phase.ACKNOWLEDGED, (a.PublishAlert,)),
    (Phase.OPEN, a.NewsAcknowledged): Then(Phase.CLOSED, (a.PublishAlert,)),
    (Phase.OPEN, a.AlertCleared): Then(Phase.CLOSED, (a.PublishAlert,)),
    (Phase.ACKNOWLEDGED, a.AlertRaised): Then(Phase.ACKNOWLEDGED),
    (Phase.ACKNOWLEDGED, a.AlertWorsened): Then(Phase.OPEN, (a.PublishAlert,)),
    (Phase.ACKNOWLEDGED, m.DeadlinePassed): Then(Phase.OPEN, (a.PublishAlert,)),
    (Phase.ACKNOWLEDGED, a.AlertCleared): Then(Phase.CLOSED, (a.PublishAlert,)),
}

CHANGES: dict[type[m.Event], a.Change] = {
    a.AlertRaised: "raised",
    a.AlertWorsened: "worsened",
    m.DeadlinePassed: "repeated",
    a.AlertAcknowledged: "acknowledged",
    a.NewsAcknowledged: "closed",
    a.AlertCleared: "closed",
}

ALERT = Kind(
    name="alert",
    letter="A",
    item=Alert,
    table=TABLE,
    ends=frozenset({Phase.CLOSED}),
    # By default; the policy says how often each severity is repeated, and how long an acknowledgement holds.
    deadlines={Phase.OPEN: timedelta(days=1), Phase.ACKNOWLEDGED: timedelta(days=7)},
    new_attempts=(a.AlertWorsened, m.DeadlinePassed),
)


def alert_id(root: str, number: int) -> str:
    """`P001_C001!alert.2`"""
    return f"{root}!alert.{number}"


def key_of(cause: str, subject: str) -> str:
    """`scoring:P001_C001`"""
    return f"{cause}:{subject}"
