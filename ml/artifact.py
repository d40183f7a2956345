"""The file a trained model travels in, and how to get it back without importing mlflow (4 s, 190 MB)."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import joblib  # type: ignore[import-untyped]
import numpy as np
import yaml
from sklearn.base import BaseEstimator

from ml.errors import WrongInput
from ml.features import FeatureSpec
from ml.history import Array
from ml.model import ChangeForecaster


class CircuitForecaster(BaseEstimator):  # type: ignore[misc]
    """A fitted forecaster with everything that scoring needs to ask it and to judge its answer.

    plausible: (minimum, maximum) of readings per column; offsets: see `ml.evaluate.interval_offsets`.
    """

    def __init__(
        self,
        circuit: str,
        sensor_id: str,
        forecaster: ChangeForecaster,
        plausible: dict[str, tuple[float, float]],
        offsets: Array,
    ) -> None:
        self.circuit = circuit
        self.sensor_id = sensor_id
        self.forecaster = forecaster
        self.plausible = plausible
        self.offsets = offsets

    @property
    def spec(self) -> FeatureSpec:
        return self.forecaster.spec

    def digest(self) -> str:
        """Sixteen hexadecimal digits of all that decides a forecast: equal for the same readings, settings and seed."""
        trees = self.forecaster.trees_
        # The fitted trees as an object also hold the number of cores and other things that decide nothing.
        nodes = [[tree.nodes for tree in iteration] for iteration in trees._predictors]
        fitted = self.forecaster
        numbers = (fitted.centre_, fitted.spread_, fitted.scale_, fitted.linear_.coef_, fitted.linear_.intercept_)
        settings = (self.circuit, self.sensor_id, repr(self.spec), sorted(self.plausible.items()), fitted.seed)
        content = (settings, numbers, trees._baseline_prediction, nodes, self.offsets)
        return str(joblib.hash(content))[:16]

    def predict(self, X: Array) -> Array:
        """Forecasts in the target's unit: X (origins, features) -> (origins, horizon)."""
        return self.forecaster.predict(np.asarray(X, dtype=np.float64))


def load_folder(folder: Path | str) -> CircuitForecaster:
    """The model in a downloaded MLflow model folder, or in the one folder below it, as AzureML mounts it.

    Raises WrongInput if there is none. The content is unpickled: only folders from the workspace's own registry.
    """
    root = Path(folder)
    descriptors = [path for path in (root / "MLmodel", *sorted(root.glob("*/MLmodel"))) if path.is_file()]
    if not descriptors:
        raise WrongInput(f"{root} holds no MLflow model (no MLmodel file); deploy a registered model version")
    flavors = yaml.safe_load(descriptors[0].read_text(encoding="utf-8"))["flavors"]
    model = pickle.loads((descriptors[0].parent / flavors["sklearn"]["pickled_model"]).read_bytes())
    if not isinstance(model, CircuitForecaster):
        raise WrongInput(f"{descriptors[0].parent} holds a {type(model).__name__}, not a circuit's forecaster")
    return model


class ModelReference(Protocol):
    """Anything that names a model version; every ScoringRequest does."""

    @property
    def circuit(self) -> str: ...
    @property
    def model_version(self) -> int: ...


@dataclass
class ModelCache:
    """The most recently used models of a warm process, by circuit and version."""

    load: Callable[[ModelReference], CircuitForecaster]
    size: int = 64

    def __post_init__(self) -> None:
        self._models: OrderedDict[tuple[str, int], CircuitForecaster] = OrderedDict()

    def __call__(self, reference: ModelReference) -> CircuitForecaster:
        key = (reference.circuit, reference.model_version)
        if key not in self._models:
            self._models[key] = self.load(reference)
            if len(self._models) > self.size:
                self._models.popitem(last=False)
        self._models.move_to_end(key)
        return self._models[key]
