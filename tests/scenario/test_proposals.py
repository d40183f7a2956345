"""Proposals: each kind of trouble gets its remedy, people decide, and what is opened or rolled back is so once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from itertools import count

import pytest

from shared.domain import messages as m
from shared.domain.alerts.alert import Alert
from shared.domain.circuit import Circuit
from shared.domain.drift import DriftPhase
from shared.domain.machine import Verdict
from shared.domain.monitoring import messages as mm
from shared.domain.performance import PerformancePhase
from shared.domain.period import Every, period_of
from shared.domain.proposals import messages as p
from shared.domain.proposals.proposal import Phase, Proposal, Remedy
from shared.domain.rules import Rules
from shared.domain.values import ChangeState, Pair
from tests.builders import CIRCUIT, DIRECTOR, ENGINEER, ordered
from tests.simulated import Killed
from tests.world import Fleet, World

V1, V2 = (Pair(model=version, environment="1.0.0") for version in (1, 2))
_RUNS = count(1)


def proposals(world: World) -> list[Proposal]:
    """Every proposal of the circuit, open or ended, oldest first."""
    found = [item for item in world.items(CIRCUIT).values() if isinstance(item, Proposal)]
    return sorted(found, key=lambda proposal: int(proposal.id.rpartition(".")[2]))


def judged(
    world: World, kind: type[mm.CircuitJudged], verdict: str, model: int | None = None, month: date | None = None
) -> None:
    """A monitoring run tells the circuit what it found."""
    finding = mm.Finding(verdict=verdict, reason=f"it is {verdict}", model=model, features=("flow",))
    period = period_of(Every.MONTH, month or world.now().date())
    world.told(kind(root=CIRCUIT, run=f"run-{next(_RUNS)}", period=period, finding=finding))
    world.run(minutes=1)


def degrade(world: World, model: int = 1) -> None:
    judged(world, mm.PerformanceJudged, PerformancePhase.CRITICAL, model)


def drift(world: World, model: int = 1) -> None:
    judged(world, mm.DriftJudged, DriftPhase.DRIFTED, model)


def answer(world: World, order: type[p.ProposalOrder], proposal: Proposal, by: m.Person = ENGINEER) -> Verdict:
    verdict = world.app.advance(ordered(order, by, proposal=proposal.id)).verdict
    world.run(minutes=1)
    return verdict


def open_alerts(world: World) -> set[str]:
    return {item.key for item in world.items(CIRCUIT).values() if isinstance(item, Alert) and item.phase != "closed"}


@pytest.fixture
def serving(world: World) -> World:
    world.go_live()
    return world


@pytest.fixture
def second(serving: World) -> World:
    """Model 1 kept within its limits, then model 2 took its place."""
    judged(serving, mm.PerformanceJudged, PerformancePhase.OK, 1, date(2025, 12, 1))
    serving.run_until(serving.at(hour=1, day=1))
    serving.go_live(2)
    return serving


def test_a_circuit_that_does_well_gets_none(serving: World) -> None:
    judged(serving, mm.PerformanceJudged, PerformancePhase.OK, 1)
    drift(serving)
    assert proposals(serving) == [], "drift without loss is an alert, and nothing to do"
    assert open_alerts(serving) == {f"drift:{CIRCUIT}"}


def test_drift_with_loss_gets_a_change_of_the_cutoff_date_once_somebody_accepts(serving: World) -> None:
    drift(serving)
    degrade(serving)
    (offered,) = proposals(serving)
    assert (offered.remedy, offered.phase) == (Remedy.RETRAIN, Phase.OFFERED)
    assert offered.cutoff == serving.circuit().newest_reading.date() - timedelta(days=1)  # type: ignore[union-attr]
    assert "the readings drifted (flow)" in offered.reason and not serving.repository.changes
    assert answer(serving, p.ProposalAccepted, offered) is Verdict.APPLIED
    (opened,) = proposals(serving)
    assert (opened.phase, opened.change_at, opened.answered_by) == (Phase.OPENED, "https://git/1", ENGINEER.username)
    ((command, change),) = serving.repository.changes.items()
    assert change.path == "plants/P001/C001.yml" and change.text == offered.analysis
    assert serving.repository.edited[command] == f"training:\n  cutoff_date: {offered.cutoff}\n"


@pytest.mark.parametrize(
    ("made", "phase"), [(ChangeState.MERGED, Phase.ACCEPTED), (ChangeState.ABANDONED, Phase.DECLINED)]
)
def test_what_people_make_of_the_change_is_noticed(serving: World, made: ChangeState, phase: Phase) -> None:
    drift(serving)
    degrade(serving)
    answer(serving, p.ProposalAccepted, proposals(serving)[0])
    serving.run(hours=5)
    (opened,) = proposals(serving)
    assert opened.phase == Phase.OPENED and opened.looks > 1
    serving.repository.states[opened.change] = made
    serving.run(hours=13)
    assert proposals(serving)[0].phase == phase


def test_bad_readings_come_first_and_nothing_is_retrained_on_them(serving: World) -> None:
    serving.commit(nulls=6)
    serving.run(minutes=5)
    drift(serving)
    degrade(serving)
    (offered,) = proposals(serving)
    assert offered.remedy is Remedy.MEND
    assert "there is nothing to retrain: nulls 25.0% of temperature" in offered.reason
    assert answer(serving, p.ProposalAccepted, offered) is Verdict.APPLIED
    assert proposals(serving)[0].phase == Phase.ACCEPTED and not serving.repository.changes


def test_a_model_that_does_worse_than_the_one_before_is_rolled_back_with_one_order(second: World) -> None:
    degrade(second, model=2)
    (offered,) = proposals(second)
    assert (offered.remedy, offered.target, offered.phase) == (Remedy.ROLL_BACK, V1, Phase.OFFERED)
    assert offered.reason == f"{V1} was within its limits in 2025-12, and model 2 is not"
    assert second.circuit().serving == V2, "offered, not done"
    assert answer(second, p.ProposalAccepted, offered, DIRECTOR) is Verdict.APPLIED
    second.run(minutes=30)
    assert second.circuit().serving == V1
    assert second.rollback().by == DIRECTOR.username
    assert proposals(second)[0].phase == Phase.ACCEPTED
    assert f"performance:{CIRCUIT}" not in open_alerts(second), "another model serves"


def test_by_policy_a_worse_model_goes_back_and_a_change_is_opened_without_asking(worlds: Callable[..., World]) -> None:
    fleet = Fleet(common=Rules(opens_changes=True, takes_back_degraded=True))
    drifting = worlds(fleet=fleet)
    drifting.go_live()
    drift(drifting)
    degrade(drifting)
    assert [proposal.phase for proposal in proposals(drifting)] == [Phase.OPENED]
    worse = worlds(fleet=fleet)
    worse.go_live()
    judged(worse, mm.PerformanceJudged, PerformancePhase.OK, 1, date(2025, 12, 1))
    worse.run_until(worse.at(hour=1, day=1))
    worse.go_live(2)
    degrade(worse, model=2)
    worse.run(minutes=30)
    assert worse.circuit().serving == V1 and worse.rollback().by == "policy"


def test_what_is_found_out_later_takes_the_place_of_what_was_offered(second: World) -> None:
    degrade(second, model=2)
    drift(second, model=2)
    rolled_back, retrain = proposals(second)
    assert (rolled_back.remedy, rolled_back.phase) == (Remedy.ROLL_BACK, Phase.OVERTAKEN)
    assert (retrain.remedy, retrain.phase) == (Remedy.RETRAIN, Phase.OFFERED)
    degrade(second, model=2)
    assert len(proposals(second)) == 2, "the same again is the same proposal"


def test_a_proposal_is_over_when_the_circuit_does_well_again(serving: World) -> None:
    degrade(serving)
    assert "neither bad readings nor drift are known" in proposals(serving)[0].reason
    judged(serving, mm.PerformanceJudged, PerformancePhase.OK, 1)
    assert [proposal.phase for proposal in proposals(serving)] == [Phase.OVERTAKEN]
    assert serving.queries.proposals(50).entries == []


def test_a_proposal_is_answered_once_and_declined_where_nobody_wants_it(serving: World) -> None:
    degrade(serving)
    (offered,) = proposals(serving)
    assert [entry["id"] for entry in serving.queries.proposals(50).entries] == [offered.id]
    assert answer(serving, p.ProposalDeclined, offered) is Verdict.APPLIED
    assert answer(serving, p.ProposalAccepted, offered) is Verdict.REFUSED
    assert proposals(serving)[0].phase == Phase.DECLINED
    assert serving.queries.proposals(50).entries == []
    shown = serving.queries.proposal(offered.id)
    assert shown is not None and [line["event"] for line in shown["history"]] == [
        "RetrainingProposed",
        "ProposalDeclined",
    ]


def test_a_rollback_that_is_no_longer_possible_is_refused_with_the_reason(second: World) -> None:
    degrade(second, model=2)
    (offered,) = proposals(second)
    second.bring_to_ready_for_production(3)
    second.approve(f"{CIRCUIT}:3")
    advanced = second.app.advance(ordered(p.ProposalAccepted, proposal=offered.id))
    assert advanced.verdict is Verdict.REFUSED and "is meant to serve" in advanced.reason


def test_what_cannot_be_opened_is_said_aloud_and_lies_in_the_dead_letters(serving: World) -> None:
    serving.repository.files["plants/P001/C001.yml"] = "training:\n  cutoff_date: 2030-01-01\n"
    degrade(serving)
    answer(serving, p.ProposalAccepted, proposals(serving)[0])
    (proposal,) = proposals(serving)
    assert proposal.phase == Phase.ERRORED and "later than" in proposal.reason
    assert f"proposal:{CIRCUIT}" in open_alerts(serving)


@pytest.mark.parametrize("dies_at", range(24), ids=lambda n: f"effect-{n}")
def test_whatever_dies_one_change_is_opened(worlds: Callable[..., World], dies_at: int) -> None:
    world = worlds()
    world.go_live()
    drift(world)
    degrade(world)
    (offered,) = proposals(world)
    begun = world.effects.points

    def die(point: str) -> None:
        if world.effects.points == begun + dies_at:
            raise Killed(point)

    world.effects.interrupt = die
    world.tell(lambda app: app.advance(ordered(p.ProposalAccepted, proposal=offered.id, request="request-once")))
    world.run(minutes=5)
    assert [proposal.phase for proposal in proposals(world)] == [Phase.OPENED]
    assert len(world.repository.changes) == 1


def test_the_circuit_counts_its_proposals(serving: World) -> None:
    degrade(serving)
    root = serving.circuit()
    assert isinstance(root, Circuit) and root.proposals == 1
