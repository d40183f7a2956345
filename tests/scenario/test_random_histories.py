"""Random histories: signals doubled, late and out of order, work that fails, hangs and loses its event, and a process
that dies before or after any effect, or stalls there while others go on. Whatever happens: nothing twice, nothing lost.

HISTORIES sets how many are tried (default 60), HISTORY_SEED which: others every time, and always the same ones in CI,
where nobody should meet the failure of somebody else's change. A failure prints its seed and its shortest history.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, note, seed, settings

from shared.application import Application
from shared.domain.environment import EnvironmentRelease, environment_release_id
from shared.domain.environment.messages import EnvironmentRollbackOrdered, HaltOrdered, WavesResumed
from shared.domain.fleet import ROOT as FLEET
from shared.domain.lake import ROOT as LAKE
from shared.domain.messages import (
    CancelRequested,
    EtlDue,
    FleetResumed,
    FleetStopped,
    HoldRequested,
    Order,
    Person,
    RestartRequested,
    ResumeRequested,
    RollbackRequested,
    UpkeepDue,
)
from shared.domain.release import GATES, Approval
from shared.domain.release import Asked as AskedOfPeople
from shared.domain.rules import Rules
from shared.domain.values import ENVIRONMENT, OperationState, version_numbers
from shared.ledger import Ledger
from shared.rescoring import Asked, Rescoring
from tests import builders
from tests.builders import START, model_tags, registered
from tests.scenario.invariants import check_always, check_at_rest, check_replay_changes_nothing
from tests.simulated import FAILS, FIRST_ENVIRONMENT, HANGS, NOT_TOLD, UNUSABLE, Fate, Killed
from tests.world import Fleet, World

SEED = int(os.environ.get("HISTORY_SEED") or (1 if os.environ.get("CI") else random.SystemRandom().randrange(2**32)))
HISTORIES = int(os.environ.get("HISTORIES") or 60)


PASSING = st.sampled_from((1, 2, 10, 30, 30, 90, 60 * 7, 60 * 24))
"""Minutes between two things that happen."""


class Action(Protocol):
    def happen(self, world: World) -> None: ...


@dataclass(frozen=True)
class Registered:
    """A version is registered and told of: a newer or an older one, in which words, how often, how late."""

    circuit: int
    newer_by: int
    digest: str
    times: int
    late: int
    environment: str = FIRST_ENVIRONMENT

    def happen(self, world: World) -> None:
        circuit = world.fleet.circuits()[self.circuit]
        newest = max((version for name, version in world.platform.models if name == circuit), default=1)
        version = max(1, newest + self.newer_by)
        changed = {"r2": "0.92"} if self.digest == "again" else {}
        tags = model_tags(circuit, version, environment_version=self.environment, **changed)
        world.platform.dev_environments.setdefault(self.environment, {})
        world.platform.models[circuit, version] = tags
        for time in range(self.times):
            world.told(registered(circuit, version, self.digest), timedelta(minutes=self.late * time))


@dataclass(frozen=True)
class Answered:
    """A person answers one of the open gates, perhaps late or twice, perhaps having read an older evidence."""

    gate: int
    person: Person
    decision: str
    times: int
    late: int
    outdated: bool = False
    lift_hold: bool = False

    def happen(self, world: World) -> None:
        for _ in range(6):  # an open gate is waited for a while
            if gates := _open_gates(world):
                approval = gates[self.gate % len(gates)]
                read = "an older digest" if self.outdated else approval.digest
                answer = builders.decided(approval.id, read, self.person, self.decision, self.lift_hold)
                for time in range(self.times):
                    world.told(answer, timedelta(minutes=self.late * time))
                return
            world.run(minutes=5)


def _open_gates(world: World) -> list[Approval]:
    roots = (ENVIRONMENT, *world.fleet.circuits())
    asked = [item for root in roots for item in world.items(root).values() if isinstance(item, AskedOfPeople)]
    return [item.approval for item in asked if item.phase in GATES and item.approval]


@dataclass(frozen=True)
class Released:
    """A newer version is registered, and an engineer says yes to whatever is asked for so many times ten minutes.

    With `readings`, some arrive in the end, by which a pair that serves proves itself.
    """

    circuit: int
    rounds: int
    readings: bool = False
    environment: str = FIRST_ENVIRONMENT

    def happen(self, world: World) -> None:
        Registered(self.circuit, 1, "first", 1, 0, self.environment).happen(world)
        for _ in range(self.rounds):
            world.run(minutes=10)
            for approval in _open_gates(world):
                world.told(builders.decided(approval.id, approval.digest, lift_hold="hold" in approval.evidence))
        if self.readings:
            world.commit()


@dataclass(frozen=True)
class EnvironmentReleased:
    """A newer environment is registered, and both groups say yes to whatever it asks for so many times half an hour."""

    rounds: int
    times: int
    breaking: bool

    def happen(self, world: World) -> None:
        version = f"1.{1 + len(world.platform.dev_environments)}.0"
        for _ in range(self.times):
            tags = {"backward_compatible": "false", "requires_retrain": "true"} if self.breaking else {}
            release = world.register_environment(version, tags=tags)
        for _ in range(self.rounds):
            world.run(minutes=30)
            for approval in _open_gates(world):
                if approval.id.startswith(release):
                    for person in (builders.ENGINEER, builders.DIRECTOR):
                        world.told(builders.decided(approval.id, approval.digest, person))


@dataclass(frozen=True)
class EnvironmentOrdered:
    """An operator orders something of the newest environment's release, perhaps told twice."""

    order: type[HaltOrdered | WavesResumed | EnvironmentRollbackOrdered | RestartRequested]
    times: int
    how: str = ""

    def happen(self, world: World) -> None:
        versions = [item.version for item in world.items(ENVIRONMENT).values() if isinstance(item, EnvironmentRelease)]
        if versions:
            newest = max(versions, key=version_numbers)
            release = environment_release_id(ENVIRONMENT, newest)
            named: dict[str, Any] = {"release": release, "how": self.how} if self.how else {"version": newest}
            order = builders.ordered(self.order, circuit=ENVIRONMENT, **named)
            for _ in range(self.times):
                world.told(order)


