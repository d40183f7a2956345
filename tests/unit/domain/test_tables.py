"""The declared tables as full cross products: every phase with every event is decided or refused, and nothing leaks."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from shared import application  # noqa: F401 (registers every handler)
from shared.domain import messages as m
from shared.domain import update
from shared.domain.alerts.alert import ALERT
from shared.domain.alerts.causes import Cause, Severity
from shared.domain.alerts.messages import Notice
from shared.domain.circuit import KINDS as CIRCUIT_KINDS
from shared.domain.circuit import Circuit, draft
from shared.domain.circuit.root import Proved
from shared.domain.environment import KINDS as ENVIRONMENT_KINDS
from shared.domain.environment import Environment, EnvironmentDraft
from shared.domain.environment import messages as e
from shared.domain.environment import release as environment_release
from shared.domain.environment.messages import ToldOfEnvironment
from shared.domain.fleet import KINDS as FLEET_KINDS
from shared.domain.fleet import ROOT as FLEET
from shared.domain.fleet import FleetDraft, FleetState
from shared.domain.lake import KINDS as LAKE_KINDS
from shared.domain.lake import ROOT, Lake, _LakeDraft
from shared.domain.machine import Draft, Impossible, Item, Kind, Line, transition
from shared.domain.monitoring import KINDS as MONITORING_KINDS
from shared.domain.monitoring import ROOT as MONITOR
from shared.domain.monitoring import Monitor, MonitorDraft
from shared.domain.monitoring.messages import Finding
from shared.domain.period import named
from shared.domain.proposals.messages import ProposalOrder, Proposed
from shared.domain.proposals.proposal import PROPOSAL, Remedy
from shared.domain.release import RELEASE, RESTARTS, Phase
from shared.domain.rules import Rules
from shared.domain.scoring import SCORING, ScoringRun
from shared.domain.scoring import Phase as ScoringPhase
from shared.domain.values import ENVIRONMENT, Monitoring, Pair
from shared.handlers import HANDLERS
from tests.builders import CIRCUIT, ENGINEER, START, model_tags

KINDS = (
    *(*CIRCUIT_KINDS.values(), *LAKE_KINDS.values(), *FLEET_KINDS.values(), *ENVIRONMENT_KINDS.values()),
    *(*MONITORING_KINDS.values(), ALERT),
)
NOW = START + timedelta(minutes=1)
FROM_AN_END = {(Phase.LIVE, m.ReleaseRolledBack)} | {
    (end, restart) for ends in RESTARTS.values() for end in ends for restart in m.RestartRequested.__subclasses__()
}
"""What a person's order may still do to a release that has ended."""
ENVIRONMENT_FROM_AN_END = {
    (end, restart)
    for ends in environment_release.RESTARTS.values()
    for end in ends
    for restart in (m.RestartedAtRegistration, m.RestartedAtRegistryGate, m.RestartedAtPromotion, m.RestartedAtTest)
}
UPDATE_FROM_AN_END = {
    (end, offered)
    for end in update.RESUMABLE
    for offered in (e.EnvironmentOffered, *e.EnvironmentOffered.__subclasses__())
    if offered is not e.EnvironmentOfferedAgain
}
LEAD_ON = {
    "release": FROM_AN_END,
    "environment release": ENVIRONMENT_FROM_AN_END,
    "environment update": UPDATE_FROM_AN_END,
}
"""What leads out of an end: what a person orders, and what a release that a person ordered on tells its circuits."""
OF_AN_END = {**LEAD_ON, "scoring run": {(ScoringPhase.SCORED, m.ReadingsCameLate)}}
"""What may still be heard of what has ended; all else is refused."""

