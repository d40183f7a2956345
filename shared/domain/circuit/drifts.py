"""Drifts: the verdicts on the circuit's readings, and whether they are still those that its model learned from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from shared.domain import messages as m
from shared.domain.circuit.draft import Part
from shared.domain.circuit.performances import about_what_serves, of_model, replaced_by
from shared.domain.drift import DRIFT, DRIFT_CHECK, Drift, DriftCheck, DriftPhase, Standing, drift_id
from shared.domain.machine import Item, Line
from shared.domain.monitoring import messages as mm
from shared.domain.monitoring.run import check_id
from shared.domain.period import Every, period_of
from shared.domain.persistence import Judged, remembered

VERDICTS: Mapping[str, type[mm.Checked]] = {
    DriftPhase.STEADY: mm.DriftAbsent,
    DriftPhase.WARNING: mm.DriftWarned,
    DriftPhase.DRIFTED: mm.DriftSeen,
    DriftPhase.CANNOT_SAY: mm.DriftUnknown,
}
MODEL_MONITOR = "model-monitor"
"""Begins the names of runs that were AzureML's own monitors."""


class DriftChecks(Part[DriftCheck]):
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
            verdict=DriftPhase.WARNING, reason=f"AzureML's model monitor {event.job}: {event.tag}", model=model
        )
        period = period_of(Every.DAY, event.told_at.date())
        run = f"{MODEL_MONITOR}-{event.job}"
        return mm.DriftWarningJudged(root=self.root.id, run=run, period=period, finding=finding)

    def settle(self, item: DriftCheck, event: m.Event) -> None:
        judged = Judged(
            check=item.id,
            period=item.period.name,
            last=item.period.last,
            verdict=item.phase,
            model=item.finding.model,
        )
        if item.decides:
            self.draft.update(drift=remembered(self.root.drift, judged))
        else:
            self.draft.update(drift_warnings=remembered(self.root.drift_warnings, judged))

    def delay(self, item: DriftCheck) -> timedelta:
        return timedelta(0)


class Drifts(Part[Drift]):
    kind = DRIFT

    def _standing(self) -> Drift | None:
        return next((item for item in self.draft.items.values() if isinstance(item, Drift)), None)

    def classify(self, event: Any) -> list[Line]:
        return []

    def follow(self, item: Item, event: m.Event) -> Iterable[Line]:
        """What the newest verdicts about the model that serves come to."""
        if not isinstance(item, DriftCheck) or not about_what_serves(self.root, item.finding):
            return
        yield from self._decided(item) if item.decides else self._warned(item)

    def _decided(self, check: DriftCheck) -> Iterable[Line]:
        tail, standing = of_model(self.root.drift, check.finding.model), self._standing()
        if self.rules.persistence.drift.holds(tail, [DriftPhase.DRIFTED]):
            found = self._found(check)
            meant = Standing.SHARED if isinstance(found, mm.SharedDriftReached) else Standing.DRIFTED
            if standing is None or standing.phase != meant:
                yield self._line(standing, found, check)
        elif standing is not None and tail[:1] and tail[0].verdict == DriftPhase.STEADY:
            yield self._line(standing, mm.DriftOver(**self._changed(check)), check)

    def _warned(self, check: DriftCheck) -> Iterable[Line]:
        """A run that only warns begins and ends no more than a suspicion."""
        tail, standing = of_model(self.root.drift_warnings, check.finding.model), self._standing()
        if self.rules.persistence.drift_warning.holds(tail, [DriftPhase.WARNING]):
            if standing is None:
                yield self._line(None, mm.DriftSuspected(**self._changed(check)), check)
        elif standing is not None and standing.phase == Standing.SUSPECTED and tail[0].verdict == DriftPhase.STEADY:
            yield self._line(standing, mm.DriftOver(**self._changed(check)), check)

    def _found(self, check: DriftCheck) -> mm.DriftFound:
        found = {**self._changed(check), "features": check.finding.features}
        if check.finding.scope is mm.Scope.CIRCUIT:
            return mm.DriftFound(**found)
        return mm.SharedDriftReached(**found, scope=check.finding.scope)

    def _changed(self, check: DriftCheck) -> dict[str, Any]:
        return {"root": self.root.id, "check": check.id, "reason": check.finding.reason}

    def _line(self, standing: Drift | None, changed: mm.StandingChanged, check: DriftCheck) -> Line:
        if standing:
            return Line(DRIFT, changed, standing.id)
        identity = drift_id(self.root.id, self.root.drifts + 1)
        return Line(DRIFT, changed, created={"id": identity, "circuit": self.root.id, "model": check.finding.model})

    def champion_changed(self, by: str) -> Iterable[Line]:
        standing = self._standing()
        serves = self.root.serving.model if self.root.serving else None
        if standing is not None and standing.model != serves:
            reason = replaced_by(self.root, by)
            replaced = mm.DriftedModelReplaced(root=self.root.id, check=standing.check, reason=reason)
            yield Line(DRIFT, replaced, standing.id)

    def settle(self, item: Drift, event: m.Event) -> None:
        if item.sequence == 1:
            self.draft.update(drifts=self.root.drifts + 1)

    def delay(self, item: Drift) -> timedelta:
        return timedelta(0)
