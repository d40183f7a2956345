"""Messages: events (facts, past tense) and commands (intents, imperative).

An event names the root it concerns and its own business identity; the identity's inbox row is created in the same
transaction as what the event changes, so one fact has one effect however often it is told.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Literal, Self

from shared.domain.values import Channel, Pair, Value


class Event(Value, ABC):
    """A fact about one root; `root` is the key of what it concerns."""

    root: str

    @property
    @abstractmethod
    def identity(self) -> str:
        """What makes two tellings the same fact."""

    def onto(self) -> Mapping[str, Any]:
        """The fields of the item that this fact sets."""
        return {}

    def shown(self) -> Mapping[str, Any]:
        """What history keeps of the fact."""
        return self.model_dump(mode="json", exclude={"root", "item", "step", "command_id"}, exclude_defaults=True)


class Outcome(Event):
    """What came of a command: late when its item has moved on since the command was given."""

    item: str
    step: int
    command_id: str

    @classmethod
    def of(cls, command: Command, **fields: Any) -> Self:
        return cls(root=command.root, item=command.item, step=command.step, command_id=command.id, **fields)

    @property
    def identity(self) -> str:
        return f"{self.command_id}:{type(self).__name__}"


class Consequence(Event):
    """A fact that follows from another within one decision; it never arrives from outside, so it needs no inbox row."""

    @property
    def identity(self) -> str:
        return ""


class Command(Value):
    """An intent for one item; its id is deterministic and is the idempotency key of what it starts.

    A subclass's fields are filled by name from what its item and root offer (see `machine.build`).
    """

    root: str
    item: str
    step: int

    registry: ClassVar[dict[str, type[Command]]] = {}
    essential: ClassVar[bool] = True
    """Whether its item cannot go on without it. What only tells or tidies up is kept as a dead letter and no more."""
    repeated: ClassVar[bool] = False
    """Whether a timer gives it again and again: an outage is not its end then, only this time's."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        Command.registry[cls.__name__] = cls

    @property
    def id(self) -> str:
        return f"{self.item}.{self.step}.{type(self).__name__}"


class Person(Value):
    """A signed-in person, from a verified token."""

    oid: str
    name: str
    username: str
    groups: tuple[str, ...] = ()


# ---------------------------------------------------------------------------------------------- release: from outside


class ModelRegistered(Event):
    """A model version appeared in the dev workspace. Tags in the event are a hint; they are re-read."""

    version: int
    workspace: str
    tags_digest: str = ""

    @property
    def identity(self) -> str:
        return f"registered:{self.workspace}:{self.version}:{self.tags_digest}"


class ApprovalDecided(Event):
    """A person answered a gate, naming the digest of what they looked at; `request` names the batch it came with."""

    approval: str
    digest: str
    decision: Literal["approve", "reject"]
    person: Person
    comment: str = ""
    channel: Channel = Channel.PRODUCT
    lift_hold: bool = False
    request: str = ""

    @property
    def identity(self) -> str:
        told = f"decided:{self.approval}:{self.person.oid}:{self.decision}:{self.digest}"
        # Outside, each approval is asked by itself, and a person of two groups may answer both.
        return told if self.channel is Channel.PRODUCT else f"{told}:{'+'.join(self.person.groups)}"


class GateOverridden(Event):
    """A person with the right let a blocked gate be answered, naming the digest of what they looked at, and why."""

    approval: str
    digest: str
    person: Person
    reason: str
    request: str

    @property
    def identity(self) -> str:
        return f"overridden:{self.approval}:{self.request}"


# ----------------------------------------------------------------- release: what a fact turns out to be, once looked at


class OlderModelRegistered(ModelRegistered):
    """A version arrived after a newer one was already known."""

    successor: str

    def onto(self) -> Mapping[str, Any]:
        return {"successor": self.successor, "reason": f"a newer version, {self.successor}, was already known"}


class ModelRegisteredAgain(ModelRegistered):
    """The version of an open release was registered again, perhaps with other tags."""


class ApprovalCounted(ApprovalDecided):
    """An approval was recorded and the gate still waits for more."""

    counts: bool
    note: str = ""


class AnswerUsedUp(ApprovalDecided):
    """An approval that does not count, where nobody else can give another: the gate is void and is asked again."""

    note: str


