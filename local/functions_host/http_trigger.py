"""HTTP triggers: routing, key levels, limits, and the request and answer as the Python worker sees them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from azure.functions.meta import Datum
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from local.functions_host.host_json import HttpSettings
from local.functions_host.index import IndexedFunction, IndexingError
from local.functions_host.invocation import Invoker, Outcome
from local.functions_host.keys import Keys, Level, presented_key
from local.functions_host.routes import BadRoute, Router, RouteTemplate, path_segments

BODY_LIMIT_SETTING = "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"
DEFAULT_BODY_LIMIT = 104_857_600
_log = logging.getLogger("Host.Triggers.Http")


class BodyTooLarge(Exception):
    """The request's body exceeds the limit."""


class HttpTriggers:
    """The ASGI application of all HTTP functions: `/{routePrefix}/{route}`."""

    def __init__(
        self,
        functions: Iterable[IndexedFunction],
        invoker: Invoker,
        keys: Keys,
        settings: HttpSettings,
        body_limit: int = DEFAULT_BODY_LIMIT,
    ) -> None:
        self._router = Router(_routes(functions, settings.route_prefix))
        self._invoker = invoker
        self._keys = keys
        self._body_limit = body_limit
        self._headers = settings.custom_headers
        self._outstanding = 0
        self._most_outstanding = settings.max_outstanding_requests
        running = settings.max_concurrent_requests
        self._running = asyncio.Semaphore(running) if running > 0 else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
        except ClientDisconnect:
            return
        response.headers.update(self._headers)
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        found = self._router.match(request.method, path_segments(request.scope["raw_path"]))
        if found is None:
            return Response(status_code=404)
        function, route_parameters = found
        query = joined_query(request.scope["query_string"])
        level = Level[str(function.trigger.get("authLevel", "FUNCTION")).upper()]
        if not self._keys.opens(level, presented_key(request.headers, query), function.name):
            return Response(status_code=401)
        if 0 <= self._most_outstanding <= self._outstanding:
            _log.warning("Refused a request: extensions.http.maxOutstandingRequests (%d)", self._most_outstanding)
            return Response(status_code=429)
        self._outstanding += 1
        try:
            body = await read_body(request, self._body_limit)
            datum = _request_datum(request, query, route_parameters, body)
            if self._running is None:
                return _response(await self._invoker.invoke(function, datum))
            async with self._running:
                return _response(await self._invoker.invoke(function, datum))
        except BodyTooLarge:
            return Response(status_code=413, headers={"connection": "close"})
        finally:
            self._outstanding -= 1

    async def invoke_directly(self, function: IndexedFunction, body: str) -> Outcome:
        """Run an HTTP function as the administrative endpoint does: a POST of `body` with nothing else."""
        datum = _datum("POST", f"http://localhost/admin/functions/{function.name}", {}, {}, {}, body.encode())
        return await self._invoker.invoke(function, datum)


def route_of(function: IndexedFunction, prefix: str) -> str:
    """The path of an HTTP function below the host's address, with its route template."""
    return "/".join(part for part in (prefix.strip("/"), str(function.trigger["route"]).strip("/")) if part)


def methods_of(function: IndexedFunction) -> frozenset[str]:
    """The methods an HTTP function takes, in capitals; none means every method."""
    return frozenset(str(method).upper() for method in function.trigger.get("methods") or ())


def joined_query(query_string: bytes) -> dict[str, str]:
    """Query values as the worker gets them: repeated keys, in any case, joined by commas; empty ones dropped."""
    values: dict[str, str] = {}
    spelling: dict[str, str] = {}
    for name, value in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True):
        name = spelling.setdefault(name.lower(), name)
        values[name] = f"{values[name]},{value}" if name in values else value
    return {name: value for name, value in values.items() if value}


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body; raises BodyTooLarge as soon as it is known to exceed `limit` bytes."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise BodyTooLarge
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise BodyTooLarge
        parts.append(part)
    return b"".join(parts)


def _routes(
    functions: Iterable[IndexedFunction], prefix: str
) -> list[tuple[RouteTemplate, frozenset[str], IndexedFunction]]:
    routes: list[tuple[RouteTemplate, frozenset[str], IndexedFunction]] = []
    for function in functions:
        try:
            template = RouteTemplate.parse(route_of(function, prefix))
        except BadRoute as error:
            raise IndexingError(f"Function {function.name!r}: {error}") from None
        methods = methods_of(function)
        for other, other_methods, rival in routes:
            share = not methods or not other_methods or methods & other_methods
            if share and other.text.lower() == template.text.lower():
                raise IndexingError(f"Functions {rival.name!r} and {function.name!r} both take /{template.text}.")
        routes.append((template, methods, function))
    return routes


def _request_datum(
    request: Request, query: Mapping[str, str], route_parameters: Mapping[str, str], body: bytes
) -> Datum:
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        headers[name.lower()] = f"{headers[name]},{value}" if name in headers else value
    return _datum(request.method, str(request.url), headers, query, route_parameters, body)


def _datum(
    method: str,
    url: str,
    headers: Mapping[str, str],
    query: Mapping[str, str],
    route_parameters: Mapping[str, str],
    body: bytes,
) -> Datum:
    def strings(values: Mapping[str, str]) -> dict[str, Datum]:
        return {name: Datum(value, "string") for name, value in values.items()}

    return Datum(
        {
            "method": Datum(method, "string"),
            "url": Datum(url, "string"),
            "headers": strings(headers),
            "query": strings(query),
            "params": strings(route_parameters),
            "body": Datum(body, "bytes"),
        },
        "http",
    )


def _response(outcome: Outcome) -> Response:
    answer = outcome.answer
    if answer is None:
        return Response(status_code=500)
    if answer.type == "string":
        return Response(answer.value, media_type="text/plain")
    parts: Mapping[str, Any] = answer.value
    response = Response(parts["body"].value, status_code=int(parts["status_code"].value))
    for name, value in parts["headers"].items():
        response.headers[name] = value.value
    for cookie in parts["cookies"] or ():
        for morsel in cookie.values():
            response.raw_headers.append((b"set-cookie", morsel.OutputString().encode("latin-1")))
    return response
