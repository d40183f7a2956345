"""What the platform tells, in AzureML's and Storage's published shapes: at least once, late or never, and truly."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from harness import Platform, new_command
from topic import wait_until

from local.platform.faults import FaultKind
from local.platform.names import STORAGE_ID, workspace_id
from shared.domain.values import OperationState, Pair, Stage

PAIR = Pair(model=1, environment="1.0.0")
CIRCUIT = "P001_C003"
REFERENCE = Path(os.environ.get("REFERENCE_DIR", Path(__file__).resolve().parents[4] / "shared"))
EVENT_GRID = REFERENCE / "specs/azure-rest/eventgrid/data-plane"


@pytest.fixture
def serving(platform: Platform) -> Platform:
    if platform.models.deployed(Stage.PRODUCTION, CIRCUIT) is None:
        platform.deploy(Stage.PRODUCTION, CIRCUIT, PAIR)
    return platform


def score(platform: Platform, command: str) -> str:
    request, _ = platform.request_file(CIRCUIT, PAIR, command)
    return platform.models.start_scoring(command, Stage.PRODUCTION, CIRCUIT, str(request))


def test_a_completed_job_tells_every_state_it_came_to_and_that_it_completed(serving: Platform, command: str) -> None:
    job = score(serving, command)
    completed = serving.seen.wait_for("RunCompleted", job)[0]
    changes = serving.seen.wait_for("RunStatusChanged", job, 2)
    assert [change["data"]["runStatus"] for change in changes] == ["running", "completed"]
    assert completed["topic"] == workspace_id(Stage.PRODUCTION)
    assert completed["subject"] == f"experiments/{completed['data']['experimentId']}/runs/{job}"
    assert (completed["data"]["runId"], completed["data"]["experimentName"]) == (job, "plant_P001_circuit_C003")


def test_a_failed_job_is_not_told_as_completed(serving: Platform, command: str) -> None:
    serving.faults.switch_on(FaultKind.JOB_FAILS, command_id=command)
    job = score(serving, command)
    changes = serving.seen.wait_for("RunStatusChanged", job, 2)
    assert changes[-1]["data"]["runStatus"] == "failed"
    assert serving.seen.received("RunCompleted", job) == []


def test_operations_tell_nothing(serving: Platform) -> None:
    before = len(serving.seen.received("ModelRegistered")) + len(serving.seen.received("ModelDeployed"))
    serving.deploy(Stage.TEST, CIRCUIT, PAIR)
    score_afterwards = score(serving, new_command())
    serving.seen.wait_for("RunCompleted", score_afterwards)
    assert len(serving.seen.received("ModelRegistered")) + len(serving.seen.received("ModelDeployed")) == before


def test_an_event_can_be_lost_and_the_job_is_still_found_completed(serving: Platform, command: str) -> None:
    serving.faults.switch_on(FaultKind.EVENT_LOST, command_id=command, event_type="RunCompleted")
    job = score(serving, command)
    serving.seen.wait_for("RunStatusChanged", job, 2)
    serving.succeeded(job)
    after = score(serving, new_command())
    serving.seen.wait_for("RunCompleted", after)
    assert serving.seen.received("RunCompleted", job) == []


def test_an_event_can_come_several_times_as_the_same_event(serving: Platform, command: str) -> None:
    serving.faults.switch_on(FaultKind.EVENT_REPEATED, command_id=command, event_type="RunCompleted", copies=5)
    job = score(serving, command)
    assert len({event["id"] for event in serving.seen.wait_for("RunCompleted", job, 5)}) == 1
    assert len(serving.seen.received("RunCompleted", job)) == 5


def test_an_event_can_be_late(serving: Platform, command: str) -> None:
    serving.faults.switch_on(FaultKind.EVENT_DELAYED, command_id=command, event_type="RunCompleted", seconds=1)
    first = score(serving, command)
    serving.succeeded(first)
    second = score(serving, new_command())
    serving.seen.wait_for("RunCompleted", second)
    assert serving.seen.received("RunCompleted", first) == []
    serving.seen.wait_for("RunCompleted", first)


@pytest.mark.parametrize("answer", [503, 401])
def test_an_event_that_the_topic_refuses_is_sent_until_it_is_accepted(serving: Platform, answer: int) -> None:
    refused = serving.seen.refused
    serving.seen.answer = answer
    try:
        job = score(serving, new_command())
        assert serving.succeeded(job).state is OperationState.SUCCEEDED
        wait_until(lambda: serving.seen.refused > refused + 2, "three refusals")
    finally:
        serving.seen.answer = 200
    serving.seen.wait_for("RunCompleted", job)


def test_a_registration_is_told_as_in_the_published_sample(platform: Platform) -> None:
    registered = platform.seen.wait_for("ModelRegistered", "sensor_model_P001_C001:1")
    assert len(registered) == 1
    event = registered[0]
    assert event["topic"] == workspace_id(Stage.DEV)
    assert (event["data"]["ModelName"], event["data"]["ModelVersion"]) == ("sensor_model_P001_C001", 1)
    model = platform.models.describe_model("P001_C001", 1)
    assert model and event["data"]["ModelTags"] == dict(model.tags)


def test_a_delta_commit_is_told_by_the_etl_and_by_storage(platform: Platform) -> None:
    completed = platform.seen.wait_for("EtlCompleted", "etl/first-run")[0]
    assert completed["data"] == {
        "runId": "first-run",
        "tableId": platform.table_id,
        "version": platform.table_version,
        "report": "sensor_data_runs/first-run.json",
    }
    log_file = f"processed/sensor_data/_delta_log/{platform.table_version:020d}.json"
    created = platform.seen.wait_for("BlobCreated", log_file)[0]
    assert created["topic"] == STORAGE_ID
    assert created["data"]["url"].endswith(f"/{log_file}")
    assert created["data"]["contentLength"] == (platform.lake.folder / log_file).stat().st_size


@pytest.mark.skipif(not EVENT_GRID.exists(), reason="REFERENCE_DIR holds no Event Grid schemas")
def test_events_have_the_fields_of_the_published_schemas(serving: Platform, command: str) -> None:
    serving.seen.wait_for("RunCompleted", score(serving, command))
    definitions = _definitions("MachineLearningServices") | _definitions("Storage")
    checked = set()
    for event in serving.seen.received():
        name = f"{event['eventType'].removeprefix('Microsoft.').replace('.', '')}EventData"
        if name in definitions:
            fields = {field.lower() for field in definitions[name]["properties"]}
            assert {field.lower() for field in event["data"]} <= fields
            checked.add(event["eventType"].rpartition(".")[2])
    assert checked == {"ModelRegistered", "RunCompleted", "RunStatusChanged", "BlobCreated"}


def _definitions(service: str) -> dict[str, Any]:
    path = EVENT_GRID / f"Microsoft.{service}/stable/2018-01-01/{service}.json"
    definitions: dict[str, Any] = json.loads(path.read_text())["definitions"]
    return definitions
