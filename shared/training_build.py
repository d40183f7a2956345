"""The build's training: the circuits that a commit changed, never more at once than there are slots.

A build is a program that people and pipelines run, so it may wait. What it has done lies in the state: started again
after an interruption it goes on with the trainings it finds, and trains nothing twice for one commit.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from shared import records
from shared.application import Application
from shared.domain import messages as m
from shared.domain.training import TRAINING, Phase, TrainingRun, training_id
from shared.domain.values import OperationState
from shared.errors import Invalid, Permanent, Transient
from shared.slots import TRAINING as TRAINING_SLOTS

log = logging.getLogger("fleet.training")

SLOT_LEASE = timedelta(minutes=30)
"""Renewed with every look; a build that died frees its slots after it."""


@dataclass(frozen=True)
class Change:
    """What is trained and for whom: the commit that changed the configuration, its author and pull request.

    Raises `Invalid` for a commit that is none and for an author who is not named: nobody could tell then who may not
    be the only one to approve.
    """

    commit: str
    author: str
    pull_request: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{7,40}", self.commit):
            raise Invalid("commit", f"is {self.commit!r:.60}", "7 to 40 hexadecimal digits")
        if not self.author.strip():
            raise Invalid("author", "is empty", "the user name of who changed the configuration")


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
            raise Invalid("circuits", f"not configured: {', '.join(unknown)}", "circuits of plants_circuits.yml")
        for circuit in circuits:
            asked = m.TrainingRequested(
                root=circuit, commit=change.commit, author=change.author, pull_request=change.pull_request
            )
            self._application.advance(asked)
        known: dict[str, str] = dict.fromkeys(circuits, Phase.REQUESTED)
        ended: dict[str, TrainingRun] = {}
        while True:
            for circuit in [circuit for circuit in known if circuit not in ended]:
                run = self._step(circuit, change)
                if run is None:
                    continue
                if run.phase != known[circuit]:
                    known[circuit] = run.phase
                    told(run)
                if run.phase in TRAINING.ends:
                    ended[circuit] = run
            if len(ended) == len(known):
                return ended
            self._sleep(self._poll_seconds)

    def _step(self, circuit: str, change: Change) -> TrainingRun | None:
        """Start a training that has a slot, or look at one that runs; None: something did not answer, look again."""
        try:
            run = self._find(circuit, change)
            if run.phase == Phase.REQUESTED and self._slot(run):
                self._start(run)
            elif run.phase == Phase.TRAINING and self._slot(run):
                self._look(run)
            run = self._find(circuit, change)
            if run.phase in TRAINING.ends:  # also one that its deadline ended, or that an earlier build left
                self._application.slots.release(TRAINING_SLOTS, run.id)
        except Transient as error:
            log.warning("the training of %s is looked at again: %s", circuit, error)
            return None
        return run

    def _slot(self, run: TrainingRun) -> bool:
        return self._application.slots.acquire(TRAINING_SLOTS, run.id, self._limit, SLOT_LEASE)

    def _start(self, run: TrainingRun) -> None:
        runner = self._application.ports.training
        outcome: m.Outcome
        try:
            reference = runner.start(f"{run.id}.train", run.circuit, run.commit, run.author, run.pull_request)
            outcome = m.TrainingStarted(**_outcome(run), reference=reference)
        except Permanent as error:
            outcome = m.TrainingFailed(**_outcome(run), error=str(error))
        self._application.advance(outcome)

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
            error = status.error or f"{run.reference} is {status.state} and tells no model version, or not when it ran"
            outcome = m.TrainingFailed(**_outcome(run), error=error)
        self._application.advance(outcome)

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
