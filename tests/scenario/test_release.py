"""A release's way to production, told as histories: from registered to live, and every other end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from shared.domain import messages as m
from shared.domain.machine import Verdict
from shared.domain.release import Phase
from shared.domain.rules import Rules
from shared.domain.values import Pair, Stage
from shared.errors import Transient
from tests.builders import (
    CIRCUIT,
    DIRECTOR,
    ENGINEER,
    STRANGER,
    TRAINER,
    decided,
    model_tags,
    registered,
)
from tests.simulated import (
    FAILS,
    HANGS,
    NOT_TOLD,
    PRODUCTION_DEPLOYMENT,
    PROMOTION,
    SCORING,
    TEST_DEPLOYMENT,
    TEST_INFERENCE,
    UNUSABLE,
    Fate,
    Killed,
)
from tests.world import Fleet, World

FIRST, SECOND, THIRD = f"{CIRCUIT}:1", f"{CIRCUIT}:2", f"{CIRCUIT}:3"
OPERATIONS = (PROMOTION, TEST_DEPLOYMENT, TEST_INFERENCE, PRODUCTION_DEPLOYMENT)
V1, V2 = (Pair(model=version, environment="1.0.0") for version in (1, 2))

THE_WAY = [
    "ModelRegistered",
    "ModelDescribed",
    "ApprovalRequested",
    "RegistryApproved",
    "OperationStarted",
    "ModelPromoted",
    "OperationStarted",
    "DeployedToTest",
    "OperationStarted",
    "TestInferenceValidated",
    "ApprovalRequested",
    "ProductionApproved",
    "OperationStarted",
    "DeployedToProduction",
    "ObservationPassed",
]


def milestones(world: World, release: str) -> list[str]:
    return [event for event in world.events(release) if event != "StillRunning"]


# ------------------------------------------------------------------------------------------- to the end, on real tables


def test_a_release_goes_from_registered_to_live(azure_world: World) -> None:
    world = azure_world
    world.commit()
    world.register(version=1)
    world.run(minutes=1)
    assert world.phase(FIRST) == Phase.AWAITING_REGISTRY_APPROVAL
    world.approve(FIRST, by=ENGINEER)
    world.run(minutes=20)
    assert world.phase(FIRST) == Phase.AWAITING_PRODUCTION_APPROVAL
    assert world.circuit().test_owner == world.circuit().production_owner == ""
    world.approve(FIRST, by=DIRECTOR)
    world.run(minutes=20)

    assert world.phase(FIRST) == Phase.LIVE
    assert milestones(world, FIRST) == THE_WAY
    circuit = world.circuit()
    assert circuit.desired == circuit.serving == circuit.verified == V1
    deployed = world.platform.deployed(Stage.PRODUCTION, CIRCUIT)
    assert deployed is not None and deployed.pair == V1
    assert list(world.lake.published) == [(CIRCUIT, "2026-01-30")]
    assert world.topic.alerts() == {} and not world.dead_letters()


def test_every_event_told_five_times_and_late_has_one_effect(azure_world: World) -> None:
    world = azure_world
    world.commit(hints=5)
    world.platform.models[CIRCUIT, 1] = model_tags()
    for minutes in (0, 0, 1, 40, 90):
        world.told(registered(), after=timedelta(minutes=minutes))
    world.fate(TEST_INFERENCE, Fate(events=5, event_late=1))
    world.run(minutes=1)
    for gate in ("registry", "production"):
        approval = world.release(FIRST).approval
        assert approval is not None and approval.gate == gate
        answers = [world.answer(FIRST)]
        again = [world.app.advance(decided(approval.id, approval.digest)) for _ in range(4)]
        assert [answer.verdict for answer in answers] == [Verdict.APPLIED]
        assert all(answer.duplicate for answer in again)
        world.run(minutes=30)
    world.run(hours=2)
    assert world.phase(FIRST) == Phase.LIVE
    assert milestones(world, FIRST) == THE_WAY
    assert len(world.releases()) == 1
    assert sorted(operation.purpose for operation in world.operations.started.values()) == sorted(
        [*OPERATIONS, SCORING]
    )


# -------------------------------------------------------------------------------------------------------- newer, older


def _stop_at(world: World, phase: Phase) -> None:
    """Bring version 1 to a phase and leave it there."""
    stuck = {
        Phase.PROMOTING: PROMOTION,
        Phase.DEPLOYING_TO_TEST: TEST_DEPLOYMENT,
        Phase.TESTING: TEST_INFERENCE,
    }
    if phase in stuck:
        world.fate(stuck[phase], Fate(minutes=50))
    world.register(version=1, tags={} if phase is Phase.REGISTERED else None)
    world.run(minutes=5)
    if phase in (Phase.PROMOTING, Phase.DEPLOYING_TO_TEST, Phase.TESTING, Phase.AWAITING_PRODUCTION_APPROVAL):
        world.approve(FIRST)
        world.run(minutes=20)
    assert world.phase(FIRST) == phase


@pytest.mark.parametrize(
    "phase",
    [
        Phase.REGISTERED,
        Phase.AWAITING_REGISTRY_APPROVAL,
        Phase.PROMOTING,
        Phase.DEPLOYING_TO_TEST,
        Phase.TESTING,
        Phase.AWAITING_PRODUCTION_APPROVAL,
    ],
)
def test_a_newer_version_supersedes_one_that_is_not_ready_yet(world: World, phase: Phase) -> None:
    _stop_at(world, phase)
    asked = world.release(FIRST).approval
    world.register(version=2)
    world.run(minutes=2)
    old = world.release(FIRST)
    assert (old.phase, old.successor) == (Phase.SUPERSEDED, SECOND)
    assert world.phase(SECOND) == Phase.AWAITING_REGISTRY_APPROVAL
    if phase in (Phase.AWAITING_REGISTRY_APPROVAL, Phase.AWAITING_PRODUCTION_APPROVAL):
        assert asked is not None and asked.id in world.approvals.withdrawn
        late = world.app.advance(decided(asked.id, asked.digest))
        assert (late.verdict, late.code) == (Verdict.REFUSED, "closed")
    if phase is Phase.TESTING:
        assert not world.operations.running(TEST_INFERENCE), "the job of a superseded test is stopped"
    assert world.circuit().test_owner == ""

    world.approve(SECOND)
    world.run(hours=1, minutes=30)
    world.approve(SECOND)
    world.run(minutes=20)
    assert world.circuit().serving == V2, world.story(SECOND)


def test_a_newer_version_supersedes_one_that_waits_at_ready(world: World) -> None:
    world.bring_to_production(1)
    world.bring_to_ready_for_production(2)
    world.approve(SECOND)
    assert world.phase(SECOND) == Phase.READY
    world.register(version=3)
    world.run(minutes=1)
    assert (world.phase(FIRST), world.phase(SECOND)) == (Phase.OBSERVING, Phase.SUPERSEDED)
    assert world.circuit().production_owner == FIRST


def test_a_newer_version_waits_at_ready_behind_one_that_is_being_deployed_and_is_asked_again(world: World) -> None:
    """What serves changes under it, so its approval is void: it was compared with another champion."""
    world.fate(PRODUCTION_DEPLOYMENT, Fate(minutes=110))
    world.bring_to_ready_for_production(1)
    world.approve(FIRST)
    world.run(minutes=1)
    world.bring_to_ready_for_production(2)
    world.approve(SECOND)
    assert (world.phase(FIRST), world.phase(SECOND)) == (Phase.DEPLOYING_TO_PRODUCTION, Phase.READY)
    world.commit()
    world.run(hours=2)
    assert world.phase(FIRST) == Phase.LIVE
    assert world.phase(SECOND) == Phase.AWAITING_PRODUCTION_APPROVAL
    again = world.release(SECOND)
    assert again.champion == V1 and again.approval is not None and not again.approval.answers
    world.approve(SECOND)
    world.run(minutes=20)
    assert world.circuit().serving == V2


def test_a_newer_version_is_deployed_when_the_one_before_it_fails_to(world: World) -> None:
    """Nothing came to serve meanwhile, so what was approved still holds."""
    world.fate(PRODUCTION_DEPLOYMENT, Fate(minutes=60, state=FAILS.state, events=0))
    world.bring_to_ready_for_production(1)
    world.approve(FIRST)
    world.bring_to_ready_for_production(2)
    world.approve(SECOND)
    assert world.phase(SECOND) == Phase.READY
    world.run(hours=2)
    assert world.phase(FIRST) == Phase.ERRORED
    assert world.circuit().serving == V2
    assert "ProductionFreed" in world.events(SECOND)


def test_a_newer_version_waits_at_ready_behind_one_that_is_observed(world: World) -> None:
    world.bring_to_production(1)
    assert world.phase(FIRST) == Phase.OBSERVING
    world.bring_to_ready_for_production(2)
    world.approve(SECOND)
    world.run(hours=1)
    assert (world.phase(FIRST), world.phase(SECOND)) == (Phase.OBSERVING, Phase.READY)
    world.commit()
    world.run(minutes=20)
    assert world.phase(FIRST) == Phase.LIVE
    assert world.circuit().serving == V2, "the champion is the one it was approved against, so it goes on"


def test_an_older_version_after_a_newer_one_ends_superseded_at_once(world: World) -> None:
    world.register(version=2)
    world.run(minutes=1)
    world.register(version=1)
    world.run(minutes=1)
    old = world.release(FIRST)
    assert (old.phase, old.successor) == (Phase.SUPERSEDED, SECOND)
    assert world.events(FIRST) == ["OlderModelRegistered"]
    assert not [asked for asked in world.approvals.asked if asked.startswith(FIRST)]


def test_a_forged_version_far_above_supersedes_nothing_and_blocks_no_later_one(world: World) -> None:
    """Its event names a version that the platform has never heard of."""
    world.bring_to_ready_for_production(1)
    world.told(m.ModelRegistered(root=CIRCUIT, version=999_999, workspace="dev"))
    world.run(minutes=1)
    assert world.phase(FIRST) == Phase.AWAITING_PRODUCTION_APPROVAL
    assert world.phase(f"{CIRCUIT}:999999") == Phase.REGISTERED
    world.bring_to_ready_for_production(2)
    assert (world.phase(FIRST), world.phase(SECOND)) == (Phase.SUPERSEDED, Phase.AWAITING_PRODUCTION_APPROVAL)
    world.approve(SECOND)
    world.run(minutes=20)
    assert world.circuit().serving == V2, world.story(SECOND)
    assert world.phase(f"{CIRCUIT}:999999") == Phase.FAILED, "its tags never came, and somebody is told"


# ------------------------------------------------------------------------------------------- champion, evidence, again


def test_a_champion_that_changes_voids_an_open_production_gate(world: World) -> None:
    world.fate(PRODUCTION_DEPLOYMENT, Fate(minutes=110))
    world.bring_to_ready_for_production(1)
    world.approve(FIRST)
    world.bring_to_ready_for_production(2)
    read = world.release(SECOND).approval
    assert read is not None and read.evidence["champion"] is None
    world.run(hours=2)
    assert world.circuit().serving == V1
    late = world.app.advance(decided(read.id, read.digest))
    assert late.verdict is Verdict.REFUSED
    asked = world.release(SECOND).approval
    assert asked is not None and asked.evidence["champion"]["model"] == 1
    assert read.id in world.approvals.withdrawn and asked.id in world.approvals.open


def test_a_champion_that_changes_voids_an_open_registry_gate_too(world: World) -> None:
    world.fate(PRODUCTION_DEPLOYMENT, Fate(minutes=30))
    world.bring_to_ready_for_production(1)
    world.approve(FIRST)
    world.register(version=2)
    world.run(minutes=5)
    read = world.release(SECOND).approval
    assert read is not None and read.evidence["champion"] is None
    world.run(minutes=40)
    asked = world.release(SECOND).approval
    assert world.phase(SECOND) == Phase.AWAITING_REGISTRY_APPROVAL
    assert asked is not None and asked.evidence["champion"]["model"] == 1
    assert world.app.advance(decided(read.id, read.digest)).code == "closed"


def test_the_same_version_again_with_the_same_tags_changes_nothing(world: World) -> None:
    world.register()
    world.run(minutes=1)
    before = world.release(FIRST).approval
    world.register(digest="told in other words")
    world.run(minutes=1)
    after = world.release(FIRST)
    assert before is not None and after.approval is not None
    assert (after.approval.id, after.approval.digest) == (before.id, before.digest)
    assert world.approvals.asked == {before.id: 1} and len(world.releases()) == 1


def test_the_same_version_again_with_other_tags_is_asked_again_with_new_evidence(world: World) -> None:
    world.register()
    world.run(minutes=1)
    before = world.release(FIRST).approval
    world.register(tags=model_tags(mae="0.09"), digest="other")
    world.run(minutes=1)
    after = world.release(FIRST).approval
    assert before is not None and after is not None
    assert before.digest != after.digest and after.evidence["candidate"]["metrics"]["mae"] == 0.09
    assert before.id in world.approvals.withdrawn and after.id in world.approvals.open
    assert len(world.releases()) == 1


def test_tags_that_change_after_approval_change_nothing(world: World) -> None:
    world.register()
    world.run(minutes=1)
    world.approve(FIRST)
    world.register(tags=model_tags(mae="0.01"), digest="other")
    world.run(minutes=30)
    assert world.release(FIRST).tags["mae"] == "0.11"


def test_tags_may_follow_the_event(world: World) -> None:
    world.register(tags={})
    world.run(minutes=3)
    assert world.phase(FIRST) == Phase.REGISTERED
    world.platform.models[CIRCUIT, 1] = model_tags()
    world.run(minutes=6)
    assert world.phase(FIRST) == Phase.AWAITING_REGISTRY_APPROVAL


def test_a_model_whose_tags_never_come_fails_and_names_them(world: World) -> None:
    world.register(tags=model_tags(mae="", pr_author=""))
    world.run(minutes=20)
    assert world.phase(FIRST) == Phase.FAILED
    assert world.release(FIRST).reason == "the model's tags never came: pr_author, mae"
    assert list(world.topic.alerts().values()) == [world.release(FIRST).reason]


@pytest.mark.parametrize("tag", ["target_min", "forecast_horizon", "environment_version"])
def test_a_model_that_nothing_can_be_held_against_is_never_asked_about(world: World, tag: str) -> None:
    world.register(tags=model_tags(**{tag: ""}))  # type: ignore[arg-type]
    world.run(minutes=20)
    assert world.release(FIRST).reason == f"the model's tags never came: {tag}"
    assert not world.approvals.asked


def test_a_rejected_version_told_again_stays_rejected(world: World) -> None:
    world.register()
    world.run(minutes=1)
    answer = world.answer(FIRST, decision="reject")
    assert answer.verdict is Verdict.APPLIED
    world.run(hours=25)
    rows = world.rows()
    world.register(digest="first")
    world.register(digest="told again", tags=model_tags(mae="0.01"))
    world.run(hours=1)
    assert world.phase(FIRST) == Phase.REJECTED
    assert f"rejected by {ENGINEER.username}" in world.release(FIRST).reason
    assert world.rows() == rows
    assert not world.approvals.open


# -------------------------------------------------------------------------------------------------------- decisions


def test_the_trainer_cannot_open_a_gate_alone(world: World) -> None:
    world.register()
    world.run(minutes=1)
    world.approve(FIRST, by=TRAINER)
    assert world.phase(FIRST) == Phase.AWAITING_REGISTRY_APPROVAL
    (recorded,) = [line for line in world.history(CIRCUIT, FIRST) if line["event"] == "ApprovalCounted"]
    assert recorded["detail"]["counts"] is False and "trained" in recorded["detail"]["note"]
    assert world.answer(FIRST, by=STRANGER).code == "forbidden"
    assert world.answer(FIRST, by=DIRECTOR).code == "forbidden", "the registry asks engineers only"
    world.approve(FIRST, by=ENGINEER)
    assert world.phase(FIRST) == Phase.PROMOTING


def test_a_trainer_may_reject_their_own_model(world: World) -> None:
    world.register()
    world.run(minutes=1)
    world.answer(FIRST, by=TRAINER, decision="reject")
    assert world.phase(FIRST) == Phase.REJECTED


def test_a_gate_that_asks_two_groups_waits_for_both(worlds: Callable[..., World]) -> None:
    both = {gate: (("ML-Engineers",), ("Engineering-Managers",)) for gate in Rules().requirements}
    world = worlds(fleet=Fleet(common=Rules(requirements=both)))
    world.register()
    world.run(minutes=1)
    world.approve(FIRST, by=ENGINEER)
    assert world.phase(FIRST) == Phase.AWAITING_REGISTRY_APPROVAL
    world.approve(FIRST, by=DIRECTOR)
    assert world.phase(FIRST) == Phase.PROMOTING


# -------------------------------------------------------------------------------------------------- time and machinery


@pytest.mark.parametrize("gate", ["registry", "production"])
def test_nobody_answers_for_24_hours_and_the_release_expires(world: World, gate: str) -> None:
    if gate == "registry":
        world.register()
        world.run(minutes=1)
    else:
        world.bring_to_ready_for_production()
    asked = world.release(FIRST)
    assert asked.deadline is not None and asked.approval is not None
    world.run_until(asked.deadline - timedelta(seconds=1))
    assert world.phase(FIRST) == asked.phase
    world.run(minutes=1)
    assert world.phase(FIRST) == Phase.EXPIRED
    assert world.release(FIRST).since == asked.since + timedelta(hours=24)
    assert asked.approval.id in world.approvals.withdrawn
    assert world.app.advance(decided(asked.approval.id, asked.approval.digest)).code == "closed"


def test_a_gate_that_is_asked_again_has_24_hours_of_its_own(world: World) -> None:
    world.register()
    world.run(hours=20)
    world.register(tags=model_tags(mae="0.09"), digest="other")
    world.run(hours=23)
    assert world.phase(FIRST) == Phase.AWAITING_REGISTRY_APPROVAL
    world.run(hours=2)
    assert world.phase(FIRST) == Phase.EXPIRED


@pytest.mark.parametrize(
    ("purpose", "phase", "hours"),
    [
        (PROMOTION, Phase.PROMOTING, 1),
        (TEST_DEPLOYMENT, Phase.DEPLOYING_TO_TEST, 2),
        (TEST_INFERENCE, Phase.TESTING, 2),
        (PRODUCTION_DEPLOYMENT, Phase.DEPLOYING_TO_PRODUCTION, 2),
    ],
)
def test_work_that_hangs_is_ended_at_its_deadline(world: World, purpose: str, phase: Phase, hours: int) -> None:
    world.fate(purpose, HANGS)
    world.register()
    world.run(minutes=1)
    world.approve(FIRST)
    world.run(minutes=20)
    if phase is Phase.DEPLOYING_TO_PRODUCTION:
        world.approve(FIRST)
    since = world.release(FIRST).since
    assert world.phase(FIRST) == phase
    world.run_until(since + timedelta(hours=hours, minutes=-1))
    assert world.phase(FIRST) == phase
    world.run(minutes=2)
    ended = world.release(FIRST)
    assert ended.phase == Phase.ERRORED
    assert ended.reason == f"nothing ended '{phase}' before its deadline"
    left = [PROMOTION, TEST_DEPLOYMENT, PRODUCTION_DEPLOYMENT]
    running = [operation.purpose for operation in world.operations.running()]
    assert running == [kind for kind in left if kind == purpose], "a job is cancelled, nothing else can be"
    assert world.circuit().test_owner == world.circuit().production_owner == ""
    assert world.circuit().desired == world.circuit().serving is None
    assert ended.reason in world.topic.alerts().values()
    world.run(minutes=6)
    assert world.app.slots.holders("invocation") == []


@pytest.mark.parametrize("purpose", OPERATIONS)
def test_work_that_breaks_ends_the_release_errored_and_says_so(world: World, purpose: str) -> None:
    world.fate(purpose, FAILS)
    world.register()
    world.run(minutes=1)
    world.approve(FIRST)
    world.run(minutes=20)
    if purpose == PRODUCTION_DEPLOYMENT:
        world.approve(FIRST)
        world.run(minutes=20)
    assert world.phase(FIRST) == Phase.ERRORED
    assert "broke" in world.release(FIRST).reason
    assert len(world.topic.alerts()) == 1


def test_unusable_test_predictions_fail_the_release(world: World) -> None:
    world.fate(TEST_INFERENCE, UNUSABLE)
    world.register()
    world.run(minutes=1)
    world.approve(FIRST)
    world.run(minutes=20)
    assert world.phase(FIRST) == Phase.FAILED
    assert world.release(FIRST).reason == "test inference: every value is missing"
    assert not world.operations.running() and world.circuit().test_owner == ""


def test_a_job_whose_event_never_comes_is_found_by_the_look(world: World) -> None:
    world.fate(TEST_INFERENCE, NOT_TOLD)
    world.bring_to_ready_for_production()
    (found,) = [h for h in world.history(CIRCUIT, FIRST) if h["event"] == "TestInferenceValidated"]
    assert found["detail"]["noticed_by"] == "reconciler"


def test_a_jobs_event_only_makes_the_look_earlier(world: World) -> None:
    world.fate(TEST_INFERENCE, Fate(minutes=0.5))
    world.bring_to_ready_for_production()
    (found,) = [h for h in world.history(CIRCUIT, FIRST) if h["event"] == "TestInferenceValidated"]
    assert found["detail"]["noticed_by"] == "event"
    assert not world.app.look_at_job("a job that is none of ours")


def test_a_release_is_observed_until_it_has_scored_as_often_as_the_policy_asks(worlds: Callable[..., World]) -> None:
    world = worlds(fleet=Fleet(common=Rules(verified_scorings=3)))
    world.bring_to_production()
    for day in range(3):
        assert world.phase(FIRST) == Phase.OBSERVING, day
        assert world.circuit().verified is None
        world.run_until(world.at(hour=6, day=1))
        world.commit()
        world.run(minutes=30)
    assert world.phase(FIRST) == Phase.LIVE
    assert world.events(FIRST).count("ObservationCounted") == 2
    assert world.circuit().verified == V1


def test_people_hear_of_an_observation_that_does_not_end_and_again_every_week(world: World) -> None:
    world.bring_to_production()
    world.run(days=10)
    assert world.phase(FIRST) == Phase.OBSERVING
    assert world.topic.notices(f"observation:{CIRCUIT}") == ["raised", "repeated"]
    world.commit()
    world.run(minutes=30)
    assert world.phase(FIRST) == Phase.LIVE


# ------------------------------------------------------------------------------------------------------------- crashes


def test_a_crash_between_the_deployment_and_the_circuit_row_is_finished_from_what_is_deployed(world: World) -> None:
    world.bring_to_ready_for_production()
    world.approve(FIRST)
    world.run(minutes=1)
    circuit = world.circuit()
    assert (circuit.desired, circuit.serving) == (V1, None), "`desired` says what is meant"
    world.effects.interrupt = _die_once(world, "before MemoryStateStore.commit", when=lambda: _deployed(world))
    died_in = world.app
    world.run(minutes=30)
    assert world.app is not died_in
    assert world.circuit().serving == V1
    assert world.events(FIRST).count("DeployedToProduction") == 1
    assert len([o for o in world.operations.started.values() if o.purpose == PRODUCTION_DEPLOYMENT]) == 1


@pytest.mark.parametrize(
    "down_for", [timedelta(minutes=90), timedelta(hours=5)], ids=["an outage", "past the deadline"]
)
@pytest.mark.parametrize("forgotten", [False, True], ids=["", "and the operation is forgotten"])
def test_an_outage_in_the_middle_of_a_deployment_ends_with_what_is_deployed(
    world: World, down_for: timedelta, forgotten: bool
) -> None:
    world.bring_to_ready_for_production()
    world.approve(FIRST)
    world.run(minutes=1)
    world.clock.advance_to(world.now() + down_for)
    assert _deployed(world)
    if forgotten:
        world.operations.started.clear()
    world.run(minutes=10)
    assert world.phase(FIRST) == Phase.OBSERVING, world.story(FIRST)
    assert world.circuit().serving == V1


def _deployed(world: World) -> bool:
    return world.platform.deployed(Stage.PRODUCTION, CIRCUIT) is not None


def _die_once(world: World, where: str, when: Callable[[], bool]) -> Callable[[str], None]:
    def interrupt(point: str) -> None:
        if point == where and when():
            world.effects.interrupt = lambda point: None
            raise Killed(point)

    return interrupt


def test_a_command_that_fails_on_every_delivery_becomes_a_dead_letter_and_an_end(world: World) -> None:
    def broken(point: str) -> None:
        if point == "before SimulatedPlatform.start_promotion":
            raise RuntimeError("a defect")

    world.register()
    world.run(minutes=1)
    world.effects.interrupt = broken
    world.approve(FIRST)
    world.run(hours=1)
    assert world.phase(FIRST) == Phase.ERRORED
    (letter,) = world.dead_letters()
    assert letter.body["source"] == "work" and "PromoteModel" in str(letter.body["body"])
    assert len(world.crashes) == 5
    world.crashes.clear()


def test_an_outage_of_the_platform_costs_time_and_not_the_release(world: World) -> None:
    back = world.now() + timedelta(minutes=45)

    def down(point: str) -> None:
        if point.startswith("before SimulatedPlatform.start") and world.now() < back:
            raise Transient("the platform answers 503")

    world.effects.interrupt = down
    world.register()
    world.run(minutes=1)
    world.approve(FIRST)
    world.run(hours=2)
    assert world.phase(FIRST) == Phase.AWAITING_PRODUCTION_APPROVAL
    assert not world.dead_letters()


def test_an_alert_that_cannot_be_sent_does_not_change_what_it_is_about(world: World) -> None:
    def broken(point: str) -> None:
        if point == "before SimulatedTopic.publish":
            raise RuntimeError("a defect")

    world.bring_to_production()
    world.effects.interrupt = broken
    world.run(days=3)
    assert world.phase(FIRST) == Phase.OBSERVING
    assert len(world.dead_letters()) == 1
    world.crashes.clear()


def test_nobody_is_left_asked_when_a_newer_version_comes_while_the_question_goes_out(world: World) -> None:
    def overtaken(point: str) -> None:
        if point == "before SimulatedApprovals.request":
            world.effects.interrupt = lambda point: None
            world.register(version=2)
            world.run(minutes=5)

    world.effects.interrupt = overtaken
    world.register(version=1)
    world.run(minutes=10)
    assert world.phase(FIRST) == Phase.SUPERSEDED
    assert [asked.rsplit(":", 2)[0] for asked in world.approvals.open] == [SECOND]


def test_nobody_is_left_asked_when_the_question_comes_after_its_withdrawal(world: World) -> None:
    """The queue has no order: the newer version may withdraw a gate before its question went out."""
    world.register(version=1)
    while not world.release_exists(FIRST) or world.phase(FIRST) == Phase.REGISTERED:
        world.step()
    world.choose = lambda count: count - 1
    world.register(version=2)
    world.run(minutes=5)
    assert [asked.rpartition(":")[0].rpartition(":")[0] for asked in world.approvals.open] == [SECOND]
