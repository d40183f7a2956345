"""What `make train` refuses because of the app that runs: what is trained by one configuration is released by it."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from local.configuration import copy_configuration
from local.runtime import ENVIRONMENT as ENVIRONMENT_FILE
from local.runtime import RuntimeFailed, only_one
from local.train import BuildStopped, Plan, expect_the_same_configuration, standing_of
from shared.training_build import Change

ROOT = Path(__file__).resolve().parents[2]
CIRCUIT = "P001_C001"
CHANGE = Change("5f1c7d9e02ab", "ana@plant.example", "")


@pytest.fixture
def running(tmp_path: Path) -> dict[str, str]:
    """The environment of an app that was started after its configuration was written."""
    config = tmp_path / "config"
    copy_configuration(ROOT / "config", config, cutoff_date=date(2026, 1, 31))
    (tmp_path / ENVIRONMENT_FILE).write_text("{}")
    for file in config.rglob("*.yml"):
        os.utime(file, (1_000_000, 1_000_000))
    return {"CONFIG_FOLDER": str(config)}


def plan(folder: Path, cutoff: date) -> Plan:
    return Plan(CHANGE, copy_configuration(ROOT / "config", folder, cutoff_date=cutoff), (CIRCUIT,))


def test_an_app_with_the_commits_configuration_is_built_on(running: dict[str, str], tmp_path: Path) -> None:
    same = plan(tmp_path / "branch", date(2026, 1, 31))
    expect_the_same_configuration(same, tmp_path, running)
    expect_the_same_configuration(replace(same, new_circuits=(CIRCUIT,)), tmp_path, running)


def test_an_app_with_another_configuration_is_named_and_what_differs(running: dict[str, str], tmp_path: Path) -> None:
    other = plan(tmp_path / "branch", date(2026, 2, 1))
    with pytest.raises(BuildStopped, match=rf"config, where {CIRCUIT} is not as in commit 5f1c7d9e02; check that"):
        expect_the_same_configuration(other, tmp_path, running)


def test_an_app_that_was_started_before_a_circuit_was_configured_has_to_be_started_again(
    running: dict[str, str], tmp_path: Path
) -> None:
    added = replace(plan(tmp_path / "branch", date(2026, 1, 31)), new_circuits=(CIRCUIT,))
    os.utime(tmp_path / ENVIRONMENT_FILE, (999_999, 999_999))
    with pytest.raises(BuildStopped, match=f"was started before {CIRCUIT} was configured .* stop it"):
        expect_the_same_configuration(added, tmp_path, running)


@pytest.mark.parametrize(
    ("phase", "told"),
    [
        ("cancelled", "is cancelled; it goes on with: ./fleet retry P001_C001:2 --reason"),
        ("failed", "has ended failed; another model needs another commit"),
        ("awaiting registry approval", "./fleet explain P001_C001 says what it waits for"),
    ],
)
def test_a_commit_that_was_trained_already_says_where_its_release_stands_and_what_goes_on(
    phase: str, told: str
) -> None:
    assert told in standing_of("P001_C001:2", phase)


def test_a_folder_that_is_in_use_says_by_whom(tmp_path: Path) -> None:
    with only_one(tmp_path), pytest.raises(RuntimeFailed, match=f"pid {os.getpid()}"), only_one(tmp_path):
        pass
