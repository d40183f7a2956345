"""Explanations over HTTP: where a circuit or the lake stands and what comes next, and what served at a time."""

from __future__ import annotations

from functions.answers import ServedAsOf
from functions.endpoints import Endpoints, found
from functions.http import NotFound
from functions.parameters import At, CircuitId
from shared.domain.explain import Explanation
from shared.domain.lake import ROOT as LAKE
from shared.wiring import wired

bp = Endpoints()


@bp.get("circuits/{circuit}/explain", fleeting={"at"})
def explain_circuit(circuit: CircuitId) -> Explanation:
    """Where a circuit and everything under way stands, what it waits for, who can act, and what can happen next."""
    return _explained(circuit, f"release or reading of circuit {circuit!r}")


@bp.get("lake/explain", fleeting={"at"})
def explain_lake() -> Explanation:
    """The same of ETL runs and of what is told to every circuit."""
    return _explained(LAKE, "ETL run or commit of the lake")


@bp.get("circuits/{circuit}/as-of", fleeting={"at"})
def show_as_of(circuit: CircuitId, query: At) -> ServedAsOf:
    """What served at `date` (a day's end, or a time), from which data, approved by whom, on what evidence."""
    at = query.moment(wired().application.ports.clock.now())
    shown = wired().queries.as_of(circuit, at)
    return ServedAsOf.model_validate(found(shown, f"pair that served at {at:%Y-%m-%dT%H:%MZ}", circuit))


def _explained(root: str, name: str) -> Explanation:
    application = wired().application
    explanation = wired().queries.explain(root, application.rules(root), application.ports.clock.now())
    if explanation is None:
        raise NotFound(f"there is no {name}")
    return explanation
