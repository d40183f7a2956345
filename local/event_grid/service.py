"""The local Event Grid service: its HTTP face, and the methods of the process that runs it."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Self

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.event_grid.chaos import Chaos, ChaosRule
from local.event_grid.delivery import ANSWER_SECONDS, Deliverer
from local.event_grid.schema import REQUEST_LIMIT, BadEvents, InputSchema, parse_events
from local.event_grid.store import Delivery, DeliveryState, EventStore, Topic, new_key
from local.event_grid.subscriptions import Subscription
from local.servers import ServerThread

ADMIN_KEY_HEADER = "aeg-admin-key"
_ADMIN_KEY, _CHAOS = "admin key", "chaos"


class EventGridService:
    """Topics and subscriptions kept in the SQLite file `path`.

    time_scale: factor on retry waits and times to live (1.0: Azure's own). admin_key: for the administrative routes,
    made and kept when not given. Stand-alone: start() and stop(); else serve `application` under a base address, call
    serve_at() with it, start_delivering() and stop().
    """

    def __init__(
        self,
        path: Path,
        *,
        time_scale: float = 1.0,
        admin_key: str | None = None,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._store = EventStore(path)
        self._deliverer = Deliverer(self._store, time_scale=time_scale, answer_seconds=answer_seconds)
        self.admin_key = admin_key or self._store.setting(_ADMIN_KEY) or new_key()
        self._store.put_setting(_ADMIN_KEY, self.admin_key)
        self._chaos = Chaos.model_validate_json(self._store.setting(_CHAOS) or "{}")
        self._base_url: str | None = None
        self._server: ServerThread | None = None
        self.application = Starlette(
            routes=[
                Route("/topics/{topic}/api/events", self._publish, methods=["POST"]),
                Route("/admin/topics", self._get_topics, methods=["GET"]),
                Route("/admin/deliveries", self._get_deliveries, methods=["GET"]),
                Route("/admin/chaos", self._get_chaos, methods=["GET"]),
                Route("/admin/chaos", self._put_chaos, methods=["PUT"]),
            ]
        )

    def start(self, port: int = 0) -> Self:
        """Serve on the loopback and deliver; port 0 takes a free one. Raises PortTaken."""
        self._server = ServerThread(self.application, port=port, purpose="the local Event Grid").start()
        self.serve_at(self._server.url)
        self.start_delivering()
        return self

    def stop(self) -> None:
        """Take no more events, finish deliveries under way; the rest waits in the file."""
        if self._server is not None:
            self._server.stop()
        self._deliverer.stop()
        self._store.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def serve_at(self, base_url: str) -> None:
        """Tell under which address `application` is served."""
        self._base_url = base_url.rstrip("/")

    def start_delivering(self) -> None:
        self._deliverer.start()

    def endpoint(self, topic: str) -> str:
        """The address for `EventGridPublisherClient(endpoint, AzureKeyCredential(topic.key))`."""
        if self._base_url is None:
            raise RuntimeError("The local Event Grid is not served yet: call start() or serve_at() first.")
        return f"{self._base_url}/topics/{topic}/api/events"

    def create_topic(
        self,
        name: str,
        *,
        resource_id: str | None = None,
        input_schema: InputSchema = InputSchema.EVENT_GRID,
        key: str | None = None,
    ) -> Topic:
        """Create or change a topic; an existing one keeps its key unless another is given.

        resource_id: what its events carry as `topic`, such as the ARM id of the workspace they come from.
        """
        before = self._store.topic(name)
        default_id = f"/subscriptions/local/resourceGroups/local/providers/Microsoft.EventGrid/topics/{name}"
        topic = Topic(name, resource_id or default_id, input_schema, key or (before.key if before else new_key()))
        self._store.put_topic(topic)
        return topic

    def create_subscription(self, subscription: Subscription) -> None:
        """Create or change a subscription after its endpoint's handshake. Raises HandshakeFailed, or KeyError."""
        topic = self._store.topic(subscription.topic)
        if topic is None:
            raise KeyError(f"There is no topic {subscription.topic!r}: create it first.")
        self._deliverer.handshake(topic, subscription)
        self._store.put_subscription(subscription)
        self._deliverer.wake()

    def delete_subscription(self, topic: str, name: str) -> None:
        """Remove a subscription; its undelivered events are dropped."""
        self._store.delete_subscription(topic, name)

    def subscriptions(self, topic: str | None = None) -> list[Subscription]:
        return self._store.subscriptions(topic)

    @property
    def chaos(self) -> Chaos:
        return self._chaos

    def set_chaos(self, rules: Iterable[ChaosRule], seed: int = 0) -> None:
        """Put these rules in force for events that arrive from now on; none switches all faults off."""
        self._use(Chaos(seed=seed, rules=tuple(rules)))

    def deliveries(
        self,
        *,
        topic: str | None = None,
        subscription: str | None = None,
        state: DeliveryState | None = None,
        event_id: str | None = None,
        event_type: str | None = None,
        limit: int = 1000,
    ) -> list[Delivery]:
        """The newest deliveries that fit, oldest first, as they stand now."""
        return self._store.deliveries(
            limit, topic=topic, subscription=subscription, state=state, event_id=event_id, event_type=event_type
        )

    def wait_until_idle(self, timeout: float) -> bool:
        """Whether, within `timeout` seconds, nothing is left to deliver."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if not self._store.undelivered():
                return True
            time.sleep(0.02)
        return False

    def _use(self, chaos: Chaos) -> None:
        self._chaos = chaos
        self._store.put_setting(_CHAOS, chaos.model_dump_json())

    async def _publish(self, request: Request) -> Response:
        topic = await run_in_threadpool(self._store.topic, request.path_params["topic"])
        if topic is None:
            return _error(404, "ResourceNotFound", f"There is no topic {request.path_params['topic']!r}.")
        if not _same(request.headers.get("aeg-sas-key"), topic.key):
            return _error(401, "Unauthorized", "The request's aeg-sas-key is missing or is no key of this topic.")
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > REQUEST_LIMIT:
                return _error(413, "RequestEntityTooLarge", f"A request may hold {REQUEST_LIMIT} bytes at most.")
        try:
            events = parse_events(body, topic.input_schema, topic.resource_id)
        except BadEvents as error:
            return _error(400, "BadRequest", str(error))
        await run_in_threadpool(self._store.accept, topic, events, self._chaos)
        self._deliverer.wake()
        return Response(status_code=200)

    async def _get_topics(self, request: Request) -> Response:
        def listed() -> object:
            return [
                {
                    "name": topic.name,
                    "resourceId": topic.resource_id,
                    "inputSchema": topic.input_schema,
                    "subscriptions": [
                        {"name": each.name, "endpoint": each.shown_endpoint} for each in self.subscriptions(topic.name)
                    ],
                }
                for topic in self._store.topics()
            ]

        return await self._administered(request, listed)

    async def _get_deliveries(self, request: Request) -> Response:
        query = request.query_params

        def listed() -> object:
            return [
                asdict(each)
                for each in self._store.deliveries(
                    int(query.get("limit", "1000")),
                    topic=query.get("topic"),
                    subscription=query.get("subscription"),
                    state=query.get("state"),
                    event_id=query.get("eventId"),
                    event_type=query.get("eventType"),
                )
            ]

        return await self._administered(request, listed)

    async def _get_chaos(self, request: Request) -> Response:
        return await self._administered(request, lambda: self._chaos.model_dump(mode="json"))

    async def _put_chaos(self, request: Request) -> Response:
        body = await request.body()

        def changed() -> object:
            self._use(Chaos.model_validate_json(body))
            return self._chaos.model_dump(mode="json")

        return await self._administered(request, changed)

    async def _administered(self, request: Request, answer: Callable[[], object]) -> Response:
        if not _same(request.headers.get(ADMIN_KEY_HEADER), self.admin_key):
            return _error(401, "Unauthorized", f"The request's {ADMIN_KEY_HEADER} is missing or wrong.")
        try:
            return JSONResponse(await run_in_threadpool(answer))
        except ValidationError as error:
            details = [{"field": ".".join(map(str, each["loc"])), "message": each["msg"]} for each in error.errors()]
            return _error(400, "BadRequest", json.dumps(details))
        except ValueError as error:
            return _error(400, "BadRequest", str(error))


def _same(presented: str | None, key: str) -> bool:
    return presented is not None and hmac.compare_digest(presented.encode(), key.encode())


def _error(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status)