class GateApproved(ApprovalDecided):
    """The last approval the gate asked for."""


class RegistryApproved(GateApproved):
    """The registry gate is open."""


class ProductionApproved(GateApproved):
    """The production gate is open and production is free."""


class ProductionApprovedWhileOwned(GateApproved):
    """The production gate is open while something else owns production; `note` says what."""

    note: str = ""


class ProductionApprovedWhileHeld(GateApproved):
    """The production gate is open while no deployment to production may begin; `note`: which hold, freeze or stop."""

    note: str = ""


class ApprovalRejected(ApprovalDecided):
    """A person said no."""

    def onto(self) -> Mapping[str, Any]:
        return {"reason": f"rejected by {self.person.username}" + (f": {self.comment}" if self.comment else "")}


class SupersededByNewer(Consequence):
    """A newer version of the circuit's model took this candidate's place."""

    successor: str

    def onto(self) -> Mapping[str, Any]:
        return {"successor": self.successor, "reason": f"superseded by {self.successor}"}


class ProductionFreed(Consequence):
    """The release that owned production let go of it, and the champion is the one this release was compared with."""


class ProductionHeld(Consequence):
    """Production is free, and no deployment to it may begin: a hold, a freeze window or a stop of the fleet."""

    reason: str


class ChampionChanged(Consequence):
    """What serves is no longer what this release was compared with."""


class ObservationCounted(Consequence):
    """One more verified scoring by an observed release, and more are asked for."""


class ObservationPassed(Consequence):
    """The observed release has scored as often as the policy asks."""


class ObservationFailed(Consequence):
    """The observed pair's predictions were refused; what follows (a rollback, or people decide) is the policy's."""

    reason: str

    def onto(self) -> Mapping[str, Any]:
        return {"reason": self.reason}


class ReleaseRolledBack(Consequence):
    """A rollback took production away from this release."""

    rollback: str
    reason: str

    def onto(self) -> Mapping[str, Any]:
        return {"reason": f"undone by {self.rollback}: {self.reason}"}


# ------------------------------------------------------------------------------------------- release: from its commands


class ModelDescribed(Outcome):
    """The model's tags are complete."""

    environment: str
    trainer: str
    tags: Mapping[str, str]

    def onto(self) -> Mapping[str, Any]:
        return {"environment": self.environment, "trainer": self.trainer, "tags": dict(self.tags)}

    def shown(self) -> Mapping[str, Any]:
        return {"environment": self.environment, "trainer": self.trainer}


class ModelDescribedBehind(ModelDescribed):
    """The model's tags are complete, and an older version is on its way that it queues behind."""

    behind: str

    def onto(self) -> Mapping[str, Any]:
        return {**super().onto(), "reason": f"queues behind {self.behind}"}


class QueueMoved(Consequence):
    """Whatever this version queued behind has reached production or ended: its turn has come."""

    def onto(self) -> Mapping[str, Any]:
        return {"reason": ""}


class EvidenceChanged(ModelDescribed):
    """The model's tags changed while its first gate was open: the gate is void and is asked again."""


class TagsMissing(Outcome):
    """The model, or some of its tags, are not there yet."""

    missing: tuple[str, ...]


class TagsNeverCame(Outcome):
    """The grace period passed and the model's tags are still incomplete."""

    missing: tuple[str, ...]

    def onto(self) -> Mapping[str, Any]:
        return {"reason": f"the model's tags never came: {', '.join(self.missing)}"}


class ApprovalRequested(Outcome):
    """People were asked, with evidence to look at; `asked_at` is where they answer, if not in the product itself."""

    approval: str
    evidence_uri: str
    asked_at: str = ""


class AnswerDeferred(Outcome):
    """A person said yes from a later time (UTC) on; it becomes an approval then, if the gate is still open."""

    approval: str
    person: Person
    until: datetime | None

    @property
    def identity(self) -> str:
        return f"deferred:{self.approval}:{self.person.oid}:{self.until}"


class GateTimedOut(Outcome):
    """Where people were asked, the time for their answer ran out."""

    approval: str

    def onto(self) -> Mapping[str, Any]:
        return {"reason": f"nobody answered {self.approval} in time"}


