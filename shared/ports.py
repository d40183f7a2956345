"""Ports: the few places where an effect leaves the core. Each has an Azure and an embedded adapter of one file name.

Every `start_*` is idempotent by `command_id`: called again with the same id it returns the reference of the work that
was started before, also after a crash between the start and the answer. Nothing here waits for work to finish.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal, Protocol

from shared.domain.messages import Person
from shared.domain.monitoring.messages import Finding
from shared.domain.values import (
    SCORING_TIME,
    AskState,
    ChangeState,
    Deployment,
    Monitoring,
    OperationStatus,
    Pair,
    RegisteredEnvironment,
    RegisteredModel,
    Stage,
)


class Clock(Protocol):
    """Time, always as an aware UTC datetime."""

    def now(self) -> datetime: ...


@dataclass(frozen=True)
class Row:
    """One row of the state: its key within its partition, its body as JSON-able values, and its version."""

    key: str
    body: Mapping[str, Any]
    etag: str = ""


@dataclass(frozen=True)
class Write:
    """One row's part of a transaction. `insert` fails on an existing key, `replace` and `delete` on a changed row."""

    action: Literal["insert", "replace", "delete", "put"]
    row: Row


@dataclass(frozen=True)
class Page:
    """Some rows and where to go on; a page may be empty and still have more behind it."""

    rows: Sequence[Row]
    continuation: str | None


class StateStore(Protocol):
    """Rows in partitions, sorted by key: Table Storage's promises and no more.

    A partition is named by a root (its shard is the store's affair) or is one of the fixed ones of `records`.
    """

    @property
    def shards(self) -> Sequence[str]: ...

    def shard_of(self, root: str) -> str: ...

    def read_range(self, partition: str, first: str, last: str, limit: int | None = None) -> list[Row]:
        """The rows with `first <= key < last`, in key order; at most `limit`."""
        ...

    def read_page(self, partition: str, first: str, last: str, size: int, continuation: str | None = None) -> Page:
        """One page of `read_range`."""
        ...

    def read(self, partition: str, key: str) -> Row | None: ...

    def commit(self, partition: str, writes: Sequence[Write]) -> None:
        """All or nothing, at most 100 rows of one partition.

        Raises `errors.AlreadyExists` naming the key of a refused insert, and `errors.Conflict` for a row that was
        changed or removed since it was read.
        """
        ...


class ModelPlatform(Protocol):
    """The dev, test and production workspaces and the shared registry."""

    def describe_model(self, circuit: str, version: int) -> RegisteredModel | None:
        """The circuit's model version in the dev workspace, or None while it is not there."""
        ...

    def start_promotion(self, command_id: str, circuit: str, version: int) -> str:
        """Start copying the model version from dev to the registry; a copy that is already there is a success."""
        ...

    def environments(self) -> Sequence[str]:
        """Every version of the environment in the dev workspace, in no order."""
        ...

    def describe_environment(self, version: str) -> RegisteredEnvironment | None:
        """The environment's version in the dev workspace, or None while it is not there."""
        ...

    def environment_is_promoted(self, version: str) -> bool:
        """Whether the registry has the environment's version."""
        ...

    def start_environment_promotion(self, command_id: str, version: str) -> str:
        """Start copying the environment from dev to the registry; a copy that is already there is a success."""
        ...

    def start_deployment(
        self,
        command_id: str,
        stage: Stage,
        circuit: str,
        pair: Pair,
        previous: Pair | None,
        scoring_time: timedelta = SCORING_TIME,
    ) -> str:
        """Start creating or updating the circuit's batch deployment from the registry's model, recording `previous`.

        A scoring job of it that takes longer than `scoring_time` fails; only the app tries again.
        """
        ...

    def start_removal(self, command_id: str, stage: Stage, circuit: str) -> str:
        """Start deleting the circuit's batch deployment; one that is not there is a success."""
        ...

    def start_scoring(self, command_id: str, stage: Stage, circuit: str, request_uri: str) -> str:
        """Start the circuit's batch deployment on one request file; the reference is the job's name."""
        ...

    def look(self, reference: str) -> OperationStatus:
        """The state of started work now; UNKNOWN when there is no such work."""
        ...

    def cancel(self, reference: str) -> None:
        """Ask that a job stops. A copy or a deployment under way ends by itself; what has ended is left as it is."""
        ...

    def deployed(self, stage: Stage, circuit: str) -> Deployment | None:
        """What the workspace really serves for the circuit, or None.

        Raises Permanent where it serves what is none of the circuit's, and may raise Transient while it is changed.
        """
        ...


