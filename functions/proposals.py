"""Proposals over HTTP: what degraded circuits are to get, and what people say to it."""

from __future__ import annotations

from functions.answers import Proposals, ProposalShown, Recorded
from functions.endpoints import Answered, Endpoints, found, recorded
from functions.orders import OrderBody
from functions.parameters import Operator, Page, ProposalId, RequestId
from shared.domain.messages import Person
from shared.domain.proposals import messages as p
from shared.wiring import wired

bp = Endpoints()


@bp.get("proposals")
def list_proposals(page: Page) -> Proposals:
    """Open proposals, the newest first."""
    listing = wired().queries.proposals(page.size, page.continuation)
    return Proposals.model_validate({"proposals": listing.entries, "continuation": listing.continuation})


@bp.get("proposals/{proposal}")
def show_proposal(proposal: ProposalId) -> ProposalShown:
    """One proposal, open or ended: the analysis, the change it opened, and everything that happened to it."""
    return ProposalShown.model_validate(found(wired().queries.proposal(proposal), "proposal", proposal))


@bp.post("proposals/{proposal}/accept", statuses=(200, 208))
def accept_proposal(person: Operator, proposal: ProposalId, body: OrderBody, request: RequestId) -> Answered[Recorded]:
    """Do it: open the change for people to merge, roll back, or have the readings mended."""
    return _answered(p.ProposalAccepted, person, proposal, body, request)


@bp.post("proposals/{proposal}/decline", statuses=(200, 208))
def decline_proposal(person: Operator, proposal: ProposalId, body: OrderBody, request: RequestId) -> Answered[Recorded]:
    """Leave it; the alert stays until its cause is over."""
    return _answered(p.ProposalDeclined, person, proposal, body, request)


def _answered(
    order: type[p.ProposalOrder], person: Person, proposal: str, body: OrderBody, request: str
) -> Answered[Recorded]:
    circuit = proposal.partition("!")[0]
    found(wired().queries.proposal(proposal), "proposal", proposal)
    given = order(root=circuit, proposal=proposal, person=person, reason=body.reason, request=request)
    return recorded(wired().application.advance(given), circuit)
