"""The lake: ETL runs and upkeep, and the fan-outs that tell each circuit what a Delta commit or a new day brings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from shared.domain import messages as m
from shared.domain.alerts.causes import Cause, critical, warning
from shared.domain.alerts.draft import AlertingDraft
from shared.domain.machine import (
    Decision,
    Item,
    Kind,
    Line,
    NotAllowed,
    NotNow,
    Root,
    Then,
    backoff,
)
from shared.domain.operation import Operation, expect_look, in_operation, operated
from shared.domain.rules import Rules

ROOT = "lake"
GAP_LIMIT = 20
"""Missed commits that one newer commit asks for; more than that are older than any circuit's next scoring."""


class EtlPhase(StrEnum):
    """Where an ETL run stands; `overdue` is still looked at, and people know."""

    WAITING_FOR_UPKEEP = "waiting for upkeep"
    RUNNING = "running"
    OVERDUE = "overdue"
    COMPLETED = "completed"
    FAILED = "failed"


class UpkeepPhase(StrEnum):
    """Where an upkeep of the table stands."""

    WAITING_FOR_ETL = "waiting for ETL"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


class FanOutPhase(StrEnum):
    """Where a fan-out stands; `overdue` goes on from its cursor, and people know."""

    FANNING_OUT = "fanning out"
    OVERDUE = "overdue"
    DONE = "done"
    FAILED = "failed"


class EtlRun(Item):
    """One scheduled ETL run."""

    run_id: str
    operation: Operation | None = None
    version: int | None = None


class UpkeepRun(Item):
    """One scheduled upkeep: compaction (`version`: its commit), then vacuum."""

    run_id: str
    operation: Operation | None = None
    version: int | None = None
    deleted_files: int = 0


class FanOut(Item):
    """A cursor over circuits: `coverage` of a Delta commit by its report, or of a `foreign` one by the table itself;
    the `daily` scoring check of an origin, or its `fill`; what `production` really serves at a time."""

    purpose: str
    table: str = ""
    version: int | None = None
    report: str = ""
    origin: datetime | None = None
    cursor: int | None = 0
    asked_by: str = ""
    comment: str = ""


class Lake(Root):
    """The table as it was last heard of."""

    table: str = ""
    newest_version: int | None = None


_RUNNING = (EtlPhase.RUNNING, EtlPhase.OVERDUE)
ETL_TABLE: dict[tuple[str | None, type[m.Event]], Then] = {
    (None, m.EtlDue): Then(EtlPhase.RUNNING, (m.StartEtl,)),
    (None, m.EtlDueDuringUpkeep): Then(EtlPhase.WAITING_FOR_UPKEEP),
    (EtlPhase.WAITING_FOR_UPKEEP, m.TableFreed): Then(EtlPhase.RUNNING, (m.StartEtl,)),
    (EtlPhase.WAITING_FOR_UPKEEP, m.DeadlinePassed): Then(EtlPhase.FAILED, raises=critical(Cause.ETL)),
    (EtlPhase.RUNNING, m.DeadlinePassed): Then(EtlPhase.OVERDUE, later=(m.LookAtOperation,), raises=warning(Cause.ETL)),
    (EtlPhase.OVERDUE, m.DeadlinePassed): Then(EtlPhase.FAILED, (m.CancelOperation,), raises=critical(Cause.ETL)),
}
for _phase in _RUNNING:
    ETL_TABLE |= {
        (_phase, m.OperationStarted): Then(_phase, later=(m.LookAtOperation,)),
        (_phase, m.StillRunning): Then(_phase, later=(m.LookAtOperation,)),
        (_phase, m.EtlSucceeded): Then(EtlPhase.COMPLETED, (m.ReadDeltaCommit,), clears=(Cause.ETL,)),
        (_phase, m.OperationFailed): Then(EtlPhase.FAILED, raises=critical(Cause.ETL)),
        (_phase, m.CommandPoisoned): Then(EtlPhase.FAILED, raises=critical(Cause.ETL)),
    }

ETL = Kind(
    name="ETL run",
    letter="E",
    item=EtlRun,
    table=ETL_TABLE,
    ends=frozenset({EtlPhase.COMPLETED, EtlPhase.FAILED}),
    deadlines={
        EtlPhase.WAITING_FOR_UPKEEP: timedelta(hours=3),
        EtlPhase.RUNNING: timedelta(hours=2),
        EtlPhase.OVERDUE: timedelta(hours=4),
    },
)

