"""How long the state keeps what is over, by the table that says so."""

from __future__ import annotations

from scripts.reference.markdown import page, table
from scripts.reference.transitions import KINDS
from shared.domain.retention import RETENTION, RetentionRules, kept_as

INTRODUCTION = """
What is over stays in the state for so many days of `retention` in [`policy.yml`](../configuration.md), counted from its
end. Then the timer of `RETENTION_SCHEDULE` archives or drops it. [How](../architecture.md#what-is-kept-how-long).
"""


def write() -> str:
    """docs/reference/retention.md"""
    rules = RetentionRules()
    header = ("Policy key", "Days", "What", "Then", "Because")
    lines = [
        (f"`{kept}_days`", str(getattr(rules, f"{kept}_days")), told.what, told.then, told.why)
        for kept, told in RETENTION.items()
    ]
    kinds = [
        (kind.name, f"`{kept_as(kind)}_days`") for kind in sorted(KINDS, key=lambda kind: (kept_as(kind), kind.name))
    ]
    return page("Retention", INTRODUCTION, table(header, lines), "## By kind", table(("Kind", "Policy key"), kinds))
