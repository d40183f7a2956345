"""What the app answers over HTTP, and what else starts its functions: read from the functions themselves."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from azure.functions import AuthLevel

from functions.description import STATUS
from functions.endpoints import DECLARED
from scripts.reference.markdown import code, contract, page, table
from shared.subscriptions import SUBSCRIPTIONS

ROOT = Path(__file__).resolve().parents[2]
_KEYS = {
    AuthLevel.ANONYMOUS: "anybody",
    AuthLevel.FUNCTION: "who has the function's key, and what else the request asks for",
}
INTRODUCTION = """
[The API](../api.md) says how it is used. The app describes itself at `/api/openapi.json` (OpenAPI 3.1), from the same
declarations as this page.
"""

OTHERS = """
`%NAME%` is a setting; the schedules shown are those of `local.settings.sample.json`. The Event Grid functions hear all
events alike; the subscriptions decide what comes to which, from the workspaces `dev`, `test` and `production`, the
`lake`'s storage account, and the application's own topic `fleet`. Event Grid delivers to
`/runtime/webhooks/eventgrid?functionName=...` with the host's system key.
"""


def write() -> str:
    """docs/reference/http.md"""
    prefix = json.loads((ROOT / "host.json").read_text())["extensions"]["http"]["routePrefix"]
    routes = [(trigger, function) for trigger, function in _functions() if trigger["type"] == "httpTrigger"]
    answered = table(("Request", "What", "Who", "Takes"), (_route(prefix, *route) for route in routes))
    statuses = table(("Status", "When"), ((str(status), when) for status, when in STATUS.items()))
    others = [(trigger, function) for trigger, function in _functions() if trigger["type"] != "httpTrigger"]
    started = table(("Function", "Started by"), (_other(*other) for other in others))
    return page(
        "HTTP",
        INTRODUCTION,
        answered,
        "Errors are `application/problem+json` (RFC 9457).",
        statuses,
        "## Other triggers",
        OTHERS,
        started,
    )


@cache
def _functions() -> list[tuple[dict[str, Any], Callable[..., Any]]]:
    """Every function with its trigger, as the host indexes them."""
    from function_app import app

    triggers = [(function.get_trigger(), function.get_user_function()) for function in app.get_functions()]
    return [(trigger.get_dict_repr(), function) for trigger, function in triggers if trigger is not None]


def _route(prefix: str, trigger: Mapping[str, Any], function: Callable[..., Any]) -> tuple[str, ...]:
    endpoint = DECLARED.get(function.__name__)
    takes = []
    if endpoint and endpoint.query:
        fields = endpoint.query[1].model_fields.items()
        takes.append(", ".join(f"`{field.alias or name}`" for name, field in fields))
    if endpoint and endpoint.body:
        takes.append("body: " + ", ".join(f"`{name}`" for name in endpoint.body[1].model_fields))
    who = endpoint.who.text if endpoint and endpoint.who else _KEYS[trigger["authLevel"]]
    methods = ", ".join(str(getattr(method, "value", method)) for method in trigger.get("methods") or ("any",))
    return f"`{methods} /{prefix}/{trigger['route']}`", contract(inspect.unwrap(function)), who, "; ".join(takes)


def _other(trigger: Mapping[str, Any], function: Callable[..., Any]) -> tuple[str, str]:
    match trigger["type"]:
        case "timerTrigger":
            name = trigger["schedule"].strip("%")
            sample = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]
            by = f"timer `%{name}%`: `{sample[name]}`"
        case "queueTrigger":
            by = f"queue `{trigger['queueName']}`"
        case _:
            (one,) = [one for one in SUBSCRIPTIONS if one.function == function.__name__]
            by = f"Event Grid: {code(one.event_types)} of {', '.join(one.sources)}"
    return f"`{function.__name__}`", by
