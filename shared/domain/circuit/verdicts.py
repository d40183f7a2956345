"""Verdicts of monitoring: what they leave with the circuit, and the standing item that they begin and end."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, TypeVar, cast

from shared.domain import messages as m
from shared.domain.alerts.messages import Evidence
from shared.domain.circuit.draft import Part
from shared.domain.drift import Drift, DriftCheck
from shared.domain.machine import Line
from shared.domain.monitoring import messages as mm
from shared.domain.performance import Degradation, PerformanceCheck
from shared.domain.persistence import Judged, remembered

Check = PerformanceCheck | DriftCheck
CheckT = TypeVar("CheckT", PerformanceCheck, DriftCheck)
StandingT = TypeVar("StandingT", Degradation, Drift)


class Verdicts(Part[CheckT]):
    """One run's verdicts of a kind; each is at its end when it is given."""

    @abstractmethod
    def tail(self, check: CheckT) -> str:
        """The field of the circuit in which the newest such verdicts are remembered."""

    def settle(self, item: CheckT, event: m.Event) -> None:
        judged = Judged(
            check=item.id,
            period=item.period.name,
            last=item.period.last,
            verdict=item.phase,
            model=item.finding.model,
            shown_at=item.finding.shown_at,
        )
        tail = self.tail(item)
        self.draft.update(**{tail: remembered(getattr(self.root, tail), judged)})

    def delay(self, item: CheckT) -> timedelta:
        return timedelta(0)


class Standings(Part[StandingT]):
    """What persisting verdicts say of the model that serves: open once at most, over with better ones or another model.

    `count`: the field of the circuit that counts them. `replaced`: what ends one when another model serves.
    """

    count: ClassVar[str]
    replaced: ClassVar[type[mm.StandingChanged]]

    @abstractmethod
    def identity(self, number: int) -> str:
        """The id of the circuit's n-th such item."""

    def standing(self) -> StandingT | None:
        """The one that is open."""
        return next(
            (cast(StandingT, item) for item in self.draft.items.values() if isinstance(item, self.kind.item)), None
        )

    def classify(self, event: Any) -> list[Line]:
        return []

    def changed(self, check: Check) -> dict[str, Any]:
        """The fields of any change that a verdict makes."""
        evidence = Evidence(
            measured=check.finding.numbers,
            limits=self.limits(check),
            promised=self.promised(check),
            period=check.period.name,
            report=f"api/circuits/{check.circuit}/checks/{check.run}/report" if check.finding.report else "",
        )
        return {"root": self.root.id, "check": check.id, "reason": check.finding.reason, "evidence": evidence}

    @abstractmethod
    def limits(self, check: Check) -> Mapping[str, float]:
        """What the numbers of a verdict may be at most."""

    def promised(self, check: Check) -> Mapping[str, float]:
        """What the model's backtest promised of them."""
        return {}

    def evidence(self, item: StandingT) -> Evidence:
        return item.evidence

    def line(self, standing: StandingT | None, changed: mm.StandingChanged, check: Check) -> Line:
        """The change of the one that is open, or the beginning of one."""
        if standing:
            return Line(self.kind, changed, standing.id)
        identity = self.identity(getattr(self.root, self.count) + 1)
        return Line(self.kind, changed, created={"id": identity, "circuit": self.root.id, "model": check.finding.model})

    def about_what_serves(self, check: Check) -> bool:
        """Whether a verdict is about the model that serves now; nothing follows from one about a former model."""
        return check.finding.model in (None, self._serves())

    def champion_changed(self, by: str) -> Iterable[Line]:
        standing = self.standing()
        if standing is not None and standing.model != self._serves():
            reason = f"{by} put {self.root.serving or 'nothing'} into production"
            over = self.replaced(root=self.root.id, check=standing.check, reason=reason)
            yield Line(self.kind, over, standing.id)

    def settle(self, item: StandingT, event: m.Event) -> None:
        if item.sequence == 1:
            self.draft.update(**{self.count: getattr(self.root, self.count) + 1})

    def delay(self, item: StandingT) -> timedelta:
        return timedelta(0)

    def _serves(self) -> int | None:
        return self.root.serving.model if self.root.serving else None


def of_model(tail: Sequence[Judged], model: int | None) -> list[Judged]:
    """The verdicts of a tail about one model, and those that name none."""
    return [judged for judged in tail if judged.model in (None, model)]
