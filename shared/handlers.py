"""Handlers: one for each command. It runs the command through a port and returns what came of it, as an Event.

A handler never waits: it starts and says so, or looks and says what it saw. It raises `Transient` when trying again
helps and `Permanent` when it does not; the worker turns both into data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from shared import records
from shared.domain import messages as m
from shared.domain.approvals import may_answer
from shared.domain.circuit import Circuit
from shared.domain.circuit.scorings import MOST_UNDER_WAY
from shared.domain.departure import Phase as DeparturePhase
from shared.domain.discrepancy import Phase as DiscrepancyPhase
from shared.domain.hold import Hold
from shared.domain.lake import PURPOSES as WRITERS
from shared.domain.lake import ROOT as LAKE
from shared.domain.lake import EtlRun, UpkeepRun
from shared.domain.ledger import Run
from shared.domain.machine import Item
from shared.domain.monitoring import PURPOSE as MONITORING
from shared.domain.monitoring import ROOT as MONITOR
from shared.domain.monitoring import MonitoringRun
from shared.domain.monitoring.messages import MonitoringDue
from shared.domain.operation import Operation, in_operation
from shared.domain.quality import QualityFailed, QualityUnknown, assess_quality, widespread
from shared.domain.release import GATES, Approval, Phase
from shared.domain.retention import Kept, RetentionRules
from shared.domain.rollback import Phase as RollbackPhase
from shared.domain.rules import REQUIRED_TAGS, Rules
from shared.domain.scoring import Phase as ScoringPhase
from shared.domain.scoring import ScoringRun
from shared.domain.values import (
    AskState,
    Monitoring,
    OperationState,
    OperationStatus,
    Pair,
    Stage,
    is_semantic,
    split_circuit,
)
from shared.errors import Permanent
from shared.ports import (
    ApprovalChannel,
    Ask,
    Clock,
    ConfigRepository,
    DataAssets,
    Documents,
    EtlRunner,
    Lake,
    ModelPlatform,
    MonitoringOrder,
    MonitorRunner,
    Row,
    StateStore,
    Topic,
    TrainingRunner,
    UndeliveredEvents,
    Webhooks,
    WorkQueue,
)
from shared.references import ledger_versions
from shared.slots import IMPORT, INVOCATION, Slots

SLICE = 50
"""Commands that one transaction of a fan-out gives; a transaction takes 100 rows."""
SLOT_LEASE = timedelta(hours=2)
IMPORT_LEASE = timedelta(minutes=30)
"""Shorter than who waits behind it may wait: a release that ended meanwhile looks no more."""


class Directory(Protocol):
    """What the configuration says about the fleet."""

    @property
    def max_invocations(self) -> int: ...

    @property
    def retention(self) -> RetentionRules: ...

    def circuits(self) -> Sequence[str]: ...

    def by_sensor(self, sensor: str) -> str | None: ...

    def rules(self, circuit: str) -> Rules: ...

    def monitoring_request(self, order: MonitoringOrder) -> Mapping[str, Any]:
        """What `ml.monitor` obeys: the order, and what the configuration says of each circuit."""
        ...


@dataclass(frozen=True)
class Ports:
    """Every effect the core has."""

    store: StateStore
    queue: WorkQueue
    clock: Clock
    documents: Documents
    platform: ModelPlatform
    etl: EtlRunner
    training: TrainingRunner
    monitor: MonitorRunner
    approvals: ApprovalChannel
    lake: Lake
    data_assets: DataAssets
    topic: Topic
    undelivered: UndeliveredEvents
    webhooks: Webhooks
    config_repository: ConfigRepository | None
    """None: no repository is set, and changes to the configuration are people's own affair."""


class NoSlot(Exception):
    """There is no room for it now; the command is put back with a delay."""


class NotWanted(Exception):
    """The item has moved on since the command was given: nothing is started."""


@dataclass(frozen=True)
class Handling:
    """What a handler has at hand."""

    ports: Ports
    directory: Directory
    slots: Slots
    noticed_by: str = "command"

    def withheld(self, circuit: records.Loaded) -> str:
        """Why no deployment to the circuit's production may begin now, by what is recorded this moment."""
        hold = next((item for item in circuit.items.values() if isinstance(item, Hold)), None)
        if hold:
            return f"on hold by {hold.by}: {hold.why}"
        rules = self.directory.rules(circuit.root.id)
        rules = rules.model_copy(update={"stopped": records.stopped(self.ports.store)})
        return rules.standstill(self.ports.clock.now())


