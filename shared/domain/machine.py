"""The machine: how a declared table moves an item from phase to phase.

A table maps `(phase, event type)` to `Then(phase, commands, later)`. Nothing else changes a phase. Different outcomes
are different events, never guards, so a table can be read, drawn and tested as a cross product.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from shared.domain.messages import CheckDeadline, Command, Event
from shared.domain.values import Value


@dataclass(frozen=True)
class Alarm:
    """What a line tells people: the cause of an alert, and how severe it is (`alert.Cause`, `alert.Severity`)."""

    cause: str
    severity: str


@dataclass(frozen=True)
class Then:
    """What follows: the phase, what is commanded now, and what is commanded after a delay (a due row).

    `raises` is the alert that people get, `clears` are the causes that are over. An alert is also over when the item
    that raised it moves on by a line that does not raise it again.
    """

    phase: str
    commands: tuple[type[Command], ...] = ()
    later: tuple[type[Command], ...] = ()
    raises: Alarm | None = None
    clears: tuple[str, ...] = ()


Table = Mapping[tuple[str | None, type[Event]], Then]


class Item(Value):
    """Something with a life of its own under a root: a release, a scoring run, a training run, an ETL run, a commit.

    `step` grows with every phase entered and every new attempt, and is part of each command's id; `sequence` counts the
    item's history lines; times are UTC.
    """

    id: str
    phase: str
    step: int = 1
    sequence: int = 0
    created_at: datetime
    since: datetime
    deadline: datetime | None = None
    reason: str = ""


class Root(Value):
    """What a range of rows belongs to; changed by compare-and-set together with its items. `alerts` counts them."""

    id: str
    alerts: int = 0


@dataclass(frozen=True)
class Kind:
    """One kind of item: its table, its ends, how long each phase may take, and its letter in row keys."""

    name: str
    letter: str
    item: type[Item]
    table: Table
    ends: frozenset[str]
    deadlines: Mapping[str, timedelta]
    new_attempts: tuple[type[Event], ...] = ()

    def phases(self) -> tuple[str, ...]:
        """Every phase of the table, in the order in which it first appears."""
        seen: dict[str, None] = {}
        for (before, _), then in self.table.items():
            for phase in (before, then.phase):
                if phase is not None:
                    seen.setdefault(str(phase))
        return tuple(seen)


@dataclass(frozen=True)
class Due:
    """A command to be given at a time (UTC)."""

    at: datetime
    command: Command


@dataclass(frozen=True)
class HistoryLine:
    """One transition, as it is kept for ever."""

    item: str
    sequence: int
    event: str
    before: str | None
    after: str
    at: datetime
    detail: Mapping[str, Any]


class Verdict(StrEnum):
    """What became of an event: it changed something, changed nothing on purpose, or was not possible here."""

    APPLIED = "applied"
    IGNORED = "ignored"
    REFUSED = "refused"


@dataclass
class Decision:
    """Everything one event changes, to be written in one transaction."""

    verdict: Verdict = Verdict.APPLIED
    reason: str = ""
    code: str = ""
    root: Root | None = None
    items: dict[str, Item] = field(default_factory=dict)
    history: list[HistoryLine] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    due: list[Due] = field(default_factory=list)

    @classmethod
    def ignored(cls, reason: str, code: str = "") -> Decision:
        return cls(Verdict.IGNORED, reason, code)

    @classmethod
    def refused(cls, reason: str, code: str = "impossible") -> Decision:
        return cls(Verdict.REFUSED, reason, code)


class Impossible(Exception):
    """The table has no line for this event in this phase."""


def transition(kind: Kind, item: Item | None, event: Event, now: datetime, **created: Any) -> tuple[Item, Then]:
    """The item after the event, and what follows; `created` gives the fields of an item that the event begins.

    Raises `Impossible` when the table has no line for it.
    """
    before = None if item is None else item.phase
    then = kind.table.get((before, type(event)))
    if then is None:
        raise Impossible(f"{type(event).__name__} is not possible for a {kind.name} that is {before or 'not there'}")
    fields: dict[str, Any] = {**created, **event.onto(), "phase": then.phase}
    if item is None:
        fields |= {"created_at": now, "since": now, "sequence": 1, "deadline": _deadline(kind, then.phase, now)}
        return kind.item.model_validate(fields), then
    fields["sequence"] = item.sequence + 1
    if then.phase != before:
        fields |= {"step": item.step + 1, "since": now, "deadline": _deadline(kind, then.phase, now)}
    elif isinstance(event, kind.new_attempts):
        fields |= {"step": item.step + 1, "deadline": _deadline(kind, then.phase, now)}
    return item.model_copy(update=fields), then


def _deadline(kind: Kind, phase: str, now: datetime) -> datetime | None:
    allowed = kind.deadlines.get(phase)
    return now + allowed if allowed else None


def build(command: type[Command], root: Root, item: Item, offered: Mapping[str, Any]) -> Command:
    """The command with its fields filled by name from what the item and its root offer."""
    values = {"root": root.id, "item": item.id, "step": item.step, **offered}
    return command(**{name: values[name] for name in command.model_fields})


class NotNow(Exception):
    """The event changes nothing, on purpose: it is late, told again, or already true; `code` as of `NotAllowed`."""

    def __init__(self, reason: str, code: str = "") -> None:
        super().__init__(reason)
        self.code = code


class NotAllowed(Exception):
    """The event is not possible here; `code` tells the caller which kind of no it is."""

    def __init__(self, reason: str, code: str = "impossible") -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True)
class Line:
    """One line to walk: the kind, the precise event, the item's id (None: the event begins one) and its fields."""

    kind: Kind
    event: Event
    item: str | None = None
    created: Mapping[str, Any] = field(default_factory=dict)


