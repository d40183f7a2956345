"""The overview over HTTP: what needs a person, every circuit at a glance, and who did what."""

from __future__ import annotations

import azure.functions as func

from functions.http import answer, answers_problems, caller, days_of, page_of, time_of
from shared.overview import show_of
from shared.wiring import wired

bp = func.Blueprint()


@bp.route("overview/needs", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def show_needs(req: func.HttpRequest) -> func.HttpResponse:
    """What needs a person now: open gates, releases that went wrong or are slow, holds, discrepancies."""
    caller(req)
    return answer(wired().overview.needs())


@bp.route("overview/circuits", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def list_glances(req: func.HttpRequest) -> func.HttpResponse:
    """Every circuit at a glance; `plant`, `text` and `show` (all, under way, waits for people, held) choose some."""
    caller(req)
    chosen = {name: req.params.get(name, "")[:100] for name in ("plant", "text")}
    listing = wired().overview.circuits(*page_of(req), **chosen, show=show_of(req.params.get("show", "")))
    plants = wired().overview.plants()
    return answer({"circuits": listing.entries, "continuation": listing.continuation, "plants": plants})


@bp.route("overview/days", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def list_days_of_circuits(req: func.HttpRequest) -> func.HttpResponse:
    """Days by circuits: how each day of each circuit stands; `plant` and `text` choose circuits."""
    caller(req)
    chosen = {name: req.params.get(name, "")[:100] for name in ("plant", "text")}
    span = days_of(req, wired().application.ports.clock.now().date())
    listing = wired().overview.days(*span, *page_of(req), **chosen)
    return answer({"circuits": listing.entries, "continuation": listing.continuation})


@bp.route("audit", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def list_acts(req: func.HttpRequest) -> func.HttpResponse:
    """Who did what when, newest first; `date` (a day's end, or a time) is where the list begins."""
    caller(req)
    until = time_of(req, "date", wired().application.ports.clock.now()) if req.params.get("date") else None
    listing = wired().queries.acts(*page_of(req), until)
    return answer({"acts": listing.entries, "continuation": listing.continuation})
