"""What HTTP triggers share: JSON answers, problems (RFC 9457), bodies, and who is calling."""

from __future__ import annotations

import functools
import json
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import azure.functions as func
from pydantic import BaseModel, ValidationError

from shared.domain.messages import Person
from shared.errors import Invalid, Transient
from shared.identity import NotPermitted, NotSignedIn
from shared.wiring import wired

log = logging.getLogger("fleet.http")

BODY_LIMIT = 64 * 1024
DEFAULT_PAGE = 50
STATUS_OF_REFUSAL = {"closed": 409, "changed": 409, "forbidden": 403}

Trigger = Callable[[func.HttpRequest], func.HttpResponse]
B = TypeVar("B", bound=BaseModel)


class NotFound(Exception):
    """There is no such thing; the text names it."""


def answer(body: Any, status: int = 200) -> func.HttpResponse:
    """A JSON answer."""
    return func.HttpResponse(json.dumps(body, default=str), status_code=status, mimetype="application/json")


def problem(status: int, title: str, detail: str, **further: Any) -> func.HttpResponse:
    """An error as problem+json; `detail` says what is wrong and what would be right."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **further}
    response = func.HttpResponse(json.dumps(body), status_code=status, mimetype="application/problem+json")
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def answers_problems(trigger: Trigger) -> Trigger:
    """Turn the core's errors into answers; anything else is logged whole and shown as nothing but its time."""

    @functools.wraps(trigger)
    def answering(req: func.HttpRequest) -> func.HttpResponse:
        try:
            return trigger(req)
        except NotSignedIn as error:
            return problem(401, "Not signed in", str(error))
        except NotPermitted as error:
            return problem(403, "Not permitted", str(error))
        except NotFound as error:
            return problem(404, "Not found", str(error))
        except Invalid as error:
            return problem(400, "Not acceptable as it is", str(error), field=error.field, allowed=error.allowed)
        except Transient as error:
            return problem(503, "Try again", str(error))
        except Exception:
            log.exception("%s %s failed", req.method, req.url)
            return problem(500, "Something broke", "The error is in the log. Nothing was half-written; try again.")

    return answering


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
    """The request's body as `kind`; raises Invalid naming the first wrong field and what is allowed."""
    raw = req.get_body()
    if len(raw) > BODY_LIMIT:
        raise Invalid("body", f"has {len(raw)} bytes", f"at most {BODY_LIMIT}")
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "body"
        raise Invalid(place, first["msg"], ", ".join(kind.model_fields)) from error


def page_of(req: func.HttpRequest) -> tuple[int, str | None]:
    """`size` and `continuation` of a list."""
    text = req.params.get("size", str(DEFAULT_PAGE))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 200:
        raise Invalid("size", f"is {text!r:.40}", "a whole number from 1 to 200")
    return int(text), req.params.get("continuation")


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
