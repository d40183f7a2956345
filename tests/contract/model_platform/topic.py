"""An Event Grid topic that keeps what it is sent, and can be out of order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local.servers import ServerThread

Event = Mapping[str, Any]


class Topic:
    """Accepts events at `endpoint` from whoever has `key`; `answer` is the status it gives."""

    key = "key-of-the-topic"

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._lock = threading.Lock()
        self.answer = 200
        self.refused = 0
        app = Starlette(routes=[Route("/api/events", self._receive, methods=["POST"])])
        self._server = ServerThread(app, purpose="a topic for tests")

    @property
    def endpoint(self) -> str:
        return f"{self._server.url}/api/events"

    def __enter__(self) -> Topic:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    async def _receive(self, request: Request) -> Response:
        if request.headers.get("aeg-sas-key") != self.key:
            return Response(status_code=401)
        batch = await request.json()
        with self._lock:
            if self.answer == 200:
                self._events += batch
            else:
                self.refused += 1
        return Response(status_code=self.answer)

    def received(self, ending: str = "", about: str = "") -> list[Event]:
        """Events whose type ends so and whose subject holds `about`, in the order they came."""
        with self._lock:
            return [
                event for event in self._events if event["eventType"].endswith(ending) and about in event["subject"]
            ]

    def wait_for(self, ending: str, about: str, count: int = 1, timeout: float = 15) -> list[Event]:
        """As `received`, once there are `count`."""
        wait_until(lambda: len(self.received(ending, about)) >= count, f"{count} {ending} about {about}", timeout)
        return self.received(ending, about)


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 60) -> None:
    """Return once the condition holds; fail the test, naming `what` was waited for, after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout:g} s for {what}"
        time.sleep(0.02)
