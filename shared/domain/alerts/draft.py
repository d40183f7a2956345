"""The draft of a root whose troubles people are told of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from shared.domain import messages as m
from shared.domain.alerts import messages as a
from shared.domain.alerts.alert import ALERT, CHANGES, Alert, Phase, alert_id, key_of
from shared.domain.alerts.causes import NEWS, Severity
from shared.domain.machine import Affair, Alarm, Draft, Item, Kind, Line, NotAllowed, NotNow, Root, Then
from shared.domain.rules import Rules


class AlertingDraft(Draft):
    """A draft that raises and clears the alerts that its tables name, in the same transaction."""

    def __init__(self, root: Root, items: Mapping[str, Item], rules: Rules, now: datetime) -> None:
        super().__init__(root, items, now)
        self.rules = rules
        self._alerts = _Alerts(self)

    def lines(self, event: m.Event) -> Sequence[Line]:
        if isinstance(event, a.AlertAcknowledged):
            return [self._alerts.acknowledged(event)]
        alert = self.items.get(event.item) if isinstance(event, m.Outcome) else None
        if isinstance(alert, Alert) and isinstance(event, m.Outcome):
            if alert.step != event.step:
                raise NotNow(f"{alert.id} has moved on since {event.command_id} was given")
            return [Line(ALERT, event, alert.id)]
        return self.classify(event)

    def affair_of(self, kind: Kind) -> Affair:
        return self._alerts if kind is ALERT else self

    def alarms(self, item: Item, then: Then, begun: bool) -> Iterable[Line]:
        if not isinstance(item, Alert):
            yield from self._alerts.told(item, then, begun)

    def says(self, item: Item) -> str:
        """What is wrong, in an alert that the item raises."""
        return item.reason or item.phase

    def evidence(self, item: Item) -> a.Evidence:
        """What an alert that the item raises rests on, in numbers; nothing where nothing was measured."""
        return a.Evidence()

    def subject(self, item: Item, cause: str) -> str:
        """What an alert that the item raises is about: two of one cause and subject are the same alert."""
        return self.root.id

    def concerns(self, item: Item) -> tuple[str, str]:
        """The plant and the circuit that such an alert names; empty where it is about no single one."""
        return "", ""


class _Alerts(Affair):
    def __init__(self, draft: AlertingDraft) -> None:
        self.draft = draft

    def _open(self) -> Iterator[Alert]:
        for item in list(self.draft.items.values()):
            if isinstance(item, Alert) and item.phase not in ALERT.ends:
                yield item

    def told(self, item: Item, then: Then, begun: bool) -> Iterator[Line]:
        """The alert that a move raises, and those that are over with it."""
        if then.raises:
            yield self._raised(item, then.raises)
        raised = then.raises.cause if then.raises else None
        for alert in self._open():
            if alert.cause == raised:
                continue
            cleared = alert.cause in then.clears and alert.key == self._key(item, alert.cause)
            if cleared or (begun and alert.about == item.id):
                yield Line(ALERT, a.AlertCleared(root=self.draft.root.id, by=f"{item.id} is {item.phase}"), alert.id)

    def _raised(self, item: Item, alarm: Alarm) -> Line:
        key, root = self._key(item, alarm.cause), self.draft.root
        known = next((alert for alert in self._open() if alert.key == key), None)
        severity = Severity(alarm.severity)
        worse = known is not None and severity is Severity.CRITICAL and known.severity is Severity.WARNING
        raised = (a.AlertWorsened if worse else a.AlertRaised)(
            root=root.id,
            severity=severity,
            about=item.id,
            reason=self.draft.says(item),
            evidence=self.draft.evidence(item),
        )
        if known:
            return Line(ALERT, raised, known.id)
        plant, circuit = self.draft.concerns(item)
        created = {
            "id": alert_id(root.id, root.alerts + 1),
            "key": key,
            "cause": alarm.cause,
            "severity": severity,
            "plant": plant,
            "circuit": circuit,
            "change": "raised",
            "count": 0,
            "changed_at": self.draft.now,
        }
        return Line(ALERT, raised, created=created)

    def _key(self, item: Item, cause: str) -> str:
        return key_of(cause, self.draft.subject(item, cause))

    def acknowledged(self, event: a.AlertAcknowledged) -> Line:
        alert = self.draft.items.get(event.alert)
        if not isinstance(alert, Alert):
            raise NotAllowed(f"there is no open alert {event.alert}", "closed")
        if alert.phase == Phase.ACKNOWLEDGED:
            raise NotNow(f"{alert.acknowledged_by} looks after {alert.key} already")
        read = a.NewsAcknowledged(**event.model_dump()) if alert.cause in NEWS else event
        return Line(ALERT, read, alert.id)

    def moved(self, item: Item, event: m.Event, then: Then, begun: bool) -> Alert:
        assert isinstance(item, Alert)
        changed: dict[str, Any] = {}
        if isinstance(event, a.AlertRaised):
            severity = Severity.CRITICAL if event.severity is Severity.CRITICAL else item.severity
            changed |= {"count": item.count + 1, "severity": severity}
        if isinstance(event, m.DeadlinePassed):  # why it waits is no news; what is wrong stays what it was
            before = self.draft.items[item.id]
            changed |= {"reason": before.reason, "acknowledged_by": "", "note": ""}
        if isinstance(event, a.AlertWorsened):
            changed |= {"acknowledged_by": "", "note": ""}
        if begun:
            rules = self.draft.rules
            repeats = rules.alert_repeats[changed.get("severity", item.severity)]
            waits = {Phase.OPEN: repeats, Phase.ACKNOWLEDGED: rules.acknowledged_for}.get(Phase(item.phase))
            deadline = self.draft.now + waits if waits else None
            changed |= {"change": CHANGES[type(event)], "changed_at": self.draft.now, "deadline": deadline}
        return item.model_copy(update=changed)

    def settle(self, item: Item, event: m.Event) -> None:
        root = self.draft.root
        if item.id == alert_id(root.id, root.alerts + 1):
            self.draft.root = root.model_copy(update={"alerts": root.alerts + 1})

    def offered(self, item: Item) -> Mapping[str, Any]:
        assert isinstance(item, Alert)
        return {"notice": _notice(item)}

    def further(self, item: Item, event: m.Event) -> Sequence[m.Command]:
        assert isinstance(item, Alert)
        if type(event) is a.AlertRaised and item.count > 1:
            return ()
        sent = {"root": event.root, "item": item.id, "step": item.step, "notice": _notice(item)}
        ways = [route for route in self.draft.rules.alert_routes if route.takes(item.plant, item.severity)]
        return [a.SendAlert(**sent, webhook=webhook) for webhook in dict.fromkeys(route.webhook for route in ways)]

    def delay(self, item: Item) -> timedelta:
        return timedelta(0)


def _notice(alert: Alert) -> a.Notice:
    told = alert.model_dump(include=set(a.Notice.model_fields) - {"id", "alert", "since", "at"})
    since, at = alert.created_at, alert.changed_at
    return a.Notice(id=f"{alert.id}.{alert.step}", alert=alert.id, since=since, at=at, **told)
