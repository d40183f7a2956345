"""The real application on the real storage clients, with the model platform simulated and time under our hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from azure.storage.queue import QueueClient, TextBase64DecodePolicy

from local.platform.names import STORAGE_ID, workspace_id
from local.runtime import TOPIC_ID
from shared.adapters.azure import credentials
from shared.adapters.azure.documents import BlobDocuments
from shared.advance import Advanced
from shared.application import Application
from shared.domain import messages as m
from shared.domain.values import Stage
from shared.handlers import Directory, Ports
from shared.settings import Settings
from shared.wiring import provision, wire
from tests.bench.operations import StorageOperations
from tests.builders import ENGINEER, START, decided, model_tags, registered
from tests.simulated import (
    SCORING,
    TEST_INFERENCE,
    Operations,
    SimulatedApprovals,
    SimulatedDocuments,
    SimulatedEtl,
    SimulatedLake,
    SimulatedPlatform,
    SimulatedTopic,
    SimulatedTraining,
    Started,
    VirtualClock,
)

ROOT = Path(__file__).resolve().parents[2]
SWEEP_EVERY = timedelta(seconds=30)


def environment(connection_string: str, name: str) -> dict[str, str]:
    """Settings of an application with a table, a queue and a container of its own; what is not storage is simulated."""
    nowhere = "http://127.0.0.1:9"
    return {
        "FLEET_MODE": "local",
        "FLEET_STORAGE": connection_string,
        "STATE_TABLE": name,
        "WORK_QUEUE": name,
        "DOCUMENTS_CONTAINER": name,
        "CONFIG_FOLDER": str(ROOT / "config"),
        "LAKE_URI": "memory://lake",
        "TOPIC_ENDPOINT": nowhere,
        "TOPIC_KEY": "none",
        "TOPIC_ID": TOPIC_ID,
        "DEV_WORKSPACE": workspace_id(Stage.DEV),
        "TEST_WORKSPACE": workspace_id(Stage.TEST),
        "PRODUCTION_WORKSPACE": workspace_id(Stage.PRODUCTION),
        "LAKE_ACCOUNT": STORAGE_ID,
        "TOKEN_ISSUER": nowhere,
        "TOKEN_AUDIENCE": "none",
        "TOKEN_KEYS_URI": nowhere,
        "PLATFORM_ENDPOINT": nowhere,
        "PLATFORM_KEY": "none",
    }


@dataclass(frozen=True)
class Told:
    """A fact, when it was told, what became of it, and how many storage operations `advance` needed for it."""

    at: datetime
    event: m.Event
    advanced: Advanced
    operations: int


class Remembering(Application):
    """The application, and everything it was told."""

    def __init__(self, ports: Ports, directory: Directory, operations: StorageOperations) -> None:
        super().__init__(ports, directory)
        self.told: list[Told] = []
        self._operations = operations

    def advance(self, event: m.Event) -> Advanced:
        before = self._operations.of("advance")
        advanced = super().advance(event)
        needed = self._operations.of("advance") - before
        self.told.append(Told(self.ports.clock.now(), event, advanced, needed))
        return advanced


class _DocumentsOfJobs(SimulatedDocuments):
    """What a scoring job reads its request from; its reads are the job's, not the application's."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        container = credentials.blobs(settings).get_container_client(settings.documents)
        self._marker = f"/{settings.documents}/"
        self._blobs = BlobDocuments(container)

    def at(self, uri: str) -> dict[str, Any]:
        return dict(self._blobs.read(unquote(uri.partition(self._marker)[2])) or {})


class BenchFleet:
    """The circuits of the repository's configuration, brought to production together."""

    def __init__(self, connection_string: str, name: str) -> None:
        self.operations = StorageOperations()
        options = {"raw_request_hook": self.operations}
        named = environment(connection_string, name)
        self.settings = Settings.read(named)
        provision(self.settings)
        wired = wire(named, **options)
        self.clock = VirtualClock(START)
        self.directory = wired.application.directory
        self._queue = _receiver(self.settings, options)
        self._lake = SimulatedLake()
        operations = Operations(self.clock)
        operations.told = self._job_ended
        self._platform = SimulatedPlatform(operations, _DocumentsOfJobs(self.settings), self._lake)
        self._approvals = SimulatedApprovals()
        self._ended: list[tuple[datetime, str]] = []
        ports = replace(
            wired.application.ports,
            clock=self.clock,
            platform=self._platform,
            etl=SimulatedEtl(operations, self._lake, self.directory.circuits()),
            training=SimulatedTraining(operations),
            approvals=self._approvals,
            lake=self._lake,
            topic=SimulatedTopic(),
        )
        self.app = Remembering(ports, self.directory, self.operations)

    def go_live(self) -> None:
        """Every circuit's first model, from its registration to the first verified scoring in production."""
        for circuit in self.directory.circuits():
            self._platform.models[circuit, 1] = model_tags(circuit)
            self.app.advance(registered(circuit, 1))
        for _ in ("registry", "production"):
            self.run(minutes=5)
            self._approve()
            self.run(minutes=10)
        hour = self.clock.now().astimezone(UTC).replace(minute=0)
        version = self._lake.commit(dict.fromkeys(self.directory.circuits(), hour))
        self.app.read_delta_log(version, "etl")
        self.run(minutes=10)

    def run(self, minutes: float) -> None:
        """Let time pass as the host would: messages at once, a sweep every 30 seconds, events when jobs end."""
        end = self.clock.now() + timedelta(minutes=minutes)
        while self.clock.now() < end:
            self._work()
            self.clock.advance_to(self.clock.now() + SWEEP_EVERY)
            for at, job in [entry for entry in self._ended if entry[0] <= self.clock.now()]:
                self._ended.remove((at, job))
                self.app.look_at_job(job)
            self.app.sweep()
        self._work()

    def _work(self) -> None:
        while messages := list(self._queue.receive_messages(max_messages=16)):
            for message in messages:
                self.app.work(message.content)
                self._queue.delete_message(message)

    def _approve(self) -> None:
        for approval, asked in list(self._approvals.open.items()):
            del self._approvals.open[approval]
            self.app.advance(decided(approval, asked["digest"], by=ENGINEER))

    def _job_ended(self, at: datetime, operation: Started) -> None:
        if operation.purpose in (TEST_INFERENCE, SCORING):
            self._ended.append((at, operation.reference))


def _receiver(settings: Settings, options: Mapping[str, Any]) -> QueueClient:
    """What the queue trigger does: receive, and delete when the function has returned."""
    return credentials.queues(settings, **options).get_queue_client(
        settings.work_queue, message_decode_policy=TextBase64DecodePolicy()
    )
