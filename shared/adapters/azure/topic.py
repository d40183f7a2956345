"""The application's own topic on Event Grid, and on the embedded one: the same client speaks to both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from azure.core.exceptions import AzureError
from azure.eventgrid import EventGridEvent, EventGridPublisherClient

from shared.errors import Transient


class EventGridTopic:
    """Publishes events in the Event Grid schema."""

    def __init__(self, client: EventGridPublisherClient) -> None:
        self._client = client

    def publish(self, event_type: str, subject: str, payload: Mapping[str, Any]) -> None:
        event = EventGridEvent(subject=subject, event_type=event_type, data=dict(payload), data_version="1.0")
        try:
            self._client.send(event)
        except AzureError as error:
            raise Transient(f"the topic did not take {event_type} for {subject}: {error}") from error
