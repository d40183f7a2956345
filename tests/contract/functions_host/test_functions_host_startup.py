"""What a host refuses to start with, and the command line as a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest
import requests
from azure.storage.queue import QueueClient, TextBase64EncodePolicy

from local.azurite import Azurite
from local.functions_host.host import FunctionsHost, HostStartError
from tests.contract.functions_host.running_host import MASTER, SAMPLE_APP, sample_settings

REPOSITORY = Path(__file__).parents[3]
HEAVY = ("mlflow", "sklearn", "pandas", "deltalake", "polars", "pyarrow", "azure.ai")


def hosted(app: func.FunctionApp, folder: Path, settings: Mapping[str, str] | None = None) -> FunctionsHost:
    (folder / "host.json").write_text('{"version": "2.0"}')
    return FunctionsHost(app, folder, settings or {})


def refusal(app: func.FunctionApp, folder: Path, settings: Mapping[str, str] | None = None) -> str:
    with pytest.raises(HostStartError) as refused:
        hosted(app, folder, settings)
    return str(refused.value)


def test_all_missing_connections_and_bad_schedules_are_reported_together(tmp_path: Path) -> None:
    app = func.FunctionApp()

    @app.timer_trigger(arg_name="timer", schedule="? * * * *")
    def odd(timer: func.TimerRequest) -> None: ...

    @app.queue_trigger(arg_name="message", queue_name="q", connection="WORK")
    def work(message: func.QueueMessage) -> None: ...

    message = refusal(app, tmp_path)
    assert "AzureWebJobsStorage" in message and "WORK" in message
    message = refusal(app, tmp_path, {"AzureWebJobsStorage": "UseDevelopmentStorage=true"})
    assert "'?' is no minute" in message and "WORK" in message


def test_an_identity_based_connection_is_explained(tmp_path: Path) -> None:
    app = func.FunctionApp()

    @app.queue_trigger(arg_name="message", queue_name="q", connection="WORK")
    def work(message: func.QueueMessage) -> None: ...

    message = refusal(app, tmp_path, {"WORK__queueServiceUri": "https://x.queue.core.windows.net"})
    assert "WORK__queueServiceUri" in message and "needs Azure" in message


def test_a_missing_setting_in_a_binding_is_named(tmp_path: Path) -> None:
    app = func.FunctionApp()

    @app.timer_trigger(arg_name="timer", schedule="%EVERY_SO_OFTEN%")
    def odd(timer: func.TimerRequest) -> None: ...

    assert "EVERY_SO_OFTEN" in refusal(app, tmp_path)


def test_functions_the_worker_would_refuse_are_all_named(tmp_path: Path) -> None:
    app = func.FunctionApp()

    @app.route(route="a")
    def wrong_argument(request: func.HttpRequest) -> str:
        return ""

    @app.event_grid_trigger(arg_name="event")
    def wrong_annotation(event: func.HttpRequest) -> None: ...

    @app.event_grid_trigger(arg_name="event")
    @app.queue_output(arg_name="out", queue_name="q", connection="WORK")
    def with_output(event: func.EventGridEvent, out: func.Out[str]) -> None: ...

    message = refusal(app, tmp_path)
    for name in ("wrong_argument", "wrong_annotation", "with_output"):
        assert name in message


def test_two_functions_with_one_route_are_refused_unless_their_methods_differ(tmp_path: Path) -> None:
    app = func.FunctionApp()

    @app.route(route="a/{x}", methods=["GET"])
    def read(req: func.HttpRequest) -> str:
        return ""

    @app.route(route="a/{x}", methods=["POST"])
    def write(req: func.HttpRequest) -> str:
        return ""

    assert len(hosted(app, tmp_path).functions) == 2

    @app.route(route="A/{x}")
    def every(req: func.HttpRequest) -> str:
        return ""

    assert "'every'" in refusal(app, tmp_path)


def test_the_host_imports_nothing_heavy() -> None:
    script = (
        "import sys, local.functions_host.__main__\n"
        f"print([name for name in sys.modules if name.startswith({HEAVY!r})])"
    )
    answer = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.fixture
def command(azurite: Azurite, tmp_path: Path, free_port: int) -> Any:
    """Starts the command line with the sample app; what still runs is killed with the test."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str, **settings: str) -> subprocess.Popen[str]:
        trace = str(tmp_path / "trace.jsonl")
        environment = {**os.environ, **sample_settings(azurite), "TRACE_FILE": trace, **settings}
        command = [sys.executable, "-m", "local.functions_host", "--app", "sample_functions:app"]
        command += ["--script-root", str(SAMPLE_APP), "--port", str(free_port), *arguments]
        started.append(
            subprocess.Popen(
                command,
                env=environment,
                cwd=REPOSITORY,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def work_queue(azurite: Azurite, name: str) -> QueueClient:
    queue = QueueClient.from_connection_string(
        azurite.connection_string, name, message_encode_policy=TextBase64EncodePolicy()
    )
    queue.create_queue()
    return queue


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def wait_until_up(port: int, process: subprocess.Popen[str]) -> None:
    for _ in range(500):
        try:
            requests.get(f"http://127.0.0.1:{port}/admin/host/ping", timeout=1)
            return
        except requests.ConnectionError:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.02)
    raise AssertionError("the host did not come up")


def test_the_command_lists_functions_serves_them_and_ends_cleanly(command: Any, free_port: int) -> None:
    process = command()
    wait_until_up(free_port, process)
    status = f"http://127.0.0.1:{free_port}/admin/host/status"
    assert requests.get(status, headers={"x-functions-key": MASTER}, timeout=5).json()["state"] == "Running"
    with ThreadPoolExecutor(1) as caller:
        answer = caller.submit(requests.get, f"http://127.0.0.1:{free_port}/api/slow/800", timeout=10)
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        assert answer.result().status_code == 200
    output, log = process.communicate(timeout=15)
    assert process.returncode == 0, log
    assert f"only_post: [POST] http://127.0.0.1:{free_port}/api/only/post" in output
    assert "hourly: timerTrigger (0 0 * * * *)" in output
    assert re.search(r"Executed 'Functions\.slow' \(Succeeded, Id=[0-9a-f-]{36}, Duration=\d+ms\)", log)


def test_a_function_that_outlives_the_grace_time_does_not_keep_the_process(command: Any, free_port: int) -> None:
    process = command("--grace", "1")
    wait_until_up(free_port, process)
    with ThreadPoolExecutor(1) as caller:
        caller.submit(requests.get, f"http://127.0.0.1:{free_port}/api/slow/9000", timeout=10)
        time.sleep(0.3)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=15)
    assert time.monotonic() - started < 8.5, "the function itself takes nine seconds"


