"""Steps that repeat in a thread until they are stopped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class Repeating:
    """Calls `step` every `interval` seconds; an error is logged and the next call comes all the same."""

    def __init__(self, name: str, step: Callable[[], None], interval: float) -> None:
        self._step = step
        self._interval = interval
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Return when no step runs any more and none will."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            try:
                self._step()
            except Exception:
                log.exception("%s: a step failed and is tried again", self._thread.name)
