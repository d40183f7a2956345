"""From readings to predictions, told as histories: commits, the day's scoring, and what is late, lost or told twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from shared.domain.alerts.alert import Alert
from shared.domain.lake import ROOT as LAKE
from shared.domain.lake import EtlPhase, FanOutPhase
from shared.domain.machine import Item
from shared.domain.messages import DeltaCommitted, EtlDue, StartScoring
from shared.domain.quality import CheckPhase
from shared.domain.release import Phase as ReleasePhase
from shared.domain.rules import Rules
from shared.domain.scoring import Phase
from shared.domain.values import Pair
from shared.errors import Permanent
from shared.relay import Work
from tests.builders import CIRCUIT, circuits, covered
from tests.simulated import ETL, FAILS, HANGS, NOT_TOLD, PRODUCTION_DEPLOYMENT, SCORING, UNUSABLE, Fate
from tests.world import Fleet, World

FIRST = f"{CIRCUIT}:1"
V1 = Pair(model=1, environment="1.0.0")


@pytest.fixture
def serving(world: World) -> World:
    """A circuit that has served for a day, at 06:00 of the next."""
    world.commit()
    world.bring_to_production()
    assert world.phase(FIRST) == ReleasePhase.LIVE
    world.run_until(world.at(hour=6, day=1))
    return world


def run_of(world: World, day: datetime | None = None) -> str:
    """The phase of a day's scoring, or nothing."""
    run = world.scoring(day=day)
    return str(run.phase) if run else ""


def started(world: World, purpose: str = SCORING, since: datetime | None = None) -> int:
    begun = [o for o in world.operations.started.values() if o.purpose == purpose]
    return len([o for o in begun if since is None or o.started_at >= since])


def checks(world: World, circuit: str = CIRCUIT) -> dict[str, str]:
    """The phase of each quality check by table and version."""
    found = {key.partition("!quality.")[2]: item for key, item in world.items(circuit).items() if "!quality." in key}
    return {name: str(item.phase) for name, item in found.items()}


def fan_outs(world: World, purpose: str) -> list[Item]:
    return [item for item in world.items("lake").values() if getattr(item, "purpose", "") == purpose]


# -------------------------------------------------------------------------------------------------- one scoring a day


def test_several_commits_a_day_score_once_at_the_first_that_reaches_the_origin(serving: World) -> None:
    world, today = serving, serving.now()
    world.commit(newest=world.at(hour=22, day=-1))
    world.run(minutes=10)
    assert run_of(world) == "", "the sensor's newest reading is before the origin"
    for hour in (0, 3, 6):
        world.commit(newest=world.at(hour=hour))
        world.run(minutes=10)
    assert run_of(world) == Phase.SCORED
    assert started(world, since=today) == 1
    run = world.scoring()
    assert run is not None and (run.origin, run.delta_version) == (world.at(hour=0), 2)
    assert world.lake.publications[CIRCUIT, "2026-01-31"] == 1


def test_late_readings_do_not_score_again(serving: World) -> None:
    world = serving
    world.commit()
    world.run(minutes=30)
    published = dict(world.lake.published)
    world.commit(newest=world.at(hour=3))
    world.commit(newest=world.at(hour=1, day=-1))
    world.run(hours=6)
    assert world.lake.published == published
    assert started(world, since=serving.at(hour=6)) == 1


def test_readings_of_the_next_day_score_the_next_day(serving: World) -> None:
    world = serving
    for _ in range(3):
        world.commit()
        world.run(minutes=30)
        assert run_of(world) == Phase.SCORED
        world.run_until(world.at(hour=6, day=1))
    assert sorted(day for _, day in world.lake.published) == ["2026-01-30", "2026-01-31", "2026-02-01", "2026-02-02"]


def test_the_origin_is_the_hour_that_the_policy_names(worlds: Callable[..., World]) -> None:
    world = worlds(fleet=Fleet(common=Rules(origin_hour=5)))
    world.commit()
    world.bring_to_production()
    world.run_until(world.at(hour=6, day=1))
    world.commit(newest=world.at(hour=4))
    world.run(minutes=10)
    assert run_of(world) == ""
    world.commit(newest=world.at(hour=5))
    world.run(minutes=10)
    assert run_of(world) == Phase.SCORED


