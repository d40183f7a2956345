"""`make train`: what a branch changed is trained once, whatever interrupts the build, and the artifact says so."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.configuration import copy_configuration
from shared.yaml_documents import merged
from tests.e2e.conftest import ROOT, Program

CUTOFF = (datetime.now(UTC) - timedelta(days=3)).date()
MODEL = ("mae", "rmse", "r2")


class Repository:
    """A small git repository with the configuration of one plant, on a branch that has left main."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        copy_configuration(ROOT / "config", folder / "config", cutoff_date=CUTOFF)
        master = folder / "config" / "plants_circuits.yml"
        plants = yaml.safe_load(master.read_text())["plants"]
        master.write_text(yaml.safe_dump({"plants": {"P001": plants["P001"]}}))
        for plant in set(plants) - {"P001"}:
            shutil.rmtree(folder / "config" / "plants" / plant)
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("as it was")
        self.git("switch", "--quiet", "--create", "warmer")

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=Ana", "-c", "user.email=ana@plant.example", "-c", "commit.gpgsign=false")
        ran = subprocess.run(
            ["git", *identity, *arguments], cwd=self.folder, capture_output=True, text=True, check=True
        )
        return ran.stdout.strip()

    def commit(self, message: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")

    def change(self, circuit: str, **content: Any) -> None:
        path = self.folder / "config" / "plants" / "P001" / f"{circuit}.yml"
        path.write_text(yaml.safe_dump(merged(yaml.safe_load(path.read_text()), content), sort_keys=False))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    folder = tmp_path / "repository"
    folder.mkdir()
    return Repository(folder)


class Place:
    """Where builds of one repository work, one after the other."""

    def __init__(self, repository: Repository, folder: Path) -> None:
        self.repository = repository
        self.folder = folder
        self.runs = 0

    def start(self, changed: str = "main") -> Program:
        self.runs += 1
        places = {"repository": self.repository.folder, "home": self.folder / "home", "out": self.folder / "out"}
        options = [part for name, place in places.items() for part in (f"--{name}", str(place))]
        log = self.folder / f"build-{self.runs}.txt"
        return Program("local.train", "--changed", changed, *options, log=log)

    def build(self, code: int = 0, changed: str = "main") -> str:
        """What a build says that is left alone until its end."""
        with self.start(changed) as program:
            assert program.process.wait(240) == code, program.output()
            assert "Traceback" not in program.output()
            return program.output()

    def artifact(self, commit: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "out" / commit[:12] / "build.json").read_text())
        return found


@pytest.fixture
def place(repository: Repository, tmp_path: Path) -> Place:
    return Place(repository, tmp_path)


def test_what_a_branch_changed_is_trained_and_published_and_one_circuit_that_cannot_be_stops_no_other(
    repository: Repository, place: Place
) -> None:
    repository.change("C001", training={"hyperparameters": {"max_iter": 40}})
    repository.change("C002", monitoring={"null_rate": 0.2})
    repository.change("C003", training={"cutoff_date": "2099-01-01"})
    commit = repository.commit("warmer water")
    said = place.build(code=1)
    assert "P001_C002 changed (monitoring.null_rate): monitoring" in said
    assert "Not trained: P001_C003: the readings of SENSOR_P001_C003 end at" in said and "1 of 2 trained." in said
    published = place.artifact(commit)
    assert (published["config_commit"], published["author"]) == (commit, "ana@plant.example")
    trained, not_trained = published["circuits"]["P001_C001"], published["circuits"]["P001_C003"]
    assert set(published["circuits"]) == {"P001_C001", "P001_C003"}
    assert trained["trained"] and trained["config_commit"] == trained["tags"]["git_commit_sha"] == commit
    assert trained["data_asset"] == f"sensor_training_data_P001_C001:{CUTOFF}"
    assert trained["environment_version"] == trained["tags"]["environment_version"] == "1.0.0"
    assert published["environments"]["1.0.0"]["reference"] == "sensor-forecast-env:1.0.0"
    assert published["environments"]["1.0.0"]["tags"]["git_commit_sha"] == commit
    assert (trained["model"], trained["model_version"]) == ("sensor_model_P001_C001", 1)
    assert all(trained["metrics"][name] == float(trained["tags"][name]) for name in MODEL)
    assert not not_trained["trained"] and "cutoff_date is 2099-01-01" in not_trained["reason"]

    # Run again, it trains nothing twice (what could not be trained is tried again, on readings that go on arriving);
    # with the mistake mended, what the new commit changed.
    assert "P001_C001 already trained: model version 1" in place.build(code=1)
    again = place.artifact(commit)
    assert not again["circuits"].pop("P001_C003")["trained"] and published["circuits"].pop("P001_C003") == not_trained
    assert again == published
    repository.change("C003", training={"cutoff_date": str(CUTOFF - timedelta(days=1))})
    mended = repository.commit("a date that has been")
    assert "2 of 2 trained." in place.build()
    circuits = place.artifact(mended)["circuits"]
    assert {circuit: entry["model_version"] for circuit, entry in circuits.items()} == {"P001_C001": 2, "P001_C003": 1}
    assert "Nothing has to be built." in place.build(changed="HEAD")

    # An environment that no circuit uses yet is registered, once, and released by itself.
    newer = {"version": "1.1.0", "backward_compatible": True, "requires_retrain": False}
    spec = repository.folder / "config" / "environments" / "1.1.0.yml"
    spec.write_text(yaml.safe_dump({**newer, "change_summary": "numpy is newer"}))
    commit = repository.commit("a new environment")
    assert "sensor-forecast-env:1.1.0 registered" in place.build(changed="HEAD~1")
    assert "sensor-forecast-env:1.1.0 exists" in place.build(changed="HEAD~1")
    published = place.artifact(commit)
    assert list(published["environments"]) == ["1.1.0"] and published["circuits"] == {}


def test_a_build_that_is_interrupted_in_every_stage_goes_on_and_does_nothing_twice(
    repository: Repository, place: Place
) -> None:
    for circuit in ("C001", "C002", "C003"):
        repository.change(circuit, training={"hyperparameters": {"max_iter": 35}})
    commit = repository.commit("all a little")
    for moment, by in (
        ("Stage 2 of 5", signal.SIGKILL),
        ("is merged into the table", signal.SIGKILL),
        ("P001_C001 training", signal.SIGKILL),
        ("1/3 ", signal.SIGTERM),
        ("Stage 5 of 5", signal.SIGKILL),
    ):
        with place.start() as program:
            program.until_it_says(moment)
            assert program.end(seconds=60, signal=by) == (130 if by is signal.SIGTERM else -by)
    assert "3 of 3 trained." in place.build()
    circuits = place.artifact(commit)["circuits"]
    assert set(circuits) == {"P001_C001", "P001_C002", "P001_C003"}
    assert {entry["model_version"] for entry in circuits.values()} == {1}


def test_what_a_build_cannot_take_is_said_before_anything_starts(repository: Repository, place: Place) -> None:
    assert "names no commit" in place.build(code=1, changed="origin/main")
    repository.change("C001", training={"forecast_horizon": 12})
    said = place.build(code=1)
    assert "config/plants/P001/C001.yml: not committed" in said and "commit it, or undo it" in said
    repository.commit("shorter")
    repository.change("C001", training={"forecast_horizon": 999})
    repository.commit("too long")
    assert "forecast_horizon" in place.build(code=1)
    assert not (place.folder / "home").exists()
