"""Persistence: how often a verdict has to come back before it stands for something."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

from pydantic import Field, model_validator

from shared.domain.values import Value

TAIL = 12
"""Verdicts of one kind that a circuit remembers on its row; the newest periods."""


class Judged(Value):
    """One verdict as the circuit remembers it: of which period, about which model, and in which check it is told.

    `shown_at`: where AzureML shows a run that was its own monitor's.
    """

    check: str
    period: str
    last: date
    verdict: str
    model: int | None = None
    shown_at: str = ""


class Persistence(Value):
    """`bad` of the last `of` verdicts; one that cannot say takes its place among them, and is neither bad nor good."""

    bad: int = Field(default=1, ge=1, le=TAIL)
    of: int = Field(default=1, ge=1, le=TAIL)

    @model_validator(mode="after")
    def _possible(self) -> Persistence:
        if self.bad > self.of:
            raise ValueError(f"bad ({self.bad}) of the last {self.of} verdicts can never be: at most {self.of}")
        return self

    def holds(self, tail: Sequence[Judged], bad: Iterable[str]) -> bool:
        """Whether so many of the last verdicts of a tail, newest first, are among `bad`."""
        wanted = frozenset(bad)
        return sum(judged.verdict in wanted for judged in tail[: self.of]) >= self.bad


class PersistenceRules(Value):
    """How often each verdict has to come back; periods are those of the schedule that gives it."""

    performance_warning: Persistence = Persistence(bad=2, of=3)
    performance_critical: Persistence = Persistence()
    drift: Persistence = Persistence()
    drift_warning: Persistence = Persistence()


def remembered(tail: Sequence[Judged], judged: Judged) -> tuple[Judged, ...]:
    """The tail, newest period first, with one more verdict; told again, a period's newer verdict takes its place."""
    others = [known for known in tail if known.period != judged.period]
    return tuple(sorted([judged, *others], key=lambda known: known.last, reverse=True)[:TAIL])
