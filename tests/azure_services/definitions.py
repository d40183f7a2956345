"""Requests held against Microsoft's own REST definitions (Swagger 2.0), where there is one for them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tests.azure_services.server import Call

ROOT = Path(__file__).resolve().parents[2]
SPECS = ROOT / os.environ.get("REFERENCE_DIR", "../shared") / "specs"
METHODS = ("get", "put", "post", "patch", "delete", "head")
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
}


@dataclass(frozen=True)
class Operation:
    """One operation of a definition: the file and version it is from, its name there, and its parameters.

    `asks` are the query parameters that tell it from another one at the same path.
    """

    file: Path
    version: str
    name: str
    method: str
    path: re.Pattern[str]
    parameters: tuple[Mapping[str, Any], ...]
    variables: int
    asks: frozenset[str] = frozenset()


class Definitions:
    """The operations of some definition files.

    check_version False: the definitions' version is not that of the requests (Azure DevOps writes 7.1 for 7.1-preview).
    """

    def __init__(self, files: Iterable[Path], *, check_version: bool = True) -> None:
        self._check_version = check_version
        self._operations = [operation for file in files for operation in _operations(file)]

    def operation(self, call: Call) -> Operation | None:
        """The operation that a request is of, in the version it asks for; None where there is no definition."""
        asked = call.query.get("api-version", "")
        found = [
            operation
            for operation in self._operations
            if operation.method == call.method.lower()
            and operation.path.fullmatch(call.path)
            and operation.asks <= call.query.keys()
            and (operation.version == asked or not self._check_version)
        ]
        # The path that names the most is the one that is meant.
        return min(found, key=lambda operation: (operation.variables, -len(operation.asks)), default=None)

    def problems(self, call: Call) -> list[str] | None:
        """What a request does that its definition does not allow; None where there is no definition."""
        operation = self.operation(call)
        if operation is None:
            return None
        return [f"{operation.name}: {problem}" for problem in _problems(operation, call)]


@cache
def azureml(specs: Path = SPECS) -> Definitions:
    """The definitions of AzureML's part of Azure Resource Manager."""
    folder = specs / "azure-rest" / "machinelearningservices" / "resource-manager"
    return Definitions(sorted(p for p in folder.rglob("*.json") if "examples" not in p.parts))


@cache
def devops(specs: Path = SPECS) -> Definitions:
    """The definitions of the parts of Azure DevOps that there are definitions of."""
    return Definitions(sorted((specs / "azure-devops-7.1").glob("*.json")), check_version=False)


def _operations(file: Path) -> Iterator[Operation]:
    document = _load(file)
    for path, item in {**document.get("paths", {}), **document.get("x-ms-paths", {})}.items():
        for method in METHODS:
            if method not in item:
                continue
            given = [*item.get("parameters", ()), *item[method].get("parameters", ())]
            yield Operation(
                file=file,
                version=document["info"]["version"],
                name=item[method].get("operationId", path),
                method=method,
                path=_pattern(path),
                parameters=tuple(_resolve(file, parameter)[1] for parameter in given),
                variables=path.partition("?")[0].count("{"),
                asks=frozenset(re.findall(r"\{([^}]+)\}", path.partition("?")[2])),
            )


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"(\{[^}]+\})", path.split("?")[0])
    text = "".join(f"(?P<{part[1:-1]}>[^/]+)" if part.startswith("{") else re.escape(part) for part in parts)
    return re.compile(text, re.IGNORECASE)


def _problems(operation: Operation, call: Call) -> Iterator[str]:
    match = operation.path.fullmatch(call.path)
    assert match
    values = {name: unquote(value) for name, value in match.groupdict().items()}
    known = {p["name"] for p in operation.parameters if p["in"] == "query"} | {"api-version"}
    yield from (f"query parameter {name} is unknown" for name in call.query if name not in known)
    for parameter in operation.parameters:
        place, name = parameter["in"], parameter["name"]
        if place == "body":
            if call.body is not None:
                yield from _against(operation.file, parameter["schema"], call.body, "body")
            elif parameter.get("required"):
                yield "the body is missing"
        elif place in ("path", "query"):
            value = (values if place == "path" else call.query).get(name)
            if value is not None:
                yield from _value(parameter, value, f"{place} parameter {name}")
            elif parameter.get("required"):
                yield f"{place} parameter {name} is missing"
    if call.body is not None and not any(p["in"] == "body" for p in operation.parameters):
        yield "a body was sent, and none is taken"


