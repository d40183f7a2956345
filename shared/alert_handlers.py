"""Handlers of alerts: what is new about one is told on the topic, and to each webhook by itself."""

from __future__ import annotations

import logging

from shared.domain.alerts import messages as a
from shared.handlers import Handling, handles

log = logging.getLogger("fleet.alerts")

EVENT_TYPES: dict[a.Change, str] = {
    "raised": "SensorForecast.AlertRaised",
    "worsened": "SensorForecast.AlertWorsened",
    "repeated": "SensorForecast.AlertRepeated",
    "acknowledged": "SensorForecast.AlertAcknowledged",
    "closed": "SensorForecast.AlertClosed",
}


@handles(a.PublishAlert)
def publish_alert(command: a.PublishAlert, at: Handling) -> None:
    notice = command.notice
    seen = f" ({notice.evidence.report})" if notice.evidence.report else ""
    log.warning("%s alert %s %s: %s%s", notice.severity, notice.key, notice.change, notice.note or notice.reason, seen)
    subject = f"alerts/{notice.plant or 'fleet'}/{notice.circuit or 'all'}/{notice.cause}"
    at.ports.topic.publish(EVENT_TYPES[notice.change], subject, notice.model_dump(mode="json"))


@handles(a.SendAlert)
def send_alert(command: a.SendAlert, at: Handling) -> None:
    notice = command.notice
    document = {"type": EVENT_TYPES[notice.change], "data": notice.model_dump(mode="json")}
    at.ports.webhooks.post(command.webhook, notice.id, document)
