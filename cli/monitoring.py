"""Performance and drift: what the newest checks found, and checks on demand."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click

from cli.circuits import NOT_IN_TIME
from cli.context import At, Change, Command, Id, changes, make
from cli.screen import facts, table, when
from shared.domain import identifiers as i
from shared.domain.monitoring.run import Phase
from shared.domain.values import Monitoring

AMONG = Id("circuit or plant", i.CIRCUIT, i.PLANT)
LOOK_SECONDS = 3.0
SHOWN_RUNS = 10


def _command(monitoring: Monitoring, text: str) -> Callable[..., Any]:
    """The command of one kind of check."""

    @click.command(str(monitoring), cls=Command, help=text)
    @click.argument("among", metavar="[CIRCUIT|PLANT]", type=AMONG, required=False)
    @click.option("--check", is_flag=True, help="Look now: at the circuit, the plant, or the fleet.")
    @click.option("--period", help="With --check: which, such as 2026-01 or 2026-Q1; the newest by default.")
    @click.option("--comment", default="", help="With --check: why.")
    @click.option(
        "--wait", type=click.FloatRange(0, min_open=True), metavar="MINUTES", help="With --check: until it ends."
    )
    @changes
    @click.pass_obj
    def command(
        at: At,
        among: str | None,
        check: bool,
        period: str | None,
        comment: str,
        wait: float | None,
        change: Change,
    ) -> None:
        if check:
            _ask(at, monitoring, among, period, comment, wait, change)
        elif among and i.CIRCUIT.fits(among):
            _of_circuit(at, monitoring, among)
        else:
            _runs(at, monitoring, among or "")

    return command


def _runs(at: At, monitoring: Monitoring, among: str) -> None:
    """The newest runs, and what the newest of them found."""
    found = at.api.get("monitoring/runs", monitoring=monitoring, size=SHOWN_RUNS)["runs"]
    runs = [run for run in found if not among or run["among"] == among]
    verdicts = _verdicts(at, runs[0]["id"]) if runs else []
    rows = (
        (r["id"], r["period"]["name"], r["among"] or "fleet", r["phase"], when(r["since"]), _counts(r)) for r in runs
    )
    at.screen.show(
        {"runs": runs, "verdicts": verdicts},
        table(f"{monitoring} checks", ("run", "period", "of", "phase", "since", "found"), rows),
        *([_table(runs[0]["id"], verdicts)] if runs else []),
    )


def _counts(run: dict[str, Any]) -> str:
    return ", ".join(f"{count} {verdict}" for verdict, count in run["counts"].items() if count) or str(run["reason"])


def _verdicts(at: At, run: str) -> list[dict[str, Any]]:
    return list(at.api.pages(f"monitoring/runs/{run}/verdicts", "verdicts"))


def _table(run: str, verdicts: list[dict[str, Any]]) -> Any:
    rows = ((v["circuit"], v["verdict"], v["model"], ", ".join(v["features"]), v["reason"]) for v in verdicts)
    return table(f"Found by {run}", ("circuit", "verdict", "model", "columns", "reason"), rows, "nothing yet")


def _of_circuit(at: At, monitoring: Monitoring, circuit: str) -> None:
    found = at.api.get(f"circuits/{circuit}/monitoring")
    rows = (
        (judged["period"], judged["verdict"], judged["model"], judged["check"]) for judged in found[str(monitoring)]
    )
    standing = [(each["id"], each["phase"]) for each in found["standing"]]
    at.screen.show(
        found,
        table(f"{monitoring} of {circuit}", ("period", "verdict", "model", "check"), rows),
        *([facts(standing)] if standing else []),
    )


def _ask(
    at: At,
    monitoring: Monitoring,
    among: str | None,
    period: str | None,
    comment: str,
    wait: float | None,
    change: Change,
) -> None:
    body: dict[str, Any] = {"comment": comment}
    if among:
        body["circuit" if i.CIRCUIT.fits(among) else "plant"] = among
    if period:
        body["period"] = period
    answer = make(at, change, f"monitoring/{monitoring}", body, lambda: _newest(at, monitoring))
    if answer is None:
        return
    if wait is None or not answer["run"]:
        at.screen.show(answer, facts([(answer["run"] or "nothing begun", answer["note"] or "asked for")]))
        return
    run = _ended(at, answer["run"], wait)
    verdicts = _verdicts(at, run["id"])
    at.screen.show({**run, "verdicts": verdicts}, facts([(run["id"], run["phase"])]), _table(run["id"], verdicts))
    if run["phase"] == Phase.ERRORED:
        raise click.exceptions.Exit(1)
    if run["phase"] != Phase.COMPLETED:
        raise click.exceptions.Exit(NOT_IN_TIME)


def _newest(at: At, monitoring: Monitoring) -> dict[str, Any]:
    runs = at.api.get("monitoring/runs", monitoring=monitoring, size=1)["runs"]
    return {"newest": f"{runs[0]['id']}, {runs[0]['phase']}" if runs else "none yet"}


def _ended(at: At, run: str, minutes: float) -> dict[str, Any]:
    """The run once it has ended, or when the time is over."""
    until = time.monotonic() + 60 * minutes
    with at.screen.err.status(f"{run} is under way"):
        while True:
            found = at.api.get(f"monitoring/runs/{run}")
            if found["phase"] in (Phase.COMPLETED, Phase.ERRORED) or time.monotonic() >= until:
                return found
            time.sleep(LOOK_SECONDS)


COMMANDS = (
    _command(Monitoring.DRIFT, "What the newest drift checks found of the fleet, a plant or a circuit; or check now."),
    _command(Monitoring.PERFORMANCE, "What the newest performance checks found, of the same; or check now."),
)
