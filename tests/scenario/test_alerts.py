"""Alerts: one for each cause, repeated by policy, looked after by people, over by themselves, told once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from shared.archive import Archive
from shared.domain import messages as m
from shared.domain.alerts.alert import Alert, Phase
from shared.domain.alerts.causes import Route, Severity
from shared.domain.alerts.messages import AlertAcknowledged
from shared.domain.fleet import ROOT as FLEET
from shared.domain.machine import Verdict
from shared.domain.rules import Rules
from shared.queries import Queries
from shared.relay import Work
from tests.builders import CIRCUIT, ENGINEER, circuits, model_tags
from tests.scenario.counted import CountedReads
from tests.simulated import ETL, FAILS, SCORING, UNUSABLE, Killed
from tests.world import Fleet, World

SCORING_KEY = f"scoring:{CIRCUIT}"
MISSING_KEY = f"missing-day:{CIRCUIT}"


def alerts(world: World, root: str = CIRCUIT) -> list[Alert]:
    """Every alert of a root, open or closed, oldest first."""
    found = [item for item in world.items(root).values() if isinstance(item, Alert)]
    return sorted(found, key=lambda alert: int(alert.id.rpartition(".")[2]))


def score(world: World, hour: int = 6) -> None:
    """The next day's readings arrive, and its scoring runs."""
    world.run_until(world.at(hour=hour, day=1))
    world.commit()
    world.run(hours=2)


def recover(world: World) -> None:
    """The next day is scored, before what was told today is told again."""
    score(world, hour=3)


def acknowledge(world: World, key: str) -> Verdict:
    alert = world.queries.alert(key)
    assert alert is not None
    order = AlertAcknowledged(
        root=alert["root"], alert=alert["id"], person=ENGINEER, reason="looking into it", request=f"request-{key}"
    )
    return world.app.advance(order).verdict


@pytest.fixture
def serving(world: World) -> World:
    world.go_live()
    assert not alerts(world), "all went well"
    return world


@pytest.fixture
def troubled(serving: World) -> World:
    """A circuit whose day's predictions were refused."""
    serving.fate(SCORING, UNUSABLE)
    score(serving)
    return serving


def test_a_day_that_fails_is_told_once_and_is_over_when_the_next_one_is_scored(troubled: World) -> None:
    (alert,) = alerts(troubled)
    assert (alert.key, alert.severity, alert.plant, alert.circuit) == (SCORING_KEY, "critical", "P001", "C001")
    assert "every value is missing" in alert.reason
    recover(troubled)
    (closed,) = alerts(troubled)
    assert (closed.phase, closed.note) == (Phase.CLOSED, f"{CIRCUIT}@{troubled.now():%Y-%m-%d} is scored")
    assert troubled.topic.notices(SCORING_KEY) == ["raised", "closed"]


def test_a_cause_that_is_seen_again_is_the_same_alert_and_is_counted(troubled: World) -> None:
    troubled.fate(SCORING, UNUSABLE)
    score(troubled)
    (alert,) = alerts(troubled)
    assert alert.count == 2
    assert alert.about == f"{CIRCUIT}@{troubled.now():%Y-%m-%d}"
    assert troubled.topic.notices(SCORING_KEY).count("raised") == 1


def test_a_cause_that_returns_after_it_was_over_is_another_alert(troubled: World) -> None:
    recover(troubled)
    troubled.fate(SCORING, UNUSABLE)
    score(troubled)
    assert [alert.phase for alert in alerts(troubled)] == [Phase.CLOSED, Phase.OPEN]
    assert troubled.topic.notices(SCORING_KEY) == ["raised", "closed", "raised"]


@pytest.mark.parametrize(("severity", "told"), [("critical", 4), ("warning", 1)])
def test_an_open_alert_is_repeated_as_often_as_the_policy_says(
    worlds: Callable[..., World], severity: str, told: int
) -> None:
    repeats = {Severity.CRITICAL: timedelta(hours=30), Severity.WARNING: timedelta(days=5)}
    world = worlds(fleet=Fleet(common=Rules(alert_repeats=repeats)))
    if severity == "critical":
        world.order(m.FleetStopped, circuit=FLEET)
        key, begins = "fleet-stopped:fleet", timedelta(days=1)
    else:
        world.order(m.HoldRequested)
        key, begins = f"hold:{CIRCUIT}", timedelta(days=7)
    world.run_until(world.now() + begins + timedelta(days=5, hours=1))
    assert world.topic.notices(key) == ["raised"] + ["repeated"] * told


