"""What verdicts about a circuit come to: persistence, what ends a standing finding, and what changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from shared import records
from shared.domain import circuit as circuit_domain
from shared.domain.alerts.alert import Alert
from shared.domain.circuit import Circuit
from shared.domain.drift import Drift
from shared.domain.machine import Item, Verdict
from shared.domain.monitoring import messages as mm
from shared.domain.performance import Degradation
from shared.domain.period import Every, named, newest_period
from shared.domain.persistence import TAIL, Persistence, PersistenceRules
from shared.domain.rules import Rules
from shared.domain.values import Pair
from tests.builders import CIRCUIT, START

SERVING = Pair(model=3, environment="1.0.0")


@dataclass
class Judge:
    """One circuit to which verdicts are told, one period after another."""

    rules: Rules = field(default_factory=Rules)
    circuit: Circuit = field(default_factory=lambda: Circuit(id=CIRCUIT, serving=SERVING, desired=SERVING))
    items: dict[str, Item] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    told: int = 0

    def performance(self, verdict: str, period: str = "", **finding: Any) -> None:
        self._tell(mm.PerformanceJudged, verdict, period or f"2026-{1 + self.told:02d}", finding)

    def drift(self, verdict: str, period: str = "", **finding: Any) -> None:
        self._tell(mm.DriftJudged, verdict, period or f"2026-{1 + self.told:02d}", finding)

    def warning(self, verdict: str) -> None:
        self._tell(mm.DriftWarningJudged, verdict, f"2026-01-{1 + self.told:02d}", {})

    def _tell(self, judged: type[mm.CircuitJudged], verdict: str, period: str, finding: dict[str, Any]) -> None:
        self.told += 1
        found = mm.Finding(**{"verdict": verdict, "reason": "measured", "model": 3, **finding})
        run = f"{judged.__name__}-{self.told}"
        self.decide(judged(root=CIRCUIT, run=run, period=named(period), finding=found))

    def decide(self, event: Any) -> None:
        decision = circuit_domain.decide(self.circuit, self.items, event, self.rules, START + timedelta(days=self.told))
        assert decision.verdict is Verdict.APPLIED, decision.reason
        assert decision.root is None or isinstance(decision.root, Circuit)
        self.circuit = decision.root or self.circuit
        for item in decision.items.values():
            self.items.pop(item.id, None)
            if item.phase not in records.KINDS[type(item)].ends:
                self.items[item.id] = item
        self.events += [line.event for line in decision.history]

    @property
    def standing(self) -> list[str]:
        return [item.phase for item in self.items.values() if isinstance(item, (Degradation, Drift))]

    @property
    def alerts(self) -> dict[str, str]:
        """Open alerts: how severe each is."""
        return {item.key: item.severity for item in self.items.values() if isinstance(item, Alert)}

    def turns(self) -> list[str]:
        """What the verdicts came to."""
        turns = {*mm.StandingChanged.__subclasses__(), *mm.DriftFound.__subclasses__()}
        names = {event.__name__ for event in turns}
        return [event for event in self.events if event in names]


@pytest.mark.parametrize(
    ("verdicts", "turns"),
    [
        (["warning"], []),
        (["warning", "ok", "warning"], ["PerformanceDegraded"]),
        (["warning", "ok", "ok", "warning"], []),
        (["warning", "cannot say", "warning"], ["PerformanceDegraded"]),
        (["warning", "warning", "ok"], ["PerformanceDegraded"]),
        (["warning", "warning", "ok", "ok"], ["PerformanceDegraded", "PerformanceRecovered"]),
        (["warning", "warning", "cannot say", "cannot say", "cannot say"], ["PerformanceDegraded"]),
        (["critical"], ["PerformanceDegradedCritically"]),
        (["critical", "cannot say"], ["PerformanceDegradedCritically"]),
        (["critical", "ok"], ["PerformanceDegradedCritically", "PerformanceRecovered"]),
        (
            ["critical", "warning", "ok", "ok"],
            ["PerformanceDegradedCritically", "PerformanceEased", "PerformanceRecovered"],
        ),
        (["warning", "warning", "critical"], ["PerformanceDegraded", "PerformanceDegradedCritically"]),
        (["critical", "critical", "critical"], ["PerformanceDegradedCritically"]),
        (["cannot say"] * 5, []),
    ],
    ids=" ".join,
)  # fmt: skip
def test_errors_alarm_when_they_persist_and_are_over_when_they_are_good_again(
    verdicts: Sequence[str], turns: Sequence[str]
) -> None:
    judge = Judge()
    for verdict in verdicts:
        judge.performance(verdict)
    assert judge.turns() == turns


def test_how_often_a_verdict_has_to_come_back_is_configured() -> None:
    patient = PersistenceRules(
        performance_critical=Persistence(bad=3, of=4), performance_warning=Persistence(bad=4, of=4)
    )
    judge = Judge(Rules(persistence=patient))
    for verdict in ("critical", "critical", "ok"):
        judge.performance(verdict)
    assert judge.turns() == []
    judge.performance("critical")
    assert judge.turns() == ["PerformanceDegradedCritically"]


def test_a_period_judged_again_counts_once_with_its_newer_verdict() -> None:
    judge = Judge()
    judge.performance("warning", "2026-01")
    judge.performance("warning", "2026-01")
    assert judge.turns() == []
    judge.performance("warning", "2026-02")
    assert judge.alerts == {f"performance:{CIRCUIT}": "warning"}
    judge.performance("ok", "2026-01")
    judge.performance("ok", "2026-02")
    assert judge.turns() == ["PerformanceDegraded", "PerformanceRecovered"]
    assert judge.alerts == {}
    assert [(one.period, one.verdict) for one in judge.circuit.performance] == [("2026-02", "ok"), ("2026-01", "ok")]


def test_verdicts_on_a_former_model_do_not_count_against_the_one_that_serves() -> None:
    judge = Judge()
    judge.performance("warning", model=2)
    judge.performance("critical", model=2)
    judge.performance("warning", model=3)
    assert judge.turns() == []


@pytest.mark.parametrize(
    ("verdicts", "turns", "standing"),
    [
        (["drifted"], ["DriftFound"], ["drifted"]),
        (["drifted", "drifted"], ["DriftFound"], ["drifted"]),
        (["drifted", "cannot say"], ["DriftFound"], ["drifted"]),
        (["drifted", "steady"], ["DriftFound", "DriftOver"], []),
        (["steady", "cannot say"], [], []),
    ],
    ids=str,
)
def test_a_run_that_decides_begins_and_ends_drift(
    verdicts: Sequence[str], turns: Sequence[str], standing: Sequence[str]
) -> None:
    judge = Judge()
    for verdict in verdicts:
        judge.drift(verdict)
    assert (judge.turns(), judge.standing) == (turns, standing)


def test_a_run_that_only_warns_begins_and_ends_no_more_than_a_suspicion() -> None:
    judge = Judge()
    judge.warning("warning")
    assert judge.standing == ["suspected"]
    judge.warning("steady")
    assert judge.standing == []
    judge.warning("warning")
    judge.drift("drifted")
    judge.warning("steady")
    judge.warning("warning")
    assert judge.standing == ["drifted"]
    judge.drift("steady")
    assert judge.turns() == ["DriftSuspected", "DriftOver", "DriftSuspected", "DriftFound", "DriftOver"]


def test_drift_that_most_of_a_plant_shares_is_told_of_there() -> None:
    judge = Judge()
    judge.drift("drifted", scope=mm.Scope.PLANT, features=("temperature higher",))
    assert (judge.turns(), judge.alerts) == (["SharedDriftReached"], {})
    (drift,) = (item for item in judge.items.values() if isinstance(item, Drift))
    assert (drift.scope, drift.features) == (mm.Scope.PLANT, ("temperature higher",))
    judge.drift("drifted")
    assert (judge.turns()[1:], judge.alerts) == (["DriftFound"], {f"drift:{CIRCUIT}": "warning"})
    judge.drift("drifted", scope=mm.Scope.FLEET)
    assert judge.alerts == {}


def test_what_azureml_says_of_a_threshold_is_a_warning_beside_our_own() -> None:
    judge = Judge(Rules(persistence=PersistenceRules(drift_warning=Persistence(bad=2, of=2))))
    judge.warning("warning")
    judge.decide(mm.ModelMonitorBreached(root=CIRCUIT, job="monitor-7", tag="data_drift", told_at=START))
    assert judge.standing == ["suspected"]
    assert "monitor-7: data_drift" in next(iter(judge.items.values())).reason


def test_a_circuit_remembers_no_more_than_a_years_verdicts() -> None:
    judge = Judge()
    for month in range(1, 13):
        judge.performance("ok", f"2025-{month:02d}")
    judge.performance("warning", "2026-01")
    assert len(judge.circuit.performance) == TAIL == 12
    assert judge.circuit.performance[0].period == "2026-01" and judge.circuit.performance[-1].period == "2025-02"


def test_a_persistence_that_can_never_hold_is_refused() -> None:
    with pytest.raises(ValidationError, match="bad \\(3\\) of the last 2 verdicts can never be"):
        Persistence(bad=3, of=2)


@pytest.mark.parametrize(
    ("every", "today", "name", "first", "last"),
    [
        (Every.DAY, "2026-03-01", "2026-02-28", "2026-02-28", "2026-02-28"),
        (Every.WEEK, "2026-01-05", "2026-W01", "2025-12-29", "2026-01-04"),
        (Every.WEEK, "2026-01-04", "2025-W52", "2025-12-22", "2025-12-28"),
        (Every.MONTH, "2024-03-31", "2024-02", "2024-02-01", "2024-02-29"),
        (Every.QUARTER, "2026-01-01", "2025-Q4", "2025-10-01", "2025-12-31"),
        (Every.QUARTER, "2026-06-30", "2026-Q1", "2026-01-01", "2026-03-31"),
    ],
)
def test_the_newest_period_is_the_last_that_is_over(every: Every, today: str, name: str, first: str, last: str) -> None:
    period = newest_period(every, named(today).first)
    assert (period.name, str(period.first), str(period.last)) == (name, first, last)
    assert named(name) == period


@pytest.mark.parametrize(
    "name", ["2026-13", "2026-02-30", "2026-W54", "2026-Q5", "january", "", "2026-1", "9999-12", "0001-01-01"]
)
def test_what_is_no_period_is_refused_with_those_that_there_are(name: str) -> None:
    with pytest.raises(ValueError, match="is no period; there are 2026-01-31, 2026-W05, 2026-01 and 2026-Q1"):
        named(name)
