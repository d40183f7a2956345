"""Questions people ask, of histories that were really lived: where does it stand, and what served then."""

from __future__ import annotations

from typing import Any

import pytest

from shared.archive import Archive
from shared.domain.explain import Explanation, Standing
from shared.domain.hold import Hold
from shared.domain.messages import HoldRequested, RollbackRequested
from shared.queries import Queries
from tests.builders import CIRCUIT, DIRECTOR, ENGINEER, ENGINEERS, ordered
from tests.scenario.counted import CountedReads
from tests.simulated import ETL, HANGS, PRODUCTION_DEPLOYMENT
from tests.world import World

FIRST, SECOND = f"{CIRCUIT}:1", f"{CIRCUIT}:2"


def explained(world: World, root: str = CIRCUIT) -> Explanation:
    found = world.queries.explain(root, world.fleet.rules(root), world.now())
    assert found is not None
    return found


def standing(world: World, item: str, root: str = CIRCUIT) -> Standing:
    (found,) = [standing for standing in explained(world, root).under_way if standing.item == item]
    return found


def as_of(world: World, at: Any) -> dict[str, Any]:
    found = world.queries.as_of(CIRCUIT, at)
    assert found is not None
    return dict(found)


# ------------------------------------------------------------------------------------------------- where does it stand


def test_an_open_gate_says_who_can_act_until_when_and_where_each_answer_leads(world: World) -> None:
    world.register()
    world.run(minutes=5)
    found = standing(world, FIRST)
    assert (found.phase, found.who_can_act) == ("awaiting registry approval", (ENGINEERS,))
    assert found.waits_for == "registry approval by ML-Engineers; 0 of 1 given"
    assert found.deadline == world.release(FIRST).deadline
    ways = {way.event: (way.told_by, way.leads_to) for way in found.ways}
    assert ways["RegistryApproved"] == ("people", "promoting")
    assert ways["ApprovalRejected"] == ("people", "rejected")
    assert ways["DeadlinePassed"] == ("the clock", "expired")
    assert "ApprovalCounted" not in ways, "it would change nothing of where the release stands"


def test_every_step_of_a_release_says_what_it_waits_for(world: World) -> None:
    told: dict[str, str] = {}

    def look(point: str) -> None:
        if found := world.queries.explain(CIRCUIT, world.fleet.rules(CIRCUIT), world.now()):
            told.update({standing.phase: standing.waits_for for standing in found.under_way})

    world.effects.interrupt = look
    world.go_live()
    assert told["registered"] == "the outcome of DescribeModel"
    assert told["testing"].startswith("test-inference-") or told["testing"] == "the outcome of StartTestInference"
    assert told["awaiting production approval"].startswith(
        "production approval by ML-Engineers or Engineering-Managers"
    )
    assert told["observing"] == "1 more verified scoring(s) by model 1 with environment 1.0.0"
    assert all(told.values())


def test_a_release_that_is_ready_names_who_owns_production(world: World) -> None:
    world.bring_to_production(1)
    world.bring_to_ready_for_production(2)
    world.approve(SECOND)
    found = standing(world, SECOND)
    assert (found.phase, found.waits_for) == ("ready", f"production, which {FIRST} owns")
    assert {way.event for way in found.ways} >= {"ProductionFreed", "ChampionChanged", "DeadlinePassed"}


def test_a_hold_is_named_by_what_waits_for_it_and_stands_there_itself(world: World) -> None:
    world.bring_to_ready_for_production(1)
    world.app.advance(ordered(HoldRequested))
    world.approve(FIRST)
    hold = world.circuit().hold
    placed = world.items(CIRCUIT)[hold]
    assert isinstance(placed, Hold)
    assert standing(world, FIRST).waits_for == f"production: on hold by {placed.by}: {placed.why}"
    assert standing(world, hold).waits_for == f"somebody to lift it; placed by {placed.by}: {placed.why}"


def test_started_work_is_named_with_the_looks_at_it(world: World) -> None:
    world.fate(PRODUCTION_DEPLOYMENT, HANGS)
    world.bring_to_ready_for_production(1)
    world.approve(FIRST)
    world.run(minutes=10)
    operation = world.release(FIRST).operation
    assert operation is not None and operation.looks > 1
    found = standing(world, FIRST).waits_for
    assert found.startswith(f"{operation.reference}, started 2026-01-30T") and f"at {operation.looks} time" in found


def test_a_circuit_says_what_serves_and_which_scoring_comes_next(world: World) -> None:
    world.register()
    world.run(minutes=5)
    assert explained(world).state == ("nothing serves", "next scoring: none while nothing serves")
    world.approve(FIRST)
    world.run(minutes=30)
    world.approve(FIRST)
    world.run(minutes=10)
    world.commit()
    world.run(minutes=30)
    serves, following = explained(world).state
    assert serves.startswith("model 1 with environment 1.0.0 serves since 2026-01-30T06:")
    assert serves.endswith(f"put there by {FIRST}; verified")
    assert following == "next scoring: of 2026-01-31T00:00Z, with the first commit whose readings reach it"