class GateSkipped(Outcome):
    """Where people were asked, the question was passed over: that is nobody's answer."""

    approval: str

    def onto(self) -> Mapping[str, Any]:
        return {"reason": f"{self.approval} was skipped where it was asked, and nobody answered it"}


class GateCancelled(Outcome):
    """Where people were asked, somebody cancelled the question."""

    approval: str

    def onto(self) -> Mapping[str, Any]:
        return {"reason": f"{self.approval} was cancelled where it was asked"}


class GateAgeing(Outcome):
    """Half of the time for an answer has passed, and the gate is open."""

    approval: str


class GateNearlyExpired(Outcome):
    """The time for an answer is nearly over, and the gate is open."""

    approval: str


class OperationStarted(Outcome):
    """Work was started outside; `output_uri` is where it writes, when it writes."""

    reference: str
    output_uri: str = ""
    expected: Mapping[str, Any] = {}


class StillRunning(Outcome):
    """A look found the work still going; `looks` counts the looks so far."""

    looks: int

    @property
    def identity(self) -> str:
        return f"{self.item}.{self.step}.looked.{self.looks}"


class OperationFailed(Outcome):
    """Work started outside failed, was cancelled or is unknown to its platform: machinery, not a verdict."""

    error: str
    noticed_by: str = ""

    def onto(self) -> Mapping[str, Any]:
        return {"reason": self.error}


class CommandPoisoned(Outcome):
    """A command failed so often that the queue gave it up; it lies in the dead letters and can be replayed."""

    error: str

    @property
    def identity(self) -> str:
        return f"{self.command_id}:poisoned"

    def onto(self) -> Mapping[str, Any]:
        return {"reason": self.error}


class DeadlinePassed(Outcome):
    """The phase was not left in time."""

    phase: str

    def onto(self) -> Mapping[str, Any]:
        return {"reason": f"nothing ended '{self.phase}' before its deadline"}


class ObservationTimeOver(DeadlinePassed):
    """The time to observe it has passed, and what it scored meanwhile was verified."""

    def onto(self) -> Mapping[str, Any]:
        return {}


class EnvironmentNotInRegistry(Outcome):
    """The registry lacks the environment that the model was trained with: that is brought there before the model."""


class EnvironmentPromoted(Outcome):
    """The registry has the environment."""

    noticed_by: str = ""


class ModelPromoted(Outcome):
    """The registry has the model version."""

    noticed_by: str = ""


class ModelPromotedWhileTestOwned(ModelPromoted):
    """The registry has the model version, and something else owns the test deployment."""


class TestFreed(Consequence):
    """Whoever owned the test deployment let go of it."""

    __test__ = False  # not a pytest class


class DeployedToTest(Outcome):
    """The test workspace serves the pair."""

    noticed_by: str = ""


class TestInferenceValidated(Outcome):
    """The test deployment's predictions are usable."""

    __test__ = False  # not a pytest class

    job: str
    output_uri: str
    rows: int
    noticed_by: str = ""

    def onto(self) -> Mapping[str, Any]:
        return {"test": {"job": self.job, "output_uri": self.output_uri, "rows": self.rows}}


class TestedBeforeEnvironmentChanged(TestInferenceValidated):
    """The predictions are usable, and production came to another environment meanwhile: another pair is meant now."""

    def onto(self) -> Mapping[str, Any]:
        return {}


class EnvironmentChanged(Consequence):
    """Production came to another environment: the tested pair is not the one that would be deployed."""


class EnvironmentChangedWhileTestOwned(EnvironmentChanged):
    """Production came to another environment, and something else owns the test deployment."""


class TestInferenceRefused(Outcome):
    """The test deployment's predictions are not usable: a check said no."""

    __test__ = False

    job: str
    problems: tuple[str, ...]
    noticed_by: str = ""

    def onto(self) -> Mapping[str, Any]:
        return {"reason": "test inference: " + "; ".join(self.problems)}


class DeployedToProduction(Outcome):
    """The production workspace serves the pair."""

    noticed_by: str = ""


class ProductionWithheld(Outcome):
    """The last look before the deployment found that none may begin now; nothing was started."""

    reason: str


class ProductionAsked(Outcome):
    """An approved release looks again whether its deployment may begin; `looks` counts these looks."""

    looks: int

    @property
    def identity(self) -> str:
        return f"{self.item}.{self.step}.asked.{self.looks}"