def _against(file: Path, schema: Mapping[str, Any], value: Any, at: str) -> Iterator[str]:
    """Problems of a value against a schema: types, enums, patterns, required, unknown and read-only properties."""
    file, schema = _resolve(file, schema)
    if value is None:
        if not schema.get("x-nullable"):
            yield f"{at} is null"
        return
    if not isinstance(value, dict):
        yield from _value(schema, value, at)
        if isinstance(value, list) and "items" in schema:
            for index, item in enumerate(value):
                yield from _against(file, schema["items"], item, f"{at}[{index}]")
        return
    if schema.get("type", "object") != "object":
        yield f"{at} is an object, not a {schema['type']}"
        return
    file, schema = _variant(file, schema, value)
    properties, required, others = _members(file, schema)
    yield from (f"{at}.{name} is missing" for name in sorted(required) if name not in value)
    for name, each in value.items():
        if name in properties:
            home, member = properties[name]
            if _resolve(home, member)[1].get("readOnly") or member.get("readOnly"):
                yield f"{at}.{name} is read-only"
            yield from _against(home, member, each, f"{at}.{name}")
        elif isinstance(others, Mapping):
            yield from _against(file, others, each, f"{at}.{name}")
        elif properties or others is False:
            yield f"{at}.{name} is unknown"


def _value(schema: Mapping[str, Any], value: Any, at: str) -> Iterator[str]:
    expected = _TYPES.get(schema.get("type", ""))
    if at.startswith(("path", "query")):
        expected = None  # everything is text there
    if expected and (not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool)):
        yield f"{at} is {value!r}, not of type {schema['type']}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at} is {value!r}, not one of {', '.join(map(str, schema['enum']))}"
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{at} is {value!r}, which does not match {schema['pattern']}"
    if isinstance(value, str) and not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 10**9):
        yield f"{at} is {value!r}, whose length is not allowed"


def _variant(file: Path, schema: Mapping[str, Any], value: Mapping[str, Any]) -> tuple[Path, Mapping[str, Any]]:
    """The schema that the value's discriminator names, where there is one."""
    named = value.get(schema.get("discriminator", ""))
    for name, other in _load(file).get("definitions", {}).items():
        if (
            named is not None
            and named == other.get("x-ms-discriminator-value", name)
            and _is_below(file, other, schema)
        ):
            return file, other
    return file, schema


def _is_below(file: Path, schema: Mapping[str, Any], base: Mapping[str, Any]) -> bool:
    parents = [_resolve(file, parent) for parent in schema.get("allOf", ())]
    return any(parent is base or _is_below(home, parent, base) for home, parent in parents)


Members = dict[str, tuple[Path, Mapping[str, Any]]]


def _members(file: Path, schema: Mapping[str, Any]) -> tuple[Members, set[str], Any]:
    """Own and inherited properties with the files they are defined in, the required ones, and what else is allowed."""
    properties: Members = {}
    required: set[str] = set()
    for parent in schema.get("allOf", ()):
        inherited, needed, _ = _members(*_resolve(file, parent))
        properties |= inherited
        required |= needed
    properties |= {name: (file, member) for name, member in schema.get("properties", {}).items()}
    return properties, required | set(schema.get("required", ())), schema.get("additionalProperties")


def _resolve(file: Path, schema: Mapping[str, Any]) -> tuple[Path, Mapping[str, Any]]:
    """The schema behind references, with the file it is in."""
    while "$ref" in schema:
        name, _, pointer = schema["$ref"].partition("#")
        file = (file.parent / name).resolve() if name else file
        schema = _load(file)
        for part in pointer.strip("/").split("/"):
            schema = schema[unquote(part)]
    return file, schema


@cache
def _load(file: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8-sig"))
    return document
