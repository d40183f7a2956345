"""Drifts: the verdicts on the circuit's readings, and whether they are still those that its model learned from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from shared.domain import messages as m
from shared.domain.circuit.verdicts import Check, Standings, Verdicts, of_model
from shared.domain.drift import DRIFT, DRIFT_CHECK, Drift, DriftCheck, DriftPhase, Standing, drift_id
from shared.domain.identifiers import MODEL_MONITOR
from shared.domain.machine import Item, Line
from shared.domain.monitoring import messages as mm
from shared.domain.monitoring.run import check_id
from shared.domain.period import Every, period_of

VERDICTS: Mapping[str, type[mm.Checked]] = {
    DriftPhase.STEADY: mm.DriftAbsent,
    DriftPhase.WARNING: mm.DriftWarned,
    DriftPhase.DRIFTED: mm.DriftSeen,
    DriftPhase.CANNOT_SAY: mm.DriftUnknown,
}


class DriftChecks(Verdicts[DriftCheck]):
    kind = DRIFT_CHECK
    hears = (mm.DriftJudged, mm.DriftWarningJudged, mm.ModelMonitorBreached)

    def classify(self, event: mm.DriftJudged | mm.DriftWarningJudged | mm.ModelMonitorBreached) -> list[Line]:
        if isinstance(event, mm.ModelMonitorBreached):
            event = self._warning(event)
        checked = VERDICTS[event.finding.verdict](root=self.root.id, run=event.run, reason=event.finding.reason)
        created: dict[str, Any] = {"id": check_id(self.root.id, event.run), "circuit": self.root.id, "run": event.run}
        created |= {"period": event.period, "finding": event.finding, "decides": isinstance(event, mm.DriftJudged)}
        return [Line(DRIFT_CHECK, checked, created=created)]

    def _warning(self, event: mm.ModelMonitorBreached) -> mm.DriftWarningJudged:
        """What AzureML's monitor says is a warning beside our own: its thresholds know nothing of autocorrelation."""
        model = self.root.serving.model if self.root.serving else None
        finding = mm.Finding(
            verdict=DriftPhase.WARNING,
            reason=f"AzureML's model monitor {event.job}: {event.tag}",
            model=model,
            shown_at=event.shown_at,
        )
        period = period_of(Every.DAY, event.told_at.date())
        run = f"{MODEL_MONITOR}-{event.job}"
        return mm.DriftWarningJudged(root=self.root.id, run=run, period=period, finding=finding)

    def tail(self, check: DriftCheck) -> str:
        return "drift" if check.decides else "drift_warnings"


class Drifts(Standings[Drift]):
    kind = DRIFT
    count = "drifts"
    replaced = mm.DriftedModelReplaced

    def identity(self, number: int) -> str:
        return drift_id(self.root.id, number)

    def limits(self, check: Check) -> Mapping[str, float]:
        return {name: self.rules.drift_low for name in check.finding.numbers if name.endswith(".effect")}

    def follow(self, item: Item, event: m.Event) -> Iterable[Line]:
        """What the newest verdicts about the model that serves come to."""
        if not isinstance(item, DriftCheck) or not self.about_what_serves(item):
            return
        yield from self._decided(item) if item.decides else self._warned(item)

    def _decided(self, check: DriftCheck) -> Iterable[Line]:
        tail, standing = of_model(self.root.drift, check.finding.model), self.standing()
        if self.rules.persistence.drift.holds(tail, [DriftPhase.DRIFTED]):
            found = self._found(check)
            meant = Standing.SHARED if isinstance(found, mm.SharedDriftReached) else Standing.DRIFTED
            if standing is None or standing.phase != meant:
                yield self.line(standing, found, check)
        elif standing is not None and tail[:1] and tail[0].verdict == DriftPhase.STEADY:
            yield self.line(standing, mm.DriftOver(**self.changed(check)), check)

    def _warned(self, check: DriftCheck) -> Iterable[Line]:
        """A run that only warns begins and ends no more than a suspicion."""
        tail, standing = of_model(self.root.drift_warnings, check.finding.model), self.standing()
        if self.rules.persistence.drift_warning.holds(tail, [DriftPhase.WARNING]):
            if standing is None:
                yield self.line(None, mm.DriftSuspected(**self.changed(check)), check)
        elif standing is not None and standing.phase == Standing.SUSPECTED and tail[0].verdict == DriftPhase.STEADY:
            yield self.line(standing, mm.DriftOver(**self.changed(check)), check)

    def _found(self, check: DriftCheck) -> mm.DriftFound:
        found = {**self.changed(check), "features": check.finding.features}
        if check.finding.scope is mm.Scope.CIRCUIT:
            return mm.DriftFound(**found)
        return mm.SharedDriftReached(**found, scope=check.finding.scope)
