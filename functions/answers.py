"""What endpoints answer, in types. Where a domain's own value is what people are shown, it stands here as it is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Union

from pydantic import BaseModel, ConfigDict

from shared.domain import circuit as circuit_domain
from shared.domain.alerts.alert import Alert
from shared.domain.champion import Champion
from shared.domain.circuit import Circuit
from shared.domain.direct_action import DirectAction
from shared.domain.discrepancy import Discrepancy
from shared.domain.drift import Drift
from shared.domain.environment.release import EnvironmentRelease
from shared.domain.fleet import Stop
from shared.domain.hold import Hold
from shared.domain.ledger import Completeness, Day, DayState, Run
from shared.domain.machine import Item
from shared.domain.messages import Person
from shared.domain.monitoring.messages import Finding
from shared.domain.performance import Degradation
from shared.domain.period import Period
from shared.domain.persistence import Judged
from shared.domain.proposals.proposal import Proposal
from shared.domain.release import Approval
from shared.domain.rollback import Rollback
from shared.domain.update import Standing
from shared.domain.values import Monitoring, Pair
from shared.overview import Health as CircuitHealth

if TYPE_CHECKING:
    CircuitItem = Item
else:
    CircuitItem = Union[(*circuit_domain.KINDS, Alert)]
"""Whatever may be open under a circuit."""


class Shown(BaseModel):
    """Something that is shown to people and programs."""

    model_config = ConfigDict(frozen=True, defer_build=True)


class PageOf(Shown):
    """A part of a list; `continuation` asks for the next one (null: there is none)."""

    continuation: str | None


class Line(Shown):
    """One thing that happened to an item: the phases before and after, and when (UTC)."""

    item: str
    event: str
    before: str | None
    after: str
    at: datetime
    detail: Mapping[str, Any]


class History(PageOf):
    """Everything that happened to one item, in order."""

    history: tuple[Line, ...]


class AlertBrief(Alert):
    """An alert in a list; `root` is what it belongs to."""

    model_config = ConfigDict(extra="ignore")  # the index keeps what an earlier version of the program wrote

    root: str


class Alerts(PageOf):
    """Open alerts, the critical and then the newest first."""

    alerts: tuple[AlertBrief, ...]


class AlertShown(AlertBrief):
    """An alert with everything that happened to it."""

    history: tuple[Line, ...]


class ProposalBrief(Proposal):
    """A proposal in a list."""

    model_config = ConfigDict(extra="ignore")  # the index keeps what an earlier version of the program wrote


class Proposals(PageOf):
    """Open proposals, the newest first."""

    proposals: tuple[ProposalBrief, ...]


class ProposalShown(Proposal):
    """A proposal with everything that happened to it."""

    history: tuple[Line, ...]


class ApprovalShown(Approval):
    """An open gate, with whose it is, and why an approval of who reads this would not be taken or not count."""

    release: str
    circuit: str
    trained_by: str
    would_not_count: str


class Approvals(PageOf):
    """Open approvals, oldest first."""

    approvals: tuple[ApprovalShown, ...]


class Moved(Shown):
    """An event that was recorded, and the phase that it led to."""

    event: str
    phase: str


class ItemMoved(Moved):
    """The same, of one of several items."""

    item: str


class Decided(Shown):
    """What a person's decision about a gate moved; nothing where it had been recorded before.

    `counts` is false for an approval that is recorded and does not count, and `note` says why.
    """

    release: str
    recorded: tuple[Moved, ...]
    counts: bool
    note: str


class GateDecided(Shown):
    """What became of the answer to one gate of a batch: `status` is what it would have been answered with alone."""

    approval: str
    status: int
    recorded: tuple[Moved, ...]
    counts: bool
    note: str


class GatesDecided(Shown):
    """What became of a batch: how many of its answers were taken, and each by itself."""

    request: str
    taken: int
    refused: int
    results: tuple[GateDecided, ...]


class Recorded(Shown):
    """What a person's order moved; nothing where it had been recorded before, and `note` says why."""

    root: str
    recorded: tuple[ItemMoved, ...]
    note: str


class MonitoringBegun(Shown):
    """The run that was asked for and where its progress is; empty where it was recorded before, and `note` says why."""

    run: str
    progress: str
    note: str


class MonitoringBrief(Shown):
    """A monitoring run in a list; `among` is a circuit or a plant, empty for the fleet."""

    id: str
    monitoring: Monitoring
    among: str
    period: Period
    phase: str
    since: datetime
    created_at: datetime
    asked_by: str
    comment: str
    attempt: int
    counts: Mapping[str, int]
    report: str
    reason: str


