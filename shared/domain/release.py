"""A release: one model version's way to production, as one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from shared.domain import messages as m
from shared.domain.alerts.causes import Cause, critical, warning
from shared.domain.lines import gate_lines, operation_lines
from shared.domain.machine import Item, Kind, Then
from shared.domain.operation import Operation
from shared.domain.promotion import Override
from shared.domain.values import Channel, Gate, Pair, Value


class Phase(StrEnum):
    """Where a release stands. Ends all differ: a person said no, a check said no, machinery broke, time ran out, …"""

    REGISTERED = "registered"
    QUEUED = "queued"
    AWAITING_REGISTRY_APPROVAL = "awaiting registry approval"
    PROMOTING = "promoting"
    PROMOTING_ENVIRONMENT = "promoting environment"
    WAITING_FOR_TEST = "waiting for test"
    DEPLOYING_TO_TEST = "deploying to test"
    TESTING = "testing"
    AWAITING_PRODUCTION_APPROVAL = "awaiting production approval"
    READY = "ready"
    DEPLOYING_TO_PRODUCTION = "deploying to production"
    OBSERVING = "observing"
    LIVE = "live"
    REJECTED = "rejected"
    EXPIRED = "expired"
    FAILED = "failed"
    ERRORED = "errored"
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"
    ROLLED_BACK = "rolled back"


ENDS = frozenset(
    {
        Phase.LIVE,
        Phase.REJECTED,
        Phase.EXPIRED,
        Phase.FAILED,
        Phase.ERRORED,
        Phase.SUPERSEDED,
        Phase.CANCELLED,
        Phase.ROLLED_BACK,
    }
)
OPERATING = (
    Phase.PROMOTING,
    Phase.PROMOTING_ENVIRONMENT,
    Phase.DEPLOYING_TO_TEST,
    Phase.TESTING,
    Phase.DEPLOYING_TO_PRODUCTION,
)
AWAITING = (Phase.AWAITING_REGISTRY_APPROVAL, Phase.AWAITING_PRODUCTION_APPROVAL)
UP_TO_READY = (
    Phase.REGISTERED,
    Phase.QUEUED,
    Phase.AWAITING_REGISTRY_APPROVAL,
    Phase.PROMOTING,
    Phase.PROMOTING_ENVIRONMENT,
    Phase.WAITING_FOR_TEST,
    Phase.DEPLOYING_TO_TEST,
    Phase.TESTING,
    Phase.AWAITING_PRODUCTION_APPROVAL,
    Phase.READY,
)
GATES = {Phase.AWAITING_REGISTRY_APPROVAL: Gate.REGISTRY, Phase.AWAITING_PRODUCTION_APPROVAL: Gate.PRODUCTION}

_BROKE = warning(Cause.RELEASE)
_DEPLOYED = (Cause.RELEASE, Cause.NOTHING_SERVES, Cause.PRODUCTION_DIFFERS, Cause.ROLLBACK)

TABLE: dict[tuple[str | None, type[m.Event]], Then] = {
    # A version appears. Its tags may come after the event, so they are read, and read again within a grace period.
    (None, m.ModelRegistered): Then(Phase.REGISTERED, (m.DescribeModel,)),
    (None, m.OlderModelRegistered): Then(Phase.SUPERSEDED),
    (Phase.REGISTERED, m.TagsMissing): Then(Phase.REGISTERED, later=(m.DescribeModel,)),
    (Phase.REGISTERED, m.TagsNeverCame): Then(Phase.FAILED, raises=_BROKE),
    (Phase.REGISTERED, m.ModelDescribed): Then(
        Phase.AWAITING_REGISTRY_APPROVAL, (m.RequestApproval,), clears=(Cause.RELEASE,)
    ),
    # Where versions queue, each waits until the one before it serves or has ended, and its tags are read again then.
    (Phase.REGISTERED, m.ModelDescribedBehind): Then(Phase.QUEUED),
    (Phase.QUEUED, m.QueueMoved): Then(Phase.REGISTERED, (m.DescribeModel,)),
    (Phase.QUEUED, m.DeadlinePassed): Then(Phase.EXPIRED, raises=_BROKE),
    # People decide whether the registry takes it.
    (Phase.AWAITING_REGISTRY_APPROVAL, m.ModelRegisteredAgain): Then(
        Phase.AWAITING_REGISTRY_APPROVAL, (m.DescribeModel,)
    ),
    (Phase.AWAITING_REGISTRY_APPROVAL, m.EvidenceChanged): Then(
        Phase.AWAITING_REGISTRY_APPROVAL, (m.WithdrawApproval, m.RequestApproval)
    ),
    (Phase.AWAITING_REGISTRY_APPROVAL, m.RegistryApproved): Then(Phase.PROMOTING, (m.PromoteModel,)),
    (Phase.PROMOTING, m.ModelPromoted): Then(Phase.DEPLOYING_TO_TEST, (m.DeployToTest,)),
    # An environment that came with its models is brought there by the first of them.
    (Phase.PROMOTING, m.EnvironmentNotInRegistry): Then(Phase.PROMOTING_ENVIRONMENT, (m.PromoteEnvironment,)),
    (Phase.PROMOTING_ENVIRONMENT, m.EnvironmentPromoted): Then(Phase.PROMOTING, (m.PromoteModel,)),
    # The pair proves itself in the test workspace, and again when production's environment has changed since.
    (Phase.PROMOTING, m.ModelPromotedWhileTestOwned): Then(Phase.WAITING_FOR_TEST),
    (Phase.WAITING_FOR_TEST, m.TestFreed): Then(Phase.DEPLOYING_TO_TEST, (m.DeployToTest,)),
    (Phase.WAITING_FOR_TEST, m.DeadlinePassed): Then(Phase.ERRORED, raises=_BROKE),
    (Phase.TESTING, m.TestedBeforeEnvironmentChanged): Then(Phase.DEPLOYING_TO_TEST, (m.DeployToTest,)),
    (Phase.READY, m.EnvironmentChanged): Then(Phase.DEPLOYING_TO_TEST, (m.DeployToTest,)),
    (Phase.READY, m.EnvironmentChangedWhileTestOwned): Then(Phase.WAITING_FOR_TEST),
    (Phase.AWAITING_PRODUCTION_APPROVAL, m.EnvironmentChanged): Then(
        Phase.DEPLOYING_TO_TEST, (m.WithdrawApproval, m.DeployToTest)
    ),
    (Phase.AWAITING_PRODUCTION_APPROVAL, m.EnvironmentChangedWhileTestOwned): Then(
        Phase.WAITING_FOR_TEST, (m.WithdrawApproval,)
    ),
    (Phase.DEPLOYING_TO_TEST, m.DeployedToTest): Then(Phase.TESTING, (m.StartTestInference,)),
    (Phase.TESTING, m.TestInferenceValidated): Then(Phase.AWAITING_PRODUCTION_APPROVAL, (m.RequestApproval,)),
    (Phase.TESTING, m.TestInferenceRefused): Then(Phase.FAILED, raises=_BROKE),
    # People decide whether production takes it; one release at a time owns production.
    (Phase.AWAITING_PRODUCTION_APPROVAL, m.ProductionApproved): Then(
        Phase.DEPLOYING_TO_PRODUCTION, (m.DeployToProduction,)
    ),
    (Phase.AWAITING_PRODUCTION_APPROVAL, m.ProductionApprovedWhileOwned): Then(Phase.READY),
    (Phase.AWAITING_PRODUCTION_APPROVAL, m.ProductionApprovedWhileHeld): Then(Phase.READY, later=(m.AskForProduction,)),
    (Phase.READY, m.ChampionChanged): Then(Phase.AWAITING_PRODUCTION_APPROVAL, (m.RequestApproval,)),
    (Phase.READY, m.ProductionFreed): Then(Phase.DEPLOYING_TO_PRODUCTION, (m.DeployToProduction,)),
    (Phase.READY, m.ProductionHeld): Then(Phase.READY, later=(m.AskForProduction,)),
    (Phase.READY, m.ProductionStillHeld): Then(Phase.READY, later=(m.AskForProduction,)),
    (Phase.READY, m.DeadlineMoved): Then(Phase.READY, later=(m.AskForProduction,)),
    (Phase.READY, m.DeadlinePassed): Then(Phase.EXPIRED, raises=_BROKE),
    (Phase.DEPLOYING_TO_PRODUCTION, m.ProductionWithheld): Then(Phase.READY, later=(m.AskForProduction,)),
    # It serves, and is watched until it has scored as often as the policy asks.
    (Phase.DEPLOYING_TO_PRODUCTION, m.DeployedToProduction): Then(Phase.OBSERVING, clears=_DEPLOYED),
    (Phase.OBSERVING, m.ObservationCounted): Then(Phase.OBSERVING),
    (Phase.OBSERVING, m.ObservationPassed): Then(Phase.LIVE),
    (Phase.OBSERVING, m.ObservationTimeOver): Then(Phase.LIVE),
    (Phase.OBSERVING, m.ObservationFailed): Then(Phase.OBSERVING, raises=critical(Cause.OBSERVATION)),
    (Phase.OBSERVING, m.DeadlinePassed): Then(Phase.OBSERVING, raises=warning(Cause.OBSERVATION)),
    # A rollback takes production away, also from a release that has long been live.
    (Phase.DEPLOYING_TO_PRODUCTION, m.ReleaseRolledBack): Then(Phase.CANCELLED, (m.CancelOperation,)),
    (Phase.OBSERVING, m.ReleaseRolledBack): Then(Phase.ROLLED_BACK),
    (Phase.OBSERVING, m.ReleaseRetired): Then(Phase.ROLLED_BACK),
    (Phase.LIVE, m.ReleaseRolledBack): Then(Phase.ROLLED_BACK),
    (Phase.REGISTERED, m.DeadlinePassed): Then(Phase.ERRORED, raises=_BROKE),
    (Phase.REGISTERED, m.CommandPoisoned): Then(Phase.ERRORED, raises=_BROKE),
}
TABLE |= gate_lines(
    AWAITING,
    _BROKE,
    rejected=Phase.REJECTED,
    expired=Phase.EXPIRED,
    cancelled=Phase.CANCELLED,
    errored=Phase.ERRORED,
)
for _phase in AWAITING:  # what is asked has changed, so it is asked again
    TABLE[_phase, m.ChampionChanged] = Then(_phase, (m.WithdrawApproval, m.RequestApproval))
    TABLE[_phase, m.GateOverridden] = Then(_phase, (m.WithdrawApproval, m.RequestApproval))
TABLE |= operation_lines(OPERATING, _BROKE, Phase.ERRORED)
for _event in (m.OperationFailed, m.CommandPoisoned, m.DeadlinePassed):  # what production serves now is to be read
    _then = TABLE[Phase.DEPLOYING_TO_PRODUCTION, _event]
    TABLE[Phase.DEPLOYING_TO_PRODUCTION, _event] = replace(_then, commands=(*_then.commands, m.ReadProduction))
for _phase in UP_TO_READY:
    _undo: tuple[type[m.Command], ...] = (m.WithdrawApproval,) if _phase in AWAITING else ()
    if _phase is Phase.TESTING:  # a job can be stopped; a copy or a deployment under way finishes by itself
        _undo = (m.CancelOperation,)
    TABLE[_phase, m.SupersededByNewer] = Then(Phase.SUPERSEDED, _undo)


for _phase in UP_TO_READY:
    TABLE[_phase, m.CancelRequested] = Then(Phase.CANCELLED, TABLE[_phase, m.SupersededByNewer].commands)
    TABLE[_phase, m.CandidateDeparted] = Then(Phase.CANCELLED, TABLE[_phase, m.SupersededByNewer].commands)

RESTARTS: Mapping[str, tuple[Phase, ...]] = {
    "retry": (Phase.ERRORED,),
    "reopen": (Phase.REJECTED, Phase.CANCELLED),
    "ask again": (Phase.EXPIRED,),
}
"""Which ends each order leads out of. What a check refused is trained anew, not tried again."""
for _end in (end for ends in RESTARTS.values() for end in ends):
    TABLE |= {
        (_end, m.RestartedAtRegistration): Then(Phase.REGISTERED, (m.DescribeModel,)),
        (_end, m.RestartedAtRegistryGate): Then(Phase.AWAITING_REGISTRY_APPROVAL, (m.RequestApproval,)),
        (_end, m.RestartedAtPromotion): Then(Phase.PROMOTING, (m.PromoteModel,)),
        (_end, m.RestartedAtTest): Then(Phase.DEPLOYING_TO_TEST, (m.DeployToTest,)),
        (_end, m.RestartedAtProductionGate): Then(Phase.AWAITING_PRODUCTION_APPROVAL, (m.RequestApproval,)),
        (_end, m.RestartedAtProduction): Then(Phase.DEPLOYING_TO_PRODUCTION, (m.DeployToProduction,)),
        (_end, m.RestartedAtReady): Then(Phase.READY, later=(m.AskForProduction,)),
    }


class Approval(Value):
    """A gate that was asked: bound to the digest of what is approved, to where it is answered, and to the answers."""

    id: str
    gate: Gate
    digest: str
    evidence: Mapping[str, Any]
    requirement: tuple[tuple[str, ...], ...]
    requested_at: datetime
    expires_at: datetime
    channel: Channel = Channel.PRODUCT
    asked_at: str = ""
    answers: tuple[m.ApprovalDecided, ...] = ()


class Asked(Item):
    """Something that people decide about: its gate, how often it was asked, and whose own yes does not count."""

    trainer: str = ""
    approval: Approval | None = None
    asked: int = 0
    withdrawn: str = ""


class Release(Asked):
    """One candidate. `champion` is the pair it was last compared with, `previous` what its deployment replaced,
    `ended_in` the phase in which it ended.

    While it is ready and no deployment may begin, its time does not run: `held_since` is the last look that found it
    so, `held_for` what these looks add up to.
    """

    circuit: str
    version: int
    workspace: str
    environment: str = ""
    tags: Mapping[str, str] = {}
    tag_looks: int = 0
    operation: Operation | None = None
    test: Mapping[str, Any] = {}
    champion: Pair | None = None
    overrides: tuple[Override, ...] = ()
    previous: Pair | None = None
    observed: int = 0
    ended_in: str = ""
    held_looks: int = 0
    held_since: datetime | None = None
    held_for: timedelta = timedelta()
    successor: str = ""

    @property
    def pair(self) -> Pair:
        return Pair(model=self.version, environment=self.environment)


def release_id(circuit: str, version: int) -> str:
    """`P001_C001:3`"""
    return f"{circuit}:{version}"


RELEASE = Kind(
    name="release",
    letter="R",
    item=Release,
    table=TABLE,
    ends=frozenset(ENDS),
    deadlines={
        Phase.REGISTERED: timedelta(hours=1),
        Phase.QUEUED: timedelta(days=30),
        Phase.AWAITING_REGISTRY_APPROVAL: timedelta(hours=24),
        Phase.PROMOTING: timedelta(hours=1),
        Phase.PROMOTING_ENVIRONMENT: timedelta(hours=2),
        Phase.WAITING_FOR_TEST: timedelta(days=1),
        Phase.DEPLOYING_TO_TEST: timedelta(hours=2),
        Phase.TESTING: timedelta(hours=2),
        Phase.AWAITING_PRODUCTION_APPROVAL: timedelta(hours=24),
        Phase.READY: timedelta(days=7),
        Phase.DEPLOYING_TO_PRODUCTION: timedelta(hours=2),
        Phase.OBSERVING: timedelta(hours=48),
    },
    new_attempts=(
        m.EvidenceChanged,
        m.ChampionChanged,
        m.GateOverridden,
        m.AnswerUsedUp,
        m.DeadlinePassed,
        m.DeadlineMoved,
    ),
)
