"""The fleet as a whole: whether it is stopped, so that no release enters any circuit's production."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from shared.domain import messages as m
from shared.domain.alerts.causes import Cause, critical, warning
from shared.domain.alerts.draft import AlertingDraft
from shared.domain.alerts.messages import Evidence
from shared.domain.machine import Decision, Item, Kind, Line, NotAllowed, NotNow, Root, Table, Then
from shared.domain.rules import Rules

ROOT = "fleet"


class Phase(StrEnum):
    """Whether the stop stands."""

    STANDING = "standing"
    LIFTED = "lifted"


class Stop(Item):
    """Who stopped the fleet and why."""

    by: str
    why: str
    lifted_by: str = ""


class TroublePhase(StrEnum):
    """Whether a trouble lasts; news are over at once, and their alert when somebody has read it."""

    LASTING = "lasting"
    OVER = "over"


class Trouble(Item):
    """Something that is wrong with the fleet as a whole and that no circuit can see; `count` is how often."""

    count: int = 0


class FleetState(Root):
    """`stopped` says by whom and why, while it is; `stops` and `troubles` count.

    `letter` is the id of the newest dead letter that people were told of; newer ones sort before it.
    """

    stopped: str = ""
    stop: str = ""
    stops: int = 0
    trouble: str = ""
    troubles: int = 0
    letter: str = ""


TABLE: Table = {
    (None, m.FleetStopped): Then(Phase.STANDING),
    (Phase.STANDING, m.FleetResumed): Then(Phase.LIFTED),
    # People hear of a stop that nobody lifts, every day.
    (Phase.STANDING, m.DeadlinePassed): Then(Phase.STANDING, raises=critical(Cause.FLEET_STOPPED)),
}

STOP = Kind(
    name="stop",
    letter="X",
    item=Stop,
    table=TABLE,
    ends=frozenset({Phase.LIFTED}),
    deadlines={Phase.STANDING: timedelta(days=1)},
    new_attempts=(m.DeadlinePassed,),
)
_OFTEN = critical(Cause.TRAINING_FAILURES)
TROUBLE = Kind(
    name="trouble",
    letter="J",
    item=Trouble,
    table={
        (None, m.LettersKept): Then(TroublePhase.OVER, raises=warning(Cause.DEAD_LETTERS)),
        (None, m.TrainingsFailOften): Then(TroublePhase.LASTING, raises=_OFTEN),
        (TroublePhase.LASTING, m.TrainingsFailOften): Then(TroublePhase.LASTING, raises=_OFTEN),
        (TroublePhase.LASTING, m.TrainingsFailSeldom): Then(TroublePhase.OVER),
        (TroublePhase.LASTING, m.DeadlinePassed): Then(TroublePhase.OVER),
    },
    ends=frozenset({TroublePhase.OVER}),
    deadlines={TroublePhase.LASTING: timedelta(days=7)},
)
KINDS: dict[type[Item], Kind] = {Stop: STOP, Trouble: TROUBLE}


def decide(fleet: FleetState, items: Mapping[str, Item], event: m.Event, rules: Rules, now: datetime) -> Decision:
    """Everything the event changes about the fleet's stop."""
    return FleetDraft(fleet, items, rules, now).decide(event)


class FleetDraft(AlertingDraft):
    """The fleet while one event is followed."""

    root: FleetState

    def hear(self, event: m.Event) -> None:
        """A stop is what its item says."""

    def classify(self, event: m.Event) -> Sequence[Line]:
        stop = self.items.get(self.root.stop)
        if isinstance(event, m.Outcome):
            item = self.items.get(event.item)
            if item is None or event.step != item.step:
                raise NotNow(f"{event.item} has moved on since {event.command_id} was given")
            return [Line(KINDS[type(item)], event, item.id)]
        if isinstance(event, m.FailuresCounted):
            return [self._failures(event)]
        if isinstance(event, m.LettersKept):
            if self.root.letter and event.newest >= self.root.letter:
                raise NotNow("people were told of it")
            return [Line(TROUBLE, event, created=self._begun())]
        if isinstance(event, m.FleetStopped):
            if stop:
                raise NotNow(f"the fleet is {self.root.stopped}")
            return [Line(STOP, event, created={"id": f"stop.{self.root.stops + 1}"})]
        if isinstance(event, m.FleetResumed):
            if stop is None:
                raise NotNow("the fleet is not stopped")
            return [Line(STOP, event, stop.id)]
        raise NotAllowed(f"the fleet does not hear {type(event).__name__}")

    def _failures(self, event: m.FailuresCounted) -> Line:
        known = self.items.get(self.root.trouble)
        if event.failed <= self.rules.training_failures:
            if known is None:
                raise NotNow(f"{event.failed} trainings failed within a day, and {self.rules.training_failures} may")
            return Line(TROUBLE, m.TrainingsFailSeldom(**event.model_dump()), known.id)
        if isinstance(known, Trouble) and known.count >= event.failed:
            raise NotNow("no more have failed since")
        often = m.TrainingsFailOften(**event.model_dump())
        return Line(TROUBLE, often, known.id) if known else Line(TROUBLE, often, created=self._begun())

    def _begun(self) -> dict[str, str]:
        return {"id": f"{self.root.id}!trouble.{self.root.troubles + 1}"}

    def says(self, item: Item) -> str:
        return self.root.stopped if isinstance(item, Stop) else super().says(item)

    def evidence(self, item: Item) -> Evidence:
        if isinstance(item, Trouble) and item.phase == TroublePhase.LASTING:
            return Evidence(measured={"failed": item.count}, limits={"failed": self.rules.training_failures})
        return super().evidence(item)

    def settle(self, item: Item, event: m.Event) -> None:
        if isinstance(event, m.FleetStopped):
            stopped = f"stopped by {event.person.username}: {event.reason}"
            changed = {"stopped": stopped, "stop": item.id, "stops": self.root.stops + 1}
            self.root = self.root.model_copy(update=changed)
        if isinstance(item, Trouble):
            self._settle_trouble(item, event)
        if item.phase == Phase.LIFTED:
            self.root = self.root.model_copy(update={"stopped": "", "stop": ""})

    def _settle_trouble(self, trouble: Trouble, event: m.Event) -> None:
        changed: dict[str, str | int] = {"trouble": trouble.id if trouble.phase == TroublePhase.LASTING else ""}
        if isinstance(event, m.LettersKept):
            changed = {"letter": event.newest}
        if trouble.sequence == 1:
            changed["troubles"] = self.root.troubles + 1
        self.root = self.root.model_copy(update=changed)

    def delay(self, item: Item) -> timedelta:
        return timedelta(0)
