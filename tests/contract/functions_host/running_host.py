"""A host that runs the sample app in this process, and what its functions noted."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from azure.storage.queue import QueueClient, TextBase64EncodePolicy

from local.azurite import Azurite
from local.functions_host.host import FunctionsHost, HostOptions
from local.functions_host.index import load_app
from local.servers import ServerThread

SAMPLE_APP = Path(__file__).parents[1] / "sample_app"
MASTER, HOST, EVENT_GRID, GUARDED = "master-key", "host-key", "event-grid-key", "guarded-key"


@dataclass
class RunningHost:
    """One host, its address and the trace file of its functions."""

    host: FunctionsHost
    server: ServerThread
    trace: Path
    work_queue: str
    connection: str
    http: requests.Session = field(default_factory=requests.Session)

    @property
    def url(self) -> str:
        return self.server.url

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.http.get(f"{self.url}/api/{path}", timeout=20, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.http.post(f"{self.url}/api/{path}", timeout=20, **options)

    def run_by_hand(self, function: str, given: str = "") -> requests.Response:
        return self.http.post(
            f"{self.url}/admin/functions/{function}",
            json={"input": given},
            headers={"x-functions-key": MASTER},
            timeout=20,
        )

    def notes(self, name: str) -> list[dict[str, Any]]:
        lines = self.trace.read_text().splitlines() if self.trace.exists() else []
        return [note for note in map(json.loads, lines) if note["name"] == name]

    def wait_for(self, name: str, count: int = 1, timeout: float = 10) -> list[dict[str, Any]]:
        """The notes of that name once there are `count` of them; fails after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while len(found := self.notes(name)) < count:
            assert time.monotonic() < deadline, f"{name} was noted {len(found)} times, not {count}"
            time.sleep(0.02)
        return found

    def queue(self, suffix: str = "", *, plain: bool = False) -> QueueClient:
        """The work queue (or its poison queue), with the encoding that the host expects unless `plain`."""
        policy = None if plain else TextBase64EncodePolicy()
        return QueueClient.from_connection_string(
            self.connection, self.work_queue + suffix, message_encode_policy=policy
        )

    def stop(self) -> None:
        self.http.close()
        self.server.stop()


StartHost = Callable[..., RunningHost]


def sample_settings(azurite: Azurite, **changes: str | None) -> dict[str, str]:
    """The sample app's settings; None leaves one out."""
    settings: dict[str, str | None] = {
        "AzureWebJobsStorage": azurite.connection_string,
        "WorkStorage": azurite.connection_string,
        "WORK_QUEUE": f"work-{uuid.uuid4().hex[:8]}",
        "TICK_SCHEDULE": "0 0 0 1 1 *",
        "HOURLY_SCHEDULE": "0 0 * * * *",
        "AzureFunctionsWebHost__hostid": uuid.uuid4().hex,
        "FUNCTIONS_MASTER_KEY": MASTER,
        "FUNCTIONS_HOST_KEY": HOST,
        "FUNCTIONS_EVENTGRID_KEY": EVENT_GRID,
        "FUNCTIONS_FUNCTION_KEYS": json.dumps({"guarded": GUARDED}),
        **changes,
    }
    return {name: value for name, value in settings.items() if value is not None}


def start(settings: Mapping[str, str], options: HostOptions, trace: Path) -> RunningHost:
    app = load_app("sample_functions:app", SAMPLE_APP)
    host = FunctionsHost(app, SAMPLE_APP, settings, options)
    server = ServerThread(host.application, purpose="the host under test").start()
    return RunningHost(host, server, trace, settings["WORK_QUEUE"], settings["WorkStorage"])
