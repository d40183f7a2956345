"""The lake over HTTP: an ETL run now, and what became of one."""

from __future__ import annotations

from functions.answers import EtlAsked, EtlShown
from functions.endpoints import Answered, Endpoints, found
from functions.parameters import EtlRunId, Operator
from shared.domain.lake import ETL
from shared.domain.lake import ROOT as LAKE
from shared.wiring import wired

bp = Endpoints()


@bp.post("lake/etl", statuses=(202, 208))
def ask_for_etl(person: Operator) -> Answered[EtlAsked]:
    """Run the ETL now, beside its schedule; asked for twice in one second it runs once."""
    application = wired().application
    slot = application.ports.clock.now().replace(microsecond=0)
    advanced = application.start_etl(slot, asked_by=person.username)
    run = f"etl-{slot:%Y%m%dT%H%M%SZ}"
    return Answered(EtlAsked(run=run, progress=f"lake/etl/{run}"), 202 if advanced.history else 208)


@bp.get("lake/etl/{run}")
def show_etl(run: EtlRunId) -> EtlShown:
    """Where an ETL run stands, whether it has ended, and everything that happened to it."""
    lines = wired().queries.history(LAKE, ETL, run)
    history = found({"lines": lines} if lines else None, "ETL run", run)["lines"]
    phase = history[-1]["after"]
    return EtlShown.model_validate({"run": run, "phase": phase, "ended": phase in ETL.ends, "history": history})
