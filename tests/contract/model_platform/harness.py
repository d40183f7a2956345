"""What the contract of the model platform is checked on: adapters, faults, events, and short cuts to a known state."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import requests
from platform_process import PlatformProcess
from topic import Topic, wait_until

from local.platform.faults import FaultSwitches
from local.readings import write_readings
from shared.adapters.local.etl_runner import LocalEtlRunner
from shared.adapters.local.model_platform import LocalModelPlatform
from shared.adapters.local.training_runner import LocalTrainingRunner
from shared.configuration import Fleet, load_fleet
from shared.domain.values import ENVIRONMENT, OperationState, OperationStatus, Pair, Stage
from shared.ports import EtlRunner, ModelPlatform, TrainingRunner

CONFIG = Path(__file__).resolve().parents[3] / "config"
TRAINED = ("P001_C001", "P001_C002", "P001_C003", "P001_C004")
HISTORY = timedelta(days=90)


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


@dataclass
class Platform:
    """What the contract is checked on. `seen` are the events that its topic received."""

    models: ModelPlatform
    training: TrainingRunner
    etl: EtlRunner
    faults: FaultSwitches
    seen: Topic
    lake: Lake
    folder: Path
    address: str
    key: str
    table_id: str = ""
    table_version: int = 0

    def ended(self, reference: str, timeout: float = 60) -> OperationStatus:
        """The status of work once it has ended."""
        wait_until(lambda: self.look(reference).state is not OperationState.RUNNING, f"the end of {reference}", timeout)
        return self.look(reference)

    def look(self, reference: str) -> OperationStatus:
        return self.models.look(reference)

    def job_state(self, reference: str) -> str:
        """AzureML's word for where a job stands, which the ports do not tell."""
        answer = requests.get(
            f"{self.address}/jobs/{reference.removeprefix('job:')}",
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=10,
        )
        return str(answer.json()["status"])

    def succeeded(self, reference: str, timeout: float = 60) -> OperationStatus:
        status = self.ended(reference, timeout)
        assert status.state is OperationState.SUCCEEDED, status.error
        return status

    def train(self, circuit: str, command: str) -> int:
        """Train a circuit and return the version."""
        reference = self.training.start(command, circuit, "0" * 40, "ann@example.org", "17")
        return int(self.succeeded(reference).outputs["model_version"])

    def deploy(self, stage: Stage, circuit: str, pair: Pair) -> None:
        """Promote the pair's model, and serve the pair."""
        self.succeeded(self.models.start_promotion(new_command(), circuit, pair.model))
        self.succeeded(self.models.start_deployment(new_command(), stage, circuit, pair, None))

    def register_environment(self, version: str, tags: Mapping[str, str]) -> None:
        """What a build does before there is anything to promote."""
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
    origin = datetime.combine(day, time(), UTC)
    write_readings(fleet, folder / "landing", origin - history, origin + timedelta(hours=1))
    return Lake(folder / "landing", folder / "lake", fleet, origin)


def embedded(process: PlatformProcess, topic: Topic, lake: Lake, folder: Path) -> Platform:
    """The embedded platform's adapters on a running service."""
    return Platform(
        models=LocalModelPlatform(process.url, process.key),
        training=LocalTrainingRunner(process.url, process.key),
        etl=LocalEtlRunner(process.url, process.key),
        faults=FaultSwitches(process.url, process.key),
        seen=topic,
        lake=lake,
        folder=folder,
        address=process.url,
        key=process.key,
    )


def ingest(platform: Platform) -> None:
    """Run the ETL and note which table and version came of it."""
    outputs = platform.succeeded(platform.etl.start(new_command(), "first-run")).outputs
    platform.table_id, platform.table_version = outputs["table_id"], int(outputs["version"])
