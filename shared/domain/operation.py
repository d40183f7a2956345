"""Work started outside by an item's current step, and how looks at it are counted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared.domain import messages as m
from shared.domain.machine import NotNow
from shared.domain.values import Value


class Operation(Value):
    """Started work: where to look for it, what it writes and what that is held against; `looks` counts the looks."""

    reference: str
    output_uri: str = ""
    expected: Mapping[str, Any] = {}
    started_at: datetime
    looks: int = 0


def operated(operation: Operation | None, event: m.Event, now: datetime) -> Operation | None:
    """The operation after the event."""
    if isinstance(event, m.OperationStarted):
        fields = event.model_dump(include={"reference", "output_uri", "expected"})
        return Operation(**fields, started_at=now)
    if isinstance(event, m.StillRunning) and operation:
        return operation.model_copy(update={"looks": operation.looks + 1})
    return operation


def expect_look(operation: Operation | None, event: m.Event) -> None:
    """Raise `NotNow` for a look that another look overtook."""
    if isinstance(event, m.StillRunning) and (operation is None or operation.looks != event.looks):
        raise NotNow("another look came first")


def in_operation(operation: Operation | None) -> dict[str, Any]:
    """What commands about the operation take from it."""
    return {
        "reference": operation.reference if operation else "",
        "output_uri": operation.output_uri if operation else "",
        "expected": operation.expected if operation else {},
        "looks": operation.looks if operation else 0,
    }
