"""The contract of the model platform port, from AzureML's behaviour, on both of its adapters.

What a job computes is checked on the embedded platform: on Azure it is AzureML's machines that run `ml/score.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from azure.storage.blob import BlobServiceClient
from harness import ModelsUnderTest, Platform, new_command
from topic import wait_until

from local.azurite import Azurite
from local.platform.faults import FaultKind
from local.ports import free_port
from ml.predictions import ForecastLimits, check_predictions, read_predictions
from shared.adapters.local.model_platform import LocalModelPlatform
from shared.domain.values import OperationState, Pair, Stage
from shared.errors import Permanent, Transient

PAIR = Pair(model=1, environment="1.0.0")

# Each test has a circuit of its own where what is deployed matters.
PROMOTED, DEPLOYED, SCORED, RACED = "P001_C001", "P001_C002", "P001_C003", "P001_C004"
NEVER_DEPLOYED = "P003_C004"

Start = Callable[[ModelsUnderTest, str], str]


def _promotion(platform: ModelsUnderTest, command: str) -> str:
    return platform.models.start_promotion(command, RACED, platform.unpromoted(RACED, command))


def _deployment(platform: ModelsUnderTest, command: str) -> str:
    return platform.models.start_deployment(command, Stage.TEST, RACED, PAIR, None)


def _scoring(platform: ModelsUnderTest, command: str) -> str:
    return platform.models.start_scoring(command, Stage.PRODUCTION, RACED, platform.request_uri(RACED, PAIR, command))


every_start = pytest.mark.parametrize("start", [_promotion, _deployment, _scoring])


only_embedded = pytest.mark.parametrize("platform", ["embedded"], indirect=True)


@pytest.fixture(params=["embedded", "azure"])
def platform(request: pytest.FixtureRequest) -> Iterator[ModelsUnderTest]:
    """A platform to check the contract on; no fault outlives a test."""
    tested: ModelsUnderTest = request.getfixturevalue(f"{request.param}_platform")
    yield tested
    tested.faults.switch_off()


@pytest.fixture
def serving(platform: ModelsUnderTest) -> ModelsUnderTest:
    """It serves PAIR for RACED and SCORED, has the registry's copy of DEPLOYED, and endpoints in both workspaces."""
    for stage, circuit in ((Stage.PRODUCTION, RACED), (Stage.PRODUCTION, SCORED), (Stage.TEST, RACED)):
        if platform.models.deployed(stage, circuit) is None:
            platform.deploy(stage, circuit, PAIR)
    platform.succeeded(platform.models.start_promotion("promoted for every test", DEPLOYED, PAIR.model))
    return platform


def _limits(platform: Platform, circuit: str, command: str) -> ForecastLimits:
    model = platform.models.describe_model(circuit, PAIR.model)
    assert model
    return ForecastLimits(
        circuit=circuit,
        origin=platform.lake.origin,
        horizon=platform.lake.fleet.circuit(circuit).training.forecast_horizon,
        model_version=PAIR.model,
        command_id=command,
        **{name: float(model.tags[name]) for name in ("target_min", "target_max", "target_sd")},
    )


# --------------------------------------------------------------------------------------------------------- the models


def test_a_model_version_is_described_with_its_tags(platform: ModelsUnderTest) -> None:
    model = platform.models.describe_model(PROMOTED, 1)
    assert model and (model.name, model.version) == (f"sensor_model_{PROMOTED}", 1)
    assert (model.tags["plant_id"], model.tags["circuit_id"], model.tags["pr_author"]) == ("P001", "C001", "ann")


def test_a_model_version_that_is_not_there_is_none(platform: ModelsUnderTest) -> None:
    assert platform.models.describe_model(PROMOTED, 99) is None
    assert platform.models.describe_model("P009_C009", 1) is None


# ----------------------------------------------------------------------------------------------------- environments


def test_an_environment_that_was_registered_is_listed_and_described_with_its_tags(platform: ModelsUnderTest) -> None:
    tags = {"backward_compatible": "true", "requires_retrain": "false", "change_summary": "newer wheels"}
    platform.register_environment("1.1.0", tags)
    assert "1.1.0" in platform.models.environments()
    found = platform.models.describe_environment("1.1.0")
    assert found and (found.version, dict(found.tags)) == ("1.1.0", tags)
    assert platform.models.describe_environment("9.9.9") is None


