"""Environment releases over HTTP: what is under way, whom it touches, how far the fleet is; halt, resume, roll back."""

from __future__ import annotations

import azure.functions as func

from functions.http import answer, answers_problems, body_of, caller, found, operator, path, recorded
from functions.orders import OrderBody
from shared.domain.environment import ROOT, environment_release_id
from shared.domain.environment import messages as e
from shared.domain.values import SEMANTIC_VERSION
from shared.wiring import wired

bp = func.Blueprint()
Ordered = type[e.HaltOrdered | e.WavesResumed | e.EnvironmentRollbackOrdered]


def _version(req: func.HttpRequest) -> str:
    return path(req, "version", SEMANTIC_VERSION, "1.1.0")


def _ordered(req: func.HttpRequest, order: Ordered) -> func.HttpResponse:
    person, version = operator(req), _version(req)
    body = body_of(req, OrderBody)
    given = order(root=ROOT, person=person, version=version, reason=body.reason, request=body.request)
    return recorded(wired().application.advance(given), environment_release_id(ROOT, version))


@bp.route("environments", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def list_environments(req: func.HttpRequest) -> func.HttpResponse:
    """Environment releases, newest first."""
    caller(req)
    return answer({"environments": wired().queries.environment_releases()})


@bp.route("environments/{version}", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def release_environment(req: func.HttpRequest) -> func.HttpResponse:
    """Tell of a version that was registered in the dev workspace: what its event does, when that was lost."""
    operator(req)
    version = _version(req)
    told = e.EnvironmentRegistered(root=ROOT, version=version)
    return recorded(wired().application.advance(told), environment_release_id(ROOT, version))


@bp.route("environments/{version}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def show_environment(req: func.HttpRequest) -> func.HttpResponse:
    """One release, its orders to the fleet, and where each circuit's update stands."""
    caller(req)
    version = _version(req)
    return answer(found(wired().queries.environment_release(version), "release of environment", version))


@bp.route("environments/{version}/preview", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def preview_environment(req: func.HttpRequest) -> func.HttpResponse:
    """Which circuits a release of the version would touch now, and which it would leave, and why."""
    caller(req)
    return answer(wired().application.preview_environment(_version(req)))


@bp.route("environments/{version}/history", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def show_environment_history(req: func.HttpRequest) -> func.HttpResponse:
    """Everything that happened to one release, in order."""
    caller(req)
    version = _version(req)
    lines = wired().queries.history(ROOT, environment_release_id(ROOT, version))
    return answer({"history": found({"lines": lines} if lines else None, "release of environment", version)["lines"]})


@bp.route("environments/{version}/halt", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def halt_environment(req: func.HttpRequest) -> func.HttpResponse:
    """No further wave begins; what is under way ends."""
    return _ordered(req, e.HaltOrdered)


@bp.route("environments/{version}/resume", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def resume_environment(req: func.HttpRequest) -> func.HttpResponse:
    """The waves go on from where they halted; the failures so far are accepted."""
    return _ordered(req, e.WavesResumed)


@bp.route("environments/{version}/rollback", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def roll_back_environment(req: func.HttpRequest) -> func.HttpResponse:
    """Every circuit goes back to the environment that its update records."""
    return _ordered(req, e.EnvironmentRollbackOrdered)
