"""The completeness ledger, lived: late, missing and failed days, days filled by command, forecasts made anew."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from shared.domain.alerts.alert import Alert
from shared.domain.circuit.scorings import MOST_UNDER_WAY, SKIPPED_DAYS
from shared.domain.ledger import Day, DayState
from shared.domain.machine import Verdict
from shared.domain.messages import RollbackRequested
from shared.domain.release import Phase as ReleasePhase
from shared.domain.scoring import Phase, ScoringRun
from shared.errors import Invalid
from shared.ledger import Ledger
from shared.rescoring import Asked, Rescoring
from tests.builders import CIRCUIT, circuits, ordered
from tests.scenario.counted import CountedReads
from tests.simulated import FAILS, HANGS, PRODUCTION_DEPLOYMENT, SCORING, UNUSABLE, Fate
from tests.world import Fleet, World

SECOND = f"{CIRCUIT}:2"
ERIK = Asked("erik@example.org", "the day is missing")


@pytest.fixture
def serving(world: World) -> World:
    """A circuit that has served for a day, at 06:00 of the next."""
    world.go_live()
    world.run_until(world.at(hour=6, day=1))
    return world


def ledger(world: World, store: Any = None) -> Ledger:
    return Ledger(store or world.store, world.fleet, world.clock)


def rescoring(world: World) -> Rescoring:
    return Rescoring(world.app, ledger(world))


def day(world: World, at: datetime | None = None, circuit: str = CIRCUIT) -> Day:
    """One day of the ledger."""
    asked = (at or world.now()).date()
    (found,) = ledger(world).of_circuit(circuit, asked, asked)
    return found


def total(world: World, first: datetime, last: datetime) -> dict[str, Any]:
    return dict(ledger(world).days(first.date(), last.date())["total"])


def attempts(world: World, at: datetime) -> set[str]:
    return {uri for uri in world.lake.attempts if f"/production/{CIRCUIT}/{at:%Y-%m-%d}/" in uri}


# ----------------------------------------------------------------------------------------------------- how a day stands


def test_a_day_is_due_then_under_way_then_done_with_its_model_and_delta_version(serving: World) -> None:
    world = serving
    assert day(world).state is DayState.DUE
    version = world.commit()
    world.run(minutes=1)
    assert day(world).state is DayState.UNDER_WAY
    world.run(hours=1)
    found = day(world)
    assert (found.state, found.retried, found.duplicate) == (DayState.DONE, False, False)
    (run,) = found.runs
    assert (run.pair, run.delta_version) == (world.circuit().serving, version)
    assert run.published_uri.endswith("2026-01-31") and run.attempt_uri in world.lake.attempts


def test_a_forecast_published_after_the_policys_hours_is_late(serving: World) -> None:
    world = serving
    world.run_until(world.at(hour=10))
    assert day(world).state is DayState.MISSING, "nothing has begun nine hours after the origin"
    world.commit()
    world.run(hours=1)
    assert day(world).state is DayState.LATE


def test_a_day_without_readings_is_missing_while_it_waits_and_alerts(serving: World) -> None:
    world = serving
    world.tell(lambda app: app.check_daily_scoring())
    world.run(minutes=5)
    assert day(world).state is DayState.MISSING
    assert len(world.topic.alerts()) == 1


@pytest.mark.parametrize("fates", [(UNUSABLE,), (FAILS, FAILS, FAILS)], ids=["refused", "broken"])
def test_a_day_without_usable_predictions_is_failed(serving: World, fates: tuple[Fate, ...]) -> None:
    world = serving
    world.fate(SCORING, *fates)
    world.commit()
    world.run(hours=2)
    found = day(world)
    assert (found.state, found.retried) == (DayState.FAILED, len(fates) > 1)


def test_a_day_that_broke_once_is_done_and_says_that_it_was_retried(serving: World) -> None:
    world = serving
    world.fate(SCORING, FAILS)
    world.commit()
    world.run(hours=1)
    found = day(world)
    assert (found.state, found.retried, found.runs[0].attempts) == (DayState.DONE, True, 2)


def test_days_while_nobody_looked_are_missed_aloud_once_the_next_day_begins(serving: World) -> None:
    world, first = serving, serving.now()
    world.run_until(world.at(hour=6, day=4))
    assert day(world, first).runs == (), "nothing was told and nobody checked"
    world.commit()
    world.run(hours=1)
    states = [found.state for found in ledger(world).of_circuit(CIRCUIT, first.date(), world.now().date())]
    assert states == [DayState.MISSING] * 4 + [DayState.DONE]
    assert world.topic.notices(f"missing-day:{CIRCUIT}") == ["raised", "closed"], "one alert, over with the next day"
    (alert,) = [item for item in world.items(CIRCUIT).values() if isinstance(item, Alert)]
    told = [line["detail"]["about"] for line in world.history(CIRCUIT, alert.id) if line["event"] == "AlertRaised"]
    assert told == [f"{CIRCUIT}@{first + timedelta(days=n):%Y-%m-%d}" for n in range(4)]
    assert total(world, first, world.now())["success_rate"] == 1 / 5


def test_a_long_outage_is_recorded_as_far_as_one_transaction_takes_it_and_shows_to_its_end(serving: World) -> None:
    world, first = serving, serving.now()
    world.run_until(world.at(hour=6, day=20))
    world.commit()
    world.run(hours=1)
    found = ledger(world).of_circuit(CIRCUIT, first.date(), world.now().date())
    assert [entry.state for entry in found] == [DayState.MISSING] * 20 + [DayState.DONE]
    assert len([entry for entry in found if entry.runs]) == SKIPPED_DAYS + 1
    assert total(world, first, world.now())["states"]["missing"] == 20


def test_a_circuit_is_expected_from_when_it_serves(world: World) -> None:
    start = world.now()
    world.run_until(world.at(hour=6, day=3))
    world.go_live()
    world.run_until(world.at(hour=12, day=1))
    found = ledger(world).days(start.date(), world.now().date())
    by_day = {entry["day"]: (entry["expected"], entry["not_done"]) for entry in found["days"]}
    assert by_day == {"2026-02-02": (0, {}), "2026-02-03": (1, {"missing": [CIRCUIT]})}


# ------------------------------------------------------------------------------------------------ filled by one command


def test_a_missed_day_is_filled_by_one_command_and_only_where_it_is_missing(worlds: Callable[..., World]) -> None:
    fleet = circuits(60)
    world = worlds(fleet=Fleet(fleet, max_invocations=5))
    world.commit()
    served = fleet[:4]
    for circuit in served:
        world.bring_to_production(1, circuit)
    world.run_until(world.at(hour=6, day=1))
    missed = world.now()
    reached = {circuit: world.at(hour=6, day=0 if circuit == served[0] else -1) for circuit in fleet}
    version = world.lake.commit(reached)
    world.tell(lambda app: app.read_delta_log(version, "event"))
    world.run(minutes=5)
    world.tell(lambda app: app.check_daily_scoring())
    world.run_until(world.at(hour=6, day=1))
    world.commit()
    world.run(hours=1)
    before = ledger(world).days(missed.date(), missed.date())["days"][0]
    assert before["not_done"] == {"missing": list(served[1:])}

    jobs = len(world.operations.started)
    _, asked = rescoring(world).fill(missed.date(), ERIK)
    assert asked == {circuit: f"{circuit}@{missed:%Y-%m-%d}.2" for circuit in served[1:]}
    world.run(hours=1)
    after = ledger(world).days(missed.date(), missed.date())["days"][0]
    assert after["not_done"] == {} and after["states"]["filled afterwards"] == 3 and after["states"]["done"] == 1
    assert after["success_rate"] == 1
    assert len(world.operations.started) == jobs + 3
    found = day(world, missed, served[1])
    assert [run.phase for run in found.runs] == [Phase.MISSED, Phase.SCORED]
    assert found.runs[1].asked_by == ERIK.by and found.retried

    assert rescoring(world).fill(missed.date(), ERIK)[1] == {}
    world.run(hours=1)
    assert len(world.operations.started) == jobs + 3, "a second fill finds nothing to do"


def test_a_circuit_that_breaks_again_does_not_keep_the_others_from_being_filled(worlds: Callable[..., World]) -> None:
    fleet = circuits(3)
    world = worlds(fleet=Fleet(fleet, max_invocations=2))
    world.commit()
    for circuit in fleet:
        world.bring_to_production(1, circuit)
    world.run_until(world.at(hour=6, day=1))
    missed = world.now()
    world.run_until(world.at(hour=6, day=1))
    world.commit()
    world.run(hours=1)
    world.fate(SCORING, HANGS)
    rescoring(world).fill(missed.date(), ERIK)
    world.run(hours=12)
    states = sorted(day(world, missed, circuit).state for circuit in fleet)
    assert states == ["failed", "filled afterwards", "filled afterwards"]
    assert world.app.slots.holders("invocation") == []


def test_a_fill_waits_for_a_deployment_and_is_made_by_what_serves_then(serving: World) -> None:
    world, failed = serving, serving.now()
    world.fate(SCORING, UNUSABLE)
    world.commit()
    world.run(hours=1)
    world.fate(PRODUCTION_DEPLOYMENT, Fate(minutes=30))
    world.bring_to_ready_for_production(2)
    world.approve(SECOND)
    rescoring(world).fill(failed.date(), ERIK)
    world.run(minutes=20)
    assert day(world, failed).state is DayState.FAILED
    world.run(hours=1)
    found = day(world, failed)
    assert (found.state, found.runs[-1].pair) == (DayState.DONE, world.release(SECOND).pair)


def test_a_failed_day_is_filled_as_another_run(serving: World) -> None:
    world, failed = serving, serving.now()
    world.fate(SCORING, UNUSABLE)
    world.commit()
    world.run(hours=1)
    rescoring(world).fill(failed.date(), ERIK)
    world.run(hours=1)
    found = day(world, failed)
    assert (found.state, found.retried) == (DayState.DONE, True)
    assert [run.run for run in found.runs] == [f"{CIRCUIT}@2026-01-31", f"{CIRCUIT}@2026-01-31.2"]


# --------------------------------------------------------------------------------------------------------- scored again


def test_a_day_scored_again_keeps_both_attempts_and_the_last_one_stands(serving: World) -> None:
    world, today = serving, serving.now()
    world.commit()
    world.run(hours=1)
    run, advanced = rescoring(world).score(CIRCUIT, today.date(), ERIK)
    assert advanced.verdict is Verdict.APPLIED
    world.run(hours=1)
    found = day(world, today)
    assert (found.published_run, found.duplicate, found.state) == (run, True, DayState.DONE)
    assert len(attempts(world, today)) == 2
    assert world.lake.published[CIRCUIT, "2026-01-31"] == found.runs[1].attempt_uri


def test_two_who_ask_for_the_same_day_at_once_get_one_run(serving: World) -> None:
    world, today = serving, serving.now()
    world.commit()
    world.run(hours=1)
    first, second = (
        rescoring(world).score(CIRCUIT, today.date(), ERIK),
        rescoring(world).score(CIRCUIT, today.date(), ERIK),
    )
    assert first[1].verdict is Verdict.APPLIED and second[1].verdict is Verdict.IGNORED
    assert second[1].reason == f"{first[0]} is scoring"
    world.run(hours=1)
    assert len(day(world, today).runs) == 2


def test_a_day_from_before_anything_served_can_be_scored_too(serving: World) -> None:
    world, before = serving, date(2026, 1, 20)
    assert ledger(world).of_circuit(CIRCUIT, before, before) == []
    run, _ = rescoring(world).score(CIRCUIT, before, ERIK)
    world.run(hours=1)
    (found,) = ledger(world).of_circuit(CIRCUIT, before, before)
    assert (found.state, found.published_run, run) == (DayState.FILLED, run, f"{CIRCUIT}@2026-01-20")
    world.commit()
    world.run(hours=1)
    assert day(world).state is DayState.DONE


def test_what_cannot_be_scored_is_refused_with_what_would_help(world: World) -> None:
    with pytest.raises(Invalid, match="day: is 2026-01-31, and its forecast origin has not come"):
        rescoring(world).score(CIRCUIT, date(2026, 1, 31), ERIK)
    with pytest.raises(Invalid, match="day: is 1900-01-01, and the ledger keeps 400 days"):
        rescoring(world).fill(date(1900, 1, 1), ERIK)
    world.lake.first_readings = date(2026, 1, 3)
    with pytest.raises(Invalid, match="there are no readings before 2026-01-03"):
        rescoring(world).score(CIRCUIT, date(2026, 1, 2), ERIK)
    world.commit(newest=world.at(hour=3))
    world.run(minutes=5)
    _, nothing = rescoring(world).score(CIRCUIT, world.now().date(), ERIK)
    assert nothing.verdict is Verdict.REFUSED and "nothing serves" in nothing.reason
    world.bring_to_production()
    world.run_until(world.at(hour=6, day=1))
    _, early = rescoring(world).score(CIRCUIT, world.now().date(), ERIK)
    assert early.verdict is Verdict.REFUSED and "bring readings first" in early.reason
    world.bring_to_ready_for_production(2)
    world.approve(SECOND)
    _, deploying = rescoring(world).score(CIRCUIT, world.at(hour=0, day=-1).date(), ERIK)
    assert deploying.verdict is Verdict.REFUSED and f"{SECOND} is changing what serves" in deploying.reason


# --------------------------------------------------------------------------------------------- forecasts of a bad model


@pytest.fixture
def two_models(serving: World) -> World:
    """Model 1 forecast from 30 January to 2 February, model 2 the 3rd."""
    world = serving
    for _ in range(3):
        world.commit()
        world.run(hours=1)
        world.run_until(world.at(hour=6, day=1))
    world.go_live(2)
    assert world.phase(SECOND) == ReleasePhase.LIVE
    return world


SPAN = (date(2026, 1, 25), date(2026, 2, 10))


def test_the_forecasts_of_a_model_are_found_by_day_and_page(two_models: World) -> None:
    found = ledger(two_models)
    listing = found.forecasts(CIRCUIT, 1, *SPAN, size=3)
    assert [entry["day"] for entry in listing.entries] == ["2026-01-30", "2026-01-31", "2026-02-01"]
    rest = found.forecasts(CIRCUIT, 1, *SPAN, size=3, continuation=listing.continuation)
    assert ([entry["day"] for entry in rest.entries], rest.continuation) == (["2026-02-02"], None)
    assert all(entry["stands"] for entry in (*listing.entries, *rest.entries))
    assert [entry["day"] for entry in found.forecasts(CIRCUIT, 2, *SPAN, size=3).entries] == ["2026-02-03"]
    assert found.forecasts(CIRCUIT, 1, date(2026, 2, 1), date(2026, 2, 1), size=3).entries[0]["day"] == "2026-02-01"


def test_a_bad_models_forecasts_are_made_anew_by_what_serves_and_stay_on_record(two_models: World) -> None:
    world = two_models
    asked = rescoring(world).score_again(CIRCUIT, 1, *SPAN, Asked("erik@example.org", "model 1 was bad"))
    assert (len(asked["asked"]), asked["left"], asked["by"]) == (4, {}, "model 2 with environment 1.0.0")
    world.run(hours=1)
    listing = ledger(world).forecasts(CIRCUIT, 1, *SPAN, size=10)
    assert [entry["stands"] for entry in listing.entries] == [False] * 4
    assert {entry["replaced_by"]["pair"]["model"] for entry in listing.entries} == {2}
    for entry in listing.entries:
        assert entry["attempt_uri"] in world.lake.attempts, "what was published once is kept"
        standing = world.lake.published[CIRCUIT, entry["day"]]
        assert world.lake.attempts[standing].pair.model == 2
    assert len(ledger(world).forecasts(CIRCUIT, 2, *SPAN, size=10).entries) == 5
    again = rescoring(world).score_again(CIRCUIT, 1, *SPAN, ERIK)
    assert again["asked"] == [], "nothing of model 1 stands any more"


def test_so_many_days_at_once_are_scored_again_and_asking_again_goes_on_with_the_rest(serving: World) -> None:
    world = serving
    for _ in range(MOST_UNDER_WAY + 2):
        world.commit()
        world.run(hours=1)
        world.run_until(world.at(hour=6, day=1))
    world.go_live(2)
    first = rescoring(world).score_again(CIRCUIT, 1, *SPAN, ERIK)
    assert (len(first["asked"]), len(first["left"])) == (MOST_UNDER_WAY, 3)
    assert "8 scorings are under way" in first["left"]["2026-02-09"]
    world.run(hours=1)
    second = rescoring(world).score_again(CIRCUIT, 1, *SPAN, ERIK)
    assert (len(second["asked"]), second["left"]) == (3, {})


def test_a_rollback_calls_off_every_scoring_that_the_bad_pair_was_asked_for(two_models: World) -> None:
    world = two_models
    for days in range(MOST_UNDER_WAY):
        rescoring(world).score(CIRCUIT, date(2026, 1, 20) + timedelta(days=days), ERIK)
    world.run(minutes=1)
    advanced = world.app.advance(ordered(RollbackRequested))
    assert advanced.verdict is Verdict.APPLIED, advanced.reason
    world.run(hours=1)
    serving = world.circuit().serving
    assert serving is not None and serving.model == 1
    states = {found.state for found in ledger(world).of_circuit(CIRCUIT, date(2026, 1, 20), date(2026, 1, 27))}
    assert states == {DayState.MISSING}, "they can be asked for again"


def test_a_past_day_that_was_asked_for_neither_counts_for_nor_against_what_is_observed(serving: World) -> None:
    world = serving
    world.commit()
    world.run(hours=1)
    world.bring_to_production(2)
    assert world.phase(SECOND) == ReleasePhase.OBSERVING
    world.fate(SCORING, Fate(), UNUSABLE)
    for past in (date(2026, 1, 28), date(2026, 1, 29)):
        rescoring(world).score(CIRCUIT, past, ERIK)
    world.run(hours=1)
    states = [found.state for found in ledger(world).of_circuit(CIRCUIT, date(2026, 1, 28), date(2026, 1, 29))]
    assert sorted(states) == [DayState.FAILED, DayState.FILLED]
    assert world.phase(SECOND) == ReleasePhase.OBSERVING


def test_the_model_that_serves_is_not_scored_again_by_itself(two_models: World) -> None:
    with pytest.raises(Invalid, match="model: 2 is what serves"):
        rescoring(two_models).score_again(CIRCUIT, 2, *SPAN, ERIK)


def test_scoring_a_past_day_changes_neither_what_comes_next_nor_what_was_observed(two_models: World) -> None:
    world = two_models
    before = world.circuit().scored_through
    rescoring(world).score(CIRCUIT, date(2026, 1, 31), ERIK)
    world.run(hours=1)
    assert world.circuit().scored_through == before
    runs = [item for item in world.items(CIRCUIT).values() if isinstance(item, ScoringRun)]
    assert len(runs) == 6
    world.run_until(world.at(hour=6, day=1))
    world.commit()
    world.run(hours=1)
    assert day(world).state is DayState.DONE


# -------------------------------------------------------------------------------------------------------- what it costs


def test_a_day_is_read_at_the_same_cost_however_long_the_history(serving: World) -> None:
    world, first = serving, serving.now()
    costs = []
    for _ in range(10):
        world.commit()
        world.run(hours=1)
        counted = CountedReads(world.store)
        ledger(world, counted).days(first.date(), first.date())
        ledger(world, counted).of_circuit(CIRCUIT, first.date(), first.date())
        ledger(world, counted).forecasts(CIRCUIT, 1, first.date(), first.date(), 10)
        ledger(world, counted).entries(first.date(), first.date(), 10)
        costs.append((counted.reads, counted.rows))
        world.run_until(world.at(hour=6, day=1))
    assert len(set(costs)) == 1, costs
    shards = len(world.store.shards)
    assert costs[0][0] == 2 * shards + 2 + 2 + shards


def test_pages_cut_between_circuits_days_and_lose_none(worlds: Callable[..., World]) -> None:
    fleet = circuits(5)
    world = worlds(fleet=Fleet(fleet))
    world.commit()
    for circuit in fleet:
        world.bring_to_production(1, circuit)
    today = world.now()
    world.run(hours=1)
    for circuit in fleet[:2]:
        rescoring(world).score(circuit, today.date(), ERIK)
        world.run(hours=1)
        rescoring(world).score(circuit, today.date(), ERIK)
        world.run(hours=1)
    for size in (1, 2, 3, 50):
        entries: list[Any] = []
        continuation = None
        for _ in range(20):
            listing = ledger(world).entries(today.date() - timedelta(days=3), today.date(), size, continuation)
            entries += listing.entries
            continuation = listing.continuation
            if continuation is None:
                break
        assert [(entry["circuit"], len(entry["runs"])) for entry in entries] == [
            (circuit, 3 if circuit in fleet[:2] else 1) for circuit in fleet
        ], size


def test_a_span_that_is_none_or_too_long_is_refused(world: World) -> None:
    for first, last in ((date(2026, 2, 1), date(2026, 1, 1)), (date(2026, 1, 1), date(2026, 2, 1))):
        with pytest.raises(Invalid, match="is no span"):
            ledger(world).days(first, last)


def test_the_days_of_a_plant_are_those_of_its_circuits_begun_or_not() -> None:
    world = World(Fleet(("P001_C001", "P002_C001", "P002_C002")))
    for circuit in world.fleet.circuits():
        world.go_live(circuit=circuit)
    world.run_until(world.at(hour=2, day=1))
    world.commit(circuits=("P002_C001",))
    world.run(hours=1)
    day = world.now().date()
    (of_fleet,), (of_plant,) = (ledger(world).days(day, day, plant)["days"] for plant in ("", "P002"))
    assert (of_fleet["expected"], of_plant["expected"], of_plant["states"]["done"]) == (3, 2, 1)
    assert of_plant["not_done"] == {"due": ["P002_C002"]}
    assert ledger(world).days(day, day, "P003")["days"] == []
