"""Storage operations, counted on the real clients: a hook in their pipelines sees every request that is sent."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

REQUESTERS = {
    "shared.advance": "advance",
    "shared.application": "jobs",
    "shared.dead_letters": "dead letters",
    "shared.handlers": "handlers",
    "shared.relay": "relay",
    "shared.slots": "slots",
    "tests.bench.fleet": "queue trigger",
}
"""Who asked for a request: the innermost of these modules on the stack. `shared.application` only looks up jobs."""
IN_OTHERS = {("shared.relay", "sweep"): "sweep", ("shared.handlers", "_remember_job"): "jobs"}
"""Functions that ask for somebody else."""


@dataclass
class StorageOperations:
    """Counts by (requester, kind). Pass it as `raw_request_hook`, which azure-core's CustomHookPolicy calls.

    Retries are counted too: the hook comes after the retry policy.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __call__(self, request: Any) -> None:
        requester = _requester()
        if requester:
            self.counts[requester, _kind(request.http_request.method, request.http_request.url)] += 1

    def of(self, requester: str, kind: str | None = None) -> int:
        return sum(count for (who, what), count in self.counts.items() if who == requester and kind in (None, what))


def _requester() -> str | None:
    frame = sys._getframe(1)
    while frame.f_back is not None:
        frame = frame.f_back
        module = frame.f_globals.get("__name__", "")
        if module in REQUESTERS:
            return IN_OTHERS.get((module, frame.f_code.co_name), REQUESTERS[module])
    return None


def _kind(method: str, url: str) -> str:
    path = url.partition("?")[0]
    if path.endswith("/$batch"):
        return "transaction"
    if path.endswith(")"):
        return "range read" if path.endswith("()") else "point read"
    if "/messages" in path:
        return {"POST": "send", "GET": "receive", "DELETE": "delete"}[method]
    return "document read" if method == "GET" else "document write"
