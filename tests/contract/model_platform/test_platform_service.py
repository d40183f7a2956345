"""The embedded service itself: what it refuses, and what it costs."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import requests
from harness import Platform, new_command
from platform_process import REPOSITORY, PlatformProcess
from topic import wait_until

from local.platform.faults import FaultKind
from local.ports import LOOPBACK
from shared.domain.values import OperationState, Pair, Stage

DEPLOYMENT = "/workspaces/test/batchEndpoints/batch-endpoint-plant-P001-tst/deployments/deployment-circuit-C001"
IMPORT = {"circuit": "P001_C001", "model_version": 1}
PAIR = Pair(model=1, environment="1.0.0")
WHO = ("0" * 40, "ann", "17")
ADAPTERS = ("model_platform", "etl_runner", "training_runner")
SERVICE_MEMORY = 130_000_000  # bytes; with MLflow or scikit-learn in it, it would be twice that


@pytest.fixture
def caller(process: PlatformProcess) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.headers.update({"Authorization": f"Bearer {process.key}", "Repeatability-Request-ID": new_command()})
        yield session


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "named"),
    [
        ("POST", "/registry/import", "{not json", 400, "body"),
        ("POST", "/registry/import", {"circuit": "P001_C001"}, 400, "model_version"),
        ("POST", "/registry/import", {**IMPORT, "circuit": "../../etc"}, 400, "circuit"),
        ("POST", "/registry/import", {**IMPORT, "model_version": "x"}, 400, "model_version"),
        ("POST", "/registry/import", {**IMPORT, "more": 1}, 400, "more"),
        ("PUT", DEPLOYMENT, {**IMPORT, "circuit": "P002_C001", "environment_version": "1.0.0"}, 400, "P002"),
        ("PUT", DEPLOYMENT.replace("test", "staging"), {**IMPORT, "environment_version": "1.0.0"}, 404, "staging"),
        ("POST", "/etl/jobs", {"run_id": "../run"}, 400, "run_id"),
        ("PUT", "/etl/until", {"until": "2025-12-09T06:00:00"}, 400, "time zone"),
        ("POST", "/faults", {"kind": "earthquake"}, 400, "kind"),
        ("GET", "/jobs?kind=cooking", None, 404, "cooking"),
        ("GET", "/jobs/nothing", None, 404, "nothing"),
    ],
)
def test_a_bad_request_is_refused_and_the_field_named(
    process: PlatformProcess, caller: requests.Session, method: str, path: str, body: Any, status: int, named: str
) -> None:
    content = {"data": body} if isinstance(body, str) else {"json": body}
    answer = caller.request(method, f"{process.url}{path}", **content, timeout=10)
    assert answer.status_code == status
    assert named in answer.json()["error"]["message"]


def test_a_start_without_a_command_id_is_refused(process: PlatformProcess, caller: requests.Session) -> None:
    del caller.headers["Repeatability-Request-ID"]
    answer = caller.post(f"{process.url}/registry/import", json=IMPORT, timeout=10)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BadRequest")
    assert "Repeatability-Request-ID" in answer.json()["error"]["message"]


@pytest.mark.parametrize("key", ["", "Bearer ", "Bearer wrong", "Basic key"])
def test_only_health_is_told_without_the_key(process: PlatformProcess, key: str) -> None:
    assert requests.get(f"{process.url}/health", timeout=10).json() == {"status": "ready"}
    refused = requests.get(f"{process.url}/jobs", headers={"Authorization": key}, timeout=10)
    assert refused.status_code == 401


def test_the_service_listens_on_this_machine_only(process: PlatformProcess) -> None:
    listening = [each for each in psutil.Process(process.pid).net_connections() if each.status == psutil.CONN_LISTEN]
    assert {each.laddr.ip for each in listening} == {LOOPBACK}


def test_the_service_stays_small_when_jobs_have_come_back(platform: Platform, process: PlatformProcess) -> None:
    platform.train("P002_C003", new_command())
    platform.ended(platform.training.start(new_command(), "P001_C999", *WHO))
    assert psutil.Process(process.pid).memory_info().rss < SERVICE_MEMORY


def test_a_job_whose_process_dies_fails_and_the_next_one_runs(platform: Platform, process: PlatformProcess) -> None:
    command = new_command()
    platform.faults.switch_on(FaultKind.JOB_HANGS, command_id=command)
    reference = platform.training.start(command, "P002_C004", *WHO)
    wait_until(lambda: platform.job_state(reference) == "Running", "the job to run")
    for worker in _workers(process):  # one of them has the job; the idle ones must not be missed either
        with contextlib.suppress(psutil.NoSuchProcess):  # one that had done its only call may just have ended
            worker.kill()
    status = platform.ended(reference)
    assert status.state is OperationState.FAILED
    assert "exit code" in status.error
    assert platform.train("P002_C004", new_command()) == 1
    platform.deploy(Stage.TEST, "P002_C004", PAIR)
    request, output = platform.request_file("P002_C004", PAIR, f"{command}-scored")
    platform.succeeded(platform.models.start_scoring(f"{command}-scored", Stage.TEST, "P002_C004", str(request)))
    assert output.is_file()


def _workers(process: PlatformProcess) -> list[psutil.Process]:
    """The service's worker processes: children of its fork server."""
    return [worker for child in psutil.Process(process.pid).children() for worker in child.children()]


@pytest.mark.parametrize(
    "module", ["local.platform.__main__", *(f"shared.adapters.local.{adapter}" for adapter in ADAPTERS)]
)
def test_neither_service_nor_adapters_import_what_workers_import(module: str) -> None:
    heavy = "{'mlflow', 'sklearn', 'pandas', 'polars', 'deltalake', 'pyarrow', 'numpy'}"
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_jobs_are_listed_by_kind_with_their_times(platform: Platform, process: PlatformProcess) -> None:
    platform.train("P002_C003", new_command())
    answer = requests.get(
        f"{process.url}/jobs?kind=training", headers={"Authorization": f"Bearer {process.key}"}, timeout=10
    )
    jobs = answer.json()["value"]
    assert {job["kind"] for job in jobs} == {"training"}
    assert all(job["createdAt"] <= job["startTime"] <= job["endTime"] for job in jobs if job["status"] == "Completed")
