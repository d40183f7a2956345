"""Operations over HTTP: what could not be taken or done, and whether the application is well."""

from __future__ import annotations

import azure.functions as func

from functions.http import answer, answers_problems, caller, operator, page_of, path
from shared.wiring import wired

bp = func.Blueprint()


@bp.route("dead-letters", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def list_dead_letters(req: func.HttpRequest) -> func.HttpResponse:
    caller(req)
    page = wired().application.dead_letters.page(*page_of(req))
    return answer(
        {"dead_letters": [{"id": row.key, **row.body} for row in page.rows], "continuation": page.continuation}
    )


@bp.route("dead-letters/{letter}/replay", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def replay_dead_letter(req: func.HttpRequest) -> func.HttpResponse:
    operator(req)
    letter = path(req, "letter", r"[0-9]{13}-[0-9a-f]{12}", "8204499910951-0f3a5c7e9b1d")
    return answer({"id": letter, "result": wired().application.replay(letter, wired().signals.replayers())})


@bp.route("health", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def health(req: func.HttpRequest) -> func.HttpResponse:
    """Ready when the settings are whole and the state answers; says nothing about what it holds."""
    ports = wired().application.ports
    ports.store.read_range(ports.store.shards[0], "!0|", "!1|", limit=1)
    return answer({"status": "ready", "time": ports.clock.now().isoformat()})
