"""Jobs: each in a process of its own that can be cancelled, can run out of time, and leaves nothing behind.

Workers are forked from one server process that has imported everything once, so a training job starts in milliseconds
and shares that memory. Scoring keeps its workers, and their loaded models, from job to job.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, TimeoutError
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from local.platform import events
from local.platform.ledger import Ledger, State, WorkItem
from local.platform.names import Work
from local.platform.outcomes import Finished, WorkFailed
from local.platform.settings import PlatformSettings
from ml.threads import limit_threads

log = logging.getLogger(__name__)

JOBS = (Work.TRAINING, Work.SCORING, Work.ETL)
REPOSITORY = Path(__file__).resolve().parents[2]
NO_TELEMETRY = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
STORE_CALL_TIMEOUT_SECONDS = 60.0


class NotReady(Exception):
    """The worker processes are still starting."""


class JobRunner:
    """Takes accepted jobs from the ledger to worker processes and writes down how they end."""

    def __init__(self, settings: PlatformSettings, ledger: Ledger) -> None:
        # Both must be in the environment before the fork server imports the libraries.
        limit_threads()
        os.environ.update(NO_TELEMETRY)
        # The fork server starts with the interpreter's defaults and would not find this repository elsewhere.
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["local.platform.preload"])
        pool = partial(ProcessPool, context=context, initializer=_start_job_worker, initargs=(settings.stores,))
        self._settings = settings
        self._ledger = ledger
        self._stores = ProcessPool(context=context, max_workers=1, initializer=_end_with_the_service)
        self._pools: Mapping[Work, ProcessPool] = {
            Work.TRAINING: pool(max_workers=settings.training_processes, max_tasks=1),
            Work.SCORING: pool(max_workers=settings.scoring_processes),
            Work.ETL: pool(max_workers=1, max_tasks=1),
        }
        self._timeouts = {
            Work.TRAINING: settings.training_timeout,
            Work.SCORING: settings.scoring_timeout,
            Work.ETL: settings.etl_timeout,
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
        self._stores.schedule(_call("create_stores"), args=(self._settings.stores,)).result()
        for pool in self._pools.values():
            pool.schedule(_call("warm_up")).result()
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
        for pool in (self._stores, *self._pools.values()):
            pool.stop()  # type: ignore[no-untyped-call]
            pool.join()

    def submit(self, job: WorkItem) -> None:
        """Give a job to its pool, once; before the workers are ready it waits in the ledger."""
        with self._lock:
            if not self.is_ready or job.reference in self._futures:
                return
            if not self._ledger.move(job.reference, State.PREPARING):
                return
            future = self._pools[job.work].schedule(
                _call("run"), args=(self._settings, job), timeout=self._timeouts[job.work]
            )
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
        return self._stores.schedule(
            _call(function), args=(self._settings.stores, *arguments), timeout=STORE_CALL_TIMEOUT_SECONDS
        ).result()

    def _take_up_again(self, job: WorkItem) -> None:
        if job.attempts >= self._settings.max_job_attempts:
            reason = f"the platform stopped while it ran, {job.attempts} times; start it anew with another command"
            self._write_end(job, State.FAILED, reason)
        elif self._ledger.move(job.reference, State.NOT_STARTED, attempt=True):
            log.warning("%s %s was interrupted and is taken up again", job.work, job.reference)
            self.submit(job)

    def _ended(self, job: WorkItem, future: ProcessFuture[Finished]) -> None:
        if self._stopping:
            return
        try:
            finished = future.result()
        except CancelledError:
            self._write_end(job, State.CANCELED, "cancelled on request")
        except TimeoutError:
            self._write_end(job, State.FAILED, f"ran longer than its limit of {self._timeouts[job.work]:g} s")
        except ProcessExpired as error:
            self._write_end(job, State.FAILED, f"its process died with exit code {error.exitcode}")
        except Exception as error:
            self._write_end(job, State.FAILED, str(error))
        else:
            self._write_end(job, State.COMPLETED, outputs=finished.outputs, extra=finished.events)
        finally:
            with self._lock:
                self._futures.pop(job.reference, None)

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
        if job.work is not Work.ETL:  # Synapse raises no event
            told.append(events.run_status_changed(job, state))
            if state is State.COMPLETED:
                told.append(events.run_completed(job))
        self._ledger.finish(job.reference, state, error=error, outputs=outputs, events=told)


def _call(function: str) -> Callable[..., Any]:
    """A function of `work`, named and not imported: the service process never imports MLflow."""
    return partial(_in_worker, function)


def _in_worker(function: str, *arguments: Any) -> Any:
    from local.platform import work

    try:
        return getattr(work, function)(*arguments)
    except CancelledError:
        raise
    except Exception as error:  # whatever the work raised is how it failed
        log.warning("%s failed", function, exc_info=True)
        raise WorkFailed(f"{type(error).__name__}: {error}") from None


def _start_job_worker(stores: Path) -> None:
    _end_with_the_service()
    _in_worker("open_stores", stores)


def _end_with_the_service() -> None:
    """End this worker at once when the service dies, so that no orphan goes on with a job that is taken up again."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()


def _exit_after(process: BaseProcess) -> None:
    process.join()
    os._exit(1)