PAIR, BEFORE = (Pair(model=version, environment="1.0.0") for version in (1, 0))
TEXTS = {"version": "1.1.0", "cursor": CIRCUIT, "at": "https://git/1", "newest": "8204499910951-0f3a5c7e9b1d"}
"""Fields that are texts about environments and numbers elsewhere."""
EXAMPLES: dict[str, Any] = {
    "canaries": (CIRCUIT,),
    "count": 3,
    "failed": 6,
    "last": False,
    "left": 1,
    "more": True,
    "order": f"{ENVIRONMENT}:1.1.0!offer.1",
    "owner": f"{ENVIRONMENT}:1.0.1",
    "pending": 1,
    "preview_uri": "memory://preview",
    "remaining": 20,
    "serves": str(BEFORE),
    "touched": 11,
    "troubled": (CIRCUIT,),
    "about": f"{CIRCUIT}:1",
    "analysis": "**train again**: the readings drifted",
    "change": "1",
    "cutoff": START.date(),
    "proposal": f"{CIRCUIT}!proposal.1",
    "remedy": Remedy.RETRAIN,
    "alert": f"{CIRCUIT}!alert.1",
    "among": "P001",
    "approval": f"{CIRCUIT}:1:registry:1",
    "at": NOW,
    "did": "promote",
    "model": 1,
    "asked": "fill-2026-01-30",
    "asked_at": START,
    "asked_by": "erik@example.org",
    "bad": PAIR,
    "check": f"{CIRCUIT}!performance-2026-01-31",
    "decides": True,
    "finding": Finding(verdict="warning", reason="mae 0.2 (limit 0.15)", model=0),
    "monitoring": Monitoring.PERFORMANCE,
    "period": named("2026-01"),
    "run": "performance-2026-01-31",
    "tag": "data_drift",
    "told_at": START,
    "behind": f"{CIRCUIT}:1",
    "by": "erik@example.org",
    "author": "tess@example.org",
    "command_id": f"{CIRCUIT}:1.1.Example",
    "commands": (),
    "comment": "the day is missing",
    "commit": "c0ffee01",
    "counts": {"rows": 24.0},
    "cursor": 0,
    "decision": "approve",
    "delta_version": 3,
    "digest": "d1",
    "ended_at": NOW,
    "environment": "1.0.0",
    "error": "it broke",
    "evidence": {"release": f"{CIRCUIT}:1"},
    "evidence_uri": "memory://evidence",
    "expected": {"pair": PAIR.model_dump(), "horizon": 24},
    "expires_at": NOW,
    "first_asked": START,
    "found": BEFORE,
    "gate": "registry",
    "item": f"{CIRCUIT}:1",
    "held_looks": 0,
    "how": "retry",
    "job": "job-1",
    "limits": {"forecast_horizon": "24"},
    "looks": 0,
    "missing": ("mae",),
    "model_version": 1,
    "newest": START,
    "oldest": START,
    "note": "it does not count",
    "next_cursor": 50,
    "number": 2,
    "origin": START.replace(hour=0),
    "output_uri": "memory://attempt",
    "pair": PAIR,
    "person": ENGINEER,
    "phase": "testing",
    "previous": None,
    "problems": ("too many nulls",),
    "published_uri": "memory://published",
    "pull_request": "101",
    "purpose": "testing",
    "read": "20260130T0600",
    "reason": "because",
    "recorded": PAIR,
    "reference": "operation-1",
    "release": f"{CIRCUIT}:1",
    "report": "runs/1.json",
    "request": "request-1",
    "requirement": (("ML-Engineers",),),
    "rollback": f"{CIRCUIT}!rollback.1",
    "root": CIRCUIT,
    "rows": 24,
    "deleted_files": 7,
    "run_id": "etl-1",
    "seen": START,
    "slot": START,
    "source": "event",
    "started_at": START,
    "step": 1,
    "successor": f"{CIRCUIT}:2",
    "table": "table-1",
    "tags": model_tags(),
    "target": BEFORE,
    "until": NOW,
    "trainer": "tess@example.org",
    "verdict": "passed",
    "version": 1,
    "cause": Cause.SCORING,
    "severity": Severity.WARNING,
    "why": "the intake is rebuilt",
    "webhook": "on-call",
    "withdrawn": f"{CIRCUIT}:1:registry:1",
    "workspace": "dev",
}


EXAMPLES["notice"] = Notice(
    id=f"{CIRCUIT}!alert.1.1",
    key=f"scoring:{CIRCUIT}",
    change="raised",
    plant="P001",
    circuit="C001",
    since=START,
    at=START,
    count=1,
    acknowledged_by="",
    note="",
    **{name: EXAMPLES[name] for name in ("about", "alert", "cause", "reason", "severity")},
)