class ProductionStillHeld(ProductionAsked):
    """No deployment to production may begin yet."""

    reason: str


class DeadlineMoved(DeadlinePassed):
    """The time during which nothing could be done does not count: the deadline is later by as much."""


# -------------------------------------------------------------------------- circuit: what people order, what follows


class Order(Event, ABC):
    """A person's order, with the reason; `request` tells two orders in the same words apart."""

    person: Person
    reason: str
    request: str

    @property
    def identity(self) -> str:
        return f"{type(self).__name__}:{self.request}"


class RetireRequested(Order):
    """A person wants a circuit that the configuration has no more to serve nothing from now on."""


class CircuitDeparted(Event):
    """The configuration has a circuit no more that serves, or whose releases are under way; `seen` is when (UTC)."""

    seen: datetime

    @property
    def identity(self) -> str:
        return f"departed:{self.seen:%Y%m%dT%H%M%S}"


class CircuitReturned(Event):
    """The configuration has a circuit again; `seen` is when (UTC)."""

    seen: datetime

    @property
    def identity(self) -> str:
        return f"returned:{self.seen:%Y%m%dT%H%M%S}"


class DeploymentRemoved(Outcome):
    """The circuit's production deployment is no more."""

    noticed_by: str = ""


class CandidateDeparted(Consequence):
    """The configuration has the candidate's circuit no more."""

    def onto(self) -> Mapping[str, Any]:
        return {"reason": "its circuit is not in the configuration any more"}


class ReleaseRetired(Consequence):
    """The circuit was retired while this release was observed."""

    reason: str

    def onto(self) -> Mapping[str, Any]:
        return {"reason": self.reason}


class RollbackRequested(Order):
    """A person wants the circuit back on the last verified pair, or on a named version."""

    version: int | None = None


class RollbackBegun(Consequence):
    """The circuit goes back to a pair that has proved itself; the rollback owns production from here on."""

    by: str
    reason: str


class RollbackToNothing(Consequence):
    """The circuit is to go back, and no other pair has proved itself: nothing serves, scoring is suspended."""

    by: str
    reason: str


class RollbackAttemptFailed(OperationFailed):
    """An attempt's machinery broke and another attempt is allowed."""


class RolledBack(Outcome):
    """The production workspace serves the pair that the circuit was to go back to."""

    noticed_by: str = ""


class HoldRequested(Order):
    """A person wants no release to enter production."""


class ResumeRequested(Order):
    """A person ends the circuit's hold."""


class ReleaseOrder(Order, ABC):
    """A person's order about one release."""

    release: str


class CancelRequested(ReleaseOrder):
    """A person takes a candidate back before production."""

    def onto(self) -> Mapping[str, Any]:
        return {"reason": f"cancelled by {self.person.username}: {self.reason}"}


class RestartRequested(ReleaseOrder):
    """A person wants an ended release to go on from where it ended: `how` it ended decides whether it may."""

    how: Literal["retry", "reopen", "ask again"]

    def onto(self) -> Mapping[str, Any]:
        return {"reason": ""}


class RestartedAtRegistration(RestartRequested):
    """The model's tags are read again."""


class RestartedAtRegistryGate(RestartRequested):
    """The registry's approval is asked again."""


class RestartedAtPromotion(RestartRequested):
    """The registry's copy is made in a new attempt."""


class RestartedAtTest(RestartRequested):
    """The test deployment is made and scored in a new attempt: another pair may have been there meanwhile."""


class RestartedAtProductionGate(RestartRequested):
    """Production's approval is asked again: it expired, was refused, or the champion is another."""


class RestartedAtProduction(RestartRequested):
    """The production deployment is made in a new attempt; what was approved is still what would be deployed."""


class RestartedAtReady(RestartRequested):
    """What was approved still holds, and production is not free or nothing may enter it now."""


class DirectActionReported(Order):
    """A person acts, or has acted, on the model platform past the application; `at` (UTC) says when."""

    did: Literal["promote", "deploy to test", "deploy to production"]
    model: int
    environment: str = ""
    at: datetime


class PlatformUsedDirectly(Consequence):
    """A person did something on the platform that changes nothing in production."""

    at: datetime