def test_an_environment_is_promoted_once_for_each_command_and_again_without_harm(
    platform: ModelsUnderTest, command: str
) -> None:
    platform.register_environment("1.1.0", {"backward_compatible": "true"})
    assert not platform.models.environment_is_promoted("1.1.0")
    reference = platform.models.start_environment_promotion(command, "1.1.0")
    assert platform.models.start_environment_promotion(command, "1.1.0") == reference
    platform.succeeded(reference)
    assert platform.models.environment_is_promoted("1.1.0")
    platform.succeeded(platform.models.start_environment_promotion(f"{command} again", "1.1.0"))


def test_an_environment_that_dev_does_not_have_is_not_promoted(platform: ModelsUnderTest, command: str) -> None:
    status = platform.ended(platform.models.start_environment_promotion(command, "9.9.9"))
    assert status.state is OperationState.FAILED and "9.9.9" in status.error


# ---------------------------------------------------------------------------------------------------------- promotion


def test_an_operation_ends_later_and_tells_when_it_began_and_ended(platform: ModelsUnderTest, command: str) -> None:
    before = platform.now()
    platform.faults.switch_on(FaultKind.OPERATION_SLOW, command_id=command, seconds=0.5)
    reference = platform.models.start_promotion(command, PROMOTED, platform.unpromoted(PROMOTED, command))
    running = platform.models.look(reference)
    assert (running.state, running.ended_at) == (OperationState.RUNNING, None)
    status = platform.succeeded(reference)
    assert status.started_at and status.ended_at
    assert before <= status.started_at < status.ended_at <= platform.now()
    assert (status.ended_at - status.started_at).total_seconds() >= 0.5


def test_promoting_an_existing_copy_is_a_success_and_makes_no_second_one(platform: ModelsUnderTest) -> None:
    first = platform.succeeded(platform.models.start_promotion(new_command(), PROMOTED, 1))
    again = platform.succeeded(platform.models.start_promotion(new_command(), PROMOTED, 1))
    assert first.outputs == again.outputs


def test_promoting_a_version_that_dev_lacks_fails_later_and_names_it(platform: ModelsUnderTest, command: str) -> None:
    status = platform.ended(platform.models.start_promotion(command, PROMOTED, 99))
    assert status.state is OperationState.FAILED
    assert f"sensor_model_{PROMOTED}:99" in status.error


def test_an_accepted_operation_can_fail_later_and_be_started_anew(platform: ModelsUnderTest, command: str) -> None:
    platform.faults.switch_on(FaultKind.OPERATION_FAILS, command_id=command)
    version = platform.unpromoted(PROMOTED, command)
    failed = platform.ended(platform.models.start_promotion(command, PROMOTED, version))
    assert failed.state is OperationState.FAILED and failed.error
    platform.succeeded(platform.models.start_promotion(new_command(), PROMOTED, version))


# --------------------------------------------------------------------------------------------------------- deployment


def test_nothing_is_deployed_until_something_is(platform: ModelsUnderTest) -> None:
    assert platform.models.deployed(Stage.PRODUCTION, NEVER_DEPLOYED) is None


def test_a_deployment_serves_the_pair_and_records_what_it_replaced(serving: ModelsUnderTest, command: str) -> None:
    previous = Pair(model=7, environment="0.9.0")
    reference = serving.models.start_deployment(command, Stage.TEST, DEPLOYED, PAIR, previous)
    assert serving.models.look(reference).state is OperationState.RUNNING
    serving.succeeded(reference)
    deployment = serving.models.deployed(Stage.TEST, DEPLOYED)
    assert deployment and (deployment.circuit, deployment.stage, deployment.pair) == (DEPLOYED, Stage.TEST, PAIR)
    deployed_at = datetime.fromisoformat(deployment.tags["deployed_at"])
    assert deployed_at.utcoffset() is not None
    assert dict(deployment.tags) == {
        "model_version": "1",
        "environment_version": "1.0.0",
        "previous_model_version": "7",
        "previous_environment_version": "0.9.0",
        "command_id": command,
        "deployed_at": deployment.tags["deployed_at"],
    }
    assert serving.models.deployed(Stage.PRODUCTION, DEPLOYED) is None


