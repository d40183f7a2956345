"""Freeze windows: recurring times (UTC) in which no release enters production, as the policy writes them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

from pydantic import Field, model_validator

from shared.domain.values import Value

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MOMENT = r"^((mon|tue|wed|thu|fri|sat|sun)|(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])) ([01]\d|2[0-3]):[0-5]\d$"
Moment = Annotated[str, Field(pattern=MOMENT)]
"""`fri 16:00`, every week, or `12-20 00:00`, every year."""


class FreezeWindow(Value):
    """From one moment to another, every week or every year; the end may lie in the next week or year."""

    name: str = Field(min_length=1, max_length=100)
    begins: Moment
    ends: Moment

    @model_validator(mode="after")
    def _recurs(self) -> FreezeWindow:
        if _weekly(self.begins) != _weekly(self.ends):
            raise ValueError(f"begins {self.begins!r} and ends {self.ends!r}: both weekly, or both yearly")
        if self.begins == self.ends:
            raise ValueError(f"begins and ends at {self.begins!r}: that is never, or always")
        return self

    def holds(self, now: datetime) -> bool:
        """Whether the window is open at a time (UTC)."""
        spelled = f"{WEEKDAYS[now.weekday()]} {now:%H:%M}" if _weekly(self.begins) else f"{now:%m-%d %H:%M}"
        first, last, at = map(_order, (self.begins, self.ends, spelled))
        return first <= at < last if first < last else at >= first or at < last


def _weekly(moment: str) -> bool:
    return moment[:3] in WEEKDAYS


def _order(moment: str) -> tuple[int, ...]:
    day, _, time = moment.partition(" ")
    days = (WEEKDAYS.index(day),) if _weekly(moment) else tuple(map(int, day.split("-")))
    return (*days, *map(int, re.findall(r"\d\d", time)))