class ProductionChangedDirectly(Consequence):
    """A person put a pair into production past the application: it is respected, and no release follows it unasked."""

    at: datetime


class ProductionRead(Event):
    """What production really serves for the circuit, read while `recorded` was recorded; `read` names the reading."""

    found: Pair | None
    recorded: Pair | None
    read: str

    @property
    def identity(self) -> str:
        return f"read:{self.read}"


class ProductionDiffers(Consequence):
    """Production serves something else than is recorded, and people decide."""


class ProductionAdopted(Consequence):
    """Production serves another pair that has proved itself here: the record takes it over."""


class RepairBegun(Consequence):
    """Production serves something else than is recorded, and is made to serve that again."""


class ProductionAgrees(Consequence):
    """Production serves what is recorded again."""


class RepairOvertaken(Consequence):
    """A rollback took production over from the repair."""

    rollback: str


class Repaired(Outcome):
    """Production serves what is recorded."""

    noticed_by: str = ""


class FleetStopped(Order):
    """A person stops the fleet: no release enters any circuit's production."""

    def onto(self) -> Mapping[str, Any]:
        return {"by": self.person.username, "why": self.reason}


class FleetResumed(Order):
    """A person ends the fleet's stop."""

    def onto(self) -> Mapping[str, Any]:
        return {"lifted_by": self.person.username}


class FailuresCounted(Event):
    """How many trainings failed in the last day, in the whole fleet; `slot` is when they were counted (UTC)."""

    failed: int
    slot: datetime

    @property
    def identity(self) -> str:
        return f"failures:{self.slot:%Y%m%dT%H%M%S}"


class TrainingsFailOften(FailuresCounted):
    """More trainings failed than the policy takes for chance."""

    def onto(self) -> Mapping[str, Any]:
        return {"count": self.failed, "reason": f"{self.failed} trainings failed within 24 hours"}


class TrainingsFailSeldom(FailuresCounted):
    """No more trainings fail than the policy takes for chance."""


class LettersKept(Event):
    """Dead letters were kept that nobody has been told of; `newest` is the id of the newest."""

    newest: str
    count: int
    why: str

    @property
    def identity(self) -> str:
        return f"letters:{self.newest}"

    def onto(self) -> Mapping[str, Any]:
        return {"count": self.count, "reason": f"{self.count} new, the newest ({self.newest}): {self.why}"}


class HoldPlaced(Consequence):
    """No release enters production until the hold is lifted; placed again, it takes the newer reason."""

    by: str
    reason: str
    version: int | None = None

    def onto(self) -> Mapping[str, Any]:
        return {"by": self.by, "why": self.reason, "version": self.version, "reason": ""}


class HoldLifted(Consequence):
    """Releases may enter production again."""

    by: str
    reason: str

    def onto(self) -> Mapping[str, Any]:
        return {"lifted_by": self.by}


# --------------------------------------------------------------------------------------------------- readings, scoring


class SensorCovered(Event):
    """A Delta commit carried readings of the circuit's sensor; `newest` is its newest reading in the table (UTC).

    `oldest` is the oldest of those that it added or changed (None: nobody reported it).
    `widespread` names the plant, or the fleet, most of whose circuits the commit fails.
    """

    table: str
    version: int
    newest: datetime
    oldest: datetime | None = None
    counts: Mapping[str, float]
    sensor: str = ""
    widespread: str = ""

    @property
    def identity(self) -> str:
        return f"covered:{self.table}:{self.version}"


class DailyScoringChecked(Event):
    """The day's scoring should have started by now, whatever events came."""

    origin: datetime

    @property
    def identity(self) -> str:
        return f"daily:{self.origin:%Y-%m-%d}"


class ScoringDue(Consequence):
    """The circuit's readings reach the forecast origin and something serves."""

    origin: datetime


class ScoringOverdue(Consequence):
    """The forecast origin has passed and the circuit's readings do not reach it."""

    origin: datetime


class VerificationDue(ScoringDue):
    """An origin that another pair has scored is scored again by the pair that the circuit went back to."""


class ReadingsCameLate(Consequence):
    """Readings that a forecast was to be made from came, or changed, after its scoring had begun."""

    oldest: datetime
    version: int

    def onto(self) -> Mapping[str, Any]:
        return {"partial": True}


