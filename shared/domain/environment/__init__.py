"""The environment: which version the fleet serves with, and every decision about a newer one's way there.

`decide` takes the root with everything open under it; what circuits make of it is their own affair (`circuit.updates`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from shared.domain import messages as m
from shared.domain.environment.draft import (
    KINDS,
    Environment,
    EnvironmentDraft,
    environment_release_id,
)
from shared.domain.environment.release import ENVIRONMENT_RELEASE, EnvironmentRelease, FleetOrder
from shared.domain.machine import Decision, Item, Kind
from shared.domain.rules import Rules
from shared.domain.values import ENVIRONMENT

ROOT = ENVIRONMENT

__all__ = [
    "KINDS",
    "ROOT",
    "Environment",
    "EnvironmentDraft",
    "EnvironmentRelease",
    "FleetOrder",
    "decide",
    "environment_release_id",
    "recalled",
]


def recalled(event: m.Event) -> tuple[Kind, str] | None:
    """The release that the event is about even when it has ended; none for most events."""
    return (ENVIRONMENT_RELEASE, event.release) if isinstance(event, m.ReleaseOrder) else None


def decide(root: Environment, items: Mapping[str, Item], event: m.Event, rules: Rules, now: datetime) -> Decision:
    """Everything the event changes about environment releases and their orders."""
    return EnvironmentDraft(root, items, rules, now).decide(event)
