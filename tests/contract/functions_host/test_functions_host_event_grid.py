"""The Event Grid webhook: keys, handshake, one invocation per event, and every status code."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from tests.contract.functions_host.running_host import EVENT_GRID, HOST, MASTER, RunningHost


def event(event_id: str = "1", subject: str = "ok") -> dict[str, Any]:
    return {
        "id": event_id,
        "topic": "/subscriptions/s/topics/t",
        "subject": subject,
        "eventType": "Fleet.EtlCompleted",
        "eventTime": "2026-01-02T03:04:05.1234567Z",
        "data": {"table": "sensor_data"},
        "dataVersion": "1",
        "metadataVersion": "1",
    }


def send(
    host: RunningHost,
    content: object,
    kind: str | None = "Notification",
    function: str | None = "on_event",
    key: str | None = EVENT_GRID,
    method: str = "POST",
    **headers: str,
) -> requests.Response:
    body = content if isinstance(content, bytes) else json.dumps(content)
    return host.http.request(
        method,
        f"{host.url}/runtime/webhooks/eventgrid",
        params={"functionName": function, "code": key},
        data=body,
        headers={"aeg-event-type": kind, **headers},
        timeout=20,
    )


def seen(host: RunningHost, event_id: str, name: str = "on_event") -> int:
    return sum(note["id"] == event_id for note in host.notes(name))


@pytest.mark.parametrize(
    ("key", "expected"), [(None, 401), ("wrong", 401), (HOST, 401), (EVENT_GRID, 202), (MASTER, 202)]
)
def test_only_the_system_key_opens_the_webhook(host: RunningHost, key: str | None, expected: int) -> None:
    assert send(host, [], key=key).status_code == expected
    assert send(host, [], key=None, **({"x-functions-key": key} if key else {})).status_code == expected


def test_the_handshake_returns_the_validation_code(host: RunningHost) -> None:
    answer = send(host, [{"data": {"validationCode": "ABC"}}], kind="subscriptionVALIDATION")
    assert (answer.status_code, answer.json()) == (200, {"validationResponse": "ABC"})


def test_a_cloud_events_handshake_with_encoded_data_is_understood(host: RunningHost) -> None:
    answer = send(host, {"data": json.dumps({"validationCode": "DEF"})}, kind="SubscriptionValidation")
    assert (answer.status_code, answer.json()) == (200, {"validationResponse": "DEF"})


def test_a_cloud_events_options_handshake_allows_the_origin(host: RunningHost) -> None:
    answer = send(host, b"", kind=None, method="OPTIONS", **{"WebHook-Request-Origin": "eventgrid.azure.net"})
    assert (answer.status_code, answer.headers["WebHook-Allowed-Origin"]) == (200, "eventgrid.azure.net")


def test_every_event_of_an_array_is_one_invocation(host: RunningHost) -> None:
    assert send(host, [event("a1"), event("a2")], kind="notification").status_code == 202
    assert (seen(host, "a1"), seen(host, "a2")) == (1, 1)
    note = next(note for note in host.notes("on_event") if note["id"] == "a1")
    assert (note["topic"], note["type"]) == ("/subscriptions/s/topics/t", "Fleet.EtlCompleted")
    assert note["content"] == {"table": "sensor_data"}


def test_a_single_object_is_an_event(host: RunningHost) -> None:
    assert send(host, event("b1")).status_code == 202
    assert seen(host, "b1") == 1


def test_one_failed_event_fails_the_delivery_and_the_others_still_run(host: RunningHost) -> None:
    assert send(host, [event("c1"), event("c2", "fail"), event("c3")]).status_code == 500
    assert [seen(host, each) for each in ("c1", "c2", "c3")] == [1, 1, 1]


def test_a_returned_value_that_nothing_takes_fails(host: RunningHost) -> None:
    assert send(host, [event()], function="on_event_returning").status_code == 500


def test_a_cloud_event_reaches_its_function(host: RunningHost) -> None:
    cloud = {"specversion": "1.0", "id": "d1", "source": "/etl", "type": "Done", "data": {"x": 1}}
    assert send(host, cloud, function="on_cloud_event").status_code == 202
    note = host.wait_for("on_cloud_event")[0]
    assert (note["id"], note["source"], note["type"], note["content"]) == ("d1", "/etl", "Done", {"x": 1})


@pytest.mark.parametrize("function", ["nobody", "tick", "echo", None])
def test_a_function_that_takes_no_events_is_not_found(host: RunningHost, function: str | None) -> None:
    assert send(host, [event()], function=function).status_code == 404


def test_function_names_are_found_in_any_case(host: RunningHost) -> None:
    assert send(host, [], function="ON_EVENT").status_code == 202


def test_unsubscribing_is_accepted(host: RunningHost) -> None:
    assert send(host, b"", kind="Unsubscribe").status_code == 202


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ([], None),
        ([], "Nonsense"),
        (b"{not json", "Notification"),
        ([1], "Notification"),
        ("text", "Notification"),
        ([], "SubscriptionValidation"),
        ([{"data": {}}], "SubscriptionValidation"),
        (b"", "SubscriptionValidation"),
    ],
)
def test_anything_else_is_a_bad_request(host: RunningHost, content: object, kind: str | None) -> None:
    assert send(host, content, kind=kind).status_code == 400
