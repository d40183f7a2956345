"""Every request of the AzureML adapter, held against Microsoft's definitions, or against what azure-ai-ml sends."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from azure_harness import AzurePlatform
from harness import new_command

from local.platform.faults import FaultKind
from scripts.register_mltable import AzureDataAssets
from shared.domain.values import Pair, Stage
from tests.azure_services.arm import REGISTRY, SUBSCRIPTION, AzureMlState, workspace_id
from tests.azure_services.definitions import SPECS, azureml
from tests.azure_services.rights import allows, needed, unused
from tests.azure_services.server import AzureServices, Logged

UNPROVEN = Path(__file__).parents[2] / "azure_services" / "unproven.txt"
SERVICES = ("arm", "discovery", "registry", "scoring")
CIRCUIT = "P001_C001"
PAIR, NEWER = Pair(model=1, environment="1.0.0"), Pair(model=1, environment="2.0.0")
REQUEST = "https://documents.example.org/requests/P001_C001/today.json"
_numbers = itertools.count()


@pytest.fixture(scope="module")
def platform() -> Iterator[AzurePlatform]:
    state = AzureMlState()
    with AzureServices(*state.services()) as azure:
        yield AzurePlatform(azure, state)


@pytest.fixture(scope="module")
def story(platform: AzurePlatform) -> list[Logged]:
    """The requests of a release and of what goes wrong in one: every method of the port, and looks for lost work."""
    models = platform.models
    models.describe_model(CIRCUIT, 1)
    models.environments()
    models.describe_environment("1.0.0")
    models.environment_is_promoted("1.0.0")
    for stage in (Stage.TEST, Stage.PRODUCTION):
        platform.deploy(stage, CIRCUIT, PAIR)
        models.deployed(stage, CIRCUIT)
    for kind in (FaultKind.ANSWER_LOST, FaultKind.THROTTLED):
        _interrupted(platform, kind)
    platform.succeeded(models.start_removal(new_command(), Stage.TEST, CIRCUIT))
    platform.deploy(Stage.TEST, CIRCUIT, PAIR)
    platform.state.takes_job_names = False
    platform.faults.switch_on(FaultKind.ANSWER_LOST, command_id="unnamed")
    platform.taken(lambda: models.start_scoring("unnamed", Stage.TEST, CIRCUIT, REQUEST))
    return [logged for logged in platform.azure.requests() if logged.call.service in SERVICES]


def _interrupted(platform: AzurePlatform, kind: FaultKind) -> None:
    """A deployment and a scoring that a fault strikes, started again until they are taken."""
    models, deploy, score = platform.models, new_command(), new_command()
    for command in (deploy, score):
        platform.faults.switch_on(kind, command_id=command)
    deployment = platform.taken(lambda: models.start_deployment(deploy, Stage.TEST, CIRCUIT, NEWER, PAIR))
    platform.succeeded(deployment)
    job = platform.taken(lambda: models.start_scoring(score, Stage.PRODUCTION, CIRCUIT, REQUEST))
    models.cancel(job)
    platform.ended(job)


@pytest.mark.skipif(not SPECS.is_dir(), reason="REFERENCE_DIR holds no REST definitions")
def test_every_request_is_as_microsoft_defines_it(story: list[Logged]) -> None:
    problems = {logged.operation: found for logged in story if (found := azureml().problems(logged.call))}
    assert problems == {}


@pytest.mark.skipif(not SPECS.is_dir(), reason="REFERENCE_DIR holds no REST definitions")
def test_the_calls_that_no_definition_proves_are_those_that_are_listed(story: list[Logged]) -> None:
    unproven = {logged.operation for logged in story if azureml().problems(logged.call) is None}
    assert sorted(unproven) == _listed()


def test_every_operation_that_the_services_know_is_asked_of_them(platform: AzurePlatform, story: list[Logged]) -> None:
    known = {
        f"{endpoint.method} {service.name}{endpoint.path}"
        for service in AzureMlState().services()
        if service.name in ("arm", "discovery", "scoring")
        for endpoint in service.endpoints()
    }
    assert known <= {logged.operation for logged in story}


def test_the_application_has_the_rights_that_its_requests_need_and_no_others(story: list[Logged]) -> None:
    """What infra/rbac.yml gives the application in test, in production and in the registry."""
    asked = needed(logged.call for logged in story)
    dev = workspace_id(Stage.DEV).rpartition("/")[2]
    promoting = {right for right in asked if right.place in ("registry", REGISTRY)}
    training = {right for right in asked if right.place == dev}
    deploying = asked - promoting - training
    assert [right for right in promoting if not allows("fleet promoter", right)] == []
    assert [right for right in training if not allows("fleet trainer", right)] == []
    assert [
        right for right in deploying if not any(allows(role, right) for role in ("fleet deployer", "fleet scorer"))
    ] == []
    for role, asked_there in (
        ("fleet promoter", promoting),
        ("fleet deployer", deploying),
        ("fleet scorer", deploying),
    ):
        assert unused(role, asked_there) == set()


def _listed() -> list[str]:
    lines = UNPROVEN.read_text(encoding="utf-8").splitlines()
    return sorted(line for line in lines if line.split(" ", 1)[-1].split("/")[0] in SERVICES)


# ---------------------------------------------------------------------------------- what azure-ai-ml sends for the same


def _place(stage: Stage) -> tuple[str, str, str]:
    """Subscription, resource group and name of a workspace."""
    return (SUBSCRIPTION, "sensor-forecast", workspace_id(stage).rsplit("/", 1)[-1])


class Bearer:
    """The app's credential, as azure-ai-ml wants it."""

    def __init__(self, azure: AzureServices) -> None:
        self.get_token = azure.credential().get_token


