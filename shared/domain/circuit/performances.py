"""Performances: the verdicts on the circuit's forecasts, and whether its model has degraded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from shared.domain import messages as m
from shared.domain.alerts.causes import Severity
from shared.domain.circuit.verdicts import Check, Standings, Verdicts, of_model
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

VERDICTS: Mapping[str, type[mm.Checked]] = {
    PerformancePhase.OK: mm.PerformanceKept,
    PerformancePhase.WARNING: mm.PerformanceWarned,
    PerformancePhase.CRITICAL: mm.PerformanceCritical,
    PerformancePhase.CANNOT_SAY: mm.PerformanceUnknown,
}
BAD = (PerformancePhase.WARNING, PerformancePhase.CRITICAL)


class PerformanceChecks(Verdicts[PerformanceCheck]):
    kind = PERFORMANCE
    hears = (mm.PerformanceJudged,)

    def classify(self, event: mm.PerformanceJudged) -> list[Line]:
        checked = VERDICTS[event.finding.verdict](root=self.root.id, run=event.run, reason=event.finding.reason)
        created: dict[str, Any] = {"id": check_id(self.root.id, event.run), "circuit": self.root.id}
        created |= {"run": event.run, "period": event.period, "finding": event.finding}
        return [Line(PERFORMANCE, checked, created=created)]

    def tail(self, check: PerformanceCheck) -> str:
        return "performance"


class Degradations(Standings[Degradation]):
    kind = DEGRADATION
    count = "degradations"
    replaced = mm.DegradedModelReplaced

    def identity(self, number: int) -> str:
        return degradation_id(self.root.id, number)

    def limits(self, check: Check) -> Mapping[str, float]:
        critical = check.phase == PerformancePhase.CRITICAL
        return self.rules.error_limits.get(Severity.CRITICAL if critical else Severity.WARNING, {})

    def promised(self, check: Check) -> Mapping[str, float]:
        numbers = check.finding.numbers
        return {"mae": numbers["backtest_mae"]} if "backtest_mae" in numbers else {}

    def follow(self, item: Item, event: m.Event) -> Iterable[Line]:
        """What the newest verdicts about the model that serves come to."""
        if not isinstance(item, PerformanceCheck) or not self.about_what_serves(item):
            return
        tail, persistence = of_model(self.root.performance, item.finding.model), self.rules.persistence
        standing, changed = self.standing(), self.changed(item)
        if persistence.performance_critical.holds(tail, [PerformancePhase.CRITICAL]):
            if standing is None or standing.phase != DegradationPhase.CRITICAL:
                yield self.line(standing, mm.PerformanceDegradedCritically(**changed), item)
        elif persistence.performance_warning.holds(tail, BAD):
            if standing is None:
                yield self.line(None, mm.PerformanceDegraded(**changed), item)
            elif standing.phase == DegradationPhase.CRITICAL and item.phase != PerformancePhase.CANNOT_SAY:
                yield self.line(standing, mm.PerformanceEased(**changed), item)
        elif standing is not None and tail[:1] and tail[0].verdict == PerformancePhase.OK:
            yield self.line(standing, mm.PerformanceRecovered(**changed), item)
