"""Service hooks of Azure DevOps. The answers decide whether it goes on sending: an error gives the subscription up.

200 and 202: taken, or kept as a dead letter. 503: to be sent again. 400, 401, 413: not from Azure DevOps at all.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import azure.functions as func

from functions.http import answer, problem
from shared.errors import FleetError
from shared.hooks import FORGED, SOURCE, Hooks
from shared.wiring import wired

bp = func.Blueprint()
log = logging.getLogger("fleet.http")
BODY_LIMIT = 256 * 1024
AGAIN = {"Retry-After": "30"}


@bp.route("hooks/devops", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
def on_devops_hook(req: func.HttpRequest) -> func.HttpResponse:
    """Somebody answered a gate in Azure DevOps, or is asked there; only its service hooks call this."""
    return answered(req, lambda: wired().hooks)


def answered(req: func.HttpRequest, hooks: Callable[[], Hooks]) -> func.HttpResponse:
    """The answer to a hook; whatever goes wrong here is no reason for Azure DevOps to give up."""
    try:
        return _heard(req, hooks())
    except Exception as error:
        log.log(logging.WARNING if isinstance(error, FleetError) else logging.ERROR, "hook not taken", exc_info=error)
        return problem(503, "Send it again", "The hook could not be stored now.", AGAIN)


def _heard(req: func.HttpRequest, hooks: Hooks) -> func.HttpResponse:
    raw = req.get_body()
    text = raw[:BODY_LIMIT].decode(errors="replace")
    if not hooks.configured:
        return problem(503, "Not configured", "Gates are not asked in Azure DevOps here: set APPROVAL_CHANNEL.", AGAIN)
    if not hooks.admits(req.headers):
        hooks.keep(FORGED, "the secret is missing or wrong", text)
        return problem(401, "Not admitted", "The secret is missing or wrong.", {"WWW-Authenticate": "Basic"})
    if len(raw) > BODY_LIMIT:
        hooks.keep(SOURCE, f"the body has {len(raw)} bytes; at most {BODY_LIMIT} are taken", text)
        return problem(413, "Too large", f"At most {BODY_LIMIT} bytes are taken.")
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        hooks.keep(SOURCE, "the body is no JSON object", text)
        return problem(400, "Not a hook", "The body is no JSON object.")
    taken = hooks.hear(document)
    return answer({"result": taken.result}, 202 if taken.kept else 200)
