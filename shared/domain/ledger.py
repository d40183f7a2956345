"""The completeness ledger: for each circuit and day, whether its forecast was published, when, by what and from what.

A day is the UTC date of its forecast origin. It is late when its first forecast was published more than the policy's
`ledger.late_after_hours` after the origin; filled afterwards, when somebody asked for that, or when nothing served yet
at the origin: such a day was not expected, and no rate counts it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from shared.domain.scoring import Phase, ScoringRun
from shared.domain.values import Pair, Value


class DayState(StrEnum):
    """How a circuit's day stands. DUE: nothing has begun and it is not late yet; MISSING: nothing has, and it is."""

    DONE = "done"
    LATE = "late"
    FILLED = "filled afterwards"
    UNDER_WAY = "under way"
    DUE = "due"
    MISSING = "missing"
    FAILED = "failed"


PUBLISHED = (DayState.DONE, DayState.LATE, DayState.FILLED)
CLOSED = (*PUBLISHED, DayState.MISSING, DayState.FAILED)


class Run(Value):
    """One scoring run of a day as the ledger keeps it; `ended` and the rest are of its last attempt, times are UTC."""

    run: str
    circuit: str
    origin: datetime
    phase: str
    pair: Pair | None
    table: str
    delta_version: int | None
    attempts: int
    begun: datetime
    since: datetime
    asked_by: str
    reason: str
    job: str
    attempt_uri: str
    published_uri: str
    partial: bool = False
    expected: bool = True

    @property
    def settled(self) -> bool:
        """Whether its forecast stands, or may still come of itself."""
        return self.phase in (Phase.SCORED, Phase.SCORING, Phase.WAITING_FOR_READINGS)

    @classmethod
    def of(cls, run: ScoringRun) -> Run:
        """The ledger's row of a scoring run."""
        return cls(
            run=run.id,
            circuit=run.circuit,
            origin=run.origin,
            phase=run.phase,
            pair=run.pair,
            table=run.table,
            delta_version=run.delta_version,
            attempts=run.attempt,
            begun=run.created_at,
            since=run.since,
            asked_by=run.asked_by,
            reason=run.reason,
            job=run.job,
            attempt_uri=run.operation.output_uri if run.operation else "",
            published_uri=run.published_uri,
            partial=run.partial,
            expected=run.expected,
        )


class Day(Value):
    """One circuit's day. `retried`: it took more than one attempt or run; `duplicate`: one pair was published twice
    from one Delta version. `published_run` is whose forecast stands, `partial`: it lacks readings that came later.
    `expected`: something served at its origin."""

    circuit: str
    day: str
    state: DayState
    expected: bool = True
    retried: bool = False
    duplicate: bool = False
    partial: bool = False
    published_run: str = ""
    runs: tuple[Run, ...] = ()


def day_of(circuit: str, origin: datetime, runs: Sequence[Run], late_after: timedelta, now: datetime) -> Day:
    """What a circuit's runs of one forecast origin come to; no runs: whether one is still to be expected."""
    runs = sorted(runs, key=lambda run: run.begun)
    published = sorted((run for run in runs if run.phase == Phase.SCORED), key=lambda run: run.since)
    sources = Counter((str(run.pair), run.table, run.delta_version) for run in published)
    return Day(
        circuit=circuit,
        day=f"{origin:%Y-%m-%d}",
        state=_state(origin, runs, published, late_after, now),
        expected=not runs or any(run.expected for run in runs),
        retried=any(run.attempts > 1 for run in runs) or 0 < len(published) < len(runs),
        duplicate=any(count > 1 for count in sources.values()),
        partial=bool(published) and published[-1].partial,
        published_run=published[-1].run if published else "",
        runs=tuple(runs),
    )


def _state(
    origin: datetime, runs: Sequence[Run], published: Sequence[Run], late_after: timedelta, now: datetime
) -> DayState:
    if published:
        first = published[0]
        if first.since - origin <= late_after:
            return DayState.DONE
        return DayState.FILLED if first.asked_by or not first.expected else DayState.LATE
    phases = {run.phase for run in runs}
    if Phase.SCORING in phases:
        return DayState.UNDER_WAY
    if phases & {Phase.FAILED, Phase.ERRORED}:
        return DayState.FAILED
    if not runs and now - origin <= late_after:
        return DayState.DUE
    return DayState.MISSING


class Completeness(Value):
    """How many circuits' days stand how. Rates are of the expected days that are over, with or without a forecast."""

    expected: int
    states: dict[DayState, int]
    retried: int
    duplicates: int
    partial: int
    success_rate: float | None
    on_time_rate: float | None


def completeness(days: Sequence[Day]) -> Completeness:
    """The days in numbers; a rate is None while no day is over."""
    states = Counter(day.state for day in days)
    expected = Counter(day.state for day in days if day.expected)
    over = sum(expected[state] for state in CLOSED)
    return Completeness(
        expected=expected.total(),
        states={state: states[state] for state in DayState},
        retried=sum(day.retried for day in days),
        duplicates=sum(day.duplicate for day in days),
        partial=sum(day.partial for day in days),
        success_rate=sum(expected[state] for state in PUBLISHED) / over if over else None,
        on_time_rate=expected[DayState.DONE] / over if over else None,
    )
