"""Daily scoring: the ledger, and days that are scored by command."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cli.circuits import CIRCUIT, NOT_IN_TIME
from cli.context import At, Change, Command, Day, changes, make
from cli.screen import facts, pair, plain, table
from shared.domain.ledger import PUBLISHED
from shared.domain.scoring import SCORING
from shared.domain.scoring import Phase as ScoringPhase

LOOK_SECONDS = 3.0
SCORED = str(ScoringPhase.SCORED)


@click.command(cls=Command)
@click.argument("circuit", type=CIRCUIT, required=False)
@click.option("--from", "first", type=Day(), help="The first day (UTC); six days before the last by default.")
@click.option("--to", "last", type=Day(), help="The last day (UTC); today by default.")
@click.pass_obj
def ledger(at: At, circuit: str | None, first: date | None, last: date | None) -> None:
    """How complete the days are, and who is not done; or one circuit's days."""
    if first and last and first > last:
        raise click.UsageError(f"--from {first} is after --to {last}")
    if circuit:
        found = at.api.get(f"circuits/{circuit}/ledger", **{"from": first, "to": last})
        at.screen.show(found, table(circuit, ("day", "state", "by", "attempts", "reason"), map(_of_day, found["days"])))
        return
    found = at.api.get("ledger/days", **{"from": first, "to": last})
    rows = (
        (
            day["day"],
            day["expected"],
            _published(day),
            _rate(day["success_rate"]),
            _rate(day["on_time_rate"]),
            _left(day),
        )
        for day in found["days"]
    )
    at.screen.show(found, table("Days", ("day", "expected", "published", "success", "on time", "not done"), rows))


def _of_day(day: dict[str, Any]) -> tuple[Any, ...]:
    run = day["runs"][-1] if day["runs"] else None
    if run is None:
        return day["day"], day["state"], "-", 0, ""
    return day["day"], day["state"], pair(run["pair"]), sum(each["attempts"] for each in day["runs"]), run["reason"]


def _published(day: dict[str, Any]) -> int:
    return sum(day["states"][state] for state in PUBLISHED)


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1%}"


def _left(day: dict[str, Any]) -> str:
    return "; ".join(f"{state}: {', '.join(circuits)}" for state, circuits in day["not_done"].items())


@click.command(cls=Command)
@click.argument("circuits", metavar="[CIRCUIT]...", nargs=-1, type=CIRCUIT)
@click.option("--day", type=Day(), help="UTC date of the forecast origin; today by default.")
@click.option("--comment", default="", help="Why; kept with the runs.")
@click.option("--wait", type=click.FloatRange(0, min_open=True), metavar="MINUTES", help="Wait until it is published.")
@changes
@click.pass_obj
def score(
    at: At, circuits: tuple[str, ...], day: date | None, comment: str, wait: float | None, change: Change
) -> None:
    """Score a day: wherever its forecast was not published, or the circuits that are named, also where one stands."""
    origin = day or datetime.now(UTC).date()
    body = {"day": str(origin), "comment": comment}
    answers: list[dict[str, Any]] = []
    for circuit in circuits:
        one = Change(change.dry_run, f"{change.key[:48]}.{circuit[-15:]}")
        stands = _standing_of(at, circuit, origin)
        answers += filter(None, [make(at, one, f"circuits/{circuit}/scorings", body, lambda known=stands: known)])  # type: ignore[misc]
    if not circuits:
        answers += filter(None, [make(at, change, "ledger/fill", body, lambda: _would_fill(at, origin))])
    if change.dry_run:
        return
    runs = (
        dict(zip(circuits, (answer["run"] for answer in answers), strict=True)) if circuits else answers[0]["circuits"]
    )
    asked = [(run, "asked for") for run in runs.values()]
    if circuits:
        asked = [(answer["run"], answer["note"] or "asked for") for answer in answers]
    shown = facts(asked or [(str(origin), "no circuit that serves is without its forecast")])
    document: dict[str, Any] = {"day": str(origin), "asked": answers}
    if wait is None:
        at.screen.show(document, shown)
        return
    states = _ended(at, runs, origin, wait)
    at.screen.show({**document, "states": states}, shown, facts([("published", _count(states)), *_unpublished(states)]))
    if not all(state in SCORING.ends for state in states.values()):
        raise click.exceptions.Exit(NOT_IN_TIME)
    if any(state != SCORED for state in states.values()):
        raise click.exceptions.Exit(1)


def _count(states: Mapping[str, str]) -> str:
    return f"{sum(state == SCORED for state in states.values())} of {len(states)}"


def _unpublished(states: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(circuit, state) for circuit, state in states.items() if state != SCORED]


def _standing_of(at: At, circuit: str, day: date) -> dict[str, Any]:
    days = at.api.get(f"circuits/{circuit}/ledger", **{"from": day, "to": day})["days"]
    return {circuit: days[0]["state"] if days else "not expected", "runs": len(days[0]["runs"]) if days else 0}


def _would_fill(at: At, day: date) -> dict[str, Any]:
    circuits = at.api.get("ledger/fill", day=day)["circuits"]
    return {"would score": len(circuits), "circuits": ", ".join(circuits) or "none"}


def _ended(at: At, runs: Mapping[str, str], day: date, minutes: float) -> dict[str, str]:
    """How each circuit's run stands once all have ended, or when the time is over."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    until = time.monotonic() + 60 * minutes
    with Progress(*columns, console=at.screen.err, transient=True) as progress:
        bar = progress.add_task(plain(f"Forecasts of {day}"), total=len(runs))
        while True:
            entries = at.api.pages("ledger", "entries", **{"from": day, "to": day}) if runs else ()
            days = {entry["circuit"]: entry for entry in entries}
            states = {circuit: _phase(run, days.get(circuit)) for circuit, run in runs.items()}
            ended = sum(state in SCORING.ends for state in states.values())
            progress.update(bar, completed=ended)
            if ended == len(runs) or time.monotonic() >= until:
                return states
            time.sleep(LOOK_SECONDS)


def _phase(run: str, day: Mapping[str, Any] | None) -> str:
    """How a run stands; where the day's own scoring came before it, how that one does."""
    runs = {each["run"]: each["phase"] for each in day["runs"]} if day else {}
    return str(runs.get(run) or (SCORED if day and day["published_run"] else "not begun"))


COMMANDS = (ledger, score)
