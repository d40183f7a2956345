"""Answering gates: approve, reject and override, after the evidence was shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from cli.context import At, Change, Command, Id, Reason, changes, make, told
from cli.screen import facts, pair, plain, spelled, table, when
from scripts.fleet_api import ApiProblem
from shared.domain import identifiers as i
from shared.domain.values import ENVIRONMENT

GATE = Id("gate", i.APPROVAL, i.RELEASE, i.CIRCUIT, i.ENVIRONMENT_VERSION, i.ENVIRONMENT_RELEASE)
MODEL_GATE = Id("gate of a model", i.MODEL_APPROVAL, i.RELEASE, i.CIRCUIT)
LONGEST_COMMENT = 1000
NOT_COUNTED = 6


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
    """Approve gates: an approval's id, or the release, circuit or environment (1.1.0) whose gate is open.

    Several go as one batch, if all of them are open.
    """
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


@click.command(cls=Command)
@click.argument("gate", type=MODEL_GATE)
@click.option("--reason", type=Reason(at_least=10), required=True, help="Why it is no reason to stop; it is shown.")
@click.option("--digest", help="Of the evidence that was looked at before; without it, of what is shown now.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask: the evidence has been looked at.")
@changes
@click.pass_obj
def override(at: At, gate: str, reason: str, digest: str | None, yes: bool, change: Change) -> None:
    """Override what blocks a model's gate. It is no approval: the gate is asked again, and shows who did so and why."""
    (found,) = _open_gates(at, "override", (gate,))
    body = {"digest": digest or found["digest"], "reason": reason}
    _shown(at, (found,), yes, change, "override what blocks")
    told(at, make(at, change, f"approvals/{found['id']}/override", body, lambda: _stands(found)))


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
    found = _open_gates(at, decision, tuple(dict.fromkeys(gates)))
    lifts = {"lift_hold": True} if lift_hold else {}
    answers = [{"approval": gate["id"], "digest": digest or gate["digest"], **lifts} for gate in found]
    _shown(at, found, yes, change, decision)
    body: dict[str, Any] = {"decision": decision, "comment": comment}
    if len(answers) == 1:
        (only,) = answers
        path = f"approvals/{only.pop('approval')}"
        results = [make(at, change, path, {**body, **only}, lambda: _stands(found[0]))]
        shown = [facts([(answer["release"], _became(answer))]) for answer in results if answer]
    else:
        batch = {**body, "gates": answers}
        results = [make(at, change, "approvals/batch", batch, lambda: {gate["id"]: _stands(gate) for gate in found})]
        shown = [_batch(answer) for answer in results if answer]
    (answer,) = results
    if answer is None:
        return
    at.screen.show(answer, *shown)
    if answer.get("refused"):
        raise click.exceptions.Exit(1)
    if not all(result["counts"] for result in answer.get("results", results)):
        raise click.exceptions.Exit(NOT_COUNTED)


def _batch(answer: Mapping[str, Any]) -> Any:
    rows = ((result["approval"], result["status"], _became(result)) for result in answer["results"])
    return table(f"{answer['taken']} taken, {answer['refused']} refused", ("approval", "status", "became"), rows)


def _became(result: Mapping[str, Any]) -> str:
    """What an answer moved, and what is to be known of that; what it did not move, and why."""
    moved = ", ".join(f"{line['event']}: {line['phase']}" for line in result["recorded"])
    if not result["counts"]:
        still = f"; still {result['recorded'][0]['phase']}" if result["recorded"] else ""
        return f"recorded, but it does not count: {result['note']}{still}"
    return "; ".join(filter(None, (moved, result["note"]))) or "it was recorded before"


def _open_gates(at: At, decision: str, names: Sequence[str]) -> list[dict[str, Any]]:
    """The open approvals that are meant; raises ApiProblem, which names the others, where one of them is not open."""
    listed = None if all(map(i.APPROVAL.fits, names)) else list(at.api.pages("approvals", "approvals"))
    found, closed = {}, []
    for name in names:
        gate = _named(at, name) if listed is None else next((each for each in listed if _is_named(each, name)), None)
        if gate is None:
            closed.append(f"no gate of {name} is open")
        else:
            found[name] = gate
    if closed:
        others = f"; the others are: fleet {decision} {' '.join(found)}" if found else ""
        raise ApiProblem(f"Nothing was sent: {', '.join(closed)}{others}", 404)
    return list(found.values())


def _named(at: At, approval: str) -> dict[str, Any] | None:
    try:
        return at.api.get(f"approvals/{approval}")
    except ApiProblem as problem:
        if problem.status == 404:
            return None
        raise


def _is_named(gate: Mapping[str, Any], name: str) -> bool:
    return name in (gate["id"], gate["release"], gate["circuit"], gate["release"].removeprefix(f"{ENVIRONMENT}:"))


def _shown(at: At, gates: Sequence[dict[str, Any]], yes: bool, change: Change, verb: str) -> None:
    """Show the evidence and ask, unless it was looked at; exits where the answer is no."""
    if at.screen.as_json or (yes and not change.dry_run):
        return
    for gate in gates:
        at.screen.out.print(_evidence(gate))
    if change.dry_run:
        return
    try:
        agreed = click.confirm(f"{verb} {', '.join(plain(gate['id']) for gate in gates)}?", err=True)
    except click.Abort:
        unasked = "Nothing was sent: the question was not answered. --yes says that the evidence was looked at"
        raise ApiProblem(unasked, 400) from None
    if not agreed:
        at.screen.complain("Nothing was sent.")
        raise click.exceptions.Exit(1)


def _evidence(gate: Mapping[str, Any]) -> Any:
    groups = " and ".join(" or ".join(each) for each in gate["requirement"])
    evidence = {"trained_by": gate["trained_by"], **gate["evidence"]}
    return facts(
        [
            (gate["id"], f"asks {groups} until {when(gate['expires_at'])}"),
            ("  your approval", _yours(gate)),
            *((f"  {name.replace('_', ' ')}", text) for name, text in _lines(evidence)),
            *(("  answered", _answer(answer)) for answer in gate["answers"]),
            ("  digest", gate["digest"]),
        ]
    )


def _yours(gate: Mapping[str, Any]) -> str:
    return f"would not count: {gate['would_not_count']}" if gate["would_not_count"] else "counts"


def _answer(answer: Mapping[str, Any]) -> str:
    said = f": {answer['comment']}" if answer["comment"] else ""
    return f"{answer['decision']} by {answer['person']['username']}{said}"


def _lines(evidence: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The evidence line by line, without what is empty; each finding is one, with what became of it."""
    for name, value in evidence.items():
        if name == "findings":
            yield from (_finding(found) for found in value)
        elif name == "champion":
            yield name, pair(value) if value else "nothing serves yet"
        elif text := spelled(value):
            yield name, text


def _finding(found: Mapping[str, Any]) -> tuple[str, str]:
    if by := found["overridden"]:
        return "overridden", f"{found['says']} (by {by['by']}: {by['reason']})"
    return ("BLOCKS" if found["blocks"] else "worth knowing"), found["says"]


def _stands(gate: Mapping[str, Any]) -> dict[str, Any]:
    """How the gate stands, for a rehearsal."""
    blocks = [found["says"] for found in gate["evidence"].get("findings", ()) if found["blocks"]]
    return {
        "approval": f"blocked: {'; '.join(blocks)}" if blocks else "open",
        **({"way out": f'fleet override {gate["release"]} --reason "…"'} if blocks else {}),
        "your approval": _yours(gate),
        "until": gate["expires_at"],
        "answers": len(gate["answers"]),
    }


COMMANDS = (approve, reject, override)