def test_while_it_ends_a_host_receives_no_more_messages(command: Any, free_port: int, azurite: Azurite) -> None:
    process = command(WORK_QUEUE=(name := f"work-{free_port}"))
    wait_until_up(free_port, process)
    queue = work_queue(azurite, name)
    with ThreadPoolExecutor(1) as caller:
        answer = caller.submit(requests.get, f"http://127.0.0.1:{free_port}/api/slow/1500", timeout=10)
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        queue.send_message("too late")
        assert answer.result().status_code == 200
    process.communicate(timeout=15)
    assert [message.dequeue_count for message in queue.receive_messages()] == [1]


def test_a_message_of_a_killed_host_is_run_again(
    command: Any, free_port: int, azurite: Azurite, tmp_path: Path
) -> None:
    name = f"work-{free_port}"
    process = command("--queue-lease", "3", WORK_QUEUE=name)
    queue = work_queue(azurite, name)
    queue.send_message("sleep 1")
    trace = tmp_path / "trace.jsonl"
    wait_until(lambda: trace.exists() and '"work"' in trace.read_text(), process)
    process.kill()
    process = command("--queue-lease", "3", WORK_QUEUE=name)
    wait_until(lambda: '"work ended"' in trace.read_text(), process)
    counts = [note["count"] for note in map(json.loads, trace.read_text().splitlines()) if note["name"] == "work"]
    assert counts == [1, 2]


def test_a_host_may_end_with_its_standard_input(command: Any, free_port: int) -> None:
    process = command("--stop-with-stdin")
    wait_until_up(free_port, process)
    process.stdin.close()
    process.stdin = None
    process.communicate(timeout=15)
    assert process.returncode == 0


def test_a_taken_port_is_named_with_its_owner(command: Any, free_port: int) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", free_port))
        holder.listen()
        _, log = (process := command()).communicate(timeout=15)
    assert process.returncode == 1
    assert f"Port {free_port}" in log and f"pid {os.getpid()}" in log


def test_what_a_function_logs_obeys_the_levels_of_host_json(command: Any, free_port: int) -> None:
    process = command()
    wait_until_up(free_port, process)
    requests.get(f"http://127.0.0.1:{free_port}/api/logs", timeout=5)
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=15)
    assert "spoken at warning" in log and "spoken at info" not in log


def test_a_missing_app_is_explained(command: Any) -> None:
    _, log = (process := command("--app", "nowhere:app")).communicate(timeout=15)
    assert process.returncode == 1
    assert "nowhere" in log and "--script-root" in log and "Traceback" not in log
