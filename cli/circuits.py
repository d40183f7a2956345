"""What operators order: roll back, hold, resume, freeze, and what becomes of a release that ended."""

from __future__ import annotations

import time
from typing import Any

import click

from cli.context import At, Change, Command, Id, Reason, because, changes, make, told
from cli.screen import facts, pair
from scripts.fleet_api import ApiProblem
from shared.domain import identifiers as i

CIRCUIT, RELEASE = Id("circuit", i.CIRCUIT), Id("release", i.RELEASE)
LOOK_SECONDS = 1.0
NOT_IN_TIME = 5


@click.command(cls=Command)
@click.argument("circuit", type=CIRCUIT)
@click.option("--version", type=click.IntRange(1, 999_999_999), help="The model version to go back to.")
@click.option("--wait", type=click.IntRange(1, 86_400), metavar="SECONDS", help="Wait until it has ended.")
@because()
@changes
@click.pass_obj
def rollback(at: At, circuit: str, version: int | None, wait: int | None, reason: str, change: Change) -> None:
    """Put a circuit back on the last pair that proved itself there, or on a named version. Nothing holds it up."""
    body = {"reason": reason, **({"version": version} if version else {})}
    answer = make(at, change, f"circuits/{circuit}/rollback", body, lambda: _could_go_back(at, circuit))
    begun = [line["item"] for line in (answer or {}).get("recorded", []) if "!rollback." in line["item"]]
    if wait is None or not begun:
        told(at, answer)
        return
    order = _ended(at, circuit, begun[0], wait)
    at.screen.show(
        order, facts([(order["id"], order["phase"]), ("back to", pair(order["target"])), ("reason", order["reason"])])
    )
    if order["phase"] == "errored":
        raise click.exceptions.Exit(1)


def _could_go_back(at: At, circuit: str) -> dict[str, Any]:
    found = at.api.get(f"circuits/{circuit}")
    now = found["desired"] or found["serving"]
    possible = [pair(proved["pair"]) for proved in found["proved"] if proved["pair"] != now]
    return {
        "serves": pair(found["serving"]),
        "could go back to": ", ".join(possible) or "nothing",
        "owner": found["production_owner"],
    }


def _ended(at: At, circuit: str, rollback: str, seconds: int) -> dict[str, Any]:
    """The rollback once it has ended; exits when the time is over before."""
    until = time.monotonic() + seconds
    with at.screen.err.status(f"{rollback} is under way"):
        while True:
            order = next(
                each for each in at.api.pages(f"circuits/{circuit}/orders", "orders") if each["id"] == rollback
            )
            if order["phase"] != "rolling back":
                return order
            if time.monotonic() >= until:
                at.screen.complain(f"{rollback} has not ended within {seconds} s; it goes on")
                raise click.exceptions.Exit(NOT_IN_TIME)
            time.sleep(LOOK_SECONDS)


@click.command(cls=Command)
@click.argument("circuit", type=CIRCUIT)
@because()
@changes
@click.pass_obj
def hold(at: At, circuit: str, reason: str, change: Change) -> None:
    """Let no release enter a circuit's production until it is resumed."""
    told(at, make(at, change, f"circuits/{circuit}/hold", {"reason": reason}, lambda: _held(at, circuit)))


@click.command(cls=Command)
@click.argument("circuit", type=CIRCUIT, required=False)
@because()
@changes
@click.pass_obj
def resume(at: At, circuit: str | None, reason: str, change: Change) -> None:
    """End a circuit's hold; without a circuit, end the freeze of the fleet."""
    if circuit is None:
        told(at, make(at, change, "fleet/resume", {"reason": reason}, lambda: _standstill(at)))
    else:
        told(at, make(at, change, f"circuits/{circuit}/resume", {"reason": reason}, lambda: _held(at, circuit)))


@click.command(cls=Command)
@click.option("--reason", type=Reason(), help="Why; without it, what stands still is shown.")
@changes
@click.pass_obj
def freeze(at: At, reason: str | None, change: Change) -> None:
    """Let no release enter any production until fleet resume; rollbacks go on. Windows: config/policy.yml."""
    if reason is None:
        found = at.api.get("fleet")
        at.screen.show(found, facts([("production", found["standstill"] or "open to releases")]))
        return
    told(at, make(at, change, "fleet/stop", {"reason": reason}, lambda: _standstill(at)))


def _held(at: At, circuit: str) -> dict[str, Any]:
    found = at.api.get(f"circuits/{circuit}")
    return {"hold": found["hold"] or "none", "serves": pair(found["serving"]), "owner": found["production_owner"]}


def _standstill(at: At) -> dict[str, Any]:
    return {"production": at.api.get("fleet", size=1)["standstill"] or "open to releases"}


@click.command(cls=Command)
@click.argument("release", type=RELEASE)
@because()
@changes
@click.pass_obj
def retry(at: At, release: str, reason: str, change: Change) -> None:
    """Let an ended release go on: errored, rejected, cancelled or expired, each in its own way."""
    phase = at.api.get(f"releases/{release}")["phase"]
    order = {"errored": "retry", "rejected": "reopen", "cancelled": "reopen", "expired": "ask-again"}.get(phase)
    if order is None:
        raise ApiProblem(f"{release} is {phase}: only what is errored, rejected, cancelled or expired can go on", 409)
    told(at, make(at, change, f"releases/{release}/{order}", {"reason": reason}, lambda: {"phase": phase}))


@click.command(cls=Command)
@click.argument("release", type=RELEASE)
@because()
@changes
@click.pass_obj
def cancel(at: At, release: str, reason: str, change: Change) -> None:
    """Take a candidate back before production."""
    path = f"releases/{release}/cancel"
    told(at, make(at, change, path, {"reason": reason}, lambda: {"phase": at.api.get(f"releases/{release}")["phase"]}))


COMMANDS = (rollback, hold, resume, freeze, retry, cancel)
