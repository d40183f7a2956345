"""What the contract of the model platform is checked on: adapters, faults, events, and short cuts to a known state."""

from __future__ import annotations

import json
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from datetime import time as clock_time
from pathlib import Path
from time import sleep
from typing import Any, Protocol

import requests
from platform_process import PlatformProcess
from topic import Topic, wait_until

from local.platform.faults import FaultKind, FaultSwitches
from local.readings import write_readings
from shared.adapters.local.data_assets import LocalDataAssets
from shared.adapters.local.etl_runner import LocalEtlRunner
from shared.adapters.local.model_platform import LocalModelPlatform
from shared.adapters.local.training_runner import LocalTrainingRunner
from shared.configuration import Fleet, load_fleet
from shared.domain.values import ENVIRONMENT, OperationState, OperationStatus, Pair, Stage
from shared.errors import Transient
from shared.ports import DataAssets, EtlRunner, ModelPlatform, TrainingRunner

CONFIG = Path(__file__).resolve().parents[3] / "config"
TRAINED = ("P001_C001", "P001_C002", "P001_C003", "P001_C004")
HISTORY = timedelta(days=90)
ENVIRONMENTS = ("1.0.0", "1.0.1", "2.0.0", "3.0.0")
"""Versions of the environment that the registry has before anything is deployed."""


@dataclass
class Lake:
    """Folders of readings, with the day whose forecast they allow."""

    landing: Path
    folder: Path
    fleet: Fleet
    origin: datetime

    @property
    def table(self) -> Path:
        return self.folder / "processed" / "sensor_data"


class Switches(Protocol):
    """The faults that a platform can be given."""

    def switch_on(self, kind: FaultKind, **options: Any) -> int: ...

    def switch_off(self) -> None: ...


class ModelsUnderTest(ABC):
    """A model platform that the contract is checked on, in its own time."""

    models: ModelPlatform
    faults: Switches

    def now(self) -> datetime:
        return datetime.now(UTC)

    def look(self, reference: str) -> OperationStatus:
        return self.models.look(reference)

    def ended(self, reference: str, timeout: float = 60) -> OperationStatus:
        """The status of work once it has ended."""
        wait_until(lambda: self.look(reference).state is not OperationState.RUNNING, f"the end of {reference}", timeout)
        return self.look(reference)

    def succeeded(self, reference: str, timeout: float = 60) -> OperationStatus:
        status = self.ended(reference, timeout)
        assert status.state is OperationState.SUCCEEDED, status.error
        return status

    def taken(self, start: Callable[[], str]) -> str:
        """The reference of a start that is tried until the platform takes it."""
        deadline = time.monotonic() + 60
        while True:
            try:
                return start()
            except Transient as error:
                assert time.monotonic() < deadline, error
                self.wait(error)

    def wait(self, error: Transient) -> None:
        """Let what stands in the way of a start go by."""
        sleep(0.02)

    def unpromoted(self, circuit: str, command: str) -> int:
        """A version of the circuit's model in dev that there is still work to promote; the same for a command."""
        return 1

    @abstractmethod
    def register_environment(self, version: str, tags: Mapping[str, str]) -> None:
        """What a build does before there is anything to promote."""

    def deploy(self, stage: Stage, circuit: str, pair: Pair) -> None:
        """Promote the pair's model, and serve the pair."""
        promote, deploy = new_command(), new_command()
        self.succeeded(self.taken(lambda: self.models.start_promotion(promote, circuit, pair.model)))
        self.succeeded(self.taken(lambda: self.models.start_deployment(deploy, stage, circuit, pair, None)))

    def change_by_hand(self, stage: Stage, circuit: str, pair: Pair) -> None:
        """What somebody does in the portal."""
        self.succeeded(self.models.start_deployment(f"by hand {new_command()}", stage, circuit, pair, None))

    @abstractmethod
    def request_uri(self, circuit: str, pair: Pair, command: str) -> str:
        """A scoring request, where the deployment can read it."""


