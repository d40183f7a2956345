"""Approvals over HTTP: what is open, what one is about, and a person's decision."""

from __future__ import annotations

from typing import Literal

import azure.functions as func
from pydantic import BaseModel, ConfigDict, Field

from functions.http import (
    STATUS_OF_REFUSAL,
    NotFound,
    answer,
    answers_problems,
    body_of,
    caller,
    found,
    page_of,
    path,
    problem,
)
from functions.releases import RELEASE
from shared.domain.machine import Verdict
from shared.domain.messages import ApprovalDecided
from shared.domain.values import ENVIRONMENT, SEMANTIC_VERSION
from shared.wiring import wired

bp = func.Blueprint()
APPROVAL = rf"({RELEASE}|{ENVIRONMENT}:{SEMANTIC_VERSION})" + r":(registry|production):[1-9][0-9]{0,3}"
EXAMPLE = "P001_C001:3:registry:1"


class DecisionBody(BaseModel):
    """A person's answer; `digest` is that of the evidence they looked at, `lift_hold` ends the hold it showed."""

    model_config = ConfigDict(extra="forbid")

    decision: Literal["approve", "reject"]
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    comment: str = Field(default="", max_length=1000)
    lift_hold: bool = False


@bp.route("approvals", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def list_approvals(req: func.HttpRequest) -> func.HttpResponse:
    caller(req)
    listing = wired().queries.approvals(*page_of(req))
    return answer({"approvals": listing.entries, "continuation": listing.continuation})


@bp.route("approvals/{approval}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def show_approval(req: func.HttpRequest) -> func.HttpResponse:
    caller(req)
    identity = path(req, "approval", APPROVAL, EXAMPLE)
    return answer(found(wired().queries.approval(identity), "open approval", identity))


@bp.route("approvals/{approval}", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def decide_approval(req: func.HttpRequest) -> func.HttpResponse:
    person = caller(req)
    identity = path(req, "approval", APPROVAL, EXAMPLE)
    body = body_of(req, DecisionBody)
    release = identity.rsplit(":", 2)[0]
    decided = ApprovalDecided(
        root=release.partition(":")[0],
        approval=identity,
        digest=body.digest,
        decision=body.decision,
        person=person,
        comment=body.comment,
        lift_hold=body.lift_hold,
    )
    advanced = wired().application.advance(decided)
    if advanced.verdict is Verdict.REFUSED:
        if not wired().queries.was_asked(identity):
            raise NotFound(f"nobody was ever asked for approval {identity!r}")
        return problem(STATUS_OF_REFUSAL.get(advanced.code, 409), "Not decided", advanced.reason)
    recorded = [{"event": line.event, "phase": line.after} for line in advanced.history]
    return answer({"release": release, "recorded": recorded, "note": advanced.reason}, 200 if recorded else 208)
