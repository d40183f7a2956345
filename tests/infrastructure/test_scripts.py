"""Deploying and validating: what the scripts refuse, what they would do, and what they make of Azure's answers.

A program called `az` stands in the way of the real one here and answers nothing: that the commands do on Azure what
they are to do, only Azure shows.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from scripts.package import PYTHON, reached, third_party
from scripts.package import main as package
from tests.infrastructure.estates import INFRA, ROOT, estate
from tests.unit.test_app_indexes import functions

SCRIPTS = ("deploy.sh", "validate_infra.sh")


def run(script: str, *arguments: str, path: str | None = None, told: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": path or os.environ["PATH"]}
    command = ["bash", str(ROOT / "scripts" / script), *arguments]
    return subprocess.run(command, env=environment, input=told, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def fake_az(tmp_path: Path) -> str:
    """A PATH with an `az` that writes down its arguments, and answers none of them."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "az").write_text(f'#!/usr/bin/env bash\necho "$@" >> {tmp_path}/asked\nexit 1\n')
    (folder / "az").chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_shell_scripts_are_clean() -> None:
    checker = Path(sys.executable).with_name("shellcheck")
    files = [str(ROOT / "scripts" / name) for name in (*SCRIPTS, "infra.sh")]
    done = subprocess.run(
        [checker, "--external-sources", *files], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.stdout == ""


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_names_the_environments_and_the_exit_codes(script: str) -> None:
    done = run(script, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "dev prod test" in done.stdout
    assert "Exit code" in done.stdout


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "ENVIRONMENT is missing: dev prod test"),
        (("production",), "there is no environment 'production': dev prod test"),
        (("../rbac",), "there is no environment '../rbac'"),
        (("dev", "test"), "one environment at a time: dev, test"),
        (("dev", "--quickly"), "unknown option --quickly"),
        (("dev", "--subscription"), "--subscription needs a value"),
    ],
    ids=["nothing", "unknown", "path", "two", "option", "value"],
)
def test_wrong_use_is_refused_before_azure_is_asked(
    script: str, arguments: tuple[str, ...], said: str, fake_az: str, tmp_path: Path
) -> None:
    done = run(script, *arguments, path=fake_az)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("dev", "--yes", "--dry-run"), "exclude each other"),
        (("dev", "--only", "half"), "--only is 'half', not one of: infra grants app etl events registration"),
        (("dev", "--what-if", "--only", "app"), "--what-if shows infra and nothing of app"),
    ],
    ids=["both", "part", "what-if"],
)
def test_what_cannot_go_together_is_refused(arguments: tuple[str, ...], said: str, fake_az: str) -> None:
    done = run("deploy.sh", *arguments, path=fake_az)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_missing_tool_is_named_with_what_it_is_for(script: str, tmp_path: Path) -> None:
    for tool in ("bash", "jq", "basename", "paste", "dirname", "mktemp", "rm", "cat"):
        (tmp_path / tool).symlink_to(next(Path(p, tool) for p in ("/usr/bin", "/bin") if Path(p, tool).exists()))
    done = run(script, "dev", path=str(tmp_path))
    assert done.returncode == 2
    assert "this needs az: Azure CLI, signed in (az login)" in done.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_parameter_file_with_examples_in_it_is_refused(script: str, fake_az: str, tmp_path: Path) -> None:
    done = run(script, "prod", path=fake_az)
    assert done.returncode == 2
    assert "still has examples for: operatorsGroupId alertEmails" in done.stderr
    assert not (tmp_path / "asked").exists()


