"""The overview of circuits that really lived: what needs somebody, each circuit at a glance, and who did what."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from shared.adapters.local.state_store import MemoryStateStore
from shared.archive import Archive
from shared.dead_letters import DeadLetters
from shared.domain import messages as m
from shared.domain.monitoring import messages as mm
from shared.domain.performance import PerformancePhase
from shared.domain.period import Every, period_of
from shared.errors import Invalid
from shared.ledger import Ledger
from shared.overview import WIDEST_PAGE, Overview, Show
from shared.queries import Queries
from shared.series import Series
from tests.builders import CIRCUIT, DIRECTOR, ENGINEER, START, TRAINER, circuits
from tests.scenario.counted import CountedReads
from tests.simulated import (
    HANGS,
    PRODUCTION_DEPLOYMENT,
    SCORING,
    TEST_INFERENCE,
    UNUSABLE,
    SimulatedDocuments,
    VirtualClock,
)
from tests.world import Fleet, World

FIRST, SECOND = f"{CIRCUIT}:1", f"{CIRCUIT}:2"


class Named(Fleet):
    """A configuration that says what people call a circuit."""

    def name(self, circuit: str) -> str:
        return f"Pump {circuit[-1]}"


def overview(world: World, names: Sequence[str] | None = None, store: Any = None) -> Overview:
    read = store or world.store
    directory = Named(names or world.fleet.circuits())
    return Overview(read, directory, Ledger(read, directory, world.clock), world.clock)


def at_a_glance(world: World) -> dict[str, Any]:
    (found,) = overview(world).circuits(10).entries
    return dict(found)


def says(world: World) -> tuple[str, list[str]]:
    found = at_a_glance(world)
    return found["health"], found["says"]


# --------------------------------------------------------------------------------------------------------- at a glance


def test_a_circuit_that_nobody_heard_of_is_shown_and_is_not_well(world: World) -> None:
    assert says(world) == ("none", ["no reading and no model yet"])


def test_a_circuit_is_well_once_it_serves_and_has_scored(world: World) -> None:
    world.go_live()
    found = at_a_glance(world)
    assert (found["health"], found["says"], found["verified"], found["releases"]) == ("good", [], True, [])
    assert list(found["days"].values()) == ["done"]


def test_a_circuit_whose_model_got_worse_is_not_well(world: World) -> None:
    world.go_live()
    finding = mm.Finding(verdict=PerformancePhase.CRITICAL, reason="mae 0.31 (critical 0.25)", model=1)
    period = period_of(Every.MONTH, world.now().date())
    world.told(mm.PerformanceJudged(root=CIRCUIT, run="run-1", period=period, finding=finding))
    world.run(minutes=1)
    assert says(world) == ("bad", ["mae 0.31 (critical 0.25)"])
    assert [found["circuit"] for found in overview(world).circuits(10, show=Show.ALERTED).entries] == [CIRCUIT]
    assert overview(world).circuits(10, show=Show.UNDER_WAY).entries == []


def test_a_gate_a_hold_and_a_day_without_forecast_are_said_the_worst_first(world: World) -> None:
    world.go_live()
    world.register(version=2)
    world.run(minutes=5)
    assert says(world) == ("person", ["version 2 awaiting registry approval"])
    world.order(m.HoldRequested, reason="the pump is repaired")
    assert says(world) == (
        "warn",
        [f"on hold by {ENGINEER.username}", "version 2 awaiting registry approval"],
    )
    world.fate(SCORING, *[UNUSABLE] * 9)
    world.run_until(world.at(hour=6, day=1))
    world.commit()
    world.run(hours=12)
    health, texts = says(world)
    assert (health, texts[0]) == ("bad", "1 of the last 2 days without a forecast")


def test_what_is_open_leaves_the_index_when_it_ends(world: World) -> None:
    def shown(show: Show) -> list[str]:
        return [found["circuit"] for found in overview(world).circuits(10, show=show).entries]

    world.register()
    world.run(minutes=5)
    assert shown(Show.UNDER_WAY) == shown(Show.PEOPLE) == [CIRCUIT]
    world.approve(FIRST)
    assert (shown(Show.UNDER_WAY), shown(Show.PEOPLE)) == ([CIRCUIT], [])
    world.order(m.CancelRequested, release=FIRST)
    assert shown(Show.UNDER_WAY) == []
    world.order(m.HoldRequested)
    assert shown(Show.HELD) == [CIRCUIT]
    world.order(m.ResumeRequested)
    assert shown(Show.HELD) == []


# ------------------------------------------------------------------------------------------------- what needs somebody


def test_an_open_gate_needs_somebody_until_it_is_answered(world: World) -> None:
    world.register()
    world.run(minutes=5)
    needs = overview(world).needs()
    (gate,) = needs["approvals"]
    assert (gate["id"], gate["gate"], gate["circuit"]) == (f"{FIRST}:registry:1", "registry", CIRCUIT)
    assert gate["expires_at"] > gate["requested_at"]
    world.approve(FIRST)
    assert overview(world).needs()["approvals"] == []


def test_what_went_wrong_needs_somebody_until_a_newer_version_comes(world: World) -> None:
    world.fate(TEST_INFERENCE, UNUSABLE)
    world.register()
    world.run(minutes=5)
    world.approve(FIRST)
    world.run(minutes=60)
    (wrong,) = overview(world).needs()["went_wrong"]
    assert (wrong["id"], wrong["phase"]) == (FIRST, "failed") and "missing" in wrong["reason"]
    world.register(version=2)
    world.run(minutes=5)
    assert overview(world).needs()["went_wrong"] == []


def test_a_step_that_has_used_most_of_its_time_is_slow_and_a_gate_is_not(world: World) -> None:
    world.register()
    world.run(hours=20)
    assert overview(world).needs()["slow"] == [], "people have until the deadline, and are reminded of it"
    world.fate(PRODUCTION_DEPLOYMENT, HANGS)
    world.approve(FIRST)
    world.run(minutes=30)
    world.approve(FIRST)
    world.run(minutes=1)
    assert overview(world).needs()["slow"] == []
    until = world.release(FIRST).deadline
    assert until is not None
    world.run_until(until - timedelta(minutes=5))
    (slow,) = overview(world).needs()["slow"]
    assert (slow["id"], slow["phase"]) == (FIRST, "deploying to production")


# -------------------------------------------------------------------------------------------------------------- pages


def test_pages_follow_each_other_without_a_gap_whatever_is_asked_for(world: World) -> None:
    names = circuits(1_000)
    found: list[str] = []
    continuation = None
    for _ in range(30):
        page = overview(world, names).circuits(60, continuation, text="C003")
        found += [entry["circuit"] for entry in page.entries]
        continuation = page.continuation
        if continuation is None:
            break
    assert found == [name for name in names if "C003" in name]
    by_name = overview(world, names).circuits(200, plant="P007", text="pump 2")
    assert [entry["circuit"] for entry in by_name.entries] == ["P007_C002"]
    with pytest.raises(Invalid, match="continuation"):
        overview(world, names).circuits(60, "bm90aGluZw")


def test_a_page_reads_its_span_and_never_the_fleet(world: World) -> None:
    world.go_live()
    for names in (circuits(5), circuits(5_000)):
        counted = CountedReads(world.store)
        overview(world, names, counted).circuits(60, text="C001")
        shards = len(world.store.shards)
        assert counted.reads == (1 + 1 + 3) * shards, "circuits, what is open, and three days"
        assert counted.rows <= WIDEST_PAGE


# ---------------------------------------------------------------------------------------------------- who did what


def test_the_audit_has_what_people_did_and_not_what_happened_by_itself(world: World) -> None:
    world.go_live()
    world.order(m.RollbackRequested, by=DIRECTOR, reason="the forecasts drift off")
    world.run(minutes=10)
    acts = world.queries.acts(50).entries
    assert [(act["act"], act["by"]) for act in acts] == [
        ("RollbackRequested", DIRECTOR.username),
        ("ApprovalDecided", ENGINEER.username),
        ("ApprovalDecided", ENGINEER.username),
    ]
    assert acts[0]["reason"] == "the forecasts drift off"
    assert {moved["event"] for moved in acts[0]["moved"]} >= {"HoldPlaced", "RollbackToNothing"}
    assert (acts[1]["approval"], acts[1]["decision"]) == (f"{FIRST}:production:2", "approve")


def test_the_audit_marks_an_approval_that_did_not_count(world: World) -> None:
    world.register()
    world.run(minutes=5)
    world.approve(FIRST, by=TRAINER)
    world.run(minutes=1)
    world.approve(FIRST)
    acts = world.queries.acts(2).entries
    assert [(act["decision"], act.get("counts"), act.get("note", "")) for act in acts] == [
        ("approve", None, ""),
        ("approve", False, "who trained a model does not count as its approver"),
    ]


def test_the_audit_is_read_from_a_time_on_backwards_in_pages(world: World) -> None:
    world.order(m.HoldRequested)
    world.run(hours=1)
    between = world.now()
    world.run(hours=1)
    world.order(m.ResumeRequested)
    queries = world.queries
    first = queries.acts(1)
    assert [act["act"] for act in first.entries] == ["ResumeRequested"]
    assert [act["act"] for act in queries.acts(1, first.continuation).entries] == ["HoldRequested"]
    assert [act["act"] for act in queries.acts(9, until=between).entries] == ["HoldRequested"]


def test_who_replayed_a_dead_letter_is_in_the_audit() -> None:
    store = MemoryStateStore()
    letters = DeadLetters(store, SimulatedDocuments(), VirtualClock(START))
    letter = letters.record("work", "the platform did not answer", {"work": "…"})
    letters.replay(letter, {"work": lambda body: "on the queue again"}, "erik@example.org")
    (act,) = Queries(store, Archive(SimulatedDocuments())).acts(9).entries
    assert (act["act"], act["by"], act["reason"]) == ("DeadLetterReplayed", "erik@example.org", "on the queue again")


# --------------------------------------------------------------------------------------------------------------- series


class Sensed(Named):
    def sensor(self, circuit: str) -> str:
        return f"SENSOR_{circuit}"

    def target(self, circuit: str) -> str:
        return "temperature"


def test_forecasts_stand_beside_what_was_measured_with_the_error_of_each_day_and_model_changes(world: World) -> None:
    world.go_live()
    series = Series(world.store, world.lake, Sensed(world.fleet.circuits()))
    today = world.now().date()
    found = series.of_circuit(CIRCUIT, today, today)
    (forecast,) = found["forecasts"]
    assert (forecast["day"], forecast["pair"]["model"], len(forecast["points"])) == (f"{today}", 1, 24)
    assert (forecast["mae"], forecast["coverage"], forecast["hours"]) == (1.0, 1.0, 24)
    assert [change["pair"]["model"] for change in found["changes"]] == [1]
    with pytest.raises(Invalid, match="1 to 31 days"):
        series.of_circuit(CIRCUIT, today - timedelta(days=31), today)


def test_a_test_forecast_is_shown_as_soon_as_there_is_one(world: World) -> None:
    world.register()
    world.run(minutes=5)
    series = Series(world.store, world.lake, Sensed(world.fleet.circuits()))
    assert series.of_test(CIRCUIT, world.release(FIRST).test)["test"] == []
    world.approve(FIRST)
    world.run(minutes=60)
    found = series.of_test(CIRCUIT, world.release(FIRST).test)
    assert len(found["test"]) == 24 and len(found["measured"]) > 24 and found["serving"] == []