def test_a_failed_deployment_leaves_what_is_served(serving: ModelsUnderTest, command: str) -> None:
    before = serving.models.deployed(Stage.PRODUCTION, RACED)
    newer = Pair(model=1, environment="2.0.0")
    serving.faults.switch_on(FaultKind.OPERATION_FAILS, command_id=command)
    status = serving.ended(serving.models.start_deployment(command, Stage.PRODUCTION, RACED, newer, PAIR))
    assert status.state is OperationState.FAILED
    assert serving.models.deployed(Stage.PRODUCTION, RACED) == before


def test_a_model_that_the_registry_lacks_is_not_deployed(serving: ModelsUnderTest, command: str) -> None:
    unknown = Pair(model=42, environment="1.0.0")
    status = serving.ended(serving.models.start_deployment(command, Stage.TEST, SCORED, unknown, None))
    assert status.state is OperationState.FAILED
    assert f"sensor_model_{SCORED}:42" in status.error


def test_an_environment_that_the_registry_lacks_is_not_deployed(serving: ModelsUnderTest, command: str) -> None:
    unknown = Pair(model=1, environment="9.9.9")
    assert not serving.models.environment_is_promoted(unknown.environment)
    status = serving.ended(serving.models.start_deployment(command, Stage.TEST, SCORED, unknown, None))
    assert status.state is OperationState.FAILED
    assert unknown.environment in status.error


def test_a_change_by_hand_shows_in_what_is_deployed(serving: ModelsUnderTest, command: str) -> None:
    by_hand = Pair(model=1, environment="1.0.1")
    serving.succeeded(serving.models.start_deployment(command, Stage.TEST, DEPLOYED, PAIR, None))
    serving.change_by_hand(Stage.TEST, DEPLOYED, by_hand)
    deployment = serving.models.deployed(Stage.TEST, DEPLOYED)
    assert deployment and deployment.pair == by_hand


def test_a_second_change_while_one_is_in_progress_is_to_be_tried_again(serving: ModelsUnderTest, command: str) -> None:
    serving.faults.switch_on(FaultKind.OPERATION_SLOW, command_id=command, seconds=0.5)
    first = serving.models.start_deployment(command, Stage.TEST, DEPLOYED, PAIR, None)
    second = new_command()
    with pytest.raises(Transient) as refused:
        serving.models.start_deployment(second, Stage.TEST, DEPLOYED, PAIR, None)
    assert refused.value.retry_after
    serving.succeeded(first)
    serving.succeeded(serving.models.start_deployment(second, Stage.TEST, DEPLOYED, PAIR, None))


def test_a_deployment_under_way_ends_by_itself_whoever_cancels_it(serving: ModelsUnderTest, command: str) -> None:
    newer = Pair(model=1, environment="2.0.0")
    reference = serving.models.start_deployment(command, Stage.TEST, DEPLOYED, newer, PAIR)
    serving.models.cancel(reference)
    serving.succeeded(reference)
    deployment = serving.models.deployed(Stage.TEST, DEPLOYED)
    assert deployment and deployment.pair == newer


def test_a_removed_deployment_is_there_no_more_and_can_be_deployed_anew(serving: ModelsUnderTest, command: str) -> None:
    serving.succeeded(serving.models.start_deployment(new_command(), Stage.TEST, DEPLOYED, PAIR, None))
    reference = serving.models.start_removal(command, Stage.TEST, DEPLOYED)
    assert serving.models.look(reference).state is OperationState.RUNNING
    assert serving.models.start_removal(command, Stage.TEST, DEPLOYED) == reference
    serving.succeeded(reference)
    assert serving.models.deployed(Stage.TEST, DEPLOYED) is None
    serving.succeeded(serving.models.start_removal(new_command(), Stage.TEST, DEPLOYED))
    serving.succeeded(serving.models.start_deployment(new_command(), Stage.TEST, DEPLOYED, PAIR, None))


