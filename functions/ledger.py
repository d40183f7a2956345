"""The completeness ledger over HTTP: what was published, late, missing or failed; and scorings by command."""

from __future__ import annotations

from datetime import date

import azure.functions as func
from pydantic import BaseModel, ConfigDict, Field

from functions.http import (
    NotFound,
    answer,
    answers_problems,
    body_of,
    caller,
    days_of,
    number_of,
    operator,
    page_of,
    path,
    problem,
)
from functions.releases import CIRCUIT
from shared.domain.machine import Verdict
from shared.rescoring import Asked
from shared.wiring import wired

bp = func.Blueprint()


class DayBody(BaseModel):
    """A day (UTC date of its forecast origin) to be scored, and why."""

    model_config = ConfigDict(extra="forbid")

    day: date
    comment: str = Field(default="", max_length=1000)


class ModelBody(BaseModel):
    """A model version whose standing forecasts are to be made anew, of the days from `first` to `last`, and why."""

    model_config = ConfigDict(extra="forbid")

    model: int = Field(ge=1)
    first: date
    last: date
    comment: str = Field(default="", max_length=1000)


@bp.route("ledger", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def list_ledger(req: func.HttpRequest) -> func.HttpResponse:
    """The days' scorings by day and circuit: done, late, under way, missing, failed, retried, made twice."""
    caller(req)
    listing = wired().ledger.entries(*days_of(req, _today()), *page_of(req))
    return answer({"entries": listing.entries, "continuation": listing.continuation})


@bp.route("ledger/days", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def show_ledger_days(req: func.HttpRequest) -> func.HttpResponse:
    """How complete each day is, with success rates, and which circuits are not done."""
    caller(req)
    return answer(wired().ledger.days(*days_of(req, _today())))


@bp.route("ledger/fill", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def fill_day(req: func.HttpRequest) -> func.HttpResponse:
    """Score a day for every circuit whose forecast was not published."""
    person = operator(req)
    body = body_of(req, DayBody)
    asked = wired().rescoring.fill(body.day, Asked(person.username, body.comment))
    return answer({"asked": asked, "progress": f"ledger/days?from={body.day}&to={body.day}"}, 202)


@bp.route("circuits/{circuit}/ledger", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def show_ledger_of_circuit(req: func.HttpRequest) -> func.HttpResponse:
    """One circuit's days, each with its runs, also those where nothing has begun."""
    caller(req)
    days = wired().ledger.of_circuit(_circuit(req), *days_of(req, _today()))
    return answer({"days": [day.model_dump(mode="json") for day in days]})


@bp.route("circuits/{circuit}/scorings", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def score_day(req: func.HttpRequest) -> func.HttpResponse:
    """Score a day with what serves now, also where a forecast stands."""
    person = operator(req)
    circuit, body = _circuit(req), body_of(req, DayBody)
    run, advanced = wired().rescoring.score(circuit, body.day, Asked(person.username, body.comment))
    if advanced.verdict is Verdict.REFUSED:
        return problem(409, "Not possible now", advanced.reason)
    begun = advanced.verdict is Verdict.APPLIED
    return answer({"run": run, "note": advanced.reason}, 202 if begun else 208)


@bp.route("circuits/{circuit}/forecasts", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def list_forecasts(req: func.HttpRequest) -> func.HttpResponse:
    """The forecasts that the version in `model` ever published, and whether each still stands."""
    caller(req)
    span = days_of(req, _today())
    listing = wired().ledger.forecasts(_circuit(req), number_of(req, "model"), *span, *page_of(req))
    return answer({"forecasts": listing.entries, "continuation": listing.continuation})


@bp.route("circuits/{circuit}/forecasts/score-again", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def score_again(req: func.HttpRequest) -> func.HttpResponse:
    """Have what serves now make a model version's standing forecasts anew."""
    person = operator(req)
    circuit, body = _circuit(req), body_of(req, ModelBody)
    asked = Asked(person.username, body.comment)
    return answer(wired().rescoring.score_again(circuit, body.model, body.first, body.last, asked), 202)


def _circuit(req: func.HttpRequest) -> str:
    circuit = path(req, "circuit", CIRCUIT, "P001_C001")
    if circuit not in wired().application.directory.circuits():
        raise NotFound(f"there is no circuit {circuit!r}")
    return circuit


def _today() -> date:
    return wired().application.ports.clock.now().date()
