"""Approvals over HTTP: what is open, what one is about, and a person's decision of one gate or of many."""

from __future__ import annotations

from typing import Any, Literal, Self
from uuid import uuid4

import azure.functions as func
from pydantic import BaseModel, ConfigDict, Field, model_validator

from functions.http import (
    STATUS_OF_REFUSAL,
    answer,
    answers_problems,
    body_of,
    caller,
    found,
    page_of,
    path,
    problem,
    recorded,
)
from functions.releases import RELEASE
from shared.domain.messages import ApprovalDecided, GateOverridden, Person
from shared.domain.values import ENVIRONMENT, SEMANTIC_VERSION
from shared.gate_answers import Taken
from shared.wiring import wired

bp = func.Blueprint()
ASKED = r":(registry|production):[1-9][0-9]{0,3}"
APPROVAL = rf"({RELEASE}|{ENVIRONMENT}:{SEMANTIC_VERSION}){ASKED}"
EXAMPLE = "P001_C001:3:registry:1"
MOST_GATES = 100


class DecisionBody(BaseModel):
    """A person's answer; `digest` is that of the evidence they looked at, `lift_hold` ends the hold it showed."""

    model_config = ConfigDict(extra="forbid")

    decision: Literal["approve", "reject"]
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    comment: str = Field(default="", max_length=1000)
    lift_hold: bool = False


class OverrideBody(BaseModel):
    """Why what blocks the gate is no reason to stop; `request` is the caller's own name for the override."""

    model_config = ConfigDict(extra="forbid")

    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    reason: str = Field(min_length=10, max_length=500)
    request: str = Field(default_factory=lambda: uuid4().hex, pattern=r"^[A-Za-z0-9-]{8,64}$")


class GateAnswer(BaseModel):
    """One gate of a batch, with the digest that it was read with; what it leaves out is as for all."""

    model_config = ConfigDict(extra="forbid")

    approval: str = Field(pattern=rf"^{APPROVAL}$")
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    decision: Literal["approve", "reject"] | None = None
    comment: str | None = Field(default=None, max_length=1000)
    lift_hold: bool = False


class BatchBody(BaseModel):
    """One answer to many gates, and the gates that are answered otherwise; who keeps a gate open leaves it out.

    `request` is the caller's own name for the batch; history shows it with each answer.
    """

    model_config = ConfigDict(extra="forbid")

    decision: Literal["approve", "reject"]
    comment: str = Field(default="", max_length=1000)
    request: str = Field(default_factory=lambda: uuid4().hex, pattern=r"^[A-Za-z0-9-]{8,64}$")
    gates: list[GateAnswer] = Field(min_length=1, max_length=MOST_GATES)

    @model_validator(mode="after")
    def _one_answer_a_gate(self) -> Self:
        names = [gate.approval for gate in self.gates]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"gates are named twice: {', '.join(twice)}")
        return self

    def to(self, gate: GateAnswer) -> dict[str, Any]:
        """The answer to one gate: its own where it has one, else the one to all."""
        common = {"decision": self.decision, "comment": self.comment, "request": self.request}
        return common | gate.model_dump(exclude={"approval"}, exclude_none=True)


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
    taken = wired().gate_answers.take(_answer(identity, person, **body.model_dump()))
    if taken.refused:
        return problem(_status(taken), "Not decided", taken.note)
    release = identity.rsplit(":", 2)[0]
    return answer({"release": release, "recorded": taken.moved, "note": taken.note}, _status(taken))


@bp.route("approvals/batch", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def decide_approvals(req: func.HttpRequest) -> func.HttpResponse:
    """Many gates at once: each is decided by itself, by the rules of a single decision, with a result of its own.

    Sent again, it records what was not recorded, and nothing twice. 207: some of it was not taken.
    """
    person = caller(req)
    body = body_of(req, BatchBody)
    results = wired().gate_answers.take_all([_answer(gate.approval, person, **body.to(gate)) for gate in body.gates])
    refused = sum(bool(taken.refused) for taken in results.values())
    shown = [
        {"approval": approval, "status": _status(taken), "recorded": taken.moved, "note": taken.note}
        for approval, taken in results.items()
    ]
    counts = {"taken": len(results) - refused, "refused": refused}
    return answer({"request": body.request, **counts, "results": shown}, 207 if refused else 200)


@bp.route("approvals/{approval}/override", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def override_gate(req: func.HttpRequest) -> func.HttpResponse:
    """What blocks a gate is overridden by somebody who may; it is asked again, and shows who did so and why."""
    person = caller(req)
    identity = path(req, "approval", rf"{RELEASE}{ASKED}", EXAMPLE)
    body = body_of(req, OverrideBody)
    release = identity.rsplit(":", 2)[0]
    circuit = release.partition(":")[0]
    overridden = GateOverridden(root=circuit, approval=identity, person=person, **body.model_dump())
    return recorded(wired().application.advance(overridden), release)


def _answer(approval: str, person: Person, **fields: Any) -> ApprovalDecided:
    return ApprovalDecided(root=approval.partition(":")[0], approval=approval, person=person, **fields)


def _status(taken: Taken) -> int:
    if taken.refused:
        return STATUS_OF_REFUSAL.get(taken.refused, 409)
    return 200 if taken.moved else 208