def test_a_circuit_that_serves_nothing_is_not_scored(world: World) -> None:
    world.commit()
    world.tell(lambda app: app.check_daily_scoring())
    world.run(hours=1)
    assert world.scoring() is None and not started(world)
    assert checks(world) == {"table-1.0": CheckPhase.PASSED}


# ------------------------------------------------------------------------------------------------------- attempts


def test_a_broken_attempt_is_made_again_and_the_day_is_scored(serving: World) -> None:
    world = serving
    world.fate(SCORING, FAILS, FAILS)
    world.commit()
    world.run(hours=1)
    run = world.scoring()
    assert run is not None and (run.phase, run.attempt) == (Phase.SCORED, 3)
    assert world.topic.alerts() == {}


def test_a_late_event_of_a_broken_attempt_does_not_end_the_next_one(serving: World) -> None:
    world, today = serving, serving.now()
    world.fate(SCORING, Fate(state=FAILS.state, events=3, event_late=8), Fate(minutes=20))
    world.commit()
    world.run(hours=1)
    run = world.scoring()
    assert run is not None and (run.phase, run.attempt) == (Phase.SCORED, 2)
    assert started(world, since=today) == 2


def test_a_day_that_breaks_every_attempt_is_errored_and_people_hear_of_it(serving: World) -> None:
    world, today = serving, serving.now()
    world.fate(SCORING, FAILS, FAILS, FAILS)
    world.commit()
    world.run(hours=2)
    run = world.scoring()
    assert run is not None and run.phase == Phase.ERRORED
    assert started(world, since=today) == 3
    assert list(world.topic.alerts().values()) == [f"no forecast from 2026-01-31: {run.reason}"]
    assert "broke" in run.reason
    world.commit()
    world.run(hours=2)
    assert started(world, since=today) == 3, "a day that has ended is not begun again"


def test_unusable_predictions_are_not_published(serving: World) -> None:
    world = serving
    world.fate(SCORING, UNUSABLE)
    world.commit()
    world.run(hours=1)
    run = world.scoring()
    assert run is not None and (run.phase, run.attempt) == (Phase.FAILED, 1)
    assert (CIRCUIT, "2026-01-31") not in world.lake.published
    assert "every value is missing" in str(world.topic.alerts())


def test_each_attempt_takes_the_newest_readings(serving: World) -> None:
    world = serving
    world.fate(SCORING, Fate(minutes=30, state=FAILS.state, events=0))
    first = world.commit()
    world.run(minutes=5)
    newest = world.commit()
    world.run(hours=1)
    run = world.scoring()
    assert run is not None and (run.attempt, run.delta_version) == (2, newest) and newest > first


@pytest.mark.parametrize("minutes", [1, 60], ids=["before its next attempt", "under way"])
def test_a_scoring_whose_model_was_replaced_is_made_with_what_serves_now(serving: World, minutes: int) -> None:
    world = serving
    world.bring_to_ready_for_production(2)
    world.fate(SCORING, Fate(minutes=minutes, state=FAILS.state))
    world.fate(PRODUCTION_DEPLOYMENT, Fate(minutes=1))
    world.commit()
    world.run(minutes=2)
    world.approve(f"{CIRCUIT}:2")
    world.run(hours=2)
    run = world.scoring()
    assert run is not None and (run.phase, run.pair) == (Phase.SCORED, world.release(f"{CIRCUIT}:2").pair)
    events = [line["event"] for line in world.history(CIRCUIT, run.id)]
    assert "ScoringOvertaken" in events and "scoring" not in str(world.topic.alerts())


def test_a_scoring_job_whose_event_never_comes_is_found_by_the_look(serving: World) -> None:
    world = serving
    world.fate(SCORING, NOT_TOLD)
    world.commit()
    world.run(hours=1)
    run = world.scoring()
    assert run is not None and run.phase == Phase.SCORED
    (found,) = [line for line in world.history(CIRCUIT, run.id) if line["event"] == "ScoringVerified"]
    assert found["detail"]["noticed_by"] == "reconciler"


