"""What HTTP triggers share: JSON answers, problems (RFC 9457), bodies, and who is calling."""

from __future__ import annotations

import functools
import json
import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeGuard, TypeVar, get_args

import azure.functions as func
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from shared.advance import Advanced
from shared.configuration import ConfigurationError
from shared.domain.machine import Verdict
from shared.domain.messages import Person
from shared.errors import Invalid, Permanent, Transient
from shared.identity import NotPermitted, NotSignedIn
from shared.queries import PAGE_SIZES
from shared.settings import SettingsError
from shared.wiring import wired

log = logging.getLogger("fleet.http")

BODY_LIMIT = 64 * 1024
DEFAULT_PAGE = 50
RETRY_AFTER_SECONDS = 5.0
STATUS_OF_REFUSAL = {"closed": 409, "changed": 409, "forbidden": 403, "unknown": 404, "unavailable": 503}

Trigger = Callable[[func.HttpRequest], func.HttpResponse]
B = TypeVar("B", bound=BaseModel)


class NotFound(Exception):
    """There is no such thing; the text names it."""


class TooLarge(Exception):
    """The body is larger than anything this takes; the text says how large it may be."""


def answer(body: Any, status: int = 200) -> func.HttpResponse:
    """A JSON answer; it ends its line, for people who ask from a shell."""
    return func.HttpResponse(f"{json.dumps(body, default=str)}\n", status_code=status, mimetype="application/json")


def problem(
    status: int, title: str, detail: str, headers: Mapping[str, str] | None = None, **further: Any
) -> func.HttpResponse:
    """An error as problem+json; `detail` says what is wrong and what would be right."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **further}
    return func.HttpResponse(json.dumps(body), status_code=status, headers=headers, mimetype="application/problem+json")


def answers_problems(trigger: Trigger) -> Trigger:
    """Turn the core's errors into answers; what is not meant for callers is logged whole and shown as nothing."""

    @functools.wraps(trigger)
    def answering(req: func.HttpRequest) -> func.HttpResponse:
        try:
            return trigger(req)
        except NotSignedIn as error:
            return problem(401, "Not signed in", str(error), {"WWW-Authenticate": error.challenge})
        except NotPermitted as error:
            return problem(403, "Not permitted", str(error))
        except NotFound as error:
            return problem(404, "Not found", str(error))
        except TooLarge as error:
            return problem(413, "Too large", str(error))
        except Invalid as error:
            return problem(400, "Not acceptable as it is", str(error), field=error.field, allowed=error.allowed)
        except Transient as error:
            log.warning("%s %s: %s", req.method, _without_query(req), error)
            wait = str(math.ceil(error.retry_after or RETRY_AFTER_SECONDS))
            return problem(503, "Try again", "Something this needs does not answer now.", {"Retry-After": wait})
        except (SettingsError, ConfigurationError) as error:
            log.error("%s %s: %s", req.method, _without_query(req), error)
            return problem(503, "Not configured", "The application's settings are not complete: its log names them.")
        except Permanent:
            log.exception("%s %s failed", req.method, _without_query(req))
            return problem(500, "Cannot be done", "Trying again does not help: the log says what must change first.")
        except Exception:
            log.exception("%s %s failed", req.method, _without_query(req))
            return problem(500, "Something broke", "The error is in the log. Nothing was half-written; try again.")

    return answering


def _without_query(req: func.HttpRequest) -> str:
    """The request's address for the log; a query may carry a key."""
    return str(req.url).partition("?")[0]


def caller(req: func.HttpRequest) -> Person:
    """The signed-in person; raises NotSignedIn."""
    return wired().tokens.person(req.headers.get("authorization"))


def operator(req: func.HttpRequest) -> Person:
    """The signed-in person, who must be in a group that operates the fleet; raises NotPermitted."""
    person = caller(req)
    groups = wired().settings.operators
    if not set(groups) & set(person.groups):
        raise NotPermitted(f"{person.username} is in none of the groups that may do this: {', '.join(groups)}")
    return person


def body_of(req: func.HttpRequest, kind: type[B]) -> B:
    """The request's body as `kind`; raises TooLarge, and Invalid naming the first wrong field and what is allowed."""
    raw = req.get_body()
    if len(raw) > BODY_LIMIT:
        raise TooLarge(f"the body has {len(raw)} bytes; at most {BODY_LIMIT} are taken")
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "body"
        raise Invalid(f"{place:.100}", f"{first['msg']:.300}", _allowed(first, kind)) from error


