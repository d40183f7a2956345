"""Each verdict on drift, and each way in which nothing can be said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from ml.drift import CircuitReadings, judge_drift
from ml.measures import measures
from ml.monitor_messages import Basis, Change, ColumnFinding, Level, Role, Scope, Verdict
from ml.windows import Null, played_presents
from shared.configuration import DriftLevels
from tests.unit.ml.readings import COLUMNS, DAYS, changed, fleet, of_reference, of_window

RATE = 0.05


def finding(readings: Sequence[CircuitReadings], at: int, column: str, windows: int = 1) -> ColumnFinding:
    found = judge_drift(readings, RATE, windows).columns[readings[at].circuit]
    return next(one for one in found if one.column == column)


def alarms(readings: Sequence[CircuitReadings], windows: int = 1) -> list[tuple[str, str]]:
    columns = judge_drift(readings, RATE, windows).columns
    return [
        (circuit, one.column)
        for circuit, found in columns.items()
        for one in found
        if one.verdict in (Verdict.DRIFTED, Verdict.WARNING)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_found_where_nothing_changed_though_the_usual_measures_find_it(seed: int) -> None:
    readings = fleet(seed=seed)
    assert alarms(readings) == []
    usual = [measures(*one.beside(column)) for one in readings for column in one.columns]
    assert np.mean([one is not None and one.ks_p_value < 0.05 for one in usual]) > 0.7


def test_a_sensor_that_moved_alone_is_found_and_the_others_of_its_circuit_are_not_blamed() -> None:
    readings = fleet()
    shift = 2 * of_reference(readings[3], "power").std()
    readings[3] = changed(readings[3], "power", of_window(readings[3], "power") + shift)
    of_circuit = [column for circuit, column in alarms(readings) if circuit == readings[3].circuit]
    assert of_circuit == ["power"]
    found = finding(readings, 3, "power")
    assert (found.level, found.change, found.scope) == (Level.HIGH, Change.HIGHER, Scope.CIRCUIT)
    assert found.shift_sd == pytest.approx(2, abs=0.5)
    assert found.q_value is not None and found.q_value <= RATE


def test_a_shift_that_hides_in_a_sensors_own_wandering_is_seen_beside_the_circuits_other_columns() -> None:
    readings = fleet(circuits=24)
    readings[0] = changed(
        readings[0], "flow", of_window(readings[0], "flow") - 1.0 * of_reference(readings[0], "flow").std()
    )
    found = finding(readings, 0, "flow")
    assert (found.verdict, found.change) == (Verdict.DRIFTED, Change.LOWER)
    assert found.basis in (Basis.RELATION, Basis.STEP_BESIDE)


def test_a_whole_circuit_that_moves_together_has_not_lost_its_relations() -> None:
    readings = fleet()
    readings[5] = replace(readings[5], window=readings[5].window + 10)
    found = judge_drift(readings, RATE).columns[readings[5].circuit]
    assert {one.verdict for one in found} == {Verdict.DRIFTED}
    assert {one.basis for one in found} <= {Basis.LEVEL, Basis.STEP}


@pytest.mark.parametrize(("times", "change"), [(4.0, Change.WIDER), (0.1, Change.NARROWER)])
def test_a_sensor_that_got_noisy_or_numb_is_found(times: float, change: Change) -> None:
    readings = fleet()
    window = of_window(readings[2], "flow")
    daily = window.reshape(-1, 24).mean(axis=1).repeat(24)
    readings[2] = changed(readings[2], "flow", daily + times * (window - daily))
    found = finding(readings, 2, "flow")
    assert (found.verdict, found.basis, found.change) == (Verdict.DRIFTED, Basis.SPREAD, change)
    assert found.spread_ratio == pytest.approx(times, rel=0.5)


def test_what_most_circuits_of_a_plant_do_is_the_plants_and_what_most_of_the_fleet_do_is_the_fleets() -> None:
    readings = fleet()
    of_plant = [replace(one, window=one.window + 15) if one.plant == "P002" else one for one in readings]
    found = judge_drift(of_plant, RATE)
    assert {(one.scope, one.plant_id, one.change) for one in found.common} == {(Scope.PLANT, "P002", Change.HIGHER)}
    assert {one.scope for c, columns in found.columns.items() if c.startswith("P002") for one in columns} == {
        Scope.PLANT
    }
    of_all = judge_drift([replace(one, window=one.window - 15) for one in readings], RATE)
    assert {one.scope for columns in of_all.columns.values() for one in columns} == {Scope.FLEET}


def test_how_large_a_change_must_be_is_the_circuits_own_affair() -> None:
    readings = fleet()
    moved = changed(
        readings[1], "power", of_window(readings[1], "power") + of_reference(readings[1], "power").std() * 2
    )
    strict = replace(moved, levels=DriftLevels(low=0.48, medium=0.485, high=0.49))
    readings[1] = moved
    assert finding(readings, 1, "power").verdict is Verdict.DRIFTED
    readings[1] = strict
    found = finding(readings, 1, "power")
    assert (found.verdict, found.reason) == (Verdict.STEADY, "the change is certain, and too small to matter")


def test_a_warning_takes_two_weeks_that_changed_the_same_way() -> None:
    readings = fleet(span=14)
    sd = of_reference(readings[4], "power").std()
    window = of_window(readings[4], "power")
    half = np.arange(len(window)) < len(window) // 2
    readings[4] = changed(readings[4], "power", window + 4 * sd)
    assert finding(readings, 4, "power", windows=2).verdict is Verdict.WARNING
    for other in (np.where(half, 4 * sd, 0.0), np.where(half, 4 * sd, -4 * sd)):
        readings[4] = changed(readings[4], "power", window + other)
        assert finding(readings, 4, "power", windows=2).verdict is Verdict.STEADY


def test_forecasts_that_left_the_targets_past_are_found() -> None:
    readings = [replace(one, forecast=one.window[0]) for one in fleet()]
    assert alarms(readings) == []
    readings[7] = replace(readings[7], forecast=readings[7].window[0] + 5 * readings[7].reference[0].std())
    found = finding(readings, 7, "forecast")
    assert (found.verdict, found.role, found.change) == (Verdict.DRIFTED, Role.FORECAST, Change.HIGHER)
    assert finding(readings, 7, "temperature").verdict is Verdict.STEADY


def test_a_circuit_that_is_not_judged_lends_its_past_only() -> None:
    readings = [replace(one, judged=at < 2) for at, one in enumerate(fleet())]
    readings[5] = replace(readings[5], window=readings[5].window + 50)
    assert set(judge_drift(readings, RATE).columns) == {readings[0].circuit, readings[1].circuit}


# ---------------------------------------------------------------------------------------------------------- cannot say


CONVERTED: dict[str, tuple[float, float]] = {"degF instead of degC": (1.8, 32), "0.001 times as large": (0.001, 0)}


@pytest.mark.parametrize("what", CONVERTED)
def test_changed_units_are_named_and_are_not_drift(what: str) -> None:
    readings = fleet()
    factor, offset = CONVERTED[what]
    readings[0] = changed(readings[0], "temperature", of_window(readings[0], "temperature") * factor + offset)
    found = finding(readings, 0, "temperature")
    assert found.verdict is Verdict.CANNOT_SAY
    assert found.reason.startswith(f"its units seem to have changed ({what})")
    assert alarms(readings) == []


def test_changed_units_are_named_where_no_value_is_plausible_any_more() -> None:
    readings = fleet()
    in_fahrenheit = of_window(readings[0], "temperature") * 1.8 + 32
    lost = changed(readings[0], "temperature", np.nan)
    readings[0] = replace(lost, implausible={"temperature": in_fahrenheit})
    assert "degF instead of degC" in finding(readings, 0, "temperature").reason


def test_no_plausible_value_and_too_few_of_them_are_told_apart() -> None:
    readings = fleet()
    readings[0] = changed(readings[0], "power", np.nan)
    window = of_window(readings[1], "power")
    readings[1] = changed(readings[1], "power", np.where(np.arange(len(window)) < 200, window, np.nan))
    assert finding(readings, 0, "power").reason == "power has no plausible value in the window"
    assert finding(readings, 1, "power").reason == "power is known for 28% of the window's hours, 50% are needed"
    assert finding(readings, 0, "flow").verdict is Verdict.STEADY


def test_a_constant_reference_says_nothing() -> None:
    readings = fleet()
    reference = readings[0].reference.copy()
    reference[1] = 7.0
    readings[0] = replace(readings[0], reference=reference)
    assert finding(readings, 0, "power").reason == "power is constant in the reference (7)"


def test_a_sensor_that_is_stuck_in_the_window_is_drift_and_no_crash() -> None:
    readings = fleet()
    readings[0] = changed(readings[0], "power", float(np.median(of_reference(readings[0], "power"))))
    found = finding(readings, 0, "power")
    assert (found.verdict, found.change) == (Verdict.DRIFTED, Change.NARROWER)


def test_too_little_reference_says_how_much_is_needed() -> None:
    readings = fleet()
    short = readings[0].reference.copy()
    short[:, : (DAYS - 100) * 24] = np.nan
    readings[0] = replace(readings[0], reference=short)
    found = finding(readings, 0, "power")
    assert found.verdict is Verdict.CANNOT_SAY
    assert found.reason.startswith("too little reference: 100 days of power")


def test_one_circuit_alone_does_not_say_what_is_rare() -> None:
    found = finding(fleet(circuits=1), 0, "power")
    assert found.verdict is Verdict.CANNOT_SAY and "ask about more circuits at once" in found.reason


def test_every_column_of_every_circuit_has_a_finding_whatever_the_others_are_like() -> None:
    readings = fleet()
    readings[0] = replace(readings[0], reference=readings[0].reference * np.nan, window=readings[0].window * np.nan)
    columns = judge_drift(readings, RATE).columns
    assert {circuit: tuple(one.column for one in found) for circuit, found in columns.items()} == {
        one.circuit: COLUMNS for one in readings
    }
    assert {one.verdict for one in columns[readings[0].circuit]} == {Verdict.CANNOT_SAY}


# -------------------------------------------------------------------------------------------------------------- numbers


def test_p_values_of_a_pool_fit_what_it_was_drawn_from_far_beyond_its_size() -> None:
    null = Null(np.random.default_rng(0).normal(0, 1, 2000))
    for distance in (0.5, 1.5, 2.5, 4.0):
        assert np.log(null.p_value(distance)) == pytest.approx(np.log(2 * stats.norm.sf(distance)), abs=1.3)
    assert 0 < null.p_value(-12.0) < null.p_value(5.0) < 1e-4


def test_a_pool_whose_extremes_are_all_the_same_has_a_tail_all_the_same() -> None:
    null = Null(np.array([0.1] * 18 + [3.0] * 2))
    assert 0 < null.p_value(5.0) <= null.p_value(3.0) < null.p_value(0.1)


def test_measures_are_those_of_scipy_and_none_where_there_is_nothing_to_measure() -> None:
    chance = np.random.default_rng(0)
    reference, window = chance.normal(0, 2, 5000), chance.normal(1, 2, 700)
    found = measures(reference, window)
    assert found is not None
    asked = stats.ks_2samp(reference, window, method="asymp")
    assert found.ks == pytest.approx(asked.statistic)
    assert np.log(found.ks_p_value) == pytest.approx(np.log(asked.pvalue), rel=0.05)
    assert found.wasserstein_sd == pytest.approx(0.5, abs=0.06)
    assert 0 < found.jensen_shannon < 1 and found.psi > 0.1
    assert measures(np.full(10, np.nan), window) is None and measures(np.ones(10), window) is None


def test_a_played_present_lies_as_far_from_its_past_as_the_real_one() -> None:
    days = np.arange(100.0)[None, :]
    (past, present), (later, first) = played_presents(days, span=10, apart=20)
    assert (past[0, -1], present[0, 0]) == (69, 90)
    assert (first[0, -1], later[0, 0]) == (9, 30)
    shortest = min(past.shape[1] for past, _ in played_presents(days, span=10, apart=500))
    assert shortest == 50
