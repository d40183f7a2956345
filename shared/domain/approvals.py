"""Approvals: what a gate shows, what it is bound to, and when enough people have said yes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from shared.domain import messages as m
from shared.domain.comparison import comparison, numbers
from shared.domain.hold import Hold
from shared.domain.machine import Due, Item, NotAllowed, NotNow, Then
from shared.domain.messages import AnswerUsedUp, ApprovalCounted, ApprovalDecided, GateOverridden, Person
from shared.domain.promotion import Override, blocking
from shared.domain.release import GATES, Approval, Asked, Phase, Release
from shared.domain.rules import Rules
from shared.domain.values import Channel, Gate, Pair

OWN = "who trained a model does not count as its approver"
UNCOUNTED = "uncounted"
"""The code of an approval that is recorded already and does not count."""
METRICS = ("mae", "rmse", "r2", "naive_mae", "skill")
LINEAGE = (
    "data_asset_version",
    "cutoff_date",
    "table_id",
    "delta_version",
    "hyperparameters_hash",
    "model_hash",
    "git_commit_sha",
    "pr_number",
    "trained_at",
)
SETTINGS, STEPS = "training_settings", "backtest_steps"
"""Tags with JSON of what people are shown: what a model was trained with, and its backtest's error by step ahead."""
PLOT = "plot_"
"""Tags whose name begins so hold the address of a picture."""


