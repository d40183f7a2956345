"""Hold, freeze and stop: approvals are given, what is under way ends, and no release enters production meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from shared.domain import messages as m
from shared.domain.fleet import ROOT as FLEET
from shared.domain.freeze import FreezeWindow
from shared.domain.machine import Verdict
from shared.domain.release import Phase
from shared.domain.rollback import Phase as RollbackPhase
from shared.domain.rules import Rules
from shared.domain.values import Pair
from shared.gate_answers import GateAnswers
from tests.builders import CIRCUIT, ENGINEER, START, decided
from tests.simulated import PRODUCTION_DEPLOYMENT, Fate
from tests.world import Fleet, World

FIRST, SECOND = f"{CIRCUIT}:1", f"{CIRCUIT}:2"
V1, V2 = (Pair(model=version, environment="1.0.0") for version in (1, 2))
FRIDAY = START
"""Friday, 06:00."""


def stop(world: World) -> None:
    assert world.order(m.FleetStopped, circuit=FLEET).verdict is Verdict.APPLIED


def resume_fleet(world: World) -> None:
    assert world.order(m.FleetResumed, circuit=FLEET).verdict is Verdict.APPLIED


def deployments(world: World) -> int:
    return sum(o.purpose == PRODUCTION_DEPLOYMENT for o in world.operations.started.values())


@pytest.mark.parametrize("standstill", ["hold", "stop"])
def test_what_is_approved_meanwhile_waits_at_ready_and_goes_on_afterwards(world: World, standstill: str) -> None:
    world.bring_to_ready_for_production(1)
    stop(world) if standstill == "stop" else world.order(m.HoldRequested)
    world.run(minutes=2)
    world.approve(FIRST)
    world.run(hours=20)
    assert world.phase(FIRST) == Phase.READY and not deployments(world)
    assert "ProductionStillHeld" in world.events(FIRST)
    resume_fleet(world) if standstill == "stop" else world.order(m.ResumeRequested)
    world.run(minutes=40)
    assert world.circuit().serving == V1


@pytest.mark.parametrize("standstill", ["hold", "stop"])
def test_an_approval_given_meanwhile_is_told_at_once_that_it_waits_and_why(world: World, standstill: str) -> None:
    """The stop that was read a moment ago, by the answer before, is not what the next one is told by."""
    world.bring_to_ready_for_production(1)
    world.app.rules(CIRCUIT)
    stop(world) if standstill == "stop" else world.order(m.HoldRequested)
    world.run(minutes=1)
    approval = world.release(FIRST).approval
    assert approval is not None
    answer = decided(approval.id, approval.digest, ENGINEER)
    taken = GateAnswers(world.app, world.queries).take(answer)
    assert [line["phase"] for line in taken.moved] == [Phase.READY]
    assert "not deployed yet: " in taken.note and ENGINEER.username in taken.note
    assert world.queries.acts(1).entries[0]["note"] == taken.note


def test_a_stop_that_came_after_the_approval_is_seen_before_the_deployment(world: World) -> None:
    world.bring_to_ready_for_production(1)
    world.approve(FIRST)
    assert world.phase(FIRST) == Phase.DEPLOYING_TO_PRODUCTION
    stop(world)
    world.run(hours=2)
    assert world.phase(FIRST) == Phase.READY and not deployments(world)
    assert world.events(FIRST).count("ProductionWithheld") == 1
    assert world.circuit().production_owner == "" and world.circuit().desired is None
    resume_fleet(world)
    world.run(hours=1)
    assert world.circuit().serving == V1


def test_a_deployment_under_way_ends_although_the_fleet_was_stopped(world: World) -> None:
    world.fate(PRODUCTION_DEPLOYMENT, Fate(minutes=30))
    world.bring_to_ready_for_production(1)
    world.approve(FIRST)
    world.run(minutes=2)
    stop(world)
    world.run(hours=1)
    assert world.circuit().serving == V1


def test_a_rollback_is_held_by_nothing(worlds: Callable[..., World]) -> None:
    frozen = Rules(freeze_windows=(FreezeWindow(name="weekend", begins="sun 00:00", ends="tue 00:00"),))
    world = worlds(fleet=Fleet(common=frozen))
    world.go_live(1)
    world.run(days=1)
    world.go_live(2)
    world.run_until(FRIDAY + timedelta(days=2, hours=3))
    world.order(m.HoldRequested)
    stop(world)
    world.order(m.RollbackRequested)
    world.run(minutes=10)
    assert world.rollback().phase == RollbackPhase.DONE and world.circuit().serving == V1


def test_a_freeze_window_keeps_releases_until_it_ends(worlds: Callable[..., World]) -> None:
    weekend = FreezeWindow(name="weekend", begins="fri 08:00", ends="mon 06:00")
    world = worlds(fleet=Fleet(common=Rules(freeze_windows=(weekend,))))
    world.bring_to_ready_for_production(1)
    world.run_until(FRIDAY + timedelta(hours=3))
    world.approve(FIRST)
    world.run_until(FRIDAY.replace(hour=5) + timedelta(days=3))
    assert world.phase(FIRST) == Phase.READY
    assert any("weekend" in str(line["detail"]) for line in world.history(CIRCUIT, FIRST))
    world.run(hours=2)
    assert world.circuit().serving == V1


def test_the_time_of_a_standstill_does_not_count_against_what_is_ready(world: World) -> None:
    world.bring_to_ready_for_production(1)
    stop(world)
    world.run(minutes=2)
    world.approve(FIRST)
    world.run(days=20)
    assert world.phase(FIRST) == Phase.READY
    told = world.topic.notices("fleet-stopped:fleet")
    assert told == ["raised"] + ["repeated"] * 19, "people hear of a stop every day"
    assert all("stopped by" in reason for reason in world.topic.alerts().values())
    resume_fleet(world)
    world.run(hours=1)
    assert world.circuit().serving == V1


def test_a_stop_and_a_resume_given_twice_are_one(world: World) -> None:
    stop(world)
    again = world.order(m.FleetStopped, circuit=FLEET)
    assert again.verdict is Verdict.IGNORED and "stopped by" in again.reason
    resume_fleet(world)
    assert world.order(m.FleetResumed, circuit=FLEET).verdict is Verdict.IGNORED
    stops = world.queries.fleet(Rules(), world.now())["stops"]
    assert [(each["phase"], len(each["history"])) for each in stops] == [("lifted", 2)]


def test_a_hold_that_nobody_lifts_is_told_again_every_week(world: World) -> None:
    world.order(m.HoldRequested)
    world.run(days=15)
    assert world.topic.notices(f"hold:{CIRCUIT}") == ["raised", "repeated"]
    assert "drift off" in str(world.topic.alerts())
    assert world.order(m.HoldRequested).verdict is Verdict.IGNORED
    world.order(m.ResumeRequested)
    world.run(minutes=1)
    assert world.topic.notices(f"hold:{CIRCUIT}")[-1] == "closed"


@pytest.mark.parametrize(
    ("begins", "ends", "inside", "outside"),
    [
        ("fri 16:00", "mon 06:00", ["2026-01-30T16:00", "2026-02-01T12:00", "2026-02-02T05:59"], ["2026-02-02T06:00"]),
        ("tue 08:00", "tue 10:30", ["2026-02-03T10:29"], ["2026-02-03T10:30", "2026-02-03T07:59", "2026-02-04T09:00"]),
        (
            "12-20 00:00",
            "01-06 00:00",
            ["2026-12-24T12:00", "2026-01-05T23:59"],
            ["2026-01-06T00:00", "2026-06-01T00:00"],
        ),
        ("07-01 00:00", "07-15 12:00", ["2026-07-15T11:59"], ["2026-07-15T12:00", "2026-12-31T23:59"]),
    ],
)
def test_a_freeze_window_recurs(begins: str, ends: str, inside: list[str], outside: list[str]) -> None:
    window = FreezeWindow(name="window", begins=begins, ends=ends)
    assert all(window.holds(datetime.fromisoformat(f"{at}+00:00")) for at in inside)
    assert not any(window.holds(datetime.fromisoformat(f"{at}+00:00")) for at in outside)


@pytest.mark.parametrize(("begins", "ends"), [("fri 16:00", "01-06 00:00"), ("fri 16:00", "fri 16:00"), ("fri", "mon")])
def test_a_freeze_window_that_says_nothing_is_refused(begins: str, ends: str) -> None:
    with pytest.raises(ValueError, match=r"both weekly|never, or always|pattern"):
        FreezeWindow(name="window", begins=begins, ends=ends)