class MonitoringRuns(PageOf):
    """The runs of one kind, newest first."""

    runs: tuple[MonitoringBrief, ...]


class CircuitVerdict(Finding):
    """What a run found out about one circuit."""

    circuit: str


class Verdicts(PageOf):
    """What a run found out about each circuit."""

    verdicts: tuple[CircuitVerdict, ...]


class CircuitMonitoring(Shown):
    """The newest verdicts on a circuit, newest period first; `standing` is what they came to and is not over."""

    circuit: str
    performance: tuple[Judged, ...]
    drift: tuple[Judged, ...]
    drift_warnings: tuple[Judged, ...]
    standing: tuple[Degradation | Drift, ...]


class CheckShown(Shown):
    """The verdict of one run on one circuit: `phase` is it, `finding` what it rests on."""

    id: str
    circuit: str
    run: str
    period: Period
    phase: str
    since: datetime
    reason: str
    finding: Finding


class ReleaseBrief(Shown):
    """A release in a list."""

    id: str
    circuit: str
    version: int
    environment: str
    phase: str
    since: datetime
    deadline: datetime | None
    reason: str
    created_at: datetime


class CircuitBrief(Circuit):
    """A circuit in a list, with its releases under way; `at` is when the entry was last written."""

    model_config = ConfigDict(extra="ignore")  # the index keeps what an earlier version of the program wrote

    releases: tuple[ReleaseBrief, ...]
    at: datetime


class Circuits(PageOf):
    """Circuits, by their key."""

    circuits: tuple[CircuitBrief, ...]


class CircuitShown(Circuit):
    """A circuit with everything that is open under it."""

    open: tuple[CircuitItem, ...]


class ReleasesOfCircuit(PageOf):
    """A circuit's releases, newest version first."""

    releases: tuple[ReleaseBrief, ...]


class Releases(PageOf):
    """Releases under way, oldest first, on the first page; then those that have ended, newest first."""

    open: tuple[ReleaseBrief, ...]
    ended: tuple[ReleaseBrief, ...]


class StopShown(Stop):
    """A stop of the fleet with everything that happened to it."""

    history: tuple[Line, ...]


class FleetShown(PageOf):
    """`standstill`: why no release enters production now, nothing where it may; and every stop, newest first."""

    standstill: str
    stops: tuple[StopShown, ...]


class RollbackShown(Rollback):
    """A rollback with everything that happened to it."""

    history: tuple[Line, ...]


class HoldShown(Hold):
    """A hold with everything that happened to it."""

    history: tuple[Line, ...]


class DiscrepancyShown(Discrepancy):
    """A discrepancy with everything that happened to it."""

    history: tuple[Line, ...]


class DirectActionShown(DirectAction):
    """A direct action with everything that happened to it."""

    history: tuple[Line, ...]


class Orders(PageOf):
    """A circuit's rollbacks, holds, discrepancies and direct actions, newest first."""

    orders: tuple[RollbackShown | HoldShown | DiscrepancyShown | DirectActionShown, ...]


class EtlAsked(Shown):
    """An ETL run that was asked for, and where to look for what becomes of it."""

    run: str
    progress: str


class EtlShown(Shown):
    """Where an ETL run stands, whether it has ended, and everything that happened to it."""

    run: str
    phase: str
    ended: bool
    history: tuple[Line, ...]


class CommitOfCircuit(Shown):
    """What a Delta commit brought for one circuit, and the verdict on it (empty: none was given)."""

    circuit: str
    sensor: str
    rows: int
    first: datetime
    last: datetime
    quality: str
    problems: tuple[str, ...]


class CommitShown(PageOf):
    """A Delta commit: the log's own word, what its ETL run reports (null without `reported`), and whom it touched."""

    table_id: str
    version: int
    data_changed: bool
    operation: str
    run: str | None
    at: datetime | None
    files_added: int
    files_removed: int
    reported: bool
    rows_inserted: int | None
    rows_updated: int | None
    first_date: date | None
    last_date: date | None
    rejected: int | None
    unknown_sensors: tuple[str, ...] | None
    touched: int
    circuits: tuple[CommitOfCircuit, ...]


