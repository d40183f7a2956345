"""Timer triggers: schedules in UTC, one run at a time, and one immediate run after downtime."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from azure.core.exceptions import AzureError
from azure.functions.meta import Datum

from local.functions_host.index import IndexedFunction, IndexingError
from local.functions_host.invocation import Invoker, Outcome
from local.functions_host.ncrontab import BadSchedule, Schedule
from local.functions_host.storage import LOCK_SECONDS, NEVER, HostStorage, ScheduleStatus

Clock = Callable[[], datetime]
# Long waits are cut up, so that a changed system clock or a suspended machine is noticed.
_LONGEST_SLEEP_SECONDS = 30.0
_log = logging.getLogger("Host.Triggers.Timer")


def utc_now() -> datetime:
    return datetime.now(UTC)


class HostLock:
    """Whether this instance is the one that runs the timers of its host id."""

    def __init__(self, storage: HostStorage) -> None:
        self._storage = storage
        self._held = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def wait(self) -> None:
        """Return once this instance holds the lock."""
        await self._held.wait()

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            await asyncio.to_thread(self._storage.release_lock)

    async def _keep(self) -> None:
        before: bool | None = None
        while True:
            try:
                held = await asyncio.to_thread(self._storage.hold_lock)
            except AzureError as error:
                _log.warning("The host lock cannot be reached, timers wait: %s", error)
                held = False
            if held:
                self._held.set()
            else:
                self._held.clear()
                if before is not False:
                    _log.info("Another instance holds the host lock: the timers of this one wait")
            before = held
            await asyncio.sleep(LOCK_SECONDS / 3)


class TimerListener:
    """Runs one timer function on its schedule until stopped."""

    def __init__(
        self,
        function: IndexedFunction,
        invoker: Invoker,
        storage: HostStorage,
        lock: HostLock,
        clock: Clock = utc_now,
    ) -> None:
        try:
            self.schedule = Schedule.parse(str(function.trigger["schedule"]))
        except BadSchedule as error:
            raise IndexingError(f"Function {function.name!r}: {error}") from None
        self.function = function
        self._invoker = invoker
        self._storage = storage
        self._lock = lock
        self._clock = clock
        self._run_on_startup = bool(function.trigger.get("runOnStartup"))
        self._monitored = function.trigger.get("useMonitor") is not False and self.schedule.is_monitored(clock())
        self._one_at_a_time = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._current: asyncio.Task[ScheduleStatus] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"timer {self.function.name}")

    def stop_taking(self) -> None:
        """Begin nothing new; what runs goes on."""
        if self._task is not None:
            self._task.cancel()

    async def stop(self, grace_seconds: float) -> None:
        """Plan no further run; wait for a run under way and its status, for at most the grace time."""
        self.stop_taking()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        if self._current is not None:
            await asyncio.wait({self._current}, timeout=grace_seconds)

    async def invoke_now(self) -> Outcome:
        """One run beside the schedule, after any run under way."""
        return await self._invoke(None, past_due=False)

    async def _run(self) -> None:
        await self._lock.wait()
        status = await self._initial_status()
        if self._monitored and self._clock() > status.next:
            _log.warning("Timer '%s' is past due since %s", self.function.name, status.next.isoformat())
            status = await self._scheduled_run(status, past_due=True)
        elif self._run_on_startup:
            status = await self._scheduled_run(status, past_due=False)
        while True:
            while (wait := (status.next - self._clock()).total_seconds()) > 0:
                await asyncio.sleep(min(wait, _LONGEST_SLEEP_SECONDS))
            await self._lock.wait()
            status = await self._scheduled_run(status, past_due=False, due=status.next)

    async def _initial_status(self) -> ScheduleStatus:
        """What was remembered, adapted to a schedule that has changed since; a new timer begins now."""
        now = self._clock()
        fresh = ScheduleStatus(NEVER, self.schedule.next_after(now), now)
        if not self._monitored:
            return fresh
        while True:
            try:
                status = await asyncio.to_thread(self._storage.read_status, self.function.name)
                break
            except AzureError as error:
                _log.warning("The status of timer '%s' cannot be read, it waits: %s", self.function.name, error)
                await asyncio.sleep(LOCK_SECONDS / 3)
        if status is not None:
            since = status.last_updated if status.last == NEVER else status.last
            if self.schedule.next_after(since) == status.next:
                return status
            _log.info("The schedule of timer '%s' has changed: it begins anew", self.function.name)
        await self._remember(fresh)
        return fresh

    async def _scheduled_run(
        self, status: ScheduleStatus, *, past_due: bool, due: datetime | None = None
    ) -> ScheduleStatus:
        # Shielded: ending the schedule must not abandon a run that has begun, nor forget that it ran.
        self._current = asyncio.create_task(self._run_and_remember(status, past_due, due))
        return await asyncio.shield(self._current)

    async def _run_and_remember(self, status: ScheduleStatus, past_due: bool, due: datetime | None) -> ScheduleStatus:
        started = self._clock()
        await self._invoke(status, past_due=past_due)
        # A run that outlasts its interval is followed by one run at once, not by one for each that was missed.
        last = max(started, due) if due else started
        status = ScheduleStatus(last, self.schedule.next_after(last), last)
        await self._remember(status)
        return status

    async def _invoke(self, status: ScheduleStatus | None, *, past_due: bool) -> Outcome:
        shown = status.as_json() if status and self._monitored else None
        timer = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": shown, "IsPastDue": past_due}
        async with self._one_at_a_time:
            return await self._invoker.invoke(self.function, Datum(json.dumps(timer), "json"))

    async def _remember(self, status: ScheduleStatus) -> None:
        if not self._monitored:
            return
        try:
            await asyncio.to_thread(self._storage.write_status, self.function.name, status)
        except AzureError as error:
            _log.warning("The status of timer '%s' was not kept: %s", self.function.name, error)