_UPKEEP_FAILED = warning(Cause.UPKEEP)
UPKEEP = Kind(
    name="upkeep",
    letter="U",
    item=UpkeepRun,
    table={
        (None, m.UpkeepDue): Then(UpkeepPhase.RUNNING, (m.StartUpkeep,)),
        (None, m.UpkeepDueDuringEtl): Then(UpkeepPhase.WAITING_FOR_ETL),
        (UpkeepPhase.WAITING_FOR_ETL, m.TableFreed): Then(UpkeepPhase.RUNNING, (m.StartUpkeep,)),
        (UpkeepPhase.WAITING_FOR_ETL, m.DeadlinePassed): Then(UpkeepPhase.FAILED, raises=_UPKEEP_FAILED),
        (UpkeepPhase.RUNNING, m.OperationStarted): Then(UpkeepPhase.RUNNING, later=(m.LookAtOperation,)),
        (UpkeepPhase.RUNNING, m.StillRunning): Then(UpkeepPhase.RUNNING, later=(m.LookAtOperation,)),
        (UpkeepPhase.RUNNING, m.UpkeepSucceeded): Then(UpkeepPhase.COMPLETED, clears=(Cause.UPKEEP,)),
        (UpkeepPhase.RUNNING, m.OperationFailed): Then(UpkeepPhase.FAILED, raises=_UPKEEP_FAILED),
        (UpkeepPhase.RUNNING, m.CommandPoisoned): Then(UpkeepPhase.FAILED, raises=_UPKEEP_FAILED),
        (UpkeepPhase.RUNNING, m.DeadlinePassed): Then(UpkeepPhase.FAILED, (m.CancelOperation,), raises=_UPKEEP_FAILED),
    },
    ends=frozenset({UpkeepPhase.COMPLETED, UpkeepPhase.FAILED}),
    deadlines={UpkeepPhase.WAITING_FOR_ETL: timedelta(hours=12), UpkeepPhase.RUNNING: timedelta(hours=2)},
)

FAN_OUT_TABLE: dict[tuple[str | None, type[m.Event]], Then] = {
    (None, m.DeltaCommitted): Then(FanOutPhase.FANNING_OUT, (m.ReadSlice,)),
    (None, m.ForeignRowsCommitted): Then(FanOutPhase.FANNING_OUT, (m.ReadSlice,)),
    (None, m.DailyScoringAsked): Then(FanOutPhase.FANNING_OUT, (m.ReadSlice,)),
    (None, m.DayFillAsked): Then(FanOutPhase.FANNING_OUT, (m.ReadSlice,)),
    (None, m.ReconciliationAsked): Then(FanOutPhase.FANNING_OUT, (m.ReadSlice,)),
    (FanOutPhase.FANNING_OUT, m.DeadlinePassed): Then(
        FanOutPhase.OVERDUE, (m.ReadSlice,), raises=warning(Cause.FAN_OUT)
    ),
    (FanOutPhase.OVERDUE, m.DeadlinePassed): Then(FanOutPhase.FAILED, raises=critical(Cause.FAN_OUT)),
}
for _open in (FanOutPhase.FANNING_OUT, FanOutPhase.OVERDUE):
    FAN_OUT_TABLE |= {
        (_open, m.SliceRead): Then(_open, (m.ReadSlice,)),
        (_open, m.LastSliceRead): Then(FanOutPhase.DONE, clears=(Cause.FAN_OUT, Cause.QUALITY)),
        (_open, m.CommitFailedQuality): Then(FanOutPhase.DONE, clears=(Cause.FAN_OUT,), raises=critical(Cause.QUALITY)),
        (_open, m.CommandPoisoned): Then(_open, raises=critical(Cause.FAN_OUT)),
    }

FAN_OUT = Kind(
    name="fan-out",
    letter="F",
    item=FanOut,
    table=FAN_OUT_TABLE,
    ends=frozenset({FanOutPhase.DONE, FanOutPhase.FAILED}),
    deadlines={FanOutPhase.FANNING_OUT: timedelta(hours=1), FanOutPhase.OVERDUE: timedelta(hours=4)},
)

KINDS: dict[type[Item], Kind] = {kind.item: kind for kind in (ETL, UPKEEP, FAN_OUT)}
Writer = EtlRun | UpkeepRun
"""What writes to the table. Upkeep and ETL wait for each other; two ETL runs need not."""
_WAITING: frozenset[str] = frozenset({EtlPhase.WAITING_FOR_UPKEEP, UpkeepPhase.WAITING_FOR_ETL})
PURPOSES: Mapping[type[Item], str] = {EtlRun: "etl", UpkeepRun: "upkeep"}
"""What the operation of a writer is looked at for."""


def fill_id(origin: datetime, asked_at: datetime) -> str:
    """`fill-2026-01-31-20260202T081500000000`"""
    return f"fill-{origin:%Y-%m-%d}-{asked_at:%Y%m%dT%H%M%S%f}"


def decide(lake: Lake, items: Mapping[str, Item], event: m.Event, rules: Rules, now: datetime) -> Decision:
    """Everything the event changes about ETL runs, upkeep and fan-outs."""
    return _LakeDraft(lake, items, rules, now).decide(event)