def _allowed(error: ErrorDetails, kind: type[BaseModel]) -> str:
    """What would be right where the error is: the field's own values, or the fields that there are."""
    limits = error.get("ctx", {})
    for name, text in (
        ("expected", "{}"),
        ("pattern", "a text like {}"),
        ("max_length", "at most {} characters"),
    ):
        if name in limits:
            return text.format(limits[name])
    if error["type"] in ("missing", "extra_forbidden", "json_invalid", "model_type"):
        at = error["loc"] if error["type"] == "model_type" else error["loc"][:-1]
        return f"a JSON object with {', '.join(_inside(kind, at).model_fields)}"
    return str(error["type"]).removesuffix("_type").replace("_", " ")


def _inside(kind: type[BaseModel], place: Sequence[int | str]) -> type[BaseModel]:
    """The model at a place of a body: lists are passed through."""
    for name in place:
        if isinstance(name, str) and name in kind.model_fields:
            annotation = kind.model_fields[name].annotation
            kind = next((each for each in (*get_args(annotation), annotation) if _is_model(each)), kind)
    return kind


def _is_model(kind: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def recorded(advanced: Advanced, root: str) -> func.HttpResponse:
    """What became of a person's order: what it moved, or why it moved nothing."""
    if advanced.verdict is Verdict.REFUSED:
        return problem(STATUS_OF_REFUSAL.get(advanced.code, 409), "Not possible", advanced.reason)
    moved = [{"item": line.item, "event": line.event, "phase": line.after} for line in advanced.history]
    status = 200 if advanced.verdict is Verdict.APPLIED else 208
    return answer({"root": root, "recorded": moved, "note": advanced.reason}, status)


def page_of(req: func.HttpRequest) -> tuple[int, str | None]:
    """`size` and `continuation` of a list."""
    text = req.params.get("size", str(DEFAULT_PAGE))
    if not re.fullmatch(r"[0-9]{1,3}", text) or int(text) not in PAGE_SIZES:
        raise Invalid("size", f"is {text!r:.40}", f"a whole number from {PAGE_SIZES.start} to {PAGE_SIZES.stop - 1}")
    return int(text), req.params.get("continuation")


def days_of(req: func.HttpRequest, today: date) -> tuple[date, date]:
    """`from` and `to` of a span of days (UTC); nothing given: the last seven days."""
    last = _day(req, "to", today)
    return _day(req, "from", last - timedelta(days=6)), last


def _day(req: func.HttpRequest, name: str, default: date) -> date:
    text = req.params.get(name)
    try:
        return date.fromisoformat(text) if text else default
    except ValueError as error:
        raise Invalid(name, f"is {text!r:.40}", "a day such as 2026-01-31") from error


def number_of(req: func.HttpRequest, name: str) -> int:
    """A whole number among the query's parameters, such as a model version."""
    text = req.params.get(name, "")
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise Invalid(name, f"is {text!r:.40}", "a whole number from 1")
    return int(text)


def time_of(req: func.HttpRequest, name: str, now: datetime) -> datetime:
    """A time among the query's parameters: a day stands for its end, nothing and the future for now (UTC)."""
    text = req.params.get(name) or now.isoformat()
    try:
        given = datetime.fromisoformat(text)
        if len(text) == len("2026-01-31"):
            given += timedelta(days=1, microseconds=-1)
        return min(given.replace(tzinfo=given.tzinfo or UTC).astimezone(UTC), now)
    except (ValueError, OverflowError) as error:
        raise Invalid(
            name, f"is {text!r:.40}", "a day such as 2026-01-31, or a time such as 2026-01-31T10:00Z"
        ) from error


def found(thing: Mapping[str, Any] | None, name: str, identity: str) -> Mapping[str, Any]:
    """The thing; raises NotFound naming what was asked for."""
    if thing is None:
        raise NotFound(f"there is no {name} {identity!r:.100}")
    return thing


def path(req: func.HttpRequest, name: str, pattern: str, example: str) -> str:
    """A path parameter that must look like what it names; raises Invalid."""
    value = req.route_params.get(name) or ""
    if not re.fullmatch(pattern, value):
        raise Invalid(name, f"is {value!r:.100}", f"the form {example}")
    return value