def test_a_dry_run_shows_every_step_in_its_order_and_asks_azure_nothing(fake_az: str, tmp_path: Path) -> None:
    done = run("deploy.sh", "dev", "--dry-run", path=fake_az)
    assert done.returncode == 0, done.stderr
    steps = re.findall(r"^  az (\w+ \w+ [\w-]+)|^(\d) (\w+)", done.stderr, re.MULTILINE)
    assert [name or command for command, _, name in steps] == [
        "compile",
        "bicep build --file",
        "bicep build --file",
        "infra",
        "deployment sub what-if",
        "deployment sub create",
        "grants",
        "synapse role assignment",
        "synapse role assignment",
        "storage entity insert",
        "app",
        "functionapp deployment source",
        "etl",
        "storage blob upload-batch",
        "events",
        "deployment sub create",
    ]
    assert not (tmp_path / "asked").exists()


def test_the_app_registration_is_made_apart_and_as_the_app_expects_it(fake_az: str, tmp_path: Path) -> None:
    done = run("deploy.sh", "prod", "--only", "registration", "--dry-run", path=fake_az)
    assert done.returncode == 0, done.stderr
    commands = [shlex.split(line) for line in done.stderr.splitlines() if line.startswith("  az ")]
    assert [command[3] for command in commands] == ["PATCH", "POST", "POST"]
    wanted = json.loads(commands[0][-1])
    settings = estate("prod").parameters
    assert wanted["identifierUris"] == [f"api://{settings['tokenAudience']}"]
    assert wanted["api"]["requestedAccessTokenVersion"] == 2
    assert wanted["spa"]["redirectUris"] == ["https://<appHost>/api/dashboard"]
    (role,) = wanted["appRoles"]
    site = estate("prod").only("Microsoft.Web/sites").body["properties"]["siteConfig"]
    app = {one["name"]: one["value"] for one in site["appSettings"]}
    assert role["value"] in app["OPERATOR_GROUPS"].split(", ")
    assert app["SIGN_IN_CLIENT"] == app["TOKEN_AUDIENCE"] == settings["tokenAudience"]
    assert {json.loads(command[-1])["appRoleId"] for command in commands[1:]} == {role["id"]}
    assert not (tmp_path / "asked").exists()


def test_the_outputs_that_the_scripts_read_are_those_that_the_estate_has() -> None:
    text = (ROOT / "scripts" / "deploy.sh").read_text() + (ROOT / "scripts" / "validate_infra.sh").read_text()
    asked = set(re.findall(r"\$\(output (\w+)\)", text)) | set(re.findall(r"--raw-output \.(\w+)\.value", text))
    assert {"appName", "appHost", "synapseName", "lakeName", "vaultUri"} <= asked
    assert asked <= set(estate("dev").main.outputs)


# ------------------------------------------------------------------------------------------- what Azure has, and should


ID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/"


def answers(
    folder: Path, changes: list[dict[str, Any]], there: list[str], roles: int = 1, recorded: Sequence[Any] = ()
) -> Path:
    folder.mkdir()
    content: dict[str, Any] = {
        "recorded": [{"id": ID + "made", "there": True}, {"id": ID + "fine", "there": True}, *recorded],
        "main": {"changes": changes, "diagnostics": [{"code": "NestedDeploymentShortCircuited", "target": "a module"}]},
        "events": {"changes": []},
        "functions": [f"app/{name}" for name in there],
        "roles": [{"id": str(number)} for number in range(roles)],
    }
    for name, value in content.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


def test_an_environment_that_is_as_it_should_be_is_ok(tmp_path: Path) -> None:
    kinds = ("NoChange", "Ignore", "Unsupported")
    changes: list[dict[str, Any]] = [{"changeType": kind, "resourceId": ID + kind} for kind in kinds]
    done = run("validate_infra.sh", "dev", "--from", str(answers(tmp_path / "a", changes, list(functions()))))
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert (report["ok"], report["environment"]) == (True, "dev")
    assert report["there"] == [ID + "NoChange", ID + "Unsupported", ID + "fine", ID + "made"]
    assert report["unseen"] == ["a module"]


