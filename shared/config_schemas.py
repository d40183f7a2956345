"""JSON Schemas of configuration and sources files, for editors: generated from the models that the product reads with.

A circuit's file leaves out what it inherits, so its schema asks for less than the model: a schema never complains of
a file that `load_fleet` takes. What only several files together can say is left to `load_fleet`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from etl.source_list import SourceList
from shared.configuration import CircuitConfig, EnvironmentSpec, MasterList, Policy

Schema = dict[str, Any]

OWN_KEYS: Mapping[str, tuple[str, ...]] = {
    "CircuitConfig": ("plant_id", "circuit_id", "training"),
    "Training": ("data_filters",),
    "DataFilters": ("sensor_id",),
}
"""What a circuit's own file has to say: the rest may come from the plant or the policy."""


def json_schemas() -> dict[str, Schema]:
    """Every schema by its file name in `config/schemas/`."""
    return {
        "circuit.schema.json": _published(_inheriting(OWN_KEYS), "One circuit: one sensor, one forecast model"),
        "policy.schema.json": _published(_with_defaults(Policy), "What holds for the whole fleet"),
        "plants_circuits.schema.json": _published(_with_defaults(MasterList), "Every plant and circuit of the fleet"),
        "environment.schema.json": _published(
            EnvironmentSpec.model_json_schema(), "One version of the environment that trains and scores"
        ),
        "sources.schema.json": _published(SourceList.model_json_schema(), "Where an ETL run reads from"),
    }


def stale_schemas(folder: Path) -> dict[str, str]:
    """The schema files in the folder that do not say what the models say, with what they should say."""
    texts = {name: json.dumps(schema, indent=2) + "\n" for name, schema in json_schemas().items()}
    return {
        name: text
        for name, text in texts.items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text
    }


def _published(schema: Schema, title: str) -> Schema:
    # Draft 7 is what the YAML language server understands; pydantic uses nothing newer but the name "$defs".
    return {"$schema": "http://json-schema.org/draft-07/schema#", **schema, "title": title}


def _inheriting(own: Mapping[str, tuple[str, ...]]) -> Schema:
    """A circuit's schema that asks for the given keys only, and shows no default that a lower layer overrides."""
    schema = CircuitConfig.model_json_schema()
    for name, part in {"CircuitConfig": schema, **schema["$defs"]}.items():
        part.pop("required", None)
        if name in own:
            part["required"] = list(own[name])
        for field in part.get("properties", {}).values():
            field.pop("default", None)
    return schema


def _with_defaults(model: type[BaseModel]) -> Schema:
    """A model's schema in which `defaults` is what a circuit may inherit, instead of any mapping."""
    inherited = _inheriting({})
    definitions = inherited.pop("$defs")
    for identity in ("plant_id", "circuit_id", "name"):
        del inherited["properties"][identity]
    schema = model.model_json_schema()
    schema.setdefault("$defs", {}).update(definitions)
    schema["$defs"]["CircuitDefaults"] = {**inherited, "title": "CircuitDefaults", "description": "For every circuit."}
    for part in (schema, *schema["$defs"].values()):
        if "defaults" in part.get("properties", {}):
            part["properties"]["defaults"] = {"$ref": "#/$defs/CircuitDefaults"}
    return schema