_ToProduction: TypeAlias = m.DeployToProduction | m.DeployRollback | m.DeployRepair
C = TypeVar("C", bound=m.Command)
Handler = Callable[[C, Handling], m.Event | Sequence[m.Event] | None]
HANDLERS: dict[type[m.Command], Handler[Any]] = {}


def handles(command: type[C]) -> Callable[[Handler[C]], Handler[C]]:
    """Register the handler of a command."""

    def register(handler: Handler[C]) -> Handler[C]:
        HANDLERS[command] = handler
        return handler

    return register


def handle(command: m.Command, at: Handling) -> Sequence[m.Event]:
    """Run one command; what came of it, in the order in which it is to be applied."""
    outcome = HANDLERS[type(command)](command, at)
    if isinstance(outcome, m.Event):
        return (outcome,)
    return outcome or ()


def expect_wanted(command: m.Command, at: Handling) -> Item:
    """Read the item again before an effect: a command may be older than a decision that overtook it."""
    return _load_wanted(command, at).items[command.item]


def _load_wanted(command: m.Command, at: Handling) -> records.Loaded:
    """The command's root, with the item that the command is still for; raises NotWanted."""
    store = at.ports.store
    rows = store.read_range(store.shard_of(command.root), *records.root_range(command.root))
    loaded = records.load(command.root, rows)
    item = loaded.items.get(command.item)
    if item is None or item.step != command.step:
        raise NotWanted(f"{command.item} has moved on since {command.id} was given")
    return loaded


# ------------------------------------------------------------------------------------------------------------ releases


@handles(m.DescribeModel)
def describe_model(command: m.DescribeModel, at: Handling) -> m.Event:
    model = at.ports.platform.describe_model(command.root, command.version)
    tags = model.tags if model else {}
    missing = tuple(name for name in REQUIRED_TAGS if not tags.get(name))
    if missing:
        return m.TagsMissing.of(command, missing=missing)
    plant, circuit = split_circuit(command.root)
    if (tags["plant_id"], tags["circuit_id"]) != (plant, circuit):
        wrong = f"tags name {tags['plant_id']}_{tags['circuit_id']}, the model's name is {command.root}'s"
        raise Permanent(wrong)
    if not is_semantic(tags["environment_version"]):
        wrong = f"tag environment_version is {tags['environment_version']!r:.40}, not three whole numbers as 1.0.0"
        raise Permanent(wrong)
    return m.ModelDescribed.of(
        command, environment=tags["environment_version"], trainer=tags["pr_author"], tags=dict(tags)
    )


@handles(m.RequestApproval)
def request_approval(command: m.RequestApproval, at: Handling) -> m.Event:
    expect_wanted(command, at)
    path = f"evidence/{command.root}/{records.safe(command.approval)}.json"
    uri = at.ports.documents.write(path, {**command.evidence, "digest": command.digest})
    asked = at.ports.approvals.request(
        command.approval,
        {
            "release": command.item,
            "gate": command.gate,
            "evidence": uri,
            "digest": command.digest,
            "groups": command.requirement,
            "expires_at": command.expires_at.isoformat(),
        },
    )
    try:
        expect_wanted(command, at)
    except NotWanted as overtaken:  # the withdrawal may have come before there was anything to withdraw
        at.ports.approvals.withdraw(command.approval, str(overtaken))
        raise
    if asked.run:  # what is told of a run names only the run
        look = m.LookAtGate(root=command.root, item=command.item, step=command.step, approval=command.approval)
        remember(records.GATE_RUNS, Row(records.safe(asked.run), m.encode(look)), at)
    return m.ApprovalRequested.of(command, approval=command.approval, evidence_uri=uri, asked_at=asked.at)


@handles(m.WithdrawApproval)
def withdraw_approval(command: m.WithdrawApproval, at: Handling) -> None:
    if command.withdrawn:
        at.ports.approvals.withdraw(command.withdrawn, command.reason)


@handles(m.LookAtGate)
def look_at_gate(command: m.LookAtGate, at: Handling) -> Sequence[m.Event]:
    return _read_gate(command, at)


