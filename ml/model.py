"""The default forecaster: the mean of a linear and a boosted-trees model of the change from the last value."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge

from ml.features import DAY, FeatureSpec
from ml.history import Array
from shared.configuration import Hyperparameters

TREE_ROWS = 4000  # the trees see each origin with one of its steps, or more of them where there are fewer origins
BINS = 128  # 255 take a fifth longer for the same errors; 32 lose on sensors that move far and are forecast closely


class ChangeForecaster(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Forecasts every step of the horizon from the features of one origin.

    fit(X, y): X (origins, features) of `FeatureSpec.build`, y (origins, horizon); NaN is allowed in both.
    predict(X): (origins, horizon) in the target's unit. Changes are scaled by their spread in the training window.
    """

    def __init__(self, spec: FeatureSpec, hyperparameters: Hyperparameters, seed: int = 0) -> None:
        self.spec = spec
        self.hyperparameters = hyperparameters
        self.seed = seed

    def fit(self, X: Array, y: Array) -> Self:
        change = y - X[:, :1]
        usable = ~np.isnan(X[:, 0])
        X, change = X[usable], change[usable]
        self.centre_ = _nan_to(np.nanmean(X, axis=0), 0.0)
        self.spread_ = np.maximum(_nan_to(np.nanstd(X, axis=0), 1.0), 1e-9)
        self.scale_ = max(float(np.nanstd(change)), 1e-9)
        settings = self.hyperparameters
        complete = ~np.isnan(change).any(axis=1)
        self.linear_ = Ridge(alpha=settings.ridge_alpha)
        self.linear_.fit(self._standardised(X[complete]), change[complete] / self.scale_)

        generator = np.random.default_rng(self.seed)
        steps_per_origin = min(max(1, round(TREE_ROWS / len(X))), self.spec.horizon)
        rows = np.repeat(np.arange(len(X)), steps_per_origin)
        steps = generator.integers(1, self.spec.horizon + 1, len(rows))
        known = ~np.isnan(change[rows, steps - 1])
        rows, steps = rows[known], steps[known]
        self.trees_ = HistGradientBoostingRegressor(
            learning_rate=settings.learning_rate,
            max_iter=settings.max_iter,
            max_leaf_nodes=settings.max_leaf_nodes,
            min_samples_leaf=settings.min_samples_leaf,
            l2_regularization=settings.l2_regularization,
            max_bins=BINS,
            early_stopping=False,
            random_state=self.seed,
        )
        self.trees_.fit(self._of_steps(X[rows], steps), change[rows, steps - 1] / self.scale_)
        return self

    def predict(self, X: Array) -> Array:
        horizon = self.spec.horizon
        linear = self.linear_.predict(self._standardised(X)).reshape(len(X), horizon)
        rows, steps = np.repeat(np.arange(len(X)), horizon), np.tile(np.arange(1, horizon + 1), len(X))
        trees = self.trees_.predict(self._of_steps(X[rows], steps)).reshape(len(X), horizon)
        return np.asarray(X[:, :1] + self.scale_ * (linear + trees) / 2)

    def _standardised(self, X: Array) -> Array:
        return _nan_to((X - self.centre_) / self.spread_, 0.0)

    def _of_steps(self, X: Array, steps: Any) -> Array:
        """Rows of origins as rows of (origin, step): the profiles shrink to the two values that belong to the step."""
        horizon = self.spec.horizon
        origin_columns = X.shape[1] - 2 * horizon
        row = np.arange(len(X))
        names = self.spec.names
        hour = X[:, names.index("hour")] + steps
        weekday = (X[:, names.index("weekday")] + hour // DAY) % 7
        day_before = X[row, origin_columns + steps - 1]
        week_before = X[row, origin_columns + horizon + steps - 1]
        return np.column_stack([X[:, :origin_columns], steps, hour % DAY, weekday, day_before, week_before])


def _nan_to(values: Array, substitute: float) -> Array:
    return np.where(np.isnan(values), substitute, values)