@dataclass(frozen=True)
class Committed:
    """Readings arrive, up to so many hours ago; `hints` events tell of it, or none."""

    hours_ago: int
    hints: int
    changed: bool

    def happen(self, world: World) -> None:
        hour = world.now().replace(minute=0, second=0, microsecond=0)
        world.commit(hour - timedelta(hours=self.hours_ago), hints=self.hints, data_changed=self.changed)


@dataclass(frozen=True)
class MadeAnew:
    """The table is dropped and made again."""

    def happen(self, world: World) -> None:
        world.lake.make_anew()
        world.commit()


@dataclass(frozen=True)
class DailyChecked:
    """The daily schedule runs."""

    times: int

    def happen(self, world: World) -> None:
        for _ in range(self.times):
            world.tell(lambda app: app.check_daily_scoring())


@dataclass(frozen=True)
class EtlScheduled:
    """The ETL schedule runs, perhaps in two instances at once."""

    times: int

    def happen(self, world: World) -> None:
        slot = world.now()
        for _ in range(self.times):
            world.told(EtlDue(root=LAKE, slot=slot))


@dataclass(frozen=True)
class Ordered:
    """An operator orders something of a circuit, perhaps told twice."""

    circuit: int
    order: type[Order]
    times: int
    version: int | None = None

    def happen(self, world: World) -> None:
        of_fleet = self.order in (FleetStopped, FleetResumed)
        circuit = FLEET if of_fleet else world.fleet.circuits()[self.circuit]
        named: dict[str, Any] = {"version": self.version} if self.order is RollbackRequested else {}
        order = builders.ordered(self.order, circuit=circuit, **named)
        for _ in range(self.times):
            world.told(order)


@dataclass(frozen=True)
class ScoringAsked:
    """A person wants a day scored, of one circuit whatever stands there, or wherever nothing was published."""

    circuit: int
    days_ago: int
    times: int
    fill: bool

    def happen(self, world: World) -> None:
        day = world.now().date() - timedelta(days=self.days_ago)
        circuit = world.fleet.circuits()[self.circuit]
        asked = Asked("erik@example.org")

        def ask(app: Application) -> None:
            rescoring = Rescoring(app, Ledger(world.store, world.fleet, world.clock))
            if self.fill:
                rescoring.fill(day, asked)
            else:
                rescoring.score(circuit, day, asked)

        for _ in range(self.times):
            world.tell(ask)


@dataclass(frozen=True)
class UpkeepScheduled:
    """The upkeep schedule runs, perhaps in two instances at once."""

    times: int

    def happen(self, world: World) -> None:
        slot = world.now()
        for _ in range(self.times):
            world.told(UpkeepDue(root=LAKE, slot=slot))


