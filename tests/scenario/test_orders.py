"""What people order of one release: cancel, retry, reopen, ask again; and when it is refused, why."""

from __future__ import annotations

import pytest

from shared.advance import Advanced
from shared.domain import messages as m
from shared.domain.machine import Verdict
from shared.domain.release import Phase
from shared.domain.values import Pair
from tests.builders import CIRCUIT, ENGINEER, decided
from tests.simulated import FAILS, PRODUCTION_DEPLOYMENT, PROMOTION, TEST_DEPLOYMENT, TEST_INFERENCE, UNUSABLE, Fate
from tests.world import World

FIRST, SECOND = f"{CIRCUIT}:1", f"{CIRCUIT}:2"
V1, V2 = (Pair(model=version, environment="1.0.0") for version in (1, 2))


def restart(world: World, how: str, release: str = FIRST) -> Advanced:
    return world.order(m.RestartRequested, release=release, how=how)


def done(advanced: Advanced) -> None:
    assert advanced.verdict is Verdict.APPLIED, advanced.reason


def broken(world: World, purpose: str) -> None:
    """Version 1 errors where its work of this purpose breaks."""
    world.fate(purpose, FAILS)
    world.register()
    world.run(minutes=1)
    world.approve(FIRST)
    world.run(minutes=20)
    if purpose == PRODUCTION_DEPLOYMENT:
        world.approve(FIRST)
        world.run(minutes=20)
    assert world.phase(FIRST) == Phase.ERRORED


# -------------------------------------------------------------------------------------------------------------- cancel


@pytest.mark.parametrize("phase", [Phase.AWAITING_REGISTRY_APPROVAL, Phase.TESTING, Phase.AWAITING_PRODUCTION_APPROVAL])
def test_a_candidate_is_cancelled_and_nobody_is_asked_any_more(world: World, phase: Phase) -> None:
    world.fate(TEST_INFERENCE, Fate(minutes=60 if phase is Phase.TESTING else 2))
    world.register()
    world.run(minutes=1)
    if phase is not Phase.AWAITING_REGISTRY_APPROVAL:
        world.approve(FIRST)
        world.run(minutes=20)
    assert world.phase(FIRST) == phase
    asked = world.release(FIRST).approval
    done(world.order(m.CancelRequested, release=FIRST))
    world.run(minutes=5)
    release = world.release(FIRST)
    assert release.phase == Phase.CANCELLED and release.reason.startswith(f"cancelled by {ENGINEER.username}")
    assert not world.operations.running() and world.circuit().test_owner == ""
    if asked and phase is not Phase.TESTING:
        assert asked.id in world.approvals.withdrawn
        assert world.app.advance(decided(asked.id, asked.digest)).code == "closed"


def test_what_is_in_production_is_not_cancelled_but_rolled_back(world: World) -> None:
    world.bring_to_production(1)
    refused = world.order(m.CancelRequested, release=FIRST)
    assert refused.verdict is Verdict.REFUSED and "roll P001_C001 back" in refused.reason


def test_an_order_about_what_is_not_there_or_has_ended_is_refused(world: World) -> None:
    assert world.order(m.CancelRequested, release=FIRST).code == "unknown"
    world.go_live(1)
    assert world.order(m.CancelRequested, release=FIRST).code == "closed"
    refused = restart(world, "retry")
    assert refused.code == "closed" and "is live" in refused.reason and "errored" in refused.reason


# --------------------------------------------------------------------------------------------------------------- retry


@pytest.mark.parametrize("purpose", [PROMOTION, TEST_DEPLOYMENT, TEST_INFERENCE, PRODUCTION_DEPLOYMENT])
def test_an_errored_release_goes_on_from_the_step_that_broke(world: World, purpose: str) -> None:
    broken(world, purpose)
    done(restart(world, "retry"))
    world.run(minutes=30)
    if purpose != PRODUCTION_DEPLOYMENT:
        assert world.phase(FIRST) == Phase.AWAITING_PRODUCTION_APPROVAL
        world.approve(FIRST)
        world.run(minutes=20)
    assert world.circuit().serving == V1
    started = [operation.purpose for operation in world.operations.started.values()]
    assert started.count(PROMOTION) == (2 if purpose == PROMOTION else 1), "what was done is not done again"
    ended = [entry["id"] for entry in world.queries.ended_releases(10).entries]
    assert FIRST not in ended, "what goes on is no longer listed as ended"


