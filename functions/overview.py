"""The overview over HTTP: what needs a person, circuits at a glance, forecasts and measurements, who did what."""

from __future__ import annotations

from pydantic import Field

from functions.answers import Acts, CircuitSeries, DaysOfCircuits, Glances, Needs, TestSeries
from functions.endpoints import Endpoints, found
from functions.http import NotFound
from functions.parameters import At, CircuitId, Days, Page, PageOfDays, ReleaseId
from shared.overview import Show
from shared.wiring import wired

bp = Endpoints()


class PageOfGlances(Page):
    """A part of the circuits: of one plant, with a text in key or name, in a certain state; where these are given."""

    plant: str | None = Field(None, pattern=r"^[A-Za-z][A-Za-z0-9]{0,6}$", description="a plant such as P001")
    text: str = Field("", max_length=100, description="at most 100 characters of a key or a name")
    show: Show = Field(Show.ALL, description=", ".join(Show))


class PageOfDaysOfCircuits(PageOfDays):
    """A part of the circuits, and a span of days."""

    plant: str | None = Field(None, pattern=r"^[A-Za-z][A-Za-z0-9]{0,6}$", description="a plant such as P001")
    text: str = Field("", max_length=100, description="at most 100 characters of a key or a name")


class PageOfActs(At, Page):
    """A part of what people did, from a time on backwards."""


@bp.get("overview/needs", fleeting={"at"})
def show_needs() -> Needs:
    """What needs a person now: open gates, releases that went wrong or are slow, holds, discrepancies."""
    return Needs.model_validate(wired().overview.needs())


@bp.get("overview/circuits")
def list_glances(query: PageOfGlances) -> Glances:
    """Every circuit at a glance; `plant`, `text` and `show` leave the others out."""
    listing = wired().overview.circuits(query.size, query.continuation, query.plant or "", query.text, query.show)
    plants = wired().overview.plants()
    return Glances.model_validate({"circuits": listing.entries, "continuation": listing.continuation, "plants": plants})


@bp.get("overview/days")
def list_days_of_circuits(query: PageOfDaysOfCircuits) -> DaysOfCircuits:
    """How each day of each circuit stands; `plant` and `text` leave the others out."""
    span = query.span(wired().application.ports.clock.now().date())
    listing = wired().overview.days(*span, query.size, query.continuation, query.plant or "", query.text)
    return DaysOfCircuits.model_validate({"circuits": listing.entries, "continuation": listing.continuation})


@bp.get("circuits/{circuit}/series")
def show_series(circuit: CircuitId, query: Days) -> CircuitSeries:
    """The circuit's standing forecasts beside what was measured, each day's error, and which model served when."""
    span = query.span(wired().application.ports.clock.now().date())
    return CircuitSeries.model_validate(wired().series.of_circuit(_configured(circuit), *span))


@bp.get("releases/{release}/test-series")
def show_test_series(release: ReleaseId) -> TestSeries:
    """The forecast of a release's test inference beside what was measured, and beside what serves."""
    shown = found(wired().queries.release(release), "release", release)
    return TestSeries.model_validate(wired().series.of_test(_configured(shown["circuit"]), shown["test"]))


@bp.get("audit")
def list_acts(query: PageOfActs) -> Acts:
    """Who did what when, newest first; `date` is where the list begins."""
    listing = wired().queries.acts(query.size, query.continuation, query.at)
    return Acts.model_validate({"acts": listing.entries, "continuation": listing.continuation})


def _configured(circuit: str) -> str:
    if circuit not in wired().application.directory.circuits():
        raise NotFound(f"there is no circuit {circuit!r}")
    return circuit