def example(message: type[Any], **changed: Any) -> Any:
    """A message with an honest value in every field it must have."""
    fields = {name: EXAMPLES[name] for name, field in message.model_fields.items() if field.is_required()}
    if message is m.ApprovalCounted:
        fields["counts"] = True
    fields |= {name: text for name, text in TEXTS.items() if _is_text(message, name)}
    if issubclass(message, m.LastSliceRead):
        fields["next_cursor"] = None
    return message(**{**fields, **changed})


def _is_text(kind: type[Any], name: str) -> bool:
    return name in kind.model_fields and kind.model_fields[name].annotation is str


def every(kind: type[Any]) -> Iterator[type[Any]]:
    for subclass in kind.__subclasses__():
        yield subclass
        yield from every(subclass)


BASES = {m.Outcome, m.Consequence, m.Order, m.ReleaseOrder, Proposed, ProposalOrder, ToldOfEnvironment}
EVENTS = sorted(set(every(m.Event)) - BASES, key=lambda event: event.__name__)
COMMANDS = sorted(every(m.Command), key=lambda command: command.__name__)

DECIDED = {
    "release": """
        - | ModelRegistered, OlderModelRegistered
        registered | CancelRequested, CandidateDeparted, CommandPoisoned, DeadlinePassed, ModelDescribed,
            ModelDescribedBehind, SupersededByNewer, TagsMissing, TagsNeverCame
        queued | CancelRequested, CandidateDeparted, DeadlinePassed, QueueMoved, SupersededByNewer
        awaiting registry approval | GateAgeing, GateNearlyExpired,
            AnswerDeferred, AnswerUsedUp, ApprovalCounted, ApprovalRejected, ApprovalRequested,
            CancelRequested, CandidateDeparted, ChampionChanged, CommandPoisoned, DeadlinePassed, EvidenceChanged,
            GateCancelled, GateOverridden, GateSkipped, GateTimedOut, ModelRegisteredAgain, RegistryApproved,
            SupersededByNewer
        promoting | CancelRequested, CandidateDeparted, CommandPoisoned, DeadlinePassed, EnvironmentNotInRegistry,
            ModelPromoted, ModelPromotedWhileTestOwned, OperationFailed, OperationStarted, StillRunning,
            SupersededByNewer
        promoting environment | CancelRequested, CandidateDeparted, CommandPoisoned, DeadlinePassed,
            EnvironmentPromoted, OperationFailed, OperationStarted, StillRunning, SupersededByNewer
        waiting for test | CancelRequested, CandidateDeparted, DeadlinePassed, SupersededByNewer, TestFreed
        deploying to test | CancelRequested, CandidateDeparted, CommandPoisoned, DeadlinePassed, DeployedToTest,
            OperationFailed, OperationStarted, StillRunning, SupersededByNewer
        testing | CancelRequested, CandidateDeparted, CommandPoisoned, DeadlinePassed, OperationFailed,
            OperationStarted, StillRunning, SupersededByNewer, TestInferenceRefused, TestInferenceValidated,
            TestedBeforeEnvironmentChanged
        awaiting production approval | GateAgeing, GateNearlyExpired,
            AnswerDeferred, AnswerUsedUp, ApprovalCounted, ApprovalRejected,
            ApprovalRequested, CancelRequested, CandidateDeparted, ChampionChanged, CommandPoisoned, DeadlinePassed,
            EnvironmentChanged, EnvironmentChangedWhileTestOwned, GateCancelled, GateOverridden, GateSkipped,
            GateTimedOut, ProductionApproved, ProductionApprovedWhileHeld, ProductionApprovedWhileOwned,
            SupersededByNewer
        ready | CancelRequested, CandidateDeparted, ChampionChanged, DeadlineMoved, DeadlinePassed,
            EnvironmentChanged,
            EnvironmentChangedWhileTestOwned, ProductionFreed, ProductionHeld, ProductionStillHeld, SupersededByNewer
        deploying to production | CommandPoisoned, DeadlinePassed, DeployedToProduction, OperationFailed,
            OperationStarted, ProductionWithheld, ReleaseRolledBack, StillRunning
        observing | DeadlinePassed, ObservationCounted, ObservationFailed, ObservationPassed, ObservationTimeOver,
            ReleaseRetired, ReleaseRolledBack
        live | ReleaseRolledBack
        errored | RestartedAtProduction, RestartedAtProductionGate, RestartedAtPromotion, RestartedAtReady,
            RestartedAtRegistration, RestartedAtRegistryGate, RestartedAtTest
        rejected | RestartedAtProduction, RestartedAtProductionGate, RestartedAtPromotion, RestartedAtReady,
            RestartedAtRegistration, RestartedAtRegistryGate, RestartedAtTest
        cancelled | RestartedAtProduction, RestartedAtProductionGate, RestartedAtPromotion, RestartedAtReady,
            RestartedAtRegistration, RestartedAtRegistryGate, RestartedAtTest
        expired | RestartedAtProduction, RestartedAtProductionGate, RestartedAtPromotion, RestartedAtReady,
            RestartedAtRegistration, RestartedAtRegistryGate, RestartedAtTest
    """,
    "rollback": """
        - | RollbackBegun, RollbackToNothing
        rolling back | CommandPoisoned, DeadlinePassed, OperationFailed, OperationStarted, RollbackAttemptFailed,
            RolledBack, StillRunning
    """,
    "discrepancy": """
        - | ProductionAdopted, ProductionDiffers, RepairBegun
        flagged | DeadlinePassed, ProductionAgrees, RepairOvertaken
        repairing | CommandPoisoned, DeadlinePassed, OperationFailed, OperationStarted, RepairOvertaken, Repaired,
            StillRunning
    """,
    "departure": """
        - | CircuitDeparted, RetireRequested
        flagged | CircuitReturned, DeadlinePassed, RetireRequested
        retiring | CommandPoisoned, DeadlinePassed, DeploymentRemoved, OperationFailed, OperationStarted, StillRunning
        errored | CircuitReturned, DeadlinePassed, RetireRequested
    """,
    "direct action": "- | PlatformUsedDirectly, ProductionChangedDirectly",
    "hold": """
        - | HoldPlaced
        standing | DeadlinePassed, HoldLifted, HoldPlaced
    """,
    "stop": """
        - | FleetStopped
        standing | DeadlinePassed, FleetResumed
    """,
    "environment update": """
        - | EnvironmentOffered, EnvironmentOfferedInVain, EnvironmentOfferedWhileOwned, WaveReachedInVain,
            WaveReachedUntested, WaveReachedUntestedWhileOwned
        deploying to test | CommandPoisoned, DeadlinePassed, DeployedToTest, EnvironmentConcluded,
            EnvironmentOfferedAgain,
            EnvironmentUndone, OperationFailed, OperationStarted, StillRunning, WaveReachedInTest
        waiting for test | DeadlinePassed, EnvironmentConcluded, EnvironmentOfferedAgain, EnvironmentUndone,
            TestFreed, WaveReachedInTest
        left | DeadlinePassed, EnvironmentConcluded, EnvironmentOfferedAgain, EnvironmentUndone, WaveReached,
            WaveReachedInVain,
            WaveReachedUntested, WaveReachedUntestedWhileOwned, WaveReachedWhileOwned
        testing | CommandPoisoned, DeadlinePassed, EnvironmentConcluded, EnvironmentOfferedAgain, EnvironmentUndone,
            OperationFailed,
            OperationStarted, StillRunning, TestInferenceRefused, TestInferenceValidated, WaveReachedInTest
        tested | DeadlinePassed, EnvironmentConcluded, EnvironmentOfferedAgain, EnvironmentUndone, WaveReached,
            WaveReachedInVain,
            WaveReachedUntested, WaveReachedUntestedWhileOwned, WaveReachedWhileOwned
        deploying to production | CommandPoisoned, DeadlinePassed, DeployedToProduction, EnvironmentUndone,
            OperationFailed, OperationStarted, ProductionWithheld, StillRunning
        observing | DeadlinePassed, EnvironmentConcluded, EnvironmentUndone, EnvironmentUndoneAlready,
            UpdateObserved
        rolling back | CircuitStuck, CircuitWentBack, DeadlinePassed
        waiting for production | DeadlinePassed, EnvironmentConcluded, EnvironmentOfferedAgain, EnvironmentUndone,
            WaveReached,
            WaveReachedInVain, WaveReachedUntested, WaveReachedUntestedWhileOwned, WaveReachedWhileOwned
        called off | EnvironmentOffered, EnvironmentOfferedInVain, EnvironmentOfferedTested,
            EnvironmentOfferedWhileOwned
        errored | EnvironmentOffered, EnvironmentOfferedInVain, EnvironmentOfferedTested,
            EnvironmentOfferedWhileOwned
    """,
    "environment release": """
        - | EnvironmentRegistered, EnvironmentRegisteredWhileOwned, OlderEnvironmentRegistered
        registered | CommandPoisoned, DeadlinePassed, EnvironmentBreaks, EnvironmentDescribed,
            EnvironmentMissing, EnvironmentNeverCame, FirstEnvironmentDescribed, SupersededByNewer
        waiting for the fleet | DeadlinePassed, FleetFreed, SupersededByNewer
        classified | CommandPoisoned, DeadlinePassed, EnvironmentPreviewed, SupersededByNewer
        awaiting registry approval | GateAgeing, GateNearlyExpired,
            AnswerDeferred, AnswerUsedUp, ApprovalCounted, ApprovalRejected,
            ApprovalRequested, CommandPoisoned, DeadlinePassed, GateCancelled, GateSkipped, GateTimedOut,
            RegistryApproved, SupersededByNewer
        promoting environment | CommandPoisoned, DeadlinePassed, EnvironmentPromoted, OperationFailed,
            OperationStarted, StillRunning, SupersededByNewer
        testing all | CommandPoisoned, DeadlinePassed, EveryPairTested, FleetTold, NothingToUpdate,
            SupersededByNewer, TooManyTestsFailed, UpdatesGoOn
        awaiting production approval | GateAgeing, GateNearlyExpired,
            AnswerDeferred, AnswerUsedUp, ApprovalCounted, ApprovalRejected,
            ApprovalRequested, CommandPoisoned, DeadlinePassed, GateCancelled, GateSkipped, GateTimedOut,
            ProductionApproved, ProductionApprovedWhileHeld, SupersededByNewer
        ready | CommandPoisoned, DeadlinePassed, FleetTold, FreezeEnded, SupersededByNewer, UpdatesGoOn
        live | DeadlinePassed, EnvironmentRollbackOrdered, FleetTaken
        updating canaries | BudgetExceeded, CommandPoisoned, DeadlineMoved, DeadlinePassed,
            EnvironmentRollbackOrdered,
            FleetTold, HaltOrdered, LastWaveEnded, UpdatesGoOn, WaveEnded
        halted | DeadlinePassed, EnvironmentRollbackOrdered, WavesResumed
        updating waves | BudgetExceeded, CommandPoisoned, DeadlineMoved, DeadlinePassed, EnvironmentRollbackOrdered,
            FleetTold, HaltOrdered, LastWaveEnded, UpdatesGoOn, WaveEnded
        observing | BudgetExceeded, CommandPoisoned, DeadlinePassed, EnvironmentRollbackOrdered, FleetObserved,
            FleetTold, UpdatesGoOn
        rolling back | CommandPoisoned, DeadlinePassed, EveryUpdateUndone, FleetTold, UpdatesGoOn
        errored | RestartedAtPromotion, RestartedAtRegistration, RestartedAtRegistryGate, RestartedAtTest
        expired | RestartedAtPromotion, RestartedAtRegistration, RestartedAtRegistryGate, RestartedAtTest
        rejected | RestartedAtPromotion, RestartedAtRegistration, RestartedAtRegistryGate, RestartedAtTest
    """,
    "fleet order": """
        - | FleetOrdered
        telling | CircuitsTold, CommandPoisoned, DeadlinePassed, LastCircuitsTold
        overdue | CircuitsTold, CommandPoisoned, DeadlinePassed, LastCircuitsTold
    """,
    "scoring run": """
        - | LateReadingsDue, ScoringDue, ScoringOverdue, ScoringRequested, ScoringSkipped, VerificationDue
        waiting for readings | DeadlinePassed, ReadingsArrived, ScoringCalledOff
        scoring | CommandPoisoned, DeadlinePassed, OperationFailed, OperationStarted, ReadingsCameLate,
            ScoringAttemptFailed, ScoringCalledOff, ScoringOvertaken, ScoringRefused, ScoringVerified, StillRunning
        scored | ReadingsCameLate
    """,
    "quality check": "- | QualityFailed, QualityFailedWithMost, QualityPassed, QualityUnknown",
    "performance check": "- | PerformanceCritical, PerformanceKept, PerformanceUnknown, PerformanceWarned",
    "degradation": """
        - | PerformanceDegraded, PerformanceDegradedCritically
        degraded | DeadlinePassed, DegradedModelReplaced, PerformanceDegradedCritically, PerformanceRecovered
        degraded critically | DeadlinePassed, DegradedModelReplaced, PerformanceEased, PerformanceRecovered
    """,
    "drift check": "- | DriftAbsent, DriftSeen, DriftUnknown, DriftWarned",
    "drift": """
        - | DriftFound, DriftSuspected, SharedDriftReached
        suspected | DeadlinePassed, DriftFound, DriftOver, DriftedModelReplaced, SharedDriftReached
        drifted | DeadlinePassed, DriftOver, DriftedModelReplaced, SharedDriftReached
        drifted with others | DeadlinePassed, DriftFound, DriftOver, DriftedModelReplaced
    """,
    "monitoring run": """
        - | MonitoringAsked, MonitoringDue
        requested | CommandPoisoned, DeadlinePassed, NothingServes, OperationStarted
        running | CommandPoisoned, DeadlinePassed, MonitoringAttemptFailed, MonitoringSucceeded, OperationFailed,
            StillRunning
        telling | CommandPoisoned, DeadlinePassed, FindingsRead, LastFindingsRead
    """,
    "shared drift": """
        - | SharedDriftFound
        standing | DeadlinePassed, SharedDriftOver
    """,
    "training run": """
        - | TrainingRequested
        requested | DeadlinePassed, TrainingFailed, TrainingStarted
        training | DeadlinePassed, TrainingFailed, TrainingSucceeded
    """,
    "ETL run": """
        - | EtlDue, EtlDueDuringUpkeep
        waiting for upkeep | DeadlinePassed, TableFreed
        running | CommandPoisoned, DeadlinePassed, EtlSucceeded, OperationFailed, OperationStarted, StillRunning
        overdue | CommandPoisoned, DeadlinePassed, EtlSucceeded, OperationFailed, OperationStarted, StillRunning
    """,
    "upkeep": """
        - | UpkeepDue, UpkeepDueDuringEtl
        waiting for ETL | DeadlinePassed, TableFreed
        running | CommandPoisoned, DeadlinePassed, OperationFailed, OperationStarted, StillRunning, UpkeepSucceeded
    """,
    "trouble": """
        - | LettersKept, TrainingsFailOften
        lasting | DeadlinePassed, TrainingsFailOften, TrainingsFailSeldom
    """,
    "proposal": """
        - | MendingProposed, RetrainingBegun, RetrainingProposed, RollbackProposed, RollbackTaken
        offered | DeadlinePassed, MendingAccepted, ProposalDeclined, ProposalOvertaken, RetrainingAccepted,
            RollbackAccepted
        opening | ChangeOpened, CommandPoisoned, DeadlinePassed
        opened | ChangeAbandoned, ChangeMerged, ChangeStillOpen, CommandPoisoned, DeadlinePassed
    """,
    "alert": """
        - | AlertRaised
        open | AlertAcknowledged, AlertCleared, AlertRaised, AlertWorsened, DeadlinePassed, NewsAcknowledged
        acknowledged | AlertCleared, AlertRaised, AlertWorsened, DeadlinePassed
    """,
    "fan-out": """
        - | DailyScoringAsked, DayFillAsked, DeltaCommitted, ForeignRowsCommitted, ReconciliationAsked
        fanning out | CommandPoisoned, CommitFailedQuality, DeadlinePassed, LastSliceRead, SliceRead
        overdue | CommandPoisoned, CommitFailedQuality, DeadlinePassed, LastSliceRead, SliceRead
    """,
}
"""What each phase hears (`-`: nothing is there yet). Everything else is refused."""


