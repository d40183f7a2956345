"""Worker processes: forked from one server process that has imported everything once, and gone when the service is.

So a training job starts in milliseconds and shares the libraries' memory, and scoring keeps its loaded models.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from concurrent.futures import CancelledError
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from pebble import ProcessFuture, ProcessPool

from local.platform.outcomes import WorkFailed
from ml.threads import limit_threads

log = logging.getLogger(__name__)

REPOSITORY = Path(__file__).resolve().parents[2]
NO_TELEMETRY = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


def prepare_fork_server() -> None:
    """Decide what workers find when they start; to be called once, before the first of them."""
    # Libraries read these when they are imported.
    limit_threads()
    os.environ.update(NO_TELEMETRY)
    # The fork server starts with the interpreter's defaults and would not find this repository elsewhere.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    multiprocessing.get_context("forkserver").set_forkserver_preload(["local.platform.preload"])


class Workers:
    """`count` processes that call functions of `local.platform.work`.

    once: a new process for each call. stores: the folder of the model stores, opened before the first call.
    """

    def __init__(self, count: int, *, once: bool = False, stores: Path | None = None) -> None:
        self._new_pool = partial(
            ProcessPool,
            max_workers=count,
            max_tasks=int(once),
            initializer=_initialise,
            initargs=(stores,),
            context=multiprocessing.get_context("forkserver"),
        )
        self._pool = self._new_pool()
        self._lock = threading.Lock()

    def call(self, function: str, *arguments: Any, timeout: float | None = None) -> ProcessFuture[Any]:
        """Call a function of `work`; the future raises WorkFailed with what it raised, as text.

        Also CancelledError, TimeoutError after `timeout` seconds of running, pebble's ProcessExpired when the process
        died, and BrokenProcessPool when an idle one did.
        """
        with self._lock:
            if not self._pool.active:  # the death of an idle worker breaks a pool for good
                log.warning("a pool of workers broke and is replaced")
                # Aside: a job that is taken up again comes here from a thread of the very pool that broke.
                threading.Thread(target=_stop, args=(self._pool,), name="stop a broken pool", daemon=True).start()
                self._pool = self._new_pool()
            return self._pool.schedule(_call, args=(function, *arguments), timeout=timeout)

    def stop(self) -> None:
        """Stop the processes, whatever they do."""
        with self._lock:
            _stop(self._pool)


def _stop(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()


def _call(function: str, *arguments: Any) -> Any:
    # Named and not passed: the service process, where this module is imported, must never import MLflow.
    from local.platform import work

    try:
        return getattr(work, function)(*arguments)
    except CancelledError:
        raise
    except Exception as error:  # whatever the work raised is how it failed
        log.warning("%s failed", function, exc_info=True)
        raise WorkFailed(f"{type(error).__name__}: {error}") from None


def _initialise(stores: Path | None) -> None:
    """End at once when the service dies, so that no orphan goes on with a job that is taken up again."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()
    if stores is not None:
        _call("open_stores", stores)


def _exit_after(process: BaseProcess) -> None:
    process.join()
    os._exit(1)
