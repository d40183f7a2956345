"""Configuration folders written by programs: a copy with changes, and one for readings nobody has configured yet."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from shared.configuration import FeatureColumn, Fleet, load_fleet
from shared.yaml_documents import merged


def copy_configuration(
    source: Path | str,
    target: Path | str,
    *,
    cutoff_date: date | None = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
) -> Fleet:
    """Copy a configuration folder, with every circuit's cutoff_date set and `overrides` laid over circuit files.

    overrides: circuit key -> nested keys of its file, e.g. {"P001_C002": {"training": {"forecast_horizon": 12}}}.
    An existing target is replaced. Returns the copy's fleet; raises ConfigurationError if the copy is not valid.
    """
    fleet = load_fleet(source)
    changes = dict(overrides or {})
    for key in changes:
        fleet.circuit(key)
    target = Path(target)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    for circuit in fleet:
        change = merged({}, changes.get(circuit.key, {}))
        if cutoff_date:
            change = merged({"training": {"cutoff_date": cutoff_date}}, change)
        if change:
            path = target / "plants" / circuit.plant_id / f"{circuit.circuit_id}.yml"
            _write(path, merged(yaml.safe_load(path.read_text(encoding="utf-8")), change))
    return load_fleet(target)


@dataclass(frozen=True)
class NewCircuit:
    """A circuit to be configured: its columns are those of the table."""

    plant_id: str
    circuit_id: str
    name: str
    target_column: str
    feature_columns: tuple[str, ...]
    cutoff_date: date


def write_configuration(
    target: Path | str, like: Fleet, features: Mapping[str, FeatureColumn], circuits: Sequence[NewCircuit]
) -> Fleet:
    """Write a configuration folder for these circuits, with its own feature columns.

    like: whose rules and environments it takes over. An existing target is replaced. Returns its fleet.
    """
    target = Path(target)
    shutil.rmtree(target, ignore_errors=True)
    rules = like.policy.model_dump(mode="json", exclude_none=True)
    rules["features"] = {name: feature.model_dump(mode="json") for name, feature in features.items()}
    _write(target / "policy.yml", rules)
    for version, environment in like.environments.items():
        _write(target / "environments" / f"{version}.yml", environment.model_dump(mode="json"))
    plants: dict[str, dict[str, Any]] = {}
    for circuit in circuits:
        plant = plants.setdefault(circuit.plant_id, {"name": f"Plant {circuit.plant_id}", "circuits": {}})
        plant["circuits"][circuit.circuit_id] = {"name": circuit.name}
        content = {
            "plant_id": circuit.plant_id,
            "circuit_id": circuit.circuit_id,
            "training": {
                "cutoff_date": circuit.cutoff_date,
                "target_column": circuit.target_column,
                "data_filters": {
                    "sensor_id": f"SENSOR_{circuit.plant_id}_{circuit.circuit_id}",
                    "feature_columns": list(circuit.feature_columns),
                },
            },
        }
        _write(target / "plants" / circuit.plant_id / f"{circuit.circuit_id}.yml", content)
    _write(target / "plants_circuits.yml", {"plants": plants})
    return load_fleet(target)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True), encoding="utf-8")
