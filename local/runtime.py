"""The embedded runtime: storage, Event Grid, issuer, model platform and function host, started and stopped together.

Everything it keeps lies below one home folder, so that it can be stopped and started again where it was. While it runs,
`environment.json` in that folder holds what other programs need to be wired to it: see `environment_of`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import requests
from azure.core.exceptions import AzureError

from local.azurite import Azurite
from local.event_grid import AdvancedFilter, DeadLetterDestination, HandshakeFailed, Subscription
from local.platform.names import STORAGE_ID, workspace_id
from local.ports import LOOPBACK, PortTaken, accepts, free_port, free_ports, require_free
from local.services import LocalServices
from shared.domain.values import Stage
from shared.settings import Settings
from shared.subscriptions import SUBSCRIPTIONS, EventSubscription, Source
from shared.wiring import provision

REPOSITORY = Path(__file__).resolve().parents[1]
LOCK, ENVIRONMENT = "running.lock", "environment.json"
PEOPLE = REPOSITORY / "local" / "people.yml"
TOPIC = "fleet"
TOPIC_ID = "/subscriptions/local/resourceGroups/local/providers/Microsoft.EventGrid/topics/fleet"
START_SECONDS = 90
STOP_SECONDS = 30
GRACE_SECONDS = 5
"""What running functions get at the end; what they leave unfinished is taken up at the next start."""
PORT_SECONDS = 10
LOG_LIMIT = 5_000_000

SYSTEM_TOPICS: Mapping[Source, str] = {
    Source.DEV_WORKSPACE: workspace_id(Stage.DEV),
    Source.TEST_WORKSPACE: workspace_id(Stage.TEST),
    Source.PRODUCTION_WORKSPACE: workspace_id(Stage.PRODUCTION),
    Source.LAKE: STORAGE_ID,
}
"""The topics of the workspaces and of the lake's storage account, with the resource ids their events carry."""


class RuntimeFailed(RuntimeError):
    """A part of the runtime does not start or has ended; the message names it and its log."""


@dataclass(frozen=True)
class Pace:
    """How eager the runtime is. A demonstration looks every second; a laptop that stays up need not."""

    sweep: str = "*/5 * * * * *"
    etl: str = "0 5 */3 * * *"
    upkeep: str = "0 45 1 * * *"
    daily_scoring: str = "0 0 6 * * *"
    reconcile: str = "0 */15 * * * *"
    monitoring: str = "0 20 * * * *"
    retention: str = "0 50 * * * *"
    first_look_seconds: int = 2
    first_job_look_seconds: int = 20
    longest_look_seconds: int = 60
    slot_wait_seconds: int = 2
    queue_lease_seconds: int = 60
    """After which the work of a host that was killed is taken up again; ten minutes on Azure."""


