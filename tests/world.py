"""A world under a virtual clock: the real application on a store and a queue, with everything outside simulated.

`run` steps from one interesting time to the next: it delivers signals and queue messages, and sweeps what is due. The
application keeps nothing in memory: after a kill (`Killed`, raised at any effect) a new one goes on from what remains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from shared import records
from shared.adapters.local.state_store import MemoryStateStore
from shared.advance import Advanced
from shared.application import Application
from shared.archive import Archive
from shared.domain import lake as lake_domain
from shared.domain import messages as m
from shared.domain.circuit import Circuit
from shared.domain.environment import EnvironmentRelease
from shared.domain.environment.messages import EnvironmentRegistered
from shared.domain.machine import Item, Verdict
from shared.domain.release import Asked, Release
from shared.domain.retention import RetentionRules
from shared.domain.rollback import Rollback
from shared.domain.rules import Rules
from shared.domain.scoring import ScoringRun
from shared.domain.update import EnvironmentUpdate, update_id
from shared.domain.values import ENVIRONMENT, Gate, is_circuit
from shared.errors import Transient
from shared.handlers import Directory, Ports
from shared.ports import ApprovalChannel, MonitoringOrder, Row, StateStore
from shared.queries import Queries
from shared.relay import Work
from shared.telemetry import OFF, Telemetry
from tests.builders import CIRCUIT, DIRECTORS, ENGINEER, ENGINEERS, START, decided, model_tags, ordered, registered
from tests.simulated import (
    SCORING,
    TEST_INFERENCE,
    Effects,
    Fate,
    Killed,
    Message,
    Operations,
    SimulatedApprovals,
    SimulatedDataAssets,
    SimulatedDocuments,
    SimulatedEtl,
    SimulatedLake,
    SimulatedMonitor,
    SimulatedPlatform,
    SimulatedQueue,
    SimulatedRepository,
    SimulatedTopic,
    SimulatedTraining,
    SimulatedUndelivered,
    SimulatedWebhooks,
    Started,
    Through,
    VirtualClock,
)

STARTS = ("start_promotion", "start_environment_promotion", "start_deployment", "start_removal", "start_scoring")
SWEEP_EVERY = timedelta(seconds=10)
TOLD_AGAIN = timedelta(seconds=10)


@dataclass(frozen=True)
class Fleet:
    """What the configuration says."""

    names: Sequence[str] = (CIRCUIT,)
    common: Rules = field(default_factory=Rules)
    environment: Rules = field(
        default_factory=lambda: Rules(
            requirements={
                Gate.REGISTRY: ((ENGINEERS,),),
                Gate.PRODUCTION: ((ENGINEERS,), (DIRECTORS,)),
            }
        )
    )
    max_invocations: int = 10
    retention: RetentionRules = field(default_factory=RetentionRules)

    def circuits(self) -> Sequence[str]:
        return self.names

    def by_sensor(self, sensor: str) -> str | None:
        circuit = sensor.removeprefix("SENSOR_")
        return circuit if circuit in self.names else None

    def rules(self, root: str) -> Rules:
        if root == ENVIRONMENT:
            return self.environment
        departed = is_circuit(root) and root not in self.names
        return self.common.model_copy(update={"configured": False}) if departed else self.common

    def monitoring_request(self, order: MonitoringOrder) -> Mapping[str, Any]:
        return asdict(order)


@dataclass
class Signal:
    """Something from outside, told at least once: until the application has taken it."""

    at: datetime
    tell: Callable[[Application], Any]


class Remembering(Application):
    """The application, and every fact that it took, every command that it was done with and every one it gave up."""

    facts: list[m.Event]
    done: list[m.Command]
    given_up: list[m.Command]

    def advance(self, event: m.Event) -> Advanced:
        advanced = super().advance(event)
        if advanced.duplicate or advanced.verdict is Verdict.APPLIED:
            self.facts.append(event)
        return advanced

    def work(self, text: str) -> None:
        super().work(text)
        self.done.append(Work.from_json(text).command)

    def give_up(self, work: Work, error: str) -> None:
        self.given_up.append(work.command)
        super().give_up(work, error)


class World:
    def __init__(
        self,
        fleet: Fleet | None = None,
        store: StateStore | None = None,
        at: datetime = START,
        telemetry: Telemetry = OFF,
        approvals: ApprovalChannel | None = None,
    ) -> None:
        self.fleet = fleet or Fleet()
        self.circuits = tuple(self.fleet.circuits())
        """Every circuit that was ever configured."""
        self.telemetry = telemetry
        self.clock = VirtualClock(at)
        self.effects = Effects()
        self.store: StateStore = store or MemoryStateStore(shards=2)
        self.queue = SimulatedQueue(self.clock)
        self.operations = Operations(self.clock)
        self.operations.told = self._operation_told
        self.documents = SimulatedDocuments()
        self.lake = SimulatedLake()
        self.platform = SimulatedPlatform(self.operations, self.documents, self.lake)
        self.data_assets = SimulatedDataAssets()
        self.monitor = SimulatedMonitor(self.operations, self.documents, self.lake)
        self.approvals = SimulatedApprovals()
        self._channel = approvals or self.approvals
        self.topic = SimulatedTopic()
        self.undelivered = SimulatedUndelivered()
        self.webhooks = SimulatedWebhooks()
        self.repository = SimulatedRepository()
        self.signals: list[Signal] = []
        self.facts: list[m.Event] = []
        self.crashes: list[Exception] = []
        self.done: list[m.Command] = []
        self.given_up: list[m.Command] = []
        self.choose: Callable[[int], int] = lambda count: 0
        """Which of so many deliverable things comes next."""
        self.app = self._start()
        self.queries = Queries(self.store, Archive(self.documents))

    def _start(self) -> Application:
        def through(port: Any, *names: str) -> Any:
            return Through(port, self.effects, *names)

        ports = Ports(
            store=through(self.store, "commit"),
            queue=through(self.queue, "send"),
            clock=self.clock,
            documents=through(self.documents, "write", "append"),
            platform=through(self.platform, *STARTS, "cancel"),
            etl=through(
                SimulatedEtl(self.operations, self.lake, self.fleet.circuits()), "start", "start_upkeep", "cancel"
            ),
            training=SimulatedTraining(self.operations),
            monitor=through(self.monitor, "start", "cancel"),
            approvals=through(self._channel, "request", "withdraw"),
            lake=through(self.lake, "publish", "order_upkeep"),
            data_assets=self.data_assets,
            topic=through(self.topic, "publish"),
            undelivered=through(self.undelivered, "remove"),
            webhooks=through(self.webhooks, "post"),
            config_repository=through(self.repository, "open_change"),
        )
        app = Remembering(ports, self._directory(), telemetry=self.telemetry)
        app.facts, app.done, app.given_up = self.facts, self.done, self.given_up
        return app

    def _directory(self) -> Directory:
        return self.fleet

    def restart(self) -> None:
        """A new application goes on from what is there, with the configuration as it is now."""
        self.app = self._start()

    def configure(self, names: Sequence[str]) -> None:
        """Another configuration: the application begins anew with it."""
        self.fleet = replace(self.fleet, names=names)
        self.circuits = tuple(dict.fromkeys([*self.circuits, *names]))
        self.app = self._start()

    # -------------------------------------------------------------------------------------------------- what happens

    def now(self) -> datetime:
        return self.clock.now()

    def at(self, hour: int, minute: int = 0, day: int = 0) -> datetime:
        """A time of the current day, or so many days later (UTC)."""
        return self.now().replace(hour=hour, minute=minute, second=0, microsecond=0) + timedelta(days=day)

    def tell(self, tell: Callable[[Application], Any], after: timedelta = timedelta()) -> None:
        """Have the application told of something, again and again until it took it."""
        self.signals.append(Signal(self.now() + after, tell))

    def told(self, event: m.Event, after: timedelta = timedelta()) -> None:
        self.tell(lambda app: app.advance(event), after)

    def register(
        self, circuit: str = CIRCUIT, version: int = 1, tags: Mapping[str, str] | None = None, digest: str = "first"
    ) -> None:
        """A training registers a model version in the dev workspace, and its event tells of it."""
        self.platform.models[circuit, version] = model_tags(circuit, version) if tags is None else tags
        self.told(registered(circuit, version, digest))

    def register_environment(self, version: str, told: bool = True, tags: Mapping[str, str] | None = None) -> str:
        """A build registers a version of the environment in the dev workspace, and tells of it."""
        usual = {"backward_compatible": "true", "requires_retrain": "false", "change_summary": "newer wheels"}
        self.platform.dev_environments[version] = {**usual, **(tags or {})}
        if told:
            self.told(EnvironmentRegistered(root=ENVIRONMENT, version=version))
        return f"{ENVIRONMENT}:{version}"

    def commit(
        self,
        newest: datetime | None = None,
        circuits: Sequence[str] = (),
        hints: int = 1,
        nulls: int = 0,
        data_changed: bool = True,
        oldest: datetime | None = None,
        qualities: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> int:
        """Readings from `oldest` up to `newest` (default: the last full hour) arrive in the table.

        `hints`: events about it.
        """
        hour = self.now().replace(minute=0, second=0, microsecond=0)
        reached = dict.fromkeys(circuits or self.fleet.circuits(), newest or hour)
        version = self.lake.commit(reached, nulls, data_changed, oldest, qualities)
        for _ in range(hints):
            self.tell(lambda app: app.read_delta_log(version, "event"))
        return version

    def fate(self, purpose: str, *fates: Fate) -> None:
        """What becomes of the next operations of one purpose."""
        self.operations.fates[purpose] += fates

    def answer(
        self, release: str, by: m.Person = ENGINEER, decision: str = "approve", lift_hold: bool = False
    ) -> Advanced:
        """A person reads the release's open gate and answers it."""
        approval = self.asked(release).approval
        assert approval is not None, f"{release} asks nobody"
        return self.app.advance(decided(approval.id, approval.digest, by, decision, lift_hold))

    def approve(self, release: str, by: m.Person = ENGINEER) -> None:
        """Answer yes, and see it taken."""
        advanced = self.answer(release, by)
        assert advanced.verdict is Verdict.APPLIED, advanced.reason

    def order(self, order: type[m.Order], by: m.Person = ENGINEER, circuit: str = CIRCUIT, **fields: Any) -> Advanced:
        """A person orders something of a circuit."""
        return self.app.advance(ordered(order, by, circuit, **fields))

    def go_live(self, version: int = 1, circuit: str = CIRCUIT) -> str:
        """Take a version all the way to production, observed until the circuit's next scoring proves it."""
        release = self.bring_to_production(version, circuit)
        self.commit(circuits=(circuit,))
        self.run(minutes=30)
        assert self.phase(release) == "live", self.story(release)
        return release

    def bring_to_production(self, version: int = 1, circuit: str = CIRCUIT) -> str:
        """Take a version to where production serves it."""
        release = self.bring_to_ready_for_production(version, circuit)
        self.approve(release)
        self.run(minutes=30)
        return release

    def bring_to_ready_for_production(self, version: int = 1, circuit: str = CIRCUIT) -> str:
        """Take a version to where people are asked about production."""
        release = f"{circuit}:{version}"
        self.register(circuit, version)
        self.run(minutes=5)
        self.approve(release)
        self.run(minutes=30)
        assert self.phase(release) == "awaiting production approval", self.story(release)
        return release

    def _operation_told(self, at: datetime, operation: Started) -> None:
        """AzureML's event about a job's end names only the job; operations that are no jobs have no events."""
        if operation.purpose in (TEST_INFERENCE, SCORING):
            self.signals.append(Signal(at, lambda app: app.look_at_job(operation.reference)))

    # ------------------------------------------------------------------------------------------------------ time goes

    def run(self, minutes: float = 0, hours: float = 0, days: float = 0) -> None:
        """Let time pass: everything that becomes deliverable or due meanwhile is delivered and done."""
        self.run_until(self.now() + timedelta(minutes=minutes, hours=hours, days=days))

    def run_until(self, end: datetime) -> None:
        for _ in range(200_000):
            while self.step():
                pass
            following = self.next_time()
            if following is None or following > end:
                self.clock.advance_to(max(end, self.now()))
                return
            self.clock.advance_to(max(following, self.now()))
            self._alive(lambda: self.app.sweep())
        raise AssertionError("the world does not come to rest")

    def step(self) -> bool:
        """Deliver one signal, message or poisoned message that is there now; False when there is none."""
        now = self.now()
        signals = [signal for signal in self.signals if signal.at <= now]
        deliverable: list[Signal | Message] = [*signals, *self.queue.visible(), *self.queue.poisoned]
        if not deliverable:
            return False
        chosen = deliverable[self.choose(len(deliverable))]
        if isinstance(chosen, Signal):
            self._deliver_signal(chosen)
        elif chosen in self.queue.poisoned:
            if self._alive(lambda: self.app.poisoned(chosen.text)):
                self.queue.poisoned.remove(chosen)
        else:
            self._deliver_message(chosen)
        return True

    def _deliver_signal(self, signal: Signal) -> None:
        self.signals.remove(signal)
        if not self._alive(lambda: signal.tell(self.app)):
            self.signals.append(Signal(self.now() + TOLD_AGAIN, signal.tell))

    def _deliver_message(self, message: Message) -> None:
        self.queue.receive(message)
        died = False
        if message.deliveries <= SimulatedQueue.DELIVERIES:
            try:
                self.app.work(message.text)
                self.effects.passing("acknowledge", lambda: self.queue.delete(message))
                return
            except Killed:
                died = True
                self.app = self._start()
            except Exception as error:
                self._note(error)
                self.queue.failed(message)
        if message not in self.queue.messages or (died and message.deliveries < SimulatedQueue.DELIVERIES):
            return
        if message.deliveries >= SimulatedQueue.DELIVERIES:
            self.queue.delete(message)
            self.queue.poisoned.append(message)

    def _alive(self, call: Callable[[], Any]) -> bool:
        """Whether the application lived to the end of the call."""
        try:
            call()
        except Killed:
            self.app = self._start()
            return False
        except Transient as error:
            self._note(error)
            return False
        return True

    def _note(self, error: Exception) -> None:
        """A conflict that never ends is a defect; every other transient error is what a retry is for."""
        if not isinstance(error, Transient) or "conflicts in a row" in str(error):
            self.crashes.append(error)

    def next_time(self) -> datetime | None:
        """When something can happen next that nobody has to cause."""
        times = [signal.at for signal in self.signals] + [message.visible_at for message in self.queue.messages]
        for shard in self.store.shards:
            for row in self.store.read_range(shard, "!", '"', limit=1):
                waits = row.key.startswith("!0|")
                times.append(self.now() + SWEEP_EVERY if waits else _parse(row.key.split("|")[1]))
        return min(times, default=None)

    # ------------------------------------------------------------------------------------------------- what is there

    def circuit(self, circuit: str = CIRCUIT) -> Circuit:
        loaded = records.load(circuit, self._rows(circuit, *records.root_range(circuit))).root
        assert isinstance(loaded, Circuit)
        return loaded

    def items(self, root: str) -> dict[str, Item]:
        """Everything open and ended under a root."""
        rows = [*self._rows(root, f"{root}|1|", f"{root}|2"), *self._rows(root, f"{root}|8|", f"{root}|9")]
        return {item.id: item for item in map(records.item_from, rows)}

    def releases(self, circuit: str = CIRCUIT) -> list[Release]:
        return [item for item in self.items(circuit).values() if isinstance(item, Release)]

    def release(self, identity: str) -> Release:
        found = self.items(identity.partition(":")[0]).get(identity)
        assert isinstance(found, Release), f"there is no release {identity}"
        return found

    def asked(self, identity: str) -> Asked:
        """A model's or an environment's release."""
        found = self.items(identity.partition(":")[0]).get(identity)
        assert isinstance(found, Asked), f"there is no release {identity}"
        return found

    def environment_release(self, version: str) -> EnvironmentRelease:
        found = self.items(ENVIRONMENT).get(f"{ENVIRONMENT}:{version}")
        assert isinstance(found, EnvironmentRelease), f"there is no release of environment {version}"
        return found

    def update(self, circuit: str, version: str) -> EnvironmentUpdate:
        found = self.items(circuit).get(update_id(circuit, version))
        assert isinstance(found, EnvironmentUpdate), f"{circuit} has no update to {version}"
        return found

    def release_exists(self, identity: str) -> bool:
        return identity in self.items(identity.partition(":")[0])

    def rollback(self, number: int = 1, circuit: str = CIRCUIT) -> Rollback:
        found = self.items(circuit).get(f"{circuit}!rollback.{number}")
        assert isinstance(found, Rollback), f"{circuit} was not rolled back {number} times"
        return found

    def scoring(self, circuit: str = CIRCUIT, day: datetime | None = None) -> ScoringRun | None:
        found = self.items(circuit).get(f"{circuit}@{day or self.now():%Y-%m-%d}")
        assert found is None or isinstance(found, ScoringRun)
        return found

    def etl_runs(self) -> list[Item]:
        return [item for item in self.items(lake_domain.ROOT).values() if isinstance(item, lake_domain.EtlRun)]

    def phase(self, release: str) -> str:
        return str(self.asked(release).phase)

    def history(self, root: str, item: str) -> list[Mapping[str, Any]]:
        return [row.body for row in self._rows(root, *records.history_range(root, item))]

    def story(self, release: str) -> str:
        """A release's history in one line a step, for a failed assertion."""
        lines = self.history(release.partition(":")[0], release)
        told = [f"{line['at'][:19]} {line['event']}: {line['before']} -> {line['after']}" for line in lines]
        return "\n".join([f"{release}: {self.asked(release).reason or 'no reason'}", *told])

    def events(self, release: str) -> list[str]:
        """The events of a release's history, in order."""
        return [str(line["event"]) for line in self.history(release.partition(":")[0], release)]

    def dead_letters(self) -> Sequence[Row]:
        return self.store.read_range(records.DEAD, "0", "~")

    def rows(self) -> dict[tuple[str, str], Any]:
        """Every row of the state."""
        return {
            (partition, row.key): row.body
            for partition in (*self.store.shards, records.JOBS, records.DEAD, records.SLOTS)
            for row in self.store.read_range(partition, " ", "~~")
        }

    def _rows(self, root: str, first: str, last: str) -> list[Row]:
        return self.store.read_range(self.store.shard_of(root), first, last)


def _parse(stamp: str) -> datetime:
    return datetime.strptime(stamp, "%Y%m%dT%H%M%S%fZ").replace(tzinfo=UTC)
