"""The local Event Grid as its users meet it: the real publisher client in front, webhooks and a real host behind."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import requests
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.core.messaging import CloudEvent
from azure.eventgrid import EventGridEvent, EventGridPublisherClient
from azure.storage.blob import ContainerClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.azurite import Azurite
from local.event_grid import (
    AdvancedFilter,
    ChaosRule,
    DeadLetterDestination,
    DeliveryState,
    EventGridService,
    HandshakeFailed,
    InputSchema,
    Subscription,
    Topic,
)
from local.functions_host.host import FunctionsHost, HostOptions
from local.functions_host.index import load_app
from local.ports import free_port
from local.servers import ServerThread
from shared.adapters.azure.undelivered_events import BlobUndeliveredEvents
from shared.adapters.local.state_store import MemoryStateStore
from shared.clock import SystemClock
from shared.dead_letters import DeadLetters
from shared.undelivered import Undelivered
from tests.simulated import SimulatedDocuments

REPOSITORY = Path(__file__).parents[2]
SAMPLE_APP = Path(__file__).parent / "sample_app"
QUICK = 0.002  # ten seconds become twenty milliseconds


class Webhook:
    """An endpoint that records what it gets. `answers`: status codes in turn, the last one from then on."""

    def __init__(self, *answers: int, allowed_origin: str = "*", accepts: bool = True, pause: float = 0) -> None:
        self.received: list[tuple[float, dict[str, str], Any]] = []
        self._answers = itertools.chain(answers, itertools.repeat(answers[-1] if answers else 200))
        self._allowed_origin = allowed_origin
        self._accepts = accepts
        self._pause = pause
        self.application = Starlette(routes=[Route("/hook", self._respond, methods=["POST", "OPTIONS"])])

    @property
    def ids(self) -> list[str]:
        """Event ids in the order of their arrival."""
        return [(body[0] if isinstance(body, list) else body)["id"] for _, _, body in self.received]

    async def _respond(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(headers={"WebHook-Allowed-Origin": self._allowed_origin})
        body = await request.json()
        if request.headers["aeg-event-type"] == "SubscriptionValidation":
            code = body[0]["data"]["validationCode"] if self._accepts else "wrong"
            return JSONResponse({"validationResponse": code})
        self.received.append((time.time(), dict(request.headers), body))
        if self._pause:
            time.sleep(self._pause)
        return Response(status_code=next(self._answers))


Serve = Callable[[Webhook], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves webhooks; returns their addresses."""
    servers: list[ServerThread] = []

    def start(webhook: Webhook) -> str:
        servers.append(ServerThread(webhook.application).start())
        return f"{servers[-1].url}/hook"

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def grid(tmp_path: Path) -> Iterator[EventGridService]:
    with EventGridService(tmp_path / "grid.sqlite", time_scale=QUICK) as service:
        yield service


def wait_until(condition: Callable[[], bool], timeout: float = 15) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def publisher(grid: EventGridService, topic: Topic, key: str | None = None) -> EventGridPublisherClient:
    return EventGridPublisherClient(grid.endpoint(topic.name), AzureKeyCredential(key or topic.key), retry_total=0)


def event(event_id: str, subject: str = "s", kind: str = "Fleet.EtlCompleted", **data: Any) -> EventGridEvent:
    return EventGridEvent(subject=subject, event_type=kind, data=data, data_version="1", id=event_id)


def connected(grid: EventGridService, endpoint: str, topic: str = "fleet", **changes: Any) -> EventGridPublisherClient:
    made = grid.create_topic(topic)
    grid.create_subscription(Subscription(topic=topic, name="sub-1", endpoint=endpoint, **changes))
    return publisher(grid, made)


def test_an_event_of_the_real_client_arrives_alone_in_an_array_with_its_topic(
    grid: EventGridService, serve: Serve
) -> None:
    webhook = Webhook()
    connected(grid, serve(webhook)).send([event("1", rows=5), event("2")])
    assert grid.wait_until_idle(5)
    assert sorted(webhook.ids) == ["1", "2"]
    assert all(len(body) == 1 for _, _, body in webhook.received)
    _, headers, (received,) = next(each for each in webhook.received if each[2][0]["id"] == "1")
    assert headers["aeg-event-type"] == "Notification"
    assert (headers["aeg-subscription-name"], headers["aeg-delivery-count"]) == ("SUB-1", "0")
    assert received["topic"].endswith("Microsoft.EventGrid/topics/fleet")
    assert (received["data"], received["metadataVersion"]) == ({"rows": 5}, "1")


