"""The build's training: the circuits that a commit changed, never more at once than there are slots.

A build is a program that people and pipelines run, so it may wait. What it has done lies in the state: started again
after an interruption it goes on with the trainings it finds, and trains nothing twice for one commit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from shared import records
from shared.application import Application
from shared.domain import messages as m
from shared.domain.training import TRAINING, Phase, TrainingRun, training_id
from shared.domain.values import OperationState
from shared.errors import Invalid, Transient
from shared.slots import TRAINING as TRAINING_SLOTS

SLOT_LEASE = timedelta(minutes=30)
"""Renewed with every look; a build that died frees its slots after it."""


@dataclass(frozen=True)
class Change:
    """What is trained and for whom: the commit that changed the configuration, its author and pull request."""

    commit: str
    author: str
    pull_request: str


class TrainingBuild:
    """Trains circuits through the runner port; `limit` is the policy's number of trainings at once, for all builds."""

    def __init__(
        self,
        application: Application,
        limit: int,
        poll_seconds: float = 10,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._application = application
        self._limit = limit
        self._poll_seconds = poll_seconds
        self._sleep = sleep

    def run(
        self, circuits: Sequence[str], change: Change, told: Callable[[TrainingRun], None] = lambda run: None
    ) -> Mapping[str, TrainingRun]:
        """Train every circuit for the change and return how each ended; `told` hears of every start and end."""
        unknown = sorted(set(circuits) - set(self._application.directory.circuits()))
        if unknown:
            raise Invalid("circuits", f"{', '.join(unknown)} are not configured", "circuits of plants_circuits.yml")
        for circuit in circuits:
            asked = m.TrainingRequested(
                root=circuit, commit=change.commit, author=change.author, pull_request=change.pull_request
            )
            self._application.advance(asked)
        left, ended = list(dict.fromkeys(circuits)), {}
        while left:
            for circuit in list(left):
                before = self._find(circuit, change)
                run = self._step(before)
                if run.phase != before.phase:
                    told(run)
                if run.phase in TRAINING.ends:
                    left.remove(circuit)
                    ended[circuit] = run
            if left:
                self._sleep(self._poll_seconds)
        return ended

    def _step(self, run: TrainingRun) -> TrainingRun:
        """Start a training that has a slot, or look at one that runs."""
        try:
            if run.phase == Phase.REQUESTED and self._slot(run):
                self._start(run)
            elif run.phase == Phase.TRAINING and self._slot(run):
                self._look(run)
        except Transient:
            return run  # looked at again with the next round
        return self._find(run.circuit, Change(run.commit, run.author, run.pull_request))

    def _slot(self, run: TrainingRun) -> bool:
        return self._application.slots.acquire(TRAINING_SLOTS, run.id, self._limit, SLOT_LEASE)

    def _start(self, run: TrainingRun) -> None:
        runner = self._application.ports.training
        reference = runner.start(f"{run.id}.train", run.circuit, run.commit, run.author, run.pull_request)
        self._application.advance(m.TrainingStarted(**_outcome(run), reference=reference))

    def _look(self, run: TrainingRun) -> None:
        status = self._application.ports.training.look(run.reference)
        if status.state is OperationState.RUNNING:
            return
        outcome: m.Outcome
        version = status.outputs.get("model_version", "")
        if status.state is OperationState.SUCCEEDED and version.isdigit() and status.started_at and status.ended_at:
            outcome = m.TrainingSucceeded(
                **_outcome(run), model_version=int(version), started_at=status.started_at, ended_at=status.ended_at
            )
        else:
            error = status.error or f"{run.reference} is {status.state} and names no model version"
            outcome = m.TrainingFailed(**_outcome(run), error=error)
        self._application.advance(outcome)
        self._application.slots.release(TRAINING_SLOTS, run.id)

    def _find(self, circuit: str, change: Change) -> TrainingRun:
        store, identity = self._application.ports.store, training_id(circuit, change.commit)
        partition = store.shard_of(circuit)
        loaded = records.load(circuit, store.read_range(partition, *records.root_range(circuit)))
        item = loaded.items.get(identity)
        if item is None:
            row = store.read(partition, records.finished_key(circuit, TRAINING, identity))
            item = records.item_from(row) if row else None
        if not isinstance(item, TrainingRun):
            raise Invalid("commit", f"there is no training {identity}", "a commit whose training was requested")
        return item


def _outcome(run: TrainingRun) -> dict[str, object]:
    return {"root": run.circuit, "item": run.id, "step": run.step, "command_id": f"{run.id}.{run.step}"}