def test_a_scoring_job_that_hangs_is_ended_after_six_hours_and_leaves_its_slot(serving: World) -> None:
    world = serving
    world.fate(SCORING, HANGS)
    world.commit()
    world.run(hours=5)
    assert run_of(world) == Phase.SCORING
    assert len(world.app.slots.holders("invocation")) == 1, "a running job keeps its slot beyond its first lease"
    world.run(hours=1, minutes=15)
    assert run_of(world) == Phase.ERRORED
    assert not world.operations.running() and world.app.slots.holders("invocation") == []


def test_what_somebody_else_wrote_to_the_table_is_scored_and_judged_by_nobody(serving: World) -> None:
    world = serving
    version = world.lake.commit_of_a_stranger({CIRCUIT: world.at(hour=6), "P009_C009": world.at(hour=6)})
    world.tell(lambda app: app.read_delta_log(version, "event"))
    world.run(hours=1)
    assert run_of(world) == Phase.SCORED
    assert checks(world)[f"table-1.{version}"] == CheckPhase.CANNOT_SAY
    (check,) = [item for key, item in world.items(CIRCUIT).items() if key.endswith(f"quality.table-1.{version}")]
    assert check.reason == "the commit is not one of our ETL runs: nobody counted its readings"
    assert [fan_out.phase for fan_out in fan_outs(world, "foreign")] == [FanOutPhase.DONE]
    assert world.topic.alerts() == {} and not world.dead_letters()


# ----------------------------------------------------------------------------------------------------- missing readings


def test_the_daily_check_starts_what_no_event_started(serving: World) -> None:
    world = serving
    world.commit(hints=0)
    world.run(hours=1)
    assert run_of(world) == ""
    world.tell(lambda app: app.read_delta_log(None, "daily"))
    world.tell(lambda app: app.check_daily_scoring())
    world.run(hours=1)
    assert run_of(world) == Phase.SCORED


def test_missing_readings_are_waited_for_people_are_told_and_scored_when_they_come(serving: World) -> None:
    world = serving
    for _ in range(3):
        world.tell(lambda app: app.check_daily_scoring())
    world.run(minutes=10)
    run = world.scoring()
    assert run is not None and run.phase == Phase.WAITING_FOR_READINGS
    assert run.reason == f"the newest reading is of {world.at(hour=6, day=-1)}, before the origin {world.at(hour=0)}"
    assert list(world.topic.alerts().values()) == [f"no forecast from 2026-01-31: {run.reason}"]
    world.run_until(world.at(hour=15))
    world.commit()
    world.run(minutes=30)
    assert run_of(world) == Phase.SCORED
    assert (CIRCUIT, "2026-01-31") in world.lake.published


def test_a_day_whose_readings_never_come_is_missed_and_the_next_one_is_scored(serving: World) -> None:
    world, day = serving, serving.now()
    world.tell(lambda app: app.check_daily_scoring())
    world.run(hours=19)
    assert run_of(world, day) == Phase.MISSED
    assert world.topic.notices(f"missing-day:{CIRCUIT}") == ["raised", "worsened"]
    world.commit()
    world.run(hours=1)
    assert (run_of(world, day), run_of(world)) == (Phase.MISSED, Phase.SCORED)


def test_a_day_that_is_missed_after_the_next_was_scored_does_not_open_the_next_again(serving: World) -> None:
    world, missed = serving, serving.now()
    world.run_until(world.at(hour=10))
    world.tell(lambda app: app.check_daily_scoring())
    world.run_until(world.at(hour=1, day=1))
    world.commit()
    world.run_until(world.at(hour=5))
    assert (run_of(world, missed), run_of(world)) == (Phase.MISSED, Phase.SCORED)
    version = world.commit()
    world.run(hours=1)
    assert checks(world)[f"table-1.{version}"] == CheckPhase.PASSED
    assert world.circuit().scored_through == world.at(hour=0)


