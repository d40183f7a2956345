"""What the end-to-end tests share: one runtime with releases that wait for people, and programs run as people do."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from azure.data.tables import TableClient

from local.configuration import copy_configuration
from local.environments import register_environment
from local.readings import write_readings
from local.runtime import LocalRuntime, Pace
from shared.adapters.local.platform_client import PlatformClient
from shared.domain.training import Phase as TrainingPhase
from shared.training_build import Change, TrainingBuild
from shared.wiring import Wired, wire

ROOT = Path(__file__).resolve().parents[2]
REFERENCE_DIR = ROOT / os.environ.get("REFERENCE_DIR", "../shared")
TRAINER, ENGINEER, DIRECTOR, STRANGER = (f"{name}@plant.example" for name in ("dana", "erik", "maria", "sam"))
WAITING = ("P001_C001", "P001_C002", "P002_C001")
"""Circuits whose first release waits for its registry approval when a test begins, unless another test moved it on."""
NEVER = "0 0 0 1 1 *"
ONLY_ON_DEMAND = Pace(
    sweep="* * * * * *",
    etl=NEVER,
    upkeep=NEVER,
    daily_scoring=NEVER,
    reconcile=NEVER,
    monitoring=NEVER,
    first_look_seconds=1,
    first_job_look_seconds=3,
    longest_look_seconds=5,
    slot_wait_seconds=1,
    queue_lease_seconds=10,
)


def until(reached: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """What `reached` returns once that is true; fails when it takes longer."""
    deadline = time.monotonic() + seconds
    while not (found := reached()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.1)
    return found


@dataclass
class Api:
    """The app's HTTP interface as its callers use it, and the state behind it as it lies in the table."""

    runtime: LocalRuntime
    wired: Wired

    def call(self, method: str, path: str, by: str | None = ENGINEER, **options: Any) -> requests.Response:
        """A request by a signed-in person (None: by nobody), to `path` exactly as it is written."""
        headers = dict(options.pop("headers", {}))
        if by is not None:
            headers.setdefault("Authorization", f"Bearer {self.runtime.services.issuer.issue(by)}")
        request = requests.Request(method, self.runtime.url, headers=headers, **options).prepare()
        query = str(request.url).partition("?")[2]
        request.url = f"{self.runtime.url}/api/{path}" + (f"?{query}" if query else "")
        with requests.Session() as session:
            return session.send(request, timeout=30)

    def get(self, path: str, by: str | None = ENGINEER, **options: Any) -> requests.Response:
        return self.call("GET", path, by, **options)

    def gate(self, circuit: str) -> dict[str, Any]:
        """The open approval of the circuit's release, as people are shown it."""
        shown = self.get("approvals", params={"size": 200}).json()["approvals"]
        return next(approval for approval in shown if approval["circuit"] == circuit)

    def decide(
        self, approval: Mapping[str, Any], by: str, decision: str = "approve", **changed: Any
    ) -> requests.Response:
        body = {"decision": decision, "digest": approval["digest"], "comment": "looked at", **changed}
        return self.call("POST", f"approvals/{approval['id']}", by, json=body)

    def phase(self, release: str) -> str:
        return str(self.get(f"releases/{release}").json()["phase"])

    def history(self, release: str) -> list[dict[str, Any]]:
        return list(self.get(f"releases/{release}/history").json().get("history", []))

    def events(self, release: str) -> list[str]:
        """The names of what happened to the release, in order."""
        return [str(line["event"]) for line in self.history(release)]

    def tell(self, *events: Mapping[str, Any], function: str = "on_model_registered", **options: Any) -> int:
        """Deliver events to the webhook as Event Grid does; returns the status code."""
        headers = {"x-functions-key": self.runtime.keys["event_grid"], "aeg-event-type": "Notification"}
        options.setdefault("json", list(events))
        address = f"{self.runtime.url}/runtime/webhooks/eventgrid"
        answer = requests.post(address, params={"functionName": function}, headers=headers, timeout=30, **options)
        return answer.status_code

    def letters(self) -> list[dict[str, Any]]:
        """Dead letters, newest first."""
        return list(self.get("dead-letters", params={"size": 200}).json()["dead_letters"])

    def rows(self, part_of_key: str = "") -> dict[tuple[str, str], str]:
        """What lies in the state's table, by key, of rows whose key has this part."""
        settings = self.wired.settings
        with TableClient.from_connection_string(settings.storage, settings.state_table) as table:
            found = {(row["PartitionKey"], row["RowKey"]): str(row.get("body")) for row in table.list_entities()}
        return {key: body for key, body in found.items() if part_of_key in key[1]}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A whole runtime in which three circuits were trained; nothing in it happens by schedule."""
    home = tmp_path_factory.mktemp("runtime")
    now = datetime.now(UTC)
    fleet = copy_configuration(ROOT / "config", home / "config", cutoff_date=(now - timedelta(days=2)).date())
    trained = fleet.model_copy(update={"circuits": {name: fleet.circuits[name] for name in WAITING}})
    write_readings(trained, home / "landing", now - timedelta(days=90), now)
    with LocalRuntime(home, home / "config", home / "landing", pace=ONLY_ON_DEMAND) as runtime:
        made = Api(runtime, wire(runtime.environment))
        runtime.run_function("run_etl")
        until(lambda: len(made.wired.queries.circuits(200).entries) == len(WAITING), "the readings to be known")
        platform = PlatformClient(runtime.platform_url, runtime.keys["platform"])
        for spec in fleet.environments.values():
            register_environment(platform, spec, "5f1c7d9e02ab", "101")
        build = TrainingBuild(made.wired.application, limit=3, poll_seconds=0.3)
        runs = build.run(WAITING, Change("5f1c7d9e02ab", TRAINER, "101"))
        assert {run.phase for run in runs.values()} == {TrainingPhase.TRAINED}
        asked = [f"{circuit}:1" for circuit in WAITING]
        until(lambda: all("ApprovalRequested" in made.events(release) for release in asked), "people to be asked")
        yield made


class Program:
    """A program of the repository, run as a person would run it, behind a proxy that leads nowhere."""

    def __init__(self, module: str, *arguments: str, log: Path, **environment: str) -> None:
        self._log = log
        nowhere = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "COLUMNS": "80"}
        compiled = {"PYTHONPYCACHEPREFIX": str(ROOT / ".local" / "pycache"), "PYTHONDONTWRITEBYTECODE": ""}
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=ROOT,
                env={**os.environ, **nowhere, **compiled, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def until_it_says(self, text: str, seconds: float = 120) -> str:
        def said() -> bool:
            assert self.process.poll() is None or text in self.output(), self.output()
            return text in self.output()

        until(said, f"{text!r}; it said:\n{self.output()}", seconds)
        return self.output()

    def part(self, module: str) -> psutil.Process:
        """The process of a part that it started."""

        def find() -> psutil.Process | None:
            for child in psutil.Process(self.process.pid).children():
                with contextlib.suppress(psutil.Error):
                    if module in child.cmdline():
                        return child
            return None

        found = until(find, f"{module} to be started")
        assert isinstance(found, psutil.Process)
        return found

    def end(self, seconds: float, signal: int | None = None) -> int:
        """The exit code, after a signal if one is given; everything it had started must have ended with it."""
        started = psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []
        if signal is not None:
            self.process.send_signal(signal)
        code = self.process.wait(seconds)
        _, left = psutil.wait_procs(started, timeout=30)  # one that was importing notices afterwards
        assert not left, f"still running: {[(process, process.cmdline()) for process in left]}"
        return code

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
