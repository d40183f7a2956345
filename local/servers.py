"""An ASGI server in a thread of this process, for the services that the embedded runtime keeps beside the app."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Self

import uvicorn
from starlette.types import ASGIApp

from local.ports import LOOPBACK, require_free

START_TIMEOUT_SECONDS = 30


class Server(uvicorn.Server):
    """A server for a process of its own: SIGINT and SIGTERM end it gracefully and are not raised again.

    before_exit: called by the first of these signals, before requests under way are waited for.
    """

    def __init__(self, config: uvicorn.Config, before_exit: Callable[[], None]) -> None:
        super().__init__(config)
        self._before_exit = before_exit

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._before_exit()
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is threading.main_thread():
            for each in (signal.SIGINT, signal.SIGTERM):
                signal.signal(each, self.handle_exit)
        yield


class ServerThread:
    """One server on this machine's loopback. port 0 takes a free one, known as soon as the object exists.

    Raises PortTaken for a given port in use. grace_seconds: how long requests under way may still take at the end.
    certificate: a file of key and certificate chain (PEM); with it the server speaks HTTPS.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        port: int = 0,
        purpose: str = "a local service",
        grace_seconds: int = 5,
        certificate: Path | None = None,
    ) -> None:
        if port:
            require_free(port, purpose)
        self._purpose = purpose
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((LOOPBACK, port))
        self.port: int = self._socket.getsockname()[1]
        self._scheme = "https" if certificate else "http"
        self._server = uvicorn.Server(server_options(app, self.port, grace_seconds, certificate))
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, name=purpose, daemon=True)
        self._ended = threading.Event()

    @property
    def url(self) -> str:
        return f"{self._scheme}://{LOOPBACK}:{self.port}"

    def start(self) -> Self:
        """Return when the server answers; raise RuntimeError when its application does not start."""
        self._thread.start()
        waited = 0.0
        while not self._server.started:
            if self._ended.wait(0.01) or waited > START_TIMEOUT_SECONDS:
                self.stop()
                raise RuntimeError(f"The server of {self._purpose} did not start; see the log.") from self._failure
            waited += 0.01
        return self

    def stop(self) -> None:
        """End requests under way and the application; does nothing when it does not run."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _serve(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        except BaseException as failure:
            self._failure = failure
        finally:
            self._ended.set()


def server_options(app: ASGIApp, port: int, grace_seconds: int, certificate: Path | None = None) -> uvicorn.Config:
    """The options that every server of the embedded runtime has in common."""
    return uvicorn.Config(
        app,
        host=LOOPBACK,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        ws="none",
        timeout_graceful_shutdown=grace_seconds,
        # Longer than clients keep idle connections, so that none is cut while a request is on its way.
        timeout_keep_alive=60,
        ssl_certfile=certificate,
    )
