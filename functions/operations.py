"""Operations over HTTP: what could not be taken or done, and whether the application is well."""

from __future__ import annotations

from functions.answers import BacklogShown, DeadLetter, DeadLetters, Health, Replayed
from functions.endpoints import Answered, Endpoints, found
from functions.http import Refused
from functions.parameters import LetterId, Operator, Page
from shared.errors import Invalid, Permanent
from shared.wiring import wired

bp = Endpoints()


@bp.get("dead-letters")
def list_dead_letters(page: Page) -> DeadLetters:
    """What could not be taken or done, newest first."""
    listing = wired().queries.dead_letters(page.size, page.continuation)
    return DeadLetters.model_validate({"dead_letters": listing.entries, "continuation": listing.continuation})


@bp.get("dead-letters/{letter}")
def show_dead_letter(letter: LetterId) -> DeadLetter:
    """One dead letter with its whole body."""
    return DeadLetter.model_validate(found(wired().application.dead_letters.find(letter), "dead letter", letter))


@bp.post("dead-letters/{letter}/replay", statuses=(200, 208))
def replay_dead_letter(person: Operator, letter: LetterId) -> Answered[Replayed]:
    """Try it again, now that what was wrong has been mended."""
    found(wired().application.dead_letters.find(letter), "dead letter", letter)
    try:
        replay = wired().application.replay(letter, wired().replayers, person.username)
    except Invalid as still:
        raise Refused(409, "Still not acceptable", str(still), field=still.field, allowed=still.allowed) from still
    except Permanent as still:
        raise Refused(409, "Still not possible", str(still)) from still
    return Answered(Replayed(id=letter, result=replay.result), 208 if replay.repeated else 200)


@bp.get("backlog", fleeting={"at"})
def show_backlog() -> BacklogShown:
    """What waits to be done and since when: on the queue, in the outbox, overdue; and who holds slots."""
    return BacklogShown.model_validate(wired().backlog.look())


@bp.get("health", anybody=True, fleeting={"time"})
def health() -> Health:
    """Ready when the settings are whole and the state answers; says nothing about what it holds."""
    ports = wired().application.ports
    ports.store.read_range(ports.store.shards[0], "!0|", "!1|", limit=1)
    return Health(status="ready", time=ports.clock.now())