class LateReadingsDue(ScoringDue):
    """The policy has a forecast that was made without late readings made once more with them."""

    version: int

    def onto(self) -> Mapping[str, Any]:
        return {"asked_by": "the policy", "comment": f"readings came late, with version {self.version}"}


class ScoringCalledOff(Consequence):
    """The pair that scores was taken out of production, or nothing serves any more."""

    reason: str

    def onto(self) -> Mapping[str, Any]:
        return {"reason": self.reason}


class ScoringSkipped(Consequence):
    """A newer day's scoring begins, and nothing ever began this one's."""

    origin: datetime

    def onto(self) -> Mapping[str, Any]:
        return {"reason": "nothing began it before the next day's: no commit was heard of and no daily check came"}


class ScoringRequested(Event):
    """A person wants a day scored, once more where it was before; `number` counts the day's runs from 1."""

    origin: datetime
    number: int
    asked_by: str
    comment: str = ""

    @property
    def identity(self) -> str:
        return f"scoring:{self.origin:%Y-%m-%d}:{self.number}"

    def onto(self) -> Mapping[str, Any]:
        return {"asked_by": self.asked_by, "comment": self.comment}


class ReadingsArrived(Consequence):
    """The readings a scoring run waited for are there."""


class ScoringVerified(Outcome):
    """The day's predictions are complete and published."""

    job: str
    published_uri: str
    rows: int
    noticed_by: str = ""

    def onto(self) -> Mapping[str, Any]:
        return {"published_uri": self.published_uri, "job": self.job}


class ScoringRefused(Outcome):
    """The day's predictions are not usable and were not published: a check said no."""

    job: str
    problems: tuple[str, ...]
    noticed_by: str = ""

    def onto(self) -> Mapping[str, Any]:
        return {"reason": "; ".join(self.problems), "job": self.job}


class ScoringAttemptFailed(OperationFailed):
    """An attempt's machinery broke and another attempt is allowed."""


class ScoringOvertaken(OperationFailed):
    """What serves changed before the attempt had ended: the day is scored with what serves now."""


class QualityChecked(Consequence):
    """The verdict on the readings that one commit brought for the circuit."""

    table: str
    version: int
    verdict: str
    problems: tuple[str, ...]
    counts: Mapping[str, float]


# ------------------------------------------------------------------------------------------------------------ training


class TrainingRequested(Event):
    """A build wants the circuit trained for one config commit; another `attempt` after one that did not end well."""

    commit: str
    author: str
    pull_request: str
    attempt: int = 1

    @property
    def identity(self) -> str:
        return f"training:{self.commit}:{self.attempt}"


class TrainingStarted(Outcome):
    """The runner took the training."""

    reference: str

    def onto(self) -> Mapping[str, Any]:
        return {"reference": self.reference}


class TrainingSucceeded(Outcome):
    """The training ended and registered a model version; times are the job's own (UTC)."""

    model_version: int
    started_at: datetime
    ended_at: datetime

    def onto(self) -> Mapping[str, Any]:
        return {"model_version": self.model_version, "started_at": self.started_at, "ended_at": self.ended_at}


class TrainingFailed(Outcome):
    """The training broke or was cancelled."""

    error: str

    def onto(self) -> Mapping[str, Any]:
        return {"reason": self.error}


# ---------------------------------------------------------------------------------------------------------------- etl


class EtlDue(Event):
    """The schedule, or a person, asks for an ETL run; `slot` is the time (UTC) it is for, one run a slot."""

    slot: datetime
    asked_by: str = ""

    @property
    def identity(self) -> str:
        return f"etl:{self.slot:%Y%m%dT%H%M%S}"


class EtlDueDuringUpkeep(EtlDue):
    """The schedule asks for an ETL run while the table's upkeep is under way; it waits for its end."""


class UpkeepDue(Event):
    """The schedule asks for an upkeep of the table; `slot` is the scheduled time (UTC)."""

    slot: datetime

    @property
    def identity(self) -> str:
        return f"upkeep:{self.slot:%Y%m%dT%H%M%S}"


class UpkeepDueDuringEtl(UpkeepDue):
    """The schedule asks for an upkeep while an ETL run is under way; it waits for its end."""