def test_a_failed_removal_leaves_what_is_served(serving: ModelsUnderTest, command: str) -> None:
    serving.succeeded(serving.models.start_deployment(new_command(), Stage.TEST, DEPLOYED, PAIR, None))
    serving.faults.switch_on(FaultKind.OPERATION_FAILS, command_id=command)
    assert serving.ended(serving.models.start_removal(command, Stage.TEST, DEPLOYED)).state is OperationState.FAILED
    deployment = serving.models.deployed(Stage.TEST, DEPLOYED)
    assert deployment and deployment.pair == PAIR


# ------------------------------------------------------------------------------------------------------------ scoring


@only_embedded
def test_scoring_writes_a_usable_forecast_by_the_deployed_model(serving: Platform, command: str) -> None:
    request, output = serving.request_file(SCORED, PAIR, command)
    job = serving.models.start_scoring(command, Stage.PRODUCTION, SCORED, str(request))
    assert SCORED not in job and command not in job
    status = serving.succeeded(job)
    assert status.outputs["predictions"] == str(output)
    assert status.started_at and status.ended_at and status.started_at < status.ended_at
    assert check_predictions(read_predictions(str(output)), _limits(serving, SCORED, command)) == []


@only_embedded
def test_a_request_can_be_a_blob(serving: Platform, azurite: Azurite, command: str) -> None:
    request, output = serving.request_file(SCORED, PAIR, command)
    container = BlobServiceClient.from_connection_string(azurite.connection_string).create_container(command)
    blob = container.upload_blob("requests/today.json", request.read_bytes())
    serving.succeeded(serving.models.start_scoring(command, Stage.PRODUCTION, SCORED, blob.url))
    assert output.is_file()


def test_a_job_is_found_by_its_name_alone_or_as_a_job(serving: ModelsUnderTest, command: str) -> None:
    job = _scoring(serving, command)
    serving.succeeded(job)
    assert serving.models.look(f"job:{job}").state is OperationState.SUCCEEDED


@only_embedded
@pytest.mark.parametrize("other", [Pair(model=2, environment="1.0.0"), Pair(model=1, environment="1.1.0")], ids=str)
def test_a_request_for_another_pair_than_deployed_fails_the_job(serving: Platform, command: str, other: Pair) -> None:
    request, output = serving.request_file(SCORED, other, command)
    status = serving.ended(serving.models.start_scoring(command, Stage.PRODUCTION, SCORED, str(request)))
    assert status.state is OperationState.FAILED
    assert str(other) in status.error and str(PAIR) in status.error
    assert not output.exists()


@only_embedded
def test_a_request_that_cannot_be_read_fails_the_job(serving: Platform, command: str) -> None:
    missing = str(serving.folder / "no-such-request.json")
    status = serving.ended(serving.models.start_scoring(command, Stage.PRODUCTION, SCORED, missing))
    assert status.state is OperationState.FAILED
    assert "no-such-request.json" in status.error


def test_scoring_without_a_deployment_is_refused(platform: ModelsUnderTest, command: str) -> None:
    with pytest.raises(Permanent, match="deployment-circuit-C004"):
        platform.models.start_scoring(command, Stage.PRODUCTION, NEVER_DEPLOYED, "request.json")


@only_embedded
def test_a_job_can_complete_with_a_forecast_that_is_no_number(serving: Platform, command: str) -> None:
    serving.faults.switch_on(FaultKind.OUTPUT_UNUSABLE, command_id=command)
    request, output = serving.request_file(SCORED, PAIR, command)
    serving.succeeded(serving.models.start_scoring(command, Stage.PRODUCTION, SCORED, str(request)))
    problems = check_predictions(read_predictions(str(output)), _limits(serving, SCORED, command))
    assert any("not finite" in problem for problem in problems)


def test_a_job_can_fail_and_says_why(serving: ModelsUnderTest, command: str) -> None:
    serving.faults.switch_on(FaultKind.JOB_FAILS, circuit=RACED, stage=Stage.PRODUCTION)
    status = serving.ended(_scoring(serving, command))
    assert status.state is OperationState.FAILED and status.error


def test_a_job_that_hangs_runs_until_it_is_cancelled_and_the_next_one_runs(
    serving: ModelsUnderTest, command: str
) -> None:
    serving.faults.switch_on(FaultKind.JOB_HANGS, command_id=command)
    job = _scoring(serving, command)
    wait_until(lambda: serving.look(job).started_at is not None, "the job to run")
    assert serving.look(job).state is OperationState.RUNNING
    serving.models.cancel(job)
    status = serving.ended(job)
    assert status.state is OperationState.CANCELLED and status.ended_at
    serving.succeeded(_scoring(serving, new_command()))


