"""Alerts over HTTP: what is open, one with its history, and who looks after it."""

from __future__ import annotations

from pydantic import Field

from functions.answers import Alerts, AlertShown, Recorded
from functions.endpoints import Answered, Endpoints, found, recorded
from functions.orders import OrderBody
from functions.parameters import AlertKey, Operator, Page, RequestId
from shared.domain.alerts.causes import Severity
from shared.domain.alerts.messages import AlertAcknowledged
from shared.domain.identifiers import PLANT
from shared.wiring import wired

bp = Endpoints()


class PageOfAlerts(Page):
    """A part of the open alerts: of one plant, of one severity, where these are given."""

    plant: str | None = Field(None, pattern=PLANT.whole, description="a plant such as P001")
    severity: Severity | None = Field(None, description=", ".join(Severity))


@bp.get("alerts")
def list_alerts(query: PageOfAlerts) -> Alerts:
    """Open alerts, the critical and then the newest first; `plant` and `severity` leave the others out."""
    listing = wired().queries.alerts(query.size, query.continuation, query.plant or "", query.severity)
    return Alerts.model_validate({"alerts": listing.entries, "continuation": listing.continuation})


@bp.get("alerts/{key}")
def show_alert(key: AlertKey) -> AlertShown:
    """The newest alert of a key, open or closed, with everything that happened to it."""
    return AlertShown.model_validate(found(wired().queries.alert(key), "alert", key))


@bp.post("alerts/{key}/acknowledge", statuses=(200, 208))
def acknowledge_alert(person: Operator, key: AlertKey, body: OrderBody, request: RequestId) -> Answered[Recorded]:
    """Somebody looks after it: it is not told again for a while. News is over with that."""
    alert = found(wired().queries.alert(key), "alert", key)
    order = AlertAcknowledged(root=alert["root"], person=person, alert=alert["id"], reason=body.reason, request=request)
    return recorded(wired().application.advance(order), alert["root"])
