"""The fleet as a whole: whether it is stopped, so that no release enters any circuit's production."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from shared.domain import messages as m
from shared.domain.alerts.causes import Cause, critical
from shared.domain.alerts.draft import AlertingDraft
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


class FleetState(Root):
    """`stopped` says by whom and why, while it is; `stops` counts."""

    stopped: str = ""
    stop: str = ""
    stops: int = 0


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
KINDS: dict[type[Item], Kind] = {Stop: STOP}


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
            if stop is None or (event.item, event.step) != (stop.id, stop.step):
                raise NotNow(f"{event.item} has moved on since {event.command_id} was given")
            return [Line(STOP, event, stop.id)]
        if isinstance(event, m.FleetStopped):
            if stop:
                raise NotNow(f"the fleet is {self.root.stopped}")
            return [Line(STOP, event, created={"id": f"stop.{self.root.stops + 1}"})]
        if isinstance(event, m.FleetResumed):
            if stop is None:
                raise NotNow("the fleet is not stopped")
            return [Line(STOP, event, stop.id)]
        raise NotAllowed(f"the fleet does not hear {type(event).__name__}")

    def says(self, item: Item) -> str:
        return self.root.stopped

    def settle(self, item: Item, event: m.Event) -> None:
        if isinstance(event, m.FleetStopped):
            stopped = f"stopped by {event.person.username}: {event.reason}"
            changed = {"stopped": stopped, "stop": item.id, "stops": self.root.stops + 1}
            self.root = self.root.model_copy(update=changed)
        if item.phase == Phase.LIFTED:
            self.root = self.root.model_copy(update={"stopped": "", "stop": ""})

    def delay(self, item: Item) -> timedelta:
        return timedelta(0)
