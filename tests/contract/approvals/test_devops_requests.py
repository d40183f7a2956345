"""Every request of the Azure DevOps adapter, held against Microsoft's definitions where there are any."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import Transient
from tests.azure_services.definitions import SPECS, devops
from tests.azure_services.devops import Devops, Graph
from tests.azure_services.server import Call, Fault, Logged
from tests.builders import DIRECTOR, ENGINEER
from tests.contract.approvals.channels import BOTH, DIGEST, OnDevops, approval_id, instructions

UNPROVEN = Path(__file__).parents[2] / "azure_services" / "unproven.txt"
SERVICES = (Devops.name, Graph.name)

needs_definitions = pytest.mark.skipif(not SPECS.is_dir(), reason="REFERENCE_DIR holds no REST definitions")


@pytest.fixture
def story(devops: OnDevops) -> Iterator[list[Logged]]:
    """The requests of gates that are asked, answered, looked at and withdrawn, and of one whose start was lost."""
    before = len(devops.azure.requests())
    production = devops.ask("production", BOTH)
    devops.answer(ENGINEER)
    devops.answer(DIRECTOR, "rejected", "too early")
    devops.port.look(production, DIGEST)
    devops.azure.faults.switch_on(Fault("lose", method="POST", status=504))
    with pytest.raises(Transient):
        devops.ask()
    devops.ask()
    devops.port.look(approval_id(), DIGEST)
    devops.port.withdraw(approval_id(), "superseded")
    yield devops.azure.requests()[before:]


def test_the_story_has_every_operation_that_the_services_know(devops: OnDevops, story: list[Logged]) -> None:
    known = {
        f"{endpoint.method} {service.name}{endpoint.path}"
        for service in devops.services
        for endpoint in service.endpoints()
    }
    assert known == {logged.operation for logged in story if logged.call.service in SERVICES}


@needs_definitions
def test_every_request_is_as_microsoft_defines_it(story: list[Logged]) -> None:
    problems = {logged.operation: found for logged in story if (found := devops_problems(logged.call))}
    assert problems == {}


@needs_definitions
def test_the_calls_that_no_definition_proves_are_those_that_are_listed(story: list[Logged]) -> None:
    called = [logged for logged in story if logged.call.service in SERVICES]
    lines = UNPROVEN.read_text(encoding="utf-8").splitlines()
    listed = [line for line in lines if line.split(" ", 1)[-1].split("/")[0] in SERVICES]
    assert sorted({logged.operation for logged in called if devops_problems(logged.call) is None}) == sorted(listed)


@needs_definitions
def test_a_request_that_the_definition_does_not_allow_is_refused_here_as_well(devops: OnDevops) -> None:
    """The server would not notice a wrong adapter otherwise."""
    asked = instructions()
    devops.port.request(approval_id(), asked)
    (start,) = devops.azure.requests("devops", "POST", "/runs$")[-1:]
    wrong = Call(**{**vars(start.call), "body": {"templateParameter": {}}})
    assert devops_problems(wrong) == ["Runs_Run Pipeline: body.templateParameter is unknown"]


def devops_problems(call: Call) -> list[str] | None:
    return devops().problems(call)
