"""AzureML's own SDK reads the files that the pipelines give it; nothing here needs a workspace."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from azure.ai.ml import (
    load_batch_deployment,
    load_batch_endpoint,
    load_component,
    load_data,
    load_environment,
    load_job,
)
from azure.ai.ml.entities._data.mltable_metadata import MLTableMetadata
from azure.core.credentials import AccessToken
from packaging.requirements import Requirement

from ml.training_data import DataAssetDiffers, TrainingData, check_or_create
from scripts import register_mltable
from shared.adapters.azure.monitor_runner import AzureMonitorRunner, MonitoringJobs
from shared.configuration import ENVIRONMENT_NAME, load_fleet
from tests.contract.ml.lake import Lake

ROOT = Path(__file__).parents[3]
ASSETS = ROOT / "ml" / "azureml"
IMAGE = ROOT / "ml" / "environment"
FLEET = load_fleet(ROOT / "config")


def pins(path: Path) -> dict[str, str]:
    """What a lock file installs on Linux with the image's Python."""
    lines = re.findall(r"^[A-Za-z0-9].*==.*$", path.read_text(), re.MULTILINE)
    found = [Requirement(line.rstrip(" \\")) for line in lines]
    image = {"python_version": "3.11", "python_full_version": "3.11.9", "sys_platform": "linux", "os_name": "posix"}
    image |= {"platform_system": "Linux", "platform_machine": "x86_64"}
    return {pin.name: str(pin.specifier) for pin in found if pin.marker is None or pin.marker.evaluate(dict(image))}


def test_the_environment_is_built_from_its_folder() -> None:
    environment: Any = load_environment(ASSETS / "environment.yml")
    assert environment.name == ENVIRONMENT_NAME and environment.version in FLEET.environments
    context = (ASSETS / environment.build.path).resolve()
    dockerfile = (context / environment.build.dockerfile_path).read_text()
    copied = re.search(r"^COPY (.+) \./$", dockerfile, re.MULTILINE)
    assert copied and all((context / name).is_file() for name in copied[1].split())
    conda = yaml.safe_load((context / "conda.yml").read_text())
    assert conda["name"] == ENVIRONMENT_NAME and "python=3.11" in conda["dependencies"]


def test_the_image_has_exactly_what_models_are_trained_with_here_and_the_way_to_azureml() -> None:
    here, there = pins(ROOT / "requirements-ml.txt"), pins(IMAGE / "requirements.txt")
    assert {name: there.get(name) for name in here} == here, "run make lock"
    assert "azureml-mlflow" in there
    assert "--hash=sha256:" in (IMAGE / "requirements.txt").read_text()


