"""The project that pipelines/devops.yml declares, made on a service that holds every request to its definition."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import set_up_devops
from scripts.set_up_devops import NotSetUp, Place, Setup, declared
from shared.errors import Permanent
from tests.azure_services.definitions import SPECS, devops
from tests.azure_services.devops_project import (
    EXCUSED,
    ORGANIZATION,
    PROJECT,
    DevopsProject,
    Directory,
    ProjectState,
    identity_of,
    unexcused,
)
from tests.azure_services.server import AzureServices, Fault

ROOT = Path(__file__).resolve().parents[2]
VALUES: Mapping[str, str] = {
    **json.loads((ROOT / "docs/examples/azure.settings.json").read_text())["Values"],
    **json.loads((ROOT / "docs/examples/devops.values.json").read_text()),
    "DEVOPS_HOOK_SECRET": "s" * 32,
    "HOOK_FUNCTION_KEY": "k" * 32,
}
DECLARED = yaml.safe_load((ROOT / "pipelines/devops.yml").read_text())

needs_definitions = pytest.mark.skipif(not SPECS.is_dir(), reason="REFERENCE_DIR holds no REST definitions")


@pytest.fixture
def state() -> ProjectState:
    return ProjectState()


@pytest.fixture
def azure(state: ProjectState) -> Iterator[AzureServices]:
    problems = devops().problems if SPECS.is_dir() else lambda call: None
    with AzureServices(DevopsProject(state, problems), Directory(state)) as services:
        yield services


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set_up_devops.SECRETS:
        monkeypatch.setenv(name, VALUES[name])


def setup(azure: AzureServices, dry_run: bool = False, wanted: Mapping[str, Any] | None = None) -> list[dict[str, str]]:
    """Run it; what it changed."""
    place = Place(f"{azure.url('devops')}/{ORGANIZATION}", PROJECT, f"{azure.url('vssps')}/{ORGANIZATION}")
    options = {"connection_verify": str(azure.authority)}
    made = Setup(place, azure.credential(), wanted or declared(VALUES), VALUES, dry_run, options)
    made.run()
    return made.changes


def writes(azure: AzureServices) -> int:
    return sum(logged.call.method != "GET" for logged in azure.requests("devops") + azure.requests("vssps"))


def test_a_project_is_made_once_and_nothing_is_done_twice(azure: AzureServices, state: ProjectState) -> None:
    changes = setup(azure)
    for kind, declared_as in (
        ("environment", "environments"),
        ("service connection", "service_connections"),
        ("variable group", "variable_groups"),
        ("pipeline", "pipelines"),
    ):
        made = [change["name"] for change in changes if change["action"] == "create" and change["kind"] == kind]
        assert made == [one["name"] for one in DECLARED[declared_as]], kind
    assert len(state.all("policy")) == len(DECLARED["branch_policies"])
    assert {hook["eventType"] for hook in state.all("hook")} == set(DECLARED["hooks"]["events"])
    before = writes(azure)
    assert setup(azure) == [] and writes(azure) == before


def test_each_gate_asks_the_groups_that_are_declared_for_a_day(azure: AzureServices, state: ProjectState) -> None:
    setup(azure)
    identities = {group["displayName"]: identity_of(group["descriptor"]) for group in state.all("group")}
    asked = {
        check["resource"]["name"]: [approver["id"] for approver in check["settings"]["approvers"]]
        for check in state.all("check")
    }
    assert asked == {
        one["name"]: [identities[group] for group in one["approval"]["groups"]]
        for one in DECLARED["environments"]
        if "approval" in one
    }
    assert {check["timeout"] for check in state.all("check")} == {1440} and "test-workspace" not in asked
    assert {check["settings"]["minRequiredApprovers"] for check in state.all("check")} == {1}


def test_what_was_changed_by_hand_is_put_right_and_what_people_added_stays(
    azure: AzureServices, state: ProjectState
) -> None:
    setup(azure)
    state.all("check")[0]["timeout"] = 5
    state.all("variablegroup")[0]["variables"] |= {"FLEET_URL": {"value": "http://elsewhere"}, "OURS": {"value": "1"}}
    state.all("policy")[0]["isEnabled"] = False
    state.permitted["environment/1"].clear()
    changes = {(change["action"], change["kind"]) for change in setup(azure)}
    assert changes == {
        ("update", "approval check"),
        ("update", "variable group"),
        ("update", "branch policy"),
        ("permit", "environment"),
    }
    variables = state.all("variablegroup")[0]["variables"]
    assert variables["FLEET_URL"]["value"] == VALUES["FLEET_URL"] and variables["OURS"] == {"value": "1"}
    assert setup(azure) == []


def test_a_dry_run_says_the_same_and_changes_nothing(azure: AzureServices, state: ProjectState) -> None:
    foreseen = setup(azure, dry_run=True)
    assert writes(azure) == 0 and not any(state.made.values())
    done = setup(azure)
    named = [[(one["action"], one["kind"], one["name"]) for one in changes] for changes in (foreseen, done)]
    assert named[0] == named[1]


def test_a_setup_that_was_interrupted_goes_on_when_it_is_run_again(azure: AzureServices, state: ProjectState) -> None:
    azure.faults.switch_on(Fault("refuse", path="variablegroups", method="POST", status=403))
    with pytest.raises(Permanent, match="403"):
        setup(azure)
    setup(azure)
    assert len(state.all("environment")) == len(DECLARED["environments"]) and setup(azure) == []


def test_a_service_connection_says_what_its_identity_has_to_trust(azure: AzureServices) -> None:
    (first, *_) = [change for change in setup(azure) if change["kind"] == "service connection"]
    assert first["issuer"].startswith("https://") and first["subject"].endswith(f"/{PROJECT}/fleet-build")


def test_no_secret_is_told(azure: AzureServices) -> None:
    told = json.dumps(setup(azure))
    assert VALUES["DEVOPS_HOOK_SECRET"] not in told and VALUES["HOOK_FUNCTION_KEY"] not in told


@needs_definitions
def test_what_definitions_do_not_know_of_the_requests_is_what_is_excused(azure: AzureServices) -> None:
    setup(azure)
    found = [problem for logged in azure.requests("devops") for problem in devops().problems(logged.call) or ()]
    assert unexcused(found) == []
    unused = [known for known, _ in EXCUSED if not any(re.search(known, problem) for problem in found)]
    assert unused == []


def test_values_that_are_missing_are_all_named_before_anything_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NotSetUp, match=r"BUILD_CLIENT_ID, DEPLOY_CLIENT_ID, .*REGISTRY"):
        declared({})
    values = tmp_path / "values.json"
    values.write_text("{}")
    given = ["--organization", "https://dev.azure.com/contoso", "--project", "fleet", "--values", str(values)]
    assert set_up_devops.main(given) == 1
    assert "AZURE_TENANT_ID and AZURE_SUBSCRIPTION_ID" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        set_up_devops.main([*given, "--organization", "http://elsewhere"])
