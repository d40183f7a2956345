"""The REST client of the Azure adapters: what a service does wrong is Transient or Permanent, and never waited for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import ClassVar

import pytest

from local.ports import free_port
from shared.adapters.azure.rest import RestClient, request_id
from shared.errors import Permanent, Transient
from tests.azure_services.server import AzureServices, Call, Endpoint, Fault, Refused, Reply, Service

AUDIENCE = "https://shelf.example.org"


class Shelf(Service):
    """Things that can be put and read."""

    name: ClassVar[str] = "shelf"
    audience: ClassVar[str] = AUDIENCE

    def __init__(self) -> None:
        self.things: dict[str, object] = {}

    def endpoints(self) -> list[Endpoint]:
        return [Endpoint("GET", "/things/{name}", self._read), Endpoint("PUT", "/things/{name}", self._put)]

    def _read(self, call: Call) -> Reply:
        if call.parts["name"] not in self.things:
            raise Refused(404, "ThingNotFound", f"there is no {call.parts['name']}")
        return Reply(body=self.things[call.parts["name"]], headers={"X-Version": "7"})

    def _put(self, call: Call) -> Reply:
        self.things[call.parts["name"]] = call.body
        return Reply(201, call.body)


@pytest.fixture(scope="module")
def azure() -> Iterator[AzureServices]:
    with AzureServices(Shelf()) as running:
        yield running


@pytest.fixture
def client(azure: AzureServices) -> Iterator[RestClient]:
    options = {"connection_verify": str(azure.authority), "read_timeout": 1}
    yield RestClient("the shelf", azure.url("shelf"), azure.credential(), f"{AUDIENCE}/.default", **options)
    azure.faults.switch_off()


def test_what_was_put_is_read_and_what_was_not_is_none(azure: AzureServices, client: RestClient) -> None:
    put = client.start("PUT", "things/apple", "command 1", {"red": True}, {"api-version": "1"})
    assert (put.status, put.body) == (201, {"red": True})
    read = client.get("things/apple")
    assert read and (read.body, read.headers["x-version"]) == ({"red": True}, "7")
    assert client.get("things/pear") is None
    sent = azure.requests("shelf", "PUT")[-1].call
    assert (sent.query, sent.headers["x-ms-client-request-id"]) == ({"api-version": "1"}, request_id("command 1"))


def test_a_refusal_is_permanent_and_has_the_services_words(client: RestClient) -> None:
    with pytest.raises(Permanent, match=r"the shelf answered 404 to GET .*/pear: ThingNotFound: there is no pear"):
        client.send("GET", "things/pear")


@pytest.mark.parametrize("status", [401, 408, 409, 429, 500, 502, 503, 504])
def test_throttling_and_trouble_of_the_service_are_tried_again(
    azure: AzureServices, client: RestClient, status: int
) -> None:
    fault = azure.faults.switch_on(Fault("refuse", "shelf", status=status, retry_after=11))
    with pytest.raises(Transient, match=f"answered {status}") as trouble:
        client.get("things/apple")
    assert (trouble.value.retry_after, fault.struck) == (11, 1)


def test_when_to_try_again_may_be_told_as_a_time(azure: AzureServices, client: RestClient) -> None:
    azure.faults.switch_on(
        Fault(
            "refuse",
            "shelf",
            status=429,
            headers={"Retry-After": format_datetime(datetime.now(UTC) + timedelta(hours=1))},
        )
    )
    with pytest.raises(Transient) as throttled:
        client.get("things/apple")
    assert throttled.value.retry_after and 3500 < throttled.value.retry_after <= 3600


def test_no_answer_in_time_is_tried_again(azure: AzureServices, client: RestClient) -> None:
    azure.faults.switch_on(Fault("hang", "shelf"))
    with pytest.raises(Transient, match="does not answer"):
        client.get("things/apple")


def test_no_server_is_tried_again(azure: AzureServices) -> None:
    absent = RestClient("the shelf", f"https://127.0.0.1:{free_port()}", azure.credential(), f"{AUDIENCE}/.default")
    with pytest.raises(Transient, match="does not answer"):
        absent.get("things/apple")


def test_no_token_is_tried_again_and_nothing_is_asked_without_one(azure: AzureServices, client: RestClient) -> None:
    azure.faults.switch_on(Fault("refuse", "identity", status=500))
    before = len(azure.requests("shelf"))
    with pytest.raises(Transient, match="no token"):
        client.get("things/apple")
    assert len(azure.requests("shelf")) == before


def test_a_token_that_is_good_no_more_is_tried_again(azure: AzureServices, client: RestClient) -> None:
    client.get("things/apple")
    azure.identity.revoke()
    with pytest.raises(Transient, match="401"):
        client.get("things/apple")


def test_a_token_is_sent_nowhere_else(azure: AzureServices, client: RestClient) -> None:
    with pytest.raises(Permanent, match="404"):
        client.send("GET", "https://elsewhere.example.org/things/apple")
    assert azure.requests("shelf")[-1].call.path.endswith("elsewhere.example.org/things/apple")
