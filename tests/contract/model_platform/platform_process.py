"""The embedded model platform as a process that tests start, stop and kill, and a topic that receives its events."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import requests

from local.ports import LOOPBACK, free_port

REPOSITORY = Path(__file__).resolve().parents[3]
READY_TIMEOUT_SECONDS = 90.0
STOP_TIMEOUT_SECONDS = 10.0


class PlatformError(RuntimeError):
    """The model platform does not start or has died; the message holds its last output."""


class PlatformProcess:
    """One service: `with PlatformProcess(...) as platform: LocalModelPlatform(platform.url, platform.key)`.

    It ends with the process that started it. `options` are further settings: `operation_delay=0.5`.
    """

    def __init__(
        self,
        *,
        state: Path,
        config: Path,
        lake: Path,
        landing: Path,
        topic_endpoint: str,
        topic_key: str,
        storage_connection: str = "",
        port: int | None = None,
        key: str | None = None,
        **options: float,
    ) -> None:
        self.port = port or free_port()
        self.key = key or secrets.token_urlsafe(24)
        self.log = state / "platform.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = {
            **os.environ,
            "PLATFORM_KEY": self.key,
            "TOPIC_KEY": topic_key,
            "AzureWebJobsStorage": storage_connection,
            # Containers often write no bytecode; compiling MLflow's thousand modules at each start costs 5 s.
            "PYTHONPYCACHEPREFIX": str(REPOSITORY / ".local" / "pycache"),
        }
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)
        named = {
            "state": state,
            "config": config,
            "lake": lake,
            "landing": landing,
            "port": self.port,
            "topic-endpoint": topic_endpoint,
            **{name.replace("_", "-"): value for name, value in options.items()},
        }
        flags = [part for name, value in named.items() for part in (f"--{name}", str(value))]
        self._command = [sys.executable, "-m", "local.platform", "--stop-with-stdin", *flags]

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int:
        """The running service's process id; raises PlatformError when it was not started."""
        return self._running().pid

    def __enter__(self) -> Self:
        self.start()
        self.wait_until_ready()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start, and return at once: the workers' imports take seconds in which other things can start."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=REPOSITORY,
                env=self._environment,
                start_new_session=True,  # Ctrl-C in the terminal must reach what started the service first
            )

    def wait_until_ready(self, timeout: float = READY_TIMEOUT_SECONDS) -> None:
        """Return when jobs can run; raises PlatformError when the service dies or takes longer than `timeout`."""
        deadline = time.monotonic() + timeout
        while not self._answers_ready():
            self.check()
            if time.monotonic() > deadline:
                raise PlatformError(f"The model platform was not ready in {timeout:g} s. {self._last_output()}")
            time.sleep(0.05)

    def check(self) -> None:
        """Return while the service runs; raises PlatformError once it has died."""
        code = self._running().poll()
        if code is not None:
            raise PlatformError(f"The model platform has stopped (exit code {code}). {self._last_output()}")

    def stop(self) -> None:
        """Stop the service and its workers; jobs that run are taken up again at the next start."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin:
            process.stdin.close()

    def kill(self) -> None:
        """Kill the service without warning, as a crash would."""
        process = self._running()
        process.kill()
        process.wait()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise PlatformError("The model platform was not started.")
        return self._process

    def _answers_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/health", timeout=2).ok
        except requests.RequestException:
            return False

    def _last_output(self, lines: int = 15) -> str:
        text = self.log.read_text(errors="replace").strip() if self.log.exists() else ""
        return f"Its last output, in {self.log}:\n" + ("\n".join(text.splitlines()[-lines:]) or "(none)")
