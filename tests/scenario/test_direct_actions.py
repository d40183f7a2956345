"""What people do on the platform past the application: recorded, respected, and never undone unasked."""

from __future__ import annotations

from typing import Any

import pytest

from shared.domain import messages as m
from shared.domain.direct_action import DirectAction
from shared.domain.discrepancy import Discrepancy
from shared.domain.discrepancy import Phase as DiscrepancyPhase
from shared.domain.machine import Verdict
from shared.domain.rollback import Phase as RollbackPhase
from shared.domain.values import Deployment, Pair, Stage
from tests.builders import CIRCUIT, ENGINEER
from tests.world import World

V1, V2, UNPROVED = (Pair(model=version, environment="1.0.0") for version in (1, 2, 9))


@pytest.fixture
def serving(world: World) -> World:
    """Version 1 has served, version 2 serves."""
    world.go_live(1)
    world.run(days=1)
    world.go_live(2)
    return world


def report(world: World, pair: Pair, did: str = "deploy to production", request: str = "glass-0001") -> Verdict:
    fields: dict[str, Any] = {
        "did": did,
        "model": pair.model,
        "environment": pair.environment,
        "at": world.now(),
        "request": request,
    }
    return world.order(m.DirectActionReported, reason="the app is down", **fields).verdict


def deploy_by_hand(world: World, pair: Pair) -> None:
    world.platform.serve(Deployment(circuit=CIRCUIT, stage=Stage.PRODUCTION, pair=pair))


def reconcile(world: World) -> None:
    world.app.reconcile_production()
    world.run(hours=0.2)


def discrepancies(world: World) -> list[Discrepancy]:
    return [item for item in world.items(CIRCUIT).values() if isinstance(item, Discrepancy)]


def test_a_proved_pair_that_was_put_into_production_past_the_application_is_adopted(serving: World) -> None:
    assert report(serving, V1) is Verdict.APPLIED
    deploy_by_hand(serving, V1)
    reconcile(serving)
    assert [found.phase for found in discrepancies(serving)] == [DiscrepancyPhase.ADOPTED]
    assert serving.circuit().serving == serving.circuit().desired == V1 and serving.circuit().direct is None


def test_a_pair_that_never_proved_itself_is_flagged_and_stays_until_people_decide(serving: World) -> None:
    report(serving, UNPROVED)
    deploy_by_hand(serving, UNPROVED)
    reconcile(serving)
    assert [found.phase for found in discrepancies(serving)] == [DiscrepancyPhase.FLAGGED]
    found = serving.platform.deployed(Stage.PRODUCTION, CIRCUIT)
    assert found and found.pair == UNPROVED
    serving.order(m.RollbackRequested)
    serving.run(hours=0.5)
    assert serving.rollback().phase == RollbackPhase.DONE and serving.circuit().direct is None


def test_what_somebody_else_changes_afterwards_is_repaired_as_ever(serving: World) -> None:
    report(serving, V1)
    deploy_by_hand(serving, UNPROVED)
    reconcile(serving)
    assert [found.phase for found in discrepancies(serving)] == [DiscrepancyPhase.REPAIRED]


def test_no_release_follows_a_direct_deployment_until_its_hold_is_lifted(serving: World) -> None:
    report(serving, V1)
    deploy_by_hand(serving, V1)
    reconcile(serving)
    release = serving.bring_to_ready_for_production(3)
    serving.approve(release)
    serving.run(hours=1)
    assert serving.phase(release) == "ready"
    serving.order(m.ResumeRequested)
    serving.run(hours=1)
    assert serving.phase(release) in ("observing", "live")


def test_who_did_what_and_why_is_told_and_kept_once(serving: World) -> None:
    assert report(serving, V1, "promote") is Verdict.APPLIED
    assert report(serving, V1, "promote") is Verdict.IGNORED
    (action,) = [item for item in serving.items(CIRCUIT).values() if isinstance(item, DirectAction)]
    assert (action.by, action.why, action.did, action.model) == (ENGINEER.username, "the app is down", "promote", 1)
    assert not serving.circuit().hold, "a copy in the registry holds nothing up"
    serving.run(minutes=5)
    assert action.reason in serving.topic.alerts().values()