class EtlRunner(Protocol):
    """Where what writes to the table runs, ETL and upkeep: a Synapse Spark pool, or a process on this machine."""

    def start(self, command_id: str, run_id: str) -> str: ...

    def start_upkeep(self, command_id: str, run_id: str) -> str:
        """Start compaction and then vacuum; it obeys the order of `Lake.order_upkeep` and refuses to run without."""
        ...

    def look(self, reference: str) -> OperationStatus:
        """Outputs, once succeeded.

        Of an ETL run `table_id`, `version` (empty: nothing changed) and `report` for `Lake.read_report`; of an upkeep
        `run_id` for `Lake.read_upkeep`.
        """
        ...

    def cancel(self, reference: str) -> None: ...


class TrainingRunner(Protocol):
    """Where training runs: AzureML jobs, or processes on this machine."""

    def start(
        self, command_id: str, circuit: str, commit: str, author: str, pull_request: str, champion: int | None = None
    ) -> str:
        """`champion`: the model version that serves, which the new model is compared with; None: nothing serves."""
        ...

    def look(self, reference: str) -> OperationStatus:
        """Outputs, once succeeded: `model_version`."""
        ...

    def cancel(self, reference: str) -> None: ...


@dataclass(frozen=True)
class LiveModel:
    """The model version that serves a circuit, with the tags that are kept of it."""

    version: int
    tags: Mapping[str, str]


@dataclass(frozen=True)
class MonitoringOrder:
    """What one monitoring run looks at: the UTC days from `first` to `last`, of one version of the table.

    `judged` are the circuits that it is about; `live` has what serves, of the whole fleet.
    """

    command_id: str
    monitoring: Monitoring
    first: date
    last: date
    judged: Sequence[str]
    live: Mapping[str, LiveModel]
    table_uri: str
    table_id: str
    delta_version: int
    predictions_uri: str


@dataclass(frozen=True)
class Findings:
    """What a monitoring run found: each circuit's finding, the plants that changed as a whole (`fleet`: all of them).

    `report` is the fleet's page; pages are named relative to where the run wrote.
    """

    circuits: Mapping[str, Finding]
    shared: Sequence[str]
    report: str


class MonitorRunner(Protocol):
    """Where monitoring runs: AzureML jobs of the production workspace, or processes on this machine."""

    def start(self, command_id: str, request_uri: str, output_uri: str, environment: str) -> str:
        """Start `ml.monitor` on a request that is written already, in a version of the environment."""
        ...

    def look(self, reference: str) -> OperationStatus: ...

    def cancel(self, reference: str) -> None: ...


@dataclass(frozen=True)
class Asked:
    """People were asked: the address where they answer, and the run that asks them. Both empty: the product asks."""

    at: str = ""
    run: str = ""


@dataclass(frozen=True)
class Ask:
    """One approval that was asked outside, and what became of it; `person` is who really acted, `until` is UTC."""

    state: AskState
    person: Person | None = None
    comment: str = ""
    until: datetime | None = None


class ApprovalChannel(Protocol):
    """Where people are asked."""

    def request(self, approval_id: str, instructions: Mapping[str, Any]) -> Asked:
        """Ask people, once for each approval id. `instructions`: release, gate, evidence, digest, groups, expires_at.

        `groups` lists, for each approval asked for, the groups of which anyone may give it.
        """
        ...

    def withdraw(self, approval_id: str, reason: str) -> None:
        """Take back what was asked; nothing that was never asked or has ended is touched."""
        ...

    def look(self, approval_id: str, digest: str) -> Sequence[Ask]:
        """What became of each approval that was asked; none where people answer in the product.

        Raises Permanent when what asks is not what was started for this evidence.
        """
        ...


class WorkQueue(Protocol):
    """Commands on their way to a worker; at least once, in no order."""

    def send(self, message: str, delay_seconds: float = 0) -> None: ...

    def waiting(self) -> int:
        """About how many commands wait, those that are delayed and those that are worked on included."""
        ...


class Documents(Protocol):
    """JSON documents too large for a row: evidence, scoring requests, dead letters' bodies."""

    def write(self, path: str, document: Mapping[str, Any]) -> str:
        """Write (or write again) a document and return the URI under which jobs and people find it."""
        ...

    def read(self, path: str) -> Mapping[str, Any] | None: ...

    def append(self, path: str, lines: Sequence[Mapping[str, Any]]) -> None:
        """Add lines to a file that only grows (JSON Lines); what crashes in between may have added some of them."""
        ...

    def lines(self, path: str) -> Sequence[Mapping[str, Any]]:
        """The lines of such a file, in the order in which they were added; none where there is no file."""
        ...

    def names(self, folder: str) -> Sequence[str]:
        """The paths that begin so, sorted."""
        ...


class UndeliveredEvents(Protocol):
    """Where Event Grid leaves what it could not deliver: files, each with events in it."""

    def names(self, limit: int) -> Sequence[str]:
        """At most so many files that are there."""
        ...

    def read(self, name: str) -> Any:
        """A file's JSON; a text where it is none."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file; one that is gone is no error."""
        ...