@pytest.fixture
def cloud(platform: AzurePlatform, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The options by which clients of azure-ai-ml take the services here for Azure."""
    azure = platform.azure
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(azure.authority))
    # The name of a cloud is process-wide, and one that is known is not overwritten.
    name = f"Here{next(_numbers)}"
    addresses = {
        "resource_manager": azure.url("arm"),
        "active_directory": azure.url("identity"),
        "aml_resource_id": "https://ml.azure.com",
        "storage_endpoint": "example.org",
        "azure_portal": "https://portal.example.org",
        "registry_discovery_endpoint": azure.url("discovery") + "/",
    }

    return {"cloud": name, "cloud_metadata": addresses, "enable_telemetry": False}


@pytest.fixture
def sdk(platform: AzurePlatform, cloud: dict[str, Any]) -> Callable[[Stage], Any]:
    """Makes a client of azure-ai-ml, for one operation."""
    from azure.ai.ml import MLClient

    return lambda stage: MLClient(Bearer(platform.azure), *_place(stage), **cloud)


def test_an_import_is_what_the_sdk_sends_to_share_a_model(
    platform: AzurePlatform, story: list[Logged], sdk: Any
) -> None:
    version = platform.unpromoted(CIRCUIT, "for the SDK")
    platform.succeeded(platform.models.start_promotion(new_command(), CIRCUIT, version))
    ours = platform.azure.requests("registry", "POST", "/import$")[-1].call
    platform.state.operation_time = timedelta()
    del platform.state.assets[REGISTRY, "models", f"sensor_model_{CIRCUIT}", str(version)]
    sdk(Stage.DEV).models.share(
        f"sensor_model_{CIRCUIT}",
        str(version),
        registry_name=REGISTRY,
        share_with_name=f"sensor_model_{CIRCUIT}",
        share_with_version=str(version),
    )
    theirs = platform.azure.requests("registry", "POST", "/import$")[-1].call
    assert theirs is not ours
    assert (theirs.path, theirs.query, theirs.body) == (ours.path, ours.query, ours.body)


def test_an_invocation_is_what_the_sdk_sends_to_score_a_file(
    platform: AzurePlatform, story: list[Logged], sdk: Any
) -> None:
    from azure.ai.ml import Input, Output

    platform.models.start_scoring(new_command(), Stage.PRODUCTION, CIRCUIT, REQUEST)
    ours = platform.azure.requests("scoring", "POST")[-1].call
    given = ours.body["properties"]
    sdk(Stage.PRODUCTION).batch_endpoints.invoke(
        endpoint_name="batch-endpoint-plant-P001-prd",
        deployment_name="deployment-circuit-C001",
        job_name=given["name"],
        inputs={"request": Input(type="uri_file", path=REQUEST)},
        outputs={"score": Output(type="uri_file", path=given["outputData"]["score"]["uri"])},
    )
    theirs = platform.azure.requests("scoring", "POST")[-1].call
    assert theirs is not ours
    assert theirs.path == ours.path
    assert theirs.headers["azureml-model-deployment"] == ours.headers["azureml-model-deployment"]
    extra = given.pop("properties")
    assert (theirs.body["properties"], list(extra)) == (given, ["command_id"])


def test_the_script_for_data_assets_reads_what_is_registered(platform: AzurePlatform, cloud: dict[str, Any]) -> None:
    name = "sensor_training_data_P001_C001"
    platform.state.assets[workspace_id(Stage.DEV), "data", name, "2025-12-09"] = {"delta_version": "7"}
    assets = AzureDataAssets(*_place(Stage.DEV), Bearer(platform.azure), **cloud)
    assert assets.tags(name, "2025-12-09") == {"delta_version": "7"}
    assert assets.tags(name, "2025-12-10") is None
