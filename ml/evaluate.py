"""How good forecasts are, and how good the simplest ones would have been on the same hours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ml.features import DAY, Positions, future, season_before
from ml.history import Array

COVERAGE = 0.9  # share of the truth that the interval is made to hold


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

    scale is the target's standard deviation in the training window. Hours without truth are left out.
    """
    horizon = forecast.shape[1]
    truth = future(target, origins, horizon)
    persistence = np.repeat(target[origins][:, None], horizon, axis=1)
    seasonal = season_before(target, origins, horizon, DAY)
    judged = ~(np.isnan(truth) | np.isnan(persistence) | np.isnan(seasonal))
    if not judged.any():
        raise ValueError("the holdout has no hour at which forecast, naive forecast and truth are known")
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
        inside = (truth >= forecast + offsets[0]) & (truth <= forecast + offsets[1])
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
            coverage=float(inside[half:][judged[half:]].mean()) if judged[half:].any() else float("nan"),
            origins=len(origins),
        )


def interval_offsets(truth: Array, forecast: Array) -> Array:
    """What to add to each step of a forecast for its lower and upper bound: (2, horizon)."""
    tail = (1 - COVERAGE) / 2
    residual = np.where(np.isnan(truth), np.nan, truth - forecast)
    known = ~np.isnan(residual).all(axis=0)
    offsets = np.zeros((2, truth.shape[1]))
    if known.any():
        offsets[:, known] = np.nanquantile(residual[:, known], [tail, 1 - tail], axis=0)
    return offsets
