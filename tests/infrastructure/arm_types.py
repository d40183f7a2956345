"""Resources held against Microsoft's Bicep types: properties, required ones, enumerations, lengths and patterns."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.infrastructure.bicep import Resource

ROOT = Path(__file__).resolve().parents[2]
TYPES = ROOT / os.environ.get("REFERENCE_DIR", "../shared") / "specs" / "bicep-types"
REQUIRED, READ_ONLY = 1, 2
RUN_TIME = re.compile(r"<[A-Za-z.]+ of /[^>]+>")
SAID_ELSEWHERE = {"apiVersion", "type", "id"}
"""Of a resource's body what Bicep itself says."""

Type = Mapping[str, Any]


def problems(resource: Resource) -> list[str] | None:
    """What Azure's own definition of the type does not allow; None where there is no definition of it."""
    found = _definition(f"{resource.type}@{resource.version}".lower())
    if found is None:
        return None
    if resource.existing:
        return []
    types, index = found
    body = {**resource.body, "name": resource.name.rpartition("/")[2]}
    return [f"{resource.place} {resource.type}: {problem}" for problem in _against(types, types[index], body, "")]


@cache
def _index() -> Mapping[str, str]:
    return {name.lower(): file for name, file in json.loads((TYPES / "index.json").read_text()).items()}


@cache
def _file(name: str) -> Sequence[Type]:
    types: Sequence[Type] = json.loads((TYPES / name).read_text())
    return types


@cache
def _definition(name: str) -> tuple[Sequence[Type], int] | None:
    if name not in _index():
        return None
    types = _file(_index()[name])
    resource = next(each for each in types if each["$type"] == "ResourceType" and each["name"].lower() == name)
    return types, _number(resource["body"])


def _number(reference: Type) -> int:
    return int(reference["$ref"].rpartition("/")[2])


def _against(types: Sequence[Type], type_: Type, value: Any, at: str) -> Iterator[str]:
    if value is None or (isinstance(value, str) and RUN_TIME.search(value)):
        return
    kind = type_["$type"]
    if kind in ("ObjectType", "DiscriminatedObjectType"):
        if isinstance(value, dict):
            yield from _object(types, type_, value, at)
        else:
            yield f"{at} is {value!r:.60}, not an object"
    elif kind == "ArrayType":
        if not isinstance(value, list):
            yield f"{at} is {value!r:.60}, not an array"
            return
        for number, item in enumerate(value):
            yield from _against(types, types[_number(type_["itemType"])], item, f"{at}[{number}]")
    elif kind == "UnionType":
        literals = [types[_number(each)].get("value") for each in type_["elements"]]
        if value not in literals:
            yield f"{at} is {value!r}, not one of {', '.join(str(each) for each in literals if each is not None)}"
    elif kind != "AnyType":
        yield from _simple(type_, value, at)


def _simple(type_: Type, value: Any, at: str) -> Iterator[str]:
    kind = type_["$type"]
    wanted: type = {"StringType": str, "StringLiteralType": str, "IntegerType": int, "BooleanType": bool}[kind]
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        yield f"{at} is {value!r:.60}, not of type {kind}"
    elif kind == "StringLiteralType" and value != type_["value"]:
        yield f"{at} is {value!r}, not {type_['value']}"
    elif isinstance(value, str) and kind == "StringType":
        if not type_.get("minLength", 0) <= len(value) <= type_.get("maxLength", 10**9):
            yield f"{at} is {value!r:.60}, whose length is not allowed"
        if "pattern" in type_ and not re.search(type_["pattern"], value):
            yield f"{at} is {value!r:.60}, which does not match {type_['pattern']}"
    elif kind == "IntegerType" and not type_.get("minValue", -(10**18)) <= value <= type_.get("maxValue", 10**18):
        yield f"{at} is {value}, out of range"


def _object(types: Sequence[Type], type_: Type, value: Mapping[str, Any], at: str) -> Iterator[str]:
    properties: dict[str, Type] = dict(type_.get("properties") or type_.get("baseProperties") or {})
    if type_["$type"] == "DiscriminatedObjectType":
        by = type_["discriminator"]
        if value.get(by) not in type_["elements"]:
            yield f"{at}.{by} is {value.get(by)!r}, not one of {', '.join(type_['elements'])}"
            return
        properties |= types[_number(type_["elements"][value[by]])]["properties"]
    others = type_.get("additionalProperties")
    for name, each in value.items():
        inner = f"{at}.{name}".lstrip(".")
        if name in properties:
            if properties[name]["flags"] & READ_ONLY:
                yield f"{inner} is read-only"
            yield from _against(types, types[_number(properties[name]["type"])], each, inner)
        elif others:
            yield from _against(types, types[_number(others)], each, inner)
        else:
            yield f"{inner} is unknown"
    for name, property_ in properties.items():
        required = property_["flags"] & REQUIRED and not (at == "" and name in SAID_ELSEWHERE)
        if required and value.get(name) is None:
            yield f"{at}.{name} is missing".lstrip(".")
