"""Alerts and dead letters."""

from __future__ import annotations

from typing import Any

import click

from cli.context import At, Change, Command, Id, Reason, changes, make, told
from cli.screen import facts, table, when
from shared.domain import identifiers as i
from shared.domain.alerts.causes import Severity


@click.command(cls=Command)
@click.argument("alert", type=Id("alert", i.ALERT), required=False)
@click.option("--plant", type=Id("plant", i.PLANT), help="Only alerts about this plant.")
@click.option("--severity", type=click.Choice([str(each) for each in Severity]), help="Only alerts of this severity.")
@click.option("--acknowledge", metavar="TEXT", type=Reason(), help="Look after it: what is said with that.")
@changes
@click.pass_obj
def alerts(
    at: At, alert: str | None, plant: str | None, severity: str | None, acknowledge: str | None, change: Change
) -> None:
    """Open alerts; or one, by its key, with everything that happened to it, to be acknowledged."""
    if alert is None:
        if acknowledge:
            raise click.UsageError("--acknowledge is of one alert: name its key")
        found = list(at.api.pages("alerts", "alerts", plant=plant, severity=severity))
        rows = (
            (
                each["severity"],
                each["key"],
                when(each["created_at"]),
                each["count"],
                each["acknowledged_by"],
                each["reason"],
            )
            for each in found
        )
        columns = ("severity", "alert", "since", "seen", "looked after by", "reason")
        at.screen.show({"alerts": found}, table("Alerts", columns, rows))
        return
    if acknowledge:
        told(at, make(at, change, f"alerts/{alert}/acknowledge", {"reason": acknowledge}, lambda: _phase(at, alert)))
        return
    one = at.api.get(f"alerts/{alert}")
    lines = ((when(line["at"]), line["event"], line["after"]) for line in one["history"])
    names = ("severity", "about", "reason", "acknowledged_by", "note")
    at.screen.show(
        one,
        facts([(alert, one["phase"]), *((name, one[name]) for name in names)]),
        table("History", ("when", "event", "phase"), lines),
    )


def _phase(at: At, key: str) -> dict[str, Any]:
    return {"phase": at.api.get(f"alerts/{key}")["phase"]}


@click.command(cls=Command)
@click.argument("proposal", type=Id("proposal", i.PROPOSAL), required=False)
@click.option("--accept", metavar="TEXT", type=Reason(), help="Do it, and why.")
@click.option("--decline", metavar="TEXT", type=Reason(), help="Leave it, and why.")
@changes
@click.pass_obj
def proposals(at: At, proposal: str | None, accept: str | None, decline: str | None, change: Change) -> None:
    """What degraded circuits are offered; or one of the offers with its analysis, to be accepted or declined."""
    if proposal is None:
        if accept or decline:
            raise click.UsageError("--accept and --decline are of one proposal: name its id")
        found = list(at.api.pages("proposals", "proposals"))
        rows = ((p["id"], p["remedy"], p["phase"], when(p["since"]), p["model"], p["change_at"]) for p in found)
        columns = ("proposal", "remedy", "phase", "since", "model", "change")
        at.screen.show({"proposals": found}, table("Proposals", columns, rows))
        return
    if accept and decline:
        raise click.UsageError("accept it or decline it: one of the two")
    one = at.api.get(f"proposals/{proposal}")
    if accept or decline:
        order, reason = ("accept", accept) if accept else ("decline", decline)
        told(at, make(at, change, f"proposals/{proposal}/{order}", {"reason": reason}, lambda: {"phase": one["phase"]}))
        return
    names = ("circuit", "remedy", "model", "analysis", "cutoff", "change_at", "answered_by", "reason")
    lines = ((when(line["at"]), line["event"], line["after"]) for line in one["history"])
    at.screen.show(
        one,
        facts([(proposal, one["phase"]), *((name, one[name]) for name in names)]),
        table("History", ("when", "event", "phase"), lines),
    )


@click.command("dead-letters", cls=Command)
@click.argument("letter", type=Id("dead letter", i.DEAD_LETTER), required=False)
@click.option("--replay", is_flag=True, help="Try it again, now that what was wrong has been mended.")
@changes
@click.pass_obj
def dead_letters(at: At, letter: str | None, replay: bool, change: Change) -> None:
    """What could not be taken or done; or one of them whole, to be replayed."""
    if letter is None:
        if replay:
            raise click.UsageError("--replay is of one dead letter: name its id")
        found = list(at.api.pages("dead-letters", "dead_letters"))
        rows = ((each["id"], each["source"], when(each["at"]), each["replay_result"], each["reason"]) for each in found)
        columns = ("id", "source", "when", "replayed", "reason")
        at.screen.show({"dead_letters": found}, table("Dead letters", columns, rows))
        return
    whole = at.api.get(f"dead-letters/{letter}")
    if not replay:
        at.screen.show(whole, facts((name, value) for name, value in whole.items() if value not in ("", None)))
        return
    stands = {"reason": whole["reason"], "replayed": when(whole["replayed_at"])}
    answer = make(at, change, f"dead-letters/{letter}/replay", {}, lambda: stands)
    if answer is not None:
        at.screen.show(answer, facts([(letter, answer["result"])]))


COMMANDS = (alerts, proposals, dead_letters)