@handles(m.RemindOfGate)
def remind_of_gate(command: m.RemindOfGate, at: Handling) -> m.Event:
    approval = getattr(expect_wanted(command, at), "approval", None)
    if approval is None or approval.id != command.approval:
        raise NotWanted(f"{command.approval} is not what is asked now")
    ageing = m.GateNearlyExpired if command.last else m.GateAgeing
    return ageing.of(command, approval=approval.id)


def _read_gate(command: m.LookAtGate, at: Handling) -> Sequence[m.Event]:
    """Every answer that was given where the gate was asked; what is recorded already changes nothing again."""
    approval = getattr(expect_wanted(command, at), "approval", None)
    if approval is None or approval.id != command.approval:
        raise NotWanted(f"{command.approval} is not what is asked now")
    asks = at.ports.approvals.look(approval.id, approval.digest)
    return [answer for ask in asks for answer in _answers(ask, approval, command)]


def _answers(ask: Ask, approval: Approval, command: m.LookAtGate) -> Sequence[m.Event]:
    """The event that an ask's state is; a state that is nobody's answer is no approval and no rejection."""
    if ask.person and not may_answer(approval, ask.person):
        asked = " and ".join(" or ".join(groups) for groups in approval.requirement)
        raise Permanent(
            f"{ask.person.username} answered {approval.id} for {' and '.join(ask.person.groups) or 'no group'}, "
            f"and the policy asks {asked}: correct who approves there, or the policy, and ask again"
        )
    closed = _CLOSED.get(ask.state)
    if closed:
        return [closed.of(command, approval=approval.id)]
    if ask.person is None:
        return []
    if ask.state is AskState.DEFERRED:
        return [m.AnswerDeferred.of(command, approval=approval.id, person=ask.person, until=ask.until)]
    return [
        m.ApprovalDecided(
            root=command.root,
            approval=approval.id,
            digest=approval.digest,
            decision=_DECISIONS[ask.state],
            person=ask.person,
            comment=ask.comment,
            channel=approval.channel,
        )
    ]


_DECISIONS: Mapping[AskState, Literal["approve", "reject"]] = {
    AskState.APPROVED: "approve",
    AskState.REJECTED: "reject",
}
_CLOSED: Mapping[AskState, type[m.GateTimedOut | m.GateSkipped | m.GateCancelled]] = {
    AskState.TIMED_OUT: m.GateTimedOut,
    AskState.SKIPPED: m.GateSkipped,
    AskState.CANCELLED: m.GateCancelled,
}


@handles(m.PromoteModel)
def promote_model(command: m.PromoteModel, at: Handling) -> m.Event:
    expect_wanted(command, at)
    if not at.ports.platform.environment_is_promoted(command.environment):
        return m.EnvironmentNotInRegistry.of(command)
    reference = at.ports.platform.start_promotion(command.id, command.root, command.version)
    return m.OperationStarted.of(command, reference=reference)


@handles(m.DeployToTest)
def deploy_to_test(command: m.DeployToTest, at: Handling) -> m.Event:
    expect_wanted(command, at)
    return _deploy(command, Stage.TEST, at)


@handles(m.DeployToProduction)
def deploy_to_production(command: m.DeployToProduction, at: Handling) -> m.Event:
    """The last look before the effect: what was approved may have been put on hold since.

    That the deployment was begun is written down first: after a crash it goes on, whatever was ordered meanwhile.
    """
    circuit = _load_wanted(command, at)
    begun = Row(f"begun.{records.safe(command.id)}", {"command": command.id})
    if at.ports.store.read(records.JOBS, begun.key) is None:
        if withheld := at.withheld(circuit):
            return m.ProductionWithheld.of(command, reason=withheld)
        remember(records.JOBS, begun, at)
    return _deploy_to_production(command, at)


@handles(m.DeployRollback)
def deploy_rollback(command: m.DeployRollback, at: Handling) -> m.Event:
    expect_wanted(command, at)
    return _deploy_to_production(command, at)


def _deploy_to_production(command: _ToProduction, at: Handling) -> m.Event:
    started = _deploy(command, Stage.PRODUCTION, at)
    try:
        expect_wanted(command, at)
    except NotWanted:  # a rollback took production while this was being started
        at.ports.platform.cancel(started.reference)
        raise
    return started


def _deploy(command: m.DeployToTest | _ToProduction, stage: Stage, at: Handling) -> m.OperationStarted:
    platform = at.ports.platform
    scoring_time = at.directory.rules(command.root).scoring_time
    reference = platform.start_deployment(command.id, stage, command.root, command.pair, command.previous, scoring_time)
    return m.OperationStarted.of(command, reference=reference, expected={"pair": command.pair.model_dump()})


