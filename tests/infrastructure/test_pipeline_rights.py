"""The identities of the pipelines: what their scripts ask of Azure, and what infra/rbac.yml lets them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.settings import Settings
from tests.azure_services.rights import MATRIX, permits
from tests.infrastructure.estates import ENVIRONMENTS, ROOT, estate
from tests.pipelines import FILES, jobs, script, steps
from tests.unit.test_pipelines import PROJECT, pipeline

OF_AZURE = re.compile(
    r"DefaultAzureCredential|\bwire\(|platform_alone|credentials\.tables|MLClient|DeltaTable|^\s*(?:run )?az ",
    re.MULTILINE,
)
ROLE_TYPES = {"Microsoft.Authorization/roleAssignments", "Microsoft.Authorization/roleDefinitions"}


def connection_of(principal: str) -> str:
    return f"fleet-{principal}"


PRINCIPALS = {
    connection_of(name): name
    for name in MATRIX["principals"]
    if connection_of(name) in {one["name"] for one in PROJECT["service_connections"]}
}


def runs() -> Iterator[tuple[str, str]]:
    """Every script that a pipeline runs with a service connection, and the identity behind that."""
    for file in FILES:
        for _, job in jobs(pipeline(file)):
            for step in steps(job):
                connection = (step.get("inputs") or {}).get("azureSubscription")
                if connection:
                    path = shlex.split(script(step))[0]
                    past = path.endswith(".sh") and "--break-glass" in script(step)
                    yield PRINCIPALS[connection], "scripts/break_glass.py" if past else path


RUNS = sorted(set(runs()))


@cache
def asked(path: str) -> tuple[tuple[str, str], ...]:
    """(scope, action) of every call that a script makes of Azure."""
    called = {
        (one["scope"], action) for one in MATRIX["calls"].get(path, ()) for action in one["sent"] + one["believed"]
    }
    if path == "scripts/deploy.sh":
        made = {one.type for name in ENVIRONMENTS for one in estate(name).resources if not one.existing}
        assert made >= ROLE_TYPES
        called |= {("subscription", f"{kind}/write") for kind in made}
    return tuple(sorted(called))


def given(principal: str) -> list[dict[str, Any]]:
    return [one for one in MATRIX["assignments"] if one["principal"] == principal]


@pytest.mark.parametrize(("principal", "path"), RUNS)
def test_what_a_script_asks_of_azure_is_what_its_identity_may(principal: str, path: str) -> None:
    refused = [
        (scope, action)
        for scope, action in asked(path)
        if not any(one["scope"] == scope and permits(one["role"], action) for one in given(principal))
    ]
    assert refused == []


@pytest.mark.parametrize("principal", sorted(PRINCIPALS.values()))
def test_no_identity_of_a_pipeline_has_a_role_that_none_of_its_scripts_needs(principal: str) -> None:
    needed = [call for who, path in RUNS if who == principal for call in asked(path)]
    idle = [
        (one["role"], one["scope"])
        for one in given(principal)
        if not any(one["scope"] == scope and permits(one["role"], action) for scope, action in needed)
    ]
    sees = [("Reader", "function app")]  # which Azure CLI's sign-in needs, and no script
    assert idle == (sees if principal == "operate" else [])


def test_a_script_whose_calls_of_azure_are_not_listed_makes_none() -> None:
    listed = set(MATRIX["calls"])
    for _, path in RUNS:
        text = (ROOT / path).read_text()
        assert path in listed or not OF_AZURE.search(text), path
    assert listed == {path for _, path in RUNS} & listed, "no pipeline runs it"


def test_every_service_connection_is_an_identity_that_the_infrastructure_makes() -> None:
    connections = {one["name"]: one["client_id"].strip("{}") for one in PROJECT["service_connections"]}
    assert set(connections) == set(PRINCIPALS)
    each = estate("prod")
    made = {one.name: one for one in each.of_type("Microsoft.ManagedIdentity/userAssignedIdentities")}
    for connection, value in connections.items():
        identity = made[f"{each.parameters['name']}-prod-{MATRIX['principals'][PRINCIPALS[connection]]['identity']}"]
        assert each.main.outputs["pipelines"][value] == identity.get("properties").get("clientId"), value


def test_who_may_act_past_the_app_runs_nothing_else() -> None:
    assert {path for principal, path in RUNS if principal == "break-glass"} == {"scripts/break_glass.py"}
    assert [one["principal"] for one in MATRIX["assignments"] if one["role"] == "fleet deployer"].count(
        "break-glass"
    ) == 2


def test_scripts_that_read_the_apps_settings_find_them_in_their_run() -> None:
    """On an agent a variable's name reaches a script in upper case, unless the step gives it by name."""
    (group,) = PROJECT["variable_groups"]
    sample = yaml.safe_load((ROOT / "docs/examples/azure.settings.json").read_text())["Values"]
    read = 0
    for file in FILES:
        for _, job in jobs(pipeline(file)):
            for step in steps(job):
                if not re.search("train_circuits.py|state_backup.py|--break-glass", script(step)):
                    continue
                there = {name.upper().replace(".", "_") for name in group["variables"]} | set(step.get("env") or {})
                Settings.read({name: value for name, value in sample.items() if name in there})
                read += 1
    assert read == 5


def test_the_identities_are_those_of_the_matrix() -> None:
    for name in ENVIRONMENTS:
        prefix = f"{estate(name).parameters['name']}-{name}-"
        made = {one.name for one in estate(name).of_type("Microsoft.ManagedIdentity/userAssignedIdentities")}
        assert made == {prefix + one["identity"] for one in MATRIX["principals"].values() if "identity" in one}


def test_paths_of_the_matrix_are_files() -> None:
    assert [path for path in MATRIX["calls"] if not Path(ROOT, path).is_file()] == []
