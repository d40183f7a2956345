"""The circuit's draft: hands each event and item to the kind whose affair it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, Generic, TypeVar

from shared.domain import approvals
from shared.domain import messages as m
from shared.domain.alerts.causes import Cause
from shared.domain.alerts.draft import AlertingDraft
from shared.domain.alerts.messages import Evidence
from shared.domain.circuit.root import Circuit
from shared.domain.hold import Hold
from shared.domain.machine import Due, Item, Kind, Line, NotAllowed, NotNow, Then
from shared.domain.release import Asked
from shared.domain.rules import Rules
from shared.domain.values import Pair, split_circuit

PartT = TypeVar("PartT", bound="Part[Any]")


class CircuitDraft(AlertingDraft):
    """One circuit while one event is followed; what each kind decides is in its `Part`."""

    root: Circuit

    def __init__(
        self,
        circuit: Circuit,
        items: Mapping[str, Item],
        rules: Rules,
        now: datetime,
        parts: Sequence[type[Part[Any]]],
    ) -> None:
        super().__init__(circuit, items, rules, now)
        self._parts = {part.kind.item: part(self) for part in parts}
        self._champion_changed = False
        self._production_freed = False

    @property
    def hold(self) -> Hold | None:
        """The circuit's standing hold."""
        found = self.items.get(self.root.hold)
        return found if isinstance(found, Hold) else None

    def withheld(self) -> str:
        """Why no deployment to production may begin now; nothing when it may. A rollback never asks."""
        if self.hold:
            return f"on hold by {self.hold.by}: {self.hold.why}"
        return self.rules.standstill(self.now)

    def part(self, kind: type[PartT]) -> PartT:
        """The part of that class."""
        found = self._parts[kind.kind.item]
        assert isinstance(found, kind)
        return found

    def update(self, **changed: Any) -> None:
        """Change the circuit itself, and note since when what it says of production holds."""
        before, after = self.root, self.root.model_copy(update=changed)
        noted: dict[str, Any] = {}
        if after.serving != before.serving:
            noted |= {"serving_since": self.now, "direct": None}
        if not (after.serving and after.scoring):
            noted["expected_since"] = None
        elif before.expected_since is None:
            noted["expected_since"] = self.now
        self.root = after.model_copy(update=noted)

    def hear(self, event: m.Event) -> None:
        for part in self._parts.values():
            part.hear(event)

    def classify(self, event: m.Event) -> Sequence[Line]:
        if isinstance(event, m.Outcome):
            item = self.items.get(event.item)
            if item is None or item.step != event.step:
                raise NotNow(f"{event.item} has moved on since {event.command_id} was given")
            part = self._parts[type(item)]
            return [Line(part.kind, part.outcome(item, event), item.id)]
        heard = [part for part in self._parts.values() if type(event) in part.hears]
        if not heard:
            raise NotAllowed(f"a circuit does not hear {type(event).__name__}")
        return [line for part in heard for line in part.classify(event)]

    def says(self, item: Item) -> str:
        return self._parts[type(item)].says(item) or super().says(item)

    def evidence(self, item: Item) -> Evidence:
        evidence: Evidence = self._parts[type(item)].evidence(item)
        return evidence

    def subject(self, item: Item, cause: str) -> str:
        gate = cause == Cause.APPROVAL_AGEING and isinstance(item, Asked)
        return approvals.gate_of(item) if gate and isinstance(item, Asked) else super().subject(item, cause)

    def reminders(self, item: Item, then: Then) -> Sequence[Due]:
        return approvals.reminders(self.root.id, item, then) if isinstance(item, Asked) else ()

    def concerns(self, item: Item) -> tuple[str, str]:
        return split_circuit(self.root.id)

    def moved(self, item: Item, event: m.Event, then: Then, begun: bool) -> Item:
        moved: Item = self._parts[type(item)].moved(item, event, then, begun)
        return moved

    def settle(self, item: Item, event: m.Event) -> None:
        before = self.root
        self._parts[type(item)].settle(item, event)
        self._champion_changed = before.serving != self.root.serving
        withheld = isinstance(event, m.ProductionWithheld)  # it may not be deployed now, whatever these rules say
        self._production_freed = bool(before.production_owner) and not self.root.production_owner and not withheld

    def follow(self, item: Item, event: m.Event) -> Iterable[Line]:
        freed = self._production_freed
        if self._champion_changed:
            for part in self._parts.values():
                yield from part.champion_changed(item.id)
        if freed:
            yield from self.next_for_production()
        for part in self._parts.values():
            yield from part.follow(item, event)

    def next_for_production(self) -> Iterable[Line]:
        """Who takes production, now that it is free: the first kind, in the order of the parts, of which one waits."""
        for part in self._parts.values():
            if lines := [] if self.root.production_owner else part.next_for_production():
                yield from lines
                return

    def undo(self, bad: Pair, rollback: str, reason: str) -> Iterable[Line]:
        """What a rollback makes of those who put the pair into production, or were about to."""
        for part in self._parts.values():
            yield from part.undone(bad, rollback, reason)

    def offered(self, item: Item) -> Mapping[str, Any]:
        read = f"{item.id}.{item.step}"
        return {"phase": item.phase, "reason": item.reason, "read": read, **self._parts[type(item)].offered(item)}

    def delay(self, item: Item) -> timedelta:
        return self._parts[type(item)].delay(item)


