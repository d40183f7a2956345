"""What needs somebody, and how things stand: status, explain, history, releases."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from cli.context import At, Command, Id
from cli.screen import facts, pair, table, when
from scripts.fleet_api import LONGEST_PAGE
from shared.domain import identifiers as i

SHOWN_ENDED = 20


@click.command(cls=Command)
@click.option("--plant", type=Id("plant", i.PLANT), help="Only the circuits of this plant.")
@click.option("--circuits/--no-circuits", default=False, help="The circuits as well, not only what needs somebody.")
@click.pass_obj
def status(at: At, plant: str | None, circuits: bool) -> None:
    """What needs somebody now: gates, alerts, days without forecast, dead letters; and what is under way."""
    now = datetime.now(UTC)
    fleet = at.api.get("fleet", size=1)
    gates = [gate for gate in at.api.pages("approvals", "approvals") if _of(plant, gate["circuit"])]
    alerts = list(at.api.pages("alerts", "alerts", plant=plant))
    under_way = [each for each in at.api.get("releases", size=1)["open"] if _of(plant, each["circuit"])]
    days = at.api.get("ledger/days")
    letters = [each for each in at.api.get("dead-letters")["dead_letters"] if not each["replayed_at"]]
    listed = (
        [each for each in at.api.pages("circuits", "circuits") if _of(plant, each["id"])] if circuits or plant else []
    )
    document = {
        "standstill": fleet["standstill"],
        "approvals": gates,
        "alerts": alerts,
        "under_way": under_way,
        "ledger": days,
        "dead_letters": letters,
        **({"circuits": listed} if circuits or plant else {}),
    }
    today = days["days"][-1] if days["days"] else None
    at.screen.show(
        document,
        facts(
            [
                ("production", fleet["standstill"] or "open to releases"),
                ("releases", f"{len(under_way)} under way"),
                ("today", _day(today) if today else "no forecast is expected"),
                ("dead letters", len(letters)),
            ]
        ),
        table(
            "Waiting for an approval",
            ("approval", "asks", "since", "until"),
            ((g["id"], _groups(g), when(g["requested_at"], now), when(g["expires_at"], now)) for g in gates),
        ),
        table(
            "Alerts",
            ("severity", "alert", "since", "reason"),
            ((a["severity"], a["key"], when(a["created_at"], now), a["reason"]) for a in alerts),
        ),
        *([_circuits(listed)] if circuits or plant else []),
    )


def _of(plant: str | None, circuit: str) -> bool:
    return plant is None or circuit.startswith(f"{plant}_")


def _groups(gate: dict[str, Any]) -> str:
    return " and ".join(" or ".join(groups) for groups in gate["requirement"])


def _day(day: dict[str, Any]) -> str:
    states = ", ".join(f"{count} {state}" for state, count in day["states"].items() if count)
    return f"{day['expected']} forecasts expected: {states}"


def _circuits(circuits: list[dict[str, Any]]) -> Any:
    return table(
        "Circuits",
        ("circuit", "serves", "since", "under way", "hold"),
        (
            (
                each["id"],
                pair(each["serving"]),
                when(each["serving_since"]),
                ", ".join(f"{release['id']} {release['phase']}" for release in each["releases"]),
                each["hold"],
            )
            for each in circuits
        ),
    )


@click.command(cls=Command)
@click.argument("circuit", metavar="CIRCUIT|lake")
@click.option("--as-of", "as_of", help="What served then instead: a day such as 2026-01-31, or a time.")
@click.pass_obj
def explain(at: At, circuit: str, as_of: str | None) -> None:
    """Where a circuit (or the lake) stands, what it waits for, who can act and what can happen next."""
    root = "lake" if circuit == "lake" else f"circuits/{Id('circuit', i.CIRCUIT).convert(circuit, None, None)}"
    if as_of is not None:
        if root == "lake":
            raise click.UsageError("--as-of is about what served a circuit, and nothing serves the lake")
        served = at.api.get(f"{root}/as-of", date=as_of)
        release = served["release"] or {}
        at.screen.show(
            served,
            facts(
                [
                    (f"served at {when(served['at'])}", pair(served["pair"])),
                    ("since", when(served["since"])),
                    ("put there by", served["served_by"]),
                    ("trained by", release.get("trained_by", "-")),
                    *release.get("data", {}).items(),
                ]
            ),
            table(
                "Answers",
                ("when", "who", "event", "comment"),
                ((when(a["at"]), a["person"], a["event"], a["comment"]) for a in release.get("answers", [])),
            ),
        )
        return
    found = at.api.get(f"{root}/explain")
    parts: list[Any] = [facts([(found["root"], line) for line in found["state"]])] if found["state"] else []
    for item in found["under_way"]:
        parts.append(
            facts(
                [
                    (item["item"], f"{item['kind']}: {item['phase']}"),
                    ("  since", when(item["since"])),
                    ("  waits for", item["waits_for"]),
                    ("  who can act", ", ".join(item["who_can_act"])),
                    ("  until", when(item["deadline"])),
                    *(
                        (f"  {way['event']}", f"{way['means']} ({way['told_by']}) -> {way['leads_to']}")
                        for way in item["ways"]
                    ),
                ]
            )
        )
    at.screen.show(found, *(parts or ["nothing is under way"]))


@click.command(cls=Command)
@click.argument("item", type=Id("release or environment", i.RELEASE, i.ENVIRONMENT_VERSION))
@click.pass_obj
def history(at: At, item: str) -> None:
    """Everything that happened to a release (P001_C001:3) or to an environment's release (1.1.0)."""
    path = f"releases/{item}/history" if ":" in item else f"environments/{item}/history"
    lines = list(at.api.pages(path, "history"))
    at.screen.show(
        {"history": lines},
        table(
            item,
            ("when", "event", "phase", "detail"),
            ((when(line["at"]), line["event"], line["after"], _detail(line["detail"])) for line in lines),
        ),
    )


