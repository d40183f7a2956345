"""What the platform keeps when it, or the one who asked, is killed in mid-job."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import psutil
import pytest
from harness import CONFIG, Platform, embedded, make_lake, new_command
from platform_process import REPOSITORY, PlatformProcess
from topic import Topic, wait_until

from etl.report import EtlReport
from local.platform.faults import FaultKind
from shared.domain.values import Deployment, OperationState, OperationStatus, Pair, Stage

PAIR = Pair(model=1, environment="1.0.0")
SERVED, TRAINED, UNLUCKY = "P001_C001", "P001_C002", "P001_C003"
WHO = ("0" * 40, "ann", "17")


@dataclass
class Survivor:
    """A platform that was killed in mid-work and started again, then stopped in mid-work and started again."""

    platform: Platform
    until: datetime
    first_etl: OperationStatus
    second_etl: OperationStatus
    finished: OperationStatus
    deployment: Deployment | None
    promotion: str = ""
    training: str = ""
    scoring: str = ""
    unlucky: str = ""
    orphans: list[psutil.Process] = field(default_factory=list)


@pytest.fixture(scope="module")
def survivor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Survivor]:
    folder = tmp_path_factory.mktemp("restarted")
    lake = make_lake(folder)
    with (
        Topic() as topic,
        PlatformProcess(
            state=folder / "state",
            config=CONFIG,
            lake=lake.folder,
            landing=lake.landing,
            topic_endpoint=topic.endpoint,
            topic_key=topic.key,
            max_job_attempts=2,
            publish_backoff=0.1,
        ) as process,
    ):
        platform = embedded(process, topic, lake, folder)
        survivor = _with_finished_work(platform)
        _start_work_of_every_kind(survivor)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        survivor.orphans = psutil.wait_procs(workers, timeout=5)[1]
        topic.answer = 200
        process.start()
        process.wait_until_ready()
        for reference in (survivor.promotion, survivor.training):
            platform.ended(reference)
        _until_it_runs(platform, survivor.unlucky)
        process.stop()
        process.start()
        process.wait_until_ready()
        yield survivor


def _with_finished_work(platform: Platform) -> Survivor:
    until = platform.lake.origin - timedelta(days=2)
    platform.faults.leave_readings_after(until)
    first = platform.succeeded(platform.etl.start("etl-1", "first"))
    platform.faults.leave_readings_after(None)
    second = platform.succeeded(platform.etl.start("etl-2", "second"))
    platform.table_id, platform.table_version = second.outputs["table_id"], int(second.outputs["version"])
    finished = platform.succeeded(platform.training.start("trained before", SERVED, *WHO))
    platform.deploy(Stage.PRODUCTION, SERVED, PAIR)
    return Survivor(platform, until, first, second, finished, platform.models.deployed(Stage.PRODUCTION, SERVED))


def _start_work_of_every_kind(survivor: Survivor) -> None:
    platform = survivor.platform
    platform.seen.wait_for("RunCompleted", survivor.finished.reference.removeprefix("job:"))
    platform.seen.answer = 503  # what is told now waits in the outbox when the service is killed
    request, _ = platform.request_file(SERVED, PAIR, "scored before")
    survivor.scoring = platform.models.start_scoring("scored before", Stage.PRODUCTION, SERVED, str(request))
    platform.succeeded(survivor.scoring)
    platform.faults.switch_on(FaultKind.JOB_SLOW, circuit=TRAINED, seconds=3)
    platform.faults.switch_on(FaultKind.JOB_HANGS, circuit=UNLUCKY)
    platform.faults.switch_on(FaultKind.OPERATION_SLOW, command_id="promoted meanwhile", seconds=3)
    survivor.training = platform.training.start("trained meanwhile", TRAINED, *WHO)
    survivor.unlucky = platform.training.start("never ends", UNLUCKY, *WHO)
    survivor.promotion = platform.models.start_promotion("promoted meanwhile", SERVED, 1)
    _until_it_runs(platform, survivor.training)
    _until_it_runs(platform, survivor.unlucky)


def _until_it_runs(platform: Platform, reference: str) -> None:
    wait_until(lambda: platform.job_state(reference) == "Running", f"{reference} to run")


def test_no_worker_outlives_a_killed_service(survivor: Survivor) -> None:
    assert survivor.orphans == []


def test_a_job_that_was_running_is_taken_up_again_and_done_once(survivor: Survivor) -> None:
    status = survivor.platform.succeeded(survivor.training)
    assert status.outputs == {"model_version": "1"}
    assert survivor.platform.models.describe_model(TRAINED, 1)
    assert survivor.platform.models.describe_model(TRAINED, 2) is None
    told = survivor.platform.seen.wait_for("ModelRegistered", f"sensor_model_{TRAINED}:1")
    assert len({event["id"] for event in told}) == 1


def test_an_operation_that_was_in_progress_ends(survivor: Survivor) -> None:
    survivor.platform.succeeded(survivor.promotion)


def test_an_event_that_was_not_accepted_yet_is_told_afterwards(survivor: Survivor) -> None:
    survivor.platform.seen.wait_for("RunCompleted", survivor.scoring)


def test_a_job_that_is_interrupted_again_and_again_fails_with_the_reason(survivor: Survivor) -> None:
    status = survivor.platform.ended(survivor.unlucky)
    assert status.state is OperationState.FAILED
    assert "the platform stopped while it ran, 2 times" in status.error


def test_finished_work_and_deployments_are_still_there(survivor: Survivor) -> None:
    platform = survivor.platform
    assert platform.look(survivor.finished.reference) == survivor.finished
    assert survivor.deployment and platform.models.deployed(Stage.PRODUCTION, SERVED) == survivor.deployment


def test_known_command_ids_still_start_nothing_new(survivor: Survivor) -> None:
    platform = survivor.platform
    assert platform.training.start("trained before", SERVED, *WHO) == survivor.finished.reference
    assert platform.training.start("trained meanwhile", TRAINED, *WHO) == survivor.training
    assert platform.models.start_promotion("promoted meanwhile", SERVED, 1) == survivor.promotion
    assert platform.etl.start("etl-2", "second") == survivor.second_etl.reference


def test_what_was_deployed_before_scores_afterwards(survivor: Survivor) -> None:
    platform, command = survivor.platform, new_command()
    request, output = platform.request_file(SERVED, PAIR, command)
    platform.succeeded(platform.models.start_scoring(command, Stage.PRODUCTION, SERVED, str(request)))
    assert output.is_file()


def test_readings_after_a_given_time_are_left_for_a_later_run(survivor: Survivor) -> None:
    first, second = survivor.first_etl, survivor.second_etl
    assert int(second.outputs["version"]) == int(first.outputs["version"]) + 1
    assert _newest(survivor, first) <= survivor.until < _newest(survivor, second)


def _newest(survivor: Survivor, run: OperationStatus) -> datetime:
    report = survivor.platform.lake.table.parent / run.outputs["report"]
    return max(sensor.last for sensor in EtlReport.model_validate_json(report.read_text()).sensors.values())


def test_a_job_goes_on_when_the_one_who_started_it_is_killed(
    platform: Platform, process: PlatformProcess, command: str
) -> None:
    circuit = "P002_C002"
    platform.faults.switch_on(FaultKind.JOB_SLOW, command_id=command, seconds=1)
    start_and_hang = (
        "import sys, time\n"
        "from shared.adapters.local.training_runner import LocalTrainingRunner\n"
        "runner = LocalTrainingRunner(*sys.argv[1:3])\n"
        "print(runner.start(sys.argv[3], sys.argv[4], *sys.argv[5:]), flush=True)\n"
        "time.sleep(60)\n"
    )
    arguments = [process.url, process.key, command, circuit, *WHO]
    with subprocess.Popen(
        [sys.executable, "-c", start_and_hang, *arguments], stdout=subprocess.PIPE, text=True, cwd=Path(REPOSITORY)
    ) as host:
        assert host.stdout
        reference = host.stdout.readline().strip()
        host.kill()
    assert platform.look(reference).state is OperationState.RUNNING
    assert platform.training.start(command, circuit, *WHO) == reference
    version = int(platform.succeeded(reference).outputs["model_version"])
    assert platform.models.describe_model(circuit, version + 1) is None
