"""What the embedded platform's ETL and trainings do; what every runner promises is in test_runner_contract.py."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from harness import CONFIG, Platform, new_command
from platform_process import PlatformProcess
from topic import wait_until

from local.configuration import copy_configuration
from local.platform.faults import FaultKind
from local.platform.settings import configurations_in
from ml.history import open_version
from shared.adapters.azure.lake import UriLake
from shared.domain.comparison import comparison
from shared.domain.values import OperationState, Pair, RegisteredModel, Stage
from shared.errors import Permanent

CIRCUIT = "P002_C001"
WHO = ("0" * 40, "ann@example.org", "17")


@pytest.fixture
def leave_configuration(process: PlatformProcess) -> Callable[[str, date], Path]:
    """Leaves the configuration of a commit, with every circuit's cutoff date, as a build does; returns its folder."""

    def leave(commit: str, cutoff: date) -> Path:
        folder = configurations_in(process.log.parent) / commit
        copy_configuration(CONFIG, folder, cutoff_date=cutoff)
        return folder

    return leave


def test_training_registers_a_version_with_who_asked_for_it(platform: Platform, command: str) -> None:
    version = platform.train(CIRCUIT, command)
    model = platform.models.describe_model(CIRCUIT, version)
    assert model
    assert (model.tags["git_commit_sha"], model.tags["pr_author"], model.tags["pr_number"]) == WHO
    assert model.tags["command_id"] == command
    assert model.tags["hyperparameters_hash"] == (
        platform.lake.fleet.circuit(CIRCUIT).training.hyperparameters.digest()
    )


def test_training_an_unknown_circuit_fails_and_names_it(platform: Platform, command: str) -> None:
    status = platform.ended(platform.training.start(command, "P001_C999", *WHO))
    assert status.state is OperationState.FAILED
    assert "P001_C999" in status.error


def test_a_training_follows_its_commits_configuration_and_is_measured_beside_what_production_serves(
    platform: Platform, leave_configuration: Callable[[str, date], Path]
) -> None:
    circuit, today = "P002_C002", platform.lake.origin.date()

    def train(commit: str, cutoff: date, champion: int | None) -> RegisteredModel:
        leave_configuration(commit, cutoff)
        started = platform.training.start(new_command(), circuit, commit, "ann@example.org", "17", champion)
        model = platform.models.describe_model(circuit, int(platform.succeeded(started).outputs["model_version"]))
        assert model and model.tags["cutoff_date"] == model.tags["data_asset_version"] == cutoff.isoformat()
        return model

    champion = train("a" * 40, today - timedelta(days=25), None)
    assert "comparison" not in champion.tags, "nothing serves yet"
    serving = Pair(model=champion.version, environment=champion.tags["environment_version"])
    platform.deploy(Stage.PRODUCTION, circuit, serving)
    candidate = train("b" * 40, today - timedelta(days=20), champion.version)
    shown = comparison(candidate.tags, serving)
    assert shown["verdict"] in ("better", "worse", "no clear difference")
    assert shown["holdout"].startswith(f"{today - timedelta(days=19)}/")
    assert 0 < shown["candidate"]["mae"] < shown["naive"]["mae"] and shown["champion"]["mae"] > 0
    late = comparison(train("c" * 40, today - timedelta(days=3), champion.version).tags, serving)
    assert late["verdict"] == "not comparable" and "days of readings after" in late["reason"]


def test_a_cutoff_date_stands_for_the_same_readings_however_often_it_is_trained(
    platform: Platform, leave_configuration: Callable[[str, date], Path]
) -> None:
    cutoff = platform.lake.origin.date() - timedelta(days=11)
    configuration = leave_configuration("d" * 40, cutoff)
    circuit = "P002_C003"
    references = [platform.training.start(new_command(), circuit, "d" * 40, "ann", "17") for _ in range(2)]
    versions = [int(platform.succeeded(reference).outputs["model_version"]) for reference in references]
    models = [platform.models.describe_model(circuit, version) for version in versions]
    assert len({model.tags["model_hash"] for model in models if model}) == 1
    own = configuration / "plants" / "P002" / "C003.yml"
    own.write_text(own.read_text().replace("sensor_id: SENSOR_P002_C003", "sensor_id: SENSOR_P001_C001"))
    own.write_text(own.read_text().replace("data_filters:", "data_filters:\n    custom_sensor_id: true"))
    other = configuration / "plants" / "P001" / "C001.yml"
    other.write_text(other.read_text().replace("sensor_id: SENSOR_P001_C001", "sensor_id: SENSOR_P002_C003"))
    other.write_text(other.read_text().replace("data_filters:", "data_filters:\n    custom_sensor_id: true"))
    changed = platform.ended(platform.training.start(new_command(), circuit, "d" * 40, "ann", "17"))
    assert changed.state is OperationState.FAILED
    assert f"{circuit}:{cutoff} is registered with other rows or columns" in changed.error


