"""The contract of the monitor runner port, on the embedded platform and on AzureML over REST."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest
from harness import CONFIG, Platform
from topic import wait_until

from local.platform.faults import FaultKind
from ml.monitor_messages import Kind, LiveModel, MonitoredCircuit, MonitoringRequest
from shared.adapters.azure.lake import UriLake
from shared.adapters.azure.monitor_runner import AzureMonitorRunner, MonitoringJobs
from shared.adapters.local.monitor_runner import LocalMonitorRunner
from shared.configuration import load_fleet
from shared.domain.values import OperationState, OperationStatus
from shared.errors import Transient
from shared.ports import MonitorRunner
from tests.azure_services import training
from tests.azure_services.server import AzureServices, Fault

HELD = "P001_C001"


class Runs(Protocol):
    """A runner in its own time, and what is needed to see it work."""

    runner: MonitorRunner
    lake: UriLake

    def request(self, command: str, **changes: Any) -> str: ...

    def ended(self, reference: str) -> OperationStatus: ...

    def hang(self, command: str) -> None: ...

    def lose_the_answer(self, command: str) -> None: ...


def written(platform: Platform, command: str, **changes: Any) -> tuple[MonitoringRequest, Path]:
    """A request about two circuits, of which one serves nothing, on disk."""
    fleet, last = load_fleet(CONFIG), platform.lake.origin.date() - timedelta(days=1)
    live = LiveModel(version=1, cutoff_date=last - timedelta(days=30), tags={"target_sd": "1.0", "mae": "0.1"})
    given: dict[str, Any] = {
        "kind": Kind.DRIFT,
        "first_day": last - timedelta(days=29),
        "last_day": last,
        "circuits": (
            MonitoredCircuit(circuit=fleet.circuit(HELD), live=live),
            MonitoredCircuit(circuit=fleet.circuit("P001_C002")),
        ),
        "table_uri": str(platform.lake.table),
        "table_id": platform.table_id,
        "delta_version": platform.table_version,
        "predictions_uri": str(platform.lake.folder / "predictions"),
        "command_id": command,
    }
    request = MonitoringRequest(**{**given, **changes})
    path = platform.folder / f"monitoring-{command}.json"
    path.write_text(request.model_dump_json())
    return request, path


@dataclass
class Embedded:
    platform: Platform
    lake: UriLake

    def __post_init__(self) -> None:
        self.runner: MonitorRunner = LocalMonitorRunner(self.platform.address, self.platform.key)

    def request(self, command: str, **changes: Any) -> str:
        return str(written(self.platform, command, **changes)[1])

    def ended(self, reference: str) -> OperationStatus:
        wait_until(lambda: self.runner.look(reference).state is not OperationState.RUNNING, reference, 120)
        return self.runner.look(reference)

    def hang(self, command: str) -> None:
        self.platform.faults.switch_on(FaultKind.JOB_HANGS, command_id=command)

    def lose_the_answer(self, command: str) -> None:
        self.platform.faults.switch_on(FaultKind.ANSWER_LOST, command_id=command)


@dataclass
class Azure:
    platform: Platform
    lake: UriLake
    services: AzureServices
    workspace: training.MonitoringWorkspace

    def __post_init__(self) -> None:
        jobs = MonitoringJobs(training.WORKSPACE, "registry", management=self.services.url("arm"))
        options = {"connection_verify": str(self.services.authority)}
        self.runner: MonitorRunner = AzureMonitorRunner(jobs, self.services.credential(), **options)

    def request(self, command: str, **changes: Any) -> str:
        return f"https://documents/{written(self.platform, command, **changes)[1]}"

    def ended(self, reference: str) -> OperationStatus:
        self.services.clock.advance(timedelta(hours=1))
        return self.runner.look(reference)

    def hang(self, command: str) -> None:
        self.workspace.endings.append("never")

    def lose_the_answer(self, command: str) -> None:
        self.services.faults.switch_on(Fault("lose", method="PUT", status=502))


@pytest.fixture(params=["embedded", "azure"])
def runs(request: pytest.FixtureRequest, platform: Platform) -> Iterator[Runs]:
    lake = UriLake(str(platform.lake.folder))
    if request.param == "embedded":
        yield Embedded(platform, lake)
        return
    workspace = training.MonitoringWorkspace(
        lambda uri: json.loads(Path(uri.removeprefix("https://documents/")).read_text())
    )
    with AzureServices(workspace) as services:
        yield Azure(platform, lake, services, workspace)


def started(runs: Runs, command: str, uri: str) -> str:
    return runs.runner.start(command, uri, runs.lake.monitoring_uri(command), "1.0.0")


def test_a_run_judges_each_circuit_and_its_findings_and_pages_can_be_read(runs: Runs, command: str) -> None:
    status = runs.ended(started(runs, command, runs.request(command)))
    assert status.state is OperationState.SUCCEEDED, status.error
    found = runs.lake.read_findings(runs.lake.monitoring_uri(command))
    assert set(found.circuits) == {HELD, "P001_C002"}
    unserved = found.circuits["P001_C002"]
    assert (unserved.verdict, unserved.model) == ("cannot say", None) and unserved.reason
    for page in (found.report, found.circuits[HELD].report):
        content = runs.lake.read_page(command, page)
        assert content is not None and b"<html" in content
    assert runs.lake.read_page(command, "another.html") is None


def test_callers_who_race_on_one_command_start_one_run(runs: Runs, command: str) -> None:
    uri = runs.request(command)
    with ThreadPoolExecutor(4) as callers:
        references = set(callers.map(lambda _: started(runs, command, uri), range(8)))
    (reference,) = references
    assert runs.ended(reference).state is OperationState.SUCCEEDED
    assert started(runs, command, uri) == reference


def test_a_run_whose_answer_was_lost_is_found_again(runs: Runs, command: str) -> None:
    uri = runs.request(command)
    runs.lose_the_answer(command)
    with pytest.raises(Transient):
        started(runs, command, uri)
    reference = started(runs, command, uri)
    assert runs.ended(reference).state is OperationState.SUCCEEDED
    assert started(runs, command, uri) == reference


def test_a_run_that_hangs_can_be_stopped_and_one_that_nobody_knows_is_unknown(runs: Runs, command: str) -> None:
    runs.hang(command)
    reference = started(runs, command, runs.request(command))
    assert runs.runner.look(reference).state is OperationState.RUNNING
    runs.runner.cancel(reference)
    assert runs.ended(reference).state is OperationState.CANCELLED
    runs.runner.cancel(reference)
    assert runs.runner.look("monitor-00000000").state is OperationState.UNKNOWN
    runs.runner.cancel("monitor-00000000")


def test_the_embedded_runs_end_is_told_by_the_name_that_it_was_started_under(platform: Platform, command: str) -> None:
    runs = Embedded(platform, UriLake(str(platform.lake.folder)))
    reference = started(runs, command, runs.request(command))
    runs.ended(reference)
    told = platform.seen.wait_for("RunCompleted", reference, 1)[-1]
    assert told["data"]["experimentName"] == "fleet_monitoring"


def test_a_table_that_was_made_anew_fails_the_embedded_run_and_is_named(platform: Platform, command: str) -> None:
    runs = Embedded(platform, UriLake(str(platform.lake.folder)))
    status = runs.ended(started(runs, command, runs.request(command, table_id="another")))
    assert status.state is OperationState.FAILED and "the request is about another" in status.error
