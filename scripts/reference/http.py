"""What the app answers over HTTP, and what else starts its functions: read from the functions themselves."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from azure.functions import AuthLevel
from pydantic import BaseModel

from functions import http
from scripts.reference.markdown import code, contract, page, table
from shared.subscriptions import SUBSCRIPTIONS

ROOT = Path(__file__).resolve().parents[2]
WHO: Mapping[Any, str] = {http.caller: "a signed-in person", http.operator: "a member of `OPERATOR_GROUPS`"}
_KEYS = {
    AuthLevel.ANONYMOUS: "anybody",
    AuthLevel.FUNCTION: "who has the function's key, and what else the request asks for",
}
QUERIES: Mapping[Any, str] = {
    http.page_of: "`size`, `continuation`",
    http.time_of: "`date`",
    http.days_of: "`from`, `to`",
}
STATUS = {
    200: "here it is, or it is done",
    202: "it was asked for, and the answer says where to look; or a hook was kept as a dead letter",
    208: "it was recorded before; nothing was done",
    400: "something given is not acceptable; `field` names it and `allowed` says what would be",
    401: "no token, or one that cannot be believed",
    403: "the person may not do this",
    404: "there is no such thing",
    409: "closed, changed or not possible now; the detail says which",
    413: "the body is larger than anything this takes",
    500: "something broke; the log has it, nothing was half-written",
    503: "a part does not answer; try again",
}
INTRODUCTION = """
A person signs in with `Authorization: Bearer <token>`: signature, issuer, audience and expiry are verified, and who
decides is read from the token, never from a body. Bodies and answers are JSON. Lists take `size` (1 to 200) and the
`continuation` that the page before gave.
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
    uses = list(_uses(function))
    takes = [names for reads, names in QUERIES.items() if reads in uses]
    takes += [
        "body: " + ", ".join(f"`{name}`" for name in used.model_fields)
        for used in uses
        if isinstance(used, type) and issubclass(used, BaseModel) and used.__module__ == function.__module__
    ]
    who = next((text for check, text in WHO.items() if check in uses), _KEYS[trigger["authLevel"]])
    methods = ", ".join(str(getattr(method, "value", method)) for method in trigger["methods"])
    return f"`{methods} /{prefix}/{trigger['route']}`", _what(function), who, "; ".join(takes)


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


def _uses(function: Callable[..., Any]) -> Iterator[Any]:
    """What a function's code refers to."""
    own = inspect.unwrap(function)
    yield from (own.__globals__[name] for name in own.__code__.co_names if name in own.__globals__)


def _what(function: Callable[..., Any]) -> str:
    own = inspect.unwrap(function)
    return contract(own) or own.__name__.replace("_", " ")