@handles(m.DeployRepair)
def deploy_repair(command: m.DeployRepair, at: Handling) -> m.Event:
    expect_wanted(command, at)
    return _deploy_to_production(command, at)


@handles(m.RemoveDeployment)
def remove_deployment(command: m.RemoveDeployment, at: Handling) -> m.Event:
    expect_wanted(command, at)
    reference = at.ports.platform.start_removal(command.id, Stage.PRODUCTION, command.root)
    return m.OperationStarted.of(command, reference=reference)


@handles(m.ReadProduction)
def read_production(command: m.ReadProduction, at: Handling) -> m.Event | None:
    """What is recorded is read first: a change meanwhile makes the reading worth nothing."""
    store = at.ports.store
    rows = store.read_range(store.shard_of(command.root), *records.root_range(command.root))
    circuit = records.load(command.root, rows).root
    assert isinstance(circuit, Circuit)
    if circuit.production_owner:
        return None
    found = at.ports.platform.deployed(Stage.PRODUCTION, command.root)
    pair = found.pair if found else None
    if pair is None and circuit.serving is None:
        return None
    return m.ProductionRead(root=command.root, found=pair, recorded=circuit.serving, read=command.read)


@handles(m.AskForProduction)
def ask_for_production(command: m.AskForProduction, at: Handling) -> m.Event:
    expect_wanted(command, at)
    return m.ProductionAsked.of(command, looks=command.held_looks)


def _score(command: m.StartTestInference | m.StartScoring, stage: Stage, at: Handling) -> m.Event:
    """Write the request file that the scoring job obeys, start the job, and remember whose it is."""
    expect_wanted(command, at)
    plant, circuit = split_circuit(command.root)
    day = f"{command.origin:%Y-%m-%d}"
    output = at.ports.lake.attempt_uri(stage, command.root, day, command.id)
    horizon = int(command.limits.get("forecast_horizon", "24"))
    request = {
        "circuit": command.root,
        "plant_id": plant,
        "circuit_id": circuit,
        "forecast_origin": command.origin.isoformat(),
        "table_uri": at.ports.lake.table_uri,
        "table_id": command.table,
        "delta_version": command.delta_version,
        "command_id": command.id,
        "output_uri": output,
        "model_version": command.pair.model,
        "environment_version": command.pair.environment,
        "horizon": horizon,
    }

    def start() -> str:
        uri = at.ports.documents.write(f"requests/{command.root}/{records.safe(command.id)}.json", request)
        return at.ports.platform.start_scoring(command.id, stage, command.root, uri)

    job = start_in_slot(command, _PURPOSES[stage], at, start)
    expected = {**command.limits, "origin": command.origin.isoformat(), "horizon": horizon, "command_id": command.id}
    expected |= {
        "circuit": command.root,
        "model_version": command.pair.model,
        "plausible_range_sd": at.directory.rules(command.root).plausible_range_sd,
    }
    started = m.OperationStarted.of(command, reference=job, output_uri=output, expected=expected)
    remember_job(started, _PURPOSES[stage], at)
    return started


_DEPLOYMENTS = (
    Phase.DEPLOYING_TO_TEST,
    Phase.DEPLOYING_TO_PRODUCTION,
    RollbackPhase.ROLLING_BACK,
    DiscrepancyPhase.REPAIRING,
)
_PURPOSES = {Stage.TEST: Phase.TESTING, Stage.PRODUCTION: ScoringPhase.SCORING}


def remember(partition: str, row: Row, at: Handling) -> None:
    """Write a row of a fixed partition, which goes when its time is over."""
    at.ports.store.commit(partition, records.remembered(Kept.LOOKUPS, row, at.ports.clock.now()))


def remember_job(started: m.OperationStarted, purpose: str, at: Handling) -> None:
    """A job's event names only the job: its row holds the look that the event brings forward."""
    look = m.LookAtOperation(
        root=started.root,
        item=started.item,
        step=started.step,
        purpose=purpose,
        reference=started.reference,
        output_uri=started.output_uri,
        looks=0,
        expected=started.expected,
    )
    remember(records.JOBS, Row(records.safe(started.reference), m.encode(look)), at)


