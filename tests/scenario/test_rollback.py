"""A circuit goes back: by order or by itself, from every owner, to the last pair that proved itself, or to nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from shared.domain import messages as m
from shared.domain.machine import Verdict
from shared.domain.release import Phase
from shared.domain.rollback import Phase as RollbackPhase
from shared.domain.rules import Rules
from shared.domain.values import Pair, Stage
from tests.builders import CIRCUIT, ENGINEER
from tests.simulated import FAILS, HANGS, PRODUCTION_DEPLOYMENT, SCORING, UNUSABLE, Fate
from tests.world import Fleet, World

FIRST, SECOND, THIRD = f"{CIRCUIT}:1", f"{CIRCUIT}:2", f"{CIRCUIT}:3"
V1, V2, V3 = (Pair(model=version, environment="1.0.0") for version in (1, 2, 3))


def served(world: World) -> Pair | None:
    found = world.platform.deployed(Stage.PRODUCTION, CIRCUIT)
    return found.pair if found else None


def two_live(world: World) -> None:
    """Version 2 serves, and version 1 proved itself before it."""
    world.go_live(1)
    world.run(days=1)
    world.go_live(2)


def roll_back(world: World, version: int | None = None) -> None:
    ordered = world.order(m.RollbackRequested, version=version)
    assert ordered.verdict is Verdict.APPLIED, ordered.reason


def test_a_live_version_is_rolled_back_to_the_one_that_proved_itself_before(azure_world: World) -> None:
    world = azure_world
    two_live(world)
    roll_back(world)
    world.run(minutes=5)
    rollback, circuit = world.rollback(), world.circuit()
    assert (rollback.phase, rollback.bad, rollback.target) == (RollbackPhase.DONE, V2, V1)
    assert circuit.desired == circuit.serving == circuit.verified == served(world) == V1
    assert circuit.condemned == (V2,) and circuit.serving_tags["target_sd"] == "12.0"
    release = world.release(SECOND)
    assert release.phase == Phase.ROLLED_BACK
    assert release.reason == f"undone by {rollback.id}: the forecasts drift off"
    ended = [entry["id"] for entry in world.queries.ended_releases(10).entries]
    assert sorted(ended) == [FIRST, SECOND], "it is listed once, as what it is now"


def test_the_day_is_scored_again_by_the_pair_that_serves_again(world: World) -> None:
    two_live(world)
    before = world.lake.published[CIRCUIT, f"{world.now():%Y-%m-%d}"]
    roll_back(world)
    world.run(minutes=2)
    assert world.rollback().phase == RollbackPhase.ROLLING_BACK or world.rollback().phase == RollbackPhase.DONE
    world.run(minutes=10)
    after = world.lake.published[CIRCUIT, f"{world.now():%Y-%m-%d}"]
    assert after != before and world.lake.attempts[after].pair == V1
    assert world.lake.attempts[before].pair == V2, "what was published before is kept"


def test_a_rollback_ends_without_waiting_for_its_verification(world: World) -> None:
    two_live(world)
    world.fate(SCORING, Fate(minutes=60))
    roll_back(world)
    world.run(minutes=5)
    assert world.rollback().phase == RollbackPhase.DONE
    assert world.operations.running(SCORING)


def test_a_rollback_goes_to_a_named_version_and_further_back_only_by_name(world: World) -> None:
    two_live(world)
    world.run(days=1)
    world.go_live(3)
    roll_back(world)
    world.run(minutes=5)
    assert served(world) == V2
    again = world.order(m.RollbackRequested)
    assert again.verdict is Verdict.REFUSED
    assert "name the version" in again.reason and str(V1) in again.reason
    never = world.order(m.RollbackRequested, version=3)
    assert never.verdict is Verdict.REFUSED and "version 3" in never.reason, "what was rolled back is never a target"
    roll_back(world, version=1)
    world.run(minutes=5)
    assert served(world) == world.circuit().serving == V1
    assert world.circuit().condemned == (V2, V3)


@pytest.mark.parametrize("version", [2, 7])
def test_a_version_that_cannot_be_gone_back_to_is_refused_with_what_can(world: World, version: int) -> None:
    two_live(world)
    refused = world.order(m.RollbackRequested, version=version)
    assert refused.verdict is Verdict.REFUSED
    assert f"version {version}" in refused.reason and f"possible: {V1}" in refused.reason
    assert served(world) == V2


def test_nothing_serves_nothing_can_be_rolled_back(world: World) -> None:
    assert "nothing can be undone" in world.order(m.RollbackRequested).reason


def test_without_a_verified_predecessor_nothing_serves_and_it_is_said_aloud(world: World) -> None:
    world.go_live(1)
    roll_back(world)
    world.run(minutes=5)
    rollback, circuit = world.rollback(), world.circuit()
    assert rollback.phase == RollbackPhase.SERVES_NOTHING
    assert circuit.serving is circuit.desired is circuit.verified is None and not circuit.scoring
    assert rollback.reason in world.topic.alerts().values() and "nothing serves" in rollback.reason
    assert world.phase(FIRST) == Phase.ROLLED_BACK
    scored = len(world.operations.started)
    world.run(days=2)
    world.commit()
    world.app.check_daily_scoring()
    world.run(hours=12)
    assert len(world.operations.started) == scored, "scoring is suspended"


def test_scoring_goes_on_when_the_next_version_serves_after_nothing(world: World) -> None:
    world.go_live(1)
    roll_back(world)
    world.run(days=1)
    world.bring_to_ready_for_production(2)
    world.answer(SECOND)
    assert world.phase(SECOND) == Phase.READY
    world.order(m.ResumeRequested)
    world.run(minutes=10)
    world.commit()
    world.run(minutes=30)
    assert world.phase(SECOND) == Phase.LIVE and world.circuit().scoring


def test_a_rollback_takes_production_from_a_release_and_outwaits_its_deployment(world: World) -> None:
    """A deployment under way cannot be cancelled: what it brings is replaced as soon as it has ended."""
    world.go_live(1)
    world.fate(PRODUCTION_DEPLOYMENT, Fate(minutes=40))
    world.bring_to_ready_for_production(2)
    world.approve(SECOND)
    world.run(minutes=5)
    roll_back(world)
    world.run(minutes=30)
    release = world.release(SECOND)
    assert release.phase == Phase.CANCELLED and world.rollback().id in release.reason
    assert world.rollback().phase == RollbackPhase.ROLLING_BACK
    world.run(minutes=40)
    assert world.rollback().phase == RollbackPhase.DONE
    assert served(world) == world.circuit().serving == V1
    assert not world.operations.running(PRODUCTION_DEPLOYMENT)


def test_a_rollback_takes_production_from_a_release_that_is_observed(world: World) -> None:
    world.go_live(1)
    world.bring_to_production(2)
    assert world.phase(SECOND) == Phase.OBSERVING
    roll_back(world)
    world.run(minutes=5)
    assert world.phase(SECOND) == Phase.ROLLED_BACK
    assert served(world) == V1


def test_a_failed_observation_rolls_back_by_itself(world: World) -> None:
    world.go_live(1)
    world.run(days=1)
    world.bring_to_production(2)
    world.fate(SCORING, UNUSABLE)
    world.commit()
    world.run(minutes=20)
    rollback, release = world.rollback(), world.release(SECOND)
    assert (rollback.by, rollback.target, rollback.phase) == ("observation", V1, RollbackPhase.DONE)
    assert release.phase == Phase.ROLLED_BACK and "every value is missing" in release.reason
    assert "ObservationFailed" in world.events(SECOND)
    assert served(world) == world.circuit().serving == V1
    day = world.lake.published[CIRCUIT, f"{world.now():%Y-%m-%d}"]
    assert world.lake.attempts[day].pair == V1, "the day is scored by what serves again"


def test_a_failed_observation_is_left_to_people_where_the_policy_says_so(worlds: Callable[..., World]) -> None:
    world = worlds(fleet=Fleet(common=Rules(rolls_back=False)))
    world.go_live(1)
    world.run(days=1)
    world.bring_to_production(2)
    world.fate(SCORING, UNUSABLE)
    world.commit()
    world.run(minutes=20)
    assert world.phase(SECOND) == Phase.OBSERVING and served(world) == V2
    assert any("predictions refused" in reason for reason in world.topic.alerts().values())


def test_machinery_that_breaks_while_observed_says_nothing_about_the_pair(world: World) -> None:
    world.go_live(1)
    world.run(days=1)
    world.bring_to_production(2)
    world.fate(SCORING, *[FAILS] * 3)
    world.commit()
    world.run(hours=4)
    assert world.phase(SECOND) == Phase.OBSERVING and served(world) == V2
    assert world.circuit().rollbacks == 0


def test_a_rollback_is_never_rolled_back_by_itself(world: World) -> None:
    two_live(world)
    world.fate(SCORING, UNUSABLE)
    roll_back(world)
    world.run(hours=1)
    assert world.circuit().rollbacks == 1 and served(world) == V1
    assert any("every value is missing" in reason for reason in world.topic.alerts().values())


def test_a_hold_follows_and_names_the_version(world: World) -> None:
    two_live(world)
    roll_back(world)
    circuit = world.queries.circuit(CIRCUIT)
    assert circuit is not None
    (hold,) = [item for item in circuit["open"] if item["id"] == circuit["hold"]]
    assert (hold["version"], hold["by"]) == (2, ENGINEER.username) and "rolled back" in hold["why"]


def test_a_newer_version_goes_up_to_ready_and_its_approval_shows_the_hold_and_may_lift_it(world: World) -> None:
    two_live(world)
    roll_back(world)
    world.run(minutes=10)
    world.bring_to_ready_for_production(3)
    approval = world.release(THIRD).approval
    assert approval is not None and approval.evidence["hold"]["version"] == 2
    assert world.answer(THIRD, lift_hold=True).verdict is Verdict.APPLIED
    world.run(minutes=10)
    assert served(world) == V3 and world.circuit().hold == ""
    assert "HoldLifted" in [line["event"] for line in world.history(CIRCUIT, f"{CIRCUIT}!hold.1")]


def test_a_newer_version_that_is_approved_without_lifting_the_hold_waits(world: World) -> None:
    two_live(world)
    roll_back(world)
    world.run(minutes=10)
    world.bring_to_ready_for_production(3)
    world.approve(THIRD)
    world.run(days=6)
    assert world.phase(THIRD) == Phase.READY and served(world) == V1
    world.run(days=3)
    assert world.phase(THIRD) == Phase.READY, "its time does not run while nothing may begin"
    world.order(m.ResumeRequested)
    world.run(minutes=10)
    assert served(world) == V3


def test_an_approval_that_is_given_during_a_rollback_is_asked_again(world: World) -> None:
    """What it was compared with no longer serves once the rollback is done."""
    two_live(world)
    world.run(days=1)
    world.bring_to_ready_for_production(3)
    world.fate(PRODUCTION_DEPLOYMENT, Fate(minutes=30))
    roll_back(world)
    world.run(minutes=2)
    world.approve(THIRD)
    assert world.phase(THIRD) == Phase.READY
    world.run(minutes=60)
    again = world.release(THIRD)
    assert again.phase == Phase.AWAITING_PRODUCTION_APPROVAL and again.champion == V1
    assert again.approval is not None and again.approval.evidence["hold"]["version"] == 2


def test_two_operators_roll_back_at_once_and_it_happens_once(world: World) -> None:
    two_live(world)
    roll_back(world)
    second = world.order(m.RollbackRequested)
    assert (second.verdict, second.code) == (Verdict.REFUSED, "closed")
    world.run(minutes=10)
    late = world.order(m.RollbackRequested)
    assert late.verdict is Verdict.REFUSED
    assert world.circuit().rollbacks == 1 and served(world) == V1


def test_a_rollback_tries_again_and_ends_errored_with_an_alert(world: World) -> None:
    two_live(world)
    world.fate(PRODUCTION_DEPLOYMENT, *[FAILS] * 3)
    roll_back(world)
    world.run(hours=1)
    rollback = world.rollback()
    assert (rollback.phase, rollback.attempt) == (RollbackPhase.ERRORED, 3)
    assert rollback.reason in world.topic.alerts().values()
    circuit = world.circuit()
    assert circuit.desired == circuit.serving == served(world) == V2 and circuit.production_owner == ""
    roll_back(world)
    world.run(minutes=10)
    assert served(world) == world.circuit().serving == V1


def test_a_rollback_whose_deployment_hangs_is_ended_at_its_deadline(world: World) -> None:
    two_live(world)
    world.fate(PRODUCTION_DEPLOYMENT, HANGS)
    roll_back(world)
    since = world.rollback().since
    world.run_until(since + timedelta(hours=2, minutes=1))
    assert world.rollback().phase == RollbackPhase.ERRORED
    assert [operation.purpose for operation in world.operations.running()] == [PRODUCTION_DEPLOYMENT]


def test_a_scoring_of_the_pair_that_is_taken_out_is_called_off(world: World) -> None:
    world.go_live(1)
    world.run(days=1)
    world.bring_to_production(2)
    world.fate(SCORING, Fate(minutes=90))
    world.commit()
    world.run(minutes=5)
    run = world.scoring()
    assert run is not None and run.pair == V2
    roll_back(world)
    world.run(minutes=20)
    called_off = world.scoring()
    assert called_off is not None and called_off.phase == "called off"
    day = world.lake.published[CIRCUIT, f"{world.now():%Y-%m-%d}"]
    assert world.lake.attempts[day].pair == V1
