"""A training run: one circuit trained for one config commit, started by a build."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from shared.domain import messages as m
from shared.domain.alerts.causes import Cause, warning
from shared.domain.machine import Item, Kind, Then


class Phase(StrEnum):
    """Where a training stands. It is requested before a slot is free, and training from the runner's answer on."""

    REQUESTED = "requested"
    TRAINING = "training"
    TRAINED = "trained"
    ERRORED = "errored"


class TrainingRun(Item):
    """Times are the job's own (UTC): they prove how many ran at once.

    champion: the model version that served when the training was asked for, which the new one is compared with.
    """

    circuit: str
    commit: str
    author: str
    pull_request: str
    attempt: int = 1
    champion: int | None = None
    reference: str = ""
    model_version: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


def training_id(circuit: str, commit: str, attempt: int) -> str:
    """`P001_C001~3f2a91c`, and `P001_C001~3f2a91c~2` for the second attempt."""
    return f"{circuit}~{commit[:12]}" + (f"~{attempt}" if attempt > 1 else "")


TRAINING = Kind(
    name="training run",
    letter="T",
    item=TrainingRun,
    table={
        (None, m.TrainingRequested): Then(Phase.REQUESTED),
        (Phase.REQUESTED, m.TrainingStarted): Then(Phase.TRAINING),
        (Phase.REQUESTED, m.TrainingFailed): Then(Phase.ERRORED, raises=warning(Cause.TRAINING)),
        (Phase.TRAINING, m.TrainingSucceeded): Then(Phase.TRAINED, clears=(Cause.TRAINING,)),
        (Phase.TRAINING, m.TrainingFailed): Then(Phase.ERRORED, raises=warning(Cause.TRAINING)),
        (Phase.REQUESTED, m.DeadlinePassed): Then(Phase.ERRORED, raises=warning(Cause.TRAINING)),
        (Phase.TRAINING, m.DeadlinePassed): Then(Phase.ERRORED, raises=warning(Cause.TRAINING)),
    },
    ends=frozenset({Phase.TRAINED, Phase.ERRORED}),
    deadlines={Phase.REQUESTED: timedelta(hours=12), Phase.TRAINING: timedelta(hours=6)},
)