class Affair(ABC):
    """What the kinds of item that somebody answers for do beyond their tables."""

    def moved(self, item: Item, event: Event, then: Then, begun: bool) -> Item:
        """The item with what the event does to it beyond phase and plain fields; `begun`: a new step has begun."""
        return item

    def settle(self, item: Item, event: Event) -> None:  # noqa: B027 (nothing to bring in line is a fair answer)
        """Bring the root in line with the moved item."""

    def follow(self, item: Item, event: Event) -> Iterable[Line]:
        """What follows for others; each line is walked before the next is asked for."""
        return ()

    def offered(self, item: Item) -> Mapping[str, Any]:
        """What a command may take from the item and the root, by name."""
        return {}

    def further(self, item: Item, event: Event) -> Sequence[Command]:
        """Commands that the event carries or implies beside the table's."""
        return ()

    def reminders(self, item: Item, then: Then) -> Sequence[Due]:
        """Commands that the item's own times ask for, beside its deadline."""
        return ()

    @abstractmethod
    def delay(self, item: Item) -> timedelta:
        """How long a later command waits."""


class Draft(Affair):
    """A root as it will be, while one event is followed to its last consequence.

    A subclass says what its root hears (`hear`), which precise events a fact turns out to be (`classify`), what an
    event does to an item beyond its phase (`moved`), what commands may take (`offered`), how long a later command waits
    (`delay`), what a move changes about the root (`settle`) and what follows from it for others (`follow`).
    """

    def __init__(self, root: Root, items: Mapping[str, Item], now: datetime) -> None:
        self.root = root
        self.items = dict(items)
        self.now = now
        self._decision = Decision()
        self._before = root

    def decide(self, event: Event) -> Decision:
        """Everything the event changes, or why it changes nothing."""
        try:
            self.hear(event)
            for line in self.lines(event):
                self.walk(line)
        except NotNow as late:
            return Decision.ignored(str(late), late.code)
        except NotAllowed as refused:
            return Decision.refused(str(refused), refused.code)
        except Impossible as impossible:
            return Decision.refused(str(impossible))
        self._decision.root = self.root if self.root != self._before else None
        return self._decision

    def walk(self, line: Line) -> None:
        """Walk one line of a table: the item, its history, what is commanded, and what follows."""
        before = self.items.get(line.item) if line.item else None
        item, then = transition(line.kind, before, line.event, self.now, **line.created)
        affair = self.affair_of(line.kind)
        begun = before is None or before.step != item.step
        item = affair.moved(item, line.event, then, begun)
        self.items[item.id] = self._decision.items[item.id] = item
        phase = None if before is None else before.phase
        name, detail = type(line.event).__name__, line.event.shown()
        self._decision.history.append(HistoryLine(item.id, item.sequence, name, phase, item.phase, self.now, detail))
        affair.settle(item, line.event)
        offered = affair.offered(item)
        self._decision.commands += [build(command, self.root, item, offered) for command in then.commands]
        self._decision.commands += affair.further(item, line.event)
        at = self.now + affair.delay(item)
        self._decision.due += [Due(at, build(command, self.root, item, offered)) for command in then.later]
        self._decision.due += affair.reminders(item, then)
        if begun and item.deadline is not None and item.phase not in line.kind.ends:
            over = CheckDeadline(root=self.root.id, item=item.id, step=item.step, phase=item.phase)
            self._decision.due.append(Due(item.deadline, over))
        for told in self.alarms(item, then, begun):
            self.walk(told)
        for following in affair.follow(item, line.event):
            self.walk(following)

    @abstractmethod
    def hear(self, event: Event) -> None:
        """What the root itself takes from an event."""

    @abstractmethod
    def classify(self, event: Event) -> Sequence[Line]:
        """The lines to walk; raises `NotNow` or `NotAllowed`."""

    def lines(self, event: Event) -> Sequence[Line]:
        """As `classify`, for what concerns every kind of root as well."""
        return self.classify(event)

    def affair_of(self, kind: Kind) -> Affair:
        """Who answers for the kind; the draft itself for its own."""
        return self

    def alarms(self, item: Item, then: Then, begun: bool) -> Iterable[Line]:
        """What people are told of a move, and what they need be told no longer."""
        return ()


def backoff(count: int, first: timedelta, longest: timedelta) -> timedelta:
    """How long to wait before look or attempt number `count` (from 0): doubled each time, up to `longest`."""
    doubled: timedelta = first * 2 ** min(count, 30)
    return min(doubled, longest)
