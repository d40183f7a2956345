"""How a model would have done: trained again at several past moments, each time asked about the hours that followed.

Time is never shuffled. A fold's model has seen no hour at or after the fold's start, as features or as target.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import numpy as np

from ml.evaluate import Evaluation, NothingToJudge, evaluate, inside_interval, interval_offsets, naive_forecasts
from ml.features import Examples, FeatureSpec, Positions
from ml.history import HOUR, Array, History
from ml.model import ChangeForecaster
from shared.configuration import Hyperparameters

STRIDE = 3  # hours between the forecast origins that are judged


@dataclass(frozen=True)
class Fold:
    """One moment of training and the forecasts from the hours after it, errors in standard deviations of the target.

    coverage is of the interval that the folds before would have given; None for the first.
    """

    trained_before: datetime
    origins: int
    training_rows: int
    mae: float
    rmse: float
    mase: float
    persistence_mae: float
    seasonal_naive_mae: float
    skill: float
    coverage: float | None


@dataclass(frozen=True)
class StepErrors:
    """Mean absolute errors of one step ahead, in standard deviations of the target."""

    step: int
    mae: float
    persistence_mae: float
    seasonal_naive_mae: float


@dataclass(frozen=True)
class Backtest:
    """All folds together. origins (n,), forecast and truth (n, horizon) in the target's unit, in order of time."""

    evaluation: Evaluation
    folds: tuple[Fold, ...]
    steps: tuple[StepErrors, ...]
    origins: Positions
    forecast: Array
    truth: Array

    @property
    def offsets(self) -> Array:
        """What to add to a forecast for the bounds of its interval: (2, horizon)."""
        return interval_offsets(self.truth, self.forecast)


def backtest(
    history: History,
    spec: FeatureSpec,
    hyperparameters: Hyperparameters,
    holdout_hours: int,
    seed: int,
    examples: Examples | None = None,
) -> Backtest:
    """Judge the model on the last `holdout_hours`, trained anew for each of `backtest_folds` parts of them.

    examples: the history's, where they have been made already. Fewer folds where a part would be shorter than two
    horizons. Raises NothingToJudge if the sensor was out throughout.
    """
    target = history.values[spec.target]
    known = examples or spec.examples(history)
    origins, features, truth = known.origins, known.features, known.truth
    holdout_start = history.hours - holdout_hours
    scale = float(np.nanstd(target[:holdout_start]))
    count = max(1, min(hyperparameters.backtest_folds, holdout_hours // (2 * spec.horizon)))
    starts = [holdout_start + holdout_hours * part // count for part in range(count + 1)]
    folds: list[Fold] = []
    judged_before = np.empty(0, dtype=np.int64)
    forecasts = np.full(truth.shape, np.nan)
    for start, end in pairwise(starts):
        seen = origins + spec.horizon < start
        judged = np.flatnonzero((origins >= start) & (origins < end) & ((origins - holdout_start) % STRIDE == 0))
        forecaster = ChangeForecaster(spec, hyperparameters, seed).fit(features[seen], truth[seen])
        forecasts[judged] = forecaster.predict(features[judged])
        try:
            result = evaluate(target, origins[judged], forecasts[judged], scale)
        except NothingToJudge:  # the sensor was out all the time
            continue
        offsets = interval_offsets(truth[judged_before], forecasts[judged_before]) if len(judged_before) else None
        folds.append(
            Fold(
                trained_before=history.start + start * HOUR,
                origins=len(judged),
                training_rows=int(seen.sum()),
                mae=result.mae,
                rmse=result.rmse,
                mase=result.mase,
                persistence_mae=result.persistence_mae,
                seasonal_naive_mae=result.seasonal_naive_mae,
                skill=result.skill,
                coverage=None if offsets is None else inside_interval(truth[judged], forecasts[judged], offsets),
            )
        )
        judged_before = np.concatenate([judged_before, judged])
    of_all = origins[judged_before]
    forecast, turned_out = forecasts[judged_before], truth[judged_before]
    return Backtest(
        evaluation=evaluate(target, of_all, forecast, scale),
        folds=tuple(folds),
        steps=_by_step(target, of_all, forecast, turned_out, scale),
        origins=of_all,
        forecast=forecast,
        truth=turned_out,
    )


def _by_step(target: Array, origins: Positions, forecast: Array, truth: Array, scale: float) -> tuple[StepErrors, ...]:
    persistence, seasonal = naive_forecasts(target, origins, truth.shape[1])
    with np.errstate(over="ignore", invalid="ignore"):
        errors = [
            [_mean(np.abs(guess[:, step] - truth[:, step])) / scale for guess in (forecast, persistence, seasonal)]
            for step in range(truth.shape[1])
        ]
    return tuple(StepErrors(step + 1, *three) for step, three in enumerate(errors))


def _mean(values: Array) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
