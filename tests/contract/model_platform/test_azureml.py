"""What the AzureML adapter does beyond the port's contract: endpoints, quota, crashes, changes by hand.

Each test has services of its own, with the circuit's model in the dev workspace.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

import pytest
from azure_harness import AzurePlatform
from harness import new_command

from local.platform.faults import FaultKind
from shared.adapters.azure.model_platform import DEPLOYMENTS_OF_AN_ENDPOINT, AzureModelPlatform
from shared.adapters.azure.starts import CLAIM
from shared.adapters.local.state_store import MemoryStateStore
from shared.domain.values import OperationState, Pair, Stage
from shared.errors import Permanent, Transient
from shared.ports import Write
from tests.azure_services.arm import AzureMlState, workspace_id
from tests.azure_services.server import AzureServices, Fault

CIRCUIT, OTHER = "P001_C001", "P001_C002"
PAIR = Pair(model=1, environment="1.0.0")
REQUEST = "https://documents.example.org/requests/P001_C001/today.json"


@pytest.fixture
def platform() -> Iterator[AzurePlatform]:
    state = AzureMlState()
    with AzureServices(*state.services()) as azure:
        yield AzurePlatform(azure, state)


@pytest.fixture
def serving(platform: AzurePlatform) -> AzurePlatform:
    for stage in (Stage.TEST, Stage.PRODUCTION):
        platform.deploy(stage, CIRCUIT, PAIR)
    return platform


class Crash(BaseException):
    """The process ends here."""


class DyingStore(MemoryStateStore):
    """The rows of another store, for a process that ends when it writes down what it has started."""

    def __init__(self, store: MemoryStateStore) -> None:
        self.__dict__ = store.__dict__

    def commit(self, partition: str, writes: Sequence[Write]) -> None:
        if any(write.row.body.get("reference") for write in writes):
            raise Crash
        super().commit(partition, writes)


def _dying(platform: AzurePlatform) -> AzureModelPlatform:
    return platform.restarted(DyingStore(platform.store))


# --------------------------------------------------------------------------------------------------------- endpoints


def test_the_first_deployment_of_a_plant_creates_its_endpoint_and_says_when_to_ask_again(
    platform: AzurePlatform,
) -> None:
    platform.succeeded(platform.models.start_promotion(new_command(), CIRCUIT, PAIR.model))
    command = new_command()
    for _ in range(2):  # asking too early changes nothing
        with pytest.raises(Transient, match="batch-endpoint-plant-P001-tst is being created") as early:
            platform.models.start_deployment(command, Stage.TEST, CIRCUIT, PAIR, None)
        assert early.value.retry_after
    platform.azure.clock.advance(timedelta(minutes=2))
    platform.succeeded(platform.models.start_deployment(command, Stage.TEST, CIRCUIT, PAIR, None))
    assert len(platform.azure.requests("arm", "PUT", "batchEndpoints/batch-endpoint-plant-P001-tst$")) == 1


def test_no_endpoint_is_given_a_default_and_every_invocation_names_its_deployment(serving: AzurePlatform) -> None:
    serving.deploy(Stage.PRODUCTION, OTHER, PAIR)
    serving.models.start_scoring(new_command(), Stage.PRODUCTION, OTHER, REQUEST)
    puts = serving.azure.requests("arm", "PUT", "batchEndpoints/[^/]+$")
    assert puts and all("defaults" not in put.call.body["properties"] for put in puts)
    (invoked,) = serving.azure.requests("scoring", "POST")
    assert invoked.call.headers["azureml-model-deployment"] == "deployment-circuit-C002"


def test_a_full_endpoint_takes_no_new_deployment_and_the_reason_names_the_quota(serving: AzurePlatform) -> None:
    full = _fill(serving)
    before = len(serving.azure.requests("arm", "PUT"))
    with pytest.raises(Permanent, match=r"deployment-circuit-C099 is not created: .*-prd has 20 deployments.*delete"):
        serving.models.start_deployment(new_command(), Stage.PRODUCTION, "P001_C099", PAIR, None)
    assert (len(full), len(serving.azure.requests("arm", "PUT"))) == (DEPLOYMENTS_OF_AN_ENDPOINT, before)


def test_a_full_endpoint_still_takes_changes_of_what_it_has(serving: AzurePlatform) -> None:
    _fill(serving)
    newer = Pair(model=1, environment="2.0.0")
    serving.succeeded(serving.models.start_deployment(new_command(), Stage.PRODUCTION, CIRCUIT, newer, PAIR))


def _fill(platform: AzurePlatform) -> list[str]:
    """Give CIRCUIT's production endpoint as many deployments as it takes."""
    deployments = platform.state.deployments
    (key,) = [key for key in deployments if workspace_id(Stage.PRODUCTION).lower() in key]
    for number in range(len(deployments), DEPLOYMENTS_OF_AN_ENDPOINT + 1):
        name = f"deployment-circuit-x{number}"
        deployments[key.replace("deployment-circuit-c001", name)] = {**deployments[key], "name": name}
    return [key for key in deployments if workspace_id(Stage.PRODUCTION).lower() in key]