@pytest.mark.parametrize("commit", ["../../stores", "main", ""])
def test_what_is_no_commit_is_refused(platform: Platform, command: str, commit: str) -> None:
    with pytest.raises(Permanent, match="commit"):
        platform.training.start(command, CIRCUIT, commit, "ann", "17")


def test_a_path_is_no_circuit(platform: Platform, command: str) -> None:
    with pytest.raises(Permanent, match="circuit"):
        platform.training.start(command, "../P001_C001", *WHO)


def test_a_training_that_is_cancelled_registers_nothing_and_tells_nothing(platform: Platform, command: str) -> None:
    latest = platform.train(CIRCUIT, new_command())
    platform.faults.switch_on(FaultKind.JOB_HANGS, command_id=command)
    reference = platform.training.start(command, CIRCUIT, *WHO)
    wait_until(lambda: platform.training.look(reference).started_at is not None, "the training to run")
    platform.training.cancel(reference)
    assert platform.ended(reference).state is OperationState.CANCELLED
    job = reference.removeprefix("job:")
    assert platform.seen.wait_for("RunStatusChanged", job, 2)[-1]["data"]["runStatus"] == "canceled"
    assert platform.seen.received("RunCompleted", job) == []
    assert platform.models.describe_model(CIRCUIT, latest + 1) is None


def test_five_trainings_run_at_once_and_one_that_waits_can_be_cancelled(platform: Platform) -> None:
    platform.faults.switch_on(FaultKind.JOB_HANGS, circuit=CIRCUIT, times=6)
    references = [platform.training.start(new_command(), CIRCUIT, *WHO) for _ in range(6)]

    def running() -> set[str]:
        return {reference for reference in references if platform.training.look(reference).started_at}

    try:
        wait_until(lambda: len(running()) >= 5, "five trainings to run")
        (waiting,) = set(references) - running()
        platform.training.cancel(waiting)
        status = platform.ended(waiting)
        assert (status.state, status.started_at) == (OperationState.CANCELLED, None)
        assert len(running()) == 5
    finally:
        for reference in references:
            platform.training.cancel(reference)
    assert {platform.ended(reference).state for reference in references} == {OperationState.CANCELLED}


def test_an_etl_run_names_table_version_and_report(platform: Platform) -> None:
    report = platform.lake.table.parent / "sensor_data_runs" / "first-run.json"
    assert platform.table_id and report.is_file()


def test_an_etl_run_that_changes_nothing_has_no_version_and_tells_nothing(platform: Platform, command: str) -> None:
    status = platform.succeeded(platform.etl.start(command, f"run-{command}"))
    assert status.outputs["version"] == ""
    platform.train(CIRCUIT, new_command())
    assert platform.seen.received("EtlCompleted", command) == []


def test_an_upkeep_obeys_the_order_beside_the_table_and_spares_what_data_assets_read(
    platform: Platform, command: str
) -> None:
    platform.train(CIRCUIT, new_command())
    read = platform.data_assets.delta_versions(platform.table_id)
    assert platform.table_version in read and platform.data_assets.delta_versions("another") == frozenset()
    lake = UriLake(str(platform.lake.folder))
    lake.order_upkeep(f"run-{command}", platform.table_id, read)
    reference = platform.etl.start_upkeep(command, f"run-{command}")
    assert platform.etl.start_upkeep(command, f"run-{command}") == reference
    done = lake.read_upkeep(platform.succeeded(reference).outputs["run_id"])
    assert set(done) == {"version", "deleted_files", "lost"} and done["lost"] == []
    assert open_version(str(platform.lake.table), platform.table_version).version() == platform.table_version


def test_an_upkeep_without_an_order_fails_and_says_so(platform: Platform, command: str) -> None:
    status = platform.ended(platform.etl.start_upkeep(command, f"run-{command}"))
    assert status.state is OperationState.FAILED
    assert f"run-{command}.json cannot be read" in status.error and "nothing was deleted" in status.error
