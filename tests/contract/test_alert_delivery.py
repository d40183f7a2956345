"""An alert on its way out: from the wired application, over Azurite's queue, to the embedded topic and to a webhook."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from azure.storage.queue import QueueClient, TextBase64DecodePolicy
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from functions.answers import Alerts, AlertShown, CircuitShown
from local.azurite import Azurite
from local.configuration import copy_configuration
from local.event_grid import EventGridService
from local.event_grid.subscriptions import Subscription
from local.servers import ServerThread
from shared.domain import messages as m
from shared.domain.alerts.messages import AlertAcknowledged
from shared.settings import Settings
from shared.wiring import Wired, provision, wire
from tests.builders import ENGINEER

ROOT = Path(__file__).resolve().parents[2]
SECRET = "0123456789abcdef0123456789abcdef"
CIRCUIT, KEY = "P001_C001", "training:P001_C001"
SERVICES = "Microsoft.MachineLearningServices"
GROUP = "/subscriptions/s/resourceGroups/g/providers"


class Receiver:
    """Takes what it is told: events at /topic, as a subscriber of Event Grid does, and signed notices at /webhook."""

    def __init__(self) -> None:
        self.application = Starlette(
            routes=[Route("/topic", self._event, methods=["POST"]), Route("/webhook", self._notice, methods=["POST"])]
        )
        self.url = ""
        self.events: dict[str, Mapping[str, Any]] = {}
        self.notices: dict[str, Mapping[str, Any]] = {}

    async def _event(self, request: Request) -> Response:
        events = await request.json()
        if request.headers["aeg-event-type"] == "SubscriptionValidation":
            return JSONResponse({"validationResponse": events[0]["data"]["validationCode"]})
        self.events |= {event["data"]["id"]: event for event in events}
        return Response(status_code=200)

    async def _notice(self, request: Request) -> Response:
        body, identity = await request.body(), request.headers["webhook-id"]
        signed = f"{identity}.{request.headers['webhook-timestamp']}.".encode() + body
        code = base64.b64encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()).decode()
        if not hmac.compare_digest(request.headers["webhook-signature"], f"v1,{code}"):
            return Response(status_code=401)
        self.notices[identity] = json.loads(body)
        return Response(status_code=204)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    with ServerThread(made.application) as server:
        made.url = server.url
        yield made


@pytest.fixture
def grid(tmp_path: Path) -> Iterator[EventGridService]:
    with EventGridService(tmp_path / "grid.sqlite") as service:
        service.create_topic("fleet", key="the key")
        yield service


@pytest.fixture
def wired(azurite: Azurite, grid: EventGridService, receiver: Receiver, tmp_path: Path) -> Wired:
    """The application in the embedded mode; alerts about plant P001 go to one webhook, about P002 to another."""
    config = tmp_path / "config"
    copy_configuration(ROOT / "config", config)
    policy = yaml.safe_load((config / "policy.yml").read_text())
    policy["alerts"]["routes"] = [
        {"webhook": name, "plants": [plant]} for name, plant in (("one", "P001"), ("two", "P002"))
    ]
    (config / "policy.yml").write_text(yaml.safe_dump(policy))
    environment = {
        "FLEET_MODE": "local",
        "FLEET_STORAGE": azurite.connection_string,
        "STATE_TABLE": "alertdelivery",
        "WORK_QUEUE": "alert-delivery",
        "DOCUMENTS_CONTAINER": "alert-delivery",
        "CONFIG_FOLDER": str(config),
        "LAKE_URI": str(tmp_path / "lake"),
        "TOPIC_ENDPOINT": grid.endpoint("fleet"),
        "TOPIC_KEY": "the key",
        "TOPIC_ID": f"{GROUP}/Microsoft.EventGrid/topics/fleet",
        **{f"{n.upper()}_WORKSPACE": f"{GROUP}/{SERVICES}/workspaces/{n}" for n in ("dev", "test", "production")},
        "LAKE_ACCOUNT": f"{GROUP}/Microsoft.Storage/storageAccounts/lake",
        "TOKEN_ISSUER": "http://127.0.0.1:9/issuer",
        "TOKEN_AUDIENCE": "api://circuit-fleet",
        "TOKEN_KEYS_URI": "http://127.0.0.1:9/issuer/discovery/keys",
        "PLATFORM_ENDPOINT": "http://127.0.0.1:9",
        "PLATFORM_KEY": "nothing here asks the platform",
        "ALERT_WEBHOOKS": f"one={receiver.url}/webhook,two={receiver.url}/elsewhere",
        "ALERT_WEBHOOK_SECRET": SECRET,
    }
    provision(Settings.read(environment))
    grid.create_subscription(Subscription(topic="fleet", name="operations", endpoint=f"{receiver.url}/topic"))
    return wire(environment)


def work(wired: Wired, azurite: Azurite, grid: EventGridService) -> None:
    """Do everything that is on the queue, as the worker's trigger does, and let the topic deliver."""
    queue = QueueClient.from_connection_string(
        azurite.connection_string, "alert-delivery", message_decode_policy=TextBase64DecodePolicy()
    )
    while messages := list(queue.receive_messages(max_messages=16)):
        for message in messages:
            wired.application.work(message.content)
            queue.delete_message(message)
    assert grid.wait_until_idle(30)


