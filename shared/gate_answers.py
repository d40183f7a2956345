"""Answers to gates: a person's decision of one gate, or of many at once, each recorded by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.application import Application
from shared.domain.approvals import UNCOUNTED
from shared.domain.machine import Verdict
from shared.domain.messages import ApprovalDecided
from shared.errors import Transient
from shared.queries import Queries


@dataclass(frozen=True)
class Taken:
    """What became of an answer: `moved` by it is the release, unless it was `refused` with a code of `machine`.

    An approval that was recorded and does not count has `counts` false; `note` says why, or what goes on only later.
    """

    moved: Sequence[Mapping[str, Any]] = ()
    counts: bool = True
    note: str = ""
    refused: str = ""


class GateAnswers:
    """Takes answers by the rules of the release that each is about."""

    def __init__(self, application: Application, queries: Queries) -> None:
        self._application = application
        self._queries = queries

    def take(self, answer: ApprovalDecided) -> Taken:
        """Record one answer; told again it moves nothing."""
        advanced = self._application.advance(answer)
        if advanced.verdict is not Verdict.REFUSED:
            moved = [{"event": line.event, "phase": line.after} for line in advanced.history]
            told = advanced.history[0].detail if advanced.history else {"counts": advanced.code != UNCOUNTED}
            return Taken(moved, told.get("counts", True), str(told.get("note", advanced.reason)))
        if not self._queries.was_asked(answer.approval):
            return Taken(note=f"nobody was ever asked for approval {answer.approval!r}", refused="unknown")
        return Taken(note=advanced.reason, refused=advanced.code)

    def take_all(self, answers: Sequence[ApprovalDecided]) -> Mapping[str, Taken]:
        """Record each answer in a transaction of its own; what became of each, by approval.

        From the first that the store cannot take now, the rest is left ("unavailable"): sending all again records them.
        """
        results: dict[str, Taken] = {}
        for answer in answers:
            try:
                results[answer.approval] = self.take(answer)
            except Transient:
                later = Taken(note="something this needs does not answer now: send it again", refused="unavailable")
                return results | {left.approval: later for left in answers[len(results) :]}
        return results
