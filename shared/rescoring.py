"""Rescoring: what people ask of the ledger. A day filled, a day scored once more, a bad model's forecasts made anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from shared.advance import Advanced
from shared.application import Application
from shared.domain import messages as m
from shared.domain.lake import ROOT as LAKE
from shared.domain.lake import fill_id
from shared.domain.machine import Verdict
from shared.domain.retention import Kept
from shared.domain.scoring import SCORING, scoring_id
from shared.errors import Invalid
from shared.ledger import Ledger


@dataclass(frozen=True)
class Asked:
    """Who asks for a scoring, and why."""

    by: str
    comment: str = ""


class Rescoring:
    """Scorings by command. Every one is a run beside the day's former ones, whose attempts are kept."""

    def __init__(self, application: Application, ledger: Ledger) -> None:
        self._application = application
        self._ledger = ledger

    def to_fill(self, day: date) -> Mapping[str, str]:
        """The circuits that a fill of the day would score, each with the run that would. Raises `Invalid`."""
        self._origin(LAKE, day)
        return self._ledger.to_fill(day)

    def fill(self, day: date, asked: Asked) -> tuple[str, Mapping[str, str]]:
        """Have every circuit score the day whose forecast was not published.

        Returns the id of what goes through them, and the circuits with their runs. Safe to ask again: a circuit whose
        forecast stands, or is under way, is left alone. Raises `Invalid`.
        """
        now = self._application.ports.clock.now()
        origin = self._origin(LAKE, day)
        event = m.DayFillAsked(root=LAKE, origin=origin, asked_by=asked.by, asked_at=now, comment=asked.comment)
        found = self._ledger.to_fill(day)
        self._application.advance(event)
        return fill_id(origin, now), found

    def score(self, circuit: str, day: date, asked: Asked) -> tuple[str, Advanced]:
        """Have one circuit score a day with what serves it now, also where a forecast stands.

        Returns the id of the run that does, which may be one that was under way, and what came of it. Raises `Invalid`.
        """
        runs = self._ledger.day(circuit, day)
        run, advanced = self._score(circuit, self._origin(circuit, day), len(runs) + 1, asked)
        under_way = (known.run for known in runs if known.phase not in SCORING.ends)
        return (next(under_way, run) if advanced.verdict is Verdict.IGNORED else run), advanced

    def score_again(self, circuit: str, model: int, first: date, last: date, asked: Asked) -> Mapping[str, Any]:
        """Have what serves score every day of a span anew whose standing forecast is the model's.

        Returns what scores them, the runs asked for, and the days that are left with the reason: so many scorings of a
        circuit run at once, and asking again later goes on with the rest. Raises `Invalid`.
        """
        serving = self._ledger.serving(circuit)
        if serving is None or serving.model == model:
            problem = f"{model} is what serves {circuit}" if serving else f"nothing serves {circuit}"
            raise Invalid("model", f"{problem}: nothing would be better", "a version that something else replaced")
        found: dict[str, Any] = {"by": str(serving), "asked": [], "left": {}}
        for run in self._ledger.standing_of(circuit, model, first, last):
            number = len(self._ledger.day(circuit, run.origin.date())) + 1
            identity, advanced = self._score(circuit, run.origin, number, asked)
            if advanced.verdict is Verdict.APPLIED:
                found["asked"].append(identity)
            else:
                found["left"][f"{run.origin:%Y-%m-%d}"] = advanced.reason
        return found

    def _score(self, circuit: str, origin: datetime, number: int, asked: Asked) -> tuple[str, Advanced]:
        event = m.ScoringRequested(root=circuit, origin=origin, number=number, asked_by=asked.by, comment=asked.comment)
        return scoring_id(circuit, origin, number), self._application.advance(event)

    def _origin(self, root: str, day: date) -> datetime:
        """The day's forecast origin: not in the future, nor before the first readings or what the ledger keeps."""
        directory, now = self._application.directory, self._application.ports.clock.now()
        newest, kept = directory.rules(root).origin(now), directory.retention.before(Kept.LEDGER, now)
        if day > newest.date():
            raise Invalid("day", f"is {day}, and its forecast origin has not come", f"{newest:%Y-%m-%d} or before")
        if day < kept:
            allowed = f"{kept} to {newest:%Y-%m-%d}"
            raise Invalid("day", f"is {day}, and the ledger keeps {directory.retention.ledger_days} days", allowed)
        first = self._application.ports.lake.first_day()
        if first is not None and day < first:
            raise Invalid("day", f"is {day}, and there are no readings before {first}", f"{first} to {newest:%Y-%m-%d}")
        return newest.replace(year=day.year, month=day.month, day=day.day)
