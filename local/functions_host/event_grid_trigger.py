"""Event Grid triggers: the webhook that Event Grid delivers to, handshake and status codes included."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable
from typing import Any

from azure.functions.meta import Datum
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from local.functions_host.http_trigger import BodyTooLarge, joined_query, read_body
from local.functions_host.index import IndexedFunction
from local.functions_host.invocation import Invoker
from local.functions_host.keys import Keys, Level, presented_key

PATH = "/runtime/webhooks/eventgrid"
# Event Grid sends at most 1 MB; a little room for its envelope.
_BODY_LIMIT = 2 * 1024 * 1024
_log = logging.getLogger("Host.Triggers.EventGrid")


class EventGridWebhook:
    """Answers `PATH?functionName=F` for all Event Grid functions."""

    def __init__(self, functions: Iterable[IndexedFunction], invoker: Invoker, keys: Keys) -> None:
        self._functions = {function.name.lower(): function for function in functions}
        self._invoker = invoker
        self._keys = keys

    async def respond(self, request: Request) -> Response:
        """One delivery, handshake or unsubscription. A failed invocation is 500, so that Event Grid sends again."""
        query = joined_query(request.scope["query_string"])
        if not self._keys.opens(Level.SYSTEM, presented_key(request.headers, query)):
            return Response(status_code=401)
        name = next((value for key, value in query.items() if key.lower() == "functionname"), "")
        function = self._functions.get(name.lower())
        if function is None:
            return PlainTextResponse(f"cannot find function: '{name}'", status_code=404)
        if request.method == "OPTIONS":
            origin = request.headers.get("webhook-request-origin", "eventgrid.azure.net")
            return Response(headers={"Webhook-Allowed-Origin": origin})
        if request.method != "POST":
            return Response(status_code=400)
        try:
            return await self._post(function, request)
        except BodyTooLarge:
            return Response(status_code=413)
        except _Malformed as error:
            return PlainTextResponse(str(error), status_code=400)

    async def _post(self, function: IndexedFunction, request: Request) -> Response:
        kind = request.headers.get("aeg-event-type", "").lower()
        if kind == "unsubscribe":
            return Response(status_code=202)
        if kind not in ("subscriptionvalidation", "notification"):
            return Response(status_code=400)
        document = _json(await read_body(request, _BODY_LIMIT))
        if kind == "subscriptionvalidation":
            _log.info("Handshake with Event Grid for function '%s'", function.name)
            return JSONResponse({"validationResponse": _validation_code(document)})
        events = document if isinstance(document, list) else [document]
        if not all(isinstance(event, dict) for event in events):
            raise _Malformed("An event must be a JSON object.")
        outcomes = await asyncio.gather(
            *(self._invoker.invoke(function, Datum(json.dumps(event), "json")) for event in events)
        )
        return Response(status_code=202 if all(outcome.succeeded for outcome in outcomes) else 500)


class _Malformed(ValueError):
    """The body is not what Event Grid sends."""


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise _Malformed(f"The body is not JSON: {error}") from None


def _validation_code(document: Any) -> str:
    try:
        data = document[0]["data"] if isinstance(document, list) else document["data"]
        if isinstance(data, str):  # a CloudEvents handshake carries its data as encoded JSON
            data = json.loads(data)
        return str(data["validationCode"])
    except (LookupError, TypeError, ValueError):
        raise _Malformed("The handshake holds no data.validationCode.") from None
