"""Documents, work queue and topic on what the app really talks to: Azurite and the local Event Grid."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AzureKeyCredential
from azure.eventgrid import EventGridPublisherClient
from azure.storage.blob import BlobServiceClient, ContainerClient
from azure.storage.queue import QueueClient, TextBase64DecodePolicy, TextBase64EncodePolicy
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.azurite import Azurite
from local.event_grid import EventGridService, Subscription
from local.ports import free_port
from local.servers import ServerThread
from shared.adapters.azure.documents import BlobDocuments
from shared.adapters.azure.topic import EventGridTopic
from shared.adapters.azure.work_queue import StorageWorkQueue
from shared.domain.messages import ReadDeltaCommit
from shared.errors import Transient
from shared.relay import Work

NUMBERS = count()
NOBODY = "DefaultEndpointsProtocol=http;AccountName=nobody;AccountKey=bm9ib2R5;"


def unreachable() -> str:
    address = f"http://127.0.0.1:{free_port()}/nobody"
    return f"{NOBODY}BlobEndpoint={address};QueueEndpoint={address};"


# ----------------------------------------------------------------------------------------------------------- documents


@pytest.fixture
def container(azurite: Azurite) -> ContainerClient:
    service = BlobServiceClient.from_connection_string(azurite.connection_string)
    return service.create_container(f"documents-{next(NUMBERS)}")


@pytest.fixture
def documents(container: ContainerClient) -> BlobDocuments:
    return BlobDocuments(container)


def test_a_file_grows_by_whole_lines_and_is_read_and_listed(
    documents: BlobDocuments, container: ContainerClient
) -> None:
    path = "archive/P001_C001/release/2026-01.jsonl"
    assert documents.lines(path) == [] and documents.names("archive/") == []
    first: list[dict[str, Any]] = [{"key": "P001_C001|8|R|P001_C001:1", "body": {"text": "läuft\n\U0001f6a8"}}]
    documents.append(path, first)
    documents.append(path, [{"key": "2"}, {"key": "3"}])
    documents.append("archive/P001_C001/release/2025-12.jsonl", [{"key": "0"}])
    documents.append("archive/P001_C001/release/2025-11.jsonl", [])
    documents.write("archive.json", {})
    assert documents.lines(path) == [*first, {"key": "2"}, {"key": "3"}]
    assert documents.names("archive/") == ["archive/P001_C001/release/2025-12.jsonl", path]
    assert container.get_blob_client(path).get_blob_properties().blob_type == "AppendBlob"


def test_what_is_larger_than_a_block_is_appended_in_blocks_of_whole_lines(
    documents: BlobDocuments, container: ContainerClient
) -> None:
    lines = [{"key": str(number), "body": "x" * 30_000} for number in range(150)]
    documents.append("archive/large.jsonl", lines)
    assert documents.lines("archive/large.jsonl") == lines
    blob = container.get_blob_client("archive/large.jsonl").get_blob_properties()
    assert blob.append_blob_committed_block_count == 3


def test_a_document_is_read_back_as_it_was_written_and_its_address_is_the_blobs(
    documents: BlobDocuments, container: ContainerClient
) -> None:
    document = {"text": "läuft \U0001f6a8 \x00", "nested": {"list": [1, 2.5, None, True]}}
    address = documents.write("evidence/P001_C001/P001_C001:1:registry:1.json", document)
    assert documents.read("evidence/P001_C001/P001_C001:1:registry:1.json") == document
    assert address.startswith(container.url)
    (blob,) = container.list_blobs(name_starts_with="evidence/")
    assert blob.content_settings.content_type == "application/json"
    downloaded = container.get_blob_client(blob.name)
    assert downloaded.url == address
    assert json.loads(downloaded.download_blob().readall()) == document


def test_writing_again_replaces_and_what_is_not_there_is_none(documents: BlobDocuments) -> None:
    documents.write("a.json", {"version": 1})
    documents.write("a.json", {"version": 2})
    assert documents.read("a.json") == {"version": 2}
    assert documents.read("b.json") is None


def test_what_is_no_document_of_ours_is_none(documents: BlobDocuments, container: ContainerClient) -> None:
    container.upload_blob("list.json", b"[1]")
    assert documents.read("list.json") is None


def test_a_storage_that_does_not_answer_is_worth_another_try() -> None:
    service = BlobServiceClient.from_connection_string(unreachable(), retry_total=0)
    documents = BlobDocuments(service.get_container_client("c"))
    with pytest.raises(Transient, match=r"a\.json was not written"):
        documents.write("a.json", {})
    with pytest.raises(Transient, match=r"a\.json was not read"):
        documents.read("a.json")


# ---------------------------------------------------------------------------------------------------------- work queue


@pytest.fixture
def client(azurite: Azurite) -> QueueClient:
    made = QueueClient.from_connection_string(
        azurite.connection_string,
        f"work-{next(NUMBERS)}",
        message_encode_policy=TextBase64EncodePolicy(),
        message_decode_policy=TextBase64DecodePolicy(),
    )
    made.create_queue()
    return made


def test_a_command_comes_back_as_it_was_sent_in_the_encoding_that_the_trigger_expects(
    client: QueueClient, azurite: Azurite
) -> None:
    work = Work(ReadDeltaCommit(root="lake", item="lake", step=0, version=7, source="etl ä"), attempt=3)
    StorageWorkQueue(client).send(work.to_json())
    raw = QueueClient.from_connection_string(azurite.connection_string, client.queue_name).peek_messages()[0].content
    assert base64.b64decode(raw).decode() == work.to_json()
    (message,) = client.receive_messages()
    assert Work.from_json(message.content) == work


def test_a_delayed_command_is_not_seen_before_its_time(client: QueueClient) -> None:
    queue = StorageWorkQueue(client)
    queue.send("later", delay_seconds=1.4)  # whole seconds: rounded
    queue.send("now", delay_seconds=0.2)
    assert [message.content for message in client.receive_messages(visibility_timeout=30)] == ["now"]
    time.sleep(1.3)
    assert [message.content for message in client.receive_messages()] == ["later"]


def test_the_queue_says_how_many_commands_wait_delayed_ones_included(client: QueueClient) -> None:
    queue = StorageWorkQueue(client)
    assert queue.waiting() == 0
    queue.send("now")
    queue.send("later", delay_seconds=60)
    assert queue.waiting() == 2


def test_a_delay_beyond_what_the_queue_takes_is_shortened_and_a_negative_one_is_none(client: QueueClient) -> None:
    queue = StorageWorkQueue(client)
    queue.send("in a year", delay_seconds=365 * 24 * 3600)
    queue.send("yesterday", delay_seconds=-3600)
    assert [message.content for message in client.receive_messages()] == ["yesterday"]
    assert client.get_queue_properties().approximate_message_count == 2


def test_a_queue_that_does_not_answer_is_worth_another_try() -> None:
    client = QueueClient.from_connection_string(unreachable(), "work", retry_total=0)
    with pytest.raises(Transient, match="work queue"):
        StorageWorkQueue(client).send("x")


# --------------------------------------------------------------------------------------------------------------- topic


class Webhook:
    """A subscriber: it proves that it wants the events, and keeps them."""

    def __init__(self) -> None:
        self.url = ""
        self.received: list[dict[str, Any]] = []
        self.application = Starlette(routes=[Route("/hook", self._take, methods=["POST"])])

    async def _take(self, request: Request) -> Response:
        events = await request.json()
        if request.headers["aeg-event-type"] == "SubscriptionValidation":
            return JSONResponse({"validationResponse": events[0]["data"]["validationCode"]})
        self.received += events
        return Response(status_code=200)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    made = Webhook()
    with ServerThread(made.application) as server:
        made.url = f"{server.url}/hook"
        yield made


@pytest.fixture
def grid(tmp_path: Path) -> Iterator[EventGridService]:
    with EventGridService(tmp_path / "grid.sqlite") as service:
        service.create_topic("fleet", key="the key")
        yield service


def test_what_is_published_reaches_a_subscriber_in_the_event_grid_schema(
    grid: EventGridService, webhook: Webhook
) -> None:
    grid.create_subscription(Subscription(topic="fleet", name="all", endpoint=webhook.url))
    client = EventGridPublisherClient(grid.endpoint("fleet"), AzureKeyCredential("the key"))
    EventGridTopic(client).publish("SensorForecast.AlertRaised", "releases/P001_C001:1", {"reason": "läuft nicht"})
    assert grid.wait_until_idle(10)
    (event,) = webhook.received
    assert (event["eventType"], event["subject"]) == ("SensorForecast.AlertRaised", "releases/P001_C001:1")
    assert (event["data"], event["dataVersion"]) == ({"reason": "läuft nicht"}, "1.0")
    assert event["topic"].endswith("/topics/fleet")


def test_a_topic_that_refuses_or_does_not_answer_is_worth_another_try(grid: EventGridService) -> None:
    refusing = EventGridPublisherClient(grid.endpoint("fleet"), AzureKeyCredential("another key"))
    absent = EventGridPublisherClient(
        f"http://127.0.0.1:{free_port()}/topics/fleet/api/events", AzureKeyCredential("x"), retry_total=0
    )
    for client in (refusing, absent):
        with pytest.raises(Transient, match=r"did not take SensorForecast\.AlertRaised"):
            EventGridTopic(client).publish("SensorForecast.AlertRaised", "s", {})
