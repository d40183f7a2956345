"""The ETL and training runners on Synapse and AzureML, against services that hold requests to the definitions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from etl.run import run_etl
from etl.upkeep import keep_up
from local.readings import write_readings
from shared.adapters.azure.etl_runner import SparkEtl, SynapseEtlRunner
from shared.adapters.azure.lake import UriLake
from shared.adapters.azure.starts import Starts
from shared.adapters.azure.training_runner import AzureTrainingRunner, TrainingJobs
from shared.adapters.local.state_store import MemoryStateStore
from shared.clock import SystemClock
from shared.configuration import Fleet, load_fleet
from shared.domain.values import OperationState, OperationStatus
from shared.errors import Permanent, Transient
from shared.ports import EtlRunner, TrainingRunner
from tests.azure_services import synapse, training
from tests.azure_services.definitions import azureml
from tests.azure_services.server import AzureServices, Fault
from tests.simulated import SimulatedDocuments

ROOT = Path(__file__).resolve().parents[2]
CIRCUIT = "P001_C001"
WHO = ("0" * 40, "ann@example.org", "17")
HOURS = timedelta(hours=1)
COMMANDS = (f"command.{number}" for number in count())


@pytest.fixture
def command() -> str:
    return next(COMMANDS)


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return load_fleet(ROOT / "config")


@dataclass
class Azure:
    """The two services, what lies in the lake and among the documents, and runners like those of the app."""

    services: AzureServices
    spark: synapse.Synapse
    workspace: training.TrainingWorkspace
    documents: SimulatedDocuments
    lake: UriLake
    fleet: Fleet
    store: MemoryStateStore

    def options(self, **further: Any) -> dict[str, Any]:
        return {"connection_verify": str(self.services.authority), **further}

    def etl(self, **options: Any) -> SynapseEtlRunner:
        pool = SparkEtl(self.services.url("synapse"), synapse.POOL, "abfss://code@lake.dfs.core.windows.net", "landing")
        starts = Starts(self.store, SystemClock())
        return SynapseEtlRunner(pool, self.services.credential(), starts, self.lake, **self.options(**options))

    def training(self, **options: Any) -> AzureTrainingRunner:
        jobs = TrainingJobs(training.WORKSPACE, management=self.services.url("arm"))
        return AzureTrainingRunner(
            jobs, self.services.credential(), self.fleet, self.lake, self.documents, **self.options(**options)
        )

    def later(self, by: timedelta = HOURS) -> None:
        self.services.clock.advance(by)


@pytest.fixture(scope="module")
def landing(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("landing")
    write_readings(fleet, folder, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    return folder


@pytest.fixture
def azure(tmp_path: Path, fleet: Fleet, landing: Path) -> Iterator[Azure]:
    lake, documents = UriLake(str(tmp_path / "lake")), SimulatedDocuments()

    def run(options: dict[str, Any]) -> None:
        """What the Spark jobs do, by the engine that gives the same table."""
        if options["file"].endswith("/etl/spark_upkeep.py"):
            table, _, run_id = options["args"]
            keep_up(table, run_id)
            return
        _, table, _, run_id, *_ = options["args"]
        run_etl(str(landing), table, run_id, fleet.policy, fleet)

    spark, workspace = synapse.Synapse(run), training.TrainingWorkspace(documents.at)
    config = fleet.circuit(CIRCUIT)
    workspace.register_data(config.data_asset_name, config.training.cutoff_date.isoformat(), delta_version=7)
    with AzureServices(spark, workspace) as services:
        yield Azure(services, spark, workspace, documents, lake, fleet, MemoryStateStore(shards=1))


Start = Callable[[Azure, str], str]
STARTS: dict[str, Start] = {
    "etl": lambda azure, command: azure.etl().start(command, f"run-{command}"),
    "training": lambda azure, command: azure.training().start(command, CIRCUIT, *WHO),
}

SERVICES = {"etl": "synapse", "training": "arm"}


def runner(azure: Azure, kind: str) -> EtlRunner | TrainingRunner:
    return azure.etl() if kind == "etl" else azure.training()


def work(azure: Azure) -> int:
    """How much was started."""
    return len(azure.spark.batches) + len(azure.workspace.jobs)


def look(azure: Azure, kind: str, reference: str) -> OperationStatus:
    return runner(azure, kind).look(reference)


# ----------------------------------------------------------------------------------------------- what both must promise


@pytest.mark.parametrize("kind", STARTS)
def test_started_work_runs_and_ends_with_its_times(azure: Azure, kind: str, command: str) -> None:
    reference = STARTS[kind](azure, command)
    assert look(azure, kind, reference).state is OperationState.RUNNING
    assert look(azure, kind, reference).started_at is None, "it waits for the pool or the cluster"
    azure.later(timedelta(minutes=2))
    assert look(azure, kind, reference).started_at is not None
    azure.later()
    ended = look(azure, kind, reference)
    assert ended.state is OperationState.SUCCEEDED and ended.started_at and ended.ended_at
    assert ended.started_at < ended.ended_at and ended.started_at.tzinfo is not None


@pytest.mark.parametrize("kind", STARTS)
def test_the_same_command_is_the_same_work_whenever_it_is_given(azure: Azure, kind: str, command: str) -> None:
    reference = STARTS[kind](azure, command)
    assert STARTS[kind](azure, command) == reference
    azure.later()
    assert look(azure, kind, reference).state is OperationState.SUCCEEDED
    assert STARTS[kind](azure, command) == reference
    assert work(azure) == 1


@pytest.mark.parametrize("kind", STARTS)
def test_callers_who_race_on_one_command_start_its_work_once(azure: Azure, kind: str, command: str) -> None:
    def start(_: int) -> str | None:
        try:
            return STARTS[kind](azure, command)
        except Transient:
            return None  # somebody else is at it; the queue brings the command again

    with ThreadPoolExecutor(4) as callers:
        references = {reference for reference in callers.map(start, range(8)) if reference}
    assert len(references | {STARTS[kind](azure, command)}) == 1
    assert work(azure) == 1


@pytest.mark.parametrize("kind", STARTS)
def test_work_whose_answer_was_lost_is_found_and_not_started_again(azure: Azure, kind: str, command: str) -> None:
    STARTS[kind](azure, next(COMMANDS))
    azure.services.faults.switch_on(Fault("lose", method="PUT" if kind == "training" else "POST", status=502))
    with pytest.raises(Transient):
        STARTS[kind](azure, command)
    reference = STARTS[kind](azure, command)
    assert work(azure) == 2
    azure.later()
    assert look(azure, kind, reference).state is OperationState.SUCCEEDED


@pytest.mark.parametrize("kind", STARTS)
@pytest.mark.parametrize(("status", "retry_after"), [(429, 17.0), (503, None), (500, None)])
def test_a_service_that_cannot_now_says_when_to_come_again(
    azure: Azure, kind: str, status: int, retry_after: float | None, command: str
) -> None:
    azure.services.faults.switch_on(Fault("refuse", service=SERVICES[kind], status=status, retry_after=retry_after))
    with pytest.raises(Transient) as told:
        STARTS[kind](azure, command)
    assert told.value.retry_after == retry_after
    assert STARTS[kind](azure, command) and work(azure) == 1


@pytest.mark.parametrize("kind", STARTS)
def test_a_token_that_is_no_longer_good_is_no_end(azure: Azure, kind: str, command: str) -> None:
    started = runner(azure, kind)
    reference = STARTS[kind](azure, command)
    started.look(reference)
    azure.services.identity.revoke()
    with pytest.raises(Transient, match="401"):
        started.look(reference)


@pytest.mark.parametrize("kind", STARTS)
def test_work_that_fails_says_where_to_look(azure: Azure, kind: str, command: str) -> None:
    azure.spark.endings.append("dead")
    azure.workspace.endings.append("Failed")
    reference = STARTS[kind](azure, command)
    azure.later()
    failed = look(azure, kind, reference)
    assert failed.state is OperationState.FAILED and failed.outputs == {}
    assert ("application_1" if kind == "etl" else "https://ml/") in failed.error


@pytest.mark.parametrize("kind", STARTS)
def test_work_that_hangs_runs_until_it_is_cancelled(azure: Azure, kind: str, command: str) -> None:
    azure.spark.endings.append("never")
    azure.workspace.endings.append("never")
    reference = STARTS[kind](azure, command)
    azure.later(timedelta(days=1))
    assert look(azure, kind, reference).state is OperationState.RUNNING
    runner(azure, kind).cancel(reference)
    azure.later()
    assert look(azure, kind, reference).state is OperationState.CANCELLED
    runner(azure, kind).cancel(reference)
    assert look(azure, kind, reference).state is OperationState.CANCELLED
    assert azure.workspace.models == {} and azure.lake.read_commit(None) is None


@pytest.mark.parametrize("kind", STARTS)
def test_work_that_has_ended_is_left_as_it_is(azure: Azure, kind: str, command: str) -> None:
    reference = STARTS[kind](azure, command)
    azure.later()
    runner(azure, kind).cancel(reference)
    assert look(azure, kind, reference).state is OperationState.SUCCEEDED


@pytest.mark.parametrize(("kind", "reference"), [("etl", "spark:999:run"), ("training", "job:train-nobody")])
def test_work_that_nobody_started_is_unknown_and_cancelling_it_is_nothing(
    azure: Azure, kind: str, reference: str
) -> None:
    assert look(azure, kind, reference).state is OperationState.UNKNOWN
    runner(azure, kind).cancel(reference)


# ------------------------------------------------------------------------------------------------------------------ ETL


def test_an_etl_run_names_table_version_and_report_and_none_where_nothing_changed(azure: Azure) -> None:
    first, second = STARTS["etl"](azure, next(COMMANDS)), STARTS["etl"](azure, next(COMMANDS))
    azure.later()
    outputs = look(azure, "etl", first).outputs
    commit = azure.lake.read_commit(None)
    assert commit and (outputs["table_id"], outputs["version"]) == (commit["table_id"], str(commit["version"]))
    assert azure.lake.read_report(outputs["report"])["sensors"]
    assert look(azure, "etl", second).outputs["version"] == ""


def test_an_upkeep_is_a_batch_of_its_own_that_obeys_the_order_in_the_lake(azure: Azure, command: str) -> None:
    run = STARTS["etl"](azure, next(COMMANDS))
    azure.later()
    look(azure, "etl", run)
    commit = azure.lake.read_commit(None)
    assert commit
    azure.lake.order_upkeep("upkeep-1", commit["table_id"], {commit["version"]})
    reference = azure.etl().start_upkeep(command, "upkeep-1")
    assert azure.etl().start_upkeep(command, "upkeep-1") == reference == "upkeep:2:upkeep-1"
    azure.later()
    outputs = look(azure, "etl", reference).outputs
    assert azure.lake.read_upkeep(outputs["run_id"]) == {"version": None, "deleted_files": 0, "lost": []}


def test_a_lost_batch_is_found_among_many_that_the_pool_remembers(azure: Azure, command: str) -> None:
    for _ in range(45):
        STARTS["etl"](azure, next(COMMANDS))
    azure.services.faults.switch_on(Fault("lose", method="POST", status=504))
    with pytest.raises(Transient):
        STARTS["etl"](azure, command)
    assert STARTS["etl"](azure, command) == f"spark:46:run-{command}"
    assert work(azure) == 46


def test_a_command_id_stands_for_one_run(azure: Azure, command: str) -> None:
    azure.etl().start(command, "run-1")
    with pytest.raises(Permanent, match="run-1"):
        azure.etl().start(command, "run-2")


def test_a_service_that_does_not_answer_in_time_is_asked_again(azure: Azure, command: str) -> None:
    azure.services.faults.switch_on(Fault("hang", service="synapse", seconds=5))
    with pytest.raises(Transient, match="does not answer"):
        azure.etl(read_timeout=0.2).start(command, "run")


@pytest.mark.parametrize("reference", ["job:1", "spark:1", "spark:x:run", "spark:1:", ""])
def test_a_reference_of_something_else_is_refused(azure: Azure, reference: str) -> None:
    with pytest.raises(Permanent, match=r"spark:\{number\}"):
        azure.etl().look(reference)


# ------------------------------------------------------------------------------------------------------------- training


def test_a_training_is_told_commit_data_and_where_to_log_and_names_its_model(azure: Azure, command: str) -> None:
    for tags in ({"command_id": "another"}, {}, {"command_id": "a third"}):
        azure.workspace.register_model(f"sensor_model_{CIRCUIT}", tags)
    reference = azure.training().start(command, CIRCUIT, *WHO)
    azure.later()
    azure.workspace.register_model(f"sensor_model_{CIRCUIT}", {"command_id": "registered later"})
    for _ in range(3):
        azure.workspace.register_model(f"sensor_model_{CIRCUIT}", {"command_id": "much later"})
    (job,) = azure.workspace.jobs.values()
    request = azure.documents.at(job.properties["inputs"]["request"]["uri"])
    assert (request["git_commit_sha"], request["pr_author"], request["pr_number"]) == WHO
    assert (request["delta_version"], request["tracking_uri"]) == (7, training.TRACKING)
    assert request["table_uri"] == azure.lake.table_uri
    outputs = azure.training().look(reference).outputs
    version = int(outputs["model_version"])
    assert azure.workspace.models[f"sensor_model_{CIRCUIT}", version][0]["command_id"] == command


def test_a_training_that_is_compared_is_given_the_champion_that_serves(azure: Azure, command: str) -> None:
    model = f"sensor_model_{CIRCUIT}"
    champion = azure.workspace.register_model(model, {"cutoff_date": "2025-11-02"})
    azure.training().start(command, CIRCUIT, *WHO, champion)
    (job,) = azure.workspace.jobs.values()
    given = job.properties["inputs"]
    assert given["champion"]["uri"] == f"{training.WORKSPACE}/models/{model}/versions/{champion}"
    assert job.properties["command"].endswith("--champion ${{inputs.champion}}")
    request = azure.documents.at(given["request"]["uri"])
    assert request["champion"] == {"version": champion, "cutoff_date": "2025-11-02", "folder": ""}


def test_a_champion_that_the_workspace_has_lost_does_not_keep_a_new_model_from_being_trained(
    azure: Azure, command: str
) -> None:
    azure.training().start(command, CIRCUIT, *WHO, 7)
    (job,) = azure.workspace.jobs.values()
    assert "champion" not in job.properties["inputs"] and "--champion" not in job.properties["command"]


@pytest.mark.parametrize(
    ("circuit", "code", "problem"),
    [
        ("P001_C999", {"1.0.0"}, "there is no circuit 'P001_C999'"),
        ("../P001_C001", {"1.0.0"}, "there is no circuit"),
        (CIRCUIT, {"0.9.0"}, "run scripts/register_environment.py 1.0.0 first"),
        ("P001_C002", {"1.0.0"}, "run scripts/register_mltable.py P001_C002 first"),
    ],
)
def test_what_cannot_be_trained_is_refused_with_the_next_step(
    azure: Azure, circuit: str, code: set[str], problem: str, command: str
) -> None:
    azure.workspace.code = code
    with pytest.raises(Permanent, match=problem):
        azure.training().start(command, circuit, *WHO)
    assert not azure.workspace.jobs


def test_every_request_was_answered_as_the_definitions_allow(azure: Azure, command: str) -> None:
    """Synapse and AzureML are asked nothing that their definitions do not know."""
    for kind in STARTS:
        reference = STARTS[kind](azure, f"{command}.{kind}")
        azure.later()
        look(azure, kind, reference)
        runner(azure, kind).cancel(reference)
    known = {"synapse": synapse.synapse_definitions(), "arm": azureml()}
    undefined = {
        logged.call.path
        for logged in azure.services.requests()
        if logged.call.service in known and known[logged.call.service].operation(logged.call) is None
    }
    assert undefined <= {training.WORKSPACE}, "a workspace's own definition is not at hand"
