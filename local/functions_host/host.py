"""The function host: an indexed app with its triggers, as one ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import platform
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import azure.functions as func
from azure.functions.meta import Datum
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from local.functions_host import event_grid_trigger
from local.functions_host.event_grid_trigger import EventGridWebhook
from local.functions_host.host_json import HostJson, read_host_json
from local.functions_host.http_trigger import (
    BODY_LIMIT_SETTING,
    DEFAULT_BODY_LIMIT,
    BodyTooLarge,
    HttpTriggers,
    joined_query,
    methods_of,
    read_body,
    route_of,
)
from local.functions_host.index import EVENT_GRID, HTTP, QUEUE, TIMER, IndexedFunction, IndexingError, index
from local.functions_host.invocation import DEFAULT_THREADS, Invoker, Outcome
from local.functions_host.keys import Keys, Level, presented_key
from local.functions_host.queue_trigger import LEASE_SECONDS, QueueListener
from local.functions_host.storage import HOST_STORAGE, HostStorage, MissingConnection, resolve_connection
from local.functions_host.timer_trigger import Clock, HostLock, TimerListener, utc_now

RUNTIME_VERSION = "4.0.0-local"
_log = logging.getLogger("Host")


class HostStartError(RuntimeError):
    """The app cannot be hosted as configured; the message lists every cause."""


@dataclass(frozen=True)
class HostOptions:
    """What the command line gives, not host.json. Times in seconds.

    queue_lease_seconds is fixed on Azure; it is here so that a test need not wait ten minutes.
    """

    grace_seconds: float = 20.0
    threads: int = DEFAULT_THREADS
    queue_lease_seconds: int = LEASE_SECONDS
    clock: Clock = utc_now
    listen: bool = True


class FunctionsHost:
    """Hosts `app`. `application` is the ASGI app; its lifespan starts and stops timers and queues.

    environment: the app's settings. Raises HostStartError, or BadHostJson, before anything is started.
    """

    def __init__(
        self,
        app: func.FunctionApp,
        script_root: Path,
        environment: Mapping[str, str] | None = None,
        options: HostOptions | None = None,
    ) -> None:
        self._environment = os.environ if environment is None else environment
        self._options = options or HostOptions()
        self.script_root = script_root.resolve()
        self.settings: HostJson = read_host_json(self.script_root / "host.json", self._environment)
        try:
            self.keys = Keys.from_environment(self._environment)
            self.functions = index(app, self._environment, self.script_root)
        except (ValueError, IndexingError) as error:
            raise HostStartError(str(error)) from None
        digest = hashlib.sha256(str(self.script_root).encode()).hexdigest()[:16]
        self.host_id = self._environment.get("AzureFunctionsWebHost__hostid") or f"local-{digest}"
        self._started = time.monotonic()
        self._invoker = Invoker(timeout=self.settings.function_timeout, threads=self._options.threads)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping_since: float | None = None
        self._by_hand: set[asyncio.Task[Outcome]] = set()
        self._lock: HostLock | None = None
        self._timers: dict[str, TimerListener] = {}
        self._queues: dict[str, QueueListener] = {}
        self._build()
        self.application = Starlette(routes=self._routes(), lifespan=self._lifespan)
        self.application.router.default = self._http  # whatever the path holds: a pattern would stop at a line's end

    def table(self, base_url: str) -> str:
        """The functions and what triggers them, as `func start` prints them."""
        lines = ["Functions:", ""]
        for function in sorted(self.functions, key=lambda each: (each.kind != HTTP, each.name)):
            if function.kind == HTTP:
                methods = ",".join(sorted(methods_of(function))) or "ALL"
                where = f"[{methods}] {base_url}/{route_of(function, self.settings.http.route_prefix)}"
            elif function.kind == TIMER:
                where = f"{TIMER} ({function.trigger['schedule']})"
            elif function.kind == QUEUE:
                where = f"{QUEUE} ({function.trigger['queueName']})"
            else:
                where = function.kind
            lines += [f"        {function.name}: {where}", ""]
        return "\n".join(lines)

    @property
    def _listeners(self) -> list[TimerListener | QueueListener]:
        return [*self._timers.values(), *self._queues.values()]

    def _of(self, kind: str) -> Iterable[IndexedFunction]:
        return [function for function in self.functions if function.kind == kind]

    def _build(self) -> None:
        problems: list[str] = []
        with _collected(problems):
            limit = self._environment.get(BODY_LIMIT_SETTING, str(DEFAULT_BODY_LIMIT))
            if not limit.isdigit():
                raise HostStartError(f"{BODY_LIMIT_SETTING}={limit!r} must be a number of bytes.")
            self._http = HttpTriggers(self._of(HTTP), self._invoker, self.keys, self.settings.http, int(limit))
        self._webhook = EventGridWebhook(self._of(EVENT_GRID), self._invoker, self.keys)
        storage: HostStorage | None = None
        if timers := self._of(TIMER):
            with _collected(problems):
                connection = resolve_connection(HOST_STORAGE, self._environment, "A host with timer triggers")
                # One instance a folder: it may come back on another port. WEBSITE_INSTANCE_ID tells more of them apart.
                instance = self._environment.get("WEBSITE_INSTANCE_ID") or f"{platform.node()}:{self.script_root}"
                storage = HostStorage(connection, self.host_id, instance)
                self._lock = HostLock(storage)
        for function in timers:
            with _collected(problems):
                if storage is not None and self._lock is not None:
                    self._timers[function.name] = TimerListener(
                        function, self._invoker, storage, self._lock, self._options.clock
                    )
        for function in self._of(QUEUE):
            with _collected(problems):
                user = f"Queue function {function.name!r}"
                connection = resolve_connection(function.trigger.get("connection"), self._environment, user)
                self._queues[function.name] = QueueListener(
                    function, self._invoker, connection, self.settings.queues, self._options.queue_lease_seconds
                )
        if problems:
            raise HostStartError("\n".join(problems))

    def _routes(self) -> list[Route]:
        every_method = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        return [
            Route("/admin/host/ping", self._ping, methods=["GET", "POST"]),
            Route("/admin/host/status", self._status, methods=["GET"]),
            Route("/admin/functions", self._list, methods=["GET"]),
            Route("/admin/functions/{name}", self._run_by_name, methods=["POST"]),
            Route(event_grid_trigger.PATH, self._webhook.respond, methods=every_method),
        ]

    def stop_taking(self) -> None:
        """Begin no more timer runs and receive no more messages; from now on runs have the grace time to end.

        May be called from any thread and from a signal handler.
        """
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop_listeners)

    def _stop_listeners(self) -> None:
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
            _log.info("Host is stopping: running invocations have %g s", self._options.grace_seconds)
            for listener in self._listeners:
                listener.stop_taking()

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        if self._options.listen:
            if self._lock is not None:
                self._lock.start()
            for listener in self._listeners:
                listener.start()
        _log.info("Host started: %d function(s)", len(self.functions))
        try:
            yield
        finally:
            self._stop_listeners()
            waited = time.monotonic() - (self._stopping_since or 0.0)
            grace = max(0.0, self._options.grace_seconds - waited)
            stopping = [listener.stop(grace) for listener in self._listeners]
            await asyncio.gather(*stopping, self._invoker.drain(grace))
            if self._lock is not None:
                await self._lock.stop()

    def _refused(self, request: Request) -> bool:
        key = presented_key(request.headers, joined_query(request.scope["query_string"]))
        return not self.keys.opens(Level.ADMIN, key)

    async def _ping(self, _: Request) -> Response:
        return Response(status_code=200)

    async def _status(self, request: Request) -> Response:
        if self._refused(request):
            return Response(status_code=401)
        uptime = round((time.monotonic() - self._started) * 1000)
        return JSONResponse(
            {"id": self.host_id, "state": "Running", "version": RUNTIME_VERSION, "processUptime": uptime}
        )

    async def _list(self, request: Request) -> Response:
        if self._refused(request):
            return Response(status_code=401)
        return JSONResponse([{"name": each.name, "config": {"bindings": [each.trigger]}} for each in self.functions])

    async def _run_by_name(self, request: Request) -> Response:
        """Start one invocation and answer 202, as Azure does; the log has its result."""
        if self._refused(request):
            return Response(status_code=401)
        wanted = request.path_params["name"].lower()
        function = next((each for each in self.functions if each.name.lower() == wanted), None)
        if function is None:
            return Response(status_code=404)
        try:
            body = await _input_of(request)
        except (ValueError, BodyTooLarge):
            return PlainTextResponse('The body must be a JSON object such as {"input": ""}.', status_code=400)
        task = asyncio.create_task(self._invoke_by_hand(function, body))
        self._by_hand.add(task)
        task.add_done_callback(self._by_hand.discard)
        return Response(status_code=202)

    async def _invoke_by_hand(self, function: IndexedFunction, body: str) -> Outcome:
        if function.kind == TIMER:
            return await self._timers[function.name].invoke_now()
        if function.kind == QUEUE:
            return await self._queues[function.name].invoke_now(body)
        if function.kind == HTTP:
            return await self._http.invoke_directly(function, body)
        return await self._invoker.invoke(function, Datum(body, "json"))


async def _input_of(request: Request) -> str:
    """The `input` of an administrative run: text as it is, anything else as JSON. Raises ValueError."""
    document: Any = json.loads(await read_body(request, DEFAULT_BODY_LIMIT) or b"{}")
    if not isinstance(document, dict):
        raise ValueError("not an object")
    given = document.get("input", "")
    return given if isinstance(given, str) else json.dumps(given)


@contextlib.contextmanager
def _collected(problems: list[str]) -> Iterator[None]:
    try:
        yield
    except (HostStartError, IndexingError, MissingConnection, ValueError) as error:
        problems.append(str(error))
