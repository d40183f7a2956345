"""Steps: what is found of one that comes to stay, and what is not taken for one."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from scipy.signal import lfilter

from ml.drift import CircuitReadings, judge_drift
from ml.history import Array
from ml.monitor_messages import Basis, Change, ColumnFinding, Verdict
from ml.steps import BASES, Steps, find_steps
from tests.unit.ml.readings import changed, fleet, of_reference, of_window

HOURS, STRETCH, WEEK = 300 * 24, 30 * 24, 168


def wandering(seed: int = 0, columns: int = 3, hours: int = HOURS + STRETCH) -> Array:
    """In standard deviations; the columns hang together."""
    chance = np.random.default_rng(seed)
    noise = chance.normal(0, np.sqrt(1 - 0.98**2), (columns + 1, hours + 500))
    own = lfilter([1.0], [1.0, -0.98], noise, axis=1)[:, 500:]
    return np.asarray((own[:-1] + 3 * own[-1]) / np.sqrt(10))


def steps(values: Array, lasts: int = WEEK) -> dict[Basis, Steps]:
    return find_steps(values[:, :HOURS], values[:, HOURS:], True, lasts, STRETCH)


def with_step(values: Array, column: int, begins: int, ends: int = STRETCH, height: float = 1.0) -> Array:
    changed = values.copy()
    changed[column, HOURS + begins : HOURS + ends] += height
    return changed


@pytest.mark.parametrize("begins", [0, 200, STRETCH - WEEK])
def test_a_step_is_found_at_its_hour_with_its_height_whenever_it_came(begins: int) -> None:
    for height in (1.0, -1.0):
        found = steps(with_step(wandering(), 1, begins, height=height))[Basis.STEP_BESIDE]
        assert found.follows[1] == STRETCH - begins
        assert found.heights[1] == pytest.approx(height, abs=0.5)
        assert abs(found.standings[1]) > 1.1 * np.abs(found.normal).max()
        assert np.sign(found.standings[1]) == np.sign(height)


def test_where_nothing_changes_standings_are_what_those_of_the_reference_are() -> None:
    found = [steps(wandering(seed)) for seed in range(8)]
    for basis in BASES:
        now = np.array([one[basis].standings for one in found])
        normal = np.array([one[basis].normal for one in found])
        assert np.abs(now).max() < 1.2 * np.abs(normal).max()
        assert 2 < np.median(np.abs(normal)) < 4  # the furthest of hundreds of hours, in its own wandering


def test_what_is_taken_back_is_no_step() -> None:
    found = steps(with_step(wandering(), 1, begins=100, ends=350, height=3.0))
    assert [found[basis].standings[1] for basis in BASES] == [0.0, 0.0]


def test_one_wild_hour_is_no_step() -> None:
    spike = steps(with_step(wandering(), 1, begins=100, ends=101, height=20.0))
    assert all(abs(spike[basis].standings[1]) < np.abs(spike[basis].normal).max() for basis in BASES)


def test_a_step_must_have_lasted_as_long_as_asked() -> None:
    late = with_step(wandering(), 1, begins=400)
    assert steps(late)[Basis.STEP].follows[1] == STRETCH - 400
    assert steps(late, lasts=STRETCH - 300)[Basis.STEP].follows[1] >= STRETCH - 300


def test_hours_that_nobody_measured_neither_make_a_step_nor_hide_one() -> None:
    gaps = np.random.default_rng(1).random((3, (HOURS + STRETCH) // 12)) < 0.1
    unknown = np.repeat(gaps, 12, axis=1)
    quiet = steps(np.where(unknown, np.nan, wandering()))[Basis.STEP_BESIDE]
    assert np.abs(quiet.standings).max() < 1.2 * np.abs(quiet.normal).max()
    found = steps(np.where(unknown, np.nan, with_step(wandering(), 1, 200, height=2.0)))[Basis.STEP_BESIDE]
    assert np.abs(found.standings).argmax() == 1 and abs(found.follows[1] - (STRETCH - 200)) <= 12


def test_nothing_is_said_without_enough_reference_or_window() -> None:
    values = wandering()
    assert find_steps(values[:, : 20 * 24], values[:, HOURS:], True, WEEK, STRETCH) == {}
    assert find_steps(values[:, :HOURS], values[:, HOURS : HOURS + 100], True, WEEK, 100) == {}
    values[2, HOURS + 100 :] = np.nan
    found = steps(values)
    assert all(np.isnan(found[basis].standings).tolist() == [False, False, True] for basis in BASES)


# ------------------------------------------------------------------------------------------------------------ verdicts


def _power(readings: list[CircuitReadings], at: int) -> ColumnFinding:
    found = judge_drift(readings, 0.05).columns[readings[at].circuit]
    return next(one for one in found if one.column == "power")


def test_a_step_in_the_window_is_told_with_its_day() -> None:
    readings = fleet()
    sd = of_reference(readings[3], "power").std()
    later = np.arange(of_window(readings[3], "power").size) >= 10 * 24
    readings[3] = changed(readings[3], "power", of_window(readings[3], "power") + 1.5 * sd * later)
    found = _power(readings, 3)
    assert (found.verdict, found.change) == (Verdict.DRIFTED, Change.HIGHER)
    assert found.since == (readings[3].window_start + timedelta(days=10)).date()


@pytest.mark.parametrize("adjoining", [True, False])
def test_a_step_before_the_window_is_found_in_the_days_since_the_cutoff(adjoining: bool) -> None:
    values = wandering(hours=HOURS + 2 * STRETCH)
    values[1, HOURS + 700 :] += 2.0
    found = find_steps(values[:, :HOURS], values[:, HOURS:], adjoining, WEEK, STRETCH)[Basis.STEP_BESIDE]
    assert found.follows[1] == 2 * STRETCH - 700
    assert abs(found.standings[1]) > 1.1 * np.abs(found.normal).max()