def _parse(kind: Kind) -> dict[str | None, set[str]]:
    """The readable list of one kind as phase → names of events."""
    found: dict[str | None, set[str]] = {}
    phase: str | None = None
    for line in DECIDED[kind.name].splitlines():
        if " | " in line:
            name, _, line = line.partition(" | ")
            phase = None if name.strip() == "-" else name.strip()
        found.setdefault(phase, set()).update(event.strip() for event in line.split(",") if event.strip())
    return {before: events for before, events in found.items() if events}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_phase_decides_exactly_what_is_listed_and_refuses_the_rest(kind: Kind) -> None:
    listed = _parse(kind)
    for before, event in itertools.product((None, *kind.phases(), *sorted(kind.ends)), EVENTS):
        item = None if before is None else _some(kind, before)
        created = _created(kind) if item is None else {}
        if event.__name__ in listed.get(before, ()):
            moved, then = transition(kind, item, example(event), NOW, **created)
            assert moved.phase == then.phase
        else:
            with pytest.raises(Impossible, match=event.__name__):
                transition(kind, item, example(event), NOW, **created)


def _created(kind: Kind) -> dict[str, Any]:
    """What an event that begins an item gives it."""
    required = {name for name, field in kind.item.model_fields.items() if field.is_required()}
    told = kind in ENVIRONMENT_KINDS.values()
    given: dict[str, Any] = {"circuit": CIRCUIT, "id": f"{CIRCUIT}:1", "purpose": "offer" if told else "coverage"}
    if told:
        given["release"] = f"{ENVIRONMENT}:1.1.0"
    if kind is ALERT:
        given |= {"key": f"scoring:{CIRCUIT}", "plant": "P001", "circuit": "C001", "change": "raised"}
        given |= {"id": f"{CIRCUIT}!alert.1", "count": 0, "changed_at": START}
    given |= {name: text for name, text in TEXTS.items() if _is_text(kind.item, name)}
    described: dict[str, Any] = {"environment": PAIR.environment} if kind is RELEASE else {}
    described |= {"cutoff": EXAMPLES["cutoff"]} if kind is PROPOSAL else {}
    return described | {
        name: given.get(name, EXAMPLES.get(name)) for name in required - {"phase", "created_at", "since"}
    }


