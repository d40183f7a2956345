"""Approvals: what a gate shows, what it is bound to, and when enough people have said yes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from shared.domain.comparison import comparison, numbers
from shared.domain.hold import Hold
from shared.domain.messages import ApprovalDecided, Person
from shared.domain.release import Approval, Release
from shared.domain.values import Channel, Gate, Pair

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
PLOT = "plot_"
"""Tags whose name begins so hold the address of a picture."""


def evidence(release: Release, gate: Gate, champion: Pair | None, hold: Hold | None = None) -> dict[str, Any]:
    """What a person is shown and what their approval is bound to.

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


def ask(
    release: Release,
    gate: Gate,
    champion: Pair | None,
    requirement: Sequence[Sequence[str]],
    now: datetime,
    within: timedelta,
    channel: Channel = Channel.PRODUCT,
    hold: Hold | None = None,
) -> Approval:
    """A gate, open from now; the n-th time a release is asked has its own id, so an old answer cannot open it."""
    shown = evidence(release, gate, champion, hold)
    return Approval(
        id=f"{release.id}:{gate}:{release.asked + 1}",
        gate=gate,
        digest=digest(shown),
        evidence=shown,
        requirement=tuple(tuple(groups) for groups in requirement),
        requested_at=now,
        expires_at=now + within,
        channel=channel,
    )


def is_trainer(release: Release, person: Person) -> bool:
    """Whether the person trained what they are asked about: their own approval is recorded and does not count."""
    return release.trainer.casefold() in {person.username.casefold(), person.oid.casefold()}


def why_not(release: Release, approval: Approval, person: Person) -> str:
    """Why the person's approval does not count, or nothing."""
    if is_trainer(release, person):
        return "who trained a model does not count as its approver"
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


def counted(release: Release, answers: Sequence[ApprovalDecided]) -> list[Person]:
    """The people whose approval counts."""
    return [a.person for a in answers if a.decision == "approve" and not is_trainer(release, a.person)]
