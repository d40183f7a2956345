"""Alerts over HTTP: what is open, one with its history, and who looks after it."""

from __future__ import annotations

import azure.functions as func

from functions.http import answer, answers_problems, body_of, caller, found, operator, page_of, path, recorded
from functions.orders import OrderBody
from shared.domain.alerts.causes import Severity
from shared.domain.alerts.messages import AlertAcknowledged
from shared.errors import Invalid
from shared.wiring import wired

bp = func.Blueprint()
KEY = r"[a-z][a-z-]{1,39}:[A-Za-z0-9][A-Za-z0-9_.:!@~+-]{0,119}"
EXAMPLE = "scoring:P001_C001"


@bp.route("alerts", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def list_alerts(req: func.HttpRequest) -> func.HttpResponse:
    """Open alerts, the critical and then the newest first; `plant` and `severity` leave the others out."""
    caller(req)
    listing = wired().queries.alerts(*page_of(req), plant=req.params.get("plant", ""), severity=_severity(req))
    return answer({"alerts": listing.entries, "continuation": listing.continuation})


@bp.route("alerts/{key}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def show_alert(req: func.HttpRequest) -> func.HttpResponse:
    """The newest alert of a key, open or closed, with everything that happened to it."""
    caller(req)
    key = path(req, "key", KEY, EXAMPLE)
    return answer(found(wired().queries.alert(key), "alert", key))


@bp.route("alerts/{key}/acknowledge", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def acknowledge_alert(req: func.HttpRequest) -> func.HttpResponse:
    """Somebody looks after it: it is not told again for a while. News is over with that."""
    person, key = operator(req), path(req, "key", KEY, EXAMPLE)
    alert = found(wired().queries.alert(key), "alert", key)
    order = AlertAcknowledged(
        root=alert["root"], person=person, alert=alert["id"], **body_of(req, OrderBody).model_dump()
    )
    return recorded(wired().application.advance(order), alert["root"])


def _severity(req: func.HttpRequest) -> Severity | None:
    text = req.params.get("severity", "")
    if text and text not in list(Severity):
        raise Invalid("severity", f"is {text!r:.40}", ", ".join(Severity))
    return Severity(text) if text else None
