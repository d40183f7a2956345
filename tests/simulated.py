"""Simulated ports: faithful to what `shared/ports.py` promises, under a virtual clock, with every effect counted."""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from shared.domain.monitoring.messages import Finding
from shared.domain.values import (
    SCORING_TIME,
    ChangeState,
    Deployment,
    Monitoring,
    OperationState,
    OperationStatus,
    Pair,
    RegisteredEnvironment,
    RegisteredModel,
    Stage,
    model_name,
)
from shared.errors import Permanent, Transient
from shared.ports import Ask, Asked, FileChange, Findings, ForecastPoint, OpenedChange

PROMOTION, TEST_DEPLOYMENT, PRODUCTION_DEPLOYMENT = "promotion", "test deployment", "production deployment"
ENVIRONMENT_PROMOTION = "environment promotion"
TEST_INFERENCE, SCORING, ETL, UPKEEP, TRAINING = "test inference", "scoring", "etl", "upkeep", "training"
MONITORING, REMOVAL = "monitoring", "removal"
FIRST_ENVIRONMENT = "1.0.0"
"""The environment that the registry has from the beginning."""


class VirtualClock:
    """Time that moves only when it is told to."""

    def __init__(self, at: datetime) -> None:
        self._now = at

    def now(self) -> datetime:
        return self._now

    def advance_to(self, at: datetime) -> None:
        assert at >= self._now, f"time does not go back from {self._now} to {at}"
        self._now = at


class Killed(BaseException):
    """The process died here: nothing after this point happened, and nothing may catch it."""


class Effects:
    """The place that every effect passes: `interrupt` is asked before and after each one, and may kill or cut in."""

    def __init__(self) -> None:
        self.points = 0
        self.interrupt: Callable[[str], None] = lambda point: None

    def passing(self, name: str, effect: Callable[[], Any]) -> Any:
        self._point(f"before {name}")
        result = effect()
        self._point(f"after {name}")
        return result

    def _point(self, name: str) -> None:
        self.points += 1
        self.interrupt(name)


class Through:
    """A port whose named calls pass through `effects`; everything else is the port's own."""

    def __init__(self, port: Any, effects: Effects, *names: str) -> None:
        self._port, self._effects, self._names = port, effects, names

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if name not in self._names:
            return found
        point = f"{type(self._port).__name__}.{name}"
        return lambda *args, **kwargs: self._effects.passing(point, lambda: found(*args, **kwargs))


@dataclass
class Message:
    """One message of the work queue; `visible_at` moves on with every delivery."""

    text: str
    visible_at: datetime
    deliveries: int = 0


class SimulatedQueue:
    """A Storage Queue: at least once, leases, and a poison list after five deliveries."""

    LEASE = timedelta(minutes=2)
    AFTER_FAILURE = timedelta(seconds=30)
    DELIVERIES = 5

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.messages: list[Message] = []
        self.poisoned: list[Message] = []
        self.down = False

    def send(self, message: str, delay_seconds: float = 0) -> None:
        if self.down:
            raise Transient("the queue does not answer")
        self.messages.append(Message(message, self._clock.now() + timedelta(seconds=delay_seconds)))

    def waiting(self) -> int:
        return len(self.messages)

    def visible(self) -> list[Message]:
        return [message for message in self.messages if message.visible_at <= self._clock.now()]

    def receive(self, message: Message) -> None:
        message.deliveries += 1
        message.visible_at = self._clock.now() + self.LEASE

    def failed(self, message: Message) -> None:
        message.visible_at = self._clock.now() + self.AFTER_FAILURE

    def delete(self, message: Message) -> None:
        """Another delivery may have finished it meanwhile: its receipt is void then, and nothing happens."""
        if message in self.messages:
            self.messages.remove(message)


class SimulatedUndelivered:
    """Where an Event Grid leaves what it gave up: files by name."""

    def __init__(self) -> None:
        self.files: dict[str, Any] = {}

    def names(self, limit: int) -> Sequence[str]:
        return sorted(self.files)[:limit]

    def read(self, name: str) -> Any:
        return self.files[name]

    def remove(self, name: str) -> None:
        self.files.pop(name, None)


