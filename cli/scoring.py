"""Daily scoring: the ledger, and days that are scored by command."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cli.circuits import CIRCUIT, NOT_IN_TIME
from cli.context import At, Change, Command, Day, changes, make
from cli.screen import facts, pair, plain, table
from shared.domain.ledger import PUBLISHED

LOOK_SECONDS = 3.0


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
    span = {"from": origin, "to": origin}
    body = {"day": str(origin), "comment": comment}
    answers: list[dict[str, Any]] = []
    for circuit in circuits:
        one = Change(change.dry_run, f"{change.key[:48]}.{circuit[-15:]}")
        stands = _standing_of(at, circuit, span)
        answers += filter(None, [make(at, one, f"circuits/{circuit}/scorings", body, lambda known=stands: known)])  # type: ignore[misc]
    if not circuits:
        answers += filter(None, [make(at, change, "ledger/fill", body, lambda: _day(at, span))])
    if change.dry_run:
        return
    done = _wait(at, circuits, span, wait) if wait else None
    document = {"day": str(origin), "asked": answers, **({"done": done} if wait else {})}
    asked = [(str(answer.get("run") or answer.get("asked")), answer.get("note") or "asked for") for answer in answers]
    at.screen.show(document, facts(asked), *([facts([("published", "yes" if done else "no")])] if wait else []))
    if wait and not done:
        raise click.exceptions.Exit(NOT_IN_TIME)


def _standing_of(at: At, circuit: str, span: dict[str, date]) -> dict[str, Any]:
    days = at.api.get(f"circuits/{circuit}/ledger", **span)["days"]
    return {circuit: days[0]["state"] if days else "not expected", "runs": len(days[0]["runs"]) if days else 0}


def _day(at: At, span: dict[str, date]) -> dict[str, Any]:
    days = at.api.get("ledger/days", **span)["days"]
    return {"expected": days[0]["expected"], "not done": _left(days[0]) or "none"} if days else {"expected": 0}


def _wait(at: At, circuits: tuple[str, ...], span: dict[str, date], minutes: float) -> bool:
    """Whether all is published before the time is over."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    until = time.monotonic() + 60 * minutes
    with Progress(*columns, console=at.screen.err, transient=True) as progress:
        bar = progress.add_task(plain(f"Forecasts of {span['from']}"), total=None)
        while True:
            published, expected = _progress(at, circuits, span)
            progress.update(bar, completed=published, total=expected)
            if published >= expected:
                return True
            if time.monotonic() >= until:
                return False
            time.sleep(LOOK_SECONDS)


def _progress(at: At, circuits: tuple[str, ...], span: dict[str, date]) -> tuple[int, int]:
    """Forecasts that are published, of those that are wanted: of a circuit, the one of the newest run."""
    if not circuits:
        days = at.api.get("ledger/days", **span)["days"]
        return (_published(days[0]), days[0]["expected"]) if days else (0, 0)
    published = 0
    for circuit in circuits:
        days = at.api.get(f"circuits/{circuit}/ledger", **span)["days"]
        runs = days[0]["runs"] if days else []
        published += bool(runs) and runs[-1]["run"] == days[0]["published_run"]
    return published, len(circuits)


COMMANDS = (ledger, score)
