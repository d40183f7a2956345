"""NCRONTAB expressions: what is taken, when it occurs, and what is refused as Azure refuses it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.functions_host.ncrontab import BadSchedule, Schedule

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)  # a Thursday


@pytest.mark.parametrize(
    ("expression", "following"),
    [
        ("* * * * * *", "2026-01-01T12:00:01"),
        ("*/5 * * * *", "2026-01-01T12:05:00"),
        ("0 */5 * * * *", "2026-01-01T12:05:00"),
        ("30 */5 * * * *", "2026-01-01T12:00:30"),
        ("0 0 */3 * * *", "2026-01-01T15:00:00"),
        ("0 0 0 * * *", "2026-01-02T00:00:00"),
        ("0 0 9-17 * * *", "2026-01-01T13:00:00"),
        ("0 0 9-17/4 * * *", "2026-01-01T13:00:00"),
        ("0 10/20 * * * *", "2026-01-01T12:10:00"),
        ("0 5,8,10 * * * *", "2026-01-01T12:05:00"),
        ("0 30 9 * Feb Mon-Fri", "2026-02-02T09:30:00"),
        ("0 0 12 * * 0", "2026-01-04T12:00:00"),
        ("0 0 0 29 2 *", "2028-02-29T00:00:00"),
    ],
)
def test_next_occurrence(expression: str, following: str) -> None:
    assert Schedule.parse(expression).next_after(NOON) == datetime.fromisoformat(following).replace(tzinfo=UTC)


def test_day_and_weekday_must_both_match() -> None:
    friday_13th = Schedule.parse("0 0 0 13 * 5").next_after(NOON)
    assert (friday_13th.day, friday_13th.weekday()) == (13, 4)


def test_the_next_occurrence_is_strictly_later_and_whole_seconds() -> None:
    schedule = Schedule.parse("* * * * * *")
    assert schedule.next_after(NOON) == NOON + timedelta(seconds=1)
    assert schedule.next_after(NOON + timedelta(microseconds=1)) == NOON + timedelta(seconds=1)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "* * * *",
        "* * * * * * *",
        "? * * * * *",
        "0 0 0 L * *",
        "0 0 0 15W * *",
        "0 0 0 * * 5#2",
        "0 0 0 * * 7",
        "60 * * * * *",
        "0 60 * * * *",
        "0 0 24 * * *",
        "0 0 0 0 * *",
        "0 0 0 32 * *",
        "0 0 0 * 13 *",
        "0 0 0 * jan-foo *",
        "0 0 0 mon * *",
        "*/0 * * * * *",
        "5-1 * * * * *",
        "1,,2 * * * * *",
        "*-5 * * * * *",
        "-1 * * * * *",
        "0 0 0 30 2 *",
        "00:05:00",
        "@hourly",
        "H * * * * *",
        "² * * * * *",
    ],
)
def test_what_azure_refuses_is_refused(expression: str) -> None:
    with pytest.raises(BadSchedule):
        Schedule.parse(expression)


def test_a_refusal_names_the_field_and_what_is_allowed() -> None:
    with pytest.raises(BadSchedule, match=r"'60' is no minute\. Allowed: \*, 0-59"):
        Schedule.parse("0 60 * * * *")


@pytest.mark.parametrize(
    ("expression", "monitored"),
    [("0 * * * * *", True), ("*/5 * * * *", True), ("*/30 * * * * *", False), ("0,59 0 * * * *", False)],
)
def test_only_schedules_of_a_minute_or_more_are_monitored(expression: str, monitored: bool) -> None:
    assert Schedule.parse(expression).is_monitored(NOON) is monitored


FIELDS = st.tuples(*(st.integers(low, high) for low, high in ((0, 59), (0, 59), (0, 23), (1, 28), (1, 12))))


@given(fields=FIELDS, moment=st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)))
def test_an_occurrence_matches_every_field_and_none_is_skipped(
    fields: tuple[int, int, int, int, int], moment: datetime
) -> None:
    second, minute, hour, day, month = fields
    occurrence = Schedule.parse(f"{second} {minute} {hour} {day} {month} *").next_after(moment)
    expected = datetime(moment.year, month, day, hour, minute, second)
    assert occurrence == (expected if expected > moment else expected.replace(year=moment.year + 1))
