"""Monitoring over HTTP: runs asked for and what they found, each circuit's verdicts, and the pages about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import azure.functions as func
from pydantic import Field, TypeAdapter, field_validator, model_validator

from functions.answers import CheckShown, CircuitMonitoring, History, MonitoringBegun, MonitoringRuns, Verdicts
from functions.endpoints import STATUS_OF_REFUSAL, Answered, Endpoints, found, path_value
from functions.http import NotFound, Refused, answers_problems, caller
from functions.parameters import Body, CheckedBy, CircuitId, MonitoringRunId, Operator, Page, PlantId, RequestId
from shared.domain import messages as m
from shared.domain.machine import Verdict
from shared.domain.monitoring import ROOT as MONITOR
from shared.domain.monitoring import MonitoringRun
from shared.domain.monitoring.messages import MonitoringAsked
from shared.domain.monitoring.run import MONITORING
from shared.domain.period import Period, named
from shared.domain.values import Monitoring, split_circuit
from shared.wiring import wired

bp = Endpoints()

PAGE_POLICY = "; ".join(
    (
        "sandbox",
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'self'",
    )
)
"""A report shows what configuration and sensors say: nothing in it may run, load, send or be clicked on unawares."""
PAGE_HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-store",
}


class MonitoringBody(Body):
    """What is to be looked at: a circuit, a plant, or (neither named) the fleet; `period` without a name is the newest.

    A period is a day, a week, a month or a quarter: 2026-01-31, 2026-W05, 2026-01, 2026-Q1. Performance is looked at
    over all of it; of drift it names the day with which the window ends.
    """

    circuit: CircuitId | None = None
    plant: PlantId | None = None
    period: str | None = Field(default=None, examples=["2026-01"])
    comment: str = Field(default="", max_length=1000)

    @field_validator("period")
    @classmethod
    def _one_that_there_is(cls, period: str | None) -> str | None:
        if period is not None:
            named(period)
        return period

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.circuit and self.plant:
            raise ValueError("name a circuit or a plant, not both")
        return self


class PageOfRuns(Page):
    """A part of the list of runs, of one kind."""

    monitoring: Monitoring = Field(Monitoring.PERFORMANCE, description=", ".join(Monitoring))


@bp.post("monitoring/performance", statuses=(202, 208))
def check_performance(person: Operator, body: MonitoringBody, request: RequestId) -> Answered[MonitoringBegun]:
    """Hold published forecasts against what came, now."""
    return _asked(Monitoring.PERFORMANCE, person, body, request)


@bp.post("monitoring/drift", statuses=(202, 208))
def check_drift(person: Operator, body: MonitoringBody, request: RequestId) -> Answered[MonitoringBegun]:
    """Hold the newest readings against those that the models learned from, and decide, now."""
    return _asked(Monitoring.DRIFT, person, body, request)


def _asked(monitoring: Monitoring, person: m.Person, body: MonitoringBody, request: str) -> Answered[MonitoringBegun]:
    asked = MonitoringAsked(
        root=MONITOR,
        monitoring=monitoring,
        among=_among(body),
        period=_period(body),
        asked_by=person.username,
        comment=body.comment,
        request=request,
    )
    advanced = wired().application.advance(asked)
    if advanced.verdict is Verdict.REFUSED:
        raise Refused(STATUS_OF_REFUSAL.get(advanced.code, 409), "Not possible now", advanced.reason)
    run = next((line.item for line in advanced.history), "")
    begun = MonitoringBegun(run=run, progress=f"monitoring/runs/{run}" if run else "", note=advanced.reason)
    return Answered(begun, 202 if advanced.verdict is Verdict.APPLIED else 208)


def _among(body: MonitoringBody) -> str:
    circuits = wired().application.directory.circuits()
    if body.circuit and body.circuit not in circuits:
        raise NotFound(f"there is no circuit {body.circuit!r}")
    if body.plant and body.plant not in {split_circuit(circuit)[0] for circuit in circuits}:
        raise NotFound(f"there is no plant {body.plant!r}")
    return body.circuit or body.plant or ""


def _period(body: MonitoringBody) -> Period | None:
    return named(body.period) if body.period else None


@bp.get("monitoring/runs")
def list_monitoring_runs(query: PageOfRuns) -> MonitoringRuns:
    """The runs of one kind, newest first."""
    listing = wired().queries.monitoring_runs(query.monitoring, query.size, query.continuation)
    return MonitoringRuns.model_validate({"runs": listing.entries, "continuation": listing.continuation})


@bp.get("monitoring/runs/{run}")
def show_monitoring_run(run: MonitoringRunId) -> MonitoringRun:
    """One run: where it stands, and how many circuits got which verdict."""
    return MonitoringRun.model_validate(_run(run))


@bp.get("monitoring/runs/{run}/history")
def show_monitoring_history(run: MonitoringRunId, page: Page) -> History:
    """Everything that happened to one run, in order."""
    _run(run)
    listing = wired().queries.history_page(MONITOR, MONITORING, run, page.size, page.continuation)
    return History.model_validate({"history": listing.entries, "continuation": listing.continuation})


@bp.get("monitoring/runs/{run}/verdicts")
def list_verdicts(run: MonitoringRunId, page: Page) -> Verdicts:
    """What one run found out about each circuit, in the order of their names."""
    _run(run)
    listing = wired().monitoring.verdicts(run, page.size, page.continuation)
    return Verdicts.model_validate({"verdicts": listing.entries, "continuation": listing.continuation})


@bp.get("circuits/{circuit}/monitoring")
def show_circuit_monitoring(circuit: CircuitId) -> CircuitMonitoring:
    """The circuit's newest verdicts, newest period first, and what they came to that still stands."""
    return CircuitMonitoring.model_validate(found(wired().queries.monitoring_of(circuit), "circuit", circuit))


@bp.get("circuits/{circuit}/checks/{run}")
def show_check(circuit: CircuitId, run: CheckedBy) -> CheckShown:
    """The verdict of one run on one circuit, with everything it rests on."""
    return CheckShown.model_validate(found(_check(circuit, run), "verdict on", f"{circuit} by {run}"))


@bp.route("monitoring/runs/{run}/report", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def show_fleet_report(req: func.HttpRequest) -> func.HttpResponse:
    """The page about one run."""
    caller(req)
    run = path_value(req, "run", TypeAdapter(MonitoringRunId))
    return _page(run, str(_run(run)["report"]))


@bp.route("circuits/{circuit}/checks/{run}/report", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def show_circuit_report(req: func.HttpRequest) -> func.HttpResponse:
    """The page about one circuit in one run."""
    caller(req)
    circuit, run = (
        path_value(req, "circuit", TypeAdapter(CircuitId)),
        path_value(req, "run", TypeAdapter(CheckedBy)),
    )
    check = found(_check(circuit, run), "verdict on", f"{circuit} by {run}")
    if elsewhere := check["finding"]["shown_at"]:
        raise NotFound(f"{run} was AzureML's own model monitor, which shows it at {elsewhere}")
    return _page(run, str(check["finding"]["report"]))


def _page(run: str, name: str) -> func.HttpResponse:
    content = wired().monitoring.page(run, name)
    if content is None:
        raise NotFound(f"there is no page of {run}: it has not ended well, or its pages were taken away")
    return func.HttpResponse(content, headers=PAGE_HEADERS, mimetype="text/html", charset="utf-8")


def _run(run: str) -> Mapping[str, Any]:
    return found(wired().queries.monitoring_run(run), "monitoring run", run)


def _check(circuit: str, run: str) -> Mapping[str, Any] | None:
    return wired().queries.check(circuit, run)
