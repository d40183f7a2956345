"""Explanations over HTTP: where a circuit or the lake stands and what comes next, and what served at a time."""

from __future__ import annotations

import azure.functions as func

from functions.http import answer, answers_problems, caller, found, path, time_of
from functions.releases import CIRCUIT
from shared.domain.lake import ROOT as LAKE
from shared.wiring import wired

bp = func.Blueprint()


@bp.route("circuits/{circuit}/explain", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def explain_circuit(req: func.HttpRequest) -> func.HttpResponse:
    """Where a circuit and everything under way stands, what it waits for, who can act, and what can happen next."""
    caller(req)
    circuit = path(req, "circuit", CIRCUIT, "P001_C001")
    return _explained(circuit, "release or reading of circuit")


@bp.route("lake/explain", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def explain_lake(req: func.HttpRequest) -> func.HttpResponse:
    """The same of ETL runs and of what is told to every circuit."""
    caller(req)
    return _explained(LAKE, "ETL run or commit of the")


@bp.route("circuits/{circuit}/as-of", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def show_as_of(req: func.HttpRequest) -> func.HttpResponse:
    """What served at `date` (a day's end, or a time), from which data, approved by whom, on what evidence."""
    caller(req)
    circuit = path(req, "circuit", CIRCUIT, "P001_C001")
    at = time_of(req, "date", wired().application.ports.clock.now())
    return answer(found(wired().queries.as_of(circuit, at), f"pair that served at {at:%Y-%m-%dT%H:%MZ}", circuit))


def _explained(root: str, name: str) -> func.HttpResponse:
    application = wired().application
    explanation = wired().queries.explain(root, application.rules(root), application.ports.clock.now())
    return answer(found(explanation.model_dump(mode="json") if explanation else None, name, root))
