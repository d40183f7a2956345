"""Monitoring: runs that look at the whole fleet, by schedule or asked for, and tell each circuit what they found.

What a circuit makes of it is its own affair (`circuit.performances`, `circuit.drifts`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from shared.domain import messages as m
from shared.domain.machine import Decision, Item
from shared.domain.monitoring.draft import FLEET, KINDS, PURPOSE, Monitor, MonitorDraft
from shared.domain.monitoring.run import MonitoringRun, SharedDrift
from shared.domain.rules import Rules

ROOT = "monitor"

__all__ = ["FLEET", "KINDS", "PURPOSE", "ROOT", "Monitor", "MonitorDraft", "MonitoringRun", "SharedDrift", "decide"]


def decide(root: Monitor, items: Mapping[str, Item], event: m.Event, rules: Rules, now: datetime) -> Decision:
    """Everything the event changes about monitoring runs and what plants share."""
    return MonitorDraft(root, items, rules, now).decide(event)
