"""What a forecast may know at its origin. One row per origin; every value lies at or before it.

Levels enter as differences from the last value, so that a sensor that settles at another level is forecast alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ml.history import Array, History

DAY, WEEK = 24, 168
LAGS = (1, 2, 3, 6, 12, DAY - 1, DAY, 2 * DAY, WEEK)
WINDOWS = (6, DAY, WEEK)
LOOKBACK_HOURS = WEEK

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Examples:
    """What can be learnt from: origins (n,) on the history's grid, features (n, features), truth (n, horizon)."""

    origins: Positions
    features: Array
    truth: Array


@dataclass(frozen=True)
class FeatureSpec:
    """Which columns are read and how far is forecast; fixed in training, obeyed in scoring."""

    target: str
    covariates: tuple[str, ...]
    horizon: int

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.target, *self.covariates)

    @property
    def names(self) -> list[str]:
        """Names of the columns of `build`, in order."""
        return [
            "last",
            *(f"lag_{lag}" for lag in LAGS),
            *(f"mean_{window}" for window in WINDOWS),
            *(f"std_{window}" for window in WINDOWS),
            "hour",
            "weekday",
            *(f"{wave}_{period}" for period in ("day", "half_day", "week") for wave in ("sin", "cos")),
            *(f"{name}_{what}" for name in self.covariates for what in ("last", "day_mean")),
            *(f"day_before_{step}" for step in range(1, self.horizon + 1)),
            *(f"week_before_{step}" for step in range(1, self.horizon + 1)),
        ]

    def examples(self, history: History) -> Examples:
        """Every hour of the history from which a whole horizon is known to lie ahead, as something to learn from."""
        origins = np.arange(LOOKBACK_HOURS, history.hours - self.horizon)
        truth = future(history.values[self.target], origins, self.horizon)
        return Examples(origins, self.build(history, origins), truth)

    def build(self, history: History, origins: Positions) -> Array:
        """Features at the given grid positions, each at least LOOKBACK_HOURS from the start: (origins, features)."""
        target = history.values[self.target]
        last = target[origins]
        columns: list[NDArray[Any]] = [last]
        columns += [target[origins - lag] - last for lag in LAGS]
        statistics = [_window_mean_and_std(target, origins, window) for window in WINDOWS]
        columns += [mean - last for mean, _ in statistics]
        columns += [std for _, std in statistics]
        hour = (origins + history.start.hour) % DAY
        weekday = ((origins + history.start.hour) // DAY + history.start.weekday()) % 7
        columns += [hour, weekday]
        for angle in (hour / DAY, 2 * hour / DAY, (weekday * DAY + hour) / WEEK):
            columns += [np.sin(2 * np.pi * angle), np.cos(2 * np.pi * angle)]
        for name in self.covariates:
            values = history.values[name]
            columns += [values[origins], _window_mean_and_std(values, origins, DAY)[0] - values[origins]]
        before = [season_before(target, origins, self.horizon, season) - last[:, None] for season in (DAY, WEEK)]
        return np.column_stack([*columns, *before]).astype(np.float64)


def season_before(values: Array, origins: Positions, horizon: int, season: int) -> Array:
    """For each step the newest known value of the same hour of the day or week: (origins, horizon)."""
    steps = np.arange(1, horizon + 1)
    known: Array = values[origins[:, None] + steps - season * -(-steps // season)]
    return known


def future(values: Array, origins: Positions, horizon: int) -> Array:
    """The values that the forecasts from these origins are about: (origins, horizon)."""
    truth: Array = values[origins[:, None] + np.arange(1, horizon + 1)]
    return truth


def _window_mean_and_std(values: Array, origins: Positions, window: int) -> tuple[Array, Array]:
    """Mean and standard deviation of the window that ends at each origin; NaN where less than half of it is known."""
    windows = sliding_window_view(values, window)[origins - window + 1]
    known = ~np.isnan(windows)
    count = known.sum(axis=1)
    safe = np.maximum(count, 1)
    mean = np.where(known, windows, 0.0).sum(axis=1) / safe
    std = np.sqrt((np.where(known, windows - mean[:, None], 0.0) ** 2).sum(axis=1) / safe)
    enough = count >= window / 2
    return np.where(enough, mean, np.nan), np.where(enough, std, np.nan)
