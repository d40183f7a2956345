"""A release whose gates people answer in Azure DevOps: the whole application, the real adapter, hooks and all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta

import azure.functions as func
import pytest

from functions.devops import answered
from shared.domain.release import Phase
from shared.domain.rules import Rules
from shared.domain.values import Channel, Gate
from shared.hooks import Hooks
from tests.azure_services.devops import PIPELINE, PROJECT, Approval, hook
from tests.builders import CIRCUIT, DIRECTOR, ENGINEER, SECOND_ENGINEER, TRAINER
from tests.contract.approvals.channels import BOTH, OnDevops
from tests.world import Fleet, World

RELEASE = f"{CIRCUIT}:1"
SECRET = "0123456789abcdef0123456789abcdef"
ONE = (("ML-Engineers",),)


class Place:
    """A world whose gates are asked in Azure DevOps, which posts its hooks to the function."""

    def __init__(self, devops: OnDevops, production: tuple[tuple[str, ...], ...]) -> None:
        self.devops = devops
        requirements = {Gate.REGISTRY: ONE, Gate.PRODUCTION: production}
        fleet = Fleet(common=Rules(approval_channel=Channel.DEVOPS, requirements=requirements))
        self.world = World(fleet, devops.store, approvals=devops.port)
        self.told: list[tuple[str, Approval]] = []
        self.statuses: list[int] = []
        devops.state.told = lambda kind, approval: self.told.append((kind, approval))

    def post_hooks(self) -> None:
        """Azure DevOps posts what it has to tell, with its own idea of the time."""
        told, self.told = self.told, []
        for kind, approval in told:
            body = hook(kind, approval, self.devops.state.runs[approval.run], self.world.now())
            request = func.HttpRequest(
                "POST",
                "https://app/api/hooks/devops",
                headers={"X-Hook-Secret": SECRET},
                body=json.dumps(body).encode(),
            )
            self.statuses.append(answered(request, self._hooks).status_code)
        self.world.run(minutes=1)

    def _hooks(self) -> Hooks:
        return Hooks(self.world.app, PROJECT, str(PIPELINE), SECRET)


Begin = Callable[..., Place]


@pytest.fixture
def begin(devops: OnDevops) -> Iterator[Begin]:
    """Begins a release whose registry gate is asked."""

    def place(production: tuple[tuple[str, ...], ...] = ONE) -> Place:
        made = Place(devops, production)
        made.world.commit()
        made.world.register()
        made.world.run(minutes=5)
        made.post_hooks()
        assert made.world.phase(RELEASE) == Phase.AWAITING_REGISTRY_APPROVAL
        return made

    yield place
    devops.azure.faults.switch_off()


def test_a_release_goes_to_production_on_what_people_answer_in_azure_devops(begin: Begin) -> None:
    place = begin(production=BOTH)
    place.devops.answer(ENGINEER, comment="fine")
    place.post_hooks()
    place.world.run(minutes=30)
    assert place.world.phase(RELEASE) == Phase.AWAITING_PRODUCTION_APPROVAL
    place.post_hooks()
    place.devops.answer(SECOND_ENGINEER)
    place.post_hooks()
    assert place.world.phase(RELEASE) == Phase.AWAITING_PRODUCTION_APPROVAL
    place.devops.answer(DIRECTOR)
    place.post_hooks()
    place.world.run(minutes=30)
    assert place.world.phase(RELEASE) in (Phase.OBSERVING, Phase.LIVE), place.world.story(RELEASE)
    assert set(place.statuses) == {200}
    assert {run.result for run in place.devops.state.runs.values()} == {"succeeded"}


def test_the_trainer_who_approves_is_asked_past_and_another_person_opens_the_gate(begin: Begin) -> None:
    place = begin()
    place.devops.answer(TRAINER)
    place.post_hooks()
    place.world.run(minutes=1)
    assert place.world.phase(RELEASE) == Phase.AWAITING_REGISTRY_APPROVAL
    assert len(place.devops.state.runs) == 2
    place.devops.answer(ENGINEER)
    place.post_hooks()
    assert "RegistryApproved" in place.world.events(RELEASE)


def test_a_newer_version_cancels_the_run_that_asks_for_the_older_one(begin: Begin) -> None:
    place = begin()
    place.world.register(version=2)
    place.world.run(minutes=5)
    assert place.world.phase(RELEASE) == Phase.SUPERSEDED
    first, second = place.devops.state.runs.values()
    assert (first.result, second.result) == ("canceled", None)
    place.post_hooks()
    assert place.world.phase(RELEASE) == Phase.SUPERSEDED


def test_a_rejection_without_any_hook_is_found_by_the_timer(begin: Begin) -> None:
    place = begin()
    place.devops.answer(ENGINEER, "rejected", "not yet")
    place.world.app.look_at_gates()
    place.world.run(minutes=1)
    assert place.world.phase(RELEASE) == Phase.REJECTED
    assert "not yet" in place.world.release(RELEASE).reason


def test_an_outage_of_azure_devops_costs_time_and_no_release(begin: Begin) -> None:
    place = begin()
    place.devops.break_down()
    place.devops.answer(ENGINEER)
    place.post_hooks()
    place.world.run(minutes=10)
    assert place.world.phase(RELEASE) == Phase.AWAITING_REGISTRY_APPROVAL
    place.devops.azure.faults.switch_off()
    place.world.app.look_at_gates()
    place.world.run(minutes=1)
    assert "RegistryApproved" in place.world.events(RELEASE)


def test_a_question_that_timed_out_in_azure_devops_ends_expired(begin: Begin, devops: OnDevops) -> None:
    place = begin()
    devops.azure.clock.advance(timedelta(minutes=1441))
    place.world.app.look_at_gates()
    place.world.run(minutes=1)
    assert (place.world.phase(RELEASE), place.world.events(RELEASE)[-1]) == (Phase.EXPIRED, "GateTimedOut")