def test_cloud_events_arrive_as_single_objects(grid: EventGridService, serve: Serve) -> None:
    webhook = Webhook(allowed_origin="eventgrid.azure.net")
    topic = grid.create_topic("cloud", input_schema=InputSchema.CLOUD_EVENT)
    grid.create_subscription(Subscription(topic="cloud", name="sub-1", endpoint=serve(webhook)))
    publisher(grid, topic).send([CloudEvent(source="/etl", type="Done", id=each, data=1) for each in ("1", "2")])
    assert grid.wait_until_idle(5)
    assert sorted(webhook.ids) == ["1", "2"]
    assert webhook.received[0][1]["content-type"].startswith("application/cloudevents+json")


def test_a_wrong_key_an_unknown_topic_and_a_large_request_are_refused(grid: EventGridService) -> None:
    topic = grid.create_topic("fleet")
    with pytest.raises(ClientAuthenticationError):
        publisher(grid, topic, key="wrong").send(event("1"))
    with pytest.raises(ResourceNotFoundError):
        publisher(grid, Topic("other", "", InputSchema.EVENT_GRID, "k")).send(event("1"))
    with pytest.raises(HttpResponseError) as refused:
        publisher(grid, topic).send(event("1", text="x" * 1_048_576))
    assert refused.value.status_code == 413


GOOD = {
    "id": "1",
    "subject": "s",
    "eventType": "T",
    "eventTime": "2026-01-01T00:00:00Z",
    "dataVersion": "1",
    "data": {},
}
GOOD_CLOUD = {"id": "1", "source": "s", "type": "T", "specversion": "1.0"}


@pytest.mark.parametrize(
    ("schema", "body", "named"),
    [
        (InputSchema.EVENT_GRID, b"{", "not JSON"),
        (InputSchema.EVENT_GRID, GOOD, "JSON array"),
        (InputSchema.EVENT_GRID, [], "at least one"),
        (InputSchema.EVENT_GRID, [1], "[0]"),
        *((InputSchema.EVENT_GRID, [{**GOOD, name: None}], f"[0].{name}") for name in ("id", "subject", "eventType")),
        (InputSchema.EVENT_GRID, [GOOD, {**GOOD, "eventTime": "noon"}], "[1].eventTime"),
        (InputSchema.EVENT_GRID, [{**GOOD, "dataVersion": 1}], "[0].dataVersion"),
        (InputSchema.EVENT_GRID, [{**GOOD, "topic": "/somebody/else"}], "[0].topic"),
        (InputSchema.EVENT_GRID, [{**GOOD, "metadataVersion": "2"}], "[0].metadataVersion"),
        (InputSchema.EVENT_GRID, [GOOD_CLOUD], "[0].subject"),
        (InputSchema.CLOUD_EVENT, [{**GOOD_CLOUD, "specversion": "0.3"}], "[0].specversion"),
        (InputSchema.CLOUD_EVENT, [{**GOOD_CLOUD, "source": ""}], "[0].source"),
        (InputSchema.CLOUD_EVENT, [{**GOOD_CLOUD, "time": 5}], "[0].time"),
        (InputSchema.CLOUD_EVENT, [{**GOOD_CLOUD, "data": 1, "data_base64": ""}], "data_base64"),
    ],
)
def test_an_event_that_breaks_the_schema_is_refused_by_field_and_nothing_is_kept(
    grid: EventGridService, serve: Serve, schema: InputSchema, body: object, named: str
) -> None:
    topic = grid.create_topic("fleet", input_schema=schema)
    grid.create_subscription(Subscription(topic="fleet", name="sub-1", endpoint=serve(Webhook())))
    content = body if isinstance(body, bytes) else json.dumps(body)
    answer = requests.post(grid.endpoint("fleet"), content, headers={"aeg-sas-key": topic.key}, timeout=5)
    assert answer.status_code == 400
    assert named in answer.json()["error"]["message"]
    assert grid.deliveries() == []


def test_filters_choose_what_a_subscription_gets(grid: EventGridService, serve: Serve) -> None:
    webhook = Webhook()
    where = AdvancedFilter(operator="StringIn", key="data.plant", values=("p001",))
    client = connected(
        grid,
        serve(webhook),
        event_types=("Fleet.EtlCompleted",),
        subject_begins_with="/etl/",
        advanced_filters=(where,),
    )
    client.send(
        [
            event("yes", "/ETL/1", plant="P001"),
            event("other type", "/etl/1", kind="Fleet.Other", plant="P001"),
            event("other subject", "/x", plant="P001"),
            event("other plant", "/etl/1", plant="P002"),
        ]
    )
    assert grid.wait_until_idle(5)
    assert webhook.ids == ["yes"]