def _some(kind: Kind, phase: str) -> Item:
    return kind.item.model_validate({**_created(kind), "phase": phase, "created_at": START, "since": START})


def _draft(kind: Kind) -> Draft:
    """A root under which the kind lives, with a pair that serves."""
    if kind in LAKE_KINDS.values():
        return _LakeDraft(Lake(id=ROOT), {}, Rules(), NOW)
    if kind in FLEET_KINDS.values():
        return FleetDraft(FleetState(id=FLEET), {}, Rules(), NOW)
    if kind in MONITORING_KINDS.values():
        return MonitorDraft(Monitor(id=MONITOR), {}, Rules(), NOW)
    if kind in ENVIRONMENT_KINDS.values():
        return EnvironmentDraft(Environment(id=ENVIRONMENT), {}, Rules(), NOW)
    proved = (Proved(pair=BEFORE, at=START),)
    return draft(Circuit(id=CIRCUIT, serving=BEFORE, desired=BEFORE, proved=proved), {}, Rules(), NOW)


def _walk(draft: Draft, kind: Kind, event: type[m.Event]) -> Item:
    """Walk one line the way `decide` does; consequences for others have their own tests."""
    draft.follow = lambda item, event: ()  # type: ignore[method-assign]
    known = next(iter(draft.items.values()), None)
    draft.walk(Line(kind, example(event), known.id if known else None, created={} if known else _created(kind)))
    return next(iter(draft.items.values()))


