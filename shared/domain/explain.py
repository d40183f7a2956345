"""Explain: where everything open under a root stands, what it waits for, who can act, and what can happen next.

Nothing is written down a second time: what can happen next is read from the transition tables, and what each event
means from its own contract.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from shared.domain import approvals
from shared.domain import messages as m
from shared.domain.alerts.alert import Alert
from shared.domain.circuit import Circuit
from shared.domain.departure import Departure
from shared.domain.hold import Hold
from shared.domain.lake import FanOut
from shared.domain.machine import Item, Kind, Root
from shared.domain.operation import Operation
from shared.domain.release import GATES, Release
from shared.domain.release import Phase as ReleasePhase
from shared.domain.rules import Rules
from shared.domain.scoring import Phase as ScoringPhase
from shared.domain.scoring import ScoringRun
from shared.domain.training import Phase as TrainingPhase
from shared.domain.training import TrainingRun
from shared.domain.values import Value

TOLD_BY: tuple[tuple[type[m.Event], str], ...] = (
    (m.ApprovalDecided, "people"),
    (m.GateOverridden, "people"),
    (m.DeadlinePassed, "the clock"),
    (m.CommandPoisoned, "the application"),
    (m.Outcome, "the platform"),
    (m.Consequence, "the rest of the circuit"),
    (m.Event, "a fact from outside"),
)
"""Whose doing an event is; the first that fits."""


class Way(Value):
    """One way on: what would have to happen, whose doing that is, where it leads and what is commanded then."""

    event: str
    means: str
    told_by: str
    leads_to: str
    commands: tuple[str, ...]


class Standing(Value):
    """One open item; times are UTC. `who_can_act` names the groups where people are asked."""

    item: str
    kind: str
    phase: str
    since: datetime
    reason: str
    waits_for: str
    who_can_act: tuple[str, ...]
    deadline: datetime | None
    ways: tuple[Way, ...]


class Explanation(Value):
    """A root in words: `state` says how it is and what it expects, what is `under_way`, oldest first."""

    root: str
    at: datetime
    state: tuple[str, ...]
    under_way: tuple[Standing, ...]


def explain(
    root: Root, items: Mapping[str, Item], kinds: Mapping[type[Item], Kind], rules: Rules, now: datetime
) -> Explanation:
    """Everything open under the root, explained; `kinds` gives each item's table."""
    standing = [
        _standing(root, item, items, kinds[type(item)], rules, now)
        for item in sorted(items.values(), key=lambda item: item.created_at)
    ]
    state = tuple(_state(root, rules, now)) if isinstance(root, Circuit) else ()
    return Explanation(root=root.id, at=now, state=state, under_way=tuple(standing))


def _standing(root: Root, item: Item, items: Mapping[str, Item], kind: Kind, rules: Rules, now: datetime) -> Standing:
    ways = tuple(_ways(item, kind))
    asked = _groups(item)
    return Standing(
        item=item.id,
        kind=kind.name,
        phase=item.phase,
        since=item.since,
        reason=item.reason,
        waits_for=_waits_for(root, item, items, kind, rules, now),
        who_can_act=asked or tuple(dict.fromkeys(way.told_by for way in ways)),
        deadline=item.deadline,
        ways=ways,
    )


def _ways(item: Item, kind: Kind) -> Iterator[Way]:
    """Every event that would end the item's phase, or begin it anew."""
    for (before, event), then in kind.table.items():
        if before != item.phase or (then.phase == item.phase and event not in kind.new_attempts):
            continue
        yield Way(
            event=event.__name__,
            means=(event.__doc__ or "").strip().split("\n")[0],
            told_by=next(who for told, who in TOLD_BY if issubclass(event, told)),
            leads_to=then.phase,
            commands=tuple(command.__name__ for command in (*then.commands, *then.later)),
        )


def _groups(item: Item) -> tuple[str, ...]:
    """The groups that an open gate still asks; who trained the model does not count as its only approver."""
    if not isinstance(item, Release) or item.approval is None or item.phase not in GATES:
        return ()
    approvers = approvals.counted(item, item.approval.answers)
    open_ones = [groups for groups in item.approval.requirement if not approvals.satisfied([groups], approvers)]
    return tuple(dict.fromkeys(group for groups in open_ones or item.approval.requirement for group in groups))


