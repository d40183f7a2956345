"""The build's training: the circuits that a commit changed, never more at once than there are slots.

A build is a program that people and pipelines run, so it may wait. What it has done lies in the state: started again
after an interruption it goes on with the trainings it finds, and trains nothing twice for one commit; what did not end
well is tried anew.
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
        attempts = {circuit: self._request(circuit, change) for circuit in circuits}
        known: dict[str, str] = dict.fromkeys(circuits, Phase.REQUESTED)
        ended: dict[str, TrainingRun] = {}
        while True:
            for circuit in [circuit for circuit in known if circuit not in ended]:
                run = self._step(circuit, change, attempts[circuit])
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

    def trained(self, circuits: Sequence[str], change: Change) -> frozenset[str]:
        """Those of the circuits that have been trained for the change, so that `run` trains them no more."""
        newest = {circuit: self._newest(circuit, change)[1] for circuit in circuits}
        return frozenset(circuit for circuit, run in newest.items() if run and run.phase == Phase.TRAINED)

    def _newest(self, circuit: str, change: Change) -> tuple[int, TrainingRun | None]:
        """The attempt that counts, and what became of it; none after one that did not end well."""
        attempt = 1
        while (run := self._find(circuit, change, attempt)) and run.phase == Phase.ERRORED:
            attempt += 1
        return attempt, run

    def _request(self, circuit: str, change: Change) -> int:
        """Ask for the training unless that was done; returns its attempt, a new one if the last did not end well."""
        attempt, _ = self._newest(circuit, change)
        asked = m.TrainingRequested(
            root=circuit,
            commit=change.commit,
            author=change.author,
            pull_request=change.pull_request,
            attempt=attempt,
        )
        self._application.advance(asked)
        return attempt

    def _step(self, circuit: str, change: Change, attempt: int) -> TrainingRun | None:
        """Start a training that has a slot, or look at one that runs; None: something did not answer, look again."""
        try:
            run = self._requested(circuit, change, attempt)
            if run.phase == Phase.REQUESTED and self._slot(run):
                self._start(run, self._find(circuit, change, attempt - 1) if attempt > 1 else None)
            elif run.phase == Phase.TRAINING and self._slot(run):
                self._look(run)
            run = self._requested(circuit, change, attempt)
            if run.phase in TRAINING.ends:  # also one that its deadline ended, or that an earlier build left
                self._application.slots.release(TRAINING_SLOTS, run.id)
        except Transient as error:
            log.warning("the training of %s is looked at again: %s", circuit, error)
            return None
        return run

    def _slot(self, run: TrainingRun) -> bool:
        return self._application.slots.acquire(TRAINING_SLOTS, run.id, self._limit, SLOT_LEASE)

    def _start(self, run: TrainingRun, before: TrainingRun | None) -> None:
        """Start the job, unless that of the attempt before did end well, after it had been given up."""
        runner = self._application.ports.training
        outcome: m.Outcome
        try:
            if before and before.reference:
                if runner.look(before.reference).state is OperationState.SUCCEEDED:
                    self._application.advance(m.TrainingStarted(**_outcome(run), reference=before.reference))
                    return
                runner.cancel(before.reference)
            reference = runner.start(
                f"{run.id}.train", run.circuit, run.commit, run.author, run.pull_request, run.champion
            )
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

    def _requested(self, circuit: str, change: Change, attempt: int) -> TrainingRun:
        run = self._find(circuit, change, attempt)
        if run is None:
            identity = training_id(circuit, change.commit, attempt)
            raise Invalid("commit", f"there is no training {identity}", "a commit whose training was requested")
        return run

    def _find(self, circuit: str, change: Change, attempt: int) -> TrainingRun | None:
        store, identity = self._application.ports.store, training_id(circuit, change.commit, attempt)
        partition = store.shard_of(circuit)
        loaded = records.load(circuit, store.read_range(partition, *records.root_range(circuit)))
        item = loaded.items.get(identity)
        if item is None:
            row = store.read(partition, records.finished_key(circuit, TRAINING, identity))
            item = records.item_from(row) if row else None
        return item if isinstance(item, TrainingRun) else None


def _outcome(run: TrainingRun) -> dict[str, object]:
    return {"root": run.circuit, "item": run.id, "step": run.step, "command_id": f"{run.id}.{run.step}"}
