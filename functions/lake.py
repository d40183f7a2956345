"""The lake over HTTP: an ETL run now, what became of one, and what a Delta commit brought."""

from __future__ import annotations

from pydantic import Field

from functions.answers import CommitShown, EtlAsked, EtlShown
from functions.endpoints import Answered, Endpoints, found
from functions.http import NotFound
from functions.parameters import DeltaVersion, EtlRunId, Operator, Page
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


class PageOfCommit(Page):
    """A part of the circuits that a commit touched; `table` says which table's commit is meant."""

    table: str | None = Field(None, max_length=100, description="the table's id, as lineage names it")


@bp.get("lake/commits/{version}")
def show_commit(version: DeltaVersion, query: PageOfCommit) -> CommitShown:
    """One Delta commit: rows and files, the circuits that it touched, and the verdict on each one's readings."""
    shown = wired().commits.show(int(version), query.size, query.continuation)
    if shown is None:
        raise NotFound(f"the table's log has no version {version}: it was cleaned up, or has not been written yet")
    if query.table not in (None, shown["table_id"]):
        made_anew = f"the table is {shown['table_id']} now: {query.table} was replaced, with its log"
        raise NotFound(f"version {version} of table {query.table} is gone; {made_anew}")
    return CommitShown.model_validate(shown)