def test_readings_after_a_missed_day_of_the_same_date_change_its_check_and_not_its_scoring(
    worlds: Callable[..., World],
) -> None:
    """Checked at 01:00, the day was given up at 19:00; the commit of 20:00 must be heard all the same."""
    world = worlds()
    world.commit()
    world.bring_to_production()
    world.run_until(world.at(hour=1, day=1))
    world.tell(lambda app: app.check_daily_scoring())
    world.run_until(world.at(hour=20))
    assert run_of(world) == Phase.MISSED
    version = world.commit()
    world.run(hours=1)
    assert run_of(world) == Phase.MISSED
    assert checks(world)[f"table-1.{version}"] == CheckPhase.PASSED
    assert world.circuit().newest_reading == world.at(hour=20)


def test_a_late_attempt_of_yesterday_does_not_open_today_again(worlds: Callable[..., World]) -> None:
    world = worlds()
    world.commit()
    world.bring_to_production()
    world.run_until(world.at(hour=23, minute=30, day=1))
    yesterday = world.now()
    world.fate(SCORING, Fate(minutes=90, state=FAILS.state, events=1))
    world.commit()
    world.run_until(world.at(hour=0, minute=5, day=1))
    world.commit()
    world.run(minutes=30)
    assert (run_of(world, yesterday), run_of(world)) == (Phase.SCORING, Phase.SCORED)
    world.run(hours=2)
    assert run_of(world, yesterday) == Phase.SCORED
    version = world.commit()
    world.run(hours=1)
    assert checks(world)[f"table-1.{version}"] == CheckPhase.PASSED
    assert world.lake.publications[CIRCUIT, f"{world.now():%Y-%m-%d}"] == 1


# ------------------------------------------------------------------------------------------------ scoring and deploying


def test_scoring_waits_for_a_deployment_under_way_and_takes_what_serves_then(serving: World) -> None:
    world = serving
    world.fate(PRODUCTION_DEPLOYMENT, Fate(minutes=60))
    world.bring_to_ready_for_production(2)
    world.approve(f"{CIRCUIT}:2")
    world.run(minutes=5)
    world.commit()
    world.run(minutes=20)
    assert world.scoring() is None
    world.run(hours=1)
    run = world.scoring()
    assert run is not None and (run.phase, run.pair) == (Phase.SCORED, Pair(model=2, environment="1.0.0"))
    assert world.phase(f"{CIRCUIT}:2") == ReleasePhase.LIVE


def test_scoring_goes_on_with_what_serves_when_a_deployment_fails(serving: World) -> None:
    world = serving
    world.fate(PRODUCTION_DEPLOYMENT, Fate(minutes=60, state=FAILS.state, events=0))
    world.bring_to_ready_for_production(2)
    world.approve(f"{CIRCUIT}:2")
    world.run(minutes=5)
    world.commit()
    world.run(hours=2)
    run = world.scoring()
    assert run is not None and (run.phase, run.pair) == (Phase.SCORED, V1)


# ----------------------------------------------------------------------------------------------------- the Delta table


def test_a_hint_told_five_times_reads_one_commit_into_one_fan_out(world: World) -> None:
    world.commit(hints=5)
    world.run(minutes=10)
    (fan_out,) = fan_outs(world, "coverage")
    assert fan_out.phase == FanOutPhase.DONE
    assert checks(world) == {"table-1.0": CheckPhase.PASSED}


def test_a_commit_whose_event_was_lost_is_found_by_the_gap(world: World) -> None:
    world.commit()
    world.run(minutes=10)
    world.commit(hints=0)
    world.commit(hints=0)
    world.run(hours=1)
    assert set(checks(world)) == {"table-1.0"}
    world.commit()
    world.run(minutes=10)
    assert set(checks(world)) == {f"table-1.{version}" for version in range(4)}


def test_a_commit_that_changed_no_rows_starts_nothing(world: World) -> None:
    world.commit(data_changed=False)
    world.run(minutes=10)
    assert fan_outs(world, "coverage") == [] and checks(world) == {}


def test_a_hint_about_a_commit_that_is_not_there_starts_nothing(world: World) -> None:
    world.tell(lambda app: app.read_delta_log(99, "event"))
    world.run(minutes=10)
    assert fan_outs(world, "coverage") == [] and not world.dead_letters()