def test_who_looks_after_an_alert_is_left_in_peace_until_the_acknowledgement_lapses(troubled: World) -> None:
    assert acknowledge(troubled, SCORING_KEY) is Verdict.APPLIED
    (alert,) = alerts(troubled)
    assert (alert.phase, alert.acknowledged_by) == (Phase.ACKNOWLEDGED, ENGINEER.username)
    assert acknowledge(troubled, SCORING_KEY) is Verdict.IGNORED
    troubled.run(days=6)
    assert troubled.topic.notices(SCORING_KEY) == ["raised", "acknowledged"]
    troubled.run(days=1, hours=12)
    assert troubled.topic.notices(SCORING_KEY) == ["raised", "acknowledged", "repeated"]
    (alert,) = alerts(troubled)
    assert (alert.phase, alert.acknowledged_by) == (Phase.OPEN, "")
    assert "every value is missing" in alert.reason, "what is wrong is still what was wrong"


def test_an_alert_that_worsens_is_told_even_to_who_looks_after_it(serving: World) -> None:
    serving.run_until(serving.at(hour=6, day=1))
    serving.tell(lambda app: app.check_daily_scoring())
    serving.run(minutes=5)
    (late,) = alerts(serving)
    assert (late.key, late.severity) == (MISSING_KEY, "warning")
    acknowledge(serving, MISSING_KEY)
    serving.run(hours=19)
    assert serving.topic.notices(MISSING_KEY) == ["raised", "acknowledged", "worsened"]
    (missed,) = alerts(serving)
    assert (missed.phase, missed.severity, missed.acknowledged_by) == (Phase.OPEN, "critical", "")


def test_a_closed_alert_takes_no_acknowledgement(troubled: World) -> None:
    recover(troubled)
    assert acknowledge(troubled, SCORING_KEY) is Verdict.REFUSED


def test_an_etl_run_that_fails_alerts_about_the_lake_until_one_succeeds(world: World) -> None:
    world.fate(ETL, FAILS)
    world.tell(lambda app: app.start_etl(world.now()))
    world.run(hours=1)
    (alert,) = alerts(world, "lake")
    assert (alert.key, alert.plant, alert.circuit, alert.phase) == ("etl:lake", "", "", Phase.OPEN)
    world.tell(lambda app: app.start_etl(world.now()))
    world.run(hours=1)
    assert [each.phase for each in alerts(world, "lake")] == [Phase.CLOSED]


def test_a_gate_that_nobody_answers_is_told_at_half_its_time_and_before_its_end(world: World) -> None:
    world.register()
    world.run(hours=13)
    key = f"approval-ageing:{CIRCUIT}:1:registry"
    assert world.topic.notices(key) == ["raised"]
    (alert,) = alerts(world)
    assert alert.reason.startswith(
        f"{CIRCUIT}:1 waits for registry approval by ML-Engineers and expires 2026-01-31 06:00"
    )
    world.run(hours=10)
    assert world.topic.notices(key) == ["raised", "worsened"]
    world.run(hours=2)
    assert world.phase(f"{CIRCUIT}:1") == "expired"
    assert world.topic.notices(key) == ["raised", "worsened", "closed"]


def test_a_gate_that_is_answered_in_time_or_asked_anew_is_not_ageing(world: World) -> None:
    world.register()
    world.run(hours=11)
    world.register(digest="second", tags={**model_tags(), "mae": "0.12"})
    world.run(hours=2)
    world.approve(f"{CIRCUIT}:1")
    world.run(hours=11)
    assert not [told for told in world.topic.alerts().values() if "registry approval" in told]


def train(world: World, circuit: str, commit: str, fails: bool) -> None:
    """A build has a circuit trained, and the training ends."""
    world.told(m.TrainingRequested(root=circuit, commit=commit, author="tess@example.org", pull_request="1"))
    world.run(minutes=1)
    run = next(i for i in world.items(circuit).values() if i.id == f"{circuit}~{commit}")
    ended = {"root": circuit, "item": run.id, "step": run.step, "command_id": f"{run.id}.train"}
    if fails:
        world.told(m.TrainingFailed(**ended, error="out of memory"))
    else:
        world.told(m.TrainingStarted(**ended, reference="job"))
    world.run(minutes=1)


def test_trainings_that_fail_often_in_the_whole_fleet_are_told_until_they_no_longer_do(
    worlds: Callable[..., World],
) -> None:
    names = circuits(6)
    world = worlds(fleet=Fleet(names=names))
    for name in names[:5]:
        train(world, name, "c0ffee", fails=True)
    world.tell(lambda app: app.watch())
    world.run(minutes=1)
    assert not alerts(world, FLEET), "five in a day are chance"
    train(world, names[5], "c0ffee", fails=True)
    for _ in range(3):
        world.tell(lambda app: app.watch())
        world.run(minutes=15)
    (alert,) = alerts(world, FLEET)
    assert (alert.key, alert.severity, alert.count) == ("training-failures:fleet", "critical", 1)
    assert alert.reason == "6 trainings failed within 24 hours"
    world.run(days=1)
    world.tell(lambda app: app.watch())
    world.run(minutes=1)
    assert [each.phase for each in alerts(world, FLEET)] == [Phase.CLOSED]


