"""The application: triggers call it, workers run through it. Everything it does goes through ports."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from time import perf_counter
from typing import Any

from shared import alert_handlers, environment_handlers, monitoring_handlers, proposal_handlers, records  # noqa: F401 (register handlers)
from shared.advance import Advance, Advanced
from shared.archive import Archive
from shared.dead_letters import DeadLetters, Replay, Replayer
from shared.domain import messages as m
from shared.domain.environment import messages as e
from shared.domain.fleet import ROOT as FLEET
from shared.domain.lake import ROOT as LAKE
from shared.domain.machine import backoff
from shared.domain.monitoring import ROOT as MONITOR
from shared.domain.monitoring.messages import MonitoringDue
from shared.domain.rules import Rules
from shared.domain.values import ENVIRONMENT, Monitoring
from shared.errors import Invalid, Permanent, Transient
from shared.handlers import Directory, Handling, NoSlot, NotWanted, Ports, handle
from shared.relay import Relay, Work
from shared.retention import Retention
from shared.slots import Slots
from shared.telemetry import COMMAND_SECONDS, COMMANDS, OFF, Telemetry, about

log = logging.getLogger("fleet.application")

ATTEMPTS = 24
"""How often a command is put back before its failure becomes an outcome; waits double from two seconds to ten minutes.

