"""Discrepancies: what is recorded against what production really serves, and what the policy makes of a difference."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from shared.domain import messages as m
from shared.domain.circuit.draft import Part
from shared.domain.discrepancy import DISCREPANCY, Discrepancy, Phase, discrepancy_id
from shared.domain.machine import Line, NotNow, Then, backoff
from shared.domain.operation import expect_look, in_operation, operated
from shared.domain.values import Pair


class Discrepancies(Part[Discrepancy]):
    kind = DISCREPANCY
    hears = (m.ProductionRead,)

    def _open(self) -> Discrepancy | None:
        return next((item for item in self.draft.items.values() if isinstance(item, Discrepancy)), None)

    def classify(self, event: m.ProductionRead) -> list[Line]:
        root, known = self.root, self._open()
        if root.production_owner or root.serving != event.recorded:
            raise NotNow("production was being changed while it was read")
        if event.found == root.serving:
            if known is None:
                raise NotNow("production serves what is recorded")
            return [Line(DISCREPANCY, m.ProductionAgrees(root=root.id), known.id)]
        if root.serving is None and not root.scoring:
            raise NotNow("nothing serves, and that is recorded: what still lies in production is not asked")
        if known is not None:
            raise NotNow(f"{known.id} says so already")
        reason = _difference(event.found, root.serving)
        created = {
            "id": discrepancy_id(root.id, root.discrepancies + 1),
            "circuit": root.id,
            "found": event.found,
            "recorded": root.serving,
            "reason": reason,
        }
        return [Line(DISCREPANCY, self._policy(event.found)(root=root.id), created=created)]

    def _policy(self, found: Pair | None) -> type[m.Consequence]:
        direct = found is not None and found == self.root.direct  # somebody said so: never undone unasked
        if self.rules.out_of_band == "repair" and self.root.serving and not direct:
            return m.RepairBegun
        if (direct or self.rules.out_of_band == "adopt") and any(proved.pair == found for proved in self.root.proved):
            return m.ProductionAdopted
        return m.ProductionDiffers

    def outcome(self, item: Discrepancy, event: m.Outcome) -> m.Event:
        expect_look(item.operation, event)
        return event

    def moved(self, item: Discrepancy, event: m.Event, then: Then, begun: bool) -> Discrepancy:
        return item.model_copy(update={"operation": operated(item.operation, event, self.now)})

    def settle(self, item: Discrepancy, event: m.Event) -> None:
        if isinstance(event, (m.ProductionDiffers, m.ProductionAdopted, m.RepairBegun)):
            self.draft.update(discrepancies=self.root.discrepancies + 1)
        if item.phase == Phase.REPAIRING:
            self.draft.update(production_owner=item.id)
        elif self.root.production_owner == item.id:
            self.draft.update(production_owner="")
        if item.phase == Phase.ADOPTED:
            adopted = next(proved for proved in self.root.proved if proved.pair == item.found)
            proved = self.root.proven(adopted.pair, adopted.tags, adopted.at)
            self.draft.update(serving=item.found, desired=item.found, verified=item.found, proved=proved)
            self.draft.update(serving_tags=adopted.tags, served_by=item.id)

    def undone(self, bad: Pair, rollback: str, reason: str) -> Iterable[Line]:
        known = self._open()
        if known is not None and known.phase == Phase.REPAIRING:
            yield Line(DISCREPANCY, m.RepairOvertaken(root=self.root.id, rollback=rollback), known.id)

    def offered(self, item: Discrepancy) -> dict[str, Any]:
        return {"purpose": item.phase, **in_operation(item.operation), "pair": item.recorded, "previous": item.found}

    def says(self, item: Discrepancy) -> str:
        return _difference(item.found, item.recorded) if item.phase == Phase.FLAGGED else ""

    def delay(self, item: Discrepancy) -> timedelta:
        looks = item.operation.looks if item.operation else 0
        return backoff(looks, self.rules.first_look, self.rules.longest_look)


def _difference(found: Pair | None, recorded: Pair | None) -> str:
    return f"production serves {found or 'nothing'}, and {recorded or 'nothing'} is recorded"