def test_a_job_that_takes_longer_than_its_deployment_gives_it_fails(serving: ModelsUnderTest, command: str) -> None:
    deploy = new_command()
    reference = serving.models.start_deployment(deploy, Stage.TEST, SCORED, PAIR, None, timedelta(seconds=2))
    serving.succeeded(reference)
    serving.faults.switch_on(FaultKind.JOB_HANGS, command_id=command)
    asked = serving.request_uri(SCORED, PAIR, command)
    status = serving.ended(serving.models.start_scoring(command, Stage.TEST, SCORED, asked))
    assert status.state is OperationState.FAILED and status.error
    serving.succeeded(serving.models.start_deployment(new_command(), Stage.TEST, SCORED, PAIR, None))


# ----------------------------------------------------------------------------------------------- starting, exactly once


@every_start
def test_a_start_with_a_known_command_id_returns_the_same_work(
    serving: ModelsUnderTest, command: str, start: Start
) -> None:
    reference = start(serving, command)
    assert start(serving, command) == reference
    serving.succeeded(reference)
    assert start(serving, command) == reference


@every_start
def test_callers_who_race_on_one_command_id_start_one_thing(
    serving: ModelsUnderTest, command: str, start: Start
) -> None:
    with ThreadPoolExecutor(12) as callers:
        references = set(callers.map(lambda _: serving.taken(lambda: start(serving, command)), range(24)))
    assert len(references) == 1
    serving.succeeded(references.pop())


@every_start
def test_a_lost_answer_is_found_again_by_the_command_id(serving: ModelsUnderTest, command: str, start: Start) -> None:
    serving.faults.switch_on(FaultKind.ANSWER_LOST, command_id=command)
    with pytest.raises(Transient):
        start(serving, command)
    reference = serving.taken(lambda: start(serving, command))
    status = serving.succeeded(reference)
    assert start(serving, command) == reference
    assert serving.look(reference) == status


@every_start
def test_a_throttled_start_says_when_to_try_again(serving: ModelsUnderTest, command: str, start: Start) -> None:
    serving.faults.switch_on(FaultKind.THROTTLED, command_id=command, seconds=3, times=2)
    for _ in range(2):
        with pytest.raises(Transient) as throttled:
            start(serving, command)
        assert throttled.value.retry_after == 3
    serving.succeeded(start(serving, command))


def test_a_command_id_stands_for_one_request(serving: ModelsUnderTest, command: str) -> None:
    serving.succeeded(serving.models.start_deployment(command, Stage.TEST, DEPLOYED, PAIR, None))
    other = Pair(model=1, environment="3.0.0")
    with pytest.raises(Permanent, match=command):
        serving.models.start_deployment(command, Stage.TEST, DEPLOYED, other, None)


# ------------------------------------------------------------------------------------------------ looks and cancels


@pytest.mark.parametrize("reference", ["operation:never", "job:never", "batchjob-never"])
def test_work_that_nobody_started_is_unknown(platform: ModelsUnderTest, reference: str) -> None:
    status = platform.models.look(reference)
    assert (status.reference, status.state) == (reference, OperationState.UNKNOWN)
    platform.models.cancel(reference)


def test_cancelling_what_has_ended_changes_nothing(serving: ModelsUnderTest, command: str) -> None:
    for start in (_promotion, _scoring):
        ended = serving.succeeded(start(serving, f"{command} {start.__name__}"))
        serving.models.cancel(ended.reference)
        assert serving.look(ended.reference) == ended


def test_a_platform_that_does_not_answer_is_to_be_tried_again() -> None:
    absent = LocalModelPlatform(f"http://127.0.0.1:{free_port()}", "key")
    with pytest.raises(Transient, match="does not answer"):
        absent.look("operation:1")


def test_a_caller_without_the_key_is_refused(process: object) -> None:
    stranger = LocalModelPlatform(process.url, "wrong")  # type: ignore[attr-defined]
    with pytest.raises(Permanent, match="key"):
        stranger.deployed(Stage.TEST, PROMOTED)