@pytest.mark.parametrize("webhook", [Webhook(accepts=False), None])
def test_an_endpoint_that_fails_the_handshake_gets_no_subscription(
    grid: EventGridService, serve: Serve, webhook: Webhook | None
) -> None:
    grid.create_topic("fleet")
    endpoint = serve(webhook) if webhook else f"http://127.0.0.1:{free_port()}/hook"
    with pytest.raises(HandshakeFailed, match=r"code=\*\*\*") as refused:
        grid.create_subscription(Subscription(topic="fleet", name="sub-1", endpoint=f"{endpoint}?code=secret"))
    assert "secret" not in str(refused.value)
    assert grid.subscriptions() == []


def test_a_cloud_events_endpoint_must_allow_the_origin(grid: EventGridService, serve: Serve) -> None:
    grid.create_topic("cloud", input_schema=InputSchema.CLOUD_EVENT)
    endpoint = serve(Webhook(allowed_origin="elsewhere.example"))
    with pytest.raises(HandshakeFailed, match="WebHook-Allowed-Origin"):
        grid.create_subscription(Subscription(topic="cloud", name="sub-1", endpoint=endpoint))


def test_failures_are_tried_again_on_the_published_schedule(grid: EventGridService, serve: Serve) -> None:
    webhook = Webhook(500, 500, 500, 200)
    connected(grid, serve(webhook)).send(event("1"))
    assert grid.wait_until_idle(5)
    assert [headers["aeg-delivery-count"] for _, headers, _ in webhook.received] == ["0", "1", "2", "3"]
    moments = [moment for moment, _, _ in webhook.received]
    gaps = [second - first for first, second in itertools.pairwise(moments)]
    for gap, seconds in zip(gaps, (10, 30, 60), strict=True):
        assert gap >= seconds * QUICK
    (delivery,) = grid.deliveries(event_id="1")
    assert (delivery.state, delivery.attempts, delivery.status) == (DeliveryState.DELIVERED, 4, 200)


@pytest.mark.parametrize("status", [400, 401, 403, 413])
def test_some_answers_are_not_tried_again_but_dead_lettered(
    grid: EventGridService, serve: Serve, tmp_path: Path, status: int
) -> None:
    webhook = Webhook(status)
    place = DeadLetterDestination(folder=tmp_path / "dead")
    connected(grid, serve(webhook), dead_letter=place).send(event("1", plant="P001"))
    assert grid.wait_until_idle(5)
    assert webhook.ids == ["1"]
    (file,) = (tmp_path / "dead").rglob("*.json")
    assert re.fullmatch(
        r"fleet/SUB-1/\d{4}/\d\d/\d\d/\d\d/[0-9a-f-]{36}\.json", str(file.relative_to(tmp_path / "dead"))
    )
    (letter,) = json.loads(file.read_text())
    assert (letter["id"], letter["data"], letter["deliveryAttempts"]) == ("1", {"plant": "P001"}, 1)
    assert grid.deliveries()[0].state is DeliveryState.DEAD_LETTERED


def test_the_last_allowed_attempt_ends_in_the_dead_letter_container(
    grid: EventGridService, serve: Serve, azurite: Azurite
) -> None:
    webhook = Webhook(500)
    container = "dead-letters-of-test"
    place = DeadLetterDestination(connection_string=azurite.connection_string, container=container)
    connected(grid, serve(webhook), dead_letter=place, max_delivery_attempts=2).send(event("1"))
    assert grid.wait_until_idle(5)
    assert webhook.ids == ["1", "1"]
    client = ContainerClient.from_connection_string(azurite.connection_string, container)
    (name,) = client.list_blob_names()
    (letter,) = json.loads(client.download_blob(name).readall())
    assert letter["deadLetterReason"] == "MaxDeliveryAttemptsExceeded"
    assert (letter["deliveryAttempts"], letter["lastDeliveryOutcome"]) == (2, "InternalServerError")
    letters = DeadLetters(MemoryStateStore(), SimulatedDocuments(), SystemClock())
    undelivered = Undelivered(BlobUndeliveredEvents(client), letters)
    assert (undelivered.collect(), undelivered.collect()) == (1, 0)
    assert list(client.list_blob_names()) == []


def test_where_nothing_was_ever_given_up_there_is_nothing_to_collect(azurite: Azurite) -> None:
    client = ContainerClient.from_connection_string(azurite.connection_string, "nothing-was-given-up")
    assert BlobUndeliveredEvents(client).names(10) == []


