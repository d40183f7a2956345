"""Every cause of an alert: how severe, what raises it, what ends it; and what is told of one."""

from __future__ import annotations

import json

from scripts.reference.markdown import code, page, table
from scripts.reference.transitions import KINDS
from shared.alert_handlers import EVENT_TYPES
from shared.domain.alerts.causes import NEWS, Cause
from shared.domain.alerts.messages import Notice

INTRODUCTION = """
What raises an alert and what clears it is said by the [transition tables](transitions.md); this is the same by cause.
An alert is over as well when the item that raised it moves on by a line that does not raise it again. [What people see
and where they are told](../alerts.md).
"""
TOLD = """
On the topic it is the event's `data` (`dataVersion` 1.0), at a webhook the `data` beside its `type`. Its JSON Schema is
in [alert.schema.json](alert.schema.json).
"""


def write() -> str:
    """docs/reference/alerts.md"""
    causes = table(("Cause", "Raised as", "By", "Ends with"), map(_line, sorted(Cause)))
    fields = ((f"`{name}`", field.description or "") for name, field in Notice.model_fields.items())
    types = table(("Event type", "Change"), ((f"`{kind}`", change) for change, kind in EVENT_TYPES.items()))
    return page("Alerts", INTRODUCTION, causes, "## What is told", TOLD, types, table(("Field", "What it is"), fields))


def write_schema() -> str:
    """docs/reference/alert.schema.json"""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Notice.model_json_schema()}
    return f"{json.dumps(schema, indent=2)}\n"


def _line(cause: Cause) -> tuple[str, ...]:
    lines = [(kind, event, then) for kind in KINDS for (_, event), then in kind.table.items()]
    raised = [(kind, event, then.raises) for kind, event, then in lines if then.raises and then.raises.cause == cause]
    severities = dict.fromkeys(alarm.severity for _, _, alarm in raised)
    by = {kind.name: dict.fromkeys(e.__name__ for k, e, _ in raised if k is kind) for kind, _, _ in raised}
    cleared = dict.fromkeys(f"{kind.name}: `{event.__name__}`" for kind, event, then in lines if cause in then.clears)
    over = "its acknowledgement" if cause in NEWS else "; ".join(cleared) or "the item moving on"
    return (
        f"`{cause}`",
        ", ".join(severities),
        "; ".join(f"{name}: {code(events)}" for name, events in by.items()),
        over,
    )
