"""NCRONTAB schedules: strictly the dialect Azure Functions takes, evaluated in UTC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from croniter import croniter
from croniter.croniter import CroniterError

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_PART = re.compile(r"(?P<first>\*|\d+|[a-z]+)(?:-(?P<last>\d+|[a-z]+))?(?:/(?P<step>\d+))?", re.IGNORECASE | re.ASCII)
_MONITORED_INTERVAL = timedelta(minutes=1)
_OCCURRENCES_LOOKED_AT = 10


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


_FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("weekday", 0, 6, _WEEKDAYS),
)


class BadSchedule(ValueError):
    """An expression Azure would refuse; the message names the field and what is allowed there."""


@dataclass(frozen=True)
class Schedule:
    """One parsed expression. Days and weekdays must both match, as NCRONTAB has it."""

    expression: str
    _numbers: str

    @classmethod
    def parse(cls, expression: str) -> Schedule:
        """Read five fields (minute first) or six (second first); raise BadSchedule otherwise."""
        fields = expression.split()
        if len(fields) not in (5, 6):
            raise BadSchedule(
                f"NCRONTAB expression {expression!r} has {len(fields)} field(s): write 'second minute hour day month "
                "weekday', or five fields without the second. Intervals such as 00:05:00 are not taken."
            )
        texts = fields if len(fields) == 6 else ["0", *fields]
        numbers = [sorted(_numbers(text, field, expression)) for text, field in zip(texts, _FIELDS, strict=True)]
        schedule = cls(expression, " ".join(",".join(map(str, values)) for values in numbers))
        try:
            schedule.next_after(datetime(2024, 1, 1))
        except CroniterError:
            raise BadSchedule(f"NCRONTAB expression {expression!r} never occurs: no such day in that month.") from None
        return schedule

    def next_after(self, moment: datetime) -> datetime:
        """The first occurrence strictly after `moment`, in the time zone of `moment` (UTC everywhere here)."""
        walk = croniter(self._numbers, moment, second_at_beginning=True, day_or=False)
        occurrence: datetime = walk.get_next(datetime)
        return occurrence

    def is_monitored(self, moment: datetime) -> bool:
        """Whether the host keeps this schedule's status: occurrences after `moment` are a minute or more apart."""
        for _ in range(_OCCURRENCES_LOOKED_AT):
            following = self.next_after(moment)
            after_that = self.next_after(following)
            if after_that - following < _MONITORED_INTERVAL:
                return False
            moment = following
        return True


def _numbers(text: str, field: _Field, expression: str) -> set[int]:
    values: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise _refusal(expression, field, part)
        first, last, step = match["first"], match["last"], match["step"]
        if first == "*":
            if last is not None:
                raise _refusal(expression, field, part)
            low, high = field.low, field.high
        else:
            low = _number(first, field, part, expression)
            # `a/n` runs from a to the end of the field; a bare `a` is just a.
            high = _number(last, field, part, expression) if last else (field.high if step else low)
        if high < low or (step is not None and int(step) == 0):
            raise _refusal(expression, field, part)
        values.update(range(low, high + 1, int(step or 1)))
    return values


def _number(text: str, field: _Field, part: str, expression: str) -> int:
    if text.isdigit():
        value = int(text)
    elif text.lower() in field.names:
        value = field.names.index(text.lower()) + field.low
    else:
        raise _refusal(expression, field, part)
    if not field.low <= value <= field.high:
        raise _refusal(expression, field, part)
    return value


def _refusal(expression: str, field: _Field, part: str) -> BadSchedule:
    names = f" or {field.names[0]}-{field.names[-1]}" if field.names else ""
    return BadSchedule(
        f"NCRONTAB expression {expression!r}: {part!r} is no {field.name}. "
        f"Allowed: *, {field.low}-{field.high}{names}, "
        "lists a,b, ranges a-b (a not above b), steps */n, a/n and a-b/n with n at least 1."
    )