@dataclass(frozen=True)
class StrangerCommitted:
    """Somebody else writes readings up to now to the table."""

    def happen(self, world: World) -> None:
        version = world.lake.commit_of_a_stranger(dict.fromkeys(world.fleet.circuits(), world.now()))
        world.tell(lambda app: app.read_delta_log(version, "event"))


@dataclass(frozen=True)
class OrderedOfARelease:
    """An operator cancels, retries, reopens or has asked again one of a circuit's releases, perhaps told twice."""

    circuit: int
    release: int
    how: str
    times: int

    def happen(self, world: World) -> None:
        circuit = world.fleet.circuits()[self.circuit]
        releases = world.releases(circuit)
        if not releases:
            return
        named = releases[self.release % len(releases)].id
        order: Order = (
            builders.ordered(CancelRequested, circuit=circuit, release=named)
            if self.how == "cancel"
            else builders.ordered(RestartRequested, circuit=circuit, release=named, how=self.how)
        )
        for _ in range(self.times):
            world.told(order)


@dataclass(frozen=True)
class Reconciled:
    """The reconciler's schedule runs."""

    def happen(self, world: World) -> None:
        world.tell(lambda app: app.reconcile_production())


Yes: st.SearchStrategy[Action] = st.builds(
    Answered, st.integers(0, 2), st.just(builders.ENGINEER), st.just("approve"), st.just(1), st.just(0)
)
AnyAnswer = st.builds(
    Answered,
    st.integers(0, 2),
    st.sampled_from(
        (builders.ENGINEER, builders.SECOND_ENGINEER, builders.DIRECTOR, builders.TRAINER, builders.STRANGER)
    ),
    st.sampled_from(("approve", "approve", "approve", "reject")),
    st.integers(1, 3),
    st.sampled_from((0, 1)),
    st.sampled_from((False, False, True)),
    st.booleans(),
)
GOOD = (Fate(), Fate(events=2), Fate(minutes=20, events=3, event_late=5), NOT_TOLD)
FAILS_AND_IS_TOLD_LATE = Fate(state=OperationState.FAILED, events=2, event_late=4)
Fates = st.sampled_from((*GOOD, *GOOD, FAILS, FAILS_AND_IS_TOLD_LATE, UNUSABLE, HANGS, Fate(minutes=90)))


def actions(circuits: int) -> st.SearchStrategy[Action]:
    circuit, few = st.integers(0, circuits - 1), st.integers(1, 3)
    trained_with = st.sampled_from((FIRST_ENVIRONMENT, FIRST_ENVIRONMENT, "2.0.0"))
    register: st.SearchStrategy[Action] = st.builds(
        Registered,
        circuit,
        st.sampled_from((1, 1, 1, 2, 0, -1)),
        st.sampled_from(("first", "first", "again")),
        few,
        st.sampled_from((0, 1, 90)),
        trained_with,
    )
    commit: st.SearchStrategy[Action] = st.builds(
        Committed, st.sampled_from((0, 0, 3, 12)), st.integers(0, 2), st.sampled_from((True, True, False))
    )
    others: st.SearchStrategy[Action] = st.one_of(
        st.builds(DailyChecked, few),
        st.builds(EtlScheduled, few),
        st.builds(ScoringAsked, circuit, st.integers(1, 3), st.integers(1, 2), st.booleans()),
        st.builds(UpkeepScheduled, few),
        st.just(StrangerCommitted()),
        st.just(MadeAnew()),
        st.just(Reconciled()),
    )
    ordered: st.SearchStrategy[Action] = st.one_of(
        st.builds(
            Ordered, circuit, st.just(RollbackRequested), st.integers(1, 2), st.sampled_from((None, None, None, 1, 2))
        ),
        st.builds(Ordered, circuit, st.sampled_from((HoldRequested, ResumeRequested, ResumeRequested)), few),
        st.builds(
            OrderedOfARelease,
            circuit,
            st.integers(0, 5),
            st.sampled_from(("cancel", "retry", "retry", "reopen", "ask again")),
            st.integers(1, 2),
        ),
        st.builds(Ordered, circuit, st.sampled_from((FleetStopped, FleetResumed, FleetResumed)), few),
    )
    released: st.SearchStrategy[Action] = st.builds(
        Released, circuit, st.sampled_from((2, 4, 6, 8)), st.booleans(), trained_with
    )
    environments: st.SearchStrategy[Action] = st.one_of(
        st.builds(
            EnvironmentReleased, st.sampled_from((1, 3, 6)), st.integers(1, 2), st.sampled_from((False, False, True))
        ),
        st.builds(
            EnvironmentOrdered,
            st.sampled_from((HaltOrdered, WavesResumed, EnvironmentRollbackOrdered)),
            st.integers(1, 2),
        ),
        st.builds(
            EnvironmentOrdered,
            st.just(RestartRequested),
            st.integers(1, 2),
            st.sampled_from(("retry", "reopen", "ask again")),
        ),
    )
    return st.one_of(commit, register, Yes, AnyAnswer, released, released, ordered, ordered, environments, others)