def test_a_removal_makes_room_on_a_full_endpoint(serving: AzurePlatform) -> None:
    _fill(serving)
    serving.succeeded(serving.models.start_removal(new_command(), Stage.PRODUCTION, CIRCUIT))
    serving.deploy(Stage.PRODUCTION, OTHER, PAIR)


def test_what_somebody_made_the_endpoints_default_is_not_removed_and_the_reason_says_so(serving: AzurePlatform) -> None:
    for endpoint in serving.state.endpoints.values():
        endpoint["properties"]["defaults"] = {"deploymentName": "deployment-circuit-C001"}
    with pytest.raises(Permanent, match="is the default of batch-endpoint-plant-P001-prd"):
        serving.models.start_removal(new_command(), Stage.PRODUCTION, CIRCUIT)
    assert serving.models.deployed(Stage.PRODUCTION, CIRCUIT)


# ----------------------------------------------------------------------------------------------------------- crashes


def test_a_removal_that_was_started_before_a_crash_is_found_and_not_started_again(serving: AzurePlatform) -> None:
    command = new_command()
    with pytest.raises(Crash):
        _dying(serving).start_removal(command, Stage.PRODUCTION, CIRCUIT)
    serving.azure.clock.advance(CLAIM)
    serving.succeeded(serving.restarted().start_removal(command, Stage.PRODUCTION, CIRCUIT))
    assert len(serving.azure.requests("arm", "DELETE")) == 1


@pytest.mark.parametrize("names", [True, False], ids=["takes our job name", "names jobs itself"])
def test_a_job_that_was_started_before_a_crash_is_found_and_not_started_again(
    serving: AzurePlatform, names: bool
) -> None:
    serving.state.takes_job_names = names
    command = new_command()
    with pytest.raises(Crash):
        _dying(serving).start_scoring(command, Stage.PRODUCTION, CIRCUIT, REQUEST)
    serving.azure.clock.advance(CLAIM)
    job = serving.restarted().start_scoring(command, Stage.PRODUCTION, CIRCUIT, REQUEST)
    assert list(serving.state.jobs) == [job]
    serving.succeeded(job)


def test_a_deployment_that_was_started_before_a_crash_is_found_and_not_started_again(serving: AzurePlatform) -> None:
    command, newer = new_command(), Pair(model=1, environment="2.0.0")
    before = len(serving.state.operations)
    with pytest.raises(Crash):
        _dying(serving).start_deployment(command, Stage.TEST, CIRCUIT, newer, PAIR)
    serving.azure.clock.advance(CLAIM)
    reference = serving.restarted().start_deployment(command, Stage.TEST, CIRCUIT, newer, PAIR)
    assert len(serving.state.operations) == before + 1
    serving.succeeded(reference)
    deployment = serving.models.deployed(Stage.TEST, CIRCUIT)
    assert deployment and deployment.pair == newer


