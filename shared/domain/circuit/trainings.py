"""Trainings: one for each configuration commit that a build asks for."""

from __future__ import annotations

from datetime import timedelta

from shared.domain import messages as m
from shared.domain.circuit.draft import Part
from shared.domain.machine import Line, NotNow
from shared.domain.training import TRAINING, TrainingRun, training_id


class Trainings(Part[TrainingRun]):
    kind = TRAINING
    hears = (m.TrainingRequested,)

    def classify(self, event: m.TrainingRequested) -> list[Line]:
        identity = training_id(self.root.id, event.commit, event.attempt)
        if identity in self.draft.items:
            raise NotNow(f"{identity} is under way")
        created = {
            "id": identity,
            "circuit": self.root.id,
            "commit": event.commit,
            "author": event.author,
            "pull_request": event.pull_request,
            "attempt": event.attempt,
            "champion": self.root.serving.model if self.root.serving else None,
        }
        return [Line(TRAINING, event, created=created)]

    def delay(self, item: TrainingRun) -> timedelta:
        return timedelta(0)