def test_readings_that_break_a_limit_fail_their_check_and_people_hear_of_it(world: World) -> None:
    world.commit(nulls=6)
    world.run(minutes=10)
    assert checks(world) == {"table-1.0": CheckPhase.FAILED}
    assert list(world.topic.alerts().values()) == ["nulls 25.0% of temperature (limit 5.0%)"]
    (told,) = [p for kind, _, p in world.topic.published if kind.endswith("AlertRaised")]
    assert told["evidence"]["measured"] == {"nulls.temperature": 0.25}
    assert told["evidence"]["limits"] == {"nulls.temperature": 0.05}


def test_a_table_made_anew_starts_its_versions_again_and_is_scored(serving: World) -> None:
    world = serving
    assert world.circuit().table == "table-1"
    world.lake.make_anew()
    version = world.commit()
    world.run(hours=1)
    circuit = world.circuit()
    assert (circuit.table, circuit.delta_version, version) == ("table-2", 0, 0)
    run = world.scoring()
    assert run is not None and (run.phase, run.table, run.delta_version) == (Phase.SCORED, "table-2", 0)
    assert {"table-1.0", "table-2.0"} <= set(checks(world))


def test_a_late_commit_of_the_former_table_does_not_bring_it_back(serving: World) -> None:
    world = serving
    world.lake.make_anew()
    world.commit()
    world.run(minutes=10)
    world.told(covered(world.at(hour=5), version=7, table="table-1"))
    world.run(minutes=10)
    circuit = world.circuit()
    assert (circuit.table, circuit.delta_version) == ("table-2", 0)
    assert "table-1.7" in checks(world)


def test_a_commit_fans_out_to_more_circuits_than_one_transaction_takes(worlds: Callable[..., World]) -> None:
    world = worlds(fleet=Fleet(circuits(120)))
    world.commit()
    world.run(minutes=10)
    (fan_out,) = fan_outs(world, "coverage")
    events = [line["event"] for line in world.history("lake", fan_out.id)]
    assert events == ["DeltaCommitted", "SliceRead", "SliceRead", "LastSliceRead"]
    assert all(checks(world, circuit) == {"table-1.0": CheckPhase.PASSED} for circuit in world.fleet.circuits())


def test_a_fan_out_whose_report_is_lost_ends_and_people_hear_of_it(world: World) -> None:
    world.commit(hints=0)
    world.told(DeltaCommitted(root="lake", table="table-1", version=0, report="runs/none.json"))
    world.run(hours=6)
    (fan_out,) = fan_outs(world, "coverage")
    assert fan_out.phase == FanOutPhase.FAILED
    assert world.topic.alerts() and world.dead_letters()


# ------------------------------------------------------------------------------------------------------------ ETL runs


def test_an_etl_run_leads_to_the_days_scoring(serving: World) -> None:
    world = serving
    for _ in range(3):
        world.told(EtlDue(root="lake", slot=world.at(hour=6)))
    world.run(hours=1)
    (run,) = world.etl_runs()
    assert run.phase == EtlPhase.COMPLETED
    assert started(world, ETL) == 1
    assert run_of(world) == Phase.SCORED


@pytest.mark.parametrize("fate", [FAILS, HANGS], ids=["breaks", "hangs"])
def test_an_etl_run_that_does_not_end_well_is_failed_and_people_hear_of_it(world: World, fate: Fate) -> None:
    world.fate(ETL, fate)
    world.app.start_etl(world.now())
    world.run(hours=3)
    (run,) = world.etl_runs()
    assert run.phase == (EtlPhase.FAILED if fate is FAILS else EtlPhase.OVERDUE)
    assert len(world.topic.alerts()) == 1
    world.run(hours=4)
    (run,) = world.etl_runs()
    assert run.phase == EtlPhase.FAILED
    assert not world.operations.running()
    world.app.start_etl(world.now())
    world.run(hours=1)
    assert [item.phase for item in world.etl_runs()] == [EtlPhase.FAILED, EtlPhase.COMPLETED]


def test_a_late_etl_run_still_completes(world: World) -> None:
    world.fate(ETL, Fate(minutes=60 * 5))
    world.app.start_etl(world.now())
    world.run(hours=6)
    (run,) = world.etl_runs()
    assert run.phase == EtlPhase.COMPLETED
    assert len(world.topic.alerts()) == 1


