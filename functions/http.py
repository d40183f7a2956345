"""What HTTP triggers share: JSON answers, problems (RFC 9457), and who is calling."""

from __future__ import annotations

import functools
import json
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import azure.functions as func

from shared.configuration import ConfigurationError
from shared.domain.messages import Person
from shared.errors import Invalid, Permanent, Transient
from shared.identity import NotPermitted, NotSignedIn
from shared.settings import SettingsError
from shared.wiring import wired

log = logging.getLogger("fleet.http")

RETRY_AFTER_SECONDS = 5.0

Trigger = Callable[[func.HttpRequest], func.HttpResponse]


class Refused(Exception):
    """The request is understood and not carried out: `status` and `title` say which kind of no it is, the text why."""

    def __init__(
        self, status: int, title: str, detail: str, headers: Mapping[str, str] | None = None, **further: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.headers = headers
        self.further = further


class NotFound(Refused):
    """There is no such thing; the text names it."""

    def __init__(self, detail: str) -> None:
        super().__init__(404, "Not found", detail)


class TooLarge(Refused):
    """The body is larger than anything this takes; the text says how large it may be."""

    def __init__(self, detail: str) -> None:
        super().__init__(413, "Too large", detail)


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
        except Refused as error:
            return problem(error.status, error.title, str(error), error.headers, **error.further)
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
    """The signed-in person, or a program with a role here; raises NotSignedIn."""
    return wired().tokens.caller(req.headers.get("authorization"))


def approver(req: func.HttpRequest) -> Person:
    """The signed-in person: no program answers for people; raises NotSignedIn."""
    return wired().tokens.person(req.headers.get("authorization"))


def operator(req: func.HttpRequest) -> Person:
    """The caller, who must be in a group, or have a role, that operates the fleet; raises NotPermitted."""
    person = caller(req)
    groups = wired().settings.operators
    if not set(groups) & set(person.groups):
        raise NotPermitted(f"{person.username} is in none of the groups that may do this: {', '.join(groups)}")
    return person
