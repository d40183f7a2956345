"""The ETL and training runners on Synapse and AzureML: what those services alone know, and every request to them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from harness import new_command
from runners_harness import KINDS, TRAINED_CIRCUIT, WHO, AzureRunners, Kind, azure_runners, readings

from shared.adapters.azure.monitor_runner import AzureMonitorRunner, MonitoringJobs
from shared.errors import Permanent, Transient
from tests.azure_services import synapse, training
from tests.azure_services.definitions import azureml
from tests.azure_services.rights import PROVIDER, allows, needed, sent, unused
from tests.azure_services.server import AzureServices, Call, Endpoint, Fault, Refused, Reply, Service


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return readings(tmp_path_factory.mktemp("landing"))


@pytest.fixture
def azure(tmp_path: Path, landing: Path) -> Iterator[AzureRunners]:
    with azure_runners(tmp_path, landing) as runners:
        yield runners


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [500, 503])
def test_a_service_that_is_down_is_asked_again(azure: AzureRunners, kind: Kind, status: int, command: str) -> None:
    azure.services.faults.switch_on(Fault("refuse", service="synapse" if kind == "etl" else "arm", status=status))
    with pytest.raises(Transient):
        azure.start(kind, command)
    assert azure.start(kind, command) and azure.started() == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_that_is_no_longer_good_is_no_end(azure: AzureRunners, kind: Kind, command: str) -> None:
    runner, reference = azure.runner(kind), azure.start(kind, command)
    runner.look(reference)
    azure.services.identity.revoke()
    with pytest.raises(Transient, match="401"):
        runner.look(reference)


# ------------------------------------------------------------------------------------------------------------------ ETL


def test_an_etl_run_names_table_version_and_report_and_none_where_nothing_changed(azure: AzureRunners) -> None:
    first, second = azure.start("etl", new_command()), azure.start("etl", new_command())
    azure.later()
    outputs = azure.look("etl", first).outputs
    commit = azure.lake.read_commit(None)
    assert commit and (outputs["table_id"], outputs["version"]) == (commit["table_id"], str(commit["version"]))
    assert azure.lake.read_report(outputs["report"])["sensors"]
    assert azure.look("etl", second).outputs["version"] == ""


def test_an_upkeep_is_a_batch_of_its_own_that_obeys_the_order_in_the_lake(azure: AzureRunners, command: str) -> None:
    run = azure.start("etl", new_command())
    azure.later()
    azure.look("etl", run)
    commit = azure.lake.read_commit(None)
    assert commit
    azure.lake.order_upkeep("upkeep-1", commit["table_id"], {commit["version"]})
    reference = azure.etl().start_upkeep(command, "upkeep-1")
    assert azure.etl().start_upkeep(command, "upkeep-1") == reference == "upkeep:2:upkeep-1"
    azure.later()
    outputs = azure.look("etl", reference).outputs
    assert azure.lake.read_upkeep(outputs["run_id"]) == {"version": None, "deleted_files": 0, "lost": []}


def test_a_lost_batch_is_found_among_many_that_the_pool_remembers(azure: AzureRunners, command: str) -> None:
    for _ in range(45):
        azure.start("etl", new_command())
    azure.services.faults.switch_on(Fault("lose", method="POST", status=504))
    with pytest.raises(Transient):
        azure.start("etl", command)
    assert azure.start("etl", command) == f"spark:46:run-{command}"
    assert azure.started() == 46


def test_a_command_id_stands_for_one_run(azure: AzureRunners, command: str) -> None:
    azure.etl().start(command, "run-1")
    with pytest.raises(Permanent, match="run-1"):
        azure.etl().start(command, "run-2")


def test_a_service_that_does_not_answer_in_time_is_asked_again(azure: AzureRunners, command: str) -> None:
    azure.services.faults.switch_on(Fault("hang", service="synapse", seconds=5))
    with pytest.raises(Transient, match="does not answer"):
        azure.etl(read_timeout=0.2).start(command, "run")


@pytest.mark.parametrize("reference", ["job:1", "spark:1", "spark:x:run", "spark:1:", ""])
def test_a_reference_of_something_else_is_refused(azure: AzureRunners, reference: str) -> None:
    with pytest.raises(Permanent, match=r"spark:\{number\}"):
        azure.etl().look(reference)


# ------------------------------------------------------------------------------------------------------------- training


def test_a_training_is_told_commit_data_and_where_to_log_and_names_its_model(azure: AzureRunners, command: str) -> None:
    for tags in ({"command_id": "another"}, {}, {"command_id": "a third"}):
        azure.workspace.register_model(f"sensor_model_{TRAINED_CIRCUIT}", tags)
    reference = azure.training().start(command, TRAINED_CIRCUIT, *WHO)
    azure.later()
    azure.workspace.register_model(f"sensor_model_{TRAINED_CIRCUIT}", {"command_id": "registered later"})
    for _ in range(3):
        azure.workspace.register_model(f"sensor_model_{TRAINED_CIRCUIT}", {"command_id": "much later"})
    (job,) = azure.workspace.jobs.values()
    request = azure.documents.at(job.properties["inputs"]["request"]["uri"])
    assert (request["git_commit_sha"], request["pr_author"], request["pr_number"]) == WHO
    assert (request["delta_version"], request["tracking_uri"]) == (7, training.TRACKING)
    assert request["table_uri"] == azure.lake.table_uri
    outputs = azure.training().look(reference).outputs
    version = int(outputs["model_version"])
    assert azure.workspace.models[f"sensor_model_{TRAINED_CIRCUIT}", version][0]["command_id"] == command


def test_a_training_that_is_compared_is_given_the_champion_that_serves(azure: AzureRunners, command: str) -> None:
    model = f"sensor_model_{TRAINED_CIRCUIT}"
    champion = azure.workspace.register_model(model, {"cutoff_date": "2025-11-02"})
    azure.training().start(command, TRAINED_CIRCUIT, *WHO, champion)
    (job,) = azure.workspace.jobs.values()
    given = job.properties["inputs"]
    assert given["champion"]["uri"] == f"{training.WORKSPACE}/models/{model}/versions/{champion}"
    assert job.properties["command"].endswith("--champion ${{inputs.champion}}")
    request = azure.documents.at(given["request"]["uri"])
    assert request["champion"] == {"version": champion, "cutoff_date": "2025-11-02", "folder": ""}


def test_a_champion_that_the_workspace_has_lost_does_not_keep_a_new_model_from_being_trained(
    azure: AzureRunners, command: str
) -> None:
    azure.training().start(command, TRAINED_CIRCUIT, *WHO, 7)
    (job,) = azure.workspace.jobs.values()
    assert "champion" not in job.properties["inputs"] and "--champion" not in job.properties["command"]


@pytest.mark.parametrize(
    ("circuit", "code", "problem"),
    [
        ("P001_C999", {"1.0.0"}, "there is no circuit 'P001_C999'"),
        ("../P001_C001", {"1.0.0"}, "there is no circuit"),
        (TRAINED_CIRCUIT, {"0.9.0"}, "run scripts/register_environment.py 1.0.0 first"),
        ("P001_C002", {"1.0.0"}, "run scripts/register_mltable.py P001_C002 first"),
    ],
)
def test_what_cannot_be_trained_is_refused_with_the_next_step(
    azure: AzureRunners, circuit: str, code: set[str], problem: str, command: str
) -> None:
    azure.workspace.code = code
    with pytest.raises(Permanent, match=problem):
        azure.training().start(command, circuit, *WHO)
    assert not azure.workspace.jobs


def test_every_request_was_answered_as_the_definitions_allow(azure: AzureRunners, command: str) -> None:
    """Synapse and AzureML are asked nothing that their definitions do not know."""
    for kind in KINDS:
        reference = azure.start(kind, f"{command}.{kind}")
        azure.ended(kind, reference)
        azure.runner(kind).cancel(reference)
    known = {"synapse": synapse.synapse_definitions(), "arm": azureml()}
    undefined = {
        logged.call.path
        for logged in azure.services.requests()
        if logged.call.service in known and known[logged.call.service].operation(logged.call) is None
    }
    assert undefined <= {training.WORKSPACE}, "a workspace's own definition is not at hand"


def test_the_application_has_the_rights_that_training_needs_and_no_others(azure: AzureRunners, command: str) -> None:
    """What infra/rbac.yml gives the application in the dev workspace; the rest of it describes and lists assets."""
    done, cancelled = (azure.start("training", f"{command}.{end}") for end in ("done", "cancelled"))
    azure.runner("training").cancel(cancelled)
    azure.ended("training", done)
    asked = needed(logged.call for logged in azure.services.requests() if logged.call.service == "arm")
    assert [right for right in asked if not allows("fleet trainer", right)] == []
    elsewhere = {f"{PROVIDER}/workspaces/{kind}/read" for kind in ("environments/versions", "data")}
    assert unused("fleet trainer", asked) <= elsewhere
    assert {right.action for right in asked} == sent("scripts/train_circuits.py", "dev workspace"), (
        "a build asks the same"
    )


class MonitoringWorkspace(Service):
    """The jobs of a workspace, as far as monitoring runs need them: they run until they are cancelled."""

    name: ClassVar[str] = "arm"
    audience: ClassVar[str] = "https://management.azure.com"

    def __init__(self) -> None:
        self.jobs: dict[str, Any] = {}

    def endpoints(self) -> list[Endpoint]:
        path = training.WORKSPACE + "/jobs/{job}"
        return [
            Endpoint("GET", path, self._get),
            Endpoint("PUT", path, self._put),
            Endpoint("POST", path + "/cancel", lambda call: Reply(202)),
        ]

    def _get(self, call: Call) -> Reply:
        if call.parts["job"] not in self.jobs:
            raise Refused(404, "UserError", "there is no such job")
        return Reply(200, self.jobs[call.parts["job"]])

    def _put(self, call: Call) -> Reply:
        self.jobs[call.parts["job"]] = {**call.body, "properties": {**call.body["properties"], "status": "Running"}}
        return Reply(201, self.jobs[call.parts["job"]])


def test_the_application_has_the_rights_that_monitoring_needs_and_no_others(command: str) -> None:
    """What infra/rbac.yml gives the application for its monitoring runs, in the production workspace."""
    with AzureServices(MonitoringWorkspace()) as services:
        jobs = MonitoringJobs(training.WORKSPACE, "sensor-forecast-registry", management=services.url("arm"))
        runner = AzureMonitorRunner(jobs, services.credential(), connection_verify=str(services.authority))
        reference = runner.start(command, "https://documents/request.json", "abfss://lake@lake/monitoring/1", "1.0.0")
        runner.cancel(reference)
        asked = needed(logged.call for logged in services.requests() if logged.call.service == "arm")
    assert [right for right in asked if not allows("fleet monitor", right)] == []
    assert unused("fleet monitor", asked) == set()