class _LakeDraft(AlertingDraft):
    root: Lake

    def __init__(self, lake: Lake, items: Mapping[str, Item], rules: Rules, now: datetime) -> None:
        super().__init__(lake, items, rules, now)
        self.heard = lake

    def hear(self, event: m.Event) -> None:
        if isinstance(event, m.DeltaCommitted):
            newest = self.root.newest_version if self.root.table == event.table else None
            version = event.version if newest is None else max(newest, event.version)
            self.root = self.root.model_copy(update={"table": event.table, "newest_version": version})

    def classify(self, event: m.Event) -> Sequence[Line]:
        if isinstance(event, m.Outcome):
            item = self.items.get(event.item)
            if item is None or item.step != event.step:
                raise NotNow(f"{event.item} has moved on since {event.command_id} was given")
            if isinstance(item, Writer):
                expect_look(item.operation, event)
            return [Line(KINDS[type(item)], event, item.id)]
        return [self._begin(event)]

    def _begin(self, event: m.Event) -> Line:
        if isinstance(event, m.EtlDue):
            run = f"etl-{event.slot:%Y%m%dT%H%M%SZ}"
            due = m.EtlDueDuringUpkeep(**event.model_dump()) if self._is_written_by(UpkeepRun) else event
            return Line(ETL, due, created={"id": run, "run_id": run})
        if isinstance(event, m.UpkeepDue):
            if open_one := next((item.id for item in self.items.values() if isinstance(item, UpkeepRun)), None):
                raise NotNow(f"{open_one} is not over")
            run = f"upkeep-{event.slot:%Y%m%dT%H%M%SZ}"
            upkeep = m.UpkeepDueDuringEtl(**event.model_dump()) if self._is_written_by(EtlRun) else event
            return Line(UPKEEP, upkeep, created={"id": run, "run_id": run})
        if isinstance(event, m.DeltaCommitted):
            commit = event.model_dump(include={"table", "version", "report"})
            identity = f"commit-{event.table}-{event.version}"
            purpose = "foreign" if isinstance(event, m.ForeignRowsCommitted) else "coverage"
            return Line(FAN_OUT, event, created={"id": identity, "purpose": purpose, **commit})
        if isinstance(event, m.DailyScoringAsked):
            identity = f"daily-{event.origin:%Y-%m-%d}"
            return Line(FAN_OUT, event, created={"id": identity, "purpose": "daily", "origin": event.origin})
        if isinstance(event, m.DayFillAsked):
            identity = fill_id(event.origin, event.asked_at)
            asked = event.model_dump(include={"origin", "asked_by", "comment"})
            return Line(FAN_OUT, event, created={"id": identity, "purpose": "fill", **asked})
        if isinstance(event, m.ReconciliationAsked):
            identity = f"production-{event.slot:%Y%m%dT%H%M}"
            return Line(FAN_OUT, event, created={"id": identity, "purpose": "production", "origin": event.slot})
        raise NotAllowed(f"the lake does not hear {type(event).__name__}")

    def subject(self, item: Item, cause: str) -> str:
        return f"{self.root.id}.{item.purpose}" if isinstance(item, FanOut) else self.root.id

    def moved(self, item: Item, event: m.Event, then: Then, begun: bool) -> Item:
        return (
            item.model_copy(update={"operation": operated(item.operation, event, self.now)})
            if isinstance(item, Writer)
            else item
        )

    def follow(self, item: Item, event: m.Event) -> Iterator[Line]:
        """What waits for the table begins when the last writer of the other kind has ended."""
        if not isinstance(item, Writer) or item.phase not in KINDS[type(item)].ends:
            return
        for waiting in list(self.items.values()):
            other = UpkeepRun if isinstance(waiting, EtlRun) else EtlRun
            if waiting.phase in _WAITING and not self._is_written_by(other):
                yield Line(KINDS[type(waiting)], m.TableFreed(root=self.root.id), waiting.id)

    def _is_written_by(self, kind: type[Writer]) -> bool:
        idle = _WAITING | KINDS[kind].ends
        return any(isinstance(item, kind) and item.phase not in idle for item in self.items.values())

    def offered(self, item: Item) -> Mapping[str, Any]:
        offered = {"phase": item.phase, **item.model_dump(exclude={"id", "operation"})}
        if isinstance(item, Writer):
            offered |= {"purpose": PURPOSES[type(item)], "source": item.run_id, **in_operation(item.operation)}
        return offered

    def further(self, item: Item, event: m.Event) -> Sequence[m.Command]:
        if isinstance(event, m.SliceRead):
            return [m.decode(document) for document in event.commands]
        if isinstance(event, m.DeltaCommitted) and self.heard.table == event.table:
            # Looks at the commits between the last one heard of and this one: their events may have been lost.
            after = event.version if self.heard.newest_version is None else self.heard.newest_version + 1
            missed = range(max(after, event.version - GAP_LIMIT), event.version)
            return [m.ReadDeltaCommit(root=ROOT, item=ROOT, step=0, version=v, source="gap") for v in missed]
        return ()

    def delay(self, item: Item) -> timedelta:
        looks = item.operation.looks if isinstance(item, Writer) and item.operation else 0
        return backoff(looks, self.rules.first_look, self.rules.longest_look)