class EnvironmentBrief(Shown):
    """An environment release in a list; `counts` are circuits by the phase of their update, as last counted."""

    id: str
    version: str
    phase: str
    since: datetime
    deadline: datetime | None
    reason: str
    counts: Mapping[str, int]
    created_at: datetime


class Environments(PageOf):
    """Environment releases, newest version first."""

    environments: tuple[EnvironmentBrief, ...]


class EnvironmentShown(EnvironmentRelease):
    """An environment release, and where the update of each circuit stands that has heard of it."""

    updates: Mapping[str, Standing]


class Preview(Shown):
    """Whom a release of an environment would touch now, with what they serve; whom it would leave, and why."""

    environment: str
    touched: Mapping[str, Pair]
    left: Mapping[str, str]


class GateAnswer(Shown):
    """A person's answer to a gate, or its override with the reason; and where the evidence lies that they saw."""

    at: datetime
    event: str
    approval: str | None
    decision: str | None
    digest: str | None
    comment: str | None
    reason: str | None
    person: str
    evidence_uri: str


class ReleaseAsOf(Shown):
    """The release behind what served: what it learned from, its test, and who answered its gates."""

    id: str
    trained_by: str
    data: Mapping[str, str]
    metrics: Mapping[str, float]
    test_inference: Mapping[str, Any]
    answers: tuple[GateAnswer, ...]
    production_evidence: Mapping[str, Any] | None


class ScoringBrief(Shown):
    """A day's scoring, as far as the question what served needs it."""

    id: str
    phase: str
    pair: Pair | None
    table: str
    delta_version: int | None
    attempt: int
    job: str
    published_uri: str
    since: datetime
    reason: str


class ServedAsOf(Champion):
    """What served a circuit at a time, and what is known of it."""

    circuit: str
    at: datetime
    release: ReleaseAsOf | None
    scorings_of_the_day: tuple[ScoringBrief, ...]


class LedgerEntries(PageOf):
    """Circuits' days that have runs, by day and circuit."""

    entries: tuple[Day, ...]


class DayCompleteness(Completeness):
    """How complete a day is; `not_done` are the circuits without a forecast, by how they stand."""

    day: date
    not_done: Mapping[DayState, tuple[str, ...]]


class LedgerDays(Shown):
    """How complete each day of a span is, and all of them together."""

    days: tuple[DayCompleteness, ...]
    total: Completeness


class LedgerOfCircuit(Shown):
    """A circuit's days, also those where nothing has begun."""

    days: tuple[Day, ...]


class Replacement(Shown):
    """The run whose forecast stands instead."""

    run: str
    pair: Pair | None


class Forecast(Run):
    """A forecast that was published, and whether it still stands for its day."""

    day: date
    stands: bool
    replaced_by: Replacement | None


class Forecasts(PageOf):
    """The forecasts that one model version ever published, by day."""

    forecasts: tuple[Forecast, ...]


class FillAsked(Shown):
    """What goes through the circuits, the circuits with their runs, and the address below the API of its progress."""

    asked: str
    circuits: Mapping[str, str]
    progress: str


class ToFill(Shown):
    """The circuits that serve and have no forecast of a day, nor one under way, each with its next run."""

    circuits: Mapping[str, str]


class ScoringAsked(Shown):
    """The run that scores a day."""

    run: str
    note: str


class ScoringsAsked(Shown):
    """The pair that scores days anew, its runs, and the days that were left, with the reason."""

    by: str
    asked: tuple[str, ...]
    left: Mapping[date, str]


class DeadLetter(Shown):
    """What could not be taken or done. A list shows where a long `body` lies (`document`); a too long one was `cut`."""

    id: str
    source: str
    reason: str
    at: datetime
    replayed_at: datetime | None
    replayed_by: str = ""
    replay_result: str = ""
    body: Any = None
    document: str = ""
    cut: str = ""
    characters: int | None = None


class DeadLetters(PageOf):
    """Dead letters, newest first."""

    dead_letters: tuple[DeadLetter, ...]


class Replayed(Shown):
    """What came of trying a dead letter again."""

    id: str
    result: str


class SignInShown(Shown):
    """Where a browser signs people in, by the authorization code flow with PKCE."""

    origin: str
    authorize: str
    token: str
    sign_out: str
    client: str
    scope: str


class Me(Person):
    """Who is signed in, and the groups that operate the fleet."""

    operators: tuple[str, ...]


class Health(Shown):
    """The application answers, and so does its state; the time is its own (UTC)."""

    status: str
    time: datetime


