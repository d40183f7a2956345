"""Performances: the verdicts on the circuit's forecasts, and whether its model has degraded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from shared.domain import messages as m
from shared.domain.circuit.draft import Part
from shared.domain.circuit.root import Circuit
from shared.domain.machine import Item, Line
from shared.domain.monitoring import messages as mm
from shared.domain.monitoring.run import check_id
from shared.domain.performance import (
    DEGRADATION,
    PERFORMANCE,
    Degradation,
    DegradationPhase,
    PerformanceCheck,
    PerformancePhase,
    degradation_id,
)
from shared.domain.persistence import Judged, remembered

VERDICTS: Mapping[str, type[mm.Checked]] = {
    PerformancePhase.OK: mm.PerformanceKept,
    PerformancePhase.WARNING: mm.PerformanceWarned,
    PerformancePhase.CRITICAL: mm.PerformanceCritical,
    PerformancePhase.CANNOT_SAY: mm.PerformanceUnknown,
}
BAD = (PerformancePhase.WARNING, PerformancePhase.CRITICAL)


class PerformanceChecks(Part[PerformanceCheck]):
    kind = PERFORMANCE
    hears = (mm.PerformanceJudged,)

    def classify(self, event: mm.PerformanceJudged) -> list[Line]:
        checked = VERDICTS[event.finding.verdict](root=self.root.id, run=event.run, reason=event.finding.reason)
        created: dict[str, Any] = {"id": check_id(self.root.id, event.run), "circuit": self.root.id}
        created |= {"run": event.run, "period": event.period, "finding": event.finding}
        return [Line(PERFORMANCE, checked, created=created)]

    def settle(self, item: PerformanceCheck, event: m.Event) -> None:
        judged = Judged(
            check=item.id,
            period=item.period.name,
            last=item.period.last,
            verdict=item.phase,
            model=item.finding.model,
        )
        self.draft.update(performance=remembered(self.root.performance, judged))

    def delay(self, item: PerformanceCheck) -> timedelta:
        return timedelta(0)


class Degradations(Part[Degradation]):
    kind = DEGRADATION

    def _standing(self) -> Degradation | None:
        return next((item for item in self.draft.items.values() if isinstance(item, Degradation)), None)

    def classify(self, event: Any) -> list[Line]:
        return []

    def follow(self, item: Item, event: m.Event) -> Iterable[Line]:
        """What the newest verdicts about the model that serves come to."""
        if not isinstance(item, PerformanceCheck) or not about_what_serves(self.root, item.finding):
            return
        tail = of_model(self.root.performance, item.finding.model)
        persistence = self.rules.persistence
        changed = {"root": self.root.id, "check": item.id, "reason": item.finding.reason}
        standing = self._standing()
        if persistence.performance_critical.holds(tail, [PerformancePhase.CRITICAL]):
            if standing is None or standing.phase != DegradationPhase.CRITICAL:
                yield self._line(standing, mm.PerformanceDegradedCritically(**changed), item)
        elif persistence.performance_warning.holds(tail, BAD):
            if standing is None:
                yield self._line(None, mm.PerformanceDegraded(**changed), item)
            elif standing.phase == DegradationPhase.CRITICAL and item.phase != PerformancePhase.CANNOT_SAY:
                yield self._line(standing, mm.PerformanceEased(**changed), item)
        elif standing is not None and tail[:1] and tail[0].verdict == PerformancePhase.OK:
            yield self._line(standing, mm.PerformanceRecovered(**changed), item)

    def _line(self, standing: Degradation | None, changed: mm.StandingChanged, check: PerformanceCheck) -> Line:
        if standing:
            return Line(DEGRADATION, changed, standing.id)
        identity = degradation_id(self.root.id, self.root.degradations + 1)
        created = {"id": identity, "circuit": self.root.id, "model": check.finding.model}
        return Line(DEGRADATION, changed, created=created)

    def champion_changed(self, by: str) -> Iterable[Line]:
        standing = self._standing()
        serves = self.root.serving.model if self.root.serving else None
        if standing is not None and standing.model != serves:
            reason = replaced_by(self.root, by)
            replaced = mm.DegradedModelReplaced(root=self.root.id, check=standing.check, reason=reason)
            yield Line(DEGRADATION, replaced, standing.id)

    def settle(self, item: Degradation, event: m.Event) -> None:
        if item.sequence == 1:
            self.draft.update(degradations=self.root.degradations + 1)

    def delay(self, item: Degradation) -> timedelta:
        return timedelta(0)


def about_what_serves(circuit: Circuit, finding: mm.Finding) -> bool:
    """Whether a finding is about the model that serves now; nothing follows from one about a former model."""
    serves = circuit.serving.model if circuit.serving else None
    return finding.model in (None, serves)


def of_model(tail: Sequence[Judged], model: int | None) -> list[Judged]:
    """The verdicts of a tail about one model, and those that name none."""
    return [judged for judged in tail if judged.model in (None, model)]


def replaced_by(circuit: Circuit, by: str) -> str:
    """What became of the model that a standing finding is about, in words."""
    return f"{by} put {circuit.serving or 'nothing'} into production"
