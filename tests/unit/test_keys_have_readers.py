"""A key of the configuration, of the policy or of the settings that nothing reads would promise what nobody does."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from shared.configuration import CircuitConfig, EnvironmentSpec, Policy
from shared.domain.retention import Kept
from shared.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
READERS = ("shared", "functions", "etl", "ml", "local", "cli")
DECLARED_IN = {"shared/configuration.py", "shared/settings.py", "shared/config_schemas.py"}


def read_attributes() -> set[str]:
    """Every attribute that the product's modules read, but those that declare and check keys."""
    found: set[str] = set()
    for folder in READERS:
        for file in sorted((ROOT / folder).rglob("*.py")):
            if file.relative_to(ROOT).as_posix() in DECLARED_IN:
                continue
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                    found.add(node.attr)
    return found


READ = read_attributes() | {f"{kept}_days" for kept in Kept}
"""How long is kept what a table of retention names, is asked for by that name (`RetentionRules`)."""
APPLIED_WHERE_DECLARED = {
    "training.data_filters.custom_sensor_id",  # lets another sensor id pass
    "defaults",  # merged below every circuit
    "change_summary",  # a tag that the environment is registered with
}
FOR_PEOPLE = {"features.unit"}
"""What its limits are in: whoever reviews them reads it."""


def keys(model: type[BaseModel], above: str = "") -> Iterator[str]:
    """The keys that a file may have, with those of the parts below."""
    for name, field in model.model_fields.items():
        yield f"{above}{name}"
        for part in _models(field.annotation):
            yield from keys(part, f"{above}{name}.")


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


@pytest.mark.parametrize("model", [CircuitConfig, Policy, EnvironmentSpec])
def test_every_key_of_a_file_is_read_by_the_product(model: type[BaseModel]) -> None:
    unread = {key for key in keys(model) if key.rpartition(".")[2] not in READ}
    assert unread - APPLIED_WHERE_DECLARED - FOR_PEOPLE == set()


def test_what_is_applied_where_it_is_declared_is_read_there() -> None:
    text = (ROOT / "shared/configuration.py").read_text(encoding="utf-8")
    names = [key.rpartition(".")[2] for key in APPLIED_WHERE_DECLARED]
    assert [name for name in names if f".{name}" not in text and f'("{name}",)' not in text] == []


def test_every_setting_is_read_by_the_product() -> None:
    assert [field.metadata["name"] for field in fields(Settings) if field.name not in READ] == []


def test_a_key_that_nobody_reads_is_noticed() -> None:
    class Deployment(BaseModel):
        instances_that_nobody_counts: int = 1

    class Circuit(BaseModel):
        deployment: Deployment | None = None

    assert [key for key in keys(Circuit) if key.rpartition(".")[2] not in READ] == [
        "deployment.instances_that_nobody_counts"
    ]
