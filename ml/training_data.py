"""The training data of a circuit as an AzureML data asset: its sensor's rows of one Delta version, up to the cutoff.

The asset is a description, not a copy: an MLTable file that says which version of the table is read and which rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import yaml

from shared.configuration import CircuitConfig

SCHEMA = "https://azuremlschemas.azureedge.net/latest/MLTable.schema.json"


class DataAssetDiffers(ValueError):
    """The version is registered with other rows or columns; versions never change."""


@dataclass(frozen=True)
class TrainingData:
    """One version of a circuit's data asset: everything up to the end of the cutoff date (UTC)."""

    circuit: CircuitConfig
    table_uri: str
    table_id: str
    delta_version: int

    @property
    def name(self) -> str:
        return self.circuit.data_asset_name

    @property
    def version(self) -> str:
        return self.circuit.training.cutoff_date.isoformat()

    @property
    def columns(self) -> tuple[str, ...]:
        """`date` is not among them: AzureML's loader does not give back what the table is partitioned by."""
        return ("timestamp", "sensor_id", self.circuit.target_column, *self.circuit.feature_columns)

    @property
    def row_filter(self) -> str:
        after = self.circuit.training.cutoff_date + timedelta(days=1)
        moment = f"datetime({after.year}, {after.month}, {after.day})"
        return f'col("sensor_id") == "{self.circuit.sensor_id}" and col("timestamp") < {moment}'

    def mltable(self) -> dict[str, Any]:
        """The content of the MLTable file."""
        return {
            "$schema": SCHEMA,
            "type": "mltable",
            "paths": [{"folder": self.table_uri}],
            "transformations": [
                {"read_delta_lake": {"version_as_of": self.delta_version}},
                {"filter": self.row_filter},
                {"keep_columns": list(self.columns)},
            ],
        }

    def tags(self) -> dict[str, str]:
        """selection is equal exactly when the same rows and columns of the same table are meant."""
        selection = json.dumps([self.table_id, self.row_filter, self.columns])
        return {
            "plant_id": self.circuit.plant_id,
            "circuit_id": self.circuit.circuit_id,
            "sensor_id": self.circuit.sensor_id,
            "cutoff_date": self.version,
            "table_id": self.table_id,
            "delta_version": str(self.delta_version),
            "selection": hashlib.sha256(selection.encode()).hexdigest()[:12],
        }

    def write(self, folder: Path) -> Path:
        """Write `{folder}/{plant}_{circuit}/{version}/MLTable` and return its folder."""
        target = folder / self.circuit.key / self.version
        target.mkdir(parents=True, exist_ok=True)
        (target / "MLTable").write_text(yaml.safe_dump(self.mltable(), sort_keys=False), encoding="utf-8")
        return target


class DataAssets(Protocol):
    """A workspace's data assets."""

    def tags(self, name: str, version: str) -> Mapping[str, str] | None:
        """The tags of a version, or None if there is none."""

    def create(self, name: str, version: str, folder: Path, description: str, tags: Mapping[str, str]) -> None:
        """Register the MLTable in the folder."""


def check_or_create(assets: DataAssets, data: TrainingData, folder: Path) -> bool:
    """Register the version unless it is there; whether it was created. Raises DataAssetDiffers.

    A version that is there keeps the Delta version it was made with.
    """
    registered = assets.tags(data.name, data.version)
    if registered is None:
        description = f"Readings of {data.circuit.sensor_id} up to the end of {data.version} (UTC)."
        assets.create(data.name, data.version, data.write(folder), description, data.tags())
        return True
    if registered.get("selection") != data.tags()["selection"]:
        raise DataAssetDiffers(
            f"{data.name}:{data.version} is registered with other rows or columns (table {registered.get('table_id')},"
            f" sensor {registered.get('sensor_id')}); versions never change: move cutoff_date of {data.circuit.key}"
        )
    return False