def test_what_is_missing_or_different_is_named(tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        {"changeType": "Create", "resourceId": ID + "gone"},
        {"changeType": "Modify", "resourceId": ID + "open", "delta": [{"path": "properties.allowSharedKeyAccess"}]},
        {"changeType": "NoChange", "resourceId": ID + "fine"},
    ]
    there = [name for name in functions() if name != "on_model_registered"]
    deleted = [{"id": ID + "deleted", "there": False}]
    kept = answers(tmp_path / "a", changes, there, roles=0, recorded=deleted)
    done = run("validate_infra.sh", "dev", "--from", str(kept))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"missing: {ID}deleted",
        f"missing: {ID}gone",
        f"different: {ID}open properties.allowSharedKeyAccess",
        "no function: on_model_registered",
        "the app may not use Synapse",
    ]
    report = json.loads(done.stdout)
    assert (report["ok"], report["missing"], report["functions"]["missing"]) == (
        False,
        [ID + "deleted", ID + "gone"],
        ["on_model_registered"],
    )


def test_an_app_without_functions_is_not_ok(tmp_path: Path) -> None:
    done = run("validate_infra.sh", "dev", "--from", str(answers(tmp_path / "a", [], [])))
    assert done.returncode == 1
    assert "the app has no functions" in done.stderr


# ----------------------------------------------------------------------------------------------------- what is uploaded


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app's package without its packages, unpacked."""
    folder = tmp_path_factory.mktemp("package")
    assert package(["app", str(folder / "app.zip"), "--without-packages"]) == 0
    with ZipFile(folder / "app.zip") as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_package_holds_all_that_the_app_imports_also_late(unpacked: Path) -> None:
    """Every module of it is imported from the package alone, with Python's path cleared of this repository."""
    modules = [
        ".".join(path.relative_to(unpacked).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted(unpacked.rglob("*.py"))
    ]
    code = (
        "import importlib, sys; sys.path.insert(0, sys.argv[1])\n"
        "for name in sys.argv[2:]:\n"
        "    found = importlib.import_module(name)\n"
        "    assert found.__file__.startswith(sys.argv[1]), found.__file__\n"
        "import function_app\n"
        "print(*sorted(f.get_function_name() for f in function_app.app.get_functions()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(unpacked), *modules],
        capture_output=True,
        text=True,
        check=False,
        cwd=unpacked,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == sorted(functions())


def test_the_package_holds_configuration_and_pages_and_nothing_that_trains(unpacked: Path) -> None:
    files = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert {"host.json", "requirements.txt", "config/policy.yml", "config/plants/P001/C001.yml"} <= files
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "functions" / "static").rglob("*") if path.is_file()}
    assert pages <= files
    assert not {"ml/train.py", "ml/score.py", "etl/run.py", "local.settings.json"} & files
    assert not [name for name in files if name.startswith(("tests/", "local/", "scripts/", "docs/", "infra/"))]


def test_the_app_imports_no_package_that_its_requirements_do_not_bring() -> None:
    pinned = set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    brought = {
        name: {distribution.lower().replace("_", "-") for distribution in packages_distributions()[name]}
        for name in third_party(reached(ROOT / "function_app.py"))
    }
    assert brought
    assert {name: found for name, found in brought.items() if not found & pinned} == {}


def test_the_same_content_is_the_same_package(tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        package(["app", str(tmp_path / name), "--without-packages"])
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_the_etl_files_are_where_the_runner_looks_for_them(tmp_path: Path) -> None:
    assert package(["etl", str(tmp_path / "etl")]) == 0
    files = {str(path.relative_to(tmp_path / "etl")) for path in (tmp_path / "etl").rglob("*") if path.is_file()}
    assert files == {"etl/spark_job.py", "etl/spark_upkeep.py", "fleet.zip", "config.zip"}
    with ZipFile(tmp_path / "etl" / "config.zip") as archive:
        assert "policy.yml" in archive.namelist()


def test_packages_are_for_the_python_that_the_app_runs_on() -> None:
    assert f"version: '{PYTHON}'" in (INFRA / "modules" / "function_app.bicep").read_text()