def test_dead_letters_are_told_once_and_are_over_when_somebody_has_read_of_them(world: World) -> None:
    command = m.CancelOperation(root=CIRCUIT, item=CIRCUIT, step=0, reference="job-1")
    world.app.give_up(Work(command), "the platform refuses")
    for _ in range(2):
        world.tell(lambda app: app.watch())
        world.run(minutes=15)
    (alert,) = alerts(world, FLEET)
    assert alert.key == "dead-letters:fleet" and "1 new, the newest" in alert.reason
    assert acknowledge(world, alert.key) is Verdict.APPLIED
    (read,) = alerts(world, FLEET)
    assert (read.phase, read.acknowledged_by) == (Phase.CLOSED, ENGINEER.username)


ROUTES = (
    Route(webhook="on-call", severities=(Severity.CRITICAL,)),
    Route(webhook="plant-two", plants=("P002",)),
    Route(webhook="plant-one", plants=("P001",)),
    Route(webhook="plant-one", severities=(Severity.WARNING,)),
)


def test_alerts_go_where_plant_and_severity_say_once_each(worlds: Callable[..., World]) -> None:
    world = worlds(fleet=Fleet(common=Rules(alert_routes=ROUTES)))
    world.go_live()
    world.fate(SCORING, UNUSABLE)
    score(world)
    recover(world)
    told = {
        name: [notice["data"]["change"] for notice in posted.values()] for name, posted in world.webhooks.posted.items()
    }
    assert told == {"on-call": ["raised", "closed"], "plant-one": ["raised", "closed"]}
    assert world.webhooks.posted["on-call"] == world.webhooks.posted["plant-one"]


def test_a_webhook_that_is_down_keeps_neither_the_topic_nor_the_others(worlds: Callable[..., World]) -> None:
    world = worlds(fleet=Fleet(common=Rules(alert_routes=ROUTES)))
    world.go_live()
    world.webhooks.down = True
    world.fate(SCORING, UNUSABLE)
    score(world)
    assert world.topic.notices(SCORING_KEY) == ["raised"] and not world.webhooks.posted
    world.webhooks.down = False
    world.run(hours=1)
    assert len(world.webhooks.posted["on-call"]) == 1


@pytest.mark.parametrize("dies_at", range(0, 60, 4), ids=lambda n: f"effect-{n}")
def test_whatever_dies_an_alert_is_raised_and_closed_once(worlds: Callable[..., World], dies_at: int) -> None:
    world = worlds(fleet=Fleet(common=Rules(alert_routes=ROUTES)))
    world.go_live()
    world.fate(SCORING, UNUSABLE)
    begun = world.effects.points

    def die(point: str) -> None:
        if world.effects.points == begun + dies_at:
            raise Killed(point)

    world.effects.interrupt = die
    score(world)
    recover(world)
    (alert,) = alerts(world)
    assert (alert.phase, alert.count) == (Phase.CLOSED, 1)
    assert world.topic.notices(SCORING_KEY) == ["raised", "closed"]
    assert len(world.webhooks.posted["on-call"]) == 2


def test_open_alerts_are_listed_the_critical_first_by_plant_and_severity_in_pages(
    worlds: Callable[..., World],
) -> None:
    names = circuits(12)
    world = worlds(fleet=Fleet(names=names))
    for name in names:
        world.order(m.HoldRequested, circuit=name)
    world.order(m.FleetStopped, circuit=FLEET)
    world.run(days=8)
    queries = world.queries
    every = queries.alerts(200).entries
    assert every[0]["key"] == "fleet-stopped:fleet" and len(every) == 13
    assert len(queries.alerts(200, severity=Severity.WARNING).entries) == 12
    assert [a["key"] for a in queries.alerts(200, severity=Severity.CRITICAL).entries] == ["fleet-stopped:fleet"]
    assert {alert["plant"] for alert in queries.alerts(200, plant="P002").entries} == {"P002"}
    found: list[str] = []
    continuation, pages = None, 0
    while pages == 0 or continuation:
        listing = queries.alerts(5, continuation, plant="P001")
        found += [alert["key"] for alert in listing.entries]
        continuation, pages = listing.continuation, pages + 1
    assert sorted(found) == sorted(f"hold:{name}" for name in names if name.startswith("P001"))


def test_what_is_open_is_read_without_regard_to_what_was(troubled: World) -> None:
    counted = CountedReads(troubled.store)
    queries = Queries(counted, Archive(troubled.documents))
    queries.alerts(50)
    before = (counted.reads, counted.rows)
    for _ in range(4):
        score(troubled)
        troubled.fate(SCORING, UNUSABLE)
        score(troubled)
    counted.reads = counted.rows = 0
    assert len(queries.alerts(50).entries) == 1
    assert (counted.reads, counted.rows) == before
