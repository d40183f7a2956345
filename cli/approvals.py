"""Answering gates: approve, reject, after the evidence was shown."""

from __future__ import annotations

from typing import Any

import click

from cli.context import At, Change, Command, Id, changes, make
from cli.screen import facts, pair, plain, table, when
from scripts.fleet_api import ApiProblem
from shared.domain import identifiers as i

GATE = Id("gate", i.APPROVAL, i.RELEASE, i.CIRCUIT)
LONGEST_COMMENT = 1000


@click.command(cls=Command)
@click.argument("gates", metavar="GATE...", nargs=-1, required=True, type=GATE)
@click.option("--comment", default="", help="Kept with the answer.")
@click.option("--digest", help="Of the evidence that was looked at before; without it, of what is shown now.")
@click.option("--lift-hold", is_flag=True, help="End the hold that the evidence shows.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask: the evidence has been looked at.")
@changes
@click.pass_obj
def approve(
    at: At, gates: tuple[str, ...], comment: str, digest: str | None, lift_hold: bool, yes: bool, change: Change
) -> None:
    """Approve gates: an approval's id, or the release or the circuit whose gate is open. Several go as one batch."""
    _decide(at, "approve", gates, comment, digest, lift_hold, yes, change)


@click.command(cls=Command)
@click.argument("gates", metavar="GATE...", nargs=-1, required=True, type=GATE)
@click.option("--comment", required=True, help="Why not; kept with the answer.")
@click.option("--digest", help="Of the evidence that was looked at before; without it, of what is shown now.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask: the evidence has been looked at.")
@changes
@click.pass_obj
def reject(at: At, gates: tuple[str, ...], comment: str, digest: str | None, yes: bool, change: Change) -> None:
    """Reject gates, named as with approve."""
    _decide(at, "reject", gates, comment, digest, False, yes, change)


def _decide(
    at: At,
    decision: str,
    gates: tuple[str, ...],
    comment: str,
    digest: str | None,
    lift_hold: bool,
    yes: bool,
    change: Change,
) -> None:
    if len(comment) > LONGEST_COMMENT:
        raise click.BadParameter(f"has {len(comment)} characters; {LONGEST_COMMENT} are taken", param_hint="--comment")
    if digest and len(gates) > 1:
        raise click.UsageError("--digest is of one gate's evidence: name one gate")
    found = [_open_gate(at, gate) for gate in dict.fromkeys(gates)]
    answers = [
        {"approval": gate["id"], "digest": digest or gate["digest"], **({"lift_hold": True} if lift_hold else {})}
        for gate in found
    ]
    if change.dry_run or not (yes or at.screen.as_json):
        for gate in found if not change.dry_run else ():
            at.screen.out.print(_evidence(gate))
        if not change.dry_run:
            click.confirm(f"{decision} {', '.join(plain(gate['id']) for gate in found)}?", abort=True, err=True)
    body: dict[str, Any] = {"decision": decision, "comment": comment}
    if len(answers) == 1:
        (only,) = answers
        path = f"approvals/{only.pop('approval')}"
        answer = make(at, change, path, {**body, **only}, lambda: _stands(found[0]))
        if answer is not None:
            moved = ", ".join(f"{line['event']}: {line['phase']}" for line in answer["recorded"])
            at.screen.show(answer, facts([(answer["release"], moved or answer["note"] or "it was recorded before")]))
        return
    answer = make(at, change, "approvals/batch", {**body, "gates": answers}, lambda: {g["id"]: "open" for g in found})
    if answer is None:
        return
    at.screen.show(
        answer,
        table(
            f"{answer['taken']} taken, {answer['refused']} refused",
            ("approval", "status", "became"),
            ((r["approval"], r["status"], _became(r)) for r in answer["results"]),
        ),
    )
    if answer["refused"]:
        raise click.exceptions.Exit(1)


def _became(result: dict[str, Any]) -> str:
    return ", ".join(line["phase"] for line in result["recorded"]) or str(result["note"]) or "it was recorded before"


def _open_gate(at: At, gate: str) -> dict[str, Any]:
    """The open approval that is meant; raises ApiProblem where none is open."""
    if i.APPROVAL.fits(gate):
        return at.api.get(f"approvals/{gate}")
    whose = "release" if ":" in gate else "circuit"
    for each in at.api.pages("approvals", "approvals"):
        if each[whose] == gate:
            return each
    raise ApiProblem(f"no gate of {whose} {gate} is open", 404)


def _evidence(gate: dict[str, Any]) -> Any:
    evidence = gate["evidence"]
    simple = [(name, value) for name, value in evidence.items() if isinstance(value, (str, int, float))]
    nested = [(name, _inline(value)) for name, value in evidence.items() if isinstance(value, dict) and value]
    listed = [
        (name, ", ".join(map(str, value))) for name, value in evidence.items() if isinstance(value, list) and value
    ]
    groups = " and ".join(" or ".join(each) for each in gate["requirement"])
    return facts(
        [
            (gate["id"], f"asks {groups} until {when(gate['expires_at'])}"),
            ("  trained by", gate["trained_by"]),
            *((f"  {name}", value) for name, value in (*simple, *nested, *listed)),
            ("  digest", gate["digest"]),
        ]
    )


def _inline(value: dict[str, Any]) -> str:
    if set(value) == {"model", "environment"}:
        return pair(value)
    return ", ".join(f"{name} {_inline(each) if isinstance(each, dict) else each}" for name, each in value.items())


def _stands(gate: dict[str, Any]) -> dict[str, Any]:
    return {"approval": "open", "until": gate["expires_at"], "answers": len(gate["answers"])}


COMMANDS = (approve, reject)
