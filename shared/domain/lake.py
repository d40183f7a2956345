"""The lake: ETL runs, and the fan-outs that tell each circuit what a Delta commit or a new day brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from shared.domain import messages as m
from shared.domain.machine import (
    Decision,
    Draft,
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

    RUNNING = "running"
    OVERDUE = "overdue"
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


class FanOut(Item):
    """A cursor over circuits: `coverage` of a Delta commit, the `daily` scoring check of an origin, or its `fill`."""

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
    (EtlPhase.RUNNING, m.DeadlinePassed): Then(EtlPhase.OVERDUE, (m.RaiseAlert,), (m.LookAtOperation,)),
    (EtlPhase.OVERDUE, m.DeadlinePassed): Then(EtlPhase.FAILED, (m.CancelOperation, m.RaiseAlert)),
}
for _phase in _RUNNING:
    ETL_TABLE |= {
        (_phase, m.OperationStarted): Then(_phase, later=(m.LookAtOperation,)),
        (_phase, m.StillRunning): Then(_phase, later=(m.LookAtOperation,)),
        (_phase, m.EtlSucceeded): Then(EtlPhase.COMPLETED, (m.ReadDeltaCommit,)),
        (_phase, m.OperationFailed): Then(EtlPhase.FAILED, (m.RaiseAlert,)),
        (_phase, m.CommandPoisoned): Then(EtlPhase.FAILED, (m.RaiseAlert,)),
    }

ETL = Kind(
    name="ETL run",
    letter="E",
    item=EtlRun,
    table=ETL_TABLE,
    ends=frozenset({EtlPhase.COMPLETED, EtlPhase.FAILED}),
    deadlines={EtlPhase.RUNNING: timedelta(hours=2), EtlPhase.OVERDUE: timedelta(hours=4)},
)

FAN_OUT_TABLE: dict[tuple[str | None, type[m.Event]], Then] = {
    (None, m.DeltaCommitted): Then(FanOutPhase.FANNING_OUT, (m.ReadSlice,)),
    (None, m.DailyScoringAsked): Then(FanOutPhase.FANNING_OUT, (m.ReadSlice,)),
    (None, m.DayFillAsked): Then(FanOutPhase.FANNING_OUT, (m.ReadSlice,)),
    (FanOutPhase.FANNING_OUT, m.DeadlinePassed): Then(FanOutPhase.OVERDUE, (m.RaiseAlert, m.ReadSlice)),
    (FanOutPhase.OVERDUE, m.DeadlinePassed): Then(FanOutPhase.FAILED, (m.RaiseAlert,)),
}
for _open in (FanOutPhase.FANNING_OUT, FanOutPhase.OVERDUE):
    FAN_OUT_TABLE |= {
        (_open, m.SliceRead): Then(_open, (m.ReadSlice,)),
        (_open, m.LastSliceRead): Then(FanOutPhase.DONE),
        (_open, m.CommandPoisoned): Then(_open, (m.RaiseAlert,)),
    }

FAN_OUT = Kind(
    name="fan-out",
    letter="F",
    item=FanOut,
    table=FAN_OUT_TABLE,
    ends=frozenset({FanOutPhase.DONE, FanOutPhase.FAILED}),
    deadlines={FanOutPhase.FANNING_OUT: timedelta(hours=1), FanOutPhase.OVERDUE: timedelta(hours=4)},
)

KINDS: dict[type[Item], Kind] = {kind.item: kind for kind in (ETL, FAN_OUT)}


def fill_id(origin: datetime, asked_at: datetime) -> str:
    """`fill-2026-01-31-20260202T081500000000`"""
    return f"fill-{origin:%Y-%m-%d}-{asked_at:%Y%m%dT%H%M%S%f}"


def decide(lake: Lake, items: Mapping[str, Item], event: m.Event, rules: Rules, now: datetime) -> Decision:
    """Everything the event changes about ETL runs and fan-outs."""
    return _LakeDraft(lake, items, rules, now).decide(event)


class _LakeDraft(Draft):
    root: Lake

    def __init__(self, lake: Lake, items: Mapping[str, Item], rules: Rules, now: datetime) -> None:
        super().__init__(lake, items, now)
        self.rules = rules
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
            if isinstance(item, EtlRun):
                expect_look(item.operation, event)
            return [Line(KINDS[type(item)], event, item.id)]
        if isinstance(event, m.EtlDue):
            run = f"etl-{event.slot:%Y%m%dT%H%M%SZ}"
            return [Line(ETL, event, created={"id": run, "run_id": run})]
        if isinstance(event, m.DeltaCommitted):
            commit = event.model_dump(include={"table", "version", "report"})
            identity = f"commit-{event.table}-{event.version}"
            return [Line(FAN_OUT, event, created={"id": identity, "purpose": "coverage", **commit})]
        if isinstance(event, m.DailyScoringAsked):
            identity = f"daily-{event.origin:%Y-%m-%d}"
            return [Line(FAN_OUT, event, created={"id": identity, "purpose": "daily", "origin": event.origin})]
        if isinstance(event, m.DayFillAsked):
            identity = fill_id(event.origin, event.asked_at)
            asked = event.model_dump(include={"origin", "asked_by", "comment"})
            return [Line(FAN_OUT, event, created={"id": identity, "purpose": "fill", **asked})]
        raise NotAllowed(f"the lake does not hear {type(event).__name__}")

    def moved(self, item: Item, event: m.Event, then: Then, begun: bool) -> Item:
        return (
            item.model_copy(update={"operation": operated(item.operation, event, self.now)})
            if isinstance(item, EtlRun)
            else item
        )

    def offered(self, item: Item) -> Mapping[str, Any]:
        offered = {"phase": item.phase, **item.model_dump(exclude={"id", "operation"})}
        if isinstance(item, EtlRun):
            offered |= {"purpose": "etl", "source": item.run_id, **in_operation(item.operation)}
        return offered

    def further(self, event: m.Event) -> Sequence[m.Command]:
        if isinstance(event, m.SliceRead):
            return [m.decode(document) for document in event.commands]
        if isinstance(event, m.DeltaCommitted) and self.heard.table == event.table:
            # Looks at the commits between the last one heard of and this one: their events may have been lost.
            after = event.version if self.heard.newest_version is None else self.heard.newest_version + 1
            missed = range(max(after, event.version - GAP_LIMIT), event.version)
            return [m.ReadDeltaCommit(root=ROOT, item=ROOT, step=0, version=v, source="gap") for v in missed]
        return ()

    def delay(self, item: Item) -> timedelta:
        looks = item.operation.looks if isinstance(item, EtlRun) and item.operation else 0
        return backoff(looks, self.rules.first_look, self.rules.longest_look)
