"""Monitoring, lived: a quarter of a fleet, runs that overlap, break, are missed or asked for, and what each costs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from shared.domain.alerts.alert import Alert
from shared.domain.alerts.alert import Phase as AlertPhase
from shared.domain.alerts.causes import Severity
from shared.domain.drift import Drift, DriftCheck
from shared.domain.lake import ROOT as LAKE
from shared.domain.machine import Verdict
from shared.domain.monitoring import ROOT as MONITOR
from shared.domain.monitoring import MonitoringRun
from shared.domain.monitoring.messages import Finding, MonitoringAsked, Scope
from shared.domain.performance import Degradation
from shared.domain.period import Every, named
from shared.domain.rules import Rules
from shared.domain.values import Monitoring
from shared.handlers import SLICE
from tests.builders import CIRCUIT, circuits
from tests.simulated import FAILS, HANGS, MONITORING, Fate, Killed
from tests.world import Fleet, World

SCHEDULED = Rules(
    monitored_every={
        Monitoring.PERFORMANCE: Every.MONTH,
        Monitoring.DRIFT: Every.QUARTER,
        Monitoring.WARNING: Every.DAY,
    }
)
UNSCHEDULED = dict.fromkeys(Monitoring, Every.NEVER)
SPRING = datetime(2026, 4, 1, 6, 10, tzinfo=UTC)


def serving(*names: str, rules: Rules = SCHEDULED) -> World:
    """A fleet in which version 1 serves everywhere; nothing was looked at yet."""
    unscheduled = rules.model_copy(update={"monitored_every": UNSCHEDULED})
    world = World(Fleet(names or (CIRCUIT,), unscheduled), at=SPRING)
    releases = [f"{circuit}:1" for circuit in world.fleet.circuits()]
    for circuit in world.fleet.circuits():
        world.register(circuit)
    for _ in ("registry", "production"):
        world.run(minutes=45)
        for release in releases:
            world.approve(release)
    world.run(minutes=45)
    world.commit()
    world.run(minutes=45)
    assert {world.phase(release) for release in releases} == {"live"}
    world.fleet = replace(world.fleet, common=rules)
    world.restart()
    return world


def asked(world: World, monitoring: Monitoring = Monitoring.DRIFT, among: str = "", **fields: Any) -> Any:
    given = {"asked_by": "erik@example.org", "request": f"request{len(runs(world)):04d}", **fields}
    return world.app.advance(MonitoringAsked(root=MONITOR, monitoring=monitoring, among=among, **given))


def runs(world: World) -> list[MonitoringRun]:
    found = [item for item in world.items(MONITOR).values() if isinstance(item, MonitoringRun)]
    return sorted(found, key=lambda run: (run.created_at, run.id))


def told(world: World) -> dict[str, set[str]]:
    """What the verdicts of every circuit came to, beside the verdicts themselves."""
    found: dict[str, set[str]] = {}
    for circuit in world.fleet.circuits():
        for item in world.items(circuit).values():
            if isinstance(item, (Degradation, Drift)):
                found.setdefault(circuit, set()).update(line["event"] for line in world.history(circuit, item.id))
    return found


def alerts(world: World) -> set[str]:
    """Keys of every alert that was ever raised."""
    return {alert.key for alert in _alerts(world)}


def open_alerts(world: World) -> set[str]:
    return {alert.key for alert in _alerts(world) if alert.phase != AlertPhase.CLOSED}


def _alerts(world: World) -> list[Alert]:
    roots = (*world.fleet.circuits(), MONITOR, LAKE)
    return [item for root in roots for item in world.items(root).values() if isinstance(item, Alert)]


# ------------------------------------------------------------------------------------------------------- what is told


def test_an_alert_tells_what_was_measured_its_limits_the_models_promise_and_where_to_read_more() -> None:
    limits = {Severity.WARNING: {"mae": 0.15}, Severity.CRITICAL: {"mae": 0.25}}
    world = serving(rules=SCHEDULED.model_copy(update={"error_limits": limits}))
    measured = {"mae": 0.31, "backtest_mae": 0.12}
    world.monitor.judge = lambda circuit, request: Finding(
        verdict="critical", reason="mae 0.31", numbers=measured, report="P001_C001.html"
    )
    asked(world, Monitoring.PERFORMANCE, period=named("2026-03"))
    world.run(hours=1)
    (told,) = [p for kind, _, p in world.topic.published if p.get("key") == f"performance:{CIRCUIT}"]
    (run,) = runs(world)
    assert told["evidence"] == {
        "measured": measured,
        "limits": {"mae": 0.25},
        "promised": {"mae": 0.12},
        "period": "2026-03",
        "report": f"api/circuits/{CIRCUIT}/checks/{run.id}/report",
    }


def test_an_alert_about_a_plant_leads_to_the_page_about_the_run() -> None:
    world = serving()
    world.monitor.judge = lambda circuit, request: Finding(verdict="drifted", reason="moved", scope=Scope.PLANT)
    world.monitor.shared = lambda request: ["P001"]
    asked(world)
    world.run(hours=1)
    (told,) = [p for kind, _, p in world.topic.published if p.get("key") == "drift:P001"]
    assert told["evidence"]["report"] == f"api/monitoring/runs/{runs(world)[0].id}/report"


# ------------------------------------------------------------------------------------------------------ one run's way


def test_telling_a_circuit_costs_one_transaction_and_a_slice_one_document() -> None:
    world = serving(*circuits(SLICE + 5))
    commits: Counter[str] = Counter()
    world.effects.interrupt = lambda point: commits.update([point])
    assert asked(world).verdict is Verdict.APPLIED
    world.run(minutes=10)
    (run,) = runs(world)
    assert (run.phase, run.counts) == ("completed", {"steady": 55})
    checks = [i for c in world.fleet.circuits() for i in world.items(c).values() if isinstance(i, DriftCheck)]
    assert len(checks) == 55
    transitions = Counter(line["event"] for line in world.history(MONITOR, run.id))
    assert transitions["FindingsRead"] + transitions["LastFindingsRead"] == 2
    inboxes = [key for _, key in world.rows() if "|5|" in key and f"judged:{run.id}" in key and key[0] != "$"]
    assert len(inboxes) == 55, "a fact, and so a transaction, for each circuit"
    relayed = commits["before SimulatedQueue.send"]
    assert commits["before MemoryStateStore.commit"] <= 55 + sum(transitions.values()) + 1 + relayed
    assert commits["before SimulatedDocuments.write"] == 1 + 2, "the request, and each slice once"


def test_a_run_is_looked_for_after_a_crash_and_never_started_twice() -> None:
    for point in range(1, 100, 3):
        world = serving()
        left = [point]

        def die(name: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Killed

        world.effects.interrupt = die
        world.tell(lambda app: app.advance(_asking()))
        world.run(hours=1)
        (run,) = runs(world)
        assert run.phase == "completed", point
        assert len(world.operations.started_for(MONITORING)) == 1, point
        assert [line["event"] for line in world.history(CIRCUIT, f"{CIRCUIT}!{run.id}")] == ["DriftAbsent"]
        if left[0] > 0:
            return
    raise AssertionError("there were more effects than expected")


def _asking() -> MonitoringAsked:
    return MonitoringAsked(
        root=MONITOR, monitoring=Monitoring.DRIFT, among="", asked_by="erik@example.org", request="request1"
    )


def test_a_job_that_breaks_is_tried_once_more_and_then_people_are_told() -> None:
    world = serving()
    world.fate(MONITORING, FAILS, Fate())
    asked(world)
    world.run(hours=1)
    assert [run.phase for run in runs(world)] == ["completed"] and not alerts(world)
    world.fate(MONITORING, FAILS, FAILS)
    asked(world)
    world.run(hours=1)
    assert runs(world)[-1].phase == "errored" and runs(world)[-1].reason
    assert open_alerts(world) == {"monitoring:drift"}
    asked(world)
    world.run(hours=1)
    assert not open_alerts(world), "the next one ended well"


def test_a_job_that_never_ends_is_given_up_and_stopped() -> None:
    world = serving()
    world.fate(MONITORING, HANGS)
    asked(world)
    world.run(hours=9)
    assert runs(world)[0].phase == "errored"
    assert not world.operations.running(MONITORING)


def test_findings_that_cannot_be_read_are_no_verdict() -> None:
    world = serving()
    world.lake.findings = _Lost()
    asked(world)
    world.run(hours=1)
    assert runs(world)[0].phase == "errored" and "no findings" in runs(world)[0].reason
    assert not world.circuit().drift


class _Lost(dict[str, Any]):
    """A folder into which nothing is ever written."""

    def __setitem__(self, key: str, value: Any) -> None:
        pass


# ------------------------------------------------------------------------------------------------ schedules and orders


def test_a_schedule_asks_for_each_period_once_however_often_it_ticks() -> None:
    world = serving()
    for _ in range(3):
        for _ in range(5):
            world.tell(lambda app: app.monitor())
            world.tell(lambda app: app.monitor())
            world.run(hours=1)
        world.run_until(world.at(hour=6, day=1))
    assert [run.id for run in runs(world)] == ["drift-2026-03-31", "performance-2026-03-31"]


def test_nothing_is_looked_at_before_its_last_readings_have_had_time_to_arrive() -> None:
    world = serving()
    world.run_until(datetime(2026, 5, 1, 5, 50, tzinfo=UTC))
    world.tell(lambda app: app.monitor())
    world.run(minutes=5)
    assert {run.period.name for run in runs(world)} == {"2026-03", "2026-Q1"}
    world.run_until(datetime(2026, 5, 1, 6, 10, tzinfo=UTC))
    world.tell(lambda app: app.monitor())
    world.run(minutes=5)
    assert runs(world)[-1].period == named("2026-04")


def test_missed_months_are_caught_up_oldest_first_and_of_drift_the_newest_quarter() -> None:
    world = serving()
    world.tell(lambda app: app.monitor())
    world.run_until(datetime(2026, 10, 3, 6, 0, tzinfo=UTC))
    for _ in range(10):
        world.tell(lambda app: app.monitor())
        world.run(hours=1)
    assert [run.period.name for run in runs(world) if run.monitoring is Monitoring.PERFORMANCE] == [
        f"2026-{month:02d}" for month in range(3, 10)
    ]
    assert [run.period.name for run in runs(world) if run.monitoring is Monitoring.DRIFT] == ["2026-Q1", "2026-Q3"]


def test_runs_of_a_kind_do_not_overlap_and_a_scheduled_one_comes_later() -> None:
    world = serving()
    world.fate(MONITORING, Fate(minutes=90))
    asked(world, Monitoring.PERFORMANCE)
    world.run(minutes=5)
    (first,) = runs(world)
    refused = asked(world, Monitoring.PERFORMANCE)
    assert (refused.verdict, refused.code) == (Verdict.REFUSED, "closed")
    assert refused.reason == f"{first.id} is running: ask again when it has ended"
    world.tell(lambda app: app.monitor())
    world.run(minutes=5)
    assert [run.monitoring for run in runs(world)] == [Monitoring.PERFORMANCE, Monitoring.DRIFT]
    world.run(hours=2)
    world.tell(lambda app: app.monitor())
    world.run(hours=1)
    assert [run.id for run in runs(world)][1:] == ["drift-2026-03-31", "performance-2026-03-31"]


def test_a_person_may_ask_about_a_circuit_a_plant_or_a_period() -> None:
    world = serving(*circuits(10))
    asked(world, Monitoring.PERFORMANCE, "P002", period=named("2026-02"), comment="before the overhaul")
    world.run(minutes=30)
    asked(world, Monitoring.PERFORMANCE, "P002_C003")
    world.run(minutes=30)
    first, second = runs(world)
    assert (first.period.name, first.asked_by, first.comment) == ("2026-02", "erik@example.org", "before the overhaul")
    assert second.period.name == "2026-03", "the newest month that is over"
    judged = {c: len(world.circuit(c).performance) for c in world.fleet.circuits()}
    assert judged == {c: {"P001": 0, "P002": 1}[c[:4]] + (c == "P002_C003") for c in judged}
    refused = asked(world, period=named("2026-04"))
    assert refused.verdict is Verdict.REFUSED and "2026-04 is not over" in refused.reason


def test_where_nothing_serves_no_job_is_started_and_it_is_said() -> None:
    world = World(Fleet(circuits(2), SCHEDULED), at=SPRING)
    world.commit()
    world.tell(lambda app: app.monitor())
    world.run(hours=1)
    assert {(run.monitoring, run.phase) for run in runs(world)} == {(kind, "completed") for kind in Monitoring}
    assert all("no circuit that was asked about has a model" in run.reason for run in runs(world))
    assert not world.operations.started_for(MONITORING) and not alerts(world)


def test_a_circuit_without_a_model_is_told_so_beside_the_others() -> None:
    world = serving()
    world.fleet = replace(world.fleet, names=circuits(2))
    world.restart()
    asked(world, Monitoring.PERFORMANCE)
    world.run(hours=1)
    assert [judged.verdict for judged in world.circuit("P001_C002").performance] == ["cannot say"]
    assert [judged.verdict for judged in world.circuit().performance] == ["ok"]


def test_new_readings_warn_of_drift_once_a_day() -> None:
    world = serving()
    for hour in (3, 6, 9, 12):
        world.run_until(world.at(hour=hour, minute=10, day=1 if hour == 3 else 0))
        world.commit()
        world.run(minutes=30)
    assert [run.id for run in runs(world)] == ["warning-2026-03-31", "warning-2026-04-01"]


def test_a_new_model_ends_what_was_said_of_the_former_one() -> None:
    world = serving()
    world.monitor.judge = lambda circuit, request: Finding(
        verdict="critical" if request["monitoring"] == Monitoring.PERFORMANCE else "drifted", reason="far off"
    )
    asked(world, Monitoring.PERFORMANCE)
    asked(world, Monitoring.DRIFT)
    world.run(hours=1)
    assert alerts(world) == {f"performance:{CIRCUIT}", f"drift:{CIRCUIT}"}
    world.bring_to_production(2)
    assert told(world)[CIRCUIT] == {
        *("PerformanceDegradedCritically", "DegradedModelReplaced", "DriftFound", "DriftedModelReplaced")
    }
    assert not open_alerts(world)