def _path(kind: Kind, phase: str | None) -> list[type[m.Event]] | None:
    """The shortest way from nothing to a phase, as events, through no end; None when there is no way."""
    ways: deque[tuple[str | None, list[type[m.Event]]]] = deque([(None, [])])
    seen: set[str | None] = {None}
    while ways:
        at, way = ways.popleft()
        if at == phase:
            return way
        for (before, event), then in kind.table.items():
            if before == at and at not in kind.ends and then.phase not in seen:
                seen.add(then.phase)
                ways.append((then.phase, [*way, event]))
    return None


def _reach(kind: Kind, phase: str | None) -> Draft:
    draft = _draft(kind)
    way = _path(kind, phase)
    assert way is not None
    for event in way:
        _walk(draft, kind, event)
    return draft


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_phase_and_every_end_can_be_reached(kind: Kind) -> None:
    unreached = {phase for phase in (*kind.phases(), *kind.ends) if _path(kind, phase) is None}
    assert not unreached


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_phase_that_is_not_an_end_has_a_deadline_and_says_what_follows(kind: Kind) -> None:
    for phase in set(kind.phases()) - kind.ends:
        assert kind.deadlines[phase] > timedelta(), phase
        assert (phase, m.DeadlinePassed) in kind.table, phase


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_an_end_is_left_only_by_a_persons_order(kind: Kind) -> None:
    heard = {(before, event) for before, event in kind.table if before in kind.ends}
    assert heard == OF_AN_END.get(kind.name, set())
    left = {(before, event) for before, event in heard if kind.table[before, event].phase != before}
    assert left == LEAD_ON.get(kind.name, set())
    assert not kind.deadlines.keys() & kind.ends


