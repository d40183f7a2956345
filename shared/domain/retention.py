"""Retention: how long the state keeps what is over, and what becomes of it then; one table for all of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, model_validator

from shared.domain.drift import DRIFT_CHECK
from shared.domain.lake import ETL, FAN_OUT, UPKEEP
from shared.domain.machine import Item, Kind
from shared.domain.monitoring.run import MONITORING
from shared.domain.performance import PERFORMANCE
from shared.domain.quality import QUALITY
from shared.domain.scoring import SCORING, ScoringRun
from shared.domain.values import Value


class Kept(StrEnum):
    """What is kept for a time of its own; the values are the policy's keys without `_days`."""

    INBOX = "inbox"
    LOOKUPS = "lookups"
    DEAD_LETTERS = "dead_letters"
    FAN_OUTS = "fan_outs"
    CHECKS = "checks"
    LEDGER = "ledger"
    AUDIT = "audit"
    HISTORY = "history"


@dataclass(frozen=True)
class Retention:
    """What it is, what becomes of it, and why it may go then."""

    what: str
    then: Literal["archived", "dropped"]
    why: str


RETENTION: Mapping[Kept, Retention] = {
    Kept.INBOX: Retention(
        "facts that were heard", "dropped", "nothing outside tells a fact again, and no dead letter holds one any more"
    ),
    Kept.LOOKUPS: Retention(
        "whose a job, a start or a gate's run is", "dropped", "what they belong to has passed its deadline"
    ),
    Kept.DEAD_LETTERS: Retention("dead letters, replayed or not", "archived", "people were told, again and again"),
    Kept.FAN_OUTS: Retention(
        "fan-outs of commits, days and checks of production", "archived", "what they told is in the circuits"
    ),
    Kept.CHECKS: Retention(
        "ETL runs, upkeep, monitoring runs; verdicts on readings, performance and drift",
        "archived",
        "what they led to is history of its own, and the circuit keeps its newest verdicts",
    ),
    Kept.LEDGER: Retention("scoring runs, with the ledger's rows of them", "archived", "the published files stay"),
    Kept.AUDIT: Retention("who did what", "archived", "each act is in its item's history as well"),
    Kept.HISTORY: Retention(
        "everything else that has ended: releases, rollbacks, holds, alerts, proposals, trainings",
        "archived",
        "it is read from the archive when somebody asks; what serves or may serve again stays",
    ),
}

_KINDS: Mapping[str, Kept] = {
    FAN_OUT.letter: Kept.FAN_OUTS,
    **{kind.letter: Kept.CHECKS for kind in (ETL, UPKEEP, QUALITY, PERFORMANCE, DRIFT_CHECK, MONITORING)},
    SCORING.letter: Kept.LEDGER,
}


def kept_as(kind: Kind) -> Kept:
    """As what the ended items of a kind are kept, with their history."""
    return _KINDS.get(kind.letter, Kept.HISTORY)


def filed_under(item: Item) -> date:
    """The day whose month an ended item is archived under: a forecast's own day, else the day on which it ended."""
    return (item.origin if isinstance(item, ScoringRun) else item.since).date()


class RetentionRules(Value):
    """Days that the state keeps what is over. Later it is archived or dropped, as the table of retention says."""

    inbox_days: int = Field(default=120, ge=30)
    lookups_days: int = Field(default=120, ge=30)
    dead_letters_days: int = Field(default=90, ge=7)
    fan_outs_days: int = Field(default=14, ge=1)
    checks_days: int = Field(default=120, ge=14)
    ledger_days: int = Field(default=400, ge=45)
    audit_days: int = Field(default=800, ge=30)
    history_days: int = Field(default=800, ge=45)

    @model_validator(mode="after")
    def _a_replay_finds_what_it_repeats(self) -> Self:
        for name in ("inbox_days", "lookups_days"):
            if getattr(self, name) <= self.dead_letters_days:
                raise ValueError(
                    f"{name} ({getattr(self, name)}) must be more than dead_letters_days ({self.dead_letters_days}):"
                    " a dead letter that is replayed must be known for what was done before"
                )
        return self

    def before(self, kept: Kept, now: datetime) -> date:
        """The first day (UTC) of which it is still kept."""
        days: int = getattr(self, f"{kept}_days")
        return (now - timedelta(days=days)).date()
