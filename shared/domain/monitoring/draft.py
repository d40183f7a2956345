"""The monitor's root: what is due by its schedules, one run of a kind at a time, and what plants share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from shared.domain import messages as m
from shared.domain.alerts.draft import AlertingDraft
from shared.domain.alerts.messages import Evidence
from shared.domain.machine import Item, Kind, Line, NotAllowed, NotNow, Root, Then, backoff
from shared.domain.monitoring import messages as mm
from shared.domain.monitoring.run import MONITORING, SHARED_DRIFT, MonitoringRun, Phase, SharedDrift, run_id
from shared.domain.operation import expect_look, in_operation, operated
from shared.domain.period import Every, Period, newest_period
from shared.domain.values import Monitoring

KINDS: dict[type[Item], Kind] = {kind.item: kind for kind in (MONITORING, SHARED_DRIFT)}
CAUGHT_UP = 12
"""Missed periods of performance that are looked at afterwards; older ones are asked for, if anybody wants them."""
ATTEMPTS = 2
FLEET = "fleet"
"""What a whole fleet's drift is filed under, beside the plants'."""


class Monitor(Root):
    """`through` has the last day of the newest period that each schedule began; `shared_drifts` counts."""

    through: Mapping[Monitoring, date] = {}
    shared_drifts: int = 0


class MonitorDraft(AlertingDraft):
    root: Monitor

    def hear(self, event: m.Event) -> None:
        """What is due is decided with everything open in view."""

    def classify(self, event: m.Event) -> Sequence[Line]:
        match event:
            case m.Outcome():
                return [self._outcome(event)]
            case mm.MonitoringDue():
                return [self._due(event)]
            case mm.MonitoringAsked():
                return [self._asked(event)]
        raise NotAllowed(f"the monitor does not hear {type(event).__name__}")

    def _due(self, event: mm.MonitoringDue) -> Line:
        period = self._next(event.monitoring)
        if period is None:
            raise NotNow(f"no {event.monitoring} is due: its newest period was begun, or its schedule is off")
        if busy := self._under_way(event.monitoring):
            raise NotNow(f"{busy.id} is {busy.phase}; the next tick of the schedule asks again")
        return Line(MONITORING, event, created=_begun(event.monitoring, period, run_id(event.monitoring, period)))

    def _asked(self, event: mm.MonitoringAsked) -> Line:
        period = event.period or newest_period(self._every(event.monitoring), self._today())
        if period.last >= self.now.date():
            raise NotAllowed(f"{period.name} is not over: ask when its last day, {period.last}, has ended (UTC)")
        if busy := self._under_way(event.monitoring):
            raise NotAllowed(f"{busy.id} is {busy.phase}: ask again when it has ended", "closed")
        identity = run_id(event.monitoring, period, event.request)
        return Line(MONITORING, event, created={**_begun(event.monitoring, period, identity), "among": event.among})

    def _outcome(self, event: m.Outcome) -> Line:
        item = self.items.get(event.item)
        if item is None or item.step != event.step:
            raise NotNow(f"{event.item} has moved on since {event.command_id} was given")
        if not isinstance(item, MonitoringRun):
            return Line(SHARED_DRIFT, event, item.id)
        expect_look(item.operation, event)
        if isinstance(event, m.OperationFailed) and item.attempt < ATTEMPTS:
            fields = event.model_dump(include={*m.Outcome.model_fields, "error"})
            event = mm.MonitoringAttemptFailed(**fields)
        return Line(MONITORING, event, item.id)

    def _next(self, monitoring: Monitoring) -> Period | None:
        """The period that the schedule asks for; of performance the oldest that was missed, else the newest."""
        every = self.rules.monitored_every[monitoring]
        if every is Every.NEVER:
            return None
        newest, through = newest_period(every, self._today()), self.root.through.get(monitoring)
        if through is None:
            return newest
        if through >= newest.last:
            return None
        if monitoring is not Monitoring.PERFORMANCE:
            return newest
        missed = [newest]
        while len(missed) < CAUGHT_UP and (before := newest_period(every, missed[0].first)).last > through:
            missed.insert(0, before)
        return missed[0]

    def _every(self, monitoring: Monitoring) -> Every:
        """What a person's run is about, where no period is named: a performance's schedule, or the days up to today."""
        every = self.rules.monitored_every[monitoring]
        if monitoring is not Monitoring.PERFORMANCE:
            return Every.DAY
        return Every.MONTH if every is Every.NEVER else every

    def _today(self) -> date:
        """The day, once the readings of the days before have had time to arrive."""
        return (self.now - self.rules.readings_settle).date()

    def _under_way(self, monitoring: Monitoring) -> MonitoringRun | None:
        runs = (item for item in self.items.values() if isinstance(item, MonitoringRun))
        return next((run for run in runs if run.monitoring is monitoring and run.phase not in MONITORING.ends), None)

    def moved(self, item: Item, event: m.Event, then: Then, begun: bool) -> Item:
        if not isinstance(item, MonitoringRun):
            return item
        changed: dict[str, Any] = {"operation": operated(item.operation, event, self.now)}
        if isinstance(event, mm.MonitoringAttemptFailed):
            changed = {"operation": None, "attempt": item.attempt + 1}
        return item.model_copy(update=changed)

    def settle(self, item: Item, event: m.Event) -> None:
        if isinstance(event, mm.MonitoringDue) and isinstance(item, MonitoringRun):
            through = {**self.root.through, item.monitoring: item.period.last}
            self.root = self.root.model_copy(update={"through": through})
        if isinstance(event, mm.SharedDriftFound):
            self.root = self.root.model_copy(update={"shared_drifts": self.root.shared_drifts + 1})

    def follow(self, item: Item, event: m.Event) -> Iterator[Line]:
        """What plants share is begun and ended by runs that decide about them, and by nothing else."""
        if not isinstance(event, mm.MonitoringSucceeded) or not isinstance(item, MonitoringRun):
            return
        if item.monitoring is not Monitoring.DRIFT:
            return
        standing = {shared.among: shared for shared in self.items.values() if isinstance(shared, SharedDrift)}
        for among in event.covered:
            if among in standing and among not in event.shared:
                yield Line(SHARED_DRIFT, mm.SharedDriftOver(root=self.root.id, run=item.id), standing[among].id)
        for among in event.shared:
            if among not in standing:
                found = mm.SharedDriftFound(root=self.root.id, among=among, run=item.id)
                created = {"among": among, "run": item.id, "period": item.period.name}
                created["id"] = f"{self.root.id}!drift.{self.root.shared_drifts + 1}"
                yield Line(SHARED_DRIFT, found, created=created)

    def offered(self, item: Item) -> Mapping[str, Any]:
        offered: dict[str, Any] = {"phase": item.phase, "reason": item.reason}
        if isinstance(item, MonitoringRun):
            asked = {"monitoring": item.monitoring, "among": item.among, "period": item.period}
            offered |= {**asked, "cursor": item.cursor, "purpose": PURPOSE, **in_operation(item.operation)}
        return offered

    def evidence(self, item: Item) -> Evidence:
        if isinstance(item, SharedDrift):
            return Evidence(period=item.period, report=f"api/monitoring/runs/{item.run}/report")
        return super().evidence(item)

    def subject(self, item: Item, cause: str) -> str:
        """Of runs their kind: the next that ends well clears what was said of one before it."""
        match item:
            case MonitoringRun():
                return item.monitoring
            case SharedDrift():
                return item.among
        return super().subject(item, cause)

    def concerns(self, item: Item) -> tuple[str, str]:
        return (item.among, "") if isinstance(item, SharedDrift) and item.among != FLEET else ("", "")

    def further(self, item: Item, event: m.Event) -> Sequence[m.Command]:
        return [m.decode(document) for document in event.commands] if isinstance(event, mm.FindingsRead) else ()

    def delay(self, item: Item) -> timedelta:
        if isinstance(item, MonitoringRun) and item.phase == Phase.REQUESTED:
            return self.rules.retry_after
        looks = item.operation.looks if isinstance(item, MonitoringRun) and item.operation else 0
        return backoff(looks, self.rules.first_job_look, self.rules.longest_look)


PURPOSE = "monitoring"
"""What the operation of a monitoring run is looked at for."""


def _begun(monitoring: Monitoring, period: Period, identity: str) -> dict[str, Any]:
    return {"id": identity, "monitoring": monitoring, "period": period}
