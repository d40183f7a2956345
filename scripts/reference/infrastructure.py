"""What the infrastructure takes from the code: event subscriptions and schedules, as JSON that the Bicep files load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

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


def rights() -> str:
    """`infra/rbac.yml` as a page."""
    matrix = yaml.safe_load(RBAC.read_text())
    lines = [
        "<!-- Written by `make docs` from infra/rbac.yml; change that file, not this one. -->",
        "",
        "# Who may do what on Azure",
        "",
        "Every role assignment that `infra/` makes, and why; a test holds the Bicep files to this table in both",
        "directions. Nobody signs in with a key: storage accounts, topics and the app's Application Insights refuse",
        "them.",
    ]
    for name, principal in matrix["principals"].items():
        lines += [
            "",
            f"## {name}",
            "",
            f"{_sentence(principal['what'])}.",
            "",
            "| On | Role | Why |",
            "| --- | --- | --- |",
        ]
        lines += [
            f"| {one['scope']}{_only(one)} | {one['role']} | {one['reason']} |"
            for one in matrix["assignments"]
            if one["principal"] == name
        ]
    lines += ["", "## Roles of our own", ""]
    for name, role in matrix["custom_roles"].items():
        lines += [f"**{name}**: {role['what']}.", ""]
        lines += [f"- `{action}`" for action in role["called"]]
        lines += [f"- `{action}` (in its name, by AzureML)" for action in role["invoking"]]
        lines += [""]
    lines += [
        "## What Azure Resource Manager cannot give",
        "",
        "| Who | What | By | Why |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {one['principal']} | {one['grant']} | {one['by']} | {one['reason']} |" for one in matrix["outside_arm"]
    ]
    return "\n".join(lines) + "\n"


def _heads(*names: str) -> list[str]:
    return [f"| {' | '.join(names)} |", f"| {' | '.join('---' for _ in names)} |"]


def _only(assignment: dict[str, Any]) -> str:
    return f", below {', '.join(f'`{path}`' for path in assignment['only'])}" if "only" in assignment else ""


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"
