"""Checks: the verdict on what a Delta commit brought for a circuit."""

from __future__ import annotations

from datetime import timedelta

from shared.domain import messages as m
from shared.domain.alerts.messages import Evidence
from shared.domain.circuit.draft import Part
from shared.domain.machine import Line
from shared.domain.quality import (
    QUALITY,
    QualityCheck,
    QualityFailed,
    QualityFailedWithMost,
    assess_quality,
    measured_quality,
)


class Checks(Part[QualityCheck]):
    kind = QUALITY
    hears = (m.SensorCovered,)

    def classify(self, event: m.SensorCovered) -> list[Line]:
        assessed, problems = assess_quality(event.counts, self.rules.quality)
        shared = assessed is QualityFailed and event.widespread
        verdict: type[m.QualityChecked] = QualityFailedWithMost if shared else assessed
        checked = verdict(
            root=self.root.id,
            table=event.table,
            version=event.version,
            verdict=verdict.__name__,
            problems=problems,
            counts=event.counts,
        )
        created = {
            "id": f"{self.root.id}!quality.{event.table}.{event.version}",
            "circuit": self.root.id,
            "table": event.table,
            "version": event.version,
            "counts": event.counts,
            "problems": problems,
            "reason": "; ".join(problems) + (f" (as most circuits of {event.widespread})" if shared else ""),
        }
        return [Line(QUALITY, checked, created=created)]

    def evidence(self, item: QualityCheck) -> Evidence:
        return measured_quality(item.counts, self.rules.quality)

    def delay(self, item: QualityCheck) -> timedelta:
        return timedelta(0)
