"""A lake of simulated readings that training and scoring are tried on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mlflow import MlflowClient

from ml.requests import TrainingResult
from shared.configuration import CircuitConfig, Fleet

ORIGIN = datetime(2025, 12, 10, tzinfo=UTC)


@dataclass(frozen=True)
class Lake:
    """Half a year of simulated readings of twelve circuits, up to an hour after ORIGIN."""

    folder: Path
    fleet: Fleet
    table_uri: str
    table_id: str
    delta_version: int

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        return {name: (feature.minimum, feature.maximum) for name, feature in self.fleet.policy.features.items()}

    def circuit(self, key: str, **hyperparameters: float) -> CircuitConfig:
        circuit = self.fleet.circuit(key)
        changed = circuit.training.hyperparameters.model_copy(update=hyperparameters)
        return circuit.model_copy(update={"training": circuit.training.model_copy(update={"hyperparameters": changed})})

    @property
    def store(self) -> MlflowClient:
        return MlflowClient(f"sqlite:///{self.folder}/dev.db")

    def model_folder(self, result: TrainingResult) -> Path:
        """Where the store keeps a registered model."""
        return Path(str(self.store.get_model_version(result.model_name, str(result.model_version)).source))