class TableFreed(Consequence):
    """What wrote to the table has ended; what waited for it begins."""


class UpkeepSucceeded(Outcome):
    """The table was compacted (`version`: its commit, None if it was compact) and vacuumed.

    lost: versions that data assets or the ledger refer to, and that could not be read even before.
    """

    version: int | None
    deleted_files: int
    lost: tuple[int, ...] = ()

    def onto(self) -> Mapping[str, Any]:
        return {"version": self.version, "deleted_files": self.deleted_files}


class EtlSucceeded(Outcome):
    """The run ended; `version` is the Delta version it committed, or None when nothing changed."""

    table: str
    version: int | None
    report: str

    def onto(self) -> Mapping[str, Any]:
        return {"version": self.version}


class DeltaCommitted(Event):
    """The table has a commit that changed rows: read from its log, whoever told of it."""

    table: str
    version: int
    report: str

    @property
    def identity(self) -> str:
        return f"committed:{self.table}:{self.version}"


class ForeignRowsCommitted(DeltaCommitted):
    """A commit that changed rows and names no run report of ours: somebody else wrote to the table."""


class DailyScoringAsked(Event):
    """The schedule asks whether every circuit's scoring of one forecast origin has started."""

    origin: datetime

    @property
    def identity(self) -> str:
        return f"daily:{self.origin:%Y-%m-%d}"


class DayFillAsked(Event):
    """A person wants every circuit's forecast of one day that was not published; `asked_at` is when (UTC)."""

    origin: datetime
    asked_by: str
    asked_at: datetime
    comment: str = ""

    @property
    def identity(self) -> str:
        return f"fill:{self.origin:%Y-%m-%d}:{self.asked_at:%Y%m%dT%H%M%S%f}"


class ReconciliationAsked(Event):
    """The schedule asks what every circuit's production really serves; `slot` is its time (UTC)."""

    slot: datetime

    @property
    def identity(self) -> str:
        return f"production:{self.slot:%Y%m%dT%H%M}"


class SliceRead(Outcome):
    """One slice of a fan-out: at most 50 commands, one a circuit; `next_cursor` is None at the end."""

    commands: tuple[Mapping[str, Any], ...]
    next_cursor: int | None

    def onto(self) -> Mapping[str, Any]:
        return {"cursor": self.next_cursor}

    def shown(self) -> Mapping[str, Any]:
        return {"circuits": len(self.commands), "next_cursor": self.next_cursor}


class LastSliceRead(SliceRead):
    """The last slice of a fan-out."""


class CommitFailedQuality(LastSliceRead):
    """The last slice of a commit that fails most circuits of a plant, or of the fleet: it is the ETL or the plant, and
    not each circuit."""

    reason: str

    def onto(self) -> Mapping[str, Any]:
        return {**super().onto(), "reason": self.reason}


# ----------------------------------------------------------------------------------------------------------- commands


class DescribeModel(Command):
    """Read the model's tags from the dev workspace."""

    version: int
    looks: int
    first_asked: datetime

    @property
    def id(self) -> str:
        return f"{super().id}.{self.looks}"


class RequestApproval(Command):
    """Write the evidence down and ask people."""

    approval: str
    gate: str
    digest: str
    evidence: Mapping[str, Any]
    requirement: tuple[tuple[str, ...], ...]
    expires_at: datetime

    @property
    def id(self) -> str:
        return f"{self.approval}.ask"


class WithdrawApproval(Command):
    """Take back what was asked where it was asked."""

    essential = False

    withdrawn: str
    reason: str


class LookAtGate(Command):
    """Read again what people answered where the gate was asked; told by that system, or by the timer."""

    repeated = True

    approval: str

    @property
    def id(self) -> str:
        return f"{self.approval}.look"


class RemindOfGate(Command):
    """Say that a gate is still open, when it is; `last`: the last time before it expires."""

    approval: str
    last: bool

    @property
    def id(self) -> str:
        return f"{self.approval}.remind.{'last' if self.last else 'half'}"


class PromoteEnvironment(Command):
    """Copy the environment to the shared registry."""

    environment: str


class PromoteModel(Command):
    """Copy the model version to the shared registry, which has its environment."""

    version: int
    environment: str


