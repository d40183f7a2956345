"""Jobs: each in a process of its own that can be cancelled, can run out of time, and leaves nothing behind."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from concurrent.futures import CancelledError, TimeoutError
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

from pebble import ProcessExpired, ProcessFuture

from local.platform import events
from local.platform.ledger import Ledger, State, WorkItem
from local.platform.names import Work
from local.platform.outcomes import Finished
from local.platform.settings import PlatformSettings
from local.platform.workers import Workers, prepare_fork_server

log = logging.getLogger(__name__)

ON_SPARK = (Work.ETL, Work.UPKEEP)
"""What a Synapse pool runs on Azure; it raises no event."""
JOBS = (Work.TRAINING, Work.SCORING, Work.MONITORING, *ON_SPARK)
STORE_CALL_TIMEOUT_SECONDS = 60.0


class NotReady(Exception):
    """The worker processes are still starting."""


class JobRunner:
    """Takes accepted jobs from the ledger to worker processes and writes down how they end."""

    def __init__(self, settings: PlatformSettings, ledger: Ledger) -> None:
        prepare_fork_server()
        self._settings = settings
        self._ledger = ledger
        self._stores = Workers(1)
        self._workers = {
            Work.TRAINING: Workers(settings.training_processes, once=True, stores=settings.stores),
            Work.SCORING: Workers(settings.scoring_processes, stores=settings.stores),
            Work.MONITORING: Workers(1, once=True),
            **dict.fromkeys(ON_SPARK, Workers(1, once=True)),
        }
        self._timeouts = {
            Work.TRAINING: settings.training_timeout,
            Work.MONITORING: settings.monitoring_timeout,
            **dict.fromkeys(ON_SPARK, settings.etl_timeout),
        }
        self._futures: dict[str, ProcessFuture[Finished]] = {}
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._stopping = False

    @property
    def is_ready(self) -> bool:
        return self._ready.is_set()

    def start(self) -> None:
        """Start the workers, make the stores, take up every job that has not ended; seconds on a cold machine."""
        self._stores.call("create_stores", self._settings.stores).result()
        for workers in set(self._workers.values()):
            workers.call("warm_up").result()
        interrupted = self._ledger.listed(State.PREPARING, State.RUNNING, work=JOBS)
        self._ready.set()
        for job in interrupted:
            self._take_up_again(job)
        for job in self._ledger.listed(State.NOT_STARTED, work=JOBS):
            self.submit(job)
        for job in self._ledger.listed(State.CANCEL_REQUESTED, work=JOBS):
            self.cancel(job.reference)

    def stop(self) -> None:
        """Stop the workers; jobs that run now are taken up again at the next start."""
        self._stopping = True
        for workers in {self._stores, *self._workers.values()}:
            workers.stop()

    def submit(self, job: WorkItem) -> None:
        """Give a job to its pool, once; before the workers are ready it waits in the ledger."""
        with self._lock:
            if not self.is_ready or job.reference in self._futures:
                return
            if not self._ledger.move(job.reference, State.PREPARING):
                return
            future = self._workers[job.work].call("run", self._settings, job, timeout=self._limit(job))
            self._futures[job.reference] = future
        future.add_done_callback(partial(self._ended, job))

    def cancel(self, reference: str) -> None:
        """Kill the job's process, or take it from its queue."""
        with self._lock:
            future = self._futures.get(reference)
        if future is not None:
            future.cancel()  # type: ignore[no-untyped-call]
        elif job := self._ledger.find(reference):
            self._write_end(job, State.CANCELED, "cancelled before it was started")

    def on_stores(self, function: str, *arguments: Any) -> Any:
        """Call a function of `work` in the process that has the model stores open; raises NotReady, and its errors."""
        if not self.is_ready:
            raise NotReady("the model platform is still starting its workers; try again in a few seconds")
        return self._stores.call(
            function, self._settings.stores, *arguments, timeout=STORE_CALL_TIMEOUT_SECONDS
        ).result()

    def _limit(self, job: WorkItem) -> float:
        """The longest that a job may run, in seconds; a scoring job by what its deployment was made with."""
        return self._timeouts.get(job.work) or self._ledger.scoring_seconds(job.stage, job.circuit)

    def _take_up_again(self, job: WorkItem) -> None:
        ran = job.state is State.RUNNING
        if ran and job.attempts >= self._settings.max_job_attempts:
            reason = f"the platform stopped while it ran, {job.attempts} times; start it anew with another command"
            self._write_end(job, State.FAILED, reason)
        elif self._ledger.move(job.reference, State.NOT_STARTED, attempt=ran):
            log.warning("%s %s was interrupted in state %s and is taken up again", job.work, job.reference, job.state)
            self.submit(job)

    def _ended(self, job: WorkItem, future: ProcessFuture[Finished]) -> None:
        if self._stopping:
            return
        with self._lock:
            self._futures.pop(job.reference, None)
        try:
            finished = future.result()
        except CancelledError:
            self._write_end(job, State.CANCELED, "cancelled on request")
        except TimeoutError:
            self._write_end(job, State.FAILED, f"ran longer than its limit of {self._limit(job):g} s")
        except ProcessExpired as error:
            self._write_end(job, State.FAILED, f"its process died with exit code {error.exitcode}")
        except BrokenProcessPool:
            if waiting := self._ledger.find(job.reference):
                self._take_up_again(waiting)
        except Exception as error:
            self._write_end(job, State.FAILED, str(error))
        else:
            self._write_end(job, State.COMPLETED, outputs=finished.outputs, extra=finished.events)

    def _write_end(
        self,
        job: WorkItem,
        state: State,
        error: str = "",
        *,
        outputs: Mapping[str, str] | None = None,
        extra: tuple[events.Event, ...] = (),
    ) -> None:
        told = list(extra)
        if job.work not in ON_SPARK:
            told.append(events.run_status_changed(job, state))
            if state is State.COMPLETED:
                told.append(events.run_completed(job))
        self._ledger.finish(job.reference, state, error=error, outputs=outputs, events=told)
