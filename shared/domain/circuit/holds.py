"""Holds: a circuit into whose production no release may enter, until somebody lifts the hold."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from shared.domain import messages as m
from shared.domain.circuit.draft import Part
from shared.domain.hold import HOLD, Hold, Phase, hold_id
from shared.domain.machine import Item, Line, NotNow


class Holds(Part[Hold]):
    kind = HOLD
    hears = (m.HoldRequested, m.ResumeRequested)

    def classify(self, event: m.HoldRequested | m.ResumeRequested) -> list[Line]:
        standing = self.draft.hold
        by = event.person.username
        if isinstance(event, m.HoldRequested):
            if standing:
                raise NotNow(
                    f"{self.root.id} is on hold since {standing.created_at:%Y-%m-%d %H:%M} UTC: {standing.why}"
                )
            return [place(self, by, event.reason)]
        if not standing:
            raise NotNow(f"{self.root.id} is not on hold")
        return [Line(HOLD, m.HoldLifted(root=self.root.id, by=by, reason=event.reason), standing.id)]

    def settle(self, hold: Hold, event: m.Event) -> None:
        if isinstance(event, m.HoldPlaced) and self.root.hold != hold.id:
            self.draft.update(hold=hold.id, holds=self.root.holds + 1)
        if hold.phase == Phase.LIFTED:
            self.draft.update(hold="")

    def follow(self, item: Item, event: m.Event) -> Iterable[Line]:
        if isinstance(event, m.HoldLifted):
            yield from self.draft.next_for_production()

    def says(self, item: Hold) -> str:
        return f"on hold since {item.created_at:%Y-%m-%d} by {item.by}: {item.why}"

    def delay(self, item: Hold) -> timedelta:
        return timedelta(0)


def place(part: Part[Any], by: str, reason: str, version: int | None = None) -> Line:
    """The hold that begins, or the standing one with a new reason."""
    placed = m.HoldPlaced(root=part.root.id, by=by, reason=reason, version=version)
    if part.root.hold:
        return Line(HOLD, placed, part.root.hold)
    created = {"id": hold_id(part.root.id, part.root.holds + 1), "circuit": part.root.id}
    return Line(HOLD, placed, created=created)