def test_a_promotion_that_was_started_before_a_crash_ends_as_one_copy(platform: AzurePlatform) -> None:
    command = new_command()
    with pytest.raises(Crash):
        _dying(platform).start_promotion(command, CIRCUIT, 1)
    platform.azure.clock.advance(CLAIM)
    reference = platform.restarted().start_promotion(command, CIRCUIT, 1)
    assert len(platform.azure.requests("registry", "POST")) == 1
    assert platform.succeeded(reference).outputs == {"registry_version": "1"}


def test_a_reference_is_understood_by_the_next_process(serving: AzurePlatform) -> None:
    version = serving.unpromoted(CIRCUIT, "new")
    references = [
        serving.models.start_promotion(new_command(), CIRCUIT, version),
        serving.models.start_deployment(new_command(), Stage.TEST, CIRCUIT, PAIR, None),
        serving.models.start_scoring(new_command(), Stage.PRODUCTION, CIRCUIT, REQUEST),
    ]
    restarted = serving.restarted()
    assert [restarted.look(reference).state for reference in references] == [OperationState.RUNNING] * 3
    serving.azure.clock.advance(timedelta(hours=1))
    assert [restarted.look(reference).state for reference in references] == [OperationState.SUCCEEDED] * 3


# --------------------------------------------------------------------------------------------- what is really served


def test_a_deployment_that_is_being_changed_is_to_be_looked_at_again(serving: AzurePlatform) -> None:
    newer = Pair(model=1, environment="2.0.0")
    serving.models.start_deployment(new_command(), Stage.TEST, CIRCUIT, newer, PAIR)
    with pytest.raises(Transient, match="is being changed"):
        serving.models.deployed(Stage.TEST, CIRCUIT)


def test_a_change_by_hand_shows_beside_tags_that_do_not_know_of_it(serving: AzurePlatform) -> None:
    by_hand = Pair(model=7, environment="2.0.0")
    serving.change_by_hand(Stage.PRODUCTION, CIRCUIT, by_hand)
    deployment = serving.models.deployed(Stage.PRODUCTION, CIRCUIT)
    assert deployment and deployment.pair == by_hand
    assert (deployment.tags["model_version"], deployment.tags["environment_version"]) == ("1", "1.0.0")


@pytest.mark.parametrize(
    "asset",
    [
        "azureml://registries/sensor-forecast-registry/models/sensor_model_P001_C002/versions/1",
        "azureml://registries/other-registry/models/sensor_model_P001_C001/versions/1",
        f"{workspace_id(Stage.DEV)}/models/sensor_model_P001_C001/versions/1",
    ],
    ids=["another circuit's", "another registry's", "a workspace's own"],
)
def test_a_model_by_hand_that_is_none_of_the_circuits_is_named(serving: AzurePlatform, asset: str) -> None:
    serving.state.change_by_hand(Stage.TEST, CIRCUIT, model={"referenceType": "Id", "assetId": asset})
    with pytest.raises(Permanent, match="changed by hand") as found:
        serving.models.deployed(Stage.TEST, CIRCUIT)
    assert asset in str(found.value)


def test_ids_are_compared_whatever_their_case(serving: AzurePlatform) -> None:
    lower = "azureml://registries/Sensor-Forecast-Registry/models/SENSOR_MODEL_p001_c001/versions/1"
    serving.state.change_by_hand(Stage.TEST, CIRCUIT, model={"referenceType": "Id", "assetId": lower})
    deployment = serving.models.deployed(Stage.TEST, CIRCUIT)
    assert deployment and deployment.pair == PAIR


