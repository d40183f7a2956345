"""How good a live model's published forecasts were, by its limits and by what it promised when it was registered.

A limit alone does not alarm: a model may have been approved with an error above it, and would alarm for ever. Nor does
an error that a period of this length may bring by chance. docs/monitoring.md states the rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import isfinite, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ml.features import DAY
from ml.history import Array
from ml.monitor_messages import LiveModel, Performance, Verdict
from shared.configuration import Monitoring, Threshold

MINIMUM_DAYS = 7  # days of forecasts whose truth is known; fewer, and one odd day decides
CERTAINTY = 0.99  # that an error above the backtest's is not chance
MATERIAL = 1.25  # times the backtest's error: what is certain and smaller does not matter
AWAY_FROM_ZERO = 0.1  # standard deviations: nearer to zero, shares of the value mean nothing
LEAST = 1e-9  # standard deviations: errors below it are none

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Forecasts:
    """Published forecasts, a row for each origin and step. origin: hours since `start`, as the target's grid counts."""

    start: datetime
    origin: Integers
    step: Integers
    forecast: Array
    lower: Array
    upper: Array
    model_version: Integers

    def where(self, rows: NDArray[np.bool_]) -> Forecasts:
        """Some of the rows."""
        return Forecasts(
            self.start,
            self.origin[rows],
            self.step[rows],
            self.forecast[rows],
            self.lower[rows],
            self.upper[rows],
            self.model_version[rows],
        )


@dataclass(frozen=True)
class DailyError:
    """One forecast's mean absolute errors, in the target's unit; day is the UTC date of its origin."""

    day: date
    model_version: int
    mae: float
    naive_mae: float


@dataclass(frozen=True)
class PerformanceFinding:
    """What can be said of a period. daily has every published forecast whose truth is known, whoever made it."""

    verdict: Verdict
    reason: str = ""
    breaches: tuple[str, ...] = ()
    performance: Performance | None = None
    daily: tuple[DailyError, ...] = ()


def judge_performance(
    forecasts: Forecasts | None, target: Array, live: LiveModel, limits: Monitoring, holdout_days: int
) -> PerformanceFinding:
    """target: (hours,) on the grid that begins at `forecasts.start`, a day before the first origin; NaN where unknown.

    Only the live model's forecasts are judged. holdout_days: how many days its backtest's error is a mean of.
    """
    if forecasts is None or not len(forecasts.origin):
        return _cannot_say("no forecast was published in the period; the ledger says why")
    if (scale := _number(live, "target_sd")) is None or scale <= LEAST:
        return _cannot_say(f"model {live.version} has no usable tag target_sd to scale its errors by; train it anew")
    compared = _Compared(forecasts, target)
    daily = tuple(compared.daily())
    if not daily:
        return _cannot_say("no actuals yet: nothing that the forecasts are about has been measured")
    mine = _Compared(forecasts.where(forecasts.model_version == live.version), target)
    days = len({error.day for error in mine.daily()})
    if days < MINIMUM_DAYS:
        return _cannot_say(
            f"{days} days of forecasts of model {live.version} have their actuals, {MINIMUM_DAYS} are needed", daily
        )
    performance = _measure(mine, days, scale, live, holdout_days)
    verdict, breaches = _judge(performance, limits, _number(live, "naive_mae"))
    return PerformanceFinding(verdict, "", breaches, performance, daily)


def _cannot_say(reason: str, daily: tuple[DailyError, ...] = ()) -> PerformanceFinding:
    return PerformanceFinding(Verdict.CANNOT_SAY, reason, daily=daily)


def _number(live: LiveModel, tag: str) -> float | None:
    """A tag of the model as a number, or None."""
    try:
        number = float(live.tags[tag])
    except (KeyError, ValueError):
        return None
    return number if isfinite(number) else None


