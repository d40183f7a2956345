"""Releases and circuits over HTTP: lists, one, and everything that happened to it."""

from __future__ import annotations

import azure.functions as func

from functions.http import NotFound, answer, answers_problems, caller, found, page_of, path
from shared.wiring import wired

bp = func.Blueprint()
CIRCUIT = r"[A-Za-z][A-Za-z0-9]{0,6}_[A-Za-z][A-Za-z0-9]{0,12}"
RELEASE = CIRCUIT + r":[1-9][0-9]{0,8}"


@bp.route("circuits", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def list_circuits(req: func.HttpRequest) -> func.HttpResponse:
    caller(req)
    listing = wired().queries.circuits(*page_of(req))
    return answer({"circuits": listing.entries, "continuation": listing.continuation})


@bp.route("circuits/{circuit}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def show_circuit(req: func.HttpRequest) -> func.HttpResponse:
    caller(req)
    circuit = path(req, "circuit", CIRCUIT, "P001_C001")
    return answer(found(wired().queries.circuit(circuit), "release or reading of circuit", circuit))


@bp.route("circuits/{circuit}/releases", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def list_releases_of_circuit(req: func.HttpRequest) -> func.HttpResponse:
    caller(req)
    circuit = path(req, "circuit", CIRCUIT, "P001_C001")
    releases = wired().queries.releases_of(circuit)
    if not releases and circuit not in wired().application.directory.circuits():
        raise NotFound(f"there is no circuit {circuit!r}")
    return answer({"releases": releases})


@bp.route("releases", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def list_releases(req: func.HttpRequest) -> func.HttpResponse:
    """Releases under way (first page only), then those that have ended, newest first."""
    caller(req)
    size, continuation = page_of(req)
    under_way = [] if continuation else wired().queries.open_releases()
    ended = wired().queries.ended_releases(size, continuation)
    return answer({"open": under_way, "ended": ended.entries, "continuation": ended.continuation})


@bp.route("releases/{release}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def show_release(req: func.HttpRequest) -> func.HttpResponse:
    caller(req)
    release = path(req, "release", RELEASE, "P001_C001:3")
    return answer(found(wired().queries.release(release), "release", release))


@bp.route("releases/{release}/history", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def show_history(req: func.HttpRequest) -> func.HttpResponse:
    caller(req)
    release = path(req, "release", RELEASE, "P001_C001:3")
    lines = wired().queries.history(release.partition(":")[0], release)
    return answer({"history": found({"lines": lines} if lines else None, "release", release)["lines"]})
