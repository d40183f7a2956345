"""Requests held against REST definitions: a small definition of our own shows what is seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.azure_services.definitions import Definitions
from tests.azure_services.server import Call

SHARED = {
    "parameters": {"Shop": {"name": "shop", "in": "path", "required": True, "type": "string", "pattern": "^[a-z]+$"}},
    "definitions": {"Tracked": {"required": ["location"], "properties": {"location": {"type": "string"}}}},
}
SHOPS = {
    "swagger": "2.0",
    "info": {"version": "2024-04-01"},
    "paths": {
        "/shops/{shop}/fruits/{fruit}": {
            "put": {
                "operationId": "Fruits_Put",
                "parameters": [
                    {"$ref": "common/types.json#/parameters/Shop"},
                    {"name": "fruit", "in": "path", "required": True, "type": "string"},
                    {"name": "weight", "in": "query", "required": True, "type": "string", "enum": ["g", "kg"]},
                    {"name": "body", "in": "body", "required": True, "schema": {"$ref": "#/definitions/Fruit"}},
                ],
            }
        },
        "/shops/{shop}/fruits/newest": {"put": {"operationId": "Fruits_Newest", "parameters": []}},
    },
    "definitions": {
        "Fruit": {
            "allOf": [{"$ref": "common/types.json#/definitions/Tracked"}],
            "required": ["kind"],
            "discriminator": "kind",
            "properties": {
                "kind": {"type": "string"},
                "ripe": {"type": "boolean"},
                "state": {"type": "string", "readOnly": True},
                "note": {"type": "string", "x-nullable": True},
                "tags": {"type": "object", "additionalProperties": {"type": "string"}},
                "stones": {"type": "array", "items": {"type": "integer"}},
            },
        },
        "Apple": {
            "allOf": [{"$ref": "#/definitions/Fruit"}],
            "x-ms-discriminator-value": "apple",
            "required": ["colour"],
            "properties": {"colour": {"type": "string", "enum": ["red", "green"]}},
        },
    },
}
GOOD = {"kind": "apple", "colour": "red", "location": "west", "ripe": True, "note": None, "tags": {"a": "b"}}


@pytest.fixture
def definitions(tmp_path: Path) -> Definitions:
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "types.json").write_text(json.dumps(SHARED))
    (tmp_path / "shops.json").write_text(json.dumps(SHOPS))
    return Definitions([tmp_path / "shops.json"])


def _put(body: Any = GOOD, path: str = "/Shops/mine/fruits/one", **query: str) -> Call:
    given = {"api-version": "2024-04-01", "weight": "g", **query}
    return Call("shops", "PUT", path, {}, given, {}, body)


def test_a_request_as_defined_has_no_problems_whatever_the_case_of_its_path(definitions: Definitions) -> None:
    assert definitions.problems(_put()) == []


def test_a_request_without_a_definition_is_none(definitions: Definitions) -> None:
    assert definitions.problems(_put(path="/shops/mine/vegetables/one")) is None


def test_the_path_that_names_the_most_is_the_one_that_is_meant(definitions: Definitions) -> None:
    operation = definitions.operation(_put(path="/shops/mine/fruits/newest"))
    assert operation and operation.name == "Fruits_Newest"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"location": None}, "body.location is null"),
        ({"kind": ...}, "body.kind is missing"),
        ({"location": ...}, "body.location is missing"),
        ({"colour": ...}, "body.colour is missing"),
        ({"colour": "blue"}, "body.colour is 'blue', not one of red, green"),
        ({"ripe": "yes"}, "body.ripe is 'yes', not of type boolean"),
        ({"ripe": 1}, "body.ripe is 1, not of type boolean"),
        ({"stones": [1, "2"]}, "body.stones[1] is '2', not of type integer"),
        ({"stones": [True]}, "body.stones[0] is True, not of type integer"),
        ({"state": "fresh"}, "body.state is read-only"),
        ({"price": 1}, "body.price is unknown"),
        ({"tags": {"a": 1}}, "body.tags.a is 1, not of type string"),
        ({"tags": []}, "body.tags is [], not of type object"),
        ({"note": {}}, "body.note is an object, not a string"),
    ],
)
def test_what_a_body_does_that_is_not_defined_is_named(
    definitions: Definitions, change: dict[str, Any], problem: str
) -> None:
    body = {name: value for name, value in {**GOOD, **change}.items() if value is not ...}
    assert f"Fruits_Put: {problem}" in (definitions.problems(_put(body)) or [])


def test_a_missing_body_and_parameters_that_are_not_defined_are_named(definitions: Definitions) -> None:
    assert definitions.problems(_put(None)) == ["Fruits_Put: the body is missing"]
    assert definitions.problems(_put(weight="t")) == ["Fruits_Put: query parameter weight is 't', not one of g, kg"]
    assert definitions.problems(_put(colour="red")) == ["Fruits_Put: query parameter colour is unknown"]
    (problem,) = definitions.problems(_put(path="/shops/M1/fruits/one")) or []
    assert "path parameter shop is 'M1'" in problem


def test_another_api_version_has_no_definition(definitions: Definitions) -> None:
    assert definitions.problems(_put(**{"api-version": "2020-01-01"})) is None
