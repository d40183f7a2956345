"""Events that Event Grid gave up: taken from where it leaves them, and kept with the app's own dead letters.

There people see them, are told of them, and try them again, as any event that could not be taken.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from shared.dead_letters import DeadLetters
from shared.errors import Transient
from shared.ports import UndeliveredEvents
from shared.signals import SOURCE

log = logging.getLogger("fleet.undelivered")

AT_ONCE = 50
"""Files of one look; after an outage with more, the next look takes the next."""
ABOUT_DELIVERY = (
    "deadLetterReason",
    "deliveryAttempts",
    "lastDeliveryOutcome",
    "publishTime",
    "lastDeliveryAttemptTime",
    "lastHttpStatusCode",
)
"""What Event Grid adds to an event that it gave up."""


class Undelivered:
    """Takes what Event Grid left. A crash between keeping and removing keeps an event twice; heard again, it is one."""

    def __init__(self, events: UndeliveredEvents, letters: DeadLetters) -> None:
        self._events = events
        self._letters = letters

    def collect(self) -> int:
        """Keep every event of the files that are there, at most `AT_ONCE` of these; returns how many events."""
        kept = 0
        try:
            for name in self._events.names(AT_ONCE):
                for reason, event in _events(self._events.read(name)):
                    self._letters.record(SOURCE, reason, event)
                    kept += 1
                self._events.remove(name)
        except Transient as error:
            log.warning("what Event Grid gave up is taken with the next look: %s", error)
        return kept


def _events(content: Any) -> Iterator[tuple[str, Any]]:
    """Each event of a file with why it is there; what is no event is kept as it is."""
    for event in content if isinstance(content, list) else [content]:
        if not isinstance(event, Mapping):
            yield "Event Grid left what is no event", {"text": event}
            continue
        told = {name: event[name] for name in ABOUT_DELIVERY if event.get(name) is not None}
        reason = (
            f"Event Grid gave it up ({told.get('deadLetterReason', 'it does not say why')}) after"
            f" {told.get('deliveryAttempts', 'some')} attempts, the last: {told.get('lastDeliveryOutcome', 'unknown')}"
        )
        yield reason, {name: value for name, value in event.items() if name not in ABOUT_DELIVERY}
