"""Small policies: quality of readings, the forecast origin, waits between looks, ids."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.domain.machine import backoff
from shared.domain.quality import (
    QualityFailed,
    QualityLimits,
    QualityPassed,
    QualityUnknown,
    assess_quality,
    chance,
    widespread,
)
from shared.domain.rules import Rules
from shared.domain.scoring import scoring_id
from shared.domain.training import training_id
from tests.builders import CIRCUIT, registered


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        ({"rows": 100, "nulls.temperature": 5}, QualityPassed),
        ({"rows": 100, "nulls.temperature": 10}, QualityPassed),
        ({"rows": 100, "nulls.temperature": 12}, QualityFailed),
        ({"rows": 100, "out_of_range.temperature": 12}, QualityFailed),
        ({"rows": 3, "nulls.temperature": 1}, QualityPassed),
        ({"rows": 3, "nulls.temperature": 2}, QualityFailed),
        ({"rows": 50_000, "nulls.temperature": 2_520}, QualityPassed),
        ({"rows": 50_000, "nulls.temperature": 2_650}, QualityFailed),
        ({"rows": 100}, QualityPassed),
        ({"rows": 0, "nulls.temperature": 0}, QualityUnknown),
        ({}, QualityUnknown),
    ],
)
def test_readings_are_held_against_the_limits_and_none_are_never_good(counts: dict[str, float], verdict: type) -> None:
    assert assess_quality(counts, QualityLimits())[0] is verdict


def test_a_verdict_names_every_column_that_breaks_a_limit() -> None:
    counts = {"rows": 100, "nulls.pressure": 50, "nulls.flow": 1, "out_of_range.temperature": 17, "stuck.flow": 90}
    _, problems = assess_quality(counts, QualityLimits())
    assert problems == (
        "nulls 50.0% of pressure (limit 5.0%)",
        "out of range 17.0% of temperature (limit 5.0%)",
        "stuck: flow has not changed for 90 hours or more (limit 24)",
    )


def test_a_circuit_is_judged_by_its_own_columns() -> None:
    counts = {"rows": 100, "nulls.pressure": 100, "nulls.temperature": 0}
    assert assess_quality(counts, QualityLimits(columns=("temperature",)))[0] is QualityPassed
    assert assess_quality(counts, QualityLimits(columns=("pressure",)))[0] is QualityFailed


def test_the_chance_of_a_count_is_the_same_exact_and_approximated() -> None:
    exact, approximated = chance(70, 1000, 0.05), chance(70, 1001, 0.05)
    assert exact == pytest.approx(0.0036, abs=0.001)
    assert approximated == pytest.approx(exact, rel=0.6)
    assert chance(0, 10, 0.05) == 1.0 and chance(1, 10, 0.0) == 0.0 and chance(10, 10, 1.0) == 1.0


@pytest.mark.parametrize(
    ("counts", "problem"),
    [
        ({"rows": 90, "missing_hours": 6}, ""),
        ({"rows": 72, "missing_hours": 24}, "gaps: 24 of 96 hours are missing (limit 10.0%)"),
        ({"rows": 2, "missing_hours": 1}, ""),
        ({"rows": 24, "stuck.temperature": 24}, ""),
        ({"rows": 72, "stuck.temperature": 60}, "stuck: temperature has not changed for 60 hours or more (limit 24)"),
        ({"rows": 24, "late": 6}, ""),
        ({"rows": 24, "late": 24}, "late: 100.0% came for days that were over (limit 50.0%)"),
    ],
)
def test_gaps_stuck_values_and_late_readings_break_their_limits(counts: dict[str, float], problem: str) -> None:
    verdict, problems = assess_quality(counts, QualityLimits())
    assert (verdict, problems) == ((QualityFailed, (problem,)) if problem else (QualityPassed, ()))


def test_what_most_circuits_of_a_plant_or_of_the_fleet_share_is_theirs() -> None:
    def failed(*bad: str) -> dict[str, bool]:
        circuits = [f"P{plant:03d}_C{circuit:03d}" for plant in (1, 2, 3) for circuit in (1, 2, 3, 4)]
        return {circuit: circuit in bad or circuit[:4] in bad for circuit in circuits}

    assert widespread(failed("P001_C001", "P002_C001")) == {}
    assert widespread(failed("P001", "P002_C001")) == dict.fromkeys((f"P001_C00{n}" for n in (1, 2, 3, 4)), "P001")
    assert set(widespread(failed("P001", "P002")).values()) == {"the fleet"}
    assert widespread({"P001_C001": True, "P001_C002": True}) == {}, "two circuits are not most of anything"


@pytest.mark.parametrize(
    ("hour", "now", "origin"),
    [
        (0, "2026-01-30T06:00", "2026-01-30T00:00"),
        (0, "2026-01-30T00:00", "2026-01-30T00:00"),
        (6, "2026-01-30T05:59:59", "2026-01-29T06:00"),
        (6, "2026-01-30T06:00", "2026-01-30T06:00"),
        (23, "2026-01-01T00:30", "2025-12-31T23:00"),
    ],
)
def test_the_origin_is_the_newest_one_that_has_begun(hour: int, now: str, origin: str) -> None:
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert Rules(origin_hour=hour).origin(at) == datetime.fromisoformat(origin).replace(tzinfo=UTC)


def test_waits_double_up_to_the_longest() -> None:
    first, longest = timedelta(seconds=15), timedelta(minutes=5)
    waits = [backoff(count, first, longest).total_seconds() for count in (0, 1, 2, 3, 4, 5, 500)]
    assert waits == [15, 30, 60, 120, 240, 300, 300]


def test_ids_say_whose_they_are() -> None:
    assert scoring_id(CIRCUIT, datetime(2026, 1, 31, 6, tzinfo=UTC)) == "P001_C001@2026-01-31"
    assert training_id(CIRCUIT, "c0ffee" * 5, 1) == "P001_C001~c0ffeec0ffee"
    assert training_id(CIRCUIT, "c0ffee" * 5, 2) == "P001_C001~c0ffeec0ffee~2"


def test_a_registration_is_known_by_workspace_version_and_tags() -> None:
    assert registered().identity == registered().identity
    assert registered().identity != registered(tags_digest="other").identity
    assert registered().identity != registered(version=2).identity