class SimulatedDocuments:
    def __init__(self) -> None:
        self._documents: dict[str, str] = {}
        self._lines: defaultdict[str, list[str]] = defaultdict(list)
        self.read_of: Counter[str] = Counter()
        """How often each file that grows was read."""

    def append(self, path: str, lines: Sequence[Mapping[str, Any]]) -> None:
        self._lines[path] += [json.dumps(line) for line in lines]

    def lines(self, path: str) -> Sequence[Mapping[str, Any]]:
        self.read_of[path] += 1
        return [json.loads(line) for line in self._lines.get(path, ())]

    def names(self, folder: str) -> Sequence[str]:
        return sorted(path for path in {*self._lines, *self._documents} if path.startswith(folder))

    def write(self, path: str, document: Mapping[str, Any]) -> str:
        self._documents[path] = json.dumps(document, default=str)
        return f"memory://{path}"

    def read(self, path: str) -> Mapping[str, Any] | None:
        return json.loads(self._documents[path]) if path in self._documents else None

    def at(self, uri: str) -> dict[str, Any]:
        return dict(self.read(uri.removeprefix("memory://")) or {})


@dataclass(frozen=True)
class Predictions:
    """What a scoring job wrote, as far as checks look at it."""

    command_id: str
    origin: str
    pair: Pair
    usable: bool


