"""How good forecasts are, and how good the simplest ones would have been on the same hours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ml.features import DAY, Positions, future, season_before
from ml.history import Array

COVERAGE = 0.9  # share of the truth that the interval is made to hold
INDEPENDENT_SHARE = 0.25  # errors of forecasts that start less than half a day apart are nearly the same


class NothingToJudge(ValueError):
    """There is no hour at which forecast, naive forecast and truth are known."""


@dataclass(frozen=True)
class Evaluation:
    """Errors over all origins and steps, mae, rmse and naive_mae in the scale that was given.

    naive is the better of persistence and seasonal naive; skill is 1 - mae / naive_mae: positive is better than naive.
    mape is None where the target comes near zero; coverage is of the interval, measured on origins that did not set it.
    """

    mae: float
    rmse: float
    r2: float
    mape: float | None
    mase: float
    persistence_mae: float
    seasonal_naive_mae: float
    naive: str
    naive_mae: float
    skill: float
    coverage: float
    origins: int

    @property
    def beats_naive(self) -> bool:
        return self.skill > 0


def evaluate(target: Array, origins: Positions, forecast: Array, scale: float) -> Evaluation:
    """Compare forecasts (origins, horizon) with what the target (hours,) turned out to be.

    scale is the target's standard deviation in the training window. Hours without truth are left out. Raises
    NothingToJudge if there is no other.
    """
    horizon = forecast.shape[1]
    truth = future(target, origins, horizon)
    persistence, seasonal = naive_forecasts(target, origins, horizon)
    judged = ~(np.isnan(truth) | np.isnan(persistence) | np.isnan(seasonal))
    if not judged.any():
        raise NothingToJudge("no hour at which forecast, naive forecast and truth are known")
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.abs(forecast - truth)[judged]
        values = truth[judged]
        persistence_mae = float(np.abs(persistence - truth)[judged].mean())
        seasonal_mae = float(np.abs(seasonal - truth)[judged].mean())
        naive_mae = min(persistence_mae, seasonal_mae)
        mae, rmse = float(error.mean()), float(np.sqrt((error**2).mean()))
        away_from_zero = np.abs(values).min() > 0.1 * scale
        half = len(origins) // 2
        offsets = interval_offsets(truth[:half], forecast[:half])
        return Evaluation(
            mae=mae / scale,
            rmse=rmse / scale,
            r2=float(1 - (error**2).sum() / max(((values - values.mean()) ** 2).sum(), 1e-12)),
            mape=float((error / np.abs(values)).mean()) if away_from_zero else None,
            mase=mae / max(seasonal_mae, 1e-12),
            persistence_mae=persistence_mae / scale,
            seasonal_naive_mae=seasonal_mae / scale,
            naive="persistence" if persistence_mae <= seasonal_mae else "seasonal_naive",
            naive_mae=naive_mae / scale,
            skill=1 - mae / max(naive_mae, 1e-12),
            coverage=inside_interval(truth[half:], forecast[half:], offsets),
            origins=len(origins),
        )


def naive_forecasts(target: Array, origins: Positions, horizon: int) -> tuple[Array, Array]:
    """Persistence and seasonal naive (the same hour of the day before), each (origins, horizon)."""
    return np.repeat(target[origins][:, None], horizon, axis=1), season_before(target, origins, horizon, DAY)


def inside_interval(truth: Array, forecast: Array, offsets: Array) -> float:
    """The share of the known truth between the bounds; NaN if none is known."""
    known = ~np.isnan(truth)
    inside = (truth >= forecast + offsets[0]) & (truth <= forecast + offsets[1])
    return float(inside[known].mean()) if known.any() else float("nan")


def interval_offsets(truth: Array, forecast: Array) -> Array:
    """What to add to each step of a forecast for its lower and upper bound: (2, horizon).

    Quantiles of past errors, taken a little further out, as conformal prediction does for so few of them: without it
    the interval holds 85 % instead of 90 % of the hours that come after.
    """
    residual = np.where(np.isnan(truth), np.nan, truth - forecast)
    known = ~np.isnan(residual).all(axis=0)
    offsets = np.zeros((2, truth.shape[1]))
    if known.any():
        independent = max(len(truth) * INDEPENDENT_SHARE, 1.0)
        level = min(1.0, (1 + COVERAGE) / 2 * (1 + 1 / independent))
        offsets[:, known] = np.nanquantile(residual[:, known], [1 - level, level], axis=0)
    return offsets
