"""Logging of the host: Azure's categories and the levels that host.json gives them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextvars import ContextVar
from typing import NamedTuple

LEVELS: Mapping[str, int] = {
    "Trace": logging.DEBUG,
    "Debug": logging.DEBUG,
    "Information": logging.INFO,
    "Warning": logging.WARNING,
    "Error": logging.ERROR,
    "Critical": logging.CRITICAL,
    "None": logging.CRITICAL + 1,
}
# The SDKs log every request at INFO.
_DEFAULTS: Mapping[str, str] = {"default": "Information", "azure": "Warning", "uvicorn": "Warning"}
_HOST_CATEGORIES = ("Host", "Function")


class CurrentInvocation(NamedTuple):
    """Whose log records these are."""

    function: str
    id: str


current_invocation: ContextVar[CurrentInvocation | None] = ContextVar("current_invocation", default=None)


class CategoryFilter(logging.Filter):
    """Drops records below their category's level. What a function logs itself is `Function.<name>.User`."""

    def __init__(self, levels: Mapping[str, str]) -> None:
        super().__init__()
        self._levels = {name: LEVELS[level] for name, level in {**_DEFAULTS, **levels}.items()}

    def filter(self, record: logging.LogRecord) -> bool:
        invocation = current_invocation.get()
        record.invocation = f" [{invocation.function} {invocation.id[:8]}]" if invocation else ""
        level = self._level(record.name)
        if level is None and invocation is not None:
            level = self._level(f"Function.{invocation.function}.User")
        return record.levelno >= (self._levels["default"] if level is None else level)

    def _level(self, category: str) -> int | None:
        while category:
            if category in self._levels:
                return self._levels[category]
            category = category.rpartition(".")[0]
        return None


def configure_logging(levels: Mapping[str, str]) -> None:
    """Send all records to standard error, one line each, at the levels of host.json's logging.logLevel."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)-7s %(name)s%(invocation)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    )
    handler.addFilter(CategoryFilter(levels))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(min(LEVELS[level] for level in {**_DEFAULTS, **levels}.values()))
    for noisy in ("azure", "urllib3"):  # stops them from formatting what the filter would drop
        logging.getLogger(noisy).setLevel(LEVELS[levels.get(noisy, "Warning")])
