"""Periods: the whole UTC days that a verdict is about, and which of them a schedule asks for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from enum import StrEnum

from shared.domain.values import Value

DAY = timedelta(days=1)


class Every(StrEnum):
    """How often something is judged; each time it is about the whole one that is over."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    NEVER = "never"


class Period(Value):
    """The UTC days from `first` to `last`, both included; named `2026-01-31`, `2026-W05`, `2026-01` or `2026-Q1`."""

    name: str
    first: date
    last: date


def period_of(every: Every, day: date) -> Period:
    """The period with the day in it; raises KeyError for `never`."""
    return _OF[every](day)


def newest_period(every: Every, today: date) -> Period:
    """The newest one that was over before the day began."""
    return period_of(every, period_of(every, today).first - DAY)


def named(name: str) -> Period:
    """The period of that name; raises ValueError that says which names there are."""
    try:
        for pattern, every, first in _NAMES:
            if match := re.fullmatch(pattern, name, re.ASCII):
                return period_of(every, first(*map(int, match.groups())))
    except ValueError:
        pass
    raise ValueError(f"{name!r:.40} is no period; there are 2026-01-31, 2026-W05, 2026-01 and 2026-Q1")


def _day(day: date) -> Period:
    return Period(name=f"{day:%Y-%m-%d}", first=day, last=day)


def _week(day: date) -> Period:
    year, week, weekday = day.isocalendar()
    first = day - timedelta(days=weekday - 1)
    return Period(name=f"{year}-W{week:02d}", first=first, last=first + 6 * DAY)


def _month(day: date) -> Period:
    return Period(name=f"{day:%Y-%m}", first=day.replace(day=1), last=_month_end(day))


def _quarter(day: date) -> Period:
    number = (day.month - 1) // 3 + 1
    first = day.replace(month=3 * number - 2, day=1)
    return Period(name=f"{day:%Y}-Q{number}", first=first, last=_month_end(first.replace(month=3 * number)))


def _month_end(day: date) -> date:
    return (day.replace(day=28) + 4 * DAY).replace(day=1) - DAY


_OF: Mapping[Every, Callable[[date], Period]] = {
    Every.DAY: _day,
    Every.WEEK: _week,
    Every.MONTH: _month,
    Every.QUARTER: _quarter,
}
_NAMES: tuple[tuple[str, Every, Callable[..., date]], ...] = (
    (r"(2\d{3})-(\d{2})-(\d{2})", Every.DAY, date),
    (r"(2\d{3})-W(\d{2})", Every.WEEK, lambda year, week: date.fromisocalendar(year, week, 1)),
    (r"(2\d{3})-(\d{2})", Every.MONTH, lambda year, month: date(year, month, 1)),
    (r"(2\d{3})-Q([1-4])", Every.QUARTER, lambda year, quarter: date(year, 3 * quarter - 2, 1)),
)