@dataclass(frozen=True)
class ForecastPoint:
    """One step of a forecast: the hour it is of (UTC), and the interval that should hold 90 % of what comes."""

    at: datetime
    forecast: float
    lower: float
    upper: float


class Lake(Protocol):
    """The data lake as far as the application reads it: Delta log, run reports, predictions."""

    @property
    def table_uri(self) -> str: ...

    def read_commit(self, version: int | None) -> Mapping[str, Any] | None:
        """One Delta commit (None: the newest); None where the log does not have it, or not any more.

        `table_id`, `version`, `data_changed`, its run's `report` and `run`, `operation`, `at` (UTC, ISO), `files_added`
        and `files_removed`; `report`, `run` and `at` are None where the commit does not say.
        """
        ...

    def read_report(self, path: str) -> Mapping[str, Any]: ...

    def newest_readings(self, table_id: str, version: int) -> Mapping[str, datetime]:
        """Each sensor with rows in the days that one commit wrote to, and the newest of them (UTC).

        None at all when the table was made anew since: its readings are gone.
        """
        ...

    def first_day(self) -> date | None:
        """The first UTC day that the table has readings of; None while there is no table."""
        ...

    def order_upkeep(self, run_id: str, table_id: str, spare: Collection[int]) -> None:
        """Write down, where the upkeep run looks for it, which versions of the table have to stay readable."""
        ...

    def read_upkeep(self, run_id: str) -> Mapping[str, Any]:
        """What an upkeep that succeeded did: `version` (None: nothing to compact), `deleted_files`, and `lost`."""
        ...

    def attempt_uri(self, stage: Stage, circuit: str, day: str, command_id: str) -> str:
        """Where one scoring attempt is to write its predictions."""
        ...

    def check_predictions(self, uri: str, expected: Mapping[str, Any]) -> Sequence[str]:
        """Every problem of written predictions against what was asked for; none means usable."""
        ...

    def publish(self, attempt_uri: str, circuit: str, day: str) -> str:
        """Make an attempt the day's published file, atomically; returns the published URI."""
        ...

    @property
    def predictions_uri(self) -> str:
        """The folder of what is published."""
        ...

    def monitoring_uri(self, run_id: str) -> str:
        """The folder that a monitoring run writes to."""
        ...

    def read_findings(self, uri: str) -> Findings:
        """What the run that wrote to the folder found; raises Permanent when that cannot be read."""
        ...

    def read_page(self, run_id: str, name: str) -> bytes | None:
        """A page that a monitoring run wrote, named as its findings name it; None when it is not there."""
        ...

    def read_forecast(self, uri: str) -> Sequence[ForecastPoint]:
        """A forecast file's points by time; none where there is no such file."""
        ...

    def hourly_readings(
        self, sensor_id: str, column: str, first: datetime, last: datetime
    ) -> Sequence[tuple[datetime, float]]:
        """The means of one column of one sensor by hour (UTC), from first to last; hours without a value are left out.

        Reads the days of the span and no others.
        """
        ...


class DataAssets(Protocol):
    """The data assets of the dev workspace, which read versions of the table."""

    def delta_versions(self, table_id: str) -> frozenset[int]:
        """Every version of the table that a data asset refers to; raises rather than leave one out."""
        ...


class Webhooks(Protocol):
    """Where people's own systems are told of alerts."""

    def post(self, webhook: str, message_id: str, document: Mapping[str, Any]) -> None:
        """Tell the webhook of that name, signed, at least once; what comes twice has the same id.

        Raises Permanent for a webhook that is not set, may not be called or does not want it.
        """
        ...


@dataclass(frozen=True)
class FileChange:
    """One file of the configuration to be changed: `edit` makes its new text of the present one.

    `path` is below the configuration's folder, such as `plants/P001/C001.yml`; people read `title` and `text`, which is
    Markdown.
    """

    path: str
    edit: Callable[[str], str]
    title: str
    text: str


@dataclass(frozen=True)
class OpenedChange:
    """A change that people are asked to merge: its reference, and where they look at it."""

    reference: str
    at: str


class ConfigRepository(Protocol):
    """The Git repository that holds the configuration. Nothing is ever merged here: people do that."""

    def open_change(self, command_id: str, change: FileChange) -> OpenedChange:
        """A branch with the change, and a request to merge it; once for each command id, whatever crashed.

        Raises Permanent where the file is not there, or would not change.
        """
        ...

    def look(self, reference: str) -> ChangeState:
        """What became of a change."""
        ...


class Topic(Protocol):
    """The application's own Event Grid topic."""

    def publish(self, event_type: str, subject: str, payload: Mapping[str, Any]) -> None: ...
