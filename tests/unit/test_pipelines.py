"""Pipelines: what the service would refuse, and what it would only notice in the middle of a run."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator  # type: ignore[import-untyped]

from shared.adapters.azure.approvals import ENVIRONMENTS, GatePipeline
from shared.configuration import load_fleet
from tests.azure_services.definitions import SPECS
from tests.commands import make_targets, problems
from tests.pipelines import FILES, ROOT, TEMPLATES, NotExpanded, expanded, jobs, load, name_of, script, steps

SCHEMA = SPECS / "azure-pipelines-service-schema.json"
PROJECT = yaml.safe_load((ROOT / "pipelines/devops.yml").read_text())
GIVEN: Mapping[str, Mapping[str, Any]] = {
    "approval_gate.yml": {
        "approval": "P001_C001.3.production.2",
        "release": "P001_C001:3",
        "gate": "production",
        "evidence": "https://fleet.blob.core.windows.net/evidence/1.json",
        "digest": "5f" * 32,
        "nonce": "n",
        "environments": "azureml-registry,production-workspace,production-workspace-ML-Engineers,"
        "production-workspace-Engineering-Managers",
    },
    "environment_release.yml": {"version": "1.1.0"},
    "environment_compatibility_test.yml": {"version": "1.1.0"},
    "environment_rollback.yml": {"version": "1.1.0", "reason": "forecasts drift off"},
    "break_glass.yml": {
        "circuit": "P001_C001",
        "model": "3",
        "environmentVersion": "1.0.0",
        "reason": "the app is away",
    },
}
"""What a person, or the app, gives a pipeline that asks for something."""
TASKS = {"AzureCLI@2", "Cache@2", "Delay@1", "DownloadPipelineArtifact@2", "NodeTool@0", "UsePythonVersion@0"}
PREDEFINED = re.compile(r"(Build|System|Pipeline|Agent)\.\w+(\.\w+)?|Date:\w+|Rev:\.\w+")
OWN_SCHEDULE = {"state_backup"}
"""Pipelines that are run by their own schedule, and by no timer of the app."""
OF_THE_SHELL = {"PWD", "PATH"}
EVERY_FILE = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


@cache
def pipeline(file: Path) -> dict[str, Any]:
    return expanded(file, GIVEN.get(file.name, {}))


def all_scripts() -> Iterator[tuple[Path, Mapping[str, Any], str]]:
    for file in FILES:
        for _, job in jobs(pipeline(file)):
            yield from ((file, job, text) for step in steps(job) if (text := script(step)))


# ----------------------------------------------------------------------------------------------- what would be refused


@EVERY_FILE
@pytest.mark.skipif(not SCHEMA.is_file(), reason="REFERENCE_DIR holds no schema of pipelines")
def test_the_expanded_pipeline_is_one_by_the_published_schema(file: Path) -> None:
    schema = Draft7Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    found = pipeline(file)
    assert [f"{'/'.join(map(str, e.absolute_path))}: {e.message:.200}" for e in schema.iter_errors(found)] == []
    assert not schema.is_valid({**found, "stages": [{**found["stages"][0], "dependOn": []}]})


@EVERY_FILE
def test_the_stages_of_a_pipeline_stand_in_an_order_that_exists(file: Path) -> None:
    stages = pipeline(file)["stages"]
    names = [stage["stage"] for stage in stages]
    assert len(set(names)) == len(names) and all(re.fullmatch(r"[A-Za-z_]\w*", name) for name in names)
    for stage in stages:
        assert set(_listed(stage.get("dependsOn"))) <= set(names[: names.index(stage["stage"])]), stage["stage"]
        own = [name_of(job) for job in stage["jobs"]]
        assert len(set(own)) == len(own)
        for job in stage["jobs"]:
            assert set(_listed(job.get("dependsOn"))) <= set(own), name_of(job)


def _listed(names: Any) -> list[str]:
    return [names] if isinstance(names, str) else list(names or ())


def test_a_template_that_is_used_wrongly_is_refused_here_as_by_the_service() -> None:
    with pytest.raises(NotExpanded, match="needs version"):
        expanded(next(file for file in FILES if file.name == "environment_release.yml"), {})
    with pytest.raises(NotExpanded, match="takes no parameter colour"):
        expanded(FILES[0], {"colour": "red"})


def test_every_template_is_used() -> None:
    named = {
        Path(name).name for file in (*FILES, *TEMPLATES) for name in re.findall(r"template: (\S+)", file.read_text())
    }
    assert named == {file.name for file in TEMPLATES}


# -------------------------------------------------------------------------------------- what would be noticed too late


@EVERY_FILE
def test_what_a_stage_reads_of_another_is_set_there_by_a_script_before_it(file: Path) -> None:
    stages = {stage["stage"]: stage for stage in pipeline(file)["stages"]}
    for stage in stages.values():
        text = json.dumps(stage)
        outputs = [
            *re.findall(r"stageDependencies\.(\w+)\.(\w+)\.outputs\['(\w+)\.(\w+)'\]", text),
            *re.findall(r"[^e]dependencies\.(\w+)\.outputs\['(\w+)\.(\w+)\.(\w+)'\]", text),
        ]
        for before, job_name, step_name, variable in outputs:
            assert before in _listed(stage["dependsOn"]), f"{stage['stage']} reads {before} without depending on it"
            (job,) = [job for job in stages[before]["jobs"] if name_of(job) == job_name]
            (step,) = [step for step in steps(job) if step.get("name") == step_name]
            assert variable in _output_variables(script(step)), variable
        for before in re.findall(r"[^e]dependencies\.(\w+)\.result", text):
            assert before in _listed(stage["dependsOn"])


def _output_variables(command: str) -> set[str]:
    source = (ROOT / shlex.split(command)[0]).read_text()
    return set(re.findall(r'output_variable\("(\w+)"', source))


def test_the_build_has_its_five_stages_and_never_more_than_five_jobs_at_once() -> None:
    build = pipeline(ROOT / "pipelines/build.yml")
    assert [s["stage"] for s in build["stages"]] == [
        "DetectChanges",
        "PrepareData",
        "Build",
        "Train",
        "PublishArtifact",
    ]
    limit = load_fleet(ROOT / "config").policy.max_parallel_training
    many = [job["strategy"] for _, job in jobs(build) if "strategy" in job]
    assert len(many) == 2 and {strategy["maxParallel"] for strategy in many} == {str(limit)}


@EVERY_FILE
def test_every_task_and_every_name_of_the_project_is_one_that_the_setup_makes(file: Path) -> None:
    found = pipeline(file)
    tasks = {step["task"] for _, job in jobs(found) for step in steps(job) if "task" in step}
    assert tasks <= TASKS
    made = {environment["name"] for environment in PROJECT["environments"]}
    assert {job["environment"] for _, job in jobs(found) if "environment" in job} <= made
    groups = {group["name"] for group in PROJECT["variable_groups"]}
    assert {one["group"] for one in found.get("variables", ()) if "group" in one} <= groups
    connections = {connection["name"] for connection in PROJECT["service_connections"]}
    assert _connections(found) <= connections


def test_a_pipeline_may_use_what_its_file_names_and_nothing_else() -> None:
    named = {one["name"]: pipeline(ROOT / one["file"]) for one in PROJECT["pipelines"]}
    for kind, uses in (
        ("environments", lambda found: {job.get("environment") for _, job in jobs(found)}),
        ("variable_groups", lambda found: {one.get("group") for one in found.get("variables", ())}),
        ("service_connections", _connections),
    ):
        for resource in PROJECT[kind]:
            users = {name for name, found in named.items() if resource["name"] in uses(found)}
            assert set(resource["used_by"]) == users, resource["name"]


def _connections(found: Mapping[str, Any]) -> set[str]:
    inputs = (step.get("inputs") or {} for _, job in jobs(found) for step in steps(job))
    return {each["azureSubscription"] for each in inputs if "azureSubscription" in each}


def test_the_setup_makes_a_pipeline_of_every_file_and_an_environment_for_every_gate() -> None:
    assert {ROOT / one["file"] for one in PROJECT["pipelines"]} == set(FILES)
    policy = load_fleet(ROOT / "config").policy.approval_groups
    gates = GatePipeline("", "", 1, "", dict(ENVIRONMENTS))
    asked = {
        environment
        for gate, approvals in (
            ("registry", policy.registry),
            ("production", policy.production),
            ("production", policy.environment_production),
        )
        for environment in gates.asking(gate, approvals)
    }
    checks = {one["name"]: one.get("approval", {}).get("groups", []) for one in PROJECT["environments"]}
    assert asked <= set(checks) and all(checks[environment] for environment in asked)
    assert checks["test-workspace"] == []
    assert {group for groups in checks.values() for group in groups} == set(PROJECT["groups"])


@EVERY_FILE
def test_every_variable_that_a_script_reads_is_one_that_the_run_has(file: Path) -> None:
    found = pipeline(file)
    of_group = {name for group in PROJECT["variable_groups"] for name in group["variables"]}
    of_run = {one["name"] for one in found.get("variables", ()) if "name" in one}
    for stage, job in jobs(found):
        own = set(job.get("variables", {})) | ({"circuits"} if "matrix" in (job.get("strategy") or {}) else set())
        known = of_group | of_run | own
        in_shell = {name.upper() for name in known} | OF_THE_SHELL
        for step in steps(job):
            for macro in re.findall(r"\$\(([\w.:]+)\)", json.dumps(step)):
                assert PREDEFINED.fullmatch(macro) or macro in known, f"{stage['stage']}: $({macro})"
            used = set(re.findall(r"\$([A-Z_]+)\b", script(step)))
            assert used <= in_shell | set(step.get("env") or {}), f"{stage['stage']}: {used}"


@EVERY_FILE
def test_what_somebody_types_into_a_parameter_is_never_text_of_a_command(file: Path) -> None:
    document = load(file)
    typed = {parameter["name"] for parameter in document.get("parameters") or ()}
    copies = {one["name"] for one in pipeline(file).get("variables", ()) if "name" in one}
    for text in re.findall(r"(?:command|bash|inlineScript): (.+)", file.read_text()):
        assert not re.search(r"\$\{\{\s*parameters\.(" + "|".join(typed or {"-"}) + r")\b", text), text
        assert not set(re.findall(r"\$\((\w+)\)", text)) & copies, text


def test_a_schedule_that_the_apps_timer_owns_does_nothing_unless_it_is_switched_on() -> None:
    scheduled = [file for file in FILES if "schedules" in load(file) and file.stem not in OWN_SCHEDULE]
    assert len(scheduled) == 2
    for file in scheduled:
        for stage in pipeline(file)["stages"]:
            if not _listed(stage.get("dependsOn")):
                assert "variables['PIPELINE_SCHEDULES'], 'on'" in stage["condition"], file.stem
    assert PROJECT["variable_groups"][0]["variables"]["PIPELINE_SCHEDULES"] == "off"


# ------------------------------------------------------------------------------------------- the scripts that they call

LINES = (line.strip() for _, _, text in all_scripts() for line in text.splitlines())
COMMANDS = sorted({line for line in LINES if re.match(r"(scripts|monitoring)/", line)})


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_a_pipeline_is_one_that_its_script_explains(command: str) -> None:
    assert problems(command) == []


def test_make_targets_of_pipelines_exist() -> None:
    named = {target for _, _, text in all_scripts() for target in re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)}
    assert named and named <= make_targets()