def test_a_deployment_says_all_of_what_runs(serving: AzurePlatform) -> None:
    put = serving.azure.requests("arm", "PUT", "deployments/")[-1].call.body["properties"]
    assert put["model"]["assetId"].endswith("/models/sensor_model_P001_C001/versions/1")
    assert put["environmentId"].endswith("/environments/sensor-forecast-env/versions/1.0.0")
    assert put["codeConfiguration"]["codeId"].endswith("/codes/sensor-forecast-env/versions/1.0.0")
    assert put["environmentVariables"] == {"PLANT_ID": "P001", "CIRCUIT_ID": "C001"}
    assert put["compute"].startswith(workspace_id(Stage.PRODUCTION))


# ------------------------------------------------------------------------------------------------- looks that differ


def test_every_environment_is_listed_however_many_pages_there_are(platform: AzurePlatform) -> None:
    versions = {f"4.{number}.0" for number in range(25)}
    for version in versions:
        platform.register_environment(version, {})
    assert set(platform.models.environments()) == versions
    assert len(platform.azure.requests("arm", "GET", "/environments/[^/]+/versions$")) == 3


def test_an_import_that_failed_since_somebody_was_faster_is_a_success(platform: AzurePlatform) -> None:
    platform.faults.switch_on(FaultKind.OPERATION_FAILS, command_id="ours")
    ours = platform.models.start_promotion("ours", CIRCUIT, 1)
    platform.azure.clock.advance(timedelta(hours=1))
    assert platform.look(ours).state is OperationState.FAILED
    platform.succeeded(platform.models.start_promotion("theirs", CIRCUIT, 1))
    assert platform.look(ours).state is OperationState.SUCCEEDED


def test_an_operation_that_the_service_has_forgotten_is_unknown(serving: AzurePlatform) -> None:
    reference = serving.models.start_deployment(new_command(), Stage.TEST, CIRCUIT, PAIR, None)
    serving.ended(reference)
    serving.state.operations.clear()
    assert serving.look(reference).state is OperationState.UNKNOWN


def test_a_promotion_whose_operation_is_forgotten_is_seen_in_the_registry(platform: AzurePlatform) -> None:
    reference = platform.models.start_promotion(new_command(), CIRCUIT, 1)
    platform.ended(reference)
    platform.state.operations.clear()
    assert platform.look(reference).state is OperationState.SUCCEEDED


def test_nobody_but_azureml_is_asked_about_an_operation(platform: AzurePlatform) -> None:
    elsewhere = "operation:https://management.azure.com.example.org/operations/1"
    before = len(platform.azure.requests("identity"))
    assert platform.look(elsewhere).state is OperationState.UNKNOWN
    assert len(platform.azure.requests("identity")) <= before + 1  # the registry's discovery
    assert not platform.azure.requests(path="operations/1")


def test_a_failed_job_says_where_its_logs_are(serving: AzurePlatform) -> None:
    serving.faults.switch_on(FaultKind.JOB_FAILS, circuit=CIRCUIT, stage=Stage.PRODUCTION)
    job = serving.models.start_scoring(new_command(), Stage.PRODUCTION, CIRCUIT, REQUEST)
    status = serving.ended(job)
    assert status.state is OperationState.FAILED
    assert f"https://ml.azure.com/runs/{job}" in status.error


def test_a_job_of_the_test_workspace_is_found_by_its_name_alone(serving: AzurePlatform) -> None:
    job = serving.models.start_scoring(new_command(), Stage.TEST, CIRCUIT, REQUEST)
    assert serving.look(job).state is OperationState.RUNNING
    serving.models.cancel(job)
    assert serving.ended(job).state is OperationState.CANCELLED


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_look_that_the_service_refuses_now_is_tried_again_when_it_says(serving: AzurePlatform, status: int) -> None:
    job = serving.models.start_scoring(new_command(), Stage.PRODUCTION, CIRCUIT, REQUEST)
    serving.azure.faults.switch_on(Fault("refuse", "arm", "GET", f"/jobs/{job}", status=status, retry_after=17))
    with pytest.raises(Transient) as refused:
        serving.look(job)
    assert refused.value.retry_after == 17
    assert serving.look(job).state is OperationState.RUNNING