class _Compared:
    """Forecasts beside truth and naive forecasts, where all of them are known."""

    def __init__(self, forecasts: Forecasts, target: Array) -> None:
        origin, step = forecasts.origin, forecasts.step
        truth = _at(target, origin + step)
        persistence = _at(target, origin)
        seasonal = _at(target, origin + step - DAY * -(-step // DAY))
        known = np.isfinite(truth) & np.isfinite(persistence) & np.isfinite(seasonal) & np.isfinite(forecasts.forecast)
        self.forecasts = forecasts.where(known)
        self.truth = truth[known]
        self.error = self.forecasts.forecast - self.truth
        naive = {"persistence": persistence, "seasonal_naive": seasonal}
        self.naive_errors = {name: np.abs(values[known] - self.truth) for name, values in naive.items()}

    def better_naive(self) -> tuple[str, Array]:
        """The better naive forecast by name, and its absolute errors."""
        name = min(self.naive_errors, key=lambda name: float(self.naive_errors[name].mean()))
        return name, self.naive_errors[name]

    def daily(self) -> Iterator[DailyError]:
        """The error of each forecast, in order of its origin."""
        if not len(self.truth):
            return
        _, naive = self.better_naive()
        for origin in np.unique(self.forecasts.origin):
            rows = self.forecasts.origin == origin
            yield DailyError(
                day=(self.forecasts.start + timedelta(hours=int(origin))).date(),
                model_version=int(self.forecasts.model_version[rows][0]),
                mae=float(np.abs(self.error[rows]).mean()),
                naive_mae=float(naive[rows].mean()),
            )


def _at(target: Array, hours: Integers) -> Array:
    """The target at hours of its grid; NaN outside of it."""
    inside = (hours >= 0) & (hours < len(target))
    return np.where(inside, target[np.clip(hours, 0, len(target) - 1)], np.nan)


def _measure(compared: _Compared, days: int, scale: float, live: LiveModel, holdout_days: int) -> Performance:
    error, truth, forecasts = compared.error, compared.truth, compared.forecasts
    absolute = np.abs(error)
    naive, naive_errors = compared.better_naive()
    mae, naive_mae = float(absolute.mean()), float(naive_errors.mean())
    seasonal_mae = float(compared.naive_errors["seasonal_naive"].mean())
    variation = float(((truth - truth.mean()) ** 2).sum())
    backtest = _number(live, "mae")
    daily = np.array([error.mae for error in compared.daily()]) / scale
    return Performance(
        mae=mae / scale,
        rmse=float(np.sqrt((error**2).mean())) / scale,
        mape=float((absolute / np.abs(truth)).mean()) if np.abs(truth).min() > AWAY_FROM_ZERO * scale else None,
        mase=mae / seasonal_mae if seasonal_mae > LEAST * scale else None,
        r2=1 - float((error**2).sum()) / variation if variation > LEAST * scale**2 * len(truth) else None,
        naive=naive,
        naive_mae=naive_mae / scale,
        skill=1 - mae / naive_mae if naive_mae > LEAST * scale else None,
        coverage=float(((truth >= forecasts.lower) & (truth <= forecasts.upper)).mean()),
        backtest_mae=backtest,
        expected_mae=None if backtest is None else backtest + _margin(daily, holdout_days),
        days=days,
        hours=len(truth),
    )


def _margin(daily: Array, holdout_days: int) -> float:
    """How much higher than the backtest's error the mean of these days' errors may be by chance.

    Days are not independent: the variance of their mean is that of W. Newey and K. West, Econometrica 55 (1987) 703,
    with a lag of 4 (days / 100)^(2/9), for the backtest's days as well as for these. Student's distribution has as many
    degrees of freedom as there are stretches of that memory.
    """
    days = len(daily)
    lag = int(4 * (days / 100) ** (2 / 9))
    centred = daily - daily.mean()
    long_run = float((centred**2).mean())
    for apart in range(1, lag + 1):
        long_run += 2 * (1 - apart / (lag + 1)) * float((centred[:-apart] * centred[apart:]).sum()) / days
    variance = max(long_run, 0.0) * (1 / days + 1 / holdout_days)
    return float(stats.t.ppf(CERTAINTY, max(2, days // (lag + 1)))) * sqrt(variance)


def _judge(found: Performance, limits: Monitoring, naive_backtest: float | None) -> tuple[Verdict, tuple[str, ...]]:
    """The verdict, and a sentence for everything that speaks for it, or was not enough to."""
    worse = found.expected_mae is None or found.mae > found.expected_mae
    above: list[tuple[str, Verdict]] = []
    for metric, limit in (("mae", limits.mae), ("rmse", limits.rmse), ("mape", limits.mape)):
        value = getattr(found, metric)
        if value is not None and (grade := _grade(value, limit)) is not Verdict.OK:
            bound = limit.critical if grade is Verdict.CRITICAL else limit.warn
            above.append((f"{metric} {value:.3g} is above its {grade} limit {bound:.3g}", grade))
    breaches = [text for text, _ in above]
    grades = [grade for _, grade in above]
    if found.backtest_mae is not None and found.expected_mae is not None:
        promised = f"the backtest's {found.backtest_mae:.3g}, or {found.expected_mae:.3g} by chance"
        if not worse:
            ended = [f"{text}, and no worse than {promised}" for text in breaches]
            return Verdict.OK, tuple(ended)
        if found.mae >= MATERIAL * found.backtest_mae:
            grades.append(Verdict.WARNING)
            breaches.append(f"mae {found.mae:.3g} is worse than {promised}")
        if found.skill is not None and found.skill < 0 and naive_backtest and found.backtest_mae < naive_backtest:
            grades.append(Verdict.WARNING)
            naive = found.naive.replace("_", " ")
            breaches.append(f"{naive} would have been better ({found.naive_mae:.3g}); in the backtest it was not")
    order = (Verdict.OK, Verdict.WARNING, Verdict.CRITICAL)
    return max(grades, key=order.index, default=Verdict.OK), tuple(breaches)


def _grade(value: float, limit: Threshold) -> Verdict:
    return Verdict.CRITICAL if value > limit.critical else Verdict.WARNING if value > limit.warn else Verdict.OK