@dataclass
class Platform(ModelsUnderTest):
    """The embedded one. `seen` are the events that its topic received."""

    models: ModelPlatform
    training: TrainingRunner
    etl: EtlRunner
    data_assets: DataAssets
    faults: FaultSwitches
    seen: Topic
    lake: Lake
    folder: Path
    address: str
    key: str
    table_id: str = ""
    table_version: int = 0

    def job_state(self, reference: str) -> str:
        """AzureML's word for where a job stands, which the ports do not tell."""
        answer = requests.get(
            f"{self.address}/jobs/{reference.removeprefix('job:')}",
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=10,
        )
        return str(answer.json()["status"])

    def train(self, circuit: str, command: str) -> int:
        """Train a circuit and return the version."""
        reference = self.training.start(command, circuit, "0" * 40, "ann@example.org", "17")
        return int(self.succeeded(reference).outputs["model_version"])

    def request_uri(self, circuit: str, pair: Pair, command: str) -> str:
        return str(self.request_file(circuit, pair, command)[0])

    def register_environment(self, version: str, tags: Mapping[str, str]) -> None:
        answer = requests.put(
            f"{self.address}/workspaces/dev/environments/{ENVIRONMENT}/versions/{version}",
            json={"tags": tags},
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=10,
        )
        answer.raise_for_status()

    def request_file(self, circuit: str, pair: Pair, command: str) -> tuple[Path, Path]:
        """A scoring request on disk, and where its forecast will be."""
        plant, name = circuit.split("_")
        output = self.folder / "forecasts" / f"{command}.parquet"
        request = {
            "circuit": circuit,
            "plant_id": plant,
            "circuit_id": name,
            "forecast_origin": self.lake.origin.isoformat(),
            "table_uri": str(self.lake.table),
            "table_id": self.table_id,
            "delta_version": self.table_version,
            "command_id": command,
            "output_uri": str(output),
            "model_version": pair.model,
            "environment_version": pair.environment,
            "horizon": self.lake.fleet.circuit(circuit).training.forecast_horizon,
        }
        path = self.folder / f"request-{command}.json"
        scratch = path.with_suffix(f".{uuid.uuid4()}")  # callers that race write it again while a job reads it
        scratch.write_text(json.dumps(request))
        scratch.replace(path)
        return path, output


def new_command() -> str:
    return f"command-{uuid.uuid4()}"


def make_lake(folder: Path, history: timedelta = HISTORY) -> Lake:
    """A landing folder with the whole fleet's readings up to the first origin after every circuit's cutoff."""
    fleet = load_fleet(CONFIG)
    day = max(circuit.training.cutoff_date for circuit in fleet) + timedelta(days=1)
    origin = datetime.combine(day, clock_time(), UTC)
    write_readings(fleet, folder / "landing", origin - history, origin + timedelta(hours=1))
    return Lake(folder / "landing", folder / "lake", fleet, origin)


def embedded(process: PlatformProcess, topic: Topic, lake: Lake, folder: Path) -> Platform:
    """The embedded platform's adapters on a running service, whose registry has the environments."""
    platform = Platform(
        models=LocalModelPlatform(process.url, process.key),
        training=LocalTrainingRunner(process.url, process.key),
        etl=LocalEtlRunner(process.url, process.key),
        data_assets=LocalDataAssets(process.url, process.key),
        faults=FaultSwitches(process.url, process.key),
        seen=topic,
        lake=lake,
        folder=folder,
        address=process.url,
        key=process.key,
    )
    for version in ENVIRONMENTS:
        platform.register_environment(version, {})
        platform.succeeded(platform.models.start_environment_promotion(new_command(), version))
    return platform


def ingest(platform: Platform) -> None:
    """Run the ETL and note which table and version came of it."""
    outputs = platform.succeeded(platform.etl.start(new_command(), "first-run")).outputs
    platform.table_id, platform.table_version = outputs["table_id"], int(outputs["version"])