@handles(m.StartTestInference)
def start_test_inference(command: m.StartTestInference, at: Handling) -> m.Event:
    return _score(command, Stage.TEST, at)


@handles(m.StartScoring)
def start_scoring(command: m.StartScoring, at: Handling) -> m.Event:
    """The last look before the effect: while an attempt waited, another pair may have come to serve."""
    circuit = _load_wanted(command, at).root
    assert isinstance(circuit, Circuit)
    if circuit.serving != command.pair:
        return m.ScoringOvertaken.of(command, error=f"{command.pair} serves no more")
    return _score(command, Stage.PRODUCTION, at)


class Room(NamedTuple):
    """Which slots work of a purpose takes one of, how many there are, and how long one is held without a look."""

    kind: str
    limit: int
    lease: timedelta

    @classmethod
    def of(cls, purpose: str, at: Handling) -> Room | None:
        """None: as many may run as there are."""
        if purpose == Phase.PROMOTING_ENVIRONMENT:
            return cls(IMPORT, 1, IMPORT_LEASE)
        return cls(INVOCATION, at.directory.max_invocations, SLOT_LEASE) if purpose in _PURPOSES.values() else None

    def take(self, command: m.Command, at: Handling) -> bool:
        """Whether the command's step has a slot now; one that it has is kept."""
        return at.slots.acquire(self.kind, _holder(command), self.limit, self.lease)

    def keep(self, command: m.Command, at: Handling) -> None:
        at.slots.keep(self.kind, _holder(command), self.limit, self.lease)

    def leave(self, command: m.Command, at: Handling) -> None:
        at.slots.release(self.kind, _holder(command))


def start_in_slot(command: m.Command, purpose: str, at: Handling, start: Callable[[], str]) -> str:
    """The reference of work that holds a slot until a look sees it ended; raises NoSlot."""
    room = Room.of(purpose, at)
    assert room, f"{purpose} needs no slot"
    if not room.take(command, at):
        raise NoSlot(f"all {room.limit} slots of {room.kind} are taken")
    try:
        return start()
    except Permanent:
        room.leave(command, at)
        raise


def _holder(command: m.Command) -> str:
    return f"{command.item}.{command.step}"


# --------------------------------------------------------------------------------------------------------------- looks


@handles(m.LookAtOperation)
def look_at_operation(command: m.LookAtOperation, at: Handling) -> m.Event:
    status = _runner(command.purpose, at).look(command.reference)
    room = Room.of(command.purpose, at)
    if status.state is OperationState.RUNNING:
        if room:  # a lease outlives the longest wait between two looks, not the longest job
            room.keep(command, at)
        return m.StillRunning.of(command, looks=command.looks)
    if room:
        room.leave(command, at)
    # A platform forgets old operations; what a deployment was for can still be read from what the workspace serves.
    forgotten = status.state is OperationState.UNKNOWN and command.purpose in _DEPLOYMENTS
    if status.state is not OperationState.SUCCEEDED and not forgotten:
        error = status.error or f"{command.reference} is {status.state}"
        if environment := command.expected.get("environment"):
            error = f"environment {environment} did not reach the registry: {error}"
        return m.OperationFailed.of(command, error=error, noticed_by=at.noticed_by)
    return SUCCESSES[command.purpose](command, status, at)


_Runner: TypeAlias = EtlRunner | MonitorRunner | ModelPlatform


def _runner(purpose: str, at: Handling) -> _Runner:
    """Where the work of a purpose was started."""
    if purpose == MONITORING:
        return at.ports.monitor
    return at.ports.etl if purpose in WRITERS.values() else at.ports.platform


def _promoted(command: m.LookAtOperation, status: OperationStatus, at: Handling) -> m.Event:
    return m.ModelPromoted.of(command, noticed_by=at.noticed_by)


def _deployed(stage: Stage, outcome: type[m.Outcome]) -> Success:
    def deployed(command: m.LookAtOperation, status: OperationStatus, at: Handling) -> m.Event:
        """Believe what the workspace serves, not what the operation said."""
        meant = Pair.model_validate(command.expected["pair"])
        found = at.ports.platform.deployed(stage, command.root)
        if found is None or found.pair != meant:
            serves = f"{stage} serves {found.pair}" if found else f"{stage} serves nothing"
            error = f"the deployment is {status.state}, and {serves} instead of {meant}"
            return m.OperationFailed.of(command, error=error, noticed_by=at.noticed_by)
        return outcome.of(command, noticed_by=at.noticed_by)

    return deployed