Two and a half hours in all, more than any phase of a release with work on the platform may take: an outage there, or an
operation in progress, costs time and no release, as long as its deadline allows.
"""
REPEATED_ATTEMPTS = 5
"""As `ATTEMPTS`, for a command that the timer gives again anyway: half a minute."""
SLOT_WAIT = timedelta(seconds=5)
LONGEST_SLOT_WAIT = timedelta(minutes=1)
LONGEST_WAIT = timedelta(minutes=10)
MOST_COUNTED = 100
"""Failures, and dead letters, that one look counts; more is only more of the same."""
STOP_READ_EVERY = timedelta(minutes=1)
READS_STOP = (m.ApprovalDecided, m.ProductionAsked)
"""Facts that are rare, and that decide or tell people whether a deployment waits: the stop is read for them."""


class Application:
    """`advance` for facts, `work` for commands, `sweep` for what waits."""

    def __init__(
        self, ports: Ports, directory: Directory, slot_wait: timedelta = SLOT_WAIT, telemetry: Telemetry = OFF
    ) -> None:
        self.ports = ports
        self.directory = directory
        self.slots = Slots(ports.store, ports.clock)
        self.relay = Relay(ports.store, ports.queue, ports.clock)
        self.dead_letters = DeadLetters(ports.store, ports.documents, ports.clock)
        self._advance = Advance(ports.store, ports.clock, self.rules, telemetry)
        self._slot_wait = slot_wait
        self._stopped: tuple[datetime | None, str] = (None, "")
        self._telemetry = telemetry

    def advance(self, event: m.Event) -> Advanced:
        """Apply a fact and send what it commands; a command that the nudge loses is found by the sweep."""
        if isinstance(event, READS_STOP):
            self._stopped = (None, "")
        with self._telemetry.span(f"advance {type(event).__name__}", about(event.root)):
            advanced = self._advance(event)
            if advanced.outbox:
                try:
                    self.relay.nudge(advanced.partition, advanced.outbox)
                except Transient as error:
                    log.warning("the commands of %s wait for the sweep: %s", event.root, error)
            return advanced

    def look(self, command: m.Command, noticed_by: str = "event") -> None:
        """Put a look on the queue: a hint from outside changes no state, it only makes us look earlier."""
        self.ports.queue.send(Work(command, noticed_by=noticed_by, trace=self._telemetry.trace()).to_json())

    def look_at_job(self, job: str) -> bool:
        """Look now at a job that an event named; False when the job is none of ours."""
        row = self.ports.store.read(records.JOBS, records.safe(job))
        if row is None:
            return False
        self.look(m.decode(row.body))
        return True

    def look_at_run(self, run: str) -> bool:
        """Look now at the gate that a run asks; False when the run is none of ours."""
        row = self.ports.store.read(records.GATE_RUNS, records.safe(run))
        if row is None:
            return False
        self.look(m.decode(row.body))
        return True

    def look_at_gates(self) -> int:
        """Look at every gate that is asked outside, whatever was told of it; returns how many there are."""
        gates = [
            row.body["look"]
            for shard in self.ports.store.shards
            for row in self.ports.store.read_range(shard, *records.OPEN_GATES)
            if row.body["look"]
        ]
        for gate in gates:
            self.look(m.decode(gate), noticed_by="reconciler")
        return len(gates)

    def work(self, text: str) -> None:
        """Run one message of the work queue. What goes wrong becomes data: a delayed copy, or an outcome."""
        work, began = Work.from_json(text), perf_counter()
        name = type(work.command).__name__
        whose = {"command": name, **about(work.command.root)}
        with self._telemetry.span(f"work {name}", {**whose, "command_id": work.command.id}, work.trace):
            whose["outcome"] = self._work(work)
        self._telemetry.count(COMMANDS, whose)
        self._telemetry.seconds(COMMAND_SECONDS, perf_counter() - began, whose)

    def _work(self, work: Work) -> str:
        """Run a command; returns in a word how that went."""
        command = work.command
        try:
            outcomes = handle(command, Handling(self.ports, self.directory, self.slots, work.noticed_by))
        except NotWanted as stale:
            log.info("%s", stale)
            return "late"
        except NoSlot as full:
            log.info("%s waits: %s", command.id, full)
            # A whole fleet may wait: the longer one has waited, the less often it asks.
            wait = backoff(work.waits // 2, self._slot_wait, LONGEST_SLOT_WAIT)
            self._put_back(replace(work, waits=work.waits + 1), wait)
            return "waits"
        except Transient as error:
            if work.attempt + 1 < (REPEATED_ATTEMPTS if command.repeated else ATTEMPTS):
                # Never sooner than the other side asks, and never so often that an outage uses all attempts up.
                seconds = max(error.retry_after or 0, 2 ** (work.attempt + 1))
                wait = min(timedelta(seconds=seconds), LONGEST_WAIT)
                log.info("%s is tried again in %s: %s", command.id, wait, error)
                self._put_back(replace(work, attempt=work.attempt + 1), wait)
                return "again"
            if command.repeated:
                log.warning("%s is left for the next time: %s", command.id, error)
                return "left"
            self.give_up(work, f"{error} (tried {ATTEMPTS} times)")
            return "given up"
        except Permanent as error:
            self.give_up(work, str(error))
            return "given up"
        for outcome in outcomes:
            self.advance(outcome)
        return "done"

    def give_up(self, work: Work, error: str) -> None:
        """A command that cannot be done: kept as a dead letter, and its item told if it cannot go on without."""
        self.dead_letters.record("work", error, {"work": work.to_json()})
        log.error("%s is given up: %s", work.command.id, error)
        if work.command.essential:
            self.advance(m.CommandPoisoned.of(work.command, error=error))

    def poisoned(self, text: str) -> None:
        """A message that the queue gave up after its last dequeue."""
        try:
            work = Work.from_json(text)
        except ValueError as error:
            self.dead_letters.record("work", f"not a work message: {error}", {"work": text})
            return
        self.give_up(work, "the command failed on every delivery; the log has its errors")

    def sweep(self) -> int:
        """Send what waits in the outbox and what has fallen due."""
        return self.relay.sweep()

    def retain(self) -> int:
        """Archive and drop what has been kept for its time; how much that was."""
        archive = Archive(self.ports.documents)
        return Retention(self.ports.store, archive, self.ports.clock, self.directory.retention).apply()

    def replay(self, identity: str, signals: Mapping[str, Replayer], by: str) -> Replay:
        """Try a dead letter again; raises Invalid while it is still not acceptable."""
        return self.dead_letters.replay(identity, {**signals, "work": self._replay_work}, by)

    def start_etl(self, slot: datetime, asked_by: str = "") -> Advanced:
        """The ETL run of the schedule, or of who asks for one; one a slot, however often it is asked for."""
        return self.advance(m.EtlDue(root=LAKE, slot=slot, asked_by=asked_by))

    def start_upkeep(self, slot: datetime) -> Advanced:
        """The schedule's upkeep of the table; one a slot, and never beside an ETL run."""
        return self.advance(m.UpkeepDue(root=LAKE, slot=slot))

    def check_daily_scoring(self) -> Advanced:
        """Ask every circuit whether the newest origin's scoring has started."""
        origin = self.rules(LAKE).origin(self.ports.clock.now())
        return self.advance(m.DailyScoringAsked(root=LAKE, origin=origin))

    def reconcile_production(self) -> Advanced:
        """Ask which circuits left the configuration, and what every circuit's production really serves.

        One asking a minute.
        """
        self.look(m.LookForDepartures(root=LAKE, item=LAKE, step=0), noticed_by="reconciler")
        return self.advance(m.ReconciliationAsked(root=LAKE, slot=self.ports.clock.now()))

    def monitor(self) -> list[Advanced]:
        """Ask which monitoring is due by its schedule; what was missed is caught up, what was begun is left.

        Warnings of drift are asked for by the commits that bring new readings.
        """
        now, scheduled = self.ports.clock.now().replace(microsecond=0), (Monitoring.PERFORMANCE, Monitoring.DRIFT)
        return [self.advance(MonitoringDue(root=MONITOR, monitoring=kind, slot=now)) for kind in scheduled]

    def look_for_environments(self, source: str) -> None:
        """Look whether the dev workspace has a newer environment than was told of."""
        self.look(e.LookForEnvironments(root=ENVIRONMENT, item=ENVIRONMENT, step=0, source=source))

    def watch(self) -> None:
        """Look at what no circuit can see: how often trainings fail, and dead letters that nobody was told of.

        A bounded look: the failures of a day up to a number, and one page of dead letters.
        """
        store, now = self.ports.store, self.ports.clock.now()
        span = records.failed_since(now - timedelta(days=1), now)
        failed = sum(len(store.read_range(shard, *span, limit=MOST_COUNTED)) for shard in store.shards)
        self.advance(m.FailuresCounted(root=FLEET, failed=failed, slot=now))
        letters = [row for row in store.read_range(records.DEAD, "0", "~", MOST_COUNTED) if not row.body["replayed_at"]]
        told = store.read(store.shard_of(FLEET), f"{FLEET}|0")
        known = str(told.body.get("letter", "")) if told else ""
        fresh = [row for row in letters if not known or row.key < known]
        if fresh:
            why = str(fresh[0].body["reason"])
            self.advance(m.LettersKept(root=FLEET, newest=fresh[0].key, count=len(fresh), why=why))

    def preview_environment(self, version: str) -> Mapping[str, Any]:
        """Which circuits a release of the version would touch, and which it would leave, and why."""
        return environment_handlers.preview(Handling(self.ports, self.directory, self.slots), version)

    def read_delta_log(self, version: int | None, source: str) -> None:
        """Look at a commit of the table's log (None: the newest)."""
        self.look(m.ReadDeltaCommit(root=LAKE, item=LAKE, step=0, version=version, source=source))

    def _replay_work(self, body: Mapping[str, Any]) -> str:
        try:
            work = Work.from_json(body["work"])
        except ValueError as error:
            raise Invalid("work", str(error), "a command of this version") from error
        self.ports.queue.send(Work(work.command, noticed_by="replay").to_json())
        return f"{work.command.id} is on the queue again"

    def _put_back(self, work: Work, wait: timedelta) -> None:
        self.ports.queue.send(work.to_json(), delay_seconds=wait.total_seconds())

    def rules(self, root: str) -> Rules:
        """The configured rules, and whether the fleet is stopped, read at most once a minute."""
        now = self.ports.clock.now()
        read_at, stopped = self._stopped
        if read_at is None or now - read_at >= STOP_READ_EVERY:
            stopped = records.stopped(self.ports.store)
            self._stopped = (now, stopped)
        rules = self.directory.rules(root)
        return rules.model_copy(update={"stopped": stopped}) if stopped else rules
