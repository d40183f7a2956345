"""What a topic takes: the Event Grid schema or CloudEvents 1.0, checked as the service checks them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

Event = dict[str, Any]
REQUEST_LIMIT = 1024 * 1024


class InputSchema(StrEnum):
    """The schema a topic is configured with; it takes and delivers no other."""

    EVENT_GRID = "EventGridSchema"
    CLOUD_EVENT = "CloudEventSchemaV1_0"


class BadEvents(ValueError):
    """A publisher's request is refused; the message names the event and the field."""


def parse_events(body: bytes, schema: InputSchema, resource_id: str) -> list[Event]:
    """The events of a publisher's request, `topic` filled in. Raises BadEvents naming the first wrong field."""
    try:
        document = json.loads(body)
    except ValueError as error:
        raise BadEvents(f"The body is not JSON: {error}") from None
    if schema is InputSchema.CLOUD_EVENT and isinstance(document, dict):
        document = [document]
    if not isinstance(document, list) or not document:
        raise BadEvents(f"The body must be a JSON array of at least one event in {schema}.")
    for number, event in enumerate(document):
        if not isinstance(event, dict):
            raise BadEvents(f"[{number}]: an event must be a JSON object.")
        if schema is InputSchema.EVENT_GRID:
            _check_event_grid(event, f"[{number}]", resource_id)
        else:
            _check_cloud_event(event, f"[{number}]")
    return document


def attribute(event: Mapping[str, Any], name: str) -> str:
    """`type`, `subject` or `id` of an event in either schema."""
    return str(event.get("eventType" if name == "type" and "eventType" in event else name) or "")


def _check_event_grid(event: Event, where: str, resource_id: str) -> None:
    for field in ("id", "subject", "eventType", "eventTime"):
        _require_text(event, field, where)
    _require_time(event, "eventTime", where)
    for field in ("topic", "dataVersion", "metadataVersion"):
        if event.get(field) is not None and not isinstance(event[field], str):
            raise BadEvents(f"{where}.{field}: must be a string.")
    if event.get("topic") and event["topic"].lower() != resource_id.lower():
        raise BadEvents(f"{where}.topic: must be absent or {resource_id!r}, found {event['topic']!r}.")
    if event.get("metadataVersion", "1") not in ("1", ""):
        raise BadEvents(f"{where}.metadataVersion: must be absent or '1', found {event['metadataVersion']!r}.")
    event["topic"] = resource_id
    event["metadataVersion"] = "1"
    event.setdefault("dataVersion", "")


def _check_cloud_event(event: Event, where: str) -> None:
    for field in ("id", "source", "type", "specversion"):
        _require_text(event, field, where)
    if event["specversion"] != "1.0":
        raise BadEvents(f"{where}.specversion: must be '1.0', found {event['specversion']!r}.")
    if event.get("time") is not None:
        _require_time(event, "time", where)
    if "data" in event and "data_base64" in event:
        raise BadEvents(f"{where}: data and data_base64 cannot both be given.")


def _require_text(event: Event, field: str, where: str) -> None:
    value = event.get(field)
    if not isinstance(value, str) or not value:
        raise BadEvents(f"{where}.{field}: required, a string that is not empty (found {json.dumps(value)}).")


def _require_time(event: Event, field: str, where: str) -> None:
    try:
        datetime.fromisoformat(event[field])
    except (ValueError, TypeError):
        raise BadEvents(f"{where}.{field}: must be an ISO 8601 time, found {event[field]!r}.") from None