def test_a_day_without_readings_says_how_far_they_go(world: World) -> None:
    world.commit()
    world.bring_to_production()
    world.run_until(world.at(hour=6, day=1))
    world.tell(lambda app: app.check_daily_scoring())
    world.run(minutes=5)
    found = standing(world, f"{CIRCUIT}@2026-01-31")
    assert found.waits_for == "readings up to 2026-01-31T00:00Z; the newest is of 2026-01-30T06:00Z"
    assert {way.event: way.leads_to for way in found.ways} == {
        "ReadingsArrived": "scoring",
        "DeadlinePassed": "missed",
        "ScoringCalledOff": "called off",
    }


def test_the_lake_says_what_its_etl_run_waits_for(world: World) -> None:
    world.fate(ETL, HANGS)
    world.app.start_etl(world.now())
    world.run(minutes=5)
    (found,) = explained(world, "lake").under_way
    assert (found.kind, found.phase) == ("ETL run", "running")
    assert found.waits_for.startswith("etl-1, started 2026-01-30T06:00Z")


def test_explaining_takes_one_read_however_long_the_history(world: World) -> None:
    world.go_live(1)
    counted = CountedReads(world.store)
    Queries(counted, Archive(world.documents)).explain(CIRCUIT, world.fleet.rules(CIRCUIT), world.now())
    before = (counted.reads, counted.rows)
    for _ in range(5):
        world.run_until(world.at(hour=6, day=1))
        world.commit()
        world.run(hours=1)
    counted = CountedReads(world.store)
    Queries(counted, Archive(world.documents)).explain(CIRCUIT, world.fleet.rules(CIRCUIT), world.now())
    assert (counted.reads, counted.rows) == before == (1, 1)


# ---------------------------------------------------------------------------------------------------- what served then


def test_what_served_on_a_day_names_its_data_its_approvers_and_their_evidence(world: World) -> None:
    world.go_live(1)
    first_day = world.now()
    world.run_until(world.at(hour=6, day=2))
    world.bring_to_ready_for_production(2)
    world.approve(SECOND, by=DIRECTOR)
    world.run(minutes=30)

    found = as_of(world, first_day)
    assert (found["pair"], found["previous"]) == ({"model": 1, "environment": "1.0.0"}, None)
    assert found["served_by"] == FIRST
    release = found["release"]
    assert release["data"]["cutoff_date"] == "2026-01-20" and release["trained_by"] == "tess@example.org"
    answers = [(answer["event"], answer["person"]) for answer in release["answers"]]
    assert answers == [("RegistryApproved", ENGINEER.username), ("ProductionApproved", ENGINEER.username)]
    for answer in release["answers"]:
        assert world.documents.at(answer["evidence_uri"])["digest"] == answer["digest"]
    assert release["production_evidence"]["target"] == "production"
    assert [run["phase"] for run in found["scorings_of_the_day"]] == ["scored"]

    now = as_of(world, world.now())
    assert (now["pair"]["model"], now["previous"]["model"], now["served_by"]) == (2, 1, SECOND)
    assert now["release"]["answers"][-1]["person"] == DIRECTOR.username


def test_after_a_rollback_the_rollback_is_named_beside_who_approved_the_model_that_came_back(world: World) -> None:
    world.go_live(1)
    world.run_until(world.at(hour=6, day=1))
    world.go_live(2)
    bad_day = world.now()
    world.run_until(world.at(hour=6, day=1))
    world.app.advance(ordered(RollbackRequested))
    world.run(hours=1)
    found = as_of(world, world.now())
    assert (found["pair"]["model"], found["previous"]["model"]) == (1, 2)
    assert found["served_by"] == f"{CIRCUIT}!rollback.1"
    assert [answer["person"] for answer in found["release"]["answers"]] == [ENGINEER.username] * 2
    assert found["release"]["id"] == FIRST
    assert as_of(world, bad_day)["pair"]["model"] == 2


def test_that_nothing_served_after_a_rollback_without_a_predecessor_is_said(world: World) -> None:
    world.commit()
    world.bring_to_production(1)
    world.app.advance(ordered(RollbackRequested))
    world.run(hours=1)
    found = as_of(world, world.now())
    assert (found["pair"], found["release"], found["previous"]["model"]) == (None, None, 1)


def test_nothing_is_said_to_have_served_before_anything_did(world: World) -> None:
    before = world.now()
    world.go_live(1)
    assert world.queries.as_of(CIRCUIT, before) is None


@pytest.mark.parametrize("versions", [2, 8])
def test_what_served_then_takes_the_same_reads_however_often_the_champion_changed(world: World, versions: int) -> None:
    world.go_live(1)
    first_day = world.now()
    for version in range(2, versions + 1):
        world.run_until(world.at(hour=6, day=1))
        world.go_live(version)
    counted = CountedReads(world.store)
    found = Queries(counted, Archive(world.documents)).as_of(CIRCUIT, first_day)
    assert found is not None and found["pair"]["model"] == 1
    assert counted.reads <= 5
    assert counted.rows < 40
