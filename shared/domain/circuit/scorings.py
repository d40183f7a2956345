"""Scorings: when a day's inference is due, and what its attempts come to."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from shared.domain import messages as m
from shared.domain import release as r
from shared.domain.circuit.draft import Part
from shared.domain.circuit.root import Forecast
from shared.domain.machine import Item, Line, NotAllowed, NotNow, Then, backoff
from shared.domain.operation import expect_look, in_operation, operated
from shared.domain.release import Release
from shared.domain.scoring import READINGS_USED, SCORING, Phase, ScoringRun, limits, scoring_id
from shared.domain.update import UPDATE, EnvironmentUpdate
from shared.domain.update import Phase as UpdatePhase
from shared.domain.values import Pair

SKIPPED_DAYS = 14
"""Days between two scorings that are recorded as missed at once; an outage that was longer shows in the ledger."""
MOST_UNDER_WAY = 8
"""Scorings of one circuit at once: a rollback calls all of them off in the one transaction that takes production."""
FORMER_TABLES = 5
"""Tables that a late commit is not taken from; the newest ones."""


BEGINNINGS = (m.ScoringDue, m.ReadingsArrived, m.ScoringRequested)
"""What begins a day's first attempt."""


def came_late(event: m.SensorCovered, origin: datetime) -> bool:
    """Whether the commit added or changed readings that a forecast of the origin is made from."""
    return event.oldest is not None and origin - READINGS_USED <= event.oldest < origin


def _ended(run: ScoringRun) -> bool:
    return run.phase in SCORING.ends