def _detail(detail: dict[str, Any]) -> str:
    said = {**detail, "person": detail["person"]["username"]} if isinstance(detail.get("person"), dict) else detail
    return ", ".join(f"{name} {value}" for name, value in said.items() if isinstance(value, (str, int, float)))


@click.command(cls=Command)
@click.argument("release", type=Id("release or circuit", i.RELEASE, i.CIRCUIT), required=False)
@click.option(
    "--ended", type=click.IntRange(1, 10_000), default=SHOWN_ENDED, show_default=True, help="How many ended ones."
)
@click.pass_obj
def releases(at: At, release: str | None, ended: int) -> None:
    """Releases under way and those that ended last; those of a circuit; or one."""
    columns = ("release", "environment", "phase", "since", "until", "reason")
    if release and ":" in release:
        found = at.api.get(f"releases/{release}")
        names = ("id", "phase", "reason", "environment", "trainer", "champion", "observed", "successor")
        at.screen.show(
            found, facts([(name, found[name] if name != "champion" else pair(found[name])) for name in names])
        )
        return
    if release:
        of_circuit = list(at.api.pages(f"circuits/{release}/releases", "releases"))
        at.screen.show({"releases": of_circuit}, table(f"Releases of {release}", columns, map(_brief, of_circuit)))
        return
    page = at.api.get("releases", size=min(ended, LONGEST_PAGE))
    under_way, done = page["open"], page["ended"]
    while page["continuation"] and len(done) < ended:
        page = at.api.get("releases", size=min(ended - len(done), LONGEST_PAGE), continuation=page["continuation"])
        done += page["ended"]
    at.screen.show(
        {"open": under_way, "ended": done},
        table("Under way", columns, map(_brief, under_way)),
        table("Ended", columns, map(_brief, done)),
    )


def _brief(release: dict[str, Any]) -> tuple[Any, ...]:
    return (
        release["id"],
        release["environment"],
        release["phase"],
        when(release["since"]),
        when(release["deadline"]),
        release["reason"],
    )


COMMANDS = (status, explain, history, releases)
