"""Environment releases: shown, previewed, begun, followed through the fleet, and ordered about as people must."""

from __future__ import annotations

import time
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cli.circuits import NOT_IN_TIME
from cli.context import At, Change, Group, Id, because, changes, make, told
from cli.screen import facts, pair, plain, table, when
from shared.domain import identifiers as i
from shared.domain.environment.release import ENDS, Phase
from shared.domain.update import UNDER_WAY

VERSION = Id("environment version", i.ENVIRONMENT_VERSION)
LOOK_SECONDS = 3.0
STILL = {*map(str, ENDS), str(Phase.HALTED), str(Phase.LIVE)}
"""Phases in which nothing moves by itself for a long time."""


@click.group(cls=Group)
def environments() -> None:
    """Releases of the environment that trains and scores, onto the whole fleet."""


@environments.command("list")
@click.pass_obj
def listed(at: At) -> None:
    """Every release, newest version first."""
    found = list(at.api.pages("environments", "environments"))
    rows = ((e["version"], e["phase"], when(e["since"]), _counts(e["counts"]), e["reason"]) for e in found)
    at.screen.show(
        {"environments": found}, table("Environments", ("version", "phase", "since", "circuits", "reason"), rows)
    )


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {phase}" for phase, count in counts.items() if count)


@environments.command()
@click.argument("version", type=VERSION)
@click.option(
    "--wait", type=click.FloatRange(0, min_open=True), metavar="MINUTES", help="Follow it until it stands still."
)
@click.pass_obj
def show(at: At, version: str, wait: float | None) -> None:
    """One release, and where the update of each circuit stands."""
    found = _followed(at, version, wait) if wait else at.api.get(f"environments/{version}")
    updates = ((c, u["phase"], pair(u["pair"]), u["reason"]) for c, u in found["updates"].items())
    at.screen.show(
        found,
        facts([(version, found["phase"]), ("since", when(found["since"])), ("reason", found["reason"])]),
        table("Updates", ("circuit", "phase", "pair", "reason"), updates),
    )
    if wait and found["phase"] not in STILL:
        raise click.exceptions.Exit(NOT_IN_TIME)


def _followed(at: At, version: str, minutes: float) -> dict[str, Any]:
    """The release once it stands still, or when the time is over."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    until = time.monotonic() + 60 * minutes
    with Progress(*columns, console=at.screen.err, transient=True) as progress:
        bar = progress.add_task(version, total=None)
        while True:
            found = at.api.get(f"environments/{version}")
            moving = sum(update["phase"] in set(map(str, UNDER_WAY)) for update in found["updates"].values())
            total = len(found["updates"])
            progress.update(
                bar, description=plain(f"{version} {found['phase']}"), completed=total - moving, total=total
            )
            if found["phase"] in STILL or time.monotonic() >= until:
                return found
            time.sleep(LOOK_SECONDS)


@environments.command()
@click.argument("version", type=VERSION)
@click.pass_obj
def preview(at: At, version: str) -> None:
    """Which circuits a release would touch now, and which it would leave, and why."""
    found = at.api.get(f"environments/{version}/preview")
    at.screen.show(
        found,
        table("Touched", ("circuit", "serves"), ((c, pair(serving)) for c, serving in found["touched"].items())),
        table("Left", ("circuit", "why"), found["left"].items()),
    )


@environments.command()
@click.argument("version", type=VERSION)
@changes
@click.pass_obj
def release(at: At, version: str, change: Change) -> None:
    """Tell of a version that was registered, where its event was lost."""
    told(at, make(at, change, f"environments/{version}", {}, lambda: _touches(at, version)))


def _touches(at: At, version: str) -> dict[str, Any]:
    found = at.api.get(f"environments/{version}/preview")
    return {"touched": len(found["touched"]), "left": len(found["left"])}


ORDERS = {
    "halt": "Begin no further wave; what is under way ends.",
    "resume": "Go on where the waves halted; the failures so far are accepted.",
    "rollback": "Put every circuit that it updated back on the environment it had before.",
    "retry": "Try an errored release anew, from the step that broke.",
    "reopen": "Go on with a rejected release from where it ended.",
    "ask-again": "Ask about an expired release once more.",
}


def _order(order: str, says: str) -> None:
    @environments.command(order, help=says)
    @click.argument("version", type=VERSION)
    @because()
    @changes
    @click.pass_obj
    def ordered(at: At, version: str, reason: str, change: Change) -> None:
        def stands() -> dict[str, Any]:
            found = at.api.get(f"environments/{version}")
            return {"phase": found["phase"], "circuits": _counts(found["counts"])}

        told(at, make(at, change, f"environments/{version}/{order}", {"reason": reason}, stands))


for _name, _says in ORDERS.items():
    _order(_name, _says)

COMMANDS = (environments,)