LINES = [
    pytest.param(kind, before, event, id=f"{kind.name}: {before or '-'} {event.__name__}")
    for kind in KINDS
    for before, event in kind.table
]


@pytest.mark.parametrize(("kind", "before", "event"), LINES)
def test_every_line_gives_its_commands_complete_and_each_has_a_handler(
    kind: Kind, before: str | None, event: type[m.Event]
) -> None:
    draft = _reach(kind, before)
    draft._decision.commands.clear()
    draft._decision.due.clear()
    then = kind.table[before, event]
    item = _walk(draft, kind, event)
    assert item.phase == then.phase
    given = [command for command in draft._decision.commands if command.item == item.id]
    assert [type(command) for command in given] == list(then.commands)
    due = [type(due.command) for due in draft._decision.due if due.command.item == item.id]
    reminders = [kind for kind in due if kind is m.RemindOfGate]
    assert len(reminders) == (2 if m.RequestApproval in then.commands else 0)
    due = [kind for kind in due if kind is not m.RemindOfGate]
    assert due[: len(then.later)] == list(then.later)
    assert due[len(then.later) :] in ([], [m.CheckDeadline])
    for command in (*draft._decision.commands, *(due.command for due in draft._decision.due)):
        assert type(command) in HANDLERS
        assert m.decode(m.encode(command)) == command


