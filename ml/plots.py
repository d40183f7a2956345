"""Pictures of a backtest, for the people who decide about a model."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
from matplotlib.figure import Figure  # not pyplot: it keeps figures, and is not made for threads

from ml.backtest import Backtest
from ml.features import DAY
from ml.history import History

DAYS_SHOWN = 10


def backtest_figure(title: str, unit: str, backtest: Backtest, history: History) -> Figure:
    """The last days of the backtest as day-ahead forecasts with their interval, and the error of each step."""
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    forecasts, errors = figure.subplots(2, 1, height_ratios=(3, 2))
    figure.suptitle(title)

    horizon = backtest.forecast.shape[1]
    stride = max(horizon, DAY)
    last = int(backtest.origins[-1])
    wanted = last - stride * np.arange(DAYS_SHOWN * DAY // stride)[::-1]
    lower, upper = backtest.offsets
    labels = ["forecast", "measured"]
    for row in np.flatnonzero(np.isin(backtest.origins, wanted)):
        at = int(backtest.origins[row])
        hours = [history.start + timedelta(hours=at + step) for step in range(1, horizon + 1)]
        forecast = backtest.forecast[row]
        forecasts.fill_between(hours, forecast + lower, forecast + upper, color="#9ecae1", alpha=0.6, linewidth=0)
        forecasts.plot(hours, forecast, color="#08519c", linewidth=1.4, label=labels[0])
        forecasts.plot(hours, backtest.truth[row], color="#d94801", linewidth=1.0, label=labels[1])
        labels = ["", ""]  # one entry each in the legend
    forecasts.set_ylabel(unit)
    forecasts.legend(loc="upper left", frameon=False, ncols=2)

    steps = [error.step for error in backtest.steps]
    of_model = [error.mae for error in backtest.steps]
    of_persistence = [error.persistence_mae for error in backtest.steps]
    of_seasonal = [error.seasonal_naive_mae for error in backtest.steps]
    errors.plot(steps, of_model, color="#08519c", linewidth=2.0, label="model")
    errors.plot(steps, of_persistence, color="#969696", linestyle="--", label="persistence")
    errors.plot(steps, of_seasonal, color="#525252", linestyle=":", label="seasonal naive")
    errors.set_xlabel("hours ahead")
    errors.set_ylabel("mean absolute error (sd)")
    errors.set_ylim(bottom=0)
    errors.legend(loc="upper left", frameon=False, ncols=3)
    return figure
