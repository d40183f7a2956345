"""Messages of alerts, and what is told of one outside."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from shared.domain.alerts.causes import Cause, Severity
from shared.domain.messages import Command, Consequence, Order
from shared.domain.values import Value

Change = Literal["raised", "worsened", "repeated", "acknowledged", "closed"]


class Evidence(Value):
    """What an alert rests on, where something was measured; empty where nothing was."""

    measured: Mapping[str, float] = Field({}, description="what was measured, by name")
    limits: Mapping[str, float] = Field({}, description="what each of them may be at most")
    promised: Mapping[str, float] = Field({}, description="what the model's backtest promised of them")
    period: str = Field("", description="of which time: 2026-01-31, 2026-01 or 2026-Q1")
    report: str = Field("", description="the page about it: a path below the application's address")


class Notice(Value):
    """What is told of an alert, on the topic and to webhooks: the data of the event, version 1.0."""

    id: str = Field(description="of this notice; one that comes twice has the same id")
    alert: str = Field(description="the alert; a cause that returns after it was over is another alert")
    key: str = Field(description="the cause and its subject, such as scoring:P001_C001; one open alert a key")
    change: Change = Field(description="what is new about the alert")
    cause: Cause
    severity: Severity = Field(description="the highest that the alert had")
    plant: str = Field(description="empty: it is about no single plant")
    circuit: str = Field(description="the circuit within the plant; empty: it is about no single circuit")
    about: str = Field(description="what raised it: a release, a scoring run, an ETL run and so on")
    reason: str = Field(description="what is wrong, for people")
    evidence: Evidence = Field(Evidence(), description="what it rests on, in numbers, where something was measured")
    since: datetime = Field(description="when it was raised (UTC)")
    at: datetime = Field(description="when this change was (UTC)")
    count: int = Field(ge=1, description="how often its cause was seen while it was open")
    acknowledged_by: str = Field(description="who looks after it; empty: nobody has said so")
    note: str = Field(description="why it was closed, or what was said with its acknowledgement")


class AlertRaised(Consequence):
    """Something is wrong that people have to know; while its alert is open, it is counted there."""

    severity: Severity
    about: str
    reason: str
    evidence: Evidence = Evidence()

    def onto(self) -> Mapping[str, Any]:
        return {"about": self.about, "reason": self.reason, "evidence": self.evidence}


class AlertWorsened(AlertRaised):
    """What an open alert is about has become critical."""


class AlertCleared(Consequence):
    """What the alert is about is over; `by` is what made it so."""

    by: str

    def onto(self) -> Mapping[str, Any]:
        return {"note": self.by}


class AlertAcknowledged(Order):
    """A person looks after the alert: it is not repeated for a while."""

    alert: str

    def onto(self) -> Mapping[str, Any]:
        return {"acknowledged_by": self.person.username, "note": self.reason}


class NewsAcknowledged(AlertAcknowledged):
    """A person has read of something that happened and does not last."""


class PublishAlert(Command):
    """Tell the application's topic what is new about an alert."""

    essential = False

    notice: Notice


class SendAlert(Command):
    """Tell a webhook what is new about an alert."""

    essential = False

    webhook: str
    notice: Notice

    @property
    def id(self) -> str:
        return f"{super().id}.{self.webhook}"
