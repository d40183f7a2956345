"""Advance: load the root, ask the pure `decide`, save everything in one transaction. Nothing else moves state."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from shared import records
from shared.domain import circuit as circuit_domain
from shared.domain import environment as environment_domain
from shared.domain import fleet as fleet_domain
from shared.domain import lake as lake_domain
from shared.domain import monitoring as monitoring_domain
from shared.domain.circuit import Circuit
from shared.domain.environment import Environment
from shared.domain.fleet import FleetState
from shared.domain.lake import Lake
from shared.domain.machine import Decision, HistoryLine, Verdict
from shared.domain.messages import Event
from shared.domain.monitoring import Monitor
from shared.domain.rules import Rules
from shared.errors import AlreadyExists, Conflict, Transient
from shared.ports import Clock, Row, StateStore
from shared.telemetry import OFF, TRANSITIONS, Telemetry, about

log = logging.getLogger("fleet.advance")

CONFLICTS_ALLOWED = 20
"""Loads and decisions for one event before the caller's own retry takes over; each loses only to one that won."""


@dataclass(frozen=True)
class Advanced:
    """What became of an event. `duplicate`: it was heard before. `outbox`: commands that wait for the relay."""

    verdict: Verdict
    reason: str = ""
    code: str = ""
    duplicate: bool = False
    history: Sequence[HistoryLine] = ()
    partition: str = ""
    outbox: Sequence[Row] = ()


class Advance:
    """`advance(event)`: one read and one transaction, however long the history."""

    def __init__(
        self, store: StateStore, clock: Clock, rules_of: Callable[[str], Rules], telemetry: Telemetry = OFF
    ) -> None:
        self._store = store
        self._clock = clock
        self._rules_of = rules_of
        self._telemetry = telemetry

    def __call__(self, event: Event) -> Advanced:
        """Apply the event; a conflict loads and decides again, it never patches."""
        partition = self._store.shard_of(event.root)
        for _ in range(CONFLICTS_ALLOWED):
            loaded = self._load(partition, event)
            now = self._clock.now()
            decision = self._decide(loaded, event, now)
            if decision.verdict is Verdict.IGNORED:
                log.debug("%s %s: nothing to do: %s", event.root, type(event).__name__, decision.reason)
                return Advanced(Verdict.IGNORED, decision.reason, decision.code)
            if decision.verdict is Verdict.REFUSED:
                return self._refused(partition, event, decision)
            trace = self._telemetry.trace()
            writes = records.writes(loaded, decision, event, now, trace)
            try:
                self._store.commit(partition, writes)
            except Conflict:
                continue
            except AlreadyExists as there:
                if "|5|" in there.key:
                    return Advanced(Verdict.IGNORED, "heard before", duplicate=True)
                if "|8|" in there.key or "|9|" in there.key:
                    # What the event would begin has lived and ended. The whole event goes with it, so it is said aloud.
                    log.warning("%s %s: %s", event.root, type(event).__name__, there)
                    return Advanced(Verdict.IGNORED, f"what it would begin has ended already: {there}")
                continue  # somebody else was faster
            for line in decision.history:
                log.info("%s %s: %s -> %s", line.item, line.event, line.before or "-", line.after)
                moved = {"event": line.event, "phase": line.after, **about(event.root)}
                self._telemetry.count(TRANSITIONS, moved)
            outbox = records.outbox(decision.commands, now, trace)
            return Advanced(Verdict.APPLIED, history=decision.history, partition=partition, outbox=outbox)
        raise Transient(f"{event.root}: {CONFLICTS_ALLOWED} conflicts in a row while applying {type(event).__name__}")

    def _load(self, partition: str, event: Event) -> records.Loaded:
        """One read; a second one only for an event that is about something that has ended."""
        rows = self._store.read_range(partition, *records.root_range(event.root))
        loaded = records.load(event.root, rows)
        key = records.recalled(loaded, event)
        ended = self._store.read(partition, key) if key else None
        return records.load(event.root, [*rows, ended]) if ended else loaded

    def _decide(self, loaded: records.Loaded, event: Event, now: datetime) -> Decision:
        rules = self._rules_of(event.root)
        if isinstance(loaded.root, Lake):
            return lake_domain.decide(loaded.root, loaded.items, event, rules, now)
        if isinstance(loaded.root, FleetState):
            return fleet_domain.decide(loaded.root, loaded.items, event, rules, now)
        if isinstance(loaded.root, Environment):
            return environment_domain.decide(loaded.root, loaded.items, event, rules, now)
        if isinstance(loaded.root, Monitor):
            return monitoring_domain.decide(loaded.root, loaded.items, event, rules, now)
        assert isinstance(loaded.root, Circuit)
        return circuit_domain.decide(loaded.root, loaded.items, event, rules, now)

    def _refused(self, partition: str, event: Event, decision: Decision) -> Advanced:
        """Tell an event that was handled before from one that is impossible: its inbox row decides."""
        if event.identity and self._store.read(partition, records.inbox_key(event)):
            return Advanced(Verdict.IGNORED, "heard before", duplicate=True)
        log.warning("%s %s refused: %s", event.root, type(event).__name__, decision.reason)
        return Advanced(Verdict.REFUSED, decision.reason, decision.code)