class Waiting(Shown):
    """How many wait, and since when the first has (UTC); nobody waits: null."""

    waiting: int
    oldest: datetime | None = None


class SlotsHeld(Shown):
    """Who holds slots of one kind, and how many there are."""

    kind: str
    limit: int
    holders: tuple[str, ...]


class BacklogShown(Shown):
    """What waits to be done: on the queue, in the outbox, overdue; and who holds slots. Times are UTC."""

    at: datetime
    queue: Waiting
    outbox: Waiting
    due: Waiting
    slots: tuple[SlotsHeld, ...]


class GateBrief(Shown):
    """An open gate in a list."""

    id: str
    circuit: str
    release: str
    gate: str
    requested_at: datetime
    expires_at: datetime


class OpenBrief(Shown):
    """Something open under a circuit, in a list."""

    circuit: str
    id: str
    phase: str
    since: datetime
    deadline: datetime | None


class HoldBrief(OpenBrief):
    """A hold, by whom and why."""

    by: str
    why: str


class DiscrepancyBrief(OpenBrief):
    """What production serves, and what is recorded."""

    found: Pair | None
    recorded: Pair | None


class RollbackBrief(OpenBrief):
    """A rollback under way, and why."""

    reason: str


class Needs(Shown):
    """What needs a person, each list the most pressing first; `under_way` counts releases."""

    at: datetime
    approvals: tuple[GateBrief, ...]
    more_approvals: bool
    went_wrong: tuple[ReleaseBrief, ...]
    slow: tuple[ReleaseBrief, ...]
    holds: tuple[HoldBrief, ...]
    discrepancies: tuple[DiscrepancyBrief, ...]
    rollbacks: tuple[RollbackBrief, ...]
    under_way: int


class Glance(Shown):
    """One circuit in a few words: `says` is what is the matter, the worst first; `days` are the newest days' states."""

    circuit: str
    plant: str
    name: str
    serving: Pair | None
    verified: bool
    newest_reading: datetime | None
    days: Mapping[str, DayState]
    releases: tuple[ReleaseBrief, ...]
    update: Standing | None
    health: CircuitHealth
    says: tuple[str, ...]


class Plant(Shown):
    """A plant, and how many circuits it has."""

    plant: str
    circuits: int


class Glances(PageOf):
    """Circuits at a glance, in key order, and every plant."""

    circuits: tuple[Glance, ...]
    plants: tuple[Plant, ...]


class DaysOfCircuit(Shown):
    """One circuit's days; a day that it was not expected to have is left out."""

    circuit: str
    name: str
    days: Mapping[str, DayState]


class DaysOfCircuits(PageOf):
    """Days by circuits, in key order."""

    circuits: tuple[DaysOfCircuit, ...]


Point = tuple[datetime, float]
"""An hour (UTC) and a value."""
ForecastPointShown = tuple[datetime, float, float, float]
"""An hour (UTC), its forecast, and the interval's lower and upper bound."""


class DaysForecast(Shown):
    """The forecast that stands for a day; error (in the target's unit) and coverage over the hours measured so far."""

    day: str
    run: str
    pair: Pair | None
    hours: int
    mae: float | None
    coverage: float | None
    points: tuple[ForecastPointShown, ...]


class CircuitSeries(Shown):
    """Forecasts beside what was measured, and what served from when on, the newest first."""

    circuit: str
    target: str
    measured: tuple[Point, ...]
    forecasts: tuple[DaysForecast, ...]
    changes: tuple[Champion, ...]


class TestSeries(Shown):
    """A test forecast beside what was measured, and the forecast of what serves for the same hours."""

    __test__ = False  # pytest takes the name for a test's

    target: str
    measured: tuple[Point, ...]
    test: tuple[ForecastPointShown, ...]
    serving: tuple[ForecastPointShown, ...]


class ActMoved(Shown):
    """What an act moved: the item, the event that was recorded, and the phase after it."""

    item: str
    event: str
    after: str


class Act(Shown):
    """What a person did (UTC): an answer to a gate, an order, a scoring asked for, a dead letter replayed.

    `counts` is false for an approval that was recorded and did not count; `note` says why, or what it waits for.
    """

    at: datetime
    by: str
    act: str
    root: str
    moved: tuple[ActMoved, ...]
    decision: str = ""
    approval: str = ""
    reason: str = ""
    comment: str = ""
    counts: bool = True
    note: str = ""


class Acts(PageOf):
    """What people did, newest first."""

    acts: tuple[Act, ...]
