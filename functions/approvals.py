"""Approvals over HTTP: what is open, what one is about, and a person's decision of one gate or of many."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from functions.answers import Approvals, ApprovalShown, Decided, GatesDecided, Recorded
from functions.endpoints import STATUS_OF_REFUSAL, Answered, Endpoints, found, recorded
from functions.http import Refused
from functions.parameters import ApprovalId, Approver, Body, Caller, ModelApprovalId, Page, RequestId
from shared.domain.messages import ApprovalDecided, GateOverridden, Person
from shared.gate_answers import Taken
from shared.wiring import wired

bp = Endpoints()
MOST_GATES = 100
DIGEST = r"^[0-9a-f]{64}$"


class DecisionBody(Body):
    """A person's answer; `digest` is that of the evidence they looked at, `lift_hold` ends the hold it showed."""

    decision: Literal["approve", "reject"]
    digest: str = Field(pattern=DIGEST)
    comment: str = Field(default="", max_length=1000)
    lift_hold: bool = False


class OverrideBody(Body):
    """Why what blocks the gate is no reason to stop; `digest` is that of the evidence that was looked at."""

    digest: str = Field(pattern=DIGEST)
    reason: str = Field(min_length=10, max_length=500)


class GateAnswer(Body):
    """One gate of a batch, with the digest that it was read with; what it leaves out is as for all."""

    approval: ApprovalId
    digest: str = Field(pattern=DIGEST)
    decision: Literal["approve", "reject"] | None = None
    comment: str | None = Field(default=None, max_length=1000)
    lift_hold: bool = False


class BatchBody(Body):
    """One answer to many gates, and the gates that are answered otherwise; who keeps a gate open leaves it out."""

    decision: Literal["approve", "reject"]
    comment: str = Field(default="", max_length=1000)
    gates: list[GateAnswer] = Field(min_length=1, max_length=MOST_GATES)

    @model_validator(mode="after")
    def _one_answer_a_gate(self) -> Self:
        names = [gate.approval for gate in self.gates]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"gates are named twice: {', '.join(twice)}")
        return self

    def to(self, gate: GateAnswer) -> dict[str, Any]:
        """The answer to one gate: its own where it has one, else the one to all."""
        common = {"decision": self.decision, "comment": self.comment}
        return common | gate.model_dump(exclude={"approval"}, exclude_none=True)


@bp.get("approvals")
def list_approvals(person: Caller, page: Page) -> Approvals:
    """Open approvals with their evidence, oldest first, and whether yours would count."""
    listing = wired().queries.approvals(person, page.size, page.continuation)
    return Approvals.model_validate({"approvals": listing.entries, "continuation": listing.continuation})


@bp.get("approvals/{approval}")
def show_approval(person: Caller, approval: ApprovalId) -> ApprovalShown:
    """One open approval with its evidence, and whether yours would count."""
    return ApprovalShown.model_validate(found(wired().queries.approval(person, approval), "open approval", approval))


@bp.post("approvals/{approval}", statuses=(200, 208))
def decide_approval(person: Approver, approval: ApprovalId, body: DecisionBody) -> Answered[Decided]:
    """Approve or reject what was looked at: the digest says what that was, and the gate's groups who may."""
    taken = wired().gate_answers.take(_answer(approval, person, **body.model_dump()))
    if taken.refused:
        raise Refused(_status(taken), "Not decided", taken.note)
    release = approval.rsplit(":", 2)[0]
    told = {"release": release, "recorded": taken.moved, "counts": taken.counts, "note": taken.note}
    return Answered(Decided.model_validate(told), _status(taken))


@bp.post("approvals/batch", statuses=(200, 207))
def decide_approvals(person: Approver, body: BatchBody, request: RequestId) -> Answered[GatesDecided]:
    """Many gates at once: each is decided by itself, by the rules of a single decision, with a result of its own.

    Sent again, it records what was not recorded, and nothing twice; history shows the batch's name with each answer.
    207: some of it was not taken.
    """
    answers = [_answer(gate.approval, person, request=request, **body.to(gate)) for gate in body.gates]
    results = wired().gate_answers.take_all(answers)
    refused = sum(bool(taken.refused) for taken in results.values())
    shown = [
        {
            "approval": approval,
            "status": _status(taken),
            "recorded": taken.moved,
            "counts": taken.counts,
            "note": taken.note,
        }
        for approval, taken in results.items()
    ]
    counts = {"taken": len(results) - refused, "refused": refused}
    decided = GatesDecided.model_validate({"request": request, **counts, "results": shown})
    return Answered(decided, 207 if refused else 200)


@bp.post("approvals/{approval}/override", statuses=(200, 208))
def override_gate(
    person: Caller, approval: ModelApprovalId, body: OverrideBody, request: RequestId
) -> Answered[Recorded]:
    """What blocks a gate is overridden by somebody who may; it is asked again, and shows who did so and why."""
    release = approval.rsplit(":", 2)[0]
    circuit = release.partition(":")[0]
    overridden = GateOverridden(root=circuit, approval=approval, person=person, request=request, **body.model_dump())
    return recorded(wired().application.advance(overridden), release)


def _answer(approval: str, person: Person, **fields: Any) -> ApprovalDecided:
    return ApprovalDecided(root=approval.partition(":")[0], approval=approval, person=person, **fields)


def _status(taken: Taken) -> int:
    if taken.refused:
        return STATUS_OF_REFUSAL.get(taken.refused, 409)
    return 200 if taken.moved else 208
