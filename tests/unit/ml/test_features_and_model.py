from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from ml.evaluate import evaluate, interval_offsets
from ml.features import LOOKBACK_HOURS, FeatureSpec, future, season_before
from ml.history import History, carry_forward
from ml.model import ChangeForecaster
from shared.configuration import Hyperparameters

START = datetime(2025, 12, 1, 5, tzinfo=UTC)  # a Monday
SPEC = FeatureSpec("target", ("other",), 24)


def history(hours: int, seed: int = 0) -> History:
    chance = np.random.default_rng(seed)
    time = np.arange(hours) + START.hour
    target = 50 + 10 * np.sin(2 * np.pi * time / 24) + np.cumsum(chance.normal(0, 0.05, hours))
    other = 5 + 0.2 * target + chance.normal(0, 0.1, hours)
    return History(START, START, {"target": target, "other": other}, hours)


def test_features_have_their_names_and_know_nothing_after_the_origin() -> None:
    past = history(600)
    origins = np.array([LOOKBACK_HOURS, 300, 400])
    features = SPEC.build(past, origins)
    assert features.shape == (3, len(SPEC.names))
    tampered = {name: values.copy() for name, values in past.values.items()}
    for values in tampered.values():
        values[401:] = 1e6
    later = SPEC.build(History(START, START, tampered, 600), origins)
    np.testing.assert_array_equal(later, features)


def test_a_short_window_of_the_past_gives_the_same_features_as_all_of_it() -> None:
    past = history(600)
    recent = {name: values[400 - LOOKBACK_HOURS : 401] for name, values in past.values.items()}
    start = START + timedelta(hours=400 - LOOKBACK_HOURS)
    scored = SPEC.build(History(start, start, recent, 0), np.array([LOOKBACK_HOURS]))
    np.testing.assert_array_equal(scored, SPEC.build(past, np.array([400])))


def test_each_feature_is_what_its_name_says() -> None:
    past = history(600)
    target, other, origin = past.values["target"], past.values["other"], 433
    row = dict(zip(SPEC.names, SPEC.build(past, np.array([origin]))[0], strict=True))
    assert row["last"] == target[origin]
    assert row["lag_23"] == target[origin - 23] - target[origin]
    assert row["mean_24"] == pytest.approx(target[origin - 23 : origin + 1].mean() - target[origin])
    assert row["std_168"] == pytest.approx(target[origin - 167 : origin + 1].std())
    assert row["other_last"] == other[origin]
    assert row["day_before_3"] == target[origin - 21] - target[origin]
    assert row["week_before_24"] == target[origin - 144] - target[origin]
    moment = START.timestamp() + origin * 3600
    assert (row["hour"], row["weekday"]) == (
        datetime.fromtimestamp(moment, UTC).hour,
        datetime.fromtimestamp(moment, UTC).weekday(),
    )


def test_a_horizon_longer_than_a_day_repeats_the_last_known_day() -> None:
    values = np.arange(1000.0)
    before = season_before(values, np.array([500]), 50, 24)[0]
    assert before.max() == 500, "the origin is the last value that is known"
    assert before[0] == 477 and before[24] == 477 and before[49] == 478


def test_only_short_holes_are_bridged_and_only_from_the_past() -> None:
    nan = np.nan
    filled = carry_forward(np.array([nan, 1.0, nan, nan, 4.0, nan, nan, nan, nan, 9.0]), 3)
    np.testing.assert_array_equal(filled, [nan, 1, 1, 1, 4, 4, 4, 4, nan, 9])


def test_the_forecaster_learns_a_rhythm_and_is_the_same_for_the_same_seed() -> None:
    past = history(2000)
    origins = np.arange(LOOKBACK_HOURS, 1500)
    features, truth = SPEC.build(past, origins), future(past.values["target"], origins, 24)
    first, again, other = (ChangeForecaster(SPEC, Hyperparameters(), seed).fit(features, truth) for seed in (1, 1, 2))
    judged = np.arange(1600, 1900)
    forecast = first.predict(SPEC.build(past, judged))
    assert forecast.shape == (300, 24)
    np.testing.assert_array_equal(forecast, again.predict(SPEC.build(past, judged)))
    assert not np.array_equal(forecast, other.predict(SPEC.build(past, judged)))
    assert evaluate(past.values["target"], judged, forecast, 7.0).skill > 0.1


def test_holes_in_features_and_targets_are_no_obstacle() -> None:
    past = history(1500)
    chance = np.random.default_rng(3)
    for values in past.values.values():
        values[chance.random(1500) < 0.1] = np.nan
    origins = np.arange(LOOKBACK_HOURS, 1400)
    features, truth = SPEC.build(past, origins), future(past.values["target"], origins, 24)
    known = ~np.isnan(past.values["target"][origins])
    forecast = ChangeForecaster(SPEC, Hyperparameters()).fit(features, truth).predict(features[known])
    assert np.isfinite(forecast).all()


def test_an_evaluation_measures_forecasts_beside_the_naive_ones() -> None:
    target = 10 + np.tile(np.sin(2 * np.pi * np.arange(24) / 24), 40)
    origins = np.arange(200, 500)
    perfect = evaluate(target, origins, future(target, origins, 24), scale=2.0)
    assert perfect.mae == 0 and perfect.r2 == 1 and perfect.skill == 1
    assert perfect.naive == "seasonal_naive" and perfect.seasonal_naive_mae == pytest.approx(0)
    biased = evaluate(target, origins, future(target, origins, 24) + 1.0, scale=2.0)
    assert biased.mae == biased.rmse == pytest.approx(0.5), "in units of the scale"
    assert not biased.beats_naive
    assert biased.mape == pytest.approx(0.1, rel=0.02)
    around_zero = evaluate(target - 10, origins, future(target - 10, origins, 24), scale=2.0)
    assert around_zero.mape is None


def test_the_interval_holds_as_much_of_the_truth_as_it_promises() -> None:
    chance = np.random.default_rng(0)
    target = chance.normal(0, 1, 5000)
    origins = np.arange(200, 4900)
    forecast = np.zeros((len(origins), 24))
    assert evaluate(target, origins, forecast, 1.0).coverage == pytest.approx(0.9, abs=0.02)
    offsets = interval_offsets(future(target, origins, 24), forecast)
    np.testing.assert_allclose(offsets[0], -1.645, atol=0.15)
    np.testing.assert_allclose(offsets[1], 1.645, atol=0.15)