def _removed(command: m.LookAtOperation, status: OperationStatus, at: Handling) -> m.Event:
    return m.DeploymentRemoved.of(command, noticed_by=at.noticed_by)


def _tested(command: m.LookAtOperation, status: OperationStatus, at: Handling) -> m.Event:
    job, seen = command.reference, at.noticed_by
    problems = tuple(at.ports.lake.check_predictions(command.output_uri, command.expected))
    if problems:
        return m.TestInferenceRefused.of(command, job=job, problems=problems, noticed_by=seen)
    rows = int(command.expected["horizon"])
    return m.TestInferenceValidated.of(command, job=job, output_uri=command.output_uri, rows=rows, noticed_by=seen)


def _scored(command: m.LookAtOperation, status: OperationStatus, at: Handling) -> m.Event:
    job, seen = command.reference, at.noticed_by
    problems = tuple(at.ports.lake.check_predictions(command.output_uri, command.expected))
    if problems:
        return m.ScoringRefused.of(command, job=job, problems=problems, noticed_by=seen)
    expect_wanted(command, at)  # an attempt that was given up must not replace what a later one published
    published = at.ports.lake.publish(command.output_uri, command.root, str(command.expected["origin"])[:10])
    rows = int(command.expected["horizon"])
    return m.ScoringVerified.of(command, job=job, published_uri=published, rows=rows, noticed_by=seen)


def _ingested(command: m.LookAtOperation, status: OperationStatus, at: Handling) -> m.Event:
    version = status.outputs.get("version") or None
    return m.EtlSucceeded.of(
        command,
        table=status.outputs.get("table_id", ""),
        version=int(version) if version is not None else None,
        report=status.outputs.get("report", ""),
    )


def _kept_up(command: m.LookAtOperation, status: OperationStatus, at: Handling) -> m.Event:
    done = at.ports.lake.read_upkeep(status.outputs["run_id"])
    return m.UpkeepSucceeded.of(command, **{name: done[name] for name in ("version", "deleted_files", "lost")})


Success = Callable[[m.LookAtOperation, OperationStatus, Handling], m.Event]
SUCCESSES: dict[str, Success] = {
    Phase.PROMOTING: _promoted,
    Phase.DEPLOYING_TO_TEST: _deployed(Stage.TEST, m.DeployedToTest),
    Phase.TESTING: _tested,
    Phase.DEPLOYING_TO_PRODUCTION: _deployed(Stage.PRODUCTION, m.DeployedToProduction),
    DiscrepancyPhase.REPAIRING: _deployed(Stage.PRODUCTION, m.Repaired),
    RollbackPhase.ROLLING_BACK: _deployed(Stage.PRODUCTION, m.RolledBack),
    DeparturePhase.RETIRING: _removed,
    ScoringPhase.SCORING: _scored,
    WRITERS[EtlRun]: _ingested,
    WRITERS[UpkeepRun]: _kept_up,
}


@handles(m.CancelOperation)
def cancel_operation(command: m.CancelOperation, at: Handling) -> None:
    if command.reference:
        runners: Mapping[str, _Runner] = {LAKE: at.ports.etl, MONITOR: at.ports.monitor}
        runners.get(command.root, at.ports.platform).cancel(command.reference)


_JOBS_OF: Mapping[type[Item], str] = {**WRITERS, MonitoringRun: MONITORING}
"""What the operation of an item is looked at for, where that is not its phase."""


@handles(m.CheckDeadline)
def check_deadline(command: m.CheckDeadline, at: Handling) -> m.Event | Sequence[m.Event] | None:
    """Look once more before time is called: what ended well while nobody looked has not overrun."""
    item = expect_wanted(command, at)
    operation: Operation | None = getattr(item, "operation", None)
    over = m.DeadlinePassed.of(command, phase=command.phase)
    approval = getattr(item, "approval", None)
    if approval is not None and item.phase in GATES:
        gate = m.LookAtGate(root=command.root, item=command.item, step=command.step, approval=approval.id)
        return [*_read_gate(gate, at), over]  # an answer that leads on leaves nothing to overrun
    if operation is not None:
        look = m.LookAtOperation(
            root=command.root,
            item=command.item,
            step=command.step,
            purpose=_JOBS_OF.get(type(item), item.phase),
            **in_operation(operation),
        )
        seen = look_at_operation(look, at)
        if not isinstance(seen, m.StillRunning):
            return seen
    return over


