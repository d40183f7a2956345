"""Operations over HTTP: what could not be taken or done, and whether the application is well."""

from __future__ import annotations

import azure.functions as func

from functions.http import answer, answers_problems, caller, found, operator, page_of, path, problem
from shared.errors import Invalid, Permanent
from shared.wiring import wired

bp = func.Blueprint()
LETTER = r"[0-9]{13}-[0-9a-f]{12}"
EXAMPLE = "8204499910951-0f3a5c7e9b1d"


@bp.route("dead-letters", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def list_dead_letters(req: func.HttpRequest) -> func.HttpResponse:
    caller(req)
    listing = wired().queries.dead_letters(*page_of(req))
    return answer({"dead_letters": listing.entries, "continuation": listing.continuation})


@bp.route("dead-letters/{letter}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def show_dead_letter(req: func.HttpRequest) -> func.HttpResponse:
    caller(req)
    letter = path(req, "letter", LETTER, EXAMPLE)
    return answer(found(wired().application.dead_letters.find(letter), "dead letter", letter))


@bp.route("dead-letters/{letter}/replay", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def replay_dead_letter(req: func.HttpRequest) -> func.HttpResponse:
    person = operator(req)
    letter = path(req, "letter", LETTER, EXAMPLE)
    found(wired().application.dead_letters.find(letter), "dead letter", letter)
    try:
        replay = wired().application.replay(letter, wired().replayers, person.username)
    except Invalid as still:
        return problem(409, "Still not acceptable", str(still), field=still.field, allowed=still.allowed)
    except Permanent as still:
        return problem(409, "Still not possible", str(still))
    return answer({"id": letter, "result": replay.result}, 208 if replay.repeated else 200)


@bp.route("health", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def health(req: func.HttpRequest) -> func.HttpResponse:
    """Ready when the settings are whole and the state answers; says nothing about what it holds."""
    ports = wired().application.ports
    ports.store.read_range(ports.store.shards[0], "!0|", "!1|", limit=1)
    return answer({"status": "ready", "time": ports.clock.now().isoformat()})
