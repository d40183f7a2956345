"""What is allowed and what follows, for every kind of item: pictures and tables of the transition tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from scripts.reference.markdown import code, contract, mermaid, page, span, table
from shared.domain import circuit, environment, fleet, lake, monitoring
from shared.domain.alerts.alert import ALERT
from shared.domain.machine import Kind, Table, Then
from shared.domain.messages import Command

KINDS: Sequence[Kind] = (
    *circuit.KINDS.values(),
    *lake.KINDS.values(),
    *fleet.KINDS.values(),
    *environment.KINDS.values(),
    *monitoring.KINDS.values(),
    ALERT,
)
MANY = 4
"""An end that so many phases lead to is told below the picture: nobody could follow the arrows."""

INTRODUCTION = """
One table per kind of item says which event is possible in which phase, which phase follows, and what is commanded. An
event without a line here is refused; the outcome of a command that its item has moved on from changes nothing. The
pictures leave out what stays in its phase.

Commands *now* go to the work queue when the transaction is committed; commands *later* wait as due rows. A deadline
that passes is an event too (`DeadlinePassed`), so nothing waits for ever. A line may raise an alert, or say that what
others were about is over; an alert is over as well when the item that raised it moves on ([alerts](../alerts.md)).
What each event and command means is in [messages](messages.md); the tables themselves are in `shared/domain/`.
"""


def write() -> str:
    """docs/reference/transitions.md"""
    return page("Transitions", INTRODUCTION, *(_section(kind) for kind in KINDS))


def edges(transitions: Table) -> dict[tuple[str | None, str], list[str]]:
    """The events that lead from one phase (None: from nothing) to another."""
    found: dict[tuple[str | None, str], list[str]] = {}
    for (before, event), then in transitions.items():
        if before != then.phase:
            found.setdefault((None if before is None else str(before), str(then.phase)), []).append(event.__name__)
    return found


def node(phase: str) -> str:
    """The phase as a name that Mermaid takes."""
    return phase.replace(" ", "_")


def _section(kind: Kind) -> str:
    lines = table(("In phase", "On event", "Goes to", "Commands now", "Commands later", "Alerts"), _lines(kind))
    parts = [f"## {kind.name[0].upper()}{kind.name[1:]}", contract(kind.item), mermaid(_diagram(kind))]
    parts += [_not_drawn(kind, end) for end in _common(kind)]
    parts.append(lines)
    if kind.deadlines:
        limits = ((str(phase), span(limit)) for phase, limit in kind.deadlines.items())
        parts.append(table(("Phase", "Must be left within"), limits))
    parts.append(f"Ends: {', '.join(phase for phase in kind.phases() if phase in kind.ends)}.")
    if kind.new_attempts:
        again = code(event.__name__ for event in kind.new_attempts)
        parts.append(f"Begins a new attempt, with a new deadline, where it stays in its phase: {again}.")
    return "\n\n".join(parts)


def _lines(kind: Kind) -> Iterator[Sequence[str]]:
    order = {phase: place for place, phase in enumerate(kind.phases())}
    for (before, event), then in sorted(kind.table.items(), key=lambda line: order.get(str(line[0][0]), -1)):
        after = "(stays)" if before == then.phase else str(then.phase)
        yield str(before or "—"), f"`{event.__name__}`", after, _names(then.commands), _names(then.later), _alerts(then)


def _alerts(then: Then) -> str:
    raised = f"**{then.raises.severity}** `{then.raises.cause}`" if then.raises else ""
    cleared = f"clears {code(then.clears)}" if then.clears else ""
    return ", ".join(filter(None, (raised, cleared)))


def _names(commands: Iterable[type[Command]]) -> str:
    return code(command.__name__ for command in commands)


def _diagram(kind: Kind) -> Iterator[str]:
    common = _common(kind)
    drawn = {way: events for way, events in edges(kind.table).items() if way[0] is None or way[1] not in common}
    reached = {phase for way in drawn for phase in way}
    yield "stateDiagram-v2"
    yield from (f'    state "{phase}" as {node(phase)}' for phase in kind.phases() if phase in reached)
    for (before, after), events in drawn.items():
        yield f"    {node(before) if before else '[*]'} --> {node(after)} : {' / '.join(events)}"
    yield "    classDef ended fill:#eaeef2,stroke:#57606a,color:#24292f"
    yield f"    class {','.join(node(phase) for phase in kind.phases() if phase in kind.ends & reached)} ended"


def _sources(kind: Kind, end: str) -> dict[str, list[str]]:
    """The phases from which an end is reached, each with its events."""
    return {before: events for (before, after), events in edges(kind.table).items() if after == end and before}


def _common(kind: Kind) -> list[str]:
    return [end for end in kind.phases() if end in kind.ends and len(_sources(kind, end)) >= MANY]


def _not_drawn(kind: Kind, end: str) -> str:
    sources = _sources(kind, end)
    events = dict.fromkeys(event for found in sources.values() for event in found)
    return f"Not drawn, as it can come from so many phases: **{end}**, by {code(events)}, from {', '.join(sources)}."