def test_a_retry_that_is_ordered_twice_is_one_attempt(world: World) -> None:
    broken(world, PROMOTION)
    done(world.order(m.RestartRequested, release=FIRST, how="retry", request="the-same-request"))
    again = world.order(m.RestartRequested, release=FIRST, how="retry", request="the-same-request")
    assert again.duplicate
    assert restart(world, "retry").code == "closed"
    world.run(minutes=20)
    assert [o.purpose for o in world.operations.started.values()].count(PROMOTION) == 2


def test_a_retried_deployment_waits_while_the_circuit_is_on_hold(world: World) -> None:
    broken(world, PRODUCTION_DEPLOYMENT)
    world.order(m.HoldRequested)
    done(restart(world, "retry"))
    world.run(hours=5)
    assert world.phase(FIRST) == Phase.READY
    world.order(m.ResumeRequested)
    world.run(minutes=20)
    assert world.circuit().serving == V1


def test_a_retried_deployment_is_asked_about_again_when_the_champion_is_another(world: World) -> None:
    world.go_live(1)
    world.fate(PRODUCTION_DEPLOYMENT, FAILS)
    world.bring_to_production(2)
    assert world.phase(SECOND) == Phase.ERRORED
    world.order(m.RollbackRequested)
    world.run(minutes=20)
    done(restart(world, "retry", SECOND))
    world.run(minutes=5)
    release = world.release(SECOND)
    assert release.phase == Phase.AWAITING_PRODUCTION_APPROVAL and release.champion is None


def test_what_a_check_refused_is_not_tried_again(world: World) -> None:
    world.fate(TEST_INFERENCE, UNUSABLE)
    world.register()
    world.run(minutes=1)
    world.approve(FIRST)
    world.run(minutes=20)
    assert world.phase(FIRST) == Phase.FAILED
    assert "is failed" in restart(world, "retry").reason


def test_an_older_version_is_not_retried_once_a_newer_one_is_on_its_way_or_serves(world: World) -> None:
    broken(world, PROMOTION)
    world.register(version=2)
    world.run(minutes=1)
    refused = restart(world, "retry")
    assert refused.verdict is Verdict.REFUSED and f"{SECOND} is awaiting registry approval" in refused.reason
    world.approve(SECOND)
    world.run(minutes=20)
    world.approve(SECOND)
    world.commit()
    world.run(minutes=30)
    refused = restart(world, "retry")
    assert refused.verdict is Verdict.REFUSED and "a newer version serves" in refused.reason


def test_what_was_rolled_back_does_not_return(world: World) -> None:
    world.go_live(1)
    world.fate(PRODUCTION_DEPLOYMENT, Fate(minutes=30))
    world.bring_to_ready_for_production(2)
    world.approve(SECOND)
    world.run(minutes=2)
    world.order(m.RollbackRequested)
    world.run(minutes=40)
    assert world.phase(SECOND) == Phase.CANCELLED
    refused = restart(world, "reopen", SECOND)
    assert refused.verdict is Verdict.REFUSED and "was rolled back" in refused.reason


# ---------------------------------------------------------------------------------------------------- reopen, ask again


@pytest.mark.parametrize("gate", ["registry", "production"])
@pytest.mark.parametrize("how", ["reopen", "ask again"])
def test_a_gate_that_was_refused_or_ran_out_is_asked_again(world: World, gate: str, how: str) -> None:
    if gate == "registry":
        world.register()
        world.run(minutes=1)
    else:
        world.bring_to_ready_for_production(1)
    before = world.release(FIRST).approval
    if how == "reopen":
        world.answer(FIRST, decision="reject")
    else:
        world.run(hours=25)
    other = "ask again" if how == "reopen" else "reopen"
    assert restart(world, other).code == "closed"
    done(restart(world, how))
    world.run(minutes=1)
    asked = world.release(FIRST).approval
    assert before and asked and asked.gate == gate and asked.id != before.id and not asked.answers
    assert world.app.advance(decided(before.id, before.digest)).code == "closed", "an old answer opens nothing"
    world.approve(FIRST)
    world.run(minutes=30)
    if gate == "registry":
        world.approve(FIRST)
        world.run(minutes=20)
    assert world.circuit().serving == V1
    reopened = [line for line in world.history(CIRCUIT, FIRST) if str(line["event"]).startswith("Restarted")]
    assert [line["detail"]["reason"] for line in reopened] == ["the forecasts drift off"]