# --------------------------------------------------------------------------------------------------------------- slots


def test_no_more_jobs_run_at_once_than_there_are_slots_and_every_circuit_is_scored(
    worlds: Callable[..., World],
) -> None:
    fleet = circuits(8)
    world = worlds(fleet=Fleet(fleet, max_invocations=3))
    world.commit()
    for circuit in fleet:
        world.bring_to_production(1, circuit)
    world.run_until(world.at(hour=6, day=1))
    most = 0
    world.commit()
    world.operations.fate_of = lambda purpose: Fate(minutes=10)
    for _ in range(120):
        world.run(minutes=1)
        most = max(most, len(world.operations.running(SCORING)))
    assert most == 3
    scored = [world.scoring(circuit) for circuit in fleet]
    assert all(run is not None and run.phase == Phase.SCORED and run.attempt == 1 for run in scored)
    assert world.app.slots.holders("invocation") == []
    assert not world.dead_letters()


def test_the_longer_a_command_waits_for_a_slot_the_less_often_it_asks(worlds: Callable[..., World]) -> None:
    world = worlds(fleet=Fleet(max_invocations=1))
    world.commit()
    world.bring_to_production()
    world.app.slots.acquire("invocation", "somebody else", 1, timedelta(days=3))
    world.run_until(world.at(hour=6, day=1))
    world.commit()
    world.run(minutes=30)
    (waiting,) = world.queue.messages
    work = Work.from_json(waiting.text)
    assert isinstance(work.command, StartScoring) and work.attempt == 0
    assert 25 < work.waits < 50, "every five seconds it would have asked 360 times"
    world.app.slots.release("invocation", "somebody else")
    world.run(minutes=5)
    assert run_of(world) == Phase.SCORED


def test_a_slot_of_a_job_that_could_not_start_is_free_again(worlds: Callable[..., World]) -> None:
    def broken(point: str) -> None:
        if point == "before SimulatedPlatform.start_scoring":
            raise Permanent("the endpoint is gone")

    world = worlds(fleet=Fleet(max_invocations=1))
    world.commit()
    world.bring_to_production()
    world.run_until(world.at(hour=6, day=1))
    world.effects.interrupt = broken
    world.commit()
    world.run(minutes=10)
    assert run_of(world) == Phase.ERRORED
    assert world.app.slots.holders("invocation") == []


def test_a_running_scoring_is_not_disturbed_by_a_repeated_daily_check(serving: World) -> None:
    world, today = serving, serving.now()
    world.fate(SCORING, Fate(minutes=60))
    world.commit()
    world.run(minutes=10)
    for _ in range(4):
        world.tell(lambda app: app.check_daily_scoring(), after=timedelta(minutes=5))
    world.run(hours=2)
    assert run_of(world) == Phase.SCORED
    assert started(world, since=today) == 1


def test_a_commit_that_fails_most_circuits_is_one_alert_about_the_etl_or_the_plant() -> None:
    world = World(Fleet(circuits(8)))
    bad = world.fleet.circuits()[:6]
    world.commit(circuits=bad, nulls=20)
    world.run(minutes=10)
    (alert,) = (item for item in world.items(LAKE).values() if isinstance(item, Alert))
    assert (alert.key, alert.severity) == ("quality:lake.coverage", "critical")
    assert alert.reason == "6 circuits of the fleet fail: look at the ETL or the plant"
    for circuit in bad:
        assert checks(world, circuit) == {"table-1.0": CheckPhase.FAILED}
        assert not [item for item in world.items(circuit).values() if isinstance(item, Alert)], "not six alerts"
    world.commit(circuits=bad[:5])
    world.commit(circuits=bad[5:], nulls=20)
    world.run(minutes=10)
    (alert,) = (item for item in world.items(LAKE).values() if isinstance(item, Alert))
    assert alert.phase == "closed", "the next commit is as it should be"
    (own,) = (item for item in world.items(bad[5]).values() if isinstance(item, Alert))
    assert own.key == f"quality:{bad[5]}", "one sensor's trouble is its own"