def test_an_event_past_its_time_to_live_is_given_up(grid: EventGridService, serve: Serve, tmp_path: Path) -> None:
    webhook = Webhook(500)
    place = DeadLetterDestination(folder=tmp_path / "dead")
    connected(grid, serve(webhook), dead_letter=place, event_ttl_minutes=1).send(event("1"))
    assert grid.wait_until_idle(5)
    (letter,) = json.loads(next((tmp_path / "dead").rglob("*.json")).read_text())
    assert letter["deadLetterReason"] == "TimeToLiveExceeded"
    assert letter["deliveryAttempts"] == len(webhook.ids) <= 3  # at 0, 10 and 40 of 60 seconds, or later


def test_without_a_dead_letter_place_an_undeliverable_event_is_dropped_and_says_why(
    grid: EventGridService, serve: Serve
) -> None:
    connected(grid, serve(Webhook(403))).send(event("1"))
    assert grid.wait_until_idle(5)
    (delivery,) = grid.deliveries()
    assert (delivery.state, delivery.outcome) == (DeliveryState.DROPPED, "Forbidden")


def test_an_endpoint_that_takes_too_long_is_asked_again(tmp_path: Path, serve: Serve) -> None:
    webhook = Webhook(pause=0.6)
    with EventGridService(tmp_path / "slow.sqlite", time_scale=QUICK, answer_seconds=0.3) as grid:
        connected(grid, serve(webhook), max_delivery_attempts=2).send(event("1"))
        assert grid.wait_until_idle(5)
        assert grid.deliveries()[0].outcome == "MaxDeliveryAttemptsExceeded"
    assert webhook.ids == ["1", "1"]


def test_undelivered_events_survive_a_restart_and_follow_a_moved_endpoint(tmp_path: Path, serve: Serve) -> None:
    file = tmp_path / "grid.sqlite"
    before, after = Webhook(), Webhook()
    with EventGridService(file) as grid:
        client = connected(grid, serve(before))
        grid.set_chaos([ChaosRule(delay_seconds=(1.0, 1.0))])
        client.send(event("1"))
        key = grid.create_topic("fleet").key
    with EventGridService(file) as grid:
        assert grid.create_topic("fleet").key == key
        assert grid.chaos.rules == (ChaosRule(delay_seconds=(1.0, 1.0)),)
        grid.create_subscription(Subscription(topic="fleet", name="sub-1", endpoint=serve(after)))
        assert grid.wait_until_idle(5)
    assert (before.ids, after.ids) == ([], ["1"])


CRASHING = """
import sys, time
from pathlib import Path
from azure.core.credentials import AzureKeyCredential
from azure.eventgrid import EventGridEvent, EventGridPublisherClient
from local.event_grid import EventGridService, Subscription
grid = EventGridService(Path(sys.argv[1])).start()
topic = grid.create_topic("fleet")
grid.create_subscription(Subscription(topic="fleet", name="sub-1", endpoint=sys.argv[2]))
client = EventGridPublisherClient(grid.endpoint("fleet"), AzureKeyCredential(topic.key))
client.send(EventGridEvent(subject="s", event_type="T", data={}, data_version="1", id="1"))
time.sleep(60)
"""


def test_a_delivery_cut_off_by_a_crash_is_made_again(tmp_path: Path, serve: Serve) -> None:
    webhook = Webhook(pause=1.0)
    command = [sys.executable, "-c", CRASHING, str(tmp_path / "grid.sqlite"), serve(webhook)]
    with subprocess.Popen(command, cwd=REPOSITORY) as process:
        wait_until(lambda: webhook.ids == ["1"])
        process.kill()
    with EventGridService(tmp_path / "grid.sqlite") as grid:
        assert grid.wait_until_idle(10)
    assert webhook.ids == ["1", "1"]


def test_a_deleted_subscription_gets_nothing_more(grid: EventGridService, serve: Serve) -> None:
    webhook = Webhook()
    client = connected(grid, serve(webhook))
    grid.set_chaos([ChaosRule(delay_seconds=(0.3, 0.3))])
    client.send(event("1"))
    grid.delete_subscription("fleet", "sub-1")
    client.send(event("2"))
    time.sleep(0.5)
    assert webhook.ids == []
    assert [each.outcome for each in grid.deliveries()] == ["SubscriptionDeleted"]


