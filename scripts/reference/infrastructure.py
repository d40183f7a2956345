"""What the infrastructure takes from the code: event subscriptions and schedules, as JSON that the Bicep files load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from scripts.reference.markdown import code, page, table
from shared.subscriptions import SUBSCRIPTIONS

ROOT = Path(__file__).resolve().parents[2]
RBAC = ROOT / "infra" / "rbac.yml"


def event_subscriptions() -> str:
    """`shared/subscriptions.py` as JSON."""
    return _json(
        [
            {
                "function": one.function,
                "sources": [source.value for source in one.sources],
                "eventTypes": list(one.event_types),
                "subjectBeginsWith": one.subject_begins_with,
                "subjectContains": one.subject_contains,
                "subjectEndsWith": one.subject_ends_with,
            }
            for one in SUBSCRIPTIONS
        ]
    )


def schedules() -> str:
    """The schedules of `local.settings.sample.json`: the same on Azure as on a laptop."""
    sample = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]
    return _json({name: value for name, value in sorted(sample.items()) if name.endswith("_SCHEDULE")})


INTRODUCTION = """
Every role assignment that `infra/` makes, and why, from `infra/rbac.yml`; a test holds the Bicep files to it in both
directions. Nobody signs in with a key: storage accounts, topics and the app's Application Insights refuse them.
"""


def rights() -> str:
    """`infra/rbac.yml` as a page."""
    matrix = yaml.safe_load(RBAC.read_text())
    outside = [(one["principal"], one["grant"], one["by"], one["reason"]) for one in matrix["outside_arm"]]
    return page(
        "Who may do what on Azure",
        INTRODUCTION,
        *(block for name in matrix["principals"] for block in _principal(matrix, name)),
        "## Roles of our own",
        *(block for name, role in matrix["custom_roles"].items() for block in _role(name, role)),
        "## What pipelines ask of Azure",
        CALLS,
        table(("Script", "On", "Action", "Known from"), _calls(matrix)),
        "## What Azure Resource Manager cannot give",
        table(("Who", "What", "By", "Why"), outside),
    )


CALLS = """
Beside the app's API, and what `scripts/deploy.sh` makes: every type of resource of `infra/`. A test holds these calls
to the pipelines, to their identities' roles, and the roles to the calls.
"""


def _calls(matrix: dict[str, Any]) -> list[tuple[str, ...]]:
    known = {"sent": "its requests", "believed": "what its clients do"}
    return [
        (f"`{script}`", one["scope"], f"`{action}`", known[how])
        for script, calls in matrix["calls"].items()
        for one in calls
        for how in known
        for action in one[how]
    ]


def _principal(matrix: dict[str, Any], name: str) -> tuple[str, ...]:
    what = matrix["principals"][name]["what"]
    rows = [
        (one["scope"] + _only(one), one["role"], one["reason"])
        for one in matrix["assignments"]
        if one["principal"] == name
    ]
    return f"## {name}", f"{what[:1].upper()}{what[1:]}.", table(("On", "Role", "Why"), rows)


def _role(name: str, role: dict[str, Any]) -> tuple[str, ...]:
    actions = [(f"`{action}`", "the app's requests") for action in role["called"]]
    actions += [(f"`{action}`", "AzureML, in the caller's name") for action in role["invoking"]]
    return f"**{name}**: {role['what']}.", table(("Action", "Asked by"), actions)


def _only(assignment: dict[str, Any]) -> str:
    return f", below {code(assignment['only'])}" if "only" in assignment else ""


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"