class DeployToTest(Command):
    """Make the circuit's test deployment serve the pair."""

    pair: Pair
    previous: Pair | None


class StartTestInference(Command):
    """Score the test deployment once, on the newest known readings."""

    pair: Pair
    origin: datetime
    table: str
    delta_version: int | None
    limits: Mapping[str, str]


class DeployToProduction(Command):
    """Make the circuit's production deployment serve the pair."""

    pair: Pair
    previous: Pair | None


class AskForProduction(Command):
    """Look again whether an approved release may enter production."""

    held_looks: int

    @property
    def id(self) -> str:
        return f"{super().id}.{self.held_looks}"


class DeployRollback(Command):
    """Make the circuit's production deployment serve the pair that it goes back to."""

    pair: Pair
    previous: Pair | None


class DeployRepair(Command):
    """Make the circuit's production deployment serve what is recorded."""

    pair: Pair
    previous: Pair | None


class RemoveDeployment(Command):
    """Delete the circuit's production deployment."""


class ReadProduction(Command):
    """Read what the circuit's production really serves."""

    read: str

    @property
    def id(self) -> str:
        return f"{self.item}.production.{self.read}"


class StartScoring(Command):
    """Score the production deployment for one forecast origin."""

    pair: Pair
    origin: datetime
    table: str
    delta_version: int | None
    limits: Mapping[str, str]


class LookAtOperation(Command):
    """Look at started work and say what became of it."""

    purpose: str
    reference: str
    output_uri: str
    looks: int
    expected: Mapping[str, Any]

    @property
    def id(self) -> str:
        return f"{super().id}.{self.looks}"


class CancelOperation(Command):
    """Ask that started work stops; nobody waits for it any more."""

    essential = False

    reference: str


class CheckDeadline(Command):
    """Say that the phase's time is over; nothing, when the item has moved on."""

    phase: str


class LookForDepartures(Command):
    """Find the circuits that left the configuration, and those that are in it again."""

    repeated: ClassVar[bool] = True

    @property
    def id(self) -> str:
        return f"{self.item}.departures"


class ReadDeltaCommit(Command):
    """Read one commit of the table's log (None: the newest) and say whether it changed rows."""

    version: int | None
    source: str

    @property
    def id(self) -> str:
        return f"delta.{'newest' if self.version is None else self.version}.{self.source}"


class ReadSlice(Command):
    """Read the next slice of the circuits that a fan-out reaches."""

    purpose: str
    table: str
    version: int | None
    report: str
    origin: datetime | None
    cursor: int
    asked_by: str = ""
    comment: str = ""

    @property
    def id(self) -> str:
        return f"{super().id}.{self.cursor}"


class CoverCircuit(Command):
    """Tell one circuit what a commit brought for its sensor."""

    table: str
    version: int
    newest: datetime
    oldest: datetime | None = None
    counts: Mapping[str, float]
    sensor: str = ""
    widespread: str = ""

    @property
    def id(self) -> str:
        return f"{self.item}.covered.{self.table}.{self.version}"


class CheckDailyScoring(Command):
    """Ask one circuit whether its day's scoring has started."""

    origin: datetime

    @property
    def id(self) -> str:
        return f"{self.item}.daily.{self.origin:%Y-%m-%d}"


class FillDay(Command):
    """Ask for one circuit's scoring of a day, if its forecast was not published; `asked` names the fan-out."""

    origin: datetime
    asked: str
    asked_by: str
    comment: str

    @property
    def id(self) -> str:
        return f"{self.item}.{self.asked}"


class StartEtl(Command):
    """Start one ETL run."""

    run_id: str


class StartUpkeep(Command):
    """Write down which versions of the table are referred to, and start the upkeep that spares them."""

    run_id: str


def encode(command: Command) -> dict[str, Any]:
    """A command as JSON with its name, so that `decode` finds its type again."""
    return {"command": type(command).__name__, **command.model_dump(mode="json")}


def decode(document: Mapping[str, Any]) -> Command:
    """A command from `encode`'s form; raises ValueError for an unknown name or fields that do not fit."""
    fields = dict(document)
    name = fields.pop("command", None)
    if name not in Command.registry:
        raise ValueError(f"unknown command {name!r}; known: {', '.join(sorted(Command.registry))}")
    return Command.registry[name].model_validate(fields)