def evidence(
    release: Release,
    gate: Gate,
    champion: Pair | None,
    hold: Hold | None = None,
    findings: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """What a person is shown and what their approval is bound to; `findings` are what the promotion rules found.

    The candidate's own `metrics` are of the days before its cutoff. The champion's are of other days, so they are shown
    nowhere: what stands beside what is in `comparison`, of one holdout.
    """
    tags = release.tags
    mine = numbers(tags, METRICS)
    shown: dict[str, Any] = {
        "release": release.id,
        "target": "shared registry" if gate is Gate.REGISTRY else "production",
        "candidate": {"model": release.version, "environment": release.environment, "metrics": mine},
        "champion": champion.model_dump() if champion else None,
        "comparison": comparison(tags, champion),
        "findings": list(findings),
        "naive": tags.get("naive", ""),
        "beats_naive": mine["mae"] < mine["naive_mae"] if {"mae", "naive_mae"} <= mine.keys() else None,
        "lineage": {name: tags[name] for name in LINEAGE if name in tags},
        "plots": {name.removeprefix(PLOT): tags[name] for name in sorted(tags) if name.startswith(PLOT)},
        "trained_by": release.trainer,
    }
    if gate is Gate.PRODUCTION:
        shown["test_inference"] = dict(release.test)
        shown["rollback"] = f"back to {champion}" if champion else "nothing serves yet: scoring would be suspended"
    if hold:
        since = hold.created_at.isoformat()
        shown["hold"] = {"id": hold.id, "by": hold.by, "why": hold.why, "version": hold.version, "since": since}
    return shown


def digest(shown: Mapping[str, Any]) -> str:
    """SHA-256 of the evidence in one canonical spelling."""
    return hashlib.sha256(json.dumps(shown, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def ask(asked: Asked, shown: Mapping[str, Any], rules: Rules, now: datetime) -> Approval:
    """A gate, open from now; the n-th time something is asked has its own id, so an old answer cannot open it."""
    gate = GATES[Phase(asked.phase)]
    return Approval(
        id=f"{asked.id}:{gate}:{asked.asked + 1}",
        gate=gate,
        digest=digest(shown),
        evidence=shown,
        requirement=rules.requirements[gate],
        requested_at=now,
        expires_at=now + rules.approval_timeout,
        channel=rules.approval_channel,
    )


WAY_OUT = 'somebody who may overrides it first (fleet override {} --reason "…")'
"""What a blocked gate can be helped with, in words, with the approval's id."""
LAST_CALL = timedelta(hours=2)
"""How long before a gate expires people hear of it for the last time."""


def reminders(root: str, asked: Asked, then: Then) -> list[Due]:
    """When people are to hear that the gate that opens here is still open: at half its time, and before its end."""
    approval = asked.approval
    if m.RequestApproval not in then.commands or approval is None:
        return []
    half = approval.requested_at + (approval.expires_at - approval.requested_at) / 2
    about = {"root": root, "item": asked.id, "step": asked.step, "approval": approval.id}
    due = [Due(half, m.RemindOfGate(**about, last=False))]
    if (last := approval.expires_at - LAST_CALL) > half:
        due.append(Due(last, m.RemindOfGate(**about, last=True)))
    return due


def still_open(asked: Asked) -> str:
    """That a gate waits, for whom and until when; nothing where none does."""
    approval = asked.approval
    if approval is None or asked.phase not in GATES:
        return ""
    wanted = " and ".join(" or ".join(groups) for groups in approval.requirement)
    until = f"{approval.expires_at:%Y-%m-%d %H:%M} UTC"
    return f"{asked.id} waits for {approval.gate} approval by {wanted} and expires {until}"


def gate_of(asked: Asked) -> str:
    """`P001_C001:3:registry`, however often it was asked."""
    return asked.approval.id.rpartition(":")[0] if asked.approval else asked.id


def opened(asked: Asked, approval: Approval) -> dict[str, Any]:
    """What changes about what is asked when its gate opens."""
    withdrawn = asked.approval.id if asked.approval else ""
    return {
        "approval": approval,
        "asked": asked.asked + 1,
        "withdrawn": withdrawn,
        "deadline": approval.expires_at,
    }


def expect_open(asked: Item | None, event: ApprovalDecided) -> Approval:
    """The gate that the answer is for; raises `NotAllowed` and `NotNow` for an answer that it does not take."""
    approval = _gate(asked, event)
    if event.channel is not approval.channel:
        where = approval.asked_at or approval.channel
        raise NotAllowed(f"approval {event.approval} is answered elsewhere: {where}", "elsewhere")
    _expect_read(approval, event)
    if not may_answer(approval, event.person):
        raise NotAllowed(_not_asked(approval, event.person), "forbidden")
    if event.identity in {answer.identity for answer in approval.answers}:
        own = is_trainer(asked, event.person) if isinstance(asked, Asked) else False
        raise NotNow(f"this answer is recorded already{f': {OWN}' if own else ''}", UNCOUNTED if own else "")
    if event.channel is Channel.PRODUCT and event.decision == "approve" and (why := blocked(approval)):
        raise NotAllowed(f"{why}: {WAY_OUT.format(event.approval)}, or train the model anew", "blocked")
    return approval


def expect_blocked(asked: Item | None, event: GateOverridden, rules: Rules) -> None:
    """Raises `NotAllowed` where nothing is to be overridden, or not by this person.

    Wherever the gate is answered, it is overridden in the product: an approval elsewhere cannot carry it.
    """
    approval = _gate(asked, event)
    _expect_read(approval, event)
    groups = rules.promotion.override_groups
    if not set(groups) & set(event.person.groups):
        raise NotAllowed(
            f"{event.person.username} is in none of the groups that may override: {', '.join(groups)}", "forbidden"
        )
    assert isinstance(asked, Asked)
    if is_trainer(asked, event.person):
        raise NotAllowed("who trained a model does not override what its gate says of it", "forbidden")
    if not blocking(approval.evidence):
        raise NotAllowed(f"nothing blocks {approval.id}: answer it", "closed")


def overridden(release: Release, event: GateOverridden, now: datetime) -> tuple[Override, ...]:
    """The release's overrides with this one of all that blocks its gate."""
    found = blocking(release.approval.evidence) if release.approval else ()
    return (*release.overrides, Override(by=event.person.username, reason=event.reason, at=now, findings=found))


def blocked(approval: Approval) -> str:
    """Why the gate takes no approval as it stands; nothing when it does."""
    found = blocking(approval.evidence)
    return f"{approval.id} is blocked: {'; '.join(found)}" if found else ""


def _gate(asked: Item | None, event: ApprovalDecided | GateOverridden) -> Approval:
    approval = asked.approval if isinstance(asked, Asked) else None
    if asked is None or approval is None or approval.id != event.approval:
        raise NotAllowed(f"approval {event.approval} is not open", "closed")
    if asked.phase not in GATES or GATES[Phase(asked.phase)] is not approval.gate:
        raise NotAllowed(f"approval {event.approval} is closed: the release is {asked.phase}", "closed")
    return approval


def _not_asked(approval: Approval, person: Person) -> str:
    wanted = " and ".join(" or ".join(groups) for groups in approval.requirement)
    return f"{person.username} is not in a group that this gate asks ({wanted})"


def _expect_read(approval: Approval, event: ApprovalDecided | GateOverridden) -> None:
    if event.digest != approval.digest:
        raise NotAllowed(f"the evidence of {event.approval} has changed since you read it: read it again", "changed")


def not_enough(asked: Asked, approval: Approval, event: ApprovalDecided) -> ApprovalDecided | None:
    """What a yes is that does not open the gate; None when it does."""
    fields = event.model_dump()
    if note := why_not(asked, approval, event.person):
        if event.channel is Channel.DEVOPS:  # one answer closes the question there
            return AnswerUsedUp(**fields, note=note)
        return ApprovalCounted(**fields, counts=False, note=note)
    if not satisfied(approval.requirement, counted(asked, (*approval.answers, event))):
        return ApprovalCounted(**fields, counts=True, note="the gate asks for more approvals")
    return None


def answered(approval: Approval, event: ApprovalDecided) -> Approval:
    """The gate with one more answer."""
    answer = ApprovalDecided(**event.model_dump(include=set(ApprovalDecided.model_fields)))
    return approval.model_copy(update={"answers": (*approval.answers, answer)})


def in_approval(approval: Approval | None) -> dict[str, Any]:
    """What commands about a gate take from it."""
    if approval is None:
        return {}
    names = {"gate", "digest", "evidence", "requirement", "expires_at"}
    return {"approval": approval.id, **approval.model_dump(include=names)}


def is_trainer(release: Asked, person: Person) -> bool:
    """Whether the person trained what they are asked about: their own approval is recorded and does not count."""
    return release.trainer.casefold() in {person.username.casefold(), person.oid.casefold()}


def would_not_count(asked: Asked, person: Person) -> str:
    """Why a yes of the person would not be taken now, or not count; nothing when it would."""
    approval = asked.approval
    if approval is None:
        return ""
    if not may_answer(approval, person):
        return _not_asked(approval, person)
    return why_not(asked, approval, person)


def why_not(release: Asked, approval: Approval, person: Person) -> str:
    """Why the person's approval does not count, or nothing."""
    if why := blocked(approval):
        return f"{why}: {WAY_OUT.format(approval.id)}"
    if is_trainer(release, person):
        return OWN
    if any(answer.decision == "approve" and answer.person.oid == person.oid for answer in approval.answers):
        return "one person gives one of the approvals that a gate asks"
    return ""


def may_answer(approval: Approval, person: Person) -> bool:
    """Whether the person is in any group the gate asks."""
    return any(set(groups) & set(person.groups) for groups in approval.requirement)


def satisfied(requirement: Sequence[Sequence[str]], approvers: Sequence[Person]) -> bool:
    """Whether each approval asked for can be given by a different person of one of its groups."""
    if not requirement:
        return True
    groups, rest = requirement[0], requirement[1:]
    return any(
        satisfied(rest, [other for other in approvers if other.oid != person.oid])
        for person in approvers
        if set(groups) & set(person.groups)
    )


def counted(release: Asked, answers: Sequence[ApprovalDecided]) -> list[Person]:
    """The people whose approval counts."""
    return [a.person for a in answers if a.decision == "approve" and not is_trainer(release, a.person)]
