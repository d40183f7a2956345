"""The build's training: as many at once as there are slots, once for each commit, and on after whatever stopped it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from shared.application import Application
from shared.domain.training import Phase, TrainingRun
from shared.domain.values import OperationState, OperationStatus
from shared.errors import Invalid, Permanent, Transient
from shared.slots import TRAINING as SLOTS
from shared.slots import Slots
from shared.training_build import SLOT_LEASE, Change, TrainingBuild
from tests.builders import circuits
from tests.simulated import TRAINING, Fate, SimulatedTraining
from tests.world import Fleet, World

CHANGE = Change("5f1c7d9e02ab", "tess@example.org", "101")
NAMES = circuits(12)


@pytest.fixture
def world() -> World:
    return World(Fleet(names=NAMES))


class Runner(SimulatedTraining):
    """Trainings that tell when they ran; some circuits may be refused, and some looks in vain."""

    champion: int | None = None
    refuses = ""
    silent_looks = 0

    def start(
        self, command_id: str, circuit: str, commit: str, author: str, pull_request: str, champion: int | None = None
    ) -> str:
        if circuit == self.refuses:
            raise Permanent("the environment does not exist")
        self.champion = champion
        return super().start(command_id, circuit, commit, author, pull_request, champion)

    def look(self, reference: str) -> OperationStatus:
        if self.silent_looks:
            self.silent_looks -= 1
            raise Transient("the platform does not answer")
        training = self.operations.started[reference]
        times = {"started_at": training.started_at, "ended_at": training.ends_at}
        return super().look(reference).model_copy(update=times)


class Build:
    """A build whose waiting lets the world go on; it can be interrupted after so many rounds."""

    def __init__(self, world: World, limit: int = 5, rounds: int | None = None) -> None:
        self.world = world
        self.runner = Runner(world.operations)
        self.left = rounds
        self.most = 0
        self.told: list[tuple[str, str]] = []
        app = Application(replace(world.app.ports, training=self.runner), world.fleet)
        self.build = TrainingBuild(app, limit, poll_seconds=60, sleep=self._wait)

    def run(self, names: Sequence[str] = NAMES, change: Change = CHANGE) -> dict[str, TrainingRun]:
        return dict(self.build.run(names, change, lambda run: self.told.append((run.circuit, run.phase))))

    def _wait(self, seconds: float) -> None:
        self.most = max(self.most, len(self.world.operations.running(TRAINING)))
        if self.left is not None:
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
        self.world.run(minutes=seconds / 60)


def started(world: World) -> int:
    return sum(operation.purpose == TRAINING for operation in world.operations.started.values())


def test_every_circuit_is_trained_and_never_more_at_once_than_there_are_slots(world: World) -> None:
    build = Build(world)
    runs = build.run()
    assert list(NAMES) == sorted(runs) and {run.phase for run in runs.values()} == {Phase.TRAINED}
    assert (build.most, started(world)) == (5, 12)
    assert sorted(build.told) == sorted((n, phase) for n in NAMES for phase in (Phase.TRAINING, Phase.TRAINED))
    assert Slots(world.store, world.clock).holders(SLOTS) == []


def test_a_new_model_is_compared_with_the_one_that_served_when_it_was_asked_for(world: World) -> None:
    build = Build(world)
    build.run(NAMES[:1])
    assert build.runner.champion is None
    world.go_live(circuit=NAMES[0])
    build.run(NAMES[:1], Change("8ab3e4410c6d", "tess", ""))
    assert build.runner.champion == 1


def test_a_second_build_for_the_same_commit_trains_nothing_and_tells_how_it_ended(world: World) -> None:
    Build(world).run()
    again = Build(world)
    assert again.build.trained(NAMES, CHANGE) == set(NAMES)
    assert not again.build.trained(NAMES, replace(CHANGE, commit="8ab3e4410c6d"))
    runs = again.run()
    assert {run.model_version for run in runs.values()} == {1} and started(world) == 12
    assert sorted(again.told) == [(name, Phase.TRAINED) for name in sorted(NAMES)]


def test_two_builds_share_the_slots(world: World) -> None:
    world.operations.fate_of = lambda purpose: Fate(minutes=20)
    with pytest.raises(KeyboardInterrupt):
        Build(world, limit=2, rounds=1).run(NAMES[:4])
    other = Build(world, limit=2)
    other.run(NAMES[8:10], Change("8ab3e4410c6d", "tess", ""))
    assert other.most <= 2


def test_an_interrupted_build_goes_on_with_the_trainings_it_finds(world: World) -> None:
    with pytest.raises(KeyboardInterrupt):
        Build(world, rounds=2).run()
    assert 0 < started(world) < 12
    Build(world).run()
    assert started(world) == 12


def test_a_training_that_breaks_does_not_stop_the_others_and_says_why(world: World) -> None:
    world.fate(TRAINING, Fate(state=OperationState.FAILED))
    runs = Build(world).run()
    ended = sorted(run.phase for run in runs.values())
    assert ended == [Phase.ERRORED] + [Phase.TRAINED] * 11
    (broken,) = [run for run in runs.values() if run.phase == Phase.ERRORED]
    assert "broke" in broken.reason


def test_a_training_that_the_runner_refuses_is_an_error_of_that_circuit_alone(world: World) -> None:
    build = Build(world)
    build.runner.refuses = NAMES[3]
    runs = build.run()
    assert runs[NAMES[3]].reason == "the environment does not exist"
    assert sum(run.phase == Phase.TRAINED for run in runs.values()) == 11
    assert Slots(world.store, world.clock).holders(SLOTS) == []


def test_an_outage_costs_time_and_no_training(world: World) -> None:
    build = Build(world)
    build.runner.silent_looks = 6
    runs = build.run()
    assert {run.phase for run in runs.values()} == {Phase.TRAINED} and started(world) == 12


def test_what_a_deadline_ended_gives_its_slot_back(world: World) -> None:
    world.operations.fate_of = lambda purpose: Fate(state=OperationState.RUNNING)
    with pytest.raises(KeyboardInterrupt):
        Build(world, limit=1, rounds=1).run(NAMES[:1])
    world.run(hours=7)
    world.operations.fate_of = lambda purpose: Fate()
    runs = Build(world, limit=1).run(NAMES[:2])
    assert (runs[NAMES[0]].attempt, runs[NAMES[1]].attempt) == (2, 1)
    assert {run.phase for run in runs.values()} == {Phase.TRAINED}
    assert Slots(world.store, world.clock).holders(SLOTS) == []


def test_a_build_that_is_run_again_tries_anew_what_did_not_end_well_and_only_that(world: World) -> None:
    world.fate(TRAINING, Fate(state=OperationState.FAILED), Fate(state=OperationState.FAILED))
    first = Build(world).run(NAMES[:3])
    assert sorted(run.phase for run in first.values()) == [Phase.ERRORED, Phase.ERRORED, Phase.TRAINED]
    again = Build(world).run(NAMES[:3])
    assert {run.phase for run in again.values()} == {Phase.TRAINED} and started(world) == 5
    assert sorted(run.attempt for run in again.values()) == [1, 2, 2]


def test_a_training_that_ended_well_after_it_was_given_up_is_taken_and_not_repeated(world: World) -> None:
    world.fate(TRAINING, Fate(minutes=8 * 60))
    with pytest.raises(KeyboardInterrupt):
        Build(world, rounds=1).run(NAMES[:1])
    world.run(hours=10)
    (run,) = Build(world).run(NAMES[:1]).values()
    assert (run.phase, run.attempt, started(world)) == (Phase.TRAINED, 2, 1)


def test_the_slots_of_a_build_that_died_are_free_after_their_lease(world: World) -> None:
    world.operations.fate_of = lambda purpose: Fate(state=OperationState.RUNNING)
    with pytest.raises(KeyboardInterrupt):
        Build(world, limit=2, rounds=1).run(NAMES[:2])
    slots = Slots(world.store, world.clock)
    assert len(slots.holders(SLOTS)) == 2
    world.clock.advance_to(world.now() + SLOT_LEASE + timedelta(seconds=1))
    assert slots.holders(SLOTS) == []


@pytest.mark.parametrize("commit", ["", "abc", "main", "../../x", "5F1C7D9E02AB", "g" * 12, "0" * 41, "5f1c7d9\n"])
def test_a_commit_that_is_none_is_refused(commit: str) -> None:
    with pytest.raises(Invalid, match="hexadecimal"):
        Change(commit, "tess", "")


@pytest.mark.parametrize("author", ["", "  "])
def test_somebody_must_have_changed_it(author: str) -> None:
    with pytest.raises(Invalid, match="author"):
        Change("5f1c7d9e02ab", author, "")


def test_circuits_that_are_not_configured_are_named_before_anything_starts(world: World) -> None:
    with pytest.raises(Invalid, match="P009_C001, X"):
        Build(world).run([NAMES[0], "X", "P009_C001"])
    assert not world.operations.started and not world.items(NAMES[0])