class Scorings(Part[ScoringRun]):
    kind = SCORING
    hears = (m.SensorCovered, m.DailyScoringChecked, m.ScoringRequested)

    def hear(self, event: m.Event) -> None:
        if not isinstance(event, m.SensorCovered) or event.table in self.root.former_tables:
            return
        if self.root.table and self.root.table != event.table:
            former = (self.root.table, *self.root.former_tables)[:FORMER_TABLES]
            self.draft.update(former_tables=former, newest_reading=None, delta_version=None)
        newest, version = self.root.newest_reading, self.root.delta_version
        self.draft.update(
            table=event.table,
            sensor=event.sensor,
            newest_reading=event.newest if newest is None else max(newest, event.newest),
            delta_version=event.version if version is None else max(version, event.version),
        )

    def classify(self, event: m.SensorCovered | m.DailyScoringChecked | m.ScoringRequested) -> list[Line]:
        if isinstance(event, m.ScoringRequested):
            return self._requested(event)
        if isinstance(event, m.SensorCovered):
            return [*self._late(event), *self._due(self.rules.origin(self.now))]
        return self._daily(event)

    def outcome(self, run: ScoringRun, event: m.Outcome) -> m.Event:
        expect_look(run.operation, event)
        if not isinstance(event, (m.ScoringRefused, m.OperationFailed)):
            return event
        why = event.error if isinstance(event, m.OperationFailed) else "; ".join(event.problems)
        if self.root.serving is None:
            return m.ScoringCalledOff(root=self.root.id, reason=f"nothing serves {self.root.id} any more ({why})")
        if run.pair != self.root.serving or self.root.desired != self.root.serving:
            error = f"what serves changed meanwhile ({why})"
            return m.ScoringOvertaken(**event.model_dump(include=set(m.Outcome.model_fields)), error=error)
        if isinstance(event, m.OperationFailed) and run.attempt < self.rules.scoring_attempts:
            return m.ScoringAttemptFailed(**event.model_dump())
        return event

    def moved(self, run: ScoringRun, event: m.Event, then: Then, begun: bool) -> ScoringRun:
        changed: dict[str, Any] = {"operation": operated(run.operation, event, self.now)}
        again = isinstance(event, (m.ScoringAttemptFailed, m.ScoringOvertaken))
        if again or isinstance(event, BEGINNINGS):
            # Each attempt takes what serves and the newest readings at its own start.
            changed |= {
                "pair": self.root.serving,
                "table": self.root.table,
                "delta_version": self.root.delta_version,
                "operation": None,
                "reason": "",
            }
        if isinstance(event, BEGINNINGS) or run.phase == Phase.MISSED:
            self._close(run.origin)
        if isinstance(event, (m.ScoringAttemptFailed, m.ScoringOvertaken)):
            changed |= {"reason": event.error, "partial": False}
        if isinstance(event, m.ScoringAttemptFailed):
            changed["attempt"] = run.attempt + 1
        return run.model_copy(update=changed)

    def says(self, run: ScoringRun) -> str:
        return f"no forecast from {run.origin:%Y-%m-%d}: {run.reason or run.phase}"

    def settle(self, run: ScoringRun, event: m.Event) -> None:
        stands = self.root.forecast
        if isinstance(event, m.ScoringVerified) and (stands is None or stands.origin <= run.origin):
            self.draft.update(forecast=Forecast(run=run.id, origin=run.origin))

    def follow(self, item: Item, event: m.Event) -> Iterable[Line]:
        updated = isinstance(item, EnvironmentUpdate) and item.phase in (UpdatePhase.OBSERVING, *UPDATE.ends)
        if updated or (isinstance(item, Release) and item.phase in (r.Phase.OBSERVING, *r.ENDS)):
            yield from self._due(self.rules.origin(self.now))
        if isinstance(event, m.RolledBack):
            yield from self._verify(self.rules.origin(self.now), by=str(self.root.rollbacks))
        if isinstance(item, EnvironmentUpdate) and isinstance(event, m.DeployedToProduction) and item.verify:
            reached = min(self.now, self.root.newest_reading or self.now)
            yield from self._verify(self.rules.origin(reached), by=f"environment.{item.version}")

    def undone(self, bad: Pair, rollback: str, reason: str) -> Iterable[Line]:
        off = m.ScoringCalledOff(root=self.root.id, reason=f"{bad} was taken out of production by {rollback}")
        for run in list(self.draft.items.values()):
            if isinstance(run, ScoringRun) and run.phase == Phase.SCORING and run.pair == bad:
                yield Line(SCORING, off, run.id)

    def _late(self, event: m.SensorCovered) -> list[Line]:
        """The newest forecasts that readings of a commit came too late for; scored again where the policy says so."""
        found: list[Line] = []
        for run in self.draft.items.values():
            stands = self.root.forecast is not None and run.id == self.root.forecast.run
            under_way = run.phase == Phase.SCORING
            if isinstance(run, ScoringRun) and (stands or under_way) and self._missed(run, event):
                came = m.ReadingsCameLate(root=self.root.id, oldest=event.oldest, version=event.version)
                found.append(Line(SCORING, came, run.id))
                if stands and self.rules.late_readings == "score again" and not self._cannot_score(run.origin):
                    due = m.LateReadingsDue(root=self.root.id, origin=run.origin, version=event.version)
                    identity = f"{scoring_id(self.root.id, run.origin)}+late.{event.table}.{event.version}"
                    found.append(Line(SCORING, due, created={**self._run(run.origin), "id": identity}))
        return found

    @staticmethod
    def _missed(run: ScoringRun, event: m.SensorCovered) -> bool:
        newer = run.delta_version is None or event.version > run.delta_version
        return run.table == event.table and newer and came_late(event, run.origin)

    def _cannot_score(self, origin: datetime) -> bool:
        """Whether nothing may score the origin now: nothing serves, production is being changed, or it is under way."""
        if self.root.serving is None or not self.root.scoring or self.root.desired != self.root.serving:
            return True
        under_way = [run for run in self.draft.items.values() if isinstance(run, ScoringRun) and not _ended(run)]
        return len(under_way) >= MOST_UNDER_WAY or any(run.origin == origin for run in under_way)

    def _verify(self, origin: datetime, by: str) -> list[Line]:
        """The newest origin scored by the pair that now serves, also when another pair has scored it."""
        newest = self.root.newest_reading
        if lines := self._due(origin):
            return lines
        if newest is None or newest < origin or not self.root.scoring or self.root.desired != self.root.serving:
            return []
        again = {**self._run(origin), "id": f"{scoring_id(self.root.id, origin)}+{by}"}
        return [Line(SCORING, m.VerificationDue(root=self.root.id, origin=origin), created=again)]

    def offered(self, item: ScoringRun) -> dict[str, Any]:
        return {
            "purpose": item.phase,
            "table": self.root.table,
            "delta_version": self.root.delta_version,
            **in_operation(item.operation),
            "origin": item.origin,
            "pair": item.pair,
            "limits": limits(self.root.serving_tags),
        }

    def delay(self, item: ScoringRun) -> timedelta:
        if item.operation is None:
            return backoff(max(item.attempt - 2, 0), self.rules.retry_after, timedelta(hours=1))
        return backoff(item.operation.looks, self.rules.first_job_look, self.rules.longest_look)

    def _daily(self, event: m.DailyScoringChecked) -> list[Line]:
        lines = self._due(event.origin)
        if (
            not lines
            and self._unscored(event.origin)
            and scoring_id(self.root.id, event.origin) not in self.draft.items
        ):
            overdue = m.ScoringOverdue(root=self.root.id, origin=event.origin)
            reason = f"the newest reading is of {self.root.newest_reading}, before the origin {event.origin}"
            lines = [
                *self._skipped(event.origin),
                Line(SCORING, overdue, created={**self._run(event.origin), "reason": reason}),
            ]
        if not lines:
            raise NotNow("the day's scoring has started, or nothing serves")
        return lines

    def _unscored(self, origin: datetime) -> bool:
        done = self.root.scored_through
        return self.root.serving is not None and self.root.scoring and (done is None or done < origin)

    def _due(self, origin: datetime) -> list[Line]:
        """The scoring that an origin calls for now: nothing while readings are missing or once it has started.

        While production is being deployed it waits for the outcome: what a job would meet there is not known.
        """
        newest = self.root.newest_reading
        deploying = self.root.desired != self.root.serving
        if deploying or not self._unscored(origin) or newest is None or newest < origin:
            return []
        waiting = self.draft.items.get(scoring_id(self.root.id, origin))
        if waiting is not None:
            return [Line(SCORING, m.ReadingsArrived(root=self.root.id), waiting.id)]
        due = m.ScoringDue(root=self.root.id, origin=origin)
        return [*self._skipped(origin), Line(SCORING, due, created=self._run(origin))]

    def _requested(self, event: m.ScoringRequested) -> list[Line]:
        newest = self.root.newest_reading
        if self.root.serving is None or not self.root.scoring:
            raise NotAllowed(f"nothing serves {self.root.id}, or its scoring is suspended: release or resume it first")
        if self.root.desired != self.root.serving:
            raise NotAllowed(
                f"{self.root.production_owner} is changing what serves {self.root.id}: ask again when it has ended",
                "closed",
            )
        if newest is None or newest < event.origin:
            raise NotAllowed(
                f"the newest reading is of {newest}, before the origin {event.origin}: bring readings first"
            )
        under_way = [run for run in self.draft.items.values() if isinstance(run, ScoringRun) and not _ended(run)]
        for run in under_way:
            if run.origin.date() == event.origin.date():
                raise NotNow(f"{run.id} is {run.phase}")
        if len(under_way) >= MOST_UNDER_WAY:
            raise NotAllowed(f"{len(under_way)} scorings are under way: ask again when some have ended", "busy")
        created = {**self._run(event.origin), "id": scoring_id(self.root.id, event.origin, event.number)}
        return [*self._skipped(event.origin), Line(SCORING, event, created=created)]

    def _skipped(self, origin: datetime) -> list[Line]:
        """The days before an origin that nothing began: they are never begun now, and must not be missed in silence."""
        done, expected = self.root.scored_through, self.root.expected_since
        lines: list[Line] = []
        for days in range(1, SKIPPED_DAYS + 1):
            day = origin - timedelta(days=days)
            if expected is None or day < expected or (done is not None and day.date() <= done.date()):
                break
            if scoring_id(self.root.id, day) not in self.draft.items:
                lines.append(Line(SCORING, m.ScoringSkipped(root=self.root.id, origin=day), created=self._run(day)))
        return lines[::-1]

    def _run(self, origin: datetime) -> dict[str, Any]:
        since = self.root.expected_since
        expected = since is not None and since <= origin
        return {"id": scoring_id(self.root.id, origin), "circuit": self.root.id, "origin": origin, "expected": expected}

    def _close(self, origin: datetime) -> None:
        """No other scoring of this origin or an older one begins; late attempts and misses never open a newer one."""
        done = self.root.scored_through
        self.draft.update(scored_through=origin if done is None else max(done, origin))
