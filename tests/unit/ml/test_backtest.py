from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from ml.backtest import STRIDE, Fold, StepErrors, backtest
from ml.evaluate import NothingToJudge
from ml.features import FeatureSpec
from ml.history import History
from ml.plots import backtest_figure
from shared.configuration import Hyperparameters

SPEC = FeatureSpec("target", ("other",), 24)
START = datetime(2025, 1, 1, tzinfo=UTC)
HOURS = 90 * 24
HOLDOUT = 21 * 24
SETTINGS = Hyperparameters(max_iter=8, backtest_folds=3)


def history(hours: int = HOURS) -> History:
    chance = np.random.default_rng(5)
    moment = np.arange(hours)
    other = chance.normal(0, 1, hours).cumsum() * 0.05
    target = 50 + 5 * np.sin(2 * np.pi * moment / 24) + other + chance.normal(0, 0.3, hours)
    return History(START, START + timedelta(hours=hours - 1), {"target": target, "other": other}, hours)


def test_folds_follow_each_other_in_time_and_each_is_trained_on_what_lies_before_it() -> None:
    judged = backtest(history(), SPEC, SETTINGS, HOLDOUT, seed=0)
    assert [fold.trained_before for fold in judged.folds] == [
        START + timedelta(hours=HOURS - HOLDOUT) + timedelta(days=7 * part) for part in range(3)
    ]
    assert [fold.training_rows for fold in judged.folds] == sorted(fold.training_rows for fold in judged.folds)
    assert (np.diff(judged.origins) == STRIDE).all()
    assert judged.evaluation.origins == sum(fold.origins for fold in judged.folds) == len(judged.origins)
    assert judged.forecast.shape == judged.truth.shape == (len(judged.origins), 24)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_no_forecast_knows_anything_at_or_after_its_origin_and_no_model_anything_at_or_after_its_fold(
    part: int,
) -> None:
    known = backtest(history(), SPEC, SETTINGS, HOLDOUT, seed=0)
    start = HOURS - HOLDOUT + part * HOLDOUT // 3
    changed = history()
    for values in changed.values.values():
        values[start + 1 :] = np.random.default_rng(9).normal(500, 90, HOURS - start - 1)
    other = backtest(changed, SPEC, SETTINGS, HOLDOUT, seed=0)
    before = known.origins <= start
    np.testing.assert_array_equal(known.forecast[before], other.forecast[before])
    assert not np.array_equal(known.forecast[~before], other.forecast[~before])


def test_the_model_beats_both_naive_forecasts_fold_by_fold_and_step_by_step() -> None:
    judged = backtest(history(), SPEC, Hyperparameters(), HOLDOUT, seed=0)
    measured: list[Fold | StepErrors] = [*judged.folds, *judged.steps]
    for errors in measured:
        assert errors.mae < min(errors.persistence_mae, errors.seasonal_naive_mae)
    assert [error.step for error in judged.steps] == list(range(1, 25))
    overall = judged.evaluation
    assert overall.mae == pytest.approx(
        np.average([f.mae for f in judged.folds], weights=[f.origins for f in judged.folds]), rel=0.01
    )


def test_the_interval_of_earlier_folds_holds_what_it_promises_in_later_ones() -> None:
    judged = backtest(history(), SPEC, Hyperparameters(), HOLDOUT, seed=0)
    assert judged.folds[0].coverage is None
    assert all(fold.coverage == pytest.approx(0.9, abs=0.06) for fold in judged.folds[1:])
    assert judged.evaluation.coverage == pytest.approx(0.9, abs=0.06)


def test_a_short_holdout_has_fewer_folds() -> None:
    assert len(backtest(history(), SPEC, SETTINGS, 4 * 24, seed=0).folds) == 2
    assert len(backtest(history(), SPEC, SETTINGS, 2 * 24, seed=0).folds) == 1


def test_a_fold_in_which_the_sensor_was_out_is_left_out() -> None:
    silent = history()
    silent.values["target"][HOURS - HOLDOUT + HOLDOUT // 3 : HOURS - HOLDOUT + 2 * HOLDOUT // 3] = np.nan
    assert len(backtest(silent, SPEC, SETTINGS, HOLDOUT, seed=0).folds) == 2
    silent.values["target"][HOURS - HOLDOUT :] = np.nan
    with pytest.raises(NothingToJudge):
        backtest(silent, SPEC, SETTINGS, HOLDOUT, seed=0)


def test_the_same_seed_gives_the_same_backtest() -> None:
    first, again, other = (backtest(history(), SPEC, SETTINGS, HOLDOUT, seed) for seed in (1, 1, 2))
    assert first.evaluation == again.evaluation != other.evaluation


def test_the_picture_shows_ten_days_of_forecasts_and_the_error_of_every_step() -> None:
    past = history()
    judged = backtest(past, SPEC, SETTINGS, HOLDOUT, seed=0)
    forecasts, errors = backtest_figure("P001_C001", "temperature", judged, past).axes
    assert len(forecasts.lines) == 2 * 10
    assert forecasts.get_ylabel() == "temperature"
    assert [line.get_label() for line in errors.lines] == ["model", "persistence", "seasonal naive"]
    np.testing.assert_array_equal(errors.lines[0].get_ydata(), [error.mae for error in judged.steps])
