"""What people order over HTTP, of the fleet, a circuit or a release; and what was ordered."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from functions.answers import FleetShown, Orders, Recorded
from functions.endpoints import Answered, Endpoints, recorded
from functions.http import NotFound
from functions.parameters import Body, CircuitId, Operator, Page, ReleaseId, RequestId
from shared.domain import messages as m
from shared.domain.fleet import ROOT as FLEET
from shared.domain.identifiers import REASON
from shared.domain.values import SEMANTIC_VERSION
from shared.wiring import wired

bp = Endpoints()


class OrderBody(Body):
    """Why; it is kept, and shown with what follows."""

    reason: str = Field(min_length=REASON.start, max_length=REASON.stop - 1)


class RollbackBody(OrderBody):
    """`version`: the model version to go back to; without it, the last pair that proved itself."""

    version: int | None = Field(default=None, ge=1, le=999_999_999)


class DirectActionBody(OrderBody):
    """What was done past the application, with which pair, and when; `action` names it: told again, it is kept once."""

    action: str = Field(pattern=r"^[A-Za-z0-9-]{8,64}$")
    did: Literal["promote", "deploy to test", "deploy to production"]
    model: int = Field(ge=1, le=999_999_999)
    environment: str = Field(default="", pattern=rf"^({SEMANTIC_VERSION})?$")
    at: AwareDatetime

    @model_validator(mode="after")
    def _a_deployment_is_of_a_pair(self) -> Self:
        if self.did != "promote" and not self.environment:
            raise ValueError("a deployment is of a pair: environment is missing")
        return self


@bp.get("fleet")
def show_fleet(page: Page) -> FleetShown:
    """Whether the fleet is stopped or frozen, by whom and why, and every stop with its history."""
    application = wired().application
    now = application.ports.clock.now()
    return FleetShown.model_validate(
        wired().queries.fleet(application.directory.rules(FLEET), now, page.size, page.continuation)
    )


@bp.post("fleet/stop", statuses=(200, 208))
def stop_fleet(person: Operator, body: OrderBody, request: RequestId) -> Answered[Recorded]:
    """No release enters any production; approvals may be given, what is under way ends, rollbacks go on."""
    stop = m.FleetStopped(root=FLEET, person=person, reason=body.reason, request=request)
    return recorded(wired().application.advance(stop), FLEET)


@bp.post("fleet/resume", statuses=(200, 208))
def resume_fleet(person: Operator, body: OrderBody, request: RequestId) -> Answered[Recorded]:
    """The fleet's stop ends; what is ready goes on within half an hour."""
    resumed = m.FleetResumed(root=FLEET, person=person, reason=body.reason, request=request)
    return recorded(wired().application.advance(resumed), FLEET)


@bp.get("circuits/{circuit}/orders")
def list_orders(circuit: CircuitId, page: Page) -> Orders:
    """What people ordered of the circuit and what befell its production, newest first, each with its history."""
    listing = wired().queries.orders(_known(circuit), page.size, page.continuation)
    return Orders.model_validate({"orders": listing.entries, "continuation": listing.continuation})


@bp.post("circuits/{circuit}/rollback", statuses=(200, 208), guard="show_circuit")
def roll_back(person: Operator, circuit: CircuitId, body: RollbackBody, request: RequestId) -> Answered[Recorded]:
    """Back to the last pair that proved itself, or to a named version; nothing holds it up."""
    return _ordered(circuit, m.RollbackRequested, person, body, request)


@bp.post("circuits/{circuit}/hold", statuses=(200, 208), guard="show_circuit")
def hold(person: Operator, circuit: CircuitId, body: OrderBody, request: RequestId) -> Answered[Recorded]:
    """No release enters production until the circuit is resumed; what is under way ends."""
    return _ordered(circuit, m.HoldRequested, person, body, request)


@bp.post("circuits/{circuit}/resume", statuses=(200, 208), guard="show_circuit")
def resume(person: Operator, circuit: CircuitId, body: OrderBody, request: RequestId) -> Answered[Recorded]:
    """The hold ends, and what is ready goes on."""
    return _ordered(circuit, m.ResumeRequested, person, body, request)


@bp.post("circuits/{circuit}/retire", statuses=(200, 208))
def retire(person: Operator, circuit: CircuitId, body: OrderBody, request: RequestId) -> Answered[Recorded]:
    """A circuit that the configuration has no more serves nothing from now on and is not scored; history stays."""
    return _ordered(circuit, m.RetireRequested, person, body, request)


@bp.post("circuits/{circuit}/direct-actions", statuses=(200, 208))
def report_direct_action(person: Operator, circuit: CircuitId, body: DirectActionBody) -> Answered[Recorded]:
    """What a person does, or did, on the platform past the application; what enters production so is respected."""
    fields = body.model_dump(exclude={"action"})
    told = m.DirectActionReported(root=_known(circuit), person=person, request=body.action, **fields)
    return recorded(wired().application.advance(told), circuit)


def _ordered(circuit: str, order: type[m.Order], person: m.Person, body: OrderBody, request: str) -> Answered[Recorded]:
    given = order(root=_known(circuit), person=person, request=request, **body.model_dump())
    return recorded(wired().application.advance(given), circuit)


def _known(circuit: str) -> str:
    """A circuit of the configuration, or one that was and still serves; raises NotFound."""
    if circuit not in wired().application.directory.circuits() and wired().queries.root(circuit) is None:
        raise NotFound(f"there is no circuit {circuit!r}")
    return circuit


@bp.post("releases/{release}/cancel", statuses=(200, 208), guard="show_release")
def cancel_release(person: Operator, release: ReleaseId, body: OrderBody, request: RequestId) -> Answered[Recorded]:
    """A candidate is taken back before production; its gate is withdrawn, its test job stopped."""
    root = release.partition(":")[0]
    order = m.CancelRequested(root=root, release=release, person=person, reason=body.reason, request=request)
    return recorded(wired().application.advance(order), root)


@bp.post("releases/{release}/retry", statuses=(200, 208), guard="show_release")
def retry_release(person: Operator, release: ReleaseId, body: OrderBody, request: RequestId) -> Answered[Recorded]:
    """An errored release goes on, in a new attempt of the step that broke."""
    return _restarted("retry", release, person, body, request)


@bp.post("releases/{release}/reopen", statuses=(200, 208), guard="show_release")
def reopen_release(person: Operator, release: ReleaseId, body: OrderBody, request: RequestId) -> Answered[Recorded]:
    """A rejected or cancelled release goes on from where it ended; the reason says why that was wrong."""
    return _restarted("reopen", release, person, body, request)


@bp.post("releases/{release}/ask-again", statuses=(200, 208), guard="show_release")
def ask_again(person: Operator, release: ReleaseId, body: OrderBody, request: RequestId) -> Answered[Recorded]:
    """An expired release is asked about once more."""
    return _restarted("ask again", release, person, body, request)


def _restarted(how: str, release: str, person: m.Person, body: OrderBody, request: str) -> Answered[Recorded]:
    root = release.partition(":")[0]
    order = m.RestartRequested(root=root, release=release, person=person, reason=body.reason, request=request, how=how)
    return recorded(wired().application.advance(order), root)