def test_the_training_component_runs_the_training_with_the_request_it_is_given() -> None:
    component: Any = load_component(ASSETS / "training_component.yml")
    assert set(component.inputs) == {"request", "training_data", "champion"} and set(component.outputs) == {"result"}
    assert component.inputs["champion"].optional, "before the first release nothing serves"
    assert component.command.startswith("python -m ml.train ${{inputs.request}}")
    assert component.command.endswith("$[[--champion ${{inputs.champion}}]]")
    assert component.environment == f"{ENVIRONMENT_NAME}:1.0.0"
    assert (ASSETS / component.code).resolve() == ROOT
    shown = subprocess.run(
        [sys.executable, "-m", "ml.train", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "--result" in shown.stdout and "--champion" in shown.stdout


def test_the_monitoring_component_runs_what_the_app_starts_as_a_job() -> None:
    component: Any = load_component(ASSETS / "monitoring_component.yml")
    assert {name: given.type for name, given in component.inputs.items()} == {"request": "uri_file", "output": "string"}
    jobs = MonitoringJobs("/subscriptions/s/workspaces/production", "registry")
    body = AzureMonitorRunner(jobs, NoCredential())._body("command", "https://request", "abfss://output", "1.0.0")
    assert component.command == body["properties"]["command"]
    assert set(component.inputs) == set(body["properties"]["inputs"])
    assert component.environment == f"{ENVIRONMENT_NAME}:1.0.0" and (ASSETS / component.code).resolve() == ROOT


class NoCredential:
    """For requests that are made and never sent."""

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        raise AssertionError("nothing is sent")


def test_the_training_pipeline_gives_the_component_its_data_asset() -> None:
    job: Any = load_job(ASSETS / "training_pipeline.yml")
    circuit = FLEET.circuit("P001_C001")
    assert job.experiment_name == circuit.experiment_name
    assert set(job.jobs) == {"train"}
    data = job.inputs["training_data"]
    assert data.path == f"{circuit.data_asset_name}:{circuit.training.cutoff_date}"
    assert job._to_dict()["inputs"]["training_data"]["type"] == "mltable"
    given = job._to_dict()["jobs"]["train"]["inputs"]
    assert set(given) == {"request", "training_data"}, "the first training has no champion to be compared with"


def test_the_batch_deployment_scores_requests_of_its_circuit() -> None:
    circuit = FLEET.circuit("P001_C001")
    endpoint: Any = load_batch_endpoint(ASSETS / "batch_endpoint.yml")
    deployment: Any = load_batch_deployment(ASSETS / "batch_deployment.yml")
    # The SDK makes the names of endpoints and deployments lower case, wherever it reads them.
    assert endpoint.name.lower() == deployment.endpoint_name.lower() == circuit.endpoint_name("prd").lower()
    assert deployment.name.lower() == circuit.deployment_name.lower()
    assert deployment.environment_variables == {"PLANT_ID": "P001", "CIRCUIT_ID": "C001"}
    assert set(deployment.tags) == {
        "model_version", "environment_version", "previous_model_version", "previous_environment_version", "deployed_at",
    }  # fmt: skip
    code = (ASSETS / deployment.code_configuration.code).resolve()
    assert (code / deployment.code_configuration.scoring_script).is_file()
    assert deployment.mini_batch_size == 1 and deployment.error_threshold == 0, "one refused request fails the job"


# ------------------------------------------------------------------------------------------------------- training data


class Workspace:
    """Data assets in memory."""

    def __init__(self) -> None:
        self.registered: dict[tuple[str, str], Mapping[str, str]] = {}
        self.folders: list[Path] = []

    def tags(self, name: str, version: str) -> Mapping[str, str] | None:
        return self.registered.get((name, version))

    def create(self, name: str, version: str, folder: Path, description: str, tags: Mapping[str, str]) -> None:
        assert (name, version) not in self.registered, "AzureML refuses to change a version"
        self.registered[name, version] = tags
        self.folders.append(folder)


def data_of(key: str, **changes: Any) -> TrainingData:
    given: dict[str, Any] = {"table_uri": "abfss://lake@a.dfs.core.windows.net/t", "table_id": "t1", "delta_version": 7}
    return TrainingData(FLEET.circuit(key), **{**given, **changes})


def test_training_data_is_registered_once_a_cutoff_date(tmp_path: Path) -> None:
    workspace = Workspace()
    assert check_or_create(workspace, data_of("P001_C001"), tmp_path)
    assert not check_or_create(workspace, data_of("P001_C001", delta_version=9), tmp_path)
    assert set(workspace.registered) == {("sensor_training_data_P001_C001", "2025-12-09")}
    assert workspace.registered["sensor_training_data_P001_C001", "2025-12-09"]["delta_version"] == "7"


def test_a_version_with_other_rows_or_columns_is_refused(tmp_path: Path) -> None:
    workspace = Workspace()
    check_or_create(workspace, data_of("P001_C001"), tmp_path)
    with pytest.raises(DataAssetDiffers, match=r"P001_C001:2025-12-09 is registered with other .* move cutoff_date"):
        check_or_create(workspace, data_of("P001_C001", table_id="made anew"), tmp_path)


def test_the_mltable_is_what_azureml_reads_and_names_the_rows_that_training_reads(lake: Lake, tmp_path: Path) -> None:
    circuit = lake.fleet.circuit("P001_C001")
    data = TrainingData(circuit, lake.table_uri, lake.table_id, lake.delta_version)
    folder = data.write(tmp_path)
    metadata: Any = MLTableMetadata.load(folder / "MLTable")
    assert metadata.paths[0].type == "folder" and metadata.paths[0].value == lake.table_uri
    described = yaml.safe_load((folder / "MLTable").read_text())
    read, rows, columns = described["transformations"]
    assert read == {"read_delta_lake": {"version_as_of": lake.delta_version}}
    named = re.fullmatch(
        r'col\("sensor_id"\) == "(\w+)" and col\("timestamp"\) < datetime\((\d+), (\d+), (\d+)\)', rows["filter"]
    )
    assert named and named[1] == circuit.sensor_id
    before = date(int(named[2]), int(named[3]), int(named[4]))
    assert before == circuit.training.cutoff_date + timedelta(days=1)
    assert set(columns["keep_columns"]) <= set(pl.scan_delta(lake.table_uri).collect_schema())
    asset: Any = load_data(source=ASSETS / "data_asset.yml")
    assert (asset.name, asset.version, asset.type) == (data.name, data.version, "mltable")


def test_the_command_writes_the_folders_in_a_dry_run_and_names_what_is_missing(
    lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--table", lake.table_uri, "--config", str(ROOT / "config"), "--folder", str(tmp_path), "--dry-run"]
    assert register_mltable.main(["--all", *given]) == 0
    assert "sensor_training_data_P003_C004:2025-12-09 written" in capsys.readouterr().out
    assert len(list(tmp_path.glob("*/*/MLTable"))) == 12
    assert register_mltable.main(["P009_C001", *given]) == 1
    assert "no circuit 'P009_C001'" in capsys.readouterr().err
    assert register_mltable.main(["--all", *given, "--table", str(tmp_path / "none")]) == 1
    with pytest.raises(SystemExit):
        register_mltable.main(["--all", "--table", lake.table_uri, "--workspace", ""])
    assert "--resource-group and --workspace are needed, or --dry-run" in capsys.readouterr().err
