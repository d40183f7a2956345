"""The completeness ledger over HTTP: what was published, late, missing or failed; and scorings by command."""

from __future__ import annotations

from datetime import date

from pydantic import Field

from functions.answers import (
    FillAsked,
    Forecasts,
    LedgerDays,
    LedgerEntries,
    LedgerOfCircuit,
    ScoringAsked,
    ScoringsAsked,
    ToFill,
)
from functions.endpoints import Answered, Endpoints
from functions.http import NotFound, Refused
from functions.parameters import Body, CircuitId, Day, Days, Operator, PageOfDays, Query, WholeNumber
from shared.domain.identifiers import PLANT
from shared.domain.machine import Verdict
from shared.rescoring import Asked
from shared.wiring import wired

bp = Endpoints()


class DayBody(Body):
    """A day (UTC date of its forecast origin) to be scored, and why."""

    day: Day
    comment: str = Field(default="", max_length=1000)


class ModelBody(Body):
    """A model version whose standing forecasts are to be made anew, of the days from `first` to `last`, and why."""

    model: int = Field(ge=1, le=999_999_999)
    first: Day
    last: Day
    comment: str = Field(default="", max_length=1000)


class DaysOfPlant(Days):
    """Days; of one plant's circuits, or of the fleet's."""

    plant: str | None = Field(None, pattern=PLANT.whole, description="a plant such as P001")


class OneDay(Query):
    """A day; nothing given: today."""

    day: Day | None = Field(None, description="a day such as 2026-01-31")


class PageOfForecasts(PageOfDays):
    """Days, and the model version that made their forecasts."""

    model: WholeNumber = Field(ge=1, le=999_999_999, description="a whole number from 1")


@bp.get("ledger")
def list_ledger(query: PageOfDays) -> LedgerEntries:
    """The days' scorings by day and circuit: done, late, under way, missing, failed, retried, made twice."""
    listing = wired().ledger.entries(*query.span(_today()), query.size, query.continuation)
    return LedgerEntries.model_validate({"entries": listing.entries, "continuation": listing.continuation})


@bp.get("ledger/days")
def show_ledger_days(query: DaysOfPlant) -> LedgerDays:
    """How complete each day is, with success rates, and which circuits are not done; `plant` leaves the others out."""
    return LedgerDays.model_validate(wired().ledger.days(*query.span(_today()), query.plant or ""))


@bp.get("ledger/fill")
def show_fill(query: OneDay) -> ToFill:
    """Which circuits a fill of the day would score now."""
    return ToFill(circuits=wired().rescoring.to_fill(query.day or _today()))


@bp.post("ledger/fill", statuses=(202,))
def fill_day(person: Operator, body: DayBody) -> Answered[FillAsked]:
    """Score a day for every circuit whose forecast was not published."""
    asked, circuits = wired().rescoring.fill(body.day, Asked(person.username, body.comment))
    progress = f"ledger/days?from={body.day}&to={body.day}"
    return Answered(FillAsked(asked=asked, circuits=circuits, progress=progress), 202)


@bp.get("circuits/{circuit}/ledger")
def show_ledger_of_circuit(circuit: CircuitId, query: Days) -> LedgerOfCircuit:
    """One circuit's days, each with its runs, also those where nothing has begun."""
    days = wired().ledger.of_circuit(_configured(circuit), *query.span(_today()))
    return LedgerOfCircuit(days=tuple(days))


@bp.post("circuits/{circuit}/scorings", statuses=(202, 208))
def score_day(person: Operator, circuit: CircuitId, body: DayBody) -> Answered[ScoringAsked]:
    """Score a day with what serves now, also where a forecast stands."""
    run, advanced = wired().rescoring.score(_configured(circuit), body.day, Asked(person.username, body.comment))
    if advanced.verdict is Verdict.REFUSED:
        raise Refused(409, "Not possible now", advanced.reason)
    begun = advanced.verdict is Verdict.APPLIED
    return Answered(ScoringAsked(run=run, note=advanced.reason), 202 if begun else 208)


@bp.get("circuits/{circuit}/forecasts")
def list_forecasts(circuit: CircuitId, query: PageOfForecasts) -> Forecasts:
    """The forecasts that the version in `model` ever published, and whether each still stands."""
    span = query.span(_today())
    listing = wired().ledger.forecasts(_configured(circuit), query.model, *span, query.size, query.continuation)
    return Forecasts.model_validate({"forecasts": listing.entries, "continuation": listing.continuation})


@bp.post("circuits/{circuit}/forecasts/score-again", statuses=(202,))
def score_again(person: Operator, circuit: CircuitId, body: ModelBody) -> Answered[ScoringsAsked]:
    """Have what serves now make a model version's standing forecasts anew."""
    asked = Asked(person.username, body.comment)
    made = wired().rescoring.score_again(_configured(circuit), body.model, body.first, body.last, asked)
    return Answered(ScoringsAsked.model_validate(made), 202)


def _configured(circuit: str) -> str:
    if circuit not in wired().application.directory.circuits():
        raise NotFound(f"there is no circuit {circuit!r}")
    return circuit


def _today() -> date:
    return wired().application.ports.clock.now().date()
