"""Azurite, the storage emulator, as a context manager: blobs, queues and tables of the embedded mode and the tests."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from local.ports import LOOPBACK, accepts, free_ports, require_free

REPOSITORY = Path(__file__).resolve().parents[1]
SCRATCH = REPOSITORY / ".local" / "azurite"
EXECUTABLE = REPOSITORY / "node_modules" / ".bin" / "azurite"
MINIMUM_NODE = 20
ACCOUNT = "devstoreaccount1"
# Published with the emulator and the same on every machine: not a secret.
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
DEFAULT_PORTS = (10000, 10001, 10002)
# Ends the emulator, saving its state, when the pipe to this process closes: also when this process is killed. Two
# emulators on one folder would spoil it.
STOP_WITH_STDIN = (
    "--import=data:text/javascript,process.stdin.resume().on('end',()=>process.kill(process.pid,'SIGTERM')).unref()"
)
START_TIMEOUT_SECONDS = 30
STOP_TIMEOUT_SECONDS = 5


class AzuriteError(RuntimeError):
    """Azurite cannot start or has died; the message says why and what to do."""


def connection_string(blob_port: int, queue_port: int, table_port: int) -> str:
    """The storage connection string of an emulator on these ports of this machine."""
    endpoints = {"BlobEndpoint": blob_port, "QueueEndpoint": queue_port, "TableEndpoint": table_port}
    return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};" + "".join(
        f"{name}=http://{LOOPBACK}:{port}/{ACCOUNT};" for name, port in endpoints.items()
    )


class Azurite:
    """One emulator: `with Azurite() as storage: client(storage.connection_string)`.

    location: folder that keeps the state; None keeps it in memory only.
    ports: (blob, queue, table); None takes free ones. Raises AzuriteError, or PortTaken for a given port in use.
    """

    def __init__(
        self,
        location: Path | None = None,
        ports: tuple[int, int, int] | None = None,
        executable: Path = EXECUTABLE,
    ) -> None:
        self._location = location
        self._executable = executable
        self._given_ports = ports
        self._process: subprocess.Popen[bytes] | None = None
        self._output: Path | None = None
        self.ports: tuple[int, int, int] = ports or (0, 0, 0)

    @property
    def connection_string(self) -> str:
        """Endpoints of all three services with the emulator's well-known key; valid once started."""
        return connection_string(*self.ports)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> Self:
        """Start, and return when all three services accept connections."""
        _require_node()
        if not self._executable.exists():
            raise AzuriteError(f"Azurite is not installed: there is no {self._executable}. Run: make setup")
        if self._given_ports:
            for port, service in zip(self._given_ports, ("blob", "queue", "table"), strict=True):
                require_free(port, f"Azurite's {service} service")
            self._launch(self._given_ports)
            return self
        for attempt in (1, 2, 3):  # a free port can be taken by somebody else before Azurite listens on it
            blob, queue, table = free_ports(3)
            try:
                self._launch((blob, queue, table))
                return self
            except AzuriteError as error:
                if attempt == 3 or "EADDRINUSE" not in str(error):
                    raise
        raise AssertionError("unreachable")

    def check(self) -> None:
        """Return while Azurite runs; raise AzuriteError with its last output once it has died."""
        if self._process is None:
            raise AzuriteError("Azurite was not started.")
        code = self._process.poll()
        if code is not None:
            raise AzuriteError(f"Azurite has stopped (exit code {code}). Its last output: {self._last_output()}")

    def stop(self) -> None:
        """Stop Azurite and everything it started; does nothing when it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        for stop_signal in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT_SECONDS)
                break
        if self._output:
            self._output.unlink(missing_ok=True)

    def _launch(self, ports: tuple[int, int, int]) -> None:
        self.ports = ports
        command = [str(self._executable), "--silent", "--skipApiVersionCheck", "--disableTelemetry"]
        for service, port in zip(("blob", "queue", "table"), ports, strict=True):
            command += [f"--{service}Host", LOOPBACK, f"--{service}Port", str(port)]
        folder = self._location or SCRATCH
        folder.mkdir(parents=True, exist_ok=True)
        command += ["--location", str(folder)] if self._location else ["--inMemoryPersistence"]
        handle, name = tempfile.mkstemp(prefix="azurite-", suffix=".log", dir=folder)
        self._output = Path(name)
        try:
            # A session of its own: Ctrl-C in the terminal must reach the app first, and stop() the whole group.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=handle,
                stderr=handle,
                start_new_session=True,
                cwd=folder,
                env={**os.environ, "NODE_OPTIONS": f"{os.environ.get('NODE_OPTIONS', '')} {STOP_WITH_STDIN}".strip()},
            )
        finally:
            os.close(handle)
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        try:
            while not all(accepts(port) for port in ports):
                self.check()
                if time.monotonic() > deadline:
                    raise AzuriteError(
                        f"Azurite did not accept connections on {ports} in {START_TIMEOUT_SECONDS} s. "
                        f"Its last output: {self._last_output()}"
                    )
                time.sleep(0.05)
            self.check()
        except BaseException:
            self.stop()
            raise

    def _last_output(self, lines: int = 15) -> str:
        text = self._output.read_text(errors="replace").strip() if self._output and self._output.exists() else ""
        return "\n".join(text.splitlines()[-lines:]) or "(none)"


def _require_node() -> None:
    advice = f"Install Node.js {MINIMUM_NODE} or newer (https://nodejs.org) so that `node` is on the PATH."
    node = shutil.which("node")
    if node is None:
        raise AzuriteError(f"Node.js was not found; Azurite, the storage emulator, runs on it. {advice}")
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=20, check=False)
    version = answer.stdout.strip()
    found = re.match(r"v(\d+)\.", version)
    if found is None or int(found[1]) < MINIMUM_NODE:
        raise AzuriteError(f"{node} is version {version or 'unknown'}; Azurite needs {MINIMUM_NODE} or newer. {advice}")
