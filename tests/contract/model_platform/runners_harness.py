"""What the contract of the runners is checked on: ETL and training, here and on Synapse and AzureML."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import requests
from harness import CONFIG, Platform
from topic import wait_until

from etl.run import run_etl
from etl.upkeep import keep_up
from local.platform.faults import FaultKind
from local.readings import write_readings
from shared.adapters.azure.etl_runner import SparkEtl, SynapseEtlRunner
from shared.adapters.azure.lake import UriLake
from shared.adapters.azure.starts import Starts
from shared.adapters.azure.training_runner import AzureTrainingRunner, TrainingJobs
from shared.adapters.local.state_store import MemoryStateStore
from shared.clock import SystemClock
from shared.configuration import Fleet, load_fleet
from shared.domain.values import OperationState, OperationStatus
from shared.ports import EtlRunner, TrainingRunner
from tests.azure_services import synapse, training
from tests.azure_services.server import AzureServices, Fault
from tests.simulated import SimulatedDocuments

TRAINED_CIRCUIT = "P001_C001"
WHO = ("0" * 40, "ann@example.org", "17")
HOURS = timedelta(hours=1)

Kind = Literal["etl", "training"]
KINDS: tuple[Kind, ...] = ("etl", "training")


class RunnersUnderTest(ABC):
    """The runners of one platform, in its own time."""

    @abstractmethod
    def etl(self) -> EtlRunner: ...

    @abstractmethod
    def training(self) -> TrainingRunner: ...

    def runner(self, kind: Kind) -> EtlRunner | TrainingRunner:
        return self.etl() if kind == "etl" else self.training()

    def start(self, kind: Kind, command: str) -> str:
        if kind == "etl":
            return self.etl().start(command, f"run-{command}")
        return self.training().start(command, TRAINED_CIRCUIT, *WHO)

    def look(self, kind: Kind, reference: str) -> OperationStatus:
        return self.runner(kind).look(reference)

    @abstractmethod
    def running(self, kind: Kind, reference: str) -> None:
        """Time goes by until the work runs."""

    @abstractmethod
    def ended(self, kind: Kind, reference: str) -> OperationStatus:
        """Time goes by until the work has ended."""

    @abstractmethod
    def started(self) -> int:
        """How much work was ever started."""

    @abstractmethod
    def fail(self, kind: Kind, command: str) -> None:
        """The work of the command will fail while it runs."""

    @abstractmethod
    def hang(self, kind: Kind, command: str) -> None:
        """The work of the command will run until it is cancelled."""

    @abstractmethod
    def lose_answer(self, kind: Kind, command: str) -> None:
        """The command's start happens, and its answer is lost."""

    @abstractmethod
    def throttle(self, kind: Kind, command: str, seconds: float) -> None:
        """The command's start is refused once, with when to come again."""

    @abstractmethod
    def unknown(self, kind: Kind) -> str:
        """A reference of work that nobody started."""


@dataclass
class LocalRunners(RunnersUnderTest):
    """Processes of the embedded platform."""

    platform: Platform

    def etl(self) -> EtlRunner:
        return self.platform.etl

    def training(self) -> TrainingRunner:
        return self.platform.training

    def running(self, kind: Kind, reference: str) -> None:
        wait_until(lambda: self.look(kind, reference).started_at is not None, f"{reference} to run")

    def ended(self, kind: Kind, reference: str) -> OperationStatus:
        return self.platform.ended(reference)

    def started(self) -> int:
        answer = requests.get(
            f"{self.platform.address}/jobs", headers={"Authorization": f"Bearer {self.platform.key}"}, timeout=10
        )
        return len(answer.json()["value"])

    def fail(self, kind: Kind, command: str) -> None:
        self.platform.faults.switch_on(FaultKind.JOB_FAILS, command_id=command)

    def hang(self, kind: Kind, command: str) -> None:
        self.platform.faults.switch_on(FaultKind.JOB_HANGS, command_id=command)

    def lose_answer(self, kind: Kind, command: str) -> None:
        self.platform.faults.switch_on(FaultKind.ANSWER_LOST, command_id=command)

    def throttle(self, kind: Kind, command: str, seconds: float) -> None:
        self.platform.faults.switch_on(FaultKind.THROTTLED, command_id=command, seconds=seconds)

    def unknown(self, kind: Kind) -> str:
        return "job:nobody"


@dataclass
class AzureRunners(RunnersUnderTest):
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

    def running(self, kind: Kind, reference: str) -> None:
        self.later(timedelta(minutes=2))
        assert self.look(kind, reference).started_at is not None

    def ended(self, kind: Kind, reference: str) -> OperationStatus:
        self.later()
        status = self.look(kind, reference)
        assert status.state is not OperationState.RUNNING, f"{reference} still runs after an hour"
        return status

    def started(self) -> int:
        return len(self.spark.batches) + len(self.workspace.jobs)

    def fail(self, kind: Kind, command: str) -> None:
        self.spark.endings.append("dead")
        self.workspace.endings.append("Failed")

    def hang(self, kind: Kind, command: str) -> None:
        self.spark.endings.append("never")
        self.workspace.endings.append("never")

    def lose_answer(self, kind: Kind, command: str) -> None:
        self.services.faults.switch_on(Fault("lose", method="POST" if kind == "etl" else "PUT", status=502))

    def throttle(self, kind: Kind, command: str, seconds: float) -> None:
        service = "synapse" if kind == "etl" else "arm"
        self.services.faults.switch_on(Fault("refuse", service=service, status=429, retry_after=seconds))

    def unknown(self, kind: Kind) -> str:
        return "spark:999:run" if kind == "etl" else "job:train-nobody"


def readings(folder: Path) -> Path:
    """A landing folder with a day of the fleet's readings."""
    write_readings(load_fleet(CONFIG), folder, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    return folder


@contextmanager
def azure_runners(folder: Path, landing: Path) -> Iterator[AzureRunners]:
    """The services, with an empty lake in `folder` and the training data of one circuit registered."""
    fleet, lake, documents = load_fleet(CONFIG), UriLake(str(folder / "lake")), SimulatedDocuments()

    def run(options: dict[str, Any]) -> None:
        """What the Spark jobs do, by the engine that gives the same table."""
        if options["file"].endswith("/etl/spark_upkeep.py"):
            table, _, run_id = options["args"]
            keep_up(table, run_id)
            return
        _, table, _, run_id, *_ = options["args"]
        run_etl(str(landing), table, run_id, fleet.policy, fleet)

    spark, workspace = synapse.Synapse(run), training.TrainingWorkspace(documents.at)
    config = fleet.circuit(TRAINED_CIRCUIT)
    workspace.register_data(config.data_asset_name, config.training.cutoff_date.isoformat(), delta_version=7)
    with AzureServices(spark, workspace) as services:
        yield AzureRunners(services, spark, workspace, documents, lake, fleet, MemoryStateStore(shards=1))