# ------------------------------------------------------------------------------------------------------------ readings


@handles(m.StartEtl)
def start_etl(command: m.StartEtl, at: Handling) -> m.Event:
    return m.OperationStarted.of(command, reference=at.ports.etl.start(command.id, command.run_id))


@handles(m.StartUpkeep)
def start_upkeep(command: m.StartUpkeep, at: Handling) -> m.Event:
    """Order first, start then: the upkeep deletes nothing that an order does not let it."""
    expect_wanted(command, at)
    newest = at.ports.lake.read_commit(None)
    if newest is None:
        return m.UpkeepSucceeded.of(command, version=None, deleted_files=0)
    table = newest["table_id"]
    spare = at.ports.data_assets.delta_versions(table) | ledger_versions(at.ports.store, table, at.ports.clock.now())
    at.ports.lake.order_upkeep(command.run_id, table, spare)
    return m.OperationStarted.of(command, reference=at.ports.etl.start_upkeep(command.id, command.run_id))


@handles(m.LookForDepartures)
def look_for_departures(command: m.LookForDepartures, at: Handling) -> Sequence[m.Event]:
    """What the index of circuits says against what the configuration says; one range read a shard."""
    configured, seen = set(at.directory.circuits()), at.ports.clock.now()
    found: list[m.Event] = []
    for shard in at.ports.store.shards:
        for row in at.ports.store.read_range(shard, *records.CIRCUITS):
            circuit, flagged = row.body["id"], row.body.get("departure")
            if circuit in configured and flagged:
                found.append(m.CircuitReturned(root=circuit, seen=seen))
            elif circuit not in configured and not flagged and (row.body["serving"] or row.body["releases"]):
                found.append(m.CircuitDeparted(root=circuit, seen=seen))
    return found


@handles(m.ReadDeltaCommit)
def read_delta_commit(command: m.ReadDeltaCommit, at: Handling) -> Sequence[m.Event]:
    """A hint said that the table has a commit; the log says whether it changed rows. New rows may warn of drift."""
    commit = at.ports.lake.read_commit(command.version)
    if commit is None or not commit["data_changed"]:
        return ()
    committed = m.DeltaCommitted if commit["report"] else m.ForeignRowsCommitted
    told = committed(root=LAKE, table=commit["table_id"], version=commit["version"], report=commit["report"] or "")
    now = at.ports.clock.now().replace(microsecond=0)
    return told, MonitoringDue(root=MONITOR, monitoring=Monitoring.WARNING, slot=now)


@handles(m.ReadSlice)
def read_slice(command: m.ReadSlice, at: Handling) -> m.Event:
    reached = _REACHED[command.purpose](command, at)
    part = reached[command.cursor : command.cursor + SLICE]
    following = command.cursor + SLICE if command.cursor + SLICE < len(reached) else None
    read = {"commands": tuple(m.encode(c) for c in part), "next_cursor": following}
    if following is not None:
        return m.SliceRead.of(command, **read)
    if failed := Counter(c.widespread for c in reached if isinstance(c, m.CoverCircuit) and c.widespread):
        told = " and ".join(f"{count} circuits of {where}" for where, count in sorted(failed.items()))
        return m.CommitFailedQuality.of(command, **read, reason=f"{told} fail: look at the ETL or the plant")
    return m.LastSliceRead.of(command, **read)


def _covered(command: m.ReadSlice, at: Handling) -> list[m.Command]:
    report = at.ports.lake.read_report(command.report)
    closed: Mapping[str, Any] = report.get("changed_closed_days", {})
    seen = {}
    for sensor, told in report["sensors"].items():
        late = float(closed.get(sensor, {}).get("late", 0))
        seen[sensor] = (told["last"], told["first"], {**_counts(told["quality"]), "late": late})
    return _coverage(command, seen, at)


def _covered_by_a_stranger(command: m.ReadSlice, at: Handling) -> list[m.Command]:
    """Nobody reported what came, so the table is asked; what nobody counted is judged by nobody."""
    assert command.version is not None
    newest = at.ports.lake.newest_readings(command.table, command.version)
    return _coverage(command, {sensor: (last, None, {}) for sensor, last in newest.items()}, at)