class SimulatedLake:
    """Delta commits with their run reports, and predictions: attempts and what is published of them."""

    table_uri = "memory://processed/sensor_data"

    def __init__(self) -> None:
        self.table_id = "table-1"
        self.commits: list[Mapping[str, Any]] = []
        self.foreign: dict[tuple[str, int], Mapping[str, datetime]] = {}
        """Newest readings by sensor of the commits that somebody else made."""
        self.first_readings: date | None = None
        self.orders: dict[str, tuple[str, frozenset[int]]] = {}
        """What upkeep runs were told to spare: the table's id and its versions."""
        self.upkeeps: dict[str, Mapping[str, Any]] = {}
        """What upkeep runs did."""
        self.beside: list[str] = []
        """What wrote to the table while another writer was started."""
        self.attempts: dict[str, Predictions] = {}
        self.published: dict[tuple[str, str], str] = {}
        self.publications: Counter[tuple[str, str]] = Counter()
        self.findings: dict[str, Findings] = {}
        """What monitoring runs found, by where they wrote it."""
        self.measured: Callable[[str, datetime], float] = lambda circuit, at: 51.0
        self.forecast: Callable[[str, Pair, datetime], float] = lambda circuit, pair, at: 50.0
        """What a circuit's sensor read in an hour, and what a pair forecast for it, five to either side."""
        self._reports: dict[str, Mapping[str, Any]] = {}

    def commit(
        self,
        newest: Mapping[str, datetime],
        nulls: int = 0,
        data_changed: bool = True,
        oldest: datetime | None = None,
        qualities: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> int:
        """A Delta commit with readings up to `newest` for each circuit, from `oldest` on; returns its version.

        qualities: what the ETL counted for a circuit, where it is not what `nulls` says.
        """
        version = len(self.commits)
        report = f"runs/{self.table_id}-{version}.json"
        usual = {"rows": 24, "nulls": {"temperature": nulls}, "out_of_range": {}, "gaps": 0}
        self._reports[report] = {
            "rows_inserted": 24 * len(newest),
            "rows_updated": 0,
            "rejected": 0,
            "unknown_sensors": [],
            "sensors": {
                f"SENSOR_{c}": {
                    "first": (oldest or at).isoformat(),
                    "last": at.isoformat(),
                    "rows": 24,
                    "quality": (qualities or {}).get(c, usual),
                }
                for c, at in newest.items()
            },
        }
        self._append(report, data_changed, len(newest))
        return version

    def _append(self, report: str | None, data_changed: bool = True, files: int = 1) -> None:
        run = report.removeprefix("runs/").removesuffix(".json") if report else None
        told = {"operation": "MERGE", "run": run, "at": None, "files_added": files, "files_removed": 0}
        version = {"table_id": self.table_id, "version": len(self.commits)}
        self.commits.append({**version, "data_changed": data_changed, "report": report, **told})

    def commit_of_a_stranger(self, newest: Mapping[str, datetime]) -> int:
        """Rows up to `newest` for each circuit that no run of ours reports."""
        version = len(self.commits)
        self._append(None)
        self.foreign[self.table_id, version] = {f"SENSOR_{circuit}": at for circuit, at in newest.items()}
        return version

    def compact(self) -> None:
        """A commit that changes no data."""
        self._append(None, data_changed=False)

    def make_anew(self) -> None:
        """The table is dropped and made again: another id, versions start again."""
        self.table_id = f"table-{int(self.table_id.partition('-')[2]) + 1}"
        self.commits = []

    def read_commit(self, version: int | None) -> Mapping[str, Any] | None:
        if version is None:
            return self.commits[-1] if self.commits else None
        return self.commits[version] if version < len(self.commits) else None

    def read_report(self, path: str) -> Mapping[str, Any]:
        if path not in self._reports:
            raise Permanent(f"there is no report {path!r}")
        return self._reports[path]

    def newest_readings(self, table_id: str, version: int) -> Mapping[str, datetime]:
        return self.foreign[table_id, version] if table_id == self.table_id else {}

    def first_day(self) -> date | None:
        return self.first_readings

    def order_upkeep(self, run_id: str, table_id: str, spare: Collection[int]) -> None:
        self.orders[run_id] = (table_id, frozenset(spare))

    def read_upkeep(self, run_id: str) -> Mapping[str, Any]:
        return self.upkeeps[run_id]

    def attempt_uri(self, stage: Stage, circuit: str, day: str, command_id: str) -> str:
        return f"memory://attempts/{stage}/{circuit}/{day}/{command_id}"

    def check_predictions(self, uri: str, expected: Mapping[str, Any]) -> Sequence[str]:
        found = self.attempts.get(uri)
        if found is None:
            return [f"nothing was written to {uri}"]
        problems = [] if found.usable else ["every value is missing"]
        for name, is_, meant in (
            ("model", found.pair.model, expected["model_version"]),
            ("command", found.command_id, expected["command_id"]),
            ("origin", found.origin, expected["origin"]),
        ):
            if is_ != meant:
                problems.append(f"made by {name} {is_}, not {meant}")
        return problems

    predictions_uri = "memory://predictions"

    def monitoring_uri(self, run_id: str) -> str:
        return f"memory://monitoring/{run_id}"

    def read_findings(self, uri: str) -> Findings:
        if uri not in self.findings:
            raise Permanent(f"there are no findings in {uri}")
        return self.findings[uri]

    def read_page(self, run_id: str, name: str) -> bytes | None:
        written = self.findings.get(self.monitoring_uri(run_id))
        return f"<h1>{run_id} {name}</h1>".encode() if written else None

    def publish(self, attempt_uri: str, circuit: str, day: str) -> str:
        if self.published.get((circuit, day)) != attempt_uri:
            self.published[circuit, day] = attempt_uri
            self.publications[circuit, day] += 1
        return f"memory://predictions/{circuit}/{day}"

    def read_forecast(self, uri: str) -> Sequence[ForecastPoint]:
        kind, *way = uri.removeprefix("memory://").split("/")
        circuit = way[0] if kind == "predictions" else way[1]
        made = self.attempts.get(self.published.get((circuit, way[-1]), uri))
        if made is None:
            return []
        origin = datetime.fromisoformat(str(made.origin))
        hours = [origin + timedelta(hours=hour) for hour in range(1, 25)]
        values = [(at, self.forecast(circuit, made.pair, at)) for at in hours]
        return [ForecastPoint(at, value, value - 5, value + 5) for at, value in values]

    def hourly_readings(
        self, sensor_id: str, column: str, first: datetime, last: datetime
    ) -> Sequence[tuple[datetime, float]]:
        hours = int((last - first) / timedelta(hours=1))
        circuit, times = sensor_id.removeprefix("SENSOR_"), [first + timedelta(hours=hour) for hour in range(hours + 1)]
        return [(at, self.measured(circuit, at)) for at in times]


@dataclass(frozen=True)
class Fate:
    """What becomes of one operation. RUNNING never ends by itself; `events`: how often its end is told."""

    minutes: float = 2
    state: OperationState = OperationState.SUCCEEDED
    events: int = 1
    usable: bool = True
    event_late: float = 0
    """Minutes between the end and its event."""


FAILS = Fate(state=OperationState.FAILED, events=0)
HANGS = Fate(state=OperationState.RUNNING, events=0)
UNUSABLE = Fate(usable=False)
NOT_TOLD = Fate(events=0)


@dataclass
class Started:
    """Work under way or ended; `ends_at` is None while it hangs."""

    reference: str
    command_id: str
    purpose: str
    circuit: str
    fate: Fate
    started_at: datetime
    ends_at: datetime | None
    finish: Callable[[], Mapping[str, str]]
    pair: Pair | None = None
    state: OperationState = OperationState.RUNNING
    outputs: Mapping[str, str] = field(default_factory=dict)


class Operations:
    """Long-running operations that end at a virtual time; started once for each command id."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.started: dict[str, Started] = {}
        self.fates: defaultdict[str, list[Fate]] = defaultdict(list)
        self.fate_of: Callable[[str], Fate] = lambda purpose: Fate()
        self.told: Callable[[datetime, Started], None] = lambda at, operation: None
        self._by_command: dict[str, str] = {}
        self._under_way: list[Started] = []
        self._numbers = itertools.count(1)

    def start(
        self,
        command_id: str,
        purpose: str,
        circuit: str,
        finish: Callable[[], Mapping[str, str]],
        pair: Pair | None = None,
    ) -> str:
        if command_id in self._by_command:
            return self._by_command[command_id]
        now = self.clock.now()
        fate = self.fates[purpose].pop(0) if self.fates[purpose] else self.fate_of(purpose)
        ends_at = None if fate.state is OperationState.RUNNING else now + timedelta(minutes=fate.minutes)
        reference = f"{purpose.replace(' ', '-')}-{next(self._numbers)}"
        operation = Started(reference, command_id, purpose, circuit, fate, now, ends_at, finish, pair)
        self.started[reference] = operation
        self._by_command[command_id] = reference
        self._under_way.append(operation)
        for _ in range(fate.events if ends_at else 0):
            assert ends_at is not None
            self.told(ends_at + timedelta(minutes=fate.event_late), operation)
        return reference

    def already(self, command_id: str) -> str | None:
        return self._by_command.get(command_id)

    def started_for(self, purpose: str) -> list[Started]:
        """Everything that was ever started for a purpose."""
        return [operation for operation in self.started.values() if operation.purpose == purpose]

    def running(self, purpose: str | None = None, circuit: str | None = None) -> list[Started]:
        self.catch_up()
        return [
            operation
            for operation in self._under_way
            if operation.state is OperationState.RUNNING
            and purpose in (None, operation.purpose)
            and circuit in (None, operation.circuit)
        ]

    def look(self, reference: str) -> OperationStatus:
        self.catch_up()
        operation = self.started.get(reference)
        if operation is None:
            return OperationStatus(reference=reference, state=OperationState.UNKNOWN)
        error = f"{reference} broke" if operation.state is OperationState.FAILED else ""
        return OperationStatus(reference=reference, state=operation.state, error=error, outputs=operation.outputs)

    def cancel(self, reference: str) -> None:
        self.catch_up()
        operation = self.started.get(reference)
        if operation and operation.state is OperationState.RUNNING:
            operation.state = OperationState.CANCELLED

    def catch_up(self) -> None:
        """Let everything whose time has come end, in the order of its end."""
        now = self.clock.now()
        self._under_way = [o for o in self._under_way if o.state is OperationState.RUNNING]
        over = [o for o in self._under_way if o.ends_at and o.ends_at <= now]
        for operation in sorted(over, key=lambda o: (o.ends_at, o.reference)):
            operation.state = operation.fate.state
            if operation.state is OperationState.SUCCEEDED:
                operation.outputs = operation.finish()


class SimulatedPlatform:
    """Workspaces and registry. A deployment or model version takes one operation at a time, as AzureML's do."""

    def __init__(self, operations: Operations, documents: SimulatedDocuments, lake: SimulatedLake) -> None:
        self.operations = operations
        self.models: dict[tuple[str, int], Mapping[str, str]] = {}
        self.registry: set[tuple[str, int]] = set()
        self.dev_environments: dict[str, Mapping[str, str]] = {}
        self.registry_environments: set[str] = {FIRST_ENVIRONMENT}
        self.tested: set[tuple[str, Pair]] = set()
        """Pairs whose test deployment really scored, usably, while it served that pair."""
        self._documents = documents
        self._lake = lake
        self._deployments: dict[tuple[Stage, str], Deployment] = {}

    def describe_model(self, circuit: str, version: int) -> RegisteredModel | None:
        tags = self.models.get((circuit, version))
        return None if tags is None else RegisteredModel(name=model_name(circuit), version=version, tags=tags)

    def start_promotion(self, command_id: str, circuit: str, version: int) -> str:
        def finish() -> Mapping[str, str]:
            self.registry.add((circuit, version))
            return {}

        return self.operations.start(command_id, PROMOTION, circuit, finish)

    def environments(self) -> Sequence[str]:
        return list(self.dev_environments)

    def describe_environment(self, version: str) -> RegisteredEnvironment | None:
        tags = self.dev_environments.get(version)
        return None if tags is None else RegisteredEnvironment(version=version, tags=tags)

    def environment_is_promoted(self, version: str) -> bool:
        self.operations.catch_up()
        return version in self.registry_environments

    def start_environment_promotion(self, command_id: str, version: str) -> str:
        if version not in self.dev_environments:
            raise Permanent(f"the dev workspace has no environment {version}; register it first")

        def finish() -> Mapping[str, str]:
            self.registry_environments.add(version)
            return {}

        return self.operations.start(command_id, ENVIRONMENT_PROMOTION, version, finish)

    def start_deployment(
        self,
        command_id: str,
        stage: Stage,
        circuit: str,
        pair: Pair,
        previous: Pair | None,
        scoring_time: timedelta = SCORING_TIME,
    ) -> str:
        purpose = TEST_DEPLOYMENT if stage is Stage.TEST else PRODUCTION_DEPLOYMENT
        if (circuit, pair.model) not in self.registry:
            raise Permanent(f"the registry has no {model_name(circuit)}:{pair.model}; promote it first")
        if pair.environment not in self.registry_environments:
            raise Permanent(f"the registry has no environment {pair.environment}; promote it first")
        if not self.operations.already(command_id) and self.operations.running(purpose, circuit):
            raise Transient(f"an operation on {circuit}'s {purpose} is in progress")

        def finish() -> Mapping[str, str]:
            tags = {"previous": str(previous or ""), "command_id": command_id}
            self.serve(Deployment(circuit=circuit, stage=stage, pair=pair, tags=tags))
            return {}

        return self.operations.start(command_id, purpose, circuit, finish, pair)

    def start_removal(self, command_id: str, stage: Stage, circuit: str) -> str:
        def finish() -> Mapping[str, str]:
            self._deployments.pop((stage, circuit), None)
            return {}

        return self.operations.start(command_id, REMOVAL, circuit, finish)

    def serve(self, deployment: Deployment) -> None:
        """Have a workspace serve something, whoever put it there."""
        self._deployments[deployment.stage, deployment.circuit] = deployment

    def start_scoring(self, command_id: str, stage: Stage, circuit: str, request_uri: str) -> str:
        request = self._documents.at(request_uri)
        serving = self.deployed(stage, circuit)
        if serving is None:
            raise Permanent(f"{stage} serves nothing for {circuit}; deploy it first")
        purpose = TEST_INFERENCE if stage is Stage.TEST else SCORING

        def finish() -> Mapping[str, str]:
            fate = next(o for o in self.operations.started.values() if o.command_id == command_id).fate
            assert serving is not None
            self._lake.attempts[request["output_uri"]] = Predictions(
                request["command_id"], request["forecast_origin"], serving.pair, fate.usable
            )
            if stage is Stage.TEST and fate.usable:
                self.tested.add((circuit, serving.pair))
            return {}

        return self.operations.start(command_id, purpose, circuit, finish, serving.pair)

    def look(self, reference: str) -> OperationStatus:
        return self.operations.look(reference)

    def cancel(self, reference: str) -> None:
        """A job stops; a copy or a deployment under way comes to its end, as on AzureML."""
        operation = self.operations.started.get(reference)
        if operation and operation.purpose in (TEST_INFERENCE, SCORING):
            self.operations.cancel(reference)

    def deployed(self, stage: Stage, circuit: str) -> Deployment | None:
        self.operations.catch_up()
        return self._deployments.get((stage, circuit))


class SimulatedEtl:
    """ETL runs that end in one Delta commit with readings up to the full hour, and upkeep that obeys its order."""

    def __init__(self, operations: Operations, lake: SimulatedLake, circuits: Sequence[str]) -> None:
        self.operations, self._lake, self._circuits = operations, lake, circuits

    def start(self, command_id: str, run_id: str) -> str:
        def finish() -> Mapping[str, str]:
            hour = self.operations.clock.now().replace(minute=0, second=0, microsecond=0)
            version = self._lake.commit(dict.fromkeys(self._circuits, hour))
            report = str(self._lake.commits[version]["report"])
            return {"table_id": self._lake.table_id, "version": str(version), "report": report}

        self._note_others(UPKEEP)
        return self.operations.start(command_id, ETL, "lake", finish)

    def start_upkeep(self, command_id: str, run_id: str) -> str:
        self._note_others(ETL)

        def finish() -> Mapping[str, str]:
            table, _ = self._lake.orders[run_id]
            if table != self._lake.table_id:  # made anew meanwhile: another table's versions are not vacuumed
                self._lake.upkeeps[run_id] = {"version": None, "deleted_files": 0, "lost": ()}
                return {"run_id": run_id}
            version = len(self._lake.commits)
            self._lake.compact()
            self._lake.upkeeps[run_id] = {"version": version, "deleted_files": 3, "lost": ()}
            return {"run_id": run_id}

        return self.operations.start(command_id, UPKEEP, "lake", finish)

    def _note_others(self, other: str) -> None:
        self._lake.beside += [operation.reference for operation in self.operations.running(other)]

    def look(self, reference: str) -> OperationStatus:
        return self.operations.look(reference)

    def cancel(self, reference: str) -> None:
        self.operations.cancel(reference)


class SimulatedDataAssets:
    """Data assets by the table that they read."""

    def __init__(self) -> None:
        self.versions: dict[str, set[int]] = {}
        self.down = False

    def delta_versions(self, table_id: str) -> frozenset[int]:
        if self.down:
            raise Transient("the workspace does not answer")
        return frozenset(self.versions.get(table_id, ()))


class SimulatedTraining:
    """Trainings; the application itself never starts one, the build does."""

    def __init__(self, operations: Operations) -> None:
        self.operations = operations

    def start(
        self, command_id: str, circuit: str, commit: str, author: str, pull_request: str, champion: int | None = None
    ) -> str:
        return self.operations.start(command_id, TRAINING, circuit, lambda: {"model_version": "1"})

    def look(self, reference: str) -> OperationStatus:
        return self.operations.look(reference)

    def cancel(self, reference: str) -> None:
        self.operations.cancel(reference)


class SimulatedMonitor:
    """Monitoring runs; `judge` says what one finds out about a circuit with a model, as its program would.

    A circuit without a model gets a verdict as well: that nothing serves. `program` takes the place of all that.
    """

    def __init__(self, operations: Operations, documents: SimulatedDocuments, lake: SimulatedLake) -> None:
        self.operations, self._documents, self._lake = operations, documents, lake
        self.judge: Callable[[str, Mapping[str, Any]], Finding] = _nothing_found
        self.shared: Callable[[Mapping[str, Any]], Sequence[str]] = lambda request: ()
        self.program = self._find
        self.requests: list[Mapping[str, Any]] = []

    def start(self, command_id: str, request_uri: str, output_uri: str, environment: str) -> str:
        def finish() -> Mapping[str, str]:
            request = self._documents.at(request_uri)
            self.requests.append(request)
            self._lake.findings[output_uri] = self.program(request)
            return {}

        return self.operations.start(command_id, MONITORING, "fleet", finish)

    def _find(self, request: Mapping[str, Any]) -> Findings:
        found = {circuit: self._judged(circuit, request) for circuit in request["judged"]}
        return Findings(found, self.shared(request), "fleet.html")

    def _judged(self, circuit: str, request: Mapping[str, Any]) -> Finding:
        live = request["live"].get(circuit)
        if live is None:
            return Finding(verdict="cannot say", reason="nothing serves")
        return self.judge(circuit, request).model_copy(update={"model": live["version"], "report": f"{circuit}.html"})

    def look(self, reference: str) -> OperationStatus:
        return self.operations.look(reference)

    def cancel(self, reference: str) -> None:
        self.operations.cancel(reference)


def _nothing_found(circuit: str, request: Mapping[str, Any]) -> Finding:
    return Finding(verdict="ok" if request["monitoring"] == Monitoring.PERFORMANCE else "steady")


class SimulatedApprovals:
    """Where people are asked: what is open, and how often each gate was really opened.

    `outside`: a system that asks in runs of its own; `asks` is what became of each approval there.
    """

    def __init__(self) -> None:
        self.outside = False
        self.down = False
        self.asks: defaultdict[str, list[Ask]] = defaultdict(list)
        self.open: dict[str, Mapping[str, Any]] = {}
        self.asked: Counter[str] = Counter()
        self.withdrawn: dict[str, str] = {}

    def request(self, approval_id: str, instructions: Mapping[str, Any]) -> Asked:
        if approval_id not in self.asked:
            self.asked[approval_id] += 1
            self.open[approval_id] = instructions
        run = f"run-{list(self.asked).index(approval_id) + 1}"
        return Asked(f"https://asking/{run}", run) if self.outside else Asked()

    def look(self, approval_id: str, digest: str) -> Sequence[Ask]:
        if self.down:
            raise Transient("what asks does not answer", retry_after=7)
        return self.asks[approval_id]

    def withdraw(self, approval_id: str, reason: str) -> None:
        if self.open.pop(approval_id, None) is not None:
            self.withdrawn[approval_id] = reason


class SimulatedTopic:
    """What the application published, with duplicates."""

    def __init__(self) -> None:
        self.down = False
        self.published: list[tuple[str, str, Mapping[str, Any]]] = []

    def publish(self, event_type: str, subject: str, payload: Mapping[str, Any]) -> None:
        if self.down:
            raise Transient("the topic does not answer")
        self.published.append((event_type, subject, payload))

    def alerts(self) -> dict[str, str]:
        """Reason of each alert by its id, as it was raised; told twice, it is one alert."""
        return {str(p["alert"]): str(p["reason"]) for kind, _, p in self.published if kind.endswith("AlertRaised")}

    def notices(self, key: str) -> list[str]:
        """What was told of the alerts of a key, in order; told twice, it is one notice."""
        told = {str(p["id"]): str(p["change"]) for kind, _, p in self.published if p.get("key") == key}
        return list(told.values())


class SimulatedRepository:
    """The configuration's repository: the changes that were opened, and what people made of each."""

    def __init__(self) -> None:
        self.files = defaultdict[str, str](lambda: "training:\n  cutoff_date: 2025-12-09\n")
        self.changes: dict[str, FileChange] = {}
        self.edited: dict[str, str] = {}
        self.states: dict[str, ChangeState] = {}

    def open_change(self, command_id: str, change: FileChange) -> OpenedChange:
        if command_id not in self.changes:
            self.edited[command_id] = change.edit(self.files[change.path])
            self.changes[command_id] = change
            self.states[command_id] = ChangeState.OPEN
        return OpenedChange(command_id, f"https://git/{len(self.changes)}")

    def look(self, reference: str) -> ChangeState:
        return self.states.get(reference, ChangeState.UNKNOWN)


class SimulatedWebhooks:
    """What the application posted, by webhook; a duplicate has the id of the first."""

    def __init__(self) -> None:
        self.down = False
        self.posted: defaultdict[str, dict[str, Mapping[str, Any]]] = defaultdict(dict)

    def post(self, webhook: str, message_id: str, document: Mapping[str, Any]) -> None:
        if self.down:
            raise Transient("the webhook does not answer")
        self.posted[webhook][message_id] = document
