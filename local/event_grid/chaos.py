"""Faults that real delivery has now and then, switched on at will: doubled, delayed, reordered and lost events."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from random import Random
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from local.event_grid.schema import attribute
from local.event_grid.subscriptions import AdvancedFilter


class Fate(NamedTuple):
    """What becomes of one event on its way to one subscriber: its copies' delays in seconds; none when it is lost."""

    delays: tuple[float, ...]


class ChaosRule(BaseModel):
    """Which events are affected (all conditions hold; * and ? as in file names) and how. Times in real seconds.

    copies: deliveries in all. delay_seconds: (least, most), drawn for each copy. reorder_seconds: deliveries are
    spread over this window in random order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    event_type: str = "*"
    subject: str = "*"
    subscription: str = "*"
    where: tuple[AdvancedFilter, ...] = ()
    probability: float = Field(default=1.0, ge=0, le=1)
    copies: int = Field(default=1, ge=1, le=100)
    delay_seconds: tuple[float, float] = (0.0, 0.0)
    reorder_seconds: float = Field(default=0.0, ge=0)
    drop: bool = False

    def concerns(self, event: Mapping[str, Any], subscription: str) -> bool:
        pairs = (
            (attribute(event, "type"), self.event_type),
            (attribute(event, "subject"), self.subject),
            (subscription, self.subscription),
        )
        named = all(fnmatchcase(found.lower(), wanted.lower()) for found, wanted in pairs)
        return named and all(condition.matches(event) for condition in self.where)


class Chaos(BaseModel):
    """The rules in force. The same seed gives the same event the same fate, whatever happens around it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 0
    rules: tuple[ChaosRule, ...] = ()

    def fate(self, event: Mapping[str, Any], subscription: str) -> Fate:
        """Every rule that concerns the event applies: the most copies, all delays, lost if any says so."""
        copies, applied = 1, []
        for number, rule in enumerate(self.rules):
            dice = Random(f"{self.seed}/{number}/{subscription}/{attribute(event, 'id')}")
            if rule.concerns(event, subscription) and dice.random() < rule.probability:
                if rule.drop:
                    return Fate(())
                copies = max(copies, rule.copies)
                applied.append((rule, dice))
        return Fate(
            tuple(
                sum(dice.uniform(*rule.delay_seconds) + dice.uniform(0, rule.reorder_seconds) for rule, dice in applied)
                for _ in range(copies)
            )
        )