def test_an_alert_reaches_the_topic_and_its_plants_webhook_until_it_is_over(
    wired: Wired, azurite: Azurite, grid: EventGridService, receiver: Receiver
) -> None:
    application = wired.application
    _train(wired, "c0ffee01", fails=True)
    work(wired, azurite, grid)
    (notice,) = receiver.notices.values()
    (event,) = receiver.events.values()
    assert notice == {"type": "SensorForecast.AlertRaised", "data": event["data"]}
    assert (event["eventType"], event["subject"]) == ("SensorForecast.AlertRaised", "alerts/P001/C001/training")
    assert (event["data"]["key"], event["data"]["reason"]) == (KEY, "out of memory")

    listing = wired.queries.alerts(50, plant="P001")
    shown = Alerts.model_validate({"alerts": listing.entries, "continuation": listing.continuation})
    assert [alert.key for alert in shown.alerts] == [KEY]
    circuit = CircuitShown.model_validate(wired.queries.circuit(CIRCUIT))
    assert KEY in circuit.model_dump_json(), "a circuit is shown with its open alert"

    order = AlertAcknowledged(
        root=CIRCUIT, alert=shown.alerts[0].id, person=ENGINEER, reason="more memory is ordered", request="request-1"
    )
    application.advance(order)
    _train(wired, "c0ffee02", fails=False)
    work(wired, azurite, grid)
    changes = [told["data"]["change"] for told in receiver.notices.values()]
    assert sorted(changes) == ["acknowledged", "closed", "raised"]
    assert receiver.events.keys() == receiver.notices.keys()
    ended = AlertShown.model_validate(wired.queries.alert(KEY))
    assert (ended.phase, ended.acknowledged_by, ended.note) == (
        "closed",
        ENGINEER.username,
        f"{CIRCUIT}~c0ffee02 is trained",
    )
    assert [line.event for line in ended.history] == ["AlertRaised", "AlertAcknowledged", "AlertCleared"]
    assert not wired.queries.alerts(50).entries and not wired.queries.dead_letters(50).entries


def _train(wired: Wired, commit: str, fails: bool) -> None:
    """A build has the circuit trained, as it tells of that itself."""
    advance = wired.application.advance
    advance(m.TrainingRequested(root=CIRCUIT, commit=commit, author="tess@example.org", pull_request="1"))
    run = {"root": CIRCUIT, "item": f"{CIRCUIT}~{commit}", "command_id": f"{CIRCUIT}~{commit}.train"}
    if fails:
        advance(m.TrainingFailed(**run, step=1, error="out of memory"))
        return
    at = datetime(2026, 1, 31, 6, tzinfo=UTC)
    advance(m.TrainingStarted(**run, step=1, reference="job-1"))
    advance(m.TrainingSucceeded(**run, step=2, model_version=1, started_at=at, ended_at=at))
