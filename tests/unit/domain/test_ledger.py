"""What a day's runs come to, and the numbers of many days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.domain.ledger import Day, DayState, Run, completeness, day_of
from shared.domain.values import Pair
from tests.builders import CIRCUIT

ORIGIN = datetime(2026, 1, 31, tzinfo=UTC)
LATE_AFTER = timedelta(hours=9)
NOON = ORIGIN + timedelta(hours=12)
FIRST, SECOND = Pair(model=1, environment="1.0.0"), Pair(model=2, environment="1.0.0")


def run(phase: str, after: float = 1, **changed: Any) -> Run:
    """A run that entered its phase so many hours after the origin."""
    fields: dict[str, Any] = {
        "run": f"{CIRCUIT}@2026-01-31",
        "circuit": CIRCUIT,
        "origin": ORIGIN,
        "phase": phase,
        "pair": FIRST,
        "table": "table-1",
        "delta_version": 3,
        "attempts": 1,
        "begun": ORIGIN + timedelta(hours=after) - timedelta(minutes=5),
        "since": ORIGIN + timedelta(hours=after),
        "asked_by": "",
        "reason": "",
        "job": "",
        "attempt_uri": "",
        "published_uri": "",
    }
    return Run(**{**fields, **changed})


def day(*runs: Run, now: datetime = NOON) -> Day:
    return day_of(CIRCUIT, ORIGIN, runs, LATE_AFTER, now)


@pytest.mark.parametrize(
    ("runs", "now", "state"),
    [
        ((), ORIGIN + timedelta(hours=9), DayState.DUE),
        ((), ORIGIN + timedelta(hours=9, seconds=1), DayState.MISSING),
        ((run("scored", 9),), NOON, DayState.DONE),
        ((run("scored", 9.01),), NOON, DayState.LATE),
        ((run("scoring"),), NOON, DayState.UNDER_WAY),
        ((run("waiting for readings"),), ORIGIN + timedelta(hours=6), DayState.MISSING),
        ((run("missed", 24),), NOON, DayState.MISSING),
        ((run("failed"),), NOON, DayState.FAILED),
        ((run("errored"),), NOON, DayState.FAILED),
        ((run("errored"), run("scoring", 5)), NOON, DayState.UNDER_WAY),
        ((run("errored"), run("scored", 5)), NOON, DayState.DONE),
        ((run("missed", 24), run("scored", 40)), NOON, DayState.LATE),
        ((run("scored", 40, asked_by="erik"),), NOON, DayState.FILLED),
        ((run("scored", 12, expected=False),), NOON, DayState.FILLED),
        ((run("scored", 1, expected=False),), NOON, DayState.DONE),
        ((run("scored"), run("failed", 5)), NOON, DayState.DONE),
        ((run("scored"), run("scored", 40, pair=SECOND)), NOON, DayState.DONE),
    ],
)
def test_a_day_is_what_its_runs_come_to(runs: tuple[Run, ...], now: datetime, state: DayState) -> None:
    assert day(*runs, now=now).state is state


def test_the_forecast_that_stands_is_the_one_published_last() -> None:
    found = day(run("scored", 40, run="second", pair=SECOND), run("scored", 1, run="first"))
    assert (found.published_run, [r.run for r in found.runs]) == ("second", ["first", "second"])


@pytest.mark.parametrize(
    ("second", "duplicate"),
    [({}, True), ({"pair": SECOND}, False), ({"delta_version": 4}, False), ({"table": "table-2"}, False)],
)
def test_a_duplicate_is_the_same_pair_from_the_same_readings(second: dict[str, Any], duplicate: bool) -> None:
    assert day(run("scored"), run("scored", 5, **second)).duplicate is duplicate


@pytest.mark.parametrize(
    ("runs", "retried"),
    [
        ((run("scored"),), False),
        ((run("scored", attempts=2),), True),
        ((run("errored", attempts=3),), True),
        ((run("failed"), run("scored", 5)), True),
        ((run("scored"), run("scored", 5, pair=SECOND)), False),
    ],
)
def test_a_day_that_took_more_than_one_go_was_retried(runs: tuple[Run, ...], retried: bool) -> None:
    assert day(*runs).retried is retried


def test_rates_are_of_the_days_that_are_over() -> None:
    days = [
        day(run("scored", 1)),
        day(run("scored", 1, attempts=2)),
        day(run("scored", 10)),
        day(run("failed")),
        day(run("scoring")),
        day(now=ORIGIN),
    ]
    numbers = completeness(days)
    assert (numbers.expected, numbers.retried, numbers.duplicates) == (6, 1, 0)
    assert (numbers.success_rate, numbers.on_time_rate) == (3 / 4, 2 / 4)
    assert numbers.states[DayState.UNDER_WAY] == numbers.states[DayState.DUE] == 1


def test_a_day_before_anything_served_is_in_no_rate() -> None:
    numbers = completeness([day(run("scored", 1)), day(run("scored", 12, expected=False))])
    assert (numbers.expected, numbers.states[DayState.FILLED], numbers.on_time_rate) == (1, 1, 1.0)


def test_there_is_no_rate_while_no_day_is_over() -> None:
    assert completeness([day(run("scoring"))]).success_rate is None
    assert completeness([]).success_rate is None