def test_chaos_doubles_reorders_and_loses_events_by_rule(grid: EventGridService, serve: Serve) -> None:
    webhook = Webhook()
    client = connected(grid, serve(webhook))
    grid.set_chaos(
        [
            ChaosRule(event_type="Fleet.Copied", copies=5),
            ChaosRule(event_type="Fleet.Lost", drop=True),
            ChaosRule(event_type="Fleet.Shuffled", reorder_seconds=0.4),
        ],
        seed=7,
    )
    shuffled = [f"s{number}" for number in range(12)]
    client.send([event("copied", kind="Fleet.Copied"), event("lost", kind="Fleet.Lost"), event("plain")])
    client.send([event(each, kind="Fleet.Shuffled") for each in shuffled])
    assert grid.wait_until_idle(5)
    assert webhook.ids.count("copied") == 5
    assert webhook.ids.count("plain") == 1
    arrived = [each for each in webhook.ids if each in shuffled]
    assert sorted(arrived) == sorted(shuffled) and arrived != shuffled
    (lost,) = grid.deliveries(event_id="lost")
    assert lost.state is DeliveryState.LOST
    grid.set_chaos([])
    client.send(event("copied later", kind="Fleet.Copied"))
    assert grid.wait_until_idle(5)
    assert webhook.ids.count("copied later") == 1


def test_another_process_can_switch_chaos_and_see_deliveries(
    grid: EventGridService, serve: Serve, tmp_path: Path
) -> None:
    webhook = Webhook()
    client = connected(grid, serve(webhook))
    base = grid.endpoint("fleet").partition("/topics/")[0]

    def call(method: str, path: str, key: str = grid.admin_key, **options: Any) -> requests.Response:
        return requests.request(method, f"{base}/admin/{path}", headers={"aeg-admin-key": key}, timeout=5, **options)

    assert call("GET", "chaos", key="wrong").status_code == 401
    refused = call("PUT", "chaos", json={"rules": [{"copies": 0}]})
    assert refused.status_code == 400 and "rules.0.copies" in refused.json()["error"]["message"]
    assert call("PUT", "chaos", json={"seed": 3, "rules": [{"event_type": "*", "copies": 2}]}).status_code == 200
    assert call("GET", "chaos").json()["seed"] == 3
    client.send(event("1"))
    assert grid.wait_until_idle(5)
    seen = call("GET", "deliveries?eventId=1").json()
    assert [(each["state"], each["attempts"]) for each in seen] == [("delivered", 1)] * 2
    (topic,) = call("GET", "topics").json()
    assert (topic["name"], topic["subscriptions"][0]["name"]) == ("fleet", "sub-1")


def test_a_port_may_be_given_and_a_taken_one_is_refused(tmp_path: Path, free_port: int) -> None:
    grid = EventGridService(tmp_path / "a.sqlite").start(free_port)
    try:
        assert grid.endpoint("x") == f"http://127.0.0.1:{free_port}/topics/x/api/events"
    finally:
        grid.stop()


def hosted_sample(tmp_path: Path, azurite: Azurite) -> AbstractContextManager[ServerThread]:
    settings = {
        "AzureWebJobsStorage": azurite.connection_string,
        "WorkStorage": azurite.connection_string,
        "WORK_QUEUE": "unused",
        "TICK_SCHEDULE": "0 0 0 1 1 *",
        "HOURLY_SCHEDULE": "0 0 * * * *",
        "FUNCTIONS_EVENTGRID_KEY": "system-key",
    }
    app = load_app("sample_functions:app", SAMPLE_APP)
    return ServerThread(FunctionsHost(app, SAMPLE_APP, settings, HostOptions(listen=False)).application)


def test_client_topic_and_function_host_work_together(
    grid: EventGridService, azurite: Azurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = tmp_path / "trace.jsonl"
    monkeypatch.setenv("TRACE_FILE", str(trace))
    with hosted_sample(tmp_path, azurite) as host:
        webhook = f"{host.url}/runtime/webhooks/eventgrid?functionName=on_event&code="
        grid.create_topic("fleet")
        with pytest.raises(HandshakeFailed, match="401"):
            grid.create_subscription(Subscription(topic="fleet", name="sub-1", endpoint=f"{webhook}wrong"))
        client = connected(grid, f"{webhook}system-key", max_delivery_attempts=3)
        client.send([event("good", rows=1), event("bad", "fail")])
        assert grid.wait_until_idle(10)
    notes = [json.loads(line)["id"] for line in trace.read_text().splitlines()]
    assert (notes.count("good"), notes.count("bad")) == (1, 3)
    states = {each.event_id: each.state for each in grid.deliveries()}
    assert states == {"good": DeliveryState.DELIVERED, "bad": DeliveryState.DROPPED}
