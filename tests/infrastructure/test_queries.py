"""Queries of alert rules and workbooks: Microsoft's Kusto language service reads them, and what they name there is."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

import shared.application  # noqa: F401  with every message and phase
from shared.domain.messages import Event
from shared.telemetry import COMMAND_SECONDS, COMMANDS, TRANSITIONS
from tests.infrastructure.estates import ROOT

RULES = {rule["name"]: rule for rule in yaml.safe_load((ROOT / "monitoring" / "alerts.yml").read_text())["rules"]}
WORKBOOKS = ("operations", "cost")
SCHEMA = {
    "AppMetrics": "(TimeGenerated: datetime, Name: string, Sum: real, Min: real, Max: real, ItemCount: int,"
    " Properties: dynamic, AppRoleName: string)",
    "AppTraces": "(TimeGenerated: datetime, Message: string, SeverityLevel: int, ItemCount: int, Properties: dynamic,"
    " AppRoleName: string)",
    "Usage": "(TimeGenerated: datetime, DataType: string, Quantity: real, QuantityUnit: string, IsBillable: bool)",
}
"""Columns of Azure Monitor's tables, those that queries here use, by its reference of tables."""


def items(workbook: str) -> list[dict[str, Any]]:
    content = json.loads((ROOT / "monitoring" / "workbooks" / f"{workbook}.json").read_text())
    assert content["version"] == "Notebook/1.0"
    return list(content["items"])


def queries() -> Iterator[tuple[str, str]]:
    """Every query of an alert rule or a workbook's logs, by a name; a workbook's parameters stand as 1."""
    yield from (("alert " + name, rule["query"]) for name, rule in RULES.items())
    for workbook in WORKBOOKS:
        for item in items(workbook):
            if item["type"] == 3 and item["content"]["queryType"] == 0:
                yield f"{workbook}: {item['name']}", re.sub(r"\{\w+\}", "1", item["content"]["query"])


def read(asked: dict[str, str]) -> dict[str, dict[str, list[str]]]:
    """What the language service says of each query: its problems, and the columns of its result."""
    command = ["node", str(Path(__file__).with_name("kusto.js"))]
    given = json.dumps({"schema": SCHEMA, "queries": asked})
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True, cwd=ROOT)
    found: dict[str, dict[str, list[str]]] = json.loads(done.stdout)
    return found


@cache
def answers() -> dict[str, dict[str, list[str]]]:
    return read({**dict(queries()), "wrong": "AppMetrics | where Nmae == 'x' | summarize a = sum(Sum)"})


def test_the_language_service_finds_what_is_wrong() -> None:
    assert "Nmae" in answers()["wrong"]["problems"][0]


def test_no_query_has_a_problem() -> None:
    problems = {name: found["problems"] for name, found in answers().items() if found["problems"] and name != "wrong"}
    assert problems == {}
    assert len(answers()) > len(RULES) + 10


@pytest.mark.parametrize("name", RULES)
def test_a_rule_measures_and_splits_by_columns_of_its_query(name: str) -> None:
    rule = RULES[name]
    assert {rule["measure"], *rule["by"]} <= set(answers()[f"alert {name}"]["columns"])


def test_queries_name_measures_events_and_phases_that_there_are() -> None:
    events = {kind.__name__ for kind in _below(Event)}
    words = [kind for kind in _below(StrEnum) if kind.__module__.startswith("shared.domain")]
    phases = {word.value for kind in words for word in kind.__members__.values()}
    for name, query in queries():
        assert set(_quoted("Name", query)) <= {TRANSITIONS, COMMANDS, COMMAND_SECONDS}, name
        assert set(_quoted("event", query)) <= events, name
        assert set(_quoted("phase", query)) <= phases, name


def _quoted(column: str, query: str) -> Iterator[str]:
    """The texts that a column is compared with."""
    yield from re.findall(rf"\b{column} [!=]= '([^']+)'", query)
    for listed in re.findall(rf"\b{column} in \(([^)]+)\)", query):
        yield from re.findall(r"'([^']+)'", listed)


def _below(kind: Any) -> set[Any]:
    """A class and all that inherit from it."""
    return {kind}.union(*(_below(one) for one in kind.__subclasses__()))


@pytest.mark.parametrize("workbook", WORKBOOKS)
def test_a_workbook_has_parameters_for_what_its_queries_ask_and_no_item_twice(workbook: str) -> None:
    names = [item["name"] for item in items(workbook)]
    assert len(set(names)) == len(names)
    parameters = {
        parameter["name"]
        for item in items(workbook)
        if item["type"] == 9
        for parameter in item["content"]["parameters"]
    }
    for item in items(workbook):
        if item["type"] == 3:
            assert set(re.findall(r"\{(\w+)\}", item["content"]["query"])) <= parameters, item["name"]
            assert item["content"].get("timeContextFromParameter", "Time") in parameters


def test_costs_are_asked_of_cost_management_for_what_the_estate_is_tagged_with() -> None:
    asked = [json.loads(item["content"]["query"]) for item in items("cost") if item["content"].get("queryType") == 12]
    assert asked
    for one in asked:
        assert one["path"].endswith("/providers/Microsoft.CostManagement/query")
        tags = json.loads(one["data"])["dataset"]["filter"]["tags"]
        main = (ROOT / "infra" / "main.bicep").read_text()
        assert f"{tags['name']}: '{tags['values'][0]}'" in main
