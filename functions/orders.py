"""What people order over HTTP, of the fleet, a circuit or a release; and what was ordered."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import azure.functions as func
from pydantic import BaseModel, ConfigDict, Field

from functions.http import NotFound, answer, answers_problems, body_of, caller, operator, path, recorded
from functions.releases import CIRCUIT, RELEASE
from shared.domain import messages as m
from shared.domain.fleet import ROOT as FLEET
from shared.wiring import wired

bp = func.Blueprint()


class OrderBody(BaseModel):
    """Why; `request` is the caller's own name for the order: sent again, it is done once."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=3, max_length=500)
    request: str = Field(default_factory=lambda: uuid4().hex, pattern=r"^[A-Za-z0-9-]{8,64}$")


class RollbackBody(OrderBody):
    """`version`: the model version to go back to; without it, the last pair that proved itself."""

    version: int | None = Field(default=None, ge=1, le=999_999_999)


def _ordered(req: func.HttpRequest, person: m.Person, order: type[m.Order], body: type[OrderBody]) -> func.HttpResponse:
    circuit = _known(req)
    fields: dict[str, Any] = body_of(req, body).model_dump()
    return recorded(wired().application.advance(order(root=circuit, person=person, **fields)), circuit)


def _known(req: func.HttpRequest) -> str:
    """A circuit of the configuration, or one that was and still serves."""
    circuit = path(req, "circuit", CIRCUIT, "P001_C001")
    if circuit not in wired().application.directory.circuits() and wired().queries.root(circuit) is None:
        raise NotFound(f"there is no circuit {circuit!r}")
    return circuit


@bp.route("fleet", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def show_fleet(req: func.HttpRequest) -> func.HttpResponse:
    """Whether the fleet is stopped or frozen, by whom and why, and every stop with its history."""
    caller(req)
    application = wired().application
    return answer(wired().queries.fleet(application.directory.rules(FLEET), application.ports.clock.now()))


@bp.route("fleet/stop", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def stop_fleet(req: func.HttpRequest) -> func.HttpResponse:
    """No release enters any production; approvals may be given, what is under way ends, rollbacks go on."""
    return _ordered_of_fleet(operator(req), m.FleetStopped, body_of(req, OrderBody))


@bp.route("fleet/resume", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def resume_fleet(req: func.HttpRequest) -> func.HttpResponse:
    """The fleet's stop ends; what is ready goes on within half an hour."""
    return _ordered_of_fleet(operator(req), m.FleetResumed, body_of(req, OrderBody))


def _ordered_of_fleet(person: m.Person, order: type[m.Order], body: OrderBody) -> func.HttpResponse:
    return recorded(wired().application.advance(order(root=FLEET, person=person, **body.model_dump())), FLEET)


@bp.route("circuits/{circuit}/orders", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def list_orders(req: func.HttpRequest) -> func.HttpResponse:
    """The circuit's rollbacks, holds and discrepancies, newest first, each with its history."""
    caller(req)
    return answer({"orders": wired().queries.orders(_known(req))})


@bp.route("circuits/{circuit}/rollback", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def roll_back(req: func.HttpRequest) -> func.HttpResponse:
    """Back to the last pair that proved itself, or to a named version; nothing holds it up."""
    return _ordered(req, operator(req), m.RollbackRequested, RollbackBody)


@bp.route("circuits/{circuit}/hold", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def hold(req: func.HttpRequest) -> func.HttpResponse:
    """No release enters production until the circuit is resumed; what is under way ends."""
    return _ordered(req, operator(req), m.HoldRequested, OrderBody)


@bp.route("circuits/{circuit}/resume", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def resume(req: func.HttpRequest) -> func.HttpResponse:
    """The hold ends, and what is ready goes on."""
    return _ordered(req, operator(req), m.ResumeRequested, OrderBody)


def _ordered_of_release(
    req: func.HttpRequest, person: m.Person, order: type[m.ReleaseOrder], body: OrderBody, **fields: str
) -> func.HttpResponse:
    release = path(req, "release", RELEASE, "P001_C001:3")
    circuit = release.partition(":")[0]
    ordered = order(root=circuit, release=release, person=person, **body.model_dump(), **fields)
    return recorded(wired().application.advance(ordered), circuit)


@bp.route("releases/{release}/cancel", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def cancel_release(req: func.HttpRequest) -> func.HttpResponse:
    """A candidate is taken back before production; its gate is withdrawn, its test job stopped."""
    return _ordered_of_release(req, operator(req), m.CancelRequested, body_of(req, OrderBody))


@bp.route("releases/{release}/retry", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def retry_release(req: func.HttpRequest) -> func.HttpResponse:
    """An errored release goes on, in a new attempt of the step that broke."""
    return _ordered_of_release(req, operator(req), m.RestartRequested, body_of(req, OrderBody), how="retry")


@bp.route("releases/{release}/reopen", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def reopen_release(req: func.HttpRequest) -> func.HttpResponse:
    """A rejected or cancelled release goes on from where it ended; the reason says why that was wrong."""
    return _ordered_of_release(req, operator(req), m.RestartRequested, body_of(req, OrderBody), how="reopen")


@bp.route("releases/{release}/ask-again", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def ask_again(req: func.HttpRequest) -> func.HttpResponse:
    """An expired release is asked about once more."""
    return _ordered_of_release(req, operator(req), m.RestartRequested, body_of(req, OrderBody), how="ask again")