@pytest.mark.parametrize(("kind", "before", "event"), LINES)
def test_every_new_step_has_its_deadline_in_a_due_row(kind: Kind, before: str | None, event: type[m.Event]) -> None:
    draft = _reach(kind, before)
    step = next((item.step for item in draft.items.values()), 0)
    draft._decision.due.clear()
    item = _walk(draft, kind, event)
    deadlines = [due for due in draft._decision.due if isinstance(due.command, m.CheckDeadline)]
    calls = [due for due in deadlines if due.command.item == item.id]
    if item.step == step or item.phase in kind.ends:
        assert not calls
    else:
        (call,) = calls
        assert (call.at, call.command.step) == (item.deadline, item.step)
        assert call.at > NOW


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_every_command_survives_the_queue(command: type[m.Command]) -> None:
    meant = example(command)
    assert m.decode(m.encode(meant)) == meant
    assert command in HANDLERS


def test_every_kind_has_a_letter_of_its_own_in_row_keys() -> None:
    letters = [kind.letter for kind in KINDS]
    assert len(letters) == len(set(letters)), sorted(letters)


def test_an_unknown_command_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="unknown command 'LaunchRocket'"):
        m.decode({"command": "LaunchRocket"})
    with pytest.raises(ValueError, match="extra"):
        m.decode({**m.encode(example(m.PromoteModel)), "extra": 1})


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
def test_every_fact_from_outside_has_a_business_identity(event: type[m.Event]) -> None:
    """Only what follows from another fact needs none; base classes of verdicts are never told."""
    fact = example(event)
    assert bool(fact.identity) != issubclass(event, m.Consequence)
    assert fact.identity == example(event).identity


def test_a_new_attempt_is_a_new_step_with_new_commands() -> None:
    draft = _reach(RELEASE, Phase.AWAITING_REGISTRY_APPROVAL)
    before = next(iter(draft.items.values()))
    after = _walk(draft, RELEASE, m.EvidenceChanged)
    assert (after.phase, after.step) == (before.phase, before.step + 1)
    asked = [command for command in draft._decision.commands if isinstance(command, m.RequestApproval)]
    assert len({command.id for command in asked}) == 2


def test_a_scoring_operation_does_not_survive_into_the_next_attempt() -> None:
    draft = _reach(SCORING, ScoringPhase.SCORING)
    started = _walk(draft, SCORING, m.OperationStarted)
    assert isinstance(started, ScoringRun) and started.operation
    again = _walk(draft, SCORING, m.ScoringAttemptFailed)
    assert isinstance(again, ScoringRun) and (again.operation, again.attempt) == (None, 2)
