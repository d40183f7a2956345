"""Service hooks: a hint makes us look, who lies is found out, nothing is lost, and no answer ends the subscription."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import azure.functions as func
import pytest

from functions.devops import BODY_LIMIT, answered
from shared.domain.messages import LookAtGate
from shared.domain.release import Phase
from shared.domain.rules import Rules
from shared.domain.values import AskState, Channel
from shared.errors import Invalid
from shared.hooks import FORGED, SOURCE, Hooks
from shared.ports import Ask
from shared.relay import Work
from shared.settings import SettingsError
from tests.builders import CIRCUIT, ENGINEER
from tests.world import Fleet, World

RELEASE = f"{CIRCUIT}:1"
PROJECT, PIPELINE, SECRET = "6a1d8b0c-1111-4222-8333-944455556666", "12", "0123456789abcdef0123456789abcdef"
WITH_SECRET = {"X-Hook-Secret": SECRET}


@pytest.fixture
def world() -> World:
    """A release whose first gate is asked by `run-1`."""
    world = World(Fleet(common=Rules(approval_channel=Channel.DEVOPS)))
    world.approvals.outside = True
    world.register()
    world.run(minutes=5)
    return world


def hooks(world: World, secret: str = SECRET) -> Hooks:
    return Hooks(world.app, PROJECT, PIPELINE, secret)


def hook(world: World, kind: str = "completed", **resource: Any) -> dict[str, Any]:
    """What Azure DevOps sends; `resource` replaces some of its fields."""
    return {
        "id": "7c8b1a5e-0000-4000-8000-000000000001",
        "eventType": f"ms.vss-pipelinechecks-events.approval-{kind}",
        "publisherId": "pipelines",
        "resource": {
            "approval": {"id": "0f8fad5b-d9cb-469f-a165-70867728950e", "status": "approved", "steps": None},
            "projectId": PROJECT,
            "pipeline": {"id": int(PIPELINE), "name": None},
            "run": {"id": "run-1"},
            "stage": None,
            **resource,
        },
        "resourceContainers": {"project": {"id": PROJECT}},
        "createdDate": world.now().isoformat(),
    }


def post(world: World, body: Any, headers: Mapping[str, str] = WITH_SECRET, secret: str = SECRET) -> func.HttpResponse:
    return answered(request(body, headers), lambda: hooks(world, secret))


def request(body: Any, headers: Mapping[str, str] = WITH_SECRET) -> func.HttpRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return func.HttpRequest("POST", "http://app.example/api/hooks/devops", headers=headers, body=raw)


def looks(world: World) -> list[str]:
    commands = [Work.from_json(message.text).command for message in world.queue.visible()]
    return [command.approval for command in commands if isinstance(command, LookAtGate)]


def letters(world: World) -> list[Mapping[str, Any]]:
    return [row.body for row in world.store.read_range("dead", "0", "~")]


@pytest.mark.parametrize("kind", ["completed", "pending"])
def test_a_hook_about_our_run_makes_us_look_and_no_more(world: World, kind: str) -> None:
    assert post(world, hook(world, kind)).status_code == 200
    assert looks(world) == [f"{RELEASE}:registry:1"]
    world.run(minutes=1)
    assert world.phase(RELEASE) == Phase.AWAITING_REGISTRY_APPROVAL, "that it says 'approved' is not believed"


def test_a_hook_leads_to_what_people_really_answered(world: World) -> None:
    world.approvals.asks[f"{RELEASE}:registry:1"] = [Ask(AskState.APPROVED, ENGINEER)]
    post(world, hook(world))
    world.run(minutes=1)
    assert "RegistryApproved" in world.story(RELEASE)


def test_fields_that_are_null_are_no_objection(world: World) -> None:
    empty = hook(world, approval=None, projectId=None, pipeline=None, stage=None)
    assert post(world, {**empty, "resourceContainers": None, "createdDate": None, "id": None}).status_code == 200
    assert len(looks(world)) == 1


def test_a_hook_that_names_no_run_makes_us_look_at_every_open_gate(world: World) -> None:
    assert post(world, hook(world, run=None)).status_code == 200
    assert post(world, {**hook(world), "resource": None}).status_code == 200
    assert looks(world) == [f"{RELEASE}:registry:1"] * 2


def test_basic_authentication_is_as_good_as_the_header(world: World) -> None:
    basic = base64.b64encode(f"devops:{SECRET}".encode()).decode()
    assert post(world, hook(world), {"Authorization": f"Basic {basic}"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Hook-Secret": ""},
        {"X-Hook-Secret": SECRET[:-1]},
        {"X-Hook-Secret": f"{SECRET}0"},
        {"X-Hook-Secret": "ünïcode"},
        {"Authorization": f"Bearer {SECRET}"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic " + base64.b64encode(f"{SECRET}:".encode()).decode()},
    ],
)
def test_who_does_not_know_the_secret_is_not_admitted_and_recorded(world: World, headers: dict[str, str]) -> None:
    assert post(world, hook(world), headers).status_code == 401
    assert [letter["source"] for letter in letters(world)] == [FORGED]
    assert not looks(world)


def test_without_a_secret_of_ours_nobody_is_admitted(world: World) -> None:
    assert post(world, hook(world), {"X-Hook-Secret": ""}, secret="").status_code == 503
    assert not hooks(world, "").admits({"X-Hook-Secret": ""})


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"eventType": "build.complete"}, "eventType"),
        ({"eventType": None}, "eventType"),
        ({"resource": {"projectId": "another"}}, "resource.projectId"),
        ({"resource": {}, "resourceContainers": {"project": {"id": "another"}}}, "resource.projectId"),
        ({"resource": {"pipeline": {"id": 13}}}, "resource.pipeline.id"),
        ({"resource": {"run": {"id": 4711}}}, "resource.run.id"),
        ({"resource": {"run": {"id": ["run-1"]}}}, "resource.run.id"),
        ({"createdDate": "2026-01-29T06:00:00Z"}, "createdDate"),
    ],
)
def test_a_foreign_or_replayed_hook_is_kept_and_the_subscription_goes_on(
    world: World, changed: dict[str, Any], field: str
) -> None:
    answer = post(world, {**hook(world), **changed})
    assert answer.status_code == 202
    assert field in json.loads(answer.get_body())["result"]
    (letter,) = letters(world)
    assert letter["source"] == SOURCE and letter["reason"].startswith(field)
    assert not looks(world)


@pytest.mark.parametrize("body", [b"", b"approved!", b"[1]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_hook_at_all_is_refused_and_recorded(world: World, body: bytes) -> None:
    assert post(world, body).status_code == 400
    assert len(letters(world)) == 1


def test_a_body_without_end_is_refused_and_kept_cut(world: World) -> None:
    assert post(world, b" " * (BODY_LIMIT + 1)).status_code == 413
    assert len(letters(world)) == 1


def test_an_old_hook_can_be_replayed_from_the_dead_letters_by_hand(world: World) -> None:
    world.clock.advance_to(world.now() + timedelta(hours=2))
    late = {**hook(world), "createdDate": (world.now() - timedelta(hours=2)).isoformat()}
    assert post(world, late).status_code == 202
    identity = world.store.read_range("dead", "0", "~")[0].key
    assert world.app.replay(identity, hooks(world).replayers(), "dora").result == "looking"
    with pytest.raises(Invalid):
        hooks(world).replayers()[SOURCE](hook(world, run={"id": 4711}))


def test_a_hook_that_cannot_be_stored_now_is_asked_for_again(world: World) -> None:
    world.queue.down = True
    answer = post(world, hook(world))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")
    world.queue.down = False
    assert post(world, hook(world)).status_code == 200
    assert len(looks(world)) == 1


def test_an_application_that_is_not_set_up_asks_for_the_hook_again() -> None:
    def broken() -> Hooks:
        raise SettingsError("LAKE_URI is missing")

    assert answered(request(b"{}"), broken).status_code == 503