ItemT = TypeVar("ItemT", bound=Item)


class Part(ABC, Generic[ItemT]):
    """What one kind of item decides about itself and its circuit. `hears`: the facts that are its affair."""

    kind: ClassVar[Kind]
    hears: ClassVar[tuple[type[m.Event], ...]] = ()

    def __init__(self, draft: CircuitDraft) -> None:
        self.draft = draft

    @property
    def root(self) -> Circuit:
        return self.draft.root

    @property
    def rules(self) -> Rules:
        return self.draft.rules

    @property
    def now(self) -> datetime:
        return self.draft.now

    def hear(self, event: m.Event) -> None:
        """What the circuit itself takes from an event, before anything is decided."""

    @abstractmethod
    def classify(self, event: Any) -> list[Line]:
        """The precise events that a fact turns out to be, given everything open; raises `NotNow`, `NotAllowed`."""

    def outcome(self, item: ItemT, event: m.Outcome) -> m.Event:
        """The precise event that an outcome turns out to be."""
        return event

    def moved(self, item: ItemT, event: m.Event, then: Then, begun: bool) -> ItemT:
        """The item with what the event does to it beyond phase and plain fields; `begun`: a new step has begun."""
        return item

    def settle(self, item: ItemT, event: m.Event) -> None:
        """Bring the circuit in line with the moved item."""

    def champion_changed(self, by: str) -> Iterable[Line]:
        """What follows for this kind when another pair serves; `by`: the item that made it so."""
        return ()

    def next_for_production(self) -> list[Line]:
        """What follows for the one of this kind that waits for production, which is free; nothing when none waits."""
        return []

    def undone(self, bad: Pair, rollback: str, reason: str) -> Iterable[Line]:
        """What follows for this kind when a rollback takes the pair out of production."""
        return ()

    def follow(self, item: Item, event: m.Event) -> Iterable[Line]:
        """What follows for this kind from the move of any item, its own or another's."""
        return ()

    def evidence(self, item: ItemT) -> Evidence:
        """What an alert that the item raises rests on, in numbers."""
        return Evidence()

    def says(self, item: ItemT) -> str:
        """What is wrong, in an alert that the item raises; nothing: its reason is."""
        return ""

    def offered(self, item: ItemT) -> dict[str, Any]:
        """What a command may take from the item and the circuit, by name."""
        return {}

    @abstractmethod
    def delay(self, item: ItemT) -> timedelta:
        """How long a later command waits."""