def _waits_for(root: Root, item: Item, items: Mapping[str, Item], kind: Kind, rules: Rules, now: datetime) -> str:
    match item:
        case Release(phase=phase, approval=approval) if approval and phase in GATES:
            asked = " and ".join(" or ".join(groups) for groups in approval.requirement)
            counted = len(approvals.counted(item, approval.answers))
            waits = f"{approval.gate} approval by {asked}; {counted} of {len(approval.requirement)} given"
            overriders = " or ".join(rules.promotion.override_groups)
            why = approvals.blocked(approval)
            return f"{waits}; {why}; {overriders} may override that" if why else waits
        case Release(phase=ReleasePhase.QUEUED):
            return f"its turn: {item.reason}"
        case Release(phase=ReleasePhase.READY) if isinstance(root, Circuit) and root.production_owner:
            return f"production, which {root.production_owner} owns"
        case Release(phase=ReleasePhase.READY):
            holds = [f"on hold by {hold.by}: {hold.why}" for hold in items.values() if isinstance(hold, Hold)]
            return f"production: {(holds or [rules.standstill(now)])[0] or 'free, and about to be asked for'}"
        case Alert():
            return "its cause to end" if item.acknowledged_by else "somebody to look after it, or its cause to end"
        case Hold():
            return f"somebody to lift it; placed by {item.by}: {item.why}"
        case Departure():
            return "somebody to retire the circuit, or its return to the configuration"
        case Release(phase=ReleasePhase.OBSERVING):
            return f"{rules.verified_scorings - item.observed} more verified scoring(s) by {item.pair}"
        case ScoringRun(phase=ScoringPhase.WAITING_FOR_READINGS) if isinstance(root, Circuit):
            return f"readings up to {_utc(item.origin)}; {_newest(root)}"
        case TrainingRun(phase=TrainingPhase.REQUESTED):
            return "a training slot"
        case TrainingRun():
            return f"the job {item.reference}"
        case FanOut():
            return f"its next slice, from circuit number {item.cursor}"
    operation: Operation | None = getattr(item, "operation", None)
    if operation:
        return f"{operation.reference}, started {_utc(operation.started_at)}, looked at {operation.looks} time(s)"
    given = {command.__name__ for then in kind.table.values() if then.phase == item.phase for command in then.commands}
    return f"the outcome of {', '.join(sorted(given))}" if given else "what its ways name"


def _state(circuit: Circuit, rules: Rules, now: datetime) -> Iterator[str]:
    """What serves, what is meant to, and which scoring comes next."""
    if circuit.departure:
        yield "not in the configuration any more: what serves goes on until it is retired"
    if circuit.serving is None:
        yield "retired: nothing serves" if circuit.retired else "nothing serves"
    else:
        since = f" since {_utc(circuit.serving_since)}" if circuit.serving_since else ""
        verified = "verified" if circuit.verified == circuit.serving else "not verified yet"
        yield f"{circuit.serving} serves{since}, put there by {circuit.served_by}; {verified}"
    if circuit.desired != circuit.serving:
        yield f"{circuit.desired or 'nothing'} is meant to serve: {circuit.production_owner} owns production"
    yield f"next scoring: {_next_scoring(circuit, rules, now)}"


def _next_scoring(circuit: Circuit, rules: Rules, now: datetime) -> str:
    if circuit.serving is None:
        return "none while nothing serves"
    if not circuit.scoring:
        return "none while scoring is suspended"
    origin = rules.origin(now)
    if circuit.scored_through is not None and circuit.scored_through >= origin:
        return f"of {_utc(origin + timedelta(days=1))}, with the first commit whose readings reach it"
    if circuit.desired != circuit.serving:
        return f"of {_utc(origin)}, once production is deployed"
    return f"of {_utc(origin)}, with the first commit whose readings reach it; {_newest(circuit)}"


def _newest(circuit: Circuit) -> str:
    return f"the newest is of {_utc(circuit.newest_reading)}" if circuit.newest_reading else "none was heard of"


def _utc(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%MZ}"
