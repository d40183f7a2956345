"""Direct actions: what a person did past the application is recorded, and what they put into production is respected.

A direct deployment to production places a hold, so that no release undoes it unasked, and its pair is not repaired: it
is adopted where it has proved itself, and flagged until people decide where it has not.
"""

from __future__ import annotations

from datetime import timedelta

from shared.domain import messages as m
from shared.domain.circuit.draft import Part
from shared.domain.circuit.holds import place
from shared.domain.direct_action import DIRECT_ACTION, DirectAction, direct_action_id
from shared.domain.machine import Line
from shared.domain.values import Pair


class DirectActions(Part[DirectAction]):
    kind = DIRECT_ACTION
    hears = (m.DirectActionReported,)

    def classify(self, event: m.DirectActionReported) -> list[Line]:
        by, number = event.person.username, self.root.direct_actions + 1
        what = f"model {event.model}" + (f" with environment {event.environment}" if event.environment else "")
        reason = f"{by} did past the application: {event.did}, {what}: {event.reason}"
        created = {
            "id": direct_action_id(self.root.id, number),
            "circuit": self.root.id,
            "by": by,
            "why": event.reason,
            "did": event.did,
            "model": event.model,
            "environment": event.environment,
            "reason": reason,
        }
        in_production = event.did == "deploy to production"
        precise = m.ProductionChangedDirectly if in_production else m.PlatformUsedDirectly
        lines = [Line(DIRECT_ACTION, precise(root=self.root.id, at=event.at), created=created)]
        if in_production:
            lines.insert(0, place(self, by, f"changed past the application: {event.reason}"))
        return lines

    def settle(self, action: DirectAction, event: m.Event) -> None:
        self.draft.update(direct_actions=self.root.direct_actions + 1)
        if isinstance(event, m.ProductionChangedDirectly):
            self.draft.update(direct=Pair(model=action.model, environment=action.environment))

    def delay(self, item: DirectAction) -> timedelta:
        return timedelta(0)