def _coverage(
    command: m.ReadSlice, seen: Mapping[str, tuple[datetime, datetime | None, Mapping[str, float]]], at: Handling
) -> list[m.Command]:
    """A command for each circuit whose sensor was seen: its newest reading, the oldest and the counts of what came."""
    assert command.version is not None
    departed = {sensor: circuit for circuit, sensor in records.gone(at.ports.store).items()}
    sensors = {sensor: at.directory.by_sensor(sensor) or departed.get(sensor) for sensor in sorted(seen)}
    covered = {circuit: (sensor, *seen[sensor]) for sensor, circuit in sensors.items() if circuit}
    assessed = {c: assess_quality(told[-1], at.directory.rules(c).quality)[0] for c, told in covered.items()}
    judged = {c: verdict is QualityFailed for c, verdict in assessed.items() if verdict is not QualityUnknown}
    shared = widespread(judged)
    about = {"step": 0, "table": command.table, "version": command.version}
    return [
        m.CoverCircuit(
            **about,
            root=circuit,
            item=circuit,
            newest=newest,
            oldest=oldest,
            counts=counts,
            sensor=sensor,
            widespread=shared.get(circuit, ""),
        )
        for circuit, (sensor, newest, oldest, counts) in covered.items()
    ]


def _counts(quality: Mapping[str, Any]) -> dict[str, float]:
    """A report's nested counts as `rows`, `nulls.temperature`, …"""
    found: dict[str, float] = {}
    for name, value in quality.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{column}": float(count) for column, count in value.items()}
        else:
            found[name] = float(value)
    return found


def _everyone(at: Handling) -> list[str]:
    """The configured circuits, and those that left and still serve."""
    return sorted({*at.directory.circuits(), *records.gone(at.ports.store)})


def _fleet(command: m.ReadSlice, at: Handling) -> list[m.Command]:
    assert command.origin is not None
    origin = command.origin
    return [m.CheckDailyScoring(root=c, item=c, step=0, origin=origin) for c in _everyone(at)]


def _read(command: m.ReadSlice, at: Handling) -> list[m.Command]:
    assert command.origin is not None
    read = f"{command.origin:%Y%m%dT%H%M}"
    return [m.ReadProduction(root=c, item=c, step=0, read=read) for c in _everyone(at)]


def _filled(command: m.ReadSlice, at: Handling) -> list[m.Command]:
    assert command.origin is not None
    asked = {"asked": command.item, "asked_by": command.asked_by, "comment": command.comment}
    return [m.FillDay(root=c, item=c, step=0, origin=command.origin, **asked) for c in _everyone(at)]


_REACHED: Mapping[str, Callable[[m.ReadSlice, Handling], list[m.Command]]] = {
    "coverage": _covered,
    "foreign": _covered_by_a_stranger,
    "daily": _fleet,
    "fill": _filled,
    "production": _read,
}


@handles(m.CoverCircuit)
def cover_circuit(command: m.CoverCircuit, at: Handling) -> m.Event:
    return m.SensorCovered(**command.model_dump(exclude={"item", "step"}))


@handles(m.CheckDailyScoring)
def check_daily_scoring(command: m.CheckDailyScoring, at: Handling) -> m.Event:
    return m.DailyScoringChecked(root=command.root, origin=command.origin)


@handles(m.FillDay)
def fill_day(command: m.FillDay, at: Handling) -> m.Event | None:
    """Nothing where a forecast stands or is under way, and where nothing serves; waits while the circuit is busy."""
    store = at.ports.store
    partition = store.shard_of(command.root)
    rows = store.read_range(partition, *records.day_span(command.root, command.origin.date()))
    runs = [Run.model_validate(row.body) for row in rows]
    loaded = records.load(command.root, store.read_range(partition, *records.root_range(command.root)))
    assert isinstance(loaded.root, Circuit)
    if loaded.root.serving is None or not loaded.root.scoring or any(run.settled for run in runs):
        return None
    under_way = sum(isinstance(item, ScoringRun) for item in loaded.items.values())
    if loaded.root.desired != loaded.root.serving or under_way >= MOST_UNDER_WAY:
        raise NoSlot(f"{command.root} is being deployed, or has {under_way} scorings under way")
    return m.ScoringRequested(
        root=command.root,
        origin=command.origin,
        number=len(runs) + 1,
        asked_by=command.asked_by,
        comment=command.comment,
    )
