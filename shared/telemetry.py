"""Telemetry as the core knows it: spans, one trace from a fact to its effects, and measures by plant and circuit.

A trace goes on where work waits: its context (W3C `traceparent`) lies in the outbox row and in the queue's message.
Switched off it costs nothing: no library is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from shared.domain.lake import ROOT as LAKE
from shared.domain.values import split_circuit

TRANSITIONS = "fleet.transitions"
"""Counts moves of items: `event`, and the `phase` come to."""
COMMANDS = "fleet.commands"
"""Counts commands that were worked on: `command`, `outcome` (done, late, waits, again, given up)."""
COMMAND_SECONDS = "fleet.command.duration"
"""Seconds a command took: `command`, `outcome`."""

Attributes = Mapping[str, str]


class Telemetry(Protocol):
    """What the core tells. Names and attributes are the same in both modes."""

    def span(self, name: str, attributes: Attributes, parent: str = "") -> AbstractContextManager[None]:
        """A span around a piece of work; `parent` is the `traceparent` of what caused it, elsewhere or earlier."""
        ...

    def trace(self) -> str:
        """The `traceparent` of the span under way, or empty."""
        ...

    def count(self, name: str, attributes: Attributes) -> None:
        """Add one."""
        ...

    def seconds(self, name: str, value: float, attributes: Attributes) -> None:
        """Record how long something took."""
        ...


class Off:
    """Tells nobody."""

    def span(self, name: str, attributes: Attributes, parent: str = "") -> AbstractContextManager[None]:
        return nullcontext()

    def trace(self) -> str:
        return ""

    def count(self, name: str, attributes: Attributes) -> None:
        return

    def seconds(self, name: str, value: float, attributes: Attributes) -> None:
        return


OFF: Telemetry = Off()


def about(root: str) -> dict[str, str]:
    """The attributes that say whose a span or a measure is: plant and circuit, or what is no circuit."""
    plant, circuit = split_circuit(root)
    return {"plant": plant, "circuit": circuit} if circuit and root != LAKE else {"root": root}