@dataclass
class LocalRuntime:
    """One runtime in `home` with the configuration of `config`, whose ETL reads `landing`.

    port: the app's (0: a free one); Event Grid with the token issuer and the model platform take the two after it, if
    they are free. Raises RuntimeFailed, PortTaken, AzuriteError and SettingsError with what to do.
    """

    home: Path
    config: Path
    landing: Path
    port: int = 0
    pace: Pace = field(default_factory=Pace)

    def __post_init__(self) -> None:
        self.home = self.home.resolve()
        self.lake = self.home / "lake"
        self.logs = self.home / "logs"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._open = contextlib.ExitStack()

    # ------------------------------------------------------------------------------------------------ start and stop

    def __enter__(self) -> Self:
        try:
            return self._start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _start(self) -> Self:
        for folder in (self.home, self.lake, self.landing, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        self._open.enter_context(only_one(self.home))
        for log in self.logs.glob("*.log"):
            if log.stat().st_size > LOG_LIMIT:
                log.replace(log.with_suffix(".log.1"))
        _reach_this_machine_directly()
        self.keys = _kept_keys(self.home / "keys.json")
        ports = self._ports()
        services = LocalServices(self.home / "services", PEOPLE, port=ports["services"])
        self.services = self._open.enter_context(services)
        self.topic = self.services.event_grid.create_topic(TOPIC, resource_id=TOPIC_ID, key=self.keys["topic"])
        for name, resource in SYSTEM_TOPICS.items():
            self.services.event_grid.create_topic(name, resource_id=resource, key=self.keys["topic"])
        self.platform_url = f"http://{LOOPBACK}:{ports['platform']}"
        self.url = f"http://{LOOPBACK}:{ports['app']}"
        emulator = Azurite(self.home / "storage", (ports["blob"], ports["queue"], ports["table"]))
        self.storage = self._open.enter_context(emulator)
        self.environment = self._settings()
        # The platform imports for seconds: everything else comes up beside it.
        self._run("platform", self._platform_command())
        try:
            provision(Settings.read(self.environment))
        except AzureError as error:
            raise RuntimeFailed(f"The storage emulator does not do what it is asked: {error}") from error
        self.start_host()
        try:
            self._subscribe()
        except HandshakeFailed as error:
            raise RuntimeFailed(f"The app does not take events. {error}\n{self.last_words('host')}") from error
        self._wait("platform", f"{self.platform_url}/health", {"Authorization": f"Bearer {self.keys['platform']}"})
        _write_private(self.home / ENVIRONMENT, self.environment)
        self._open.callback((self.home / ENVIRONMENT).unlink, missing_ok=True)
        return self

    def stop(self) -> None:
        """Stop every part, the host first so that what runs can still reach the others."""
        for name in ("host", "platform"):
            self._end(name)
        self._open.close()

    def start_host(self) -> None:
        """Start the function host, or start it again after it has ended."""
        options = {
            "--app": "function_app:app",
            "--port": self.url.rpartition(":")[2],
            "--script-root": str(REPOSITORY),
            "--grace": str(GRACE_SECONDS),
            "--queue-lease": str(self.pace.queue_lease_seconds),
        }
        flags = [part for option in options.items() for part in option]
        self._run("host", [sys.executable, "-m", "local.functions_host", "--stop-with-stdin", *flags])
        self._wait("host", f"{self.url}/api/health", {})

    def kill_host(self) -> None:
        """End the function host at once, as a crash would."""
        process = self._processes.pop("host")
        process.kill()
        process.wait()

    def host_has_ended(self) -> bool:
        """Whether the function host, which nobody stopped, runs no more."""
        return self._processes["host"].poll() is not None

    def check(self) -> None:
        """Return while every part runs; raise RuntimeFailed, or AzuriteError, otherwise."""
        self.storage.check()
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise RuntimeFailed(f"The {name} ended with exit code {process.returncode}.\n{self.last_words(name)}")

    def last_words(self, name: str, lines: int = 15) -> str:
        """The end of a part's log, with the log's address."""
        log = self.logs / f"{name}.log"
        text = log.read_text(errors="replace").splitlines() if log.exists() else []
        return f"Its log, {shown(log)}, ends:\n" + (
            "\n".join(f"  {line}" for line in text[-lines:]) or "  (it said nothing)"
        )

    # ------------------------------------------------------------------------------------------------------- requests

    def run_function(self, name: str) -> None:
        """Run a function now, as the portal's button does."""
        address = f"{self.url}/admin/functions/{name}"
        answer = requests.post(
            address, json={"input": ""}, headers={"x-functions-key": self.keys["master"]}, timeout=60
        )
        answer.raise_for_status()

    def sign_in(self, username: str) -> requests.Session:
        """A session that carries a person's token."""
        address = f"{self.services.url}/issuer/token"
        answer = requests.post(address, data={"username": username}, timeout=10)
        answer.raise_for_status()
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return session

    def memory_bytes(self) -> int:
        """The memory of this process and all it started; what they share counts once where the system tells (Linux)."""
        here = psutil.Process()
        total = 0
        for process in [here, *here.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                used = process.memory_full_info()
                total += getattr(used, "pss", used.uss)
        return total

    # -------------------------------------------------------------------------------------------------------- parts

    def _ports(self) -> dict[str, int]:
        """The parts' ports, the same at every start if they can be: addresses of documents hold them.

        A runtime that was killed needs a moment until its parts have noticed; two emulators would spoil one folder.
        """
        kept_in = self.home / "ports.json"
        kept: dict[str, int] = json.loads(kept_in.read_text()) if kept_in.exists() else {}
        patience = time.monotonic() + PORT_SECONDS
        while any(accepts(port) for port in kept.values()) and time.monotonic() < patience:
            time.sleep(0.1)
        if self.port:
            require_free(self.port, "the app", setting="FLEET_PORT")
        app = self.port or kept.get("app") or free_port()
        wanted = {"services": app + 1, "platform": app + 2, "blob": 0, "queue": 0, "table": 0, **kept, "app": app}
        ports: dict[str, int] = {}
        for (name, port), instead in zip(wanted.items(), free_ports(len(wanted)), strict=True):
            ports[name] = port if port not in ports.values() and _is_free(port) else instead
        _write_private(kept_in, ports)
        return ports

    def _settings(self) -> dict[str, str]:
        pace = self.pace
        return {
            "FUNCTIONS_WORKER_RUNTIME": "python",
            "AzureWebJobsStorage": self.storage.connection_string,
            "FUNCTIONS_MASTER_KEY": self.keys["master"],
            "FUNCTIONS_HOST_KEY": self.keys["host"],
            "FUNCTIONS_EVENTGRID_KEY": self.keys["event_grid"],
            "ETL_SCHEDULE": pace.etl,
            "UPKEEP_SCHEDULE": pace.upkeep,
            "SWEEP_SCHEDULE": pace.sweep,
            "DAILY_SCORING_SCHEDULE": pace.daily_scoring,
            "RECONCILE_SCHEDULE": pace.reconcile,
            "MONITORING_SCHEDULE": pace.monitoring,
            "RETENTION_SCHEDULE": pace.retention,
            "FLEET_MODE": "local",
            "FLEET_STORAGE": self.storage.connection_string,
            "WORK_QUEUE": "fleet-work",
            "EVENTS_QUEUE": "fleet-events",
            "DEAD_LETTERS_CONTAINER": "dead-letters",
            "CONFIG_FOLDER": str(self.config),
            **_repository_of(self.config),
            "LAKE_URI": str(self.lake),
            "TOPIC_ENDPOINT": self.services.event_grid.endpoint(TOPIC),
            "TOPIC_KEY": self.topic.key,
            "TOPIC_ID": TOPIC_ID,
            "DEV_WORKSPACE": SYSTEM_TOPICS[Source.DEV_WORKSPACE],
            "TEST_WORKSPACE": SYSTEM_TOPICS[Source.TEST_WORKSPACE],
            "PRODUCTION_WORKSPACE": SYSTEM_TOPICS[Source.PRODUCTION_WORKSPACE],
            "LAKE_ACCOUNT": SYSTEM_TOPICS[Source.LAKE],
            "TOKEN_ISSUER": self.services.issuer.issuer,
            "TOKEN_AUDIENCE": self.services.issuer.audience,
            "TOKEN_KEYS_URI": self.services.issuer.keys_url,
            "SIGN_IN_ENDPOINT": f"{self.services.url}/issuer",
            "PLATFORM_ENDPOINT": self.platform_url,
            "PLATFORM_KEY": self.keys["platform"],
            "FIRST_LOOK_SECONDS": str(pace.first_look_seconds),
            "FIRST_JOB_LOOK_SECONDS": str(pace.first_job_look_seconds),
            "LONGEST_LOOK_SECONDS": str(pace.longest_look_seconds),
            "SLOT_WAIT_SECONDS": str(pace.slot_wait_seconds),
        }

    def _platform_command(self) -> list[str]:
        folders = {"state": self.home / "platform", "config": self.config, "lake": self.lake, "landing": self.landing}
        command = [sys.executable, "-m", "local.platform", "--stop-with-stdin"]
        for name, folder in folders.items():
            command += [f"--{name}", str(folder)]
        for name, resource in SYSTEM_TOPICS.items():
            command += ["--source-topic", f"{resource}={self.services.event_grid.endpoint(name)}"]
        port = self.platform_url.rpartition(":")[2]
        return [*command, "--port", port, "--topic-endpoint", self.services.event_grid.endpoint(TOPIC)]

    def _subscribe(self) -> None:
        container = self.environment["DEAD_LETTERS_CONTAINER"]
        lost = DeadLetterDestination(connection_string=self.storage.connection_string, container=container)
        for one in SUBSCRIPTIONS:
            hook = f"{self.url}/runtime/webhooks/eventgrid?functionName={one.function}&code={self.keys['event_grid']}"
            for source in one.sources:
                topic = TOPIC if source is Source.OWN_TOPIC else source
                self.services.event_grid.create_subscription(embedded(one, topic, hook, lost))

    def _run(self, name: str, command: list[str]) -> None:
        # Where no bytecode may lie beside the sources, compiling MLflow's thousand modules costs seconds a start.
        compiled = {"PYTHONPYCACHEPREFIX": str(REPOSITORY / ".local" / "pycache"), "PYTHONDONTWRITEBYTECODE": ""}
        with (self.logs / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env={**os.environ, **self.environment, **compiled, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal must reach this process first
            )

    def _end(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _wait(self, name: str, address: str, headers: Mapping[str, str]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self.check()
            with contextlib.suppress(requests.RequestException):
                if requests.get(address, headers=headers, timeout=5).ok:
                    return
            time.sleep(0.1)
        raise RuntimeFailed(f"The {name} did not get ready in {START_SECONDS} s.\n{self.last_words(name)}")


def embedded(one: EventSubscription, topic: str, endpoint: str, dead_letter: DeadLetterDestination) -> Subscription:
    """A subscription of the embedded Event Grid, as the table says it."""
    contains = AdvancedFilter(operator="StringContains", key="subject", values=(one.subject_contains,))
    return Subscription(
        name=one.function.replace("_", "-"),
        topic=topic,
        endpoint=endpoint,
        event_types=one.event_types,
        subject_begins_with=one.subject_begins_with,
        subject_ends_with=one.subject_ends_with,
        advanced_filters=(contains,) if one.subject_contains else (),
        dead_letter=dead_letter,
    )


def shown(path: Path) -> str:
    """A path as a person would write it from the repository's folder."""
    relative = os.path.relpath(path, REPOSITORY)
    return str(path) if relative.startswith("..") else relative


def environment_of(home: Path) -> dict[str, str]:
    """What `shared.wiring.wire` needs to reach the runtime that runs in `home`; raises RuntimeFailed when none does."""
    if not is_running(home):
        raise RuntimeFailed(f"Nothing runs in {shown(home)}. Start it first: make up")
    try:
        environment: dict[str, str] = json.loads((home / ENVIRONMENT).read_text())
    except FileNotFoundError:
        raise RuntimeFailed(
            f"The runtime in {shown(home)} is starting or stopping. Try again in a few seconds."
        ) from None
    return environment


def is_running(home: Path) -> bool:
    """Whether a runtime holds the folder, also one that is starting or stopping."""
    if not (home / LOCK).exists():
        return False
    try:
        with only_one(home):
            return False
    except RuntimeFailed:
        return True


@contextlib.contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Hold the home folder: two runtimes in it would write the same files. Raises RuntimeFailed."""
    with (home / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            whose = f": {holder}" if (holder := file.read().strip()) else ""
            raise RuntimeFailed(
                f"Another runtime uses {shown(home)} already{whose}. Wait until it has ended, or stop it first."
            ) from None
        file.truncate(0)
        file.write(f"{_this_program()}, pid {os.getpid()}\n")
        file.flush()
        yield


def _this_program() -> str:
    name = Path(sys.argv[0]).stem
    return f"make {name}" if name in ("demo", "train", "up") else name


def _is_free(port: int) -> bool:
    if not 0 < port < 65536:
        return False
    try:
        require_free(port, "a part of the runtime")
    except PortTaken:
        return False
    return True


def _kept_keys(path: Path) -> dict[str, str]:
    """The runtime's own keys, made once."""
    if not path.exists():
        names = ("master", "host", "event_grid", "topic", "platform")
        _write_private(path, {name: secrets.token_urlsafe(32) for name in names})
    keys: dict[str, str] = json.loads(path.read_text())
    return keys


def _write_private(path: Path, content: Mapping[str, str | int]) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    partial = path.with_suffix(".writing")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(content, file, indent=2)
    partial.replace(path)


def _reach_this_machine_directly() -> None:
    """Every part is on the loopback: a proxy that the environment names must not be asked for it."""
    for name in ("NO_PROXY", "no_proxy"):
        direct = [part for part in os.environ.get(name, "").split(",") if part]
        os.environ[name] = ",".join(dict.fromkeys([*direct, LOOPBACK, "localhost"]))


def _repository_of(config: Path) -> dict[str, str]:
    """Where changes to the configuration are proposed: the Git repository that has the folder at its top, or none."""
    if not (config.parent / ".git").exists():
        return {}
    return {"CONFIG_REPOSITORY": str(config.parent), "CONFIG_PATH": config.name}