@dataclass(frozen=True)
class Step:
    """Something happens, and then time passes."""

    action: Action
    minutes: int

    def happen(self, world: World) -> None:
        self.action.happen(world)
        world.run(minutes=self.minutes)


@dataclass(frozen=True)
class Interruption:
    """After so many more points (before or after an effect) the process dies, or stalls while others go on."""

    after: int
    stalls: int | None
    """Minutes; None: it dies."""


Interruptions = st.lists(
    st.builds(Interruption, st.integers(0, 40), st.sampled_from((None, None, 0, 1, 3, 20))), min_size=4, max_size=30
)


@dataclass(frozen=True)
class History:
    circuits: int
    hour: int
    steps: list[Step]
    fates: list[Fate]
    order: list[int]
    interruptions: list[Interruption]


def histories(circuits: int, length: int) -> st.SearchStrategy[History]:
    return st.builds(
        History,
        st.just(circuits),
        st.sampled_from((6, 0, 22)),
        st.lists(st.builds(Step, actions(circuits), PASSING), min_size=10, max_size=length),
        st.lists(Fates, min_size=10, max_size=24),
        st.lists(st.integers(0, 7), max_size=6),
        Interruptions,
    )


def live_through(history: History) -> World:
    """The world after the history, at rest."""
    world = World(
        Fleet(builders.circuits(history.circuits), Rules(), max_invocations=2), at=START.replace(hour=history.hour)
    )
    order = itertools.cycle(history.order or [0])
    world.choose = lambda count: next(order) % count
    fates = itertools.cycle(history.fates)
    world.operations.fate_of = lambda purpose: next(fates)
    steps = iter(history.steps)
    _interrupt(world, history.interruptions, steps)
    for step in steps:
        step.happen(world)
        check_always(world)
    world.effects.interrupt = lambda point: None
    world.operations.fate_of = lambda purpose: Fate()
    world.run(days=12)
    world.app.reconcile_production()
    world.run(hours=1)
    return world


def _interrupt(world: World, interruptions: Iterable[Interruption], steps: Iterator[Step]) -> None:
    """Die, or stall while the history's next step happens; a stall that outlasts its lease has its message twice."""
    coming = iter(interruptions)
    waiting = next(coming, None)
    points, stalled = 0, 0

    def interrupt(point: str) -> None:
        nonlocal waiting, points, stalled
        points += 1
        if waiting is None or points <= waiting.after:
            return
        if waiting.stalls is not None and "before" not in point:
            return
        now, waiting, points = waiting, next(coming, None), 0
        note(f"{world.now():%d %H:%M:%S} {point}: {'killed' if now.stalls is None else f'stalls {now.stalls} minutes'}")
        if now.stalls is None:
            raise Killed(point)
        if stalled < 2:
            stalled += 1
            try:
                for step in itertools.islice(steps, 1):
                    step.happen(world)
                world.run(minutes=now.stalls)
            finally:
                stalled -= 1

    world.effects.interrupt = interrupt


common = settings(
    deadline=None,
    max_examples=HISTORIES,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


def _holds(history: History) -> None:
    print(f"HISTORY_SEED={SEED}")
    world = live_through(history)
    check_at_rest(world)
    check_replay_changes_nothing(world)


@seed(SEED)
@common
@given(histories(circuits=1, length=25))
def test_one_circuit_nothing_twice_and_nothing_lost(history: History) -> None:
    _holds(history)


@seed(SEED)
@settings(common, max_examples=max(1, HISTORIES // 3))
@given(histories(circuits=3, length=40))
def test_a_few_circuits_nothing_twice_and_nothing_lost(history: History) -> None:
    _holds(history)
