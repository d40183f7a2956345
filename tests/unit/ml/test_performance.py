"""The rule by which a month of forecasts is judged, on errors that are known beforehand."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import pytest

from ml.evaluate import evaluate
from ml.features import DAY
from ml.history import Array
from ml.monitor_messages import LiveModel, Verdict
from ml.performance import Forecasts, PerformanceFinding, judge_performance
from shared.configuration import Monitoring, Threshold

START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS, HORIZON, SCALE = 31, 24, 2.0
HOURS = (DAYS + 4) * DAY


def target(level: float = 50.0) -> Array:
    chance = np.random.default_rng(1)
    return level + 4 * np.sin(2 * np.pi * np.arange(HOURS) / DAY) + chance.normal(0, 1.5, HOURS)


def forecasts(truth: Array, errors: Array, version: int = 1, days: int = DAYS) -> Forecasts:
    """One forecast a day from its midnight; errors (days,) are those of its hours."""
    origins = (2 + np.arange(days)) * DAY
    steps = np.arange(1, HORIZON + 1)
    at = origins[:, None] + steps
    forecast = truth[np.minimum(at, HOURS - 1)] + errors[:days, None]
    return Forecasts(
        start=START,
        origin=np.repeat(origins, HORIZON),
        step=np.tile(steps, days),
        forecast=forecast.ravel(),
        lower=forecast.ravel() - 1.0,
        upper=forecast.ravel() + 1.0,
        model_version=np.full(days * HORIZON, version),
    )


def live(**tags: float) -> LiveModel:
    standard = {"target_sd": SCALE, "mae": 0.1, "naive_mae": 0.6}
    return LiveModel(
        version=1, cutoff_date=date(2025, 12, 1), tags={name: repr(value) for name, value in (standard | tags).items()}
    )


def alternating(size: float) -> Array:
    """Errors of one size, a little larger on every other day."""
    return np.asarray(size * SCALE * (1 + 0.05 * (-1.0) ** np.arange(DAYS)), dtype=np.float64)


def judged(
    errors: Array, truth: Array | None = None, limits: Monitoring | None = None, **tags: float
) -> PerformanceFinding:
    truth = target() if truth is None else truth
    return judge_performance(forecasts(truth, errors), truth, live(**tags), limits or Monitoring(), 28)


@pytest.mark.parametrize(
    ("error", "backtest", "verdict"),
    [
        (0.10, 0.10, Verdict.OK),
        (0.18, 0.10, Verdict.WARNING),
        (0.40, 0.10, Verdict.CRITICAL),
        (0.40, 0.40, Verdict.OK),  # above the limit, and no worse than when it was approved
        (0.08, 0.02, Verdict.WARNING),  # below the limit, and four times the error that was promised
    ],
)
def test_the_verdict_weighs_limits_and_what_the_model_promised(error: float, backtest: float, verdict: Verdict) -> None:
    found = judged(alternating(error), mae=backtest)
    assert found.verdict is verdict
    assert bool(found.breaches) is (verdict is not Verdict.OK or error > 0.15)


def test_a_few_bad_days_in_a_row_are_not_yet_worse_than_the_backtest_and_a_bad_month_is() -> None:
    errors = alternating(0.1)
    stormy = np.where(np.arange(DAYS) < 4, 5 * errors, errors)
    assert judged(stormy).verdict is Verdict.OK
    assert judged(2.0 * errors).verdict is Verdict.WARNING


def test_days_that_hang_together_leave_more_room_for_chance_than_days_that_alternate() -> None:
    in_one_go = 0.15 * SCALE * np.where(np.arange(DAYS) < DAYS // 2, 0.5, 1.5)
    by_turns = 0.15 * SCALE * np.where(np.arange(DAYS) % 2 == 0, 0.5, 1.5)
    rooms = []
    for errors in (in_one_go, by_turns):
        found = judged(errors).performance
        assert found is not None and found.expected_mae is not None
        rooms.append(found.expected_mae - 0.1)
    assert rooms[0] > 2 * rooms[1] > 0


def test_numbers_are_those_of_the_backtests_own_evaluation() -> None:
    truth, errors = target(), alternating(0.2)
    found = judged(errors, truth).performance
    published = forecasts(truth, errors)
    reference = evaluate(truth, np.unique(published.origin), published.forecast.reshape(DAYS, HORIZON), SCALE)
    assert found is not None
    for metric in ("mae", "rmse", "r2", "mape", "mase", "naive_mae", "skill"):
        assert getattr(found, metric) == pytest.approx(getattr(reference, metric)), metric
    assert found.naive == reference.naive
    assert found.coverage == 1.0 and (found.days, found.hours) == (DAYS, DAYS * HORIZON)


def test_shares_of_the_value_are_left_out_where_it_comes_near_zero() -> None:
    found = judged(alternating(0.1), target(level=0.0)).performance
    assert found is not None and found.mape is None and found.mase is not None


def test_a_target_that_stood_still_has_no_skill_and_no_r2_rather_than_an_absurd_one() -> None:
    found = judged(alternating(0.1), np.full(HOURS, 50.0)).performance
    assert found is not None
    assert (found.r2, found.skill, found.mase) == (None, None, None)
    assert found.mae == pytest.approx(0.1, rel=0.01)


def test_a_model_that_lost_its_lead_over_the_naive_forecasts_is_warned_about() -> None:
    limits = Monitoring(mae=Threshold(warn=5, critical=6), rmse=Threshold(warn=5, critical=6))
    found = judged(alternating(1.5), limits=limits)
    assert found.verdict is Verdict.WARNING
    assert any("would have been better" in breach for breach in found.breaches)


def test_without_a_backtest_error_the_limits_decide_alone() -> None:
    model = LiveModel(version=1, cutoff_date=date(2025, 12, 1), tags={"target_sd": repr(SCALE)})
    truth = target()
    found = judge_performance(forecasts(truth, alternating(0.4)), truth, model, Monitoring(), 28)
    assert found.verdict is Verdict.CRITICAL
    assert found.performance is not None and found.performance.expected_mae is None


def test_holes_in_the_actuals_are_left_out_and_all_holes_are_no_actuals() -> None:
    truth = target()
    partly = truth.copy()
    partly[10 * DAY : 12 * DAY] = np.nan
    found = judge_performance(forecasts(truth, alternating(0.1)), partly, live(), Monitoring(), 28).performance
    assert found is not None and found.hours < DAYS * HORIZON and np.isfinite(found.mae)
    nothing = judge_performance(forecasts(truth, alternating(0.1)), truth * np.nan, live(), Monitoring(), 28)
    assert (nothing.verdict, nothing.reason.partition(":")[0]) == (Verdict.CANNOT_SAY, "no actuals yet")


def test_the_forecasts_of_an_earlier_champion_are_shown_and_not_judged() -> None:
    truth = target()
    earlier, mine = forecasts(truth, alternating(3.0), version=9, days=15), forecasts(truth, alternating(0.1))
    columns = ("origin", "step", "forecast", "lower", "upper", "model_version")
    joined = {name: np.concatenate([getattr(earlier, name), getattr(mine, name)[15 * HORIZON :]]) for name in columns}
    both = Forecasts(start=START, **joined)
    found = judge_performance(both, truth, live(), Monitoring(), 28)
    assert found.verdict is Verdict.OK
    assert found.performance is not None and found.performance.days == DAYS - 15
    assert [error.model_version for error in found.daily] == [9] * 15 + [1] * (DAYS - 15)
