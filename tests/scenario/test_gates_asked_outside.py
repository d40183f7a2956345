"""Gates that are asked outside the product: what each answer there does, who tells of it, and what nobody answered."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shared.domain.machine import Verdict
from shared.domain.messages import Person
from shared.domain.release import Phase
from shared.domain.rules import Rules
from shared.domain.values import AskState, Channel, Gate
from shared.ports import Ask
from tests.builders import CIRCUIT, DIRECTOR, ENGINEER, SECOND_ENGINEER, STRANGER, TRAINER, person
from tests.world import Fleet, World

RELEASE = f"{CIRCUIT}:1"
FIRST = f"{RELEASE}:registry:1"
SECOND = f"{RELEASE}:registry:2"


def asked(requirement: tuple[tuple[str, ...], ...] = (("ML-Engineers",),)) -> World:
    """A release whose first gate is asked outside."""
    gates = {Gate.REGISTRY: requirement, Gate.PRODUCTION: requirement}
    world = World(Fleet(common=Rules(approval_channel=Channel.DEVOPS, requirements=gates)))
    world.approvals.outside = True
    world.register()
    world.run(minutes=5)
    assert world.phase(RELEASE) == Phase.AWAITING_REGISTRY_APPROVAL
    return world


def told(world: World, approval: str, *asks: Ask, run: str = "run-1") -> None:
    """People answered outside, and the system that asked tells of its run."""
    world.approvals.asks[approval] = list(asks)
    world.tell(lambda app: app.look_at_run(run))
    world.run(minutes=1)


def yes(person: Person) -> Ask:
    return Ask(AskState.APPROVED, person, "fine")


def events(world: World) -> list[str]:
    return [str(line["event"]) for line in world.history(CIRCUIT, RELEASE)]


def test_an_approval_given_outside_leads_on() -> None:
    world = asked()
    told(world, FIRST, yes(ENGINEER))
    assert "RegistryApproved" in events(world)
    assert world.phase(RELEASE) not in (Phase.AWAITING_REGISTRY_APPROVAL, Phase.ERRORED)


def test_a_person_is_told_where_a_gate_is_answered_and_cannot_answer_it_in_the_product() -> None:
    world = asked()
    approval = world.release(RELEASE).approval
    assert approval is not None and approval.asked_at == "https://asking/run-1"
    refused = world.answer(RELEASE, ENGINEER)
    assert (refused.verdict, refused.code) == (Verdict.REFUSED, "elsewhere")
    assert "https://asking/run-1" in refused.reason


def test_a_run_of_somebody_else_is_not_looked_at() -> None:
    world = asked()
    assert world.app.look_at_run("run-99") is False


@pytest.mark.parametrize(
    ("ask", "phase", "event"),
    [
        (Ask(AskState.REJECTED, ENGINEER, "no"), Phase.REJECTED, "ApprovalRejected"),
        (Ask(AskState.TIMED_OUT), Phase.EXPIRED, "GateTimedOut"),
        (Ask(AskState.CANCELLED), Phase.CANCELLED, "GateCancelled"),
        (Ask(AskState.SKIPPED), Phase.ERRORED, "GateSkipped"),
    ],
    ids=lambda value: value.state if isinstance(value, Ask) else "",
)
def test_each_way_not_to_be_approved_is_an_end_of_its_own(ask: Ask, phase: Phase, event: str) -> None:
    world = asked()
    told(world, FIRST, ask)
    assert (world.phase(RELEASE), events(world)[-1]) == (phase, event)
    assert FIRST in world.approvals.withdrawn


def test_a_deferred_yes_is_recorded_once_and_counts_when_its_time_has_come() -> None:
    world = asked()
    deferred = Ask(AskState.DEFERRED, ENGINEER, until=world.now() + timedelta(hours=2))
    for _ in range(3):
        told(world, FIRST, deferred)
    assert world.phase(RELEASE) == Phase.AWAITING_REGISTRY_APPROVAL
    assert events(world).count("AnswerDeferred") == 1
    told(world, FIRST, yes(ENGINEER))
    assert "RegistryApproved" in events(world)


def test_a_hook_that_never_comes_is_made_up_for_by_the_timer() -> None:
    world = asked()
    world.approvals.asks[FIRST] = [yes(ENGINEER)]
    assert world.app.look_at_gates() == 1
    world.run(minutes=1)
    assert "RegistryApproved" in events(world)


def test_an_answer_that_nobody_told_of_is_found_before_time_is_called() -> None:
    world = asked()
    world.approvals.asks[FIRST] = [yes(ENGINEER)]
    world.run(hours=25)
    assert "RegistryApproved" in events(world) and "DeadlinePassed" not in events(world)


def test_a_gate_nobody_answered_outside_expires_and_is_withdrawn_there() -> None:
    world = asked()
    world.approvals.asks[FIRST] = [Ask(AskState.PENDING)]
    world.run(hours=25)
    assert world.phase(RELEASE) == Phase.EXPIRED
    assert FIRST in world.approvals.withdrawn


def test_a_hook_told_many_times_has_one_effect() -> None:
    world = asked()
    for _ in range(4):
        told(world, FIRST, yes(ENGINEER))
    assert events(world).count("RegistryApproved") == 1


def test_the_trainers_own_yes_is_recorded_and_others_are_asked_again() -> None:
    world = asked()
    told(world, FIRST, yes(TRAINER))
    assert world.phase(RELEASE) == Phase.AWAITING_REGISTRY_APPROVAL
    assert "AnswerUsedUp" in events(world)
    assert FIRST in world.approvals.withdrawn and SECOND in world.approvals.open
    told(world, FIRST, yes(ENGINEER), run="run-1")
    assert "RegistryApproved" not in events(world), "the old run's answers open nothing"
    told(world, SECOND, yes(ENGINEER), run="run-2")
    assert "RegistryApproved" in events(world)


def test_both_groups_must_say_yes_and_one_no_ends_it() -> None:
    both = (("ML-Engineers",), ("Engineering-Managers",))
    world = asked(both)
    told(world, FIRST, yes(ENGINEER), Ask(AskState.PENDING))
    assert world.phase(RELEASE) == Phase.AWAITING_REGISTRY_APPROVAL
    told(world, FIRST, yes(ENGINEER), yes(DIRECTOR))
    assert "RegistryApproved" in events(world)

    world = asked(both)
    told(world, FIRST, yes(ENGINEER), Ask(AskState.REJECTED, DIRECTOR))
    assert world.phase(RELEASE) == Phase.REJECTED


def test_two_answers_that_nobody_told_of_are_both_taken_at_the_deadline() -> None:
    world = asked((("ML-Engineers",), ("Engineering-Managers",)))
    world.approvals.asks[FIRST] = [yes(SECOND_ENGINEER), yes(DIRECTOR)]
    world.run(hours=25)
    assert "RegistryApproved" in events(world)


def test_an_approver_outside_the_groups_of_the_policy_is_a_wrong_set_up_and_said_so() -> None:
    world = asked()
    told(world, FIRST, yes(STRANGER))
    release = world.release(RELEASE)
    assert release.phase == Phase.ERRORED
    assert "the policy asks ML-Engineers" in release.reason


def test_one_person_cannot_answer_for_both_groups_and_another_is_asked_again() -> None:
    world = asked((("ML-Engineers",), ("Engineering-Managers",)))
    for_one, for_other = person("bo", "ML-Engineers"), person("bo", "Engineering-Managers")
    told(world, FIRST, yes(for_one), yes(for_other))
    assert world.phase(RELEASE) == Phase.AWAITING_REGISTRY_APPROVAL
    assert "AnswerUsedUp" in events(world) and SECOND in world.approvals.open


def test_an_outage_of_what_asks_ends_no_release_and_the_timer_finds_the_answer_afterwards() -> None:
    world = asked()
    world.approvals.down = True
    for _ in range(8):
        world.app.look_at_gates()
        world.run(minutes=30)
    assert world.phase(RELEASE) == Phase.AWAITING_REGISTRY_APPROVAL
    world.approvals.down = False
    world.approvals.asks[FIRST] = [yes(ENGINEER)]
    world.app.look_at_gates()
    world.run(minutes=1)
    assert "RegistryApproved" in events(world)
