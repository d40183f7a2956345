"""Invocations: one call of one function, with its context, time limit and result line in the log."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import azure.functions as func
from azure.functions.meta import Datum

from local.functions_host.index import CONTEXT_ARGUMENT, IndexedFunction
from local.functions_host.logs import CurrentInvocation, current_invocation

DEFAULT_THREADS = 16
_HOST_FOLDER = str(Path(__file__).parent)
_results = logging.getLogger("Host.Results")
_log = logging.getLogger("Host.Executor")


@dataclass(frozen=True)
class Outcome:
    """How an invocation ended. answer: what an HTTP function returned, encoded; error: why it failed."""

    invocation_id: str
    answer: Datum | None = None
    error: BaseException | None = None

    @property
    def succeeded(self) -> bool:
        return self.error is None


class InvocationTimeout(TimeoutError):
    """The function ran longer than host.json's functionTimeout."""


class _Trace(func._abc.TraceContext):
    def __init__(self, invocation_id: str) -> None:
        self._parent = f"00-{uuid.UUID(invocation_id).hex}-{uuid.uuid4().hex[:16]}-00"

    @property
    def trace_state(self) -> str:
        return ""

    @property
    def trace_parent(self) -> str:
        return self._parent

    @property
    def attributes(self) -> dict[str, str]:
        return {}


class _NoRetry(func._abc.RetryContext):
    @property
    def retry_count(self) -> int:
        return 0

    @property
    def max_retry_count(self) -> int:
        return 0

    @property
    def exception(self) -> Any:
        return None


class InvocationContext(func.Context):
    """What a function sees as `context`."""

    def __init__(self, function: IndexedFunction, local_storage: type[threading.local]) -> None:
        self._function = function
        self._id = str(uuid.uuid4())
        self._local = local_storage

    @property
    def invocation_id(self) -> str:
        return self._id

    @property
    def thread_local_storage(self) -> type[threading.local]:
        return self._local

    @property
    def function_name(self) -> str:
        return self._function.name

    @property
    def function_directory(self) -> str:
        return str(self._function.directory)

    @property
    def trace_context(self) -> func._abc.TraceContext:
        return _Trace(self._id)

    @property
    def retry_context(self) -> func._abc.RetryContext:
        return _NoRetry()


class Invoker:
    """Runs functions: synchronous ones in a pool of `threads`, asynchronous ones on the event loop."""

    def __init__(self, *, timeout: timedelta | None, threads: int = DEFAULT_THREADS) -> None:
        self._timeout = timeout.total_seconds() if timeout else None
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="function")
        self._local: Any = threading.local()
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def invoke(
        self, function: IndexedFunction, datum: Datum, metadata: Mapping[str, Datum] | None = None
    ) -> Outcome:
        """Call `function` with the decoded datum; never raises for what the function does, the outcome says it."""
        context = InvocationContext(function, self._local)
        reset = current_invocation.set(CurrentInvocation(function.name, context.invocation_id))
        self._running += 1
        self._idle.clear()
        started = time.perf_counter()
        try:
            answer = await self._call(function, context, datum, metadata or {})
            outcome = Outcome(context.invocation_id, answer=answer)
        except asyncio.CancelledError as error:
            outcome = Outcome(context.invocation_id, error=error)
            raise
        except Exception as error:
            outcome = Outcome(context.invocation_id, error=error)
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()
            current_invocation.reset(reset)
            _log_result(function, outcome, time.perf_counter() - started)
        return outcome

    async def drain(self, grace_seconds: float) -> None:
        """Wait for what runs, no longer than the grace time, then let go of the threads."""
        try:
            await asyncio.wait_for(self._idle.wait(), grace_seconds)
        except TimeoutError:
            _log.warning("%d invocation(s) did not end within the grace time of %g s", self._running, grace_seconds)
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _call(
        self, function: IndexedFunction, context: InvocationContext, datum: Datum, metadata: Mapping[str, Datum]
    ) -> Datum | None:
        arguments = {function.trigger_argument: function.decode(datum, metadata)}
        if function.wants_context:
            arguments[CONTEXT_ARGUMENT] = context
        value = await (self._await if function.is_async else self._run_in_thread)(function, arguments)
        return function.encode(value)

    async def _await(self, function: IndexedFunction, arguments: Mapping[str, Any]) -> object:
        try:
            async with asyncio.timeout(self._timeout) as limit:
                return await function.call(**arguments)
        except TimeoutError:
            if limit.expired():
                raise self._timed_out(function) from None
            raise
        except (SystemExit, KeyboardInterrupt) as error:
            raise _exit_attempt(function, error) from error

    async def _run_in_thread(self, function: IndexedFunction, arguments: Mapping[str, Any]) -> object:
        def call() -> object:
            try:
                return function.call(**arguments)
            except (SystemExit, KeyboardInterrupt) as error:
                raise _exit_attempt(function, error) from error

        running = asyncio.get_running_loop().run_in_executor(self._pool, contextvars.copy_context().run, call)
        done, _ = await asyncio.wait({running}, timeout=self._timeout)
        if not done:
            # A thread cannot be stopped; Azure ends the worker here. Its late result is of no interest to anyone.
            running.add_done_callback(lambda late: late.cancelled() or late.exception())
            raise self._timed_out(function)
        return running.result()

    def _timed_out(self, function: IndexedFunction) -> InvocationTimeout:
        return InvocationTimeout(
            f"Function {function.name!r} exceeded functionTimeout ({self._timeout:g} s) and is reported as failed."
        )


def _exit_attempt(function: IndexedFunction, error: BaseException) -> RuntimeError:
    return RuntimeError(f"Function {function.name!r} tried to end the host with {type(error).__name__}.")


def _own_traceback(error: BaseException) -> tuple[type[BaseException], BaseException, TracebackType] | None:
    """The traceback from the function's own first frame on; None when the host itself raised the error."""
    own = frame = error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename.startswith(_HOST_FOLDER):
            own = frame.tb_next
        frame = frame.tb_next
    return (type(error), error, own) if own is not None else None


def _log_result(function: IndexedFunction, outcome: Outcome, seconds: float) -> None:
    if error := outcome.error:
        logging.getLogger(f"Function.{function.name}").error(
            "%s: %s", type(error).__name__, error, exc_info=_own_traceback(error)
        )
    _results.log(
        logging.INFO if outcome.succeeded else logging.ERROR,
        "Executed 'Functions.%s' (%s, Id=%s, Duration=%.0fms)",
        function.name,
        "Succeeded" if outcome.succeeded else "Failed",
        outcome.invocation_id,
        seconds * 1000,
    )
