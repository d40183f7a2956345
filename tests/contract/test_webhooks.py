"""Webhooks on a real HTTPS server: signed, tried again or not, and never called where nothing may be called."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any, ClassVar

import pytest

from shared.adapters.azure.webhooks import HttpsWebhooks, is_public
from shared.adapters.local.webhooks import LocalWebhooks
from shared.clock import SystemClock
from shared.errors import Permanent, Transient
from shared.settings import SettingsError
from tests.azure_services.server import AzureServices, Call, Endpoint, Fault, Reply, Service

SECRET = "0123456789abcdef0123456789abcdef"
NOTICE: Mapping[str, Any] = {"type": "SensorForecast.AlertRaised", "data": {"key": "etl:lake", "reason": "läuft nicht"}}


class Receiver(Service):
    """Somebody's own system, which takes whatever it is told."""

    name: ClassVar[str] = "receiver"

    def endpoints(self) -> list[Endpoint]:
        return [Endpoint("POST", "/alerts", lambda call: Reply(204)), Endpoint("POST", "/moved", self._moved)]

    def _moved(self, call: Call) -> Reply:
        return Reply(307, headers={"Location": f"{self.azure.url(self.name)}/alerts"})


@pytest.fixture(scope="module")
def services() -> Iterator[AzureServices]:
    with AzureServices(Receiver()) as running:
        yield running


@pytest.fixture
def receiver(services: AzureServices) -> Iterator[AzureServices]:
    yield services
    services.faults.switch_off()


def webhooks(services: AzureServices, path: str = "alerts?key=hushed", secret: str = SECRET) -> HttpsWebhooks:
    """To the receiver on this machine, which only a test may reach."""
    context = ssl.create_default_context(cafile=str(services.authority))
    url = f"{services.url('receiver')}/{path}"
    return HttpsWebhooks({"on-call": url}, ["127.0.0.1"], secret, SystemClock(), lambda address: True, context)


def test_a_notice_arrives_and_its_signature_is_what_standard_webhooks_says(receiver: AzureServices) -> None:
    webhooks(receiver).post("on-call", "P001_C001!alert.1.1", NOTICE)
    call = receiver.requests("receiver")[-1].call
    assert (call.path, call.query, call.body) == ("/alerts", {"key": "hushed"}, NOTICE)
    body = json.dumps(NOTICE, separators=(",", ":")).encode()
    signed = f"{call.headers['webhook-id']}.{call.headers['webhook-timestamp']}.".encode() + body
    code = base64.b64encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()).decode()
    assert call.headers["webhook-signature"] == f"v1,{code}"
    assert call.headers["webhook-id"] == "P001_C001!alert.1.1"


def test_a_secret_may_be_written_as_the_libraries_of_standard_webhooks_write_it(receiver: AzureServices) -> None:
    written = "whsec_" + base64.b64encode(SECRET.encode()).decode()
    signatures = []
    for secret in (SECRET, written):
        webhooks(receiver, secret=secret).post("on-call", "same", NOTICE)
        call = receiver.requests("receiver")[-1].call
        body = json.dumps(NOTICE, separators=(",", ":")).encode()
        signed = b".".join((b"same", call.headers["webhook-timestamp"].encode(), body))
        code = base64.b64encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()).decode()
        signatures.append(call.headers["webhook-signature"] == f"v1,{code}")
    assert signatures == [True, True]


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 503])
def test_what_may_pass_is_tried_again_when_the_receiver_says(receiver: AzureServices, status: int) -> None:
    receiver.faults.switch_on(Fault("refuse", service="receiver", status=status, retry_after=7))
    with pytest.raises(Transient, match=f"webhook on-call answered {status}") as raised:
        webhooks(receiver).post("on-call", "1", NOTICE)
    assert raised.value.retry_after == 7
    assert "hushed" not in str(raised.value)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413])
def test_what_the_receiver_does_not_want_is_not_tried_again(receiver: AzureServices, status: int) -> None:
    receiver.faults.switch_on(Fault("refuse", service="receiver", status=status))
    with pytest.raises(Permanent, match=f"webhook on-call answered {status}") as raised:
        webhooks(receiver).post("on-call", "1", NOTICE)
    assert "hushed" not in str(raised.value)


def test_a_redirect_is_not_followed(receiver: AzureServices) -> None:
    before = len(receiver.requests("receiver", path="/alerts"))
    with pytest.raises(Permanent, match="answered 307"):
        webhooks(receiver, "moved").post("on-call", "1", NOTICE)
    assert len(receiver.requests("receiver", path="/alerts")) == before


def test_a_receiver_whose_certificate_is_of_somebody_else_is_told_nothing(receiver: AzureServices) -> None:
    url = f"{receiver.url('receiver')}/alerts?key=hushed"
    strict = HttpsWebhooks({"on-call": url}, ["127.0.0.1"], SECRET, SystemClock(), lambda address: True)
    before = len(receiver.requests("receiver"))
    with pytest.raises(Transient, match="does not answer: SSLCertVerificationError") as raised:
        strict.post("on-call", "1", NOTICE)
    assert len(receiver.requests("receiver")) == before and "hushed" not in str(raised.value)


def test_an_address_of_this_machine_is_not_called_though_its_name_is_allowed(receiver: AzureServices) -> None:
    url = f"{receiver.url('receiver')}/alerts?key=hushed"
    before = len(receiver.requests("receiver"))
    with pytest.raises(Permanent, match="leads to an address that is not of the internet") as raised:
        HttpsWebhooks({"on-call": url}, ["127.0.0.1"], SECRET, SystemClock()).post("on-call", "1", NOTICE)
    assert len(receiver.requests("receiver")) == before and "hushed" not in str(raised.value)


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.0.0.4",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ),
        *("::1", "fe80::1", "fd00::1", "::ffff:10.0.0.4", "168.63.129.16"),
    ],
)
def test_addresses_that_are_not_of_the_internet(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["20.50.2.1", "2603:1030::1"])
def test_addresses_of_the_internet(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://hooks.example.org/?hushed", "must begin with https://"),
        ("https:///?hushed", "must begin with https://host"),
        ("https://elsewhere.example.org/?hushed", "leads to elsewhere.example.org, and the policy's"),
        ("https://hooks.example.org@elsewhere.example.org/?hushed", "leads to elsewhere.example.org, and the policy's"),
    ],
)
def test_an_address_that_the_policy_does_not_allow_keeps_the_application_from_starting(url: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why) as raised:
        HttpsWebhooks({"on-call": url}, ["hooks.example.org"], SECRET, SystemClock())
    assert "hushed" not in str(raised.value)


def test_a_name_that_is_not_set_says_which_are(receiver: AzureServices) -> None:
    with pytest.raises(Permanent, match="there is no webhook night-shift: ALERT_WEBHOOKS has on-call"):
        webhooks(receiver).post("night-shift", "1", NOTICE)


def test_in_the_embedded_mode_only_this_machine_is_told(receiver: AzureServices) -> None:
    with pytest.raises(SettingsError, match=r"leads to hooks\.example\.org"):
        LocalWebhooks({"on-call": "https://hooks.example.org/"}, SECRET, SystemClock())
    with pytest.raises(Transient, match="does not answer"):
        LocalWebhooks({"on-call": "http://127.0.0.1:9/"}, SECRET, SystemClock()).post("on-call", "1", NOTICE)
