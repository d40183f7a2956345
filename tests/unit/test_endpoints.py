"""Endpoints by themselves: what is declared is what is checked, answered, compared and documented."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import azure.functions as func
import pytest
from openapi_spec_validator import validate
from pydantic import BaseModel

from function_app import app
from functions import answers, endpoints
from functions.description import STATUS, openapi, problems_of
from functions.endpoints import DECLARED, Answered, Endpoint, Endpoints
from functions.http import Refused, TooLarge
from functions.parameters import Body, CircuitId, Day, Page
from shared.domain import circuit as circuit_domain
from shared.errors import Invalid


class Thing(BaseModel):
    """An answer."""

    name: str
    at: datetime


class ThingBody(Body):
    """A body."""

    count: int
    day: Day


@pytest.fixture
def bp() -> Iterator[Endpoints]:
    """A blueprint whose endpoints are forgotten afterwards."""
    before = dict(DECLARED)
    yield Endpoints()
    DECLARED.clear()
    DECLARED.update(before)


def request(method: str = "GET", body: bytes = b"", **given: Any) -> func.HttpRequest:
    return func.HttpRequest(method, "http://app.example/api/things", body=body, **given)


def declared(bp: Endpoints, name: str, answer: str = "Nothing has happened yet.") -> Endpoint:
    @bp.get("things/{circuit}", anybody=True, fleeting={"at"})
    def show_thing(circuit: CircuitId, page: Page) -> Thing:
        return Thing(name=f"{circuit} {page.size} {answer}", at=datetime.now(UTC))

    return DECLARED[name]


def test_what_is_read_from_path_and_query_is_handed_to_the_function(bp: Endpoints) -> None:
    shown = declared(bp, "show_thing")(request(route_params={"circuit": "P001_C001"}, params={"size": "7"}))
    assert json.loads(shown.get_body())["name"].startswith("P001_C001 7 ")
    assert shown.get_body().endswith(b"\n")


@pytest.mark.parametrize(
    ("circuit", "params", "told"),
    [
        ("P001", {}, "circuit: is 'P001' (allowed: the form P001_C001)"),
        ("P001_C001\n", {}, "the form P001_C001"),
        ("P001_C001", {"size": "0"}, "size: is '0' (allowed: a whole number from 1 to 200)"),
        ("P001_C001", {"page": "2"}, "page: is no parameter of this request (allowed: size, continuation)"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(bp: Endpoints, circuit: str, params: dict[str, str], told: str) -> None:
    with pytest.raises(Invalid) as refused:
        declared(bp, "show_thing")(request(route_params={"circuit": circuit}, params=params))
    assert told in str(refused.value)


def test_an_etag_changes_with_what_is_shown_and_not_with_the_time_of_asking(bp: Endpoints) -> None:
    asked: dict[str, Any] = {"route_params": {"circuit": "P001_C001"}}
    endpoint = declared(bp, "show_thing")
    first = endpoint(request(**asked))
    etag = first.headers["ETag"]
    for known in (etag, etag.removeprefix("W/"), f'"another", {etag}', "*"):
        again = endpoint(request(**asked, headers={"if-none-match": known}))
        assert (again.status_code, again.get_body(), again.headers["ETag"]) == (304, b"", etag)
    changed = declared(bp, "show_thing", "Something has.")(request(**asked, headers={"if-none-match": etag}))
    assert changed.status_code == 200 and changed.headers["ETag"] != etag


def test_what_guards_a_change_shows_what_it_is_about() -> None:
    """`If-Match` names an ETag of that: it has one that does not change with the time of asking, and the same path."""
    assert app
    guarded = [endpoint for endpoint in DECLARED.values() if endpoint.guard]
    assert {"roll_back", "cancel_release", "halt_environment"} <= {each.function.__name__ for each in guarded}
    for endpoint in guarded:
        shown = DECLARED[endpoint.guard]
        assert shown.method == "GET" and not shown.fleeting
        assert endpoint.route.startswith(f"{shown.route}/") and set(shown.path) == set(endpoint.path)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"count": "3", "day": "2026-01-31"}', "count: "),
        (b'{"count": true, "day": "2026-01-31"}', "count: "),
        (b'{"count": 3, "day": 0}', "day: "),
        (b'{"count": 3, "day": "2026-01-31T00:00:00"}', "day: "),
        (b'{"count": 3}', "a JSON object with count, day"),
        (b'{"count": 3, "day": "2026-01-31", "more": 1}', "more: "),
    ],
)
def test_a_body_is_taken_as_it_is_written_and_not_as_it_may_be_meant(body: bytes, told: str) -> None:
    with pytest.raises(Invalid) as refused:
        endpoints.read_body(request("POST", body), ThingBody)
    assert told in str(refused.value)


@pytest.mark.parametrize("sent_as", ["", "application/json", "Application/JSON; charset=utf-8"])
def test_json_is_read_when_it_is_said_to_be_json_or_nothing_is_said(sent_as: str) -> None:
    sent = request("POST", b'{"count": 3, "day": "2026-01-31"}', headers={"content-type": sent_as})
    assert endpoints.read_body(sent, ThingBody).count == 3


def test_what_is_said_to_be_something_else_is_not_read_and_what_is_too_large_neither() -> None:
    with pytest.raises(Refused, match="text/plain: send JSON") as refused:
        endpoints.read_body(request("POST", b"{}", headers={"content-type": "text/plain"}), ThingBody)
    assert refused.value.status == 415
    with pytest.raises(TooLarge, match="at most 65536"):
        endpoints.read_body(request("POST", b" " * 65537), ThingBody)


def test_a_parameter_that_cannot_be_read_is_found_when_the_endpoint_is_declared(bp: Endpoints) -> None:
    with pytest.raises(TypeError, match="show_thing: wanted"):

        @bp.get("things")
        def show_thing(wanted: str) -> Thing:
            return Thing(name=wanted, at=datetime.now(UTC))


# ------------------------------------------------------------------------------------------------------ the document


def test_the_document_is_openapi_3_1() -> None:
    document = openapi()
    validate(document)
    assert document["openapi"].startswith("3.1")


def test_every_reference_leads_somewhere_and_no_name_shows_a_module() -> None:
    document = openapi()
    text = json.dumps(document)
    schemas = document["components"]["schemas"]
    named = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert named <= set(schemas)
    assert "__" not in "".join(schemas)


def test_every_operation_says_what_it_is_who_may_and_what_can_go_wrong() -> None:
    paths = openapi()["paths"]
    for name, endpoint in DECLARED.items():
        operation = paths[f"/{endpoint.route}"][endpoint.method.lower()]
        assert operation["operationId"] == name
        assert operation["summary"].endswith("."), name
        assert "For " in operation["description"]
        assert set(map(int, operation["responses"])) <= set(STATUS)
        assert {str(status) for status in problems_of(endpoint)} <= set(operation["responses"])


def test_only_health_sign_in_and_the_document_are_shown_to_anybody() -> None:
    assert {name for name, endpoint in DECLARED.items() if endpoint.who is None} == {"health", "show_sign_in"}


def test_every_change_is_a_named_persons() -> None:
    assert [name for name, endpoint in DECLARED.items() if endpoint.method == "POST" and not endpoint.person] == []


def test_a_circuit_can_show_whatever_may_be_open_under_it() -> None:
    shown = str(answers.CircuitShown.model_fields["open"].annotation)
    assert all(kind.__name__ in shown for kind in circuit_domain.KINDS)
    assert Answered(answers.Health(status="ready", time=datetime.now(UTC))).status == 200
