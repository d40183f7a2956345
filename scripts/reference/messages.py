"""Every event and command: what it says, what it carries, where it is heard or given, and who runs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from scripts.reference.markdown import code, contract, page, table
from scripts.reference.transitions import KINDS
from shared import application  # noqa: F401 (registers every handler)
from shared.domain.environment.messages import LookForEnvironments, TellCircuit
from shared.domain.messages import (
    CheckDailyScoring,
    CheckDeadline,
    Command,
    Consequence,
    CoverCircuit,
    Event,
    FillDay,
    Outcome,
    ReadDeltaCommit,
    ReadProduction,
)
from shared.domain.monitoring.messages import TellFinding
from shared.domain.values import Value
from shared.handlers import HANDLERS

V = TypeVar("V", bound=Value)

INTRODUCTION = """
An event is a fact, a command an intent. Both are frozen pydantic models in `shared/domain/messages.py` (and verdicts
beside what they judge). An event's identity is its row in the inbox: told twice, it has one effect. A command's id is
deterministic, and is the idempotency key of what it starts.
"""
GROUPS = {
    "Facts from outside": "Told by Event Grid, HTTP, timers and fan-outs; and what they turn out to be, once"
    " `classify` has looked at everything open under the root.",
    "Outcomes": "What came of a command. One that comes after its item has moved on changes nothing.",
    "Consequences": "Follow from another event within the same decision and the same transaction.",
}
COMMANDS = """
A command that fails is put back with a growing delay. Given up, it is kept as a dead letter that can be replayed, and
its item hears of it (`CommandPoisoned`). Those that only tell or tidy up are kept and no more: {}.
"""
FURTHER: Mapping[type[Command], str] = {
    CheckDeadline: "with every phase that has a deadline",
    CoverCircuit: "by a fan-out, for each circuit that a Delta commit has readings of",
    CheckDailyScoring: "by a fan-out, for each circuit of the fleet",
    FillDay: "by a fan-out, for each circuit of the fleet, when a person wants a day filled",
    ReadProduction: "by a fan-out, for each circuit of the fleet",
    TellFinding: "by a monitoring run, for each circuit that it judged",
    TellCircuit: "by an order to the fleet, for each circuit that it reaches",
    LookForEnvironments: "by a timer: AzureML tells of no environment",
    ReadDeltaCommit: "by events and timers; and for commits between two that were heard of",
}
"""Where a command comes from beside the tables."""


def write() -> str:
    """docs/reference/messages.md"""
    # No event is made of the class: only those below it are asked for.
    events = [event for event in _below(Event) if _appears(event)]  # type: ignore[type-abstract]
    grouped: dict[str, list[type[Event]]] = {title: [] for title in GROUPS}
    for event in events:
        grouped[_group(event)].append(event)
    header = ("Event", "What it says", "Carries", "Moves")
    sections = [
        f"## {title}\n\n{GROUPS[title]}\n\n{table(header, map(_event_line, found))}" for title, found in grouped.items()
    ]
    commands = list(_below(Command))
    tidying = code(command.__name__ for command in commands if not command.essential)
    commanded = table(("Command", "What it asks", "Carries", "Given", "Handler"), map(_command_line, commands))
    return page("Messages", INTRODUCTION, *sections, "## Commands", COMMANDS.format(tidying), commanded)


def _below(base: type[V]) -> Iterator[type[V]]:
    """Every class below `base`, each once, as they are declared: the core's first, then module by module.

    Which module is imported first depends on who asks, and must not show.
    """
    seen: dict[type[V], None] = {}

    def walk(above: type[V]) -> None:
        for found in above.__subclasses__():
            seen.setdefault(found)
            walk(found)

    walk(base)
    return iter(sorted(seen, key=lambda found: (found.__module__ != base.__module__, found.__module__)))


def _appears(event: type[Event]) -> bool:
    """Whether such an event is ever made, rather than only what others have in common."""
    if event in (Outcome, Consequence):
        return False
    return bool(_moves(event)) or not event.__subclasses__() or "identity" in vars(event)


def _group(event: type[Event]) -> str:
    titles = list(GROUPS)
    return titles[1] if issubclass(event, Outcome) else titles[2] if issubclass(event, Consequence) else titles[0]


def _moves(event: type[Event]) -> list[str]:
    return [kind.name for kind in KINDS if any(heard is event for _, heard in kind.table)]


def _event_line(event: type[Event]) -> tuple[str, ...]:
    return f"`{event.__name__}`", contract(event), _fields(event, (Event, Outcome)), ", ".join(_moves(event)) or "—"


def _command_line(command: type[Command]) -> tuple[str, ...]:
    given = [
        f"{kind.name}: {code(dict.fromkeys(event.__name__ for event in events))}"
        for kind in KINDS
        if (events := [event for (_, event), then in kind.table.items() if command in (*then.commands, *then.later)])
    ]
    handler = getattr(HANDLERS.get(command), "__name__", "—")
    given += [FURTHER[command]] if command in FURTHER else []
    return f"`{command.__name__}`", contract(command), _fields(command, (Command,)), "; ".join(given), f"`{handler}`"


def _fields(message: type[Value], bases: tuple[type[Value], ...]) -> str:
    common: set[str] = set().union(*(base.model_fields for base in bases if issubclass(message, base)))
    return ", ".join(
        f"`{name}` {_type(field.annotation)}" for name, field in message.model_fields.items() if name not in common
    )


def _type(annotation: Any) -> str:
    """A type as it is written, without the modules."""
    if isinstance(annotation, type) and not getattr(annotation, "__args__", ()):
        return annotation.__name__
    text = str(annotation)
    for module in ("typing.", "collections.abc.", "datetime.", "shared.domain.messages.", "shared.domain.values."):
        text = text.replace(module, "")
    return text
