"""A Synapse workspace's Spark pool here: batches that queue, run, end, fail, hang and are cancelled.

What a batch did lies in the lake, as `run` leaves it: the service itself knows only how it ended.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from typing import Any, ClassVar, Literal

from tests.azure_services.definitions import SPECS, Definitions
from tests.azure_services.server import Call, Endpoint, Refused, Reply, Service

POOL = "fleetpool"
QUEUED, RUNS = timedelta(seconds=60), timedelta(minutes=5)
BATCHES = "/livyApi/versions/{version}/sparkPools/{pool}/batches"
PAGE_LIMIT = 20

Ending = Literal["success", "dead", "killed", "never"]


def synapse_definitions() -> Definitions:
    """The definition of Spark batches; its version is in the path."""
    return Definitions(sorted((SPECS / "azure-rest/synapse").rglob("sparkJob.json")), check_version=False)


@dataclass
class Batch:
    """One Spark batch. It runs from `starts_at`, and ends at `ends_at` as `ending` says."""

    number: int
    options: dict[str, Any]
    submitted_at: datetime
    starts_at: datetime
    ends_at: datetime
    ending: Ending = "success"
    ended: bool = False

    def state(self, now: datetime) -> str:
        if self.ending != "never" and now >= self.ends_at:
            return self.ending
        return "running" if now >= self.starts_at else "not_started"

    def body(self, now: datetime, *, detailed: bool) -> dict[str, Any]:
        state = self.state(now)
        shown: dict[str, Any] = {
            "id": self.number,
            "name": self.options["name"],
            "sparkPoolName": POOL,
            "jobType": "SparkBatch",
            "state": state,
            "appId": f"application_{self.number}" if now >= self.starts_at else None,
            "result": {"success": "Succeeded", "dead": "Failed", "killed": "Cancelled"}.get(state, "Uncertain"),
            "log": None,
        }
        if detailed:
            times = {"notStartedAt": self.submitted_at}
            if now >= self.starts_at and self.starts_at < self.ends_at:
                times["runningAt"] = self.starts_at
            if state in ("success", "dead", "killed"):
                times[f"{state}At"] = self.ends_at
            shown["tags"] = self.options.get("tags", {})
            shown["livyInfo"] = {"currentState": state, **{name: at.isoformat() for name, at in times.items()}}
            if state == "dead":
                shown["errorInfo"] = [{"source": "User", "errorCode": "SPARK_EXIT", "message": "exit code 1"}]
        return shown


class Synapse(Service):
    """`run` is told a batch's options when it has succeeded: it does to the lake what the job would have done."""

    name: ClassVar[str] = "synapse"
    audience: ClassVar[str] = "https://dev.azuresynapse.net"

    def __init__(self, run: Callable[[dict[str, Any]], None] = lambda options: None) -> None:
        self._run = run
        self._definitions = synapse_definitions() if SPECS.is_dir() else None
        self._numbers = count(1)
        self.batches: dict[int, Batch] = {}
        self.endings: list[Ending] = []
        """How the next batches end, in order; those after them succeed."""

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("GET", BATCHES, self._list),
            Endpoint("POST", BATCHES, self._submit),
            Endpoint("GET", BATCHES + "/{batch}", self._show),
            Endpoint("DELETE", BATCHES + "/{batch}", self._cancel),
        ]

    def check(self, call: Call) -> None:
        problems = self._definitions.problems(call) if self._definitions else None
        if problems:
            raise Refused(400, "InvalidRequest", "; ".join(problems))
        if call.parts.get("pool") != POOL:
            raise Refused(404, "SparkPoolNotFound", f"there is no pool {call.parts.get('pool')}")
        for batch in self.batches.values():
            if not batch.ended and batch.state(self.now) == "success":
                self._run(batch.options)
            batch.ended = batch.state(self.now) not in ("not_started", "running")

    def _submit(self, call: Call) -> Reply:
        options = call.body
        if not re.fullmatch(r"abfss://.+\.py", options["file"]):
            raise Refused(400, "InvalidFile", f"{options['file']} is no Python file on ADLS Gen2")
        starts = self.now + QUEUED
        ending = self.endings.pop(0) if self.endings else "success"
        batch = Batch(next(self._numbers), options, self.now, starts, starts + RUNS, ending)
        self.batches[batch.number] = batch
        return Reply(body=batch.body(self.now, detailed=False))

    def _list(self, call: Call) -> Reply:
        begin, size = int(call.query.get("from", "0")), min(int(call.query.get("size", "20")), PAGE_LIMIT)
        shown = [batch.body(self.now, detailed=False) for batch in self.batches.values()][begin : begin + size]
        return Reply(body={"from": begin, "total": len(self.batches), "sessions": shown})

    def _show(self, call: Call) -> Reply:
        return Reply(body=self._found(call).body(self.now, detailed=call.query.get("detailed") == "true"))

    def _cancel(self, call: Call) -> Reply:
        batch = self._found(call)
        if not batch.ended:
            batch.ending, batch.ends_at = "killed", self.now
        else:
            del self.batches[batch.number]  # as Livy does with a session that has ended
        return Reply()

    def _found(self, call: Call) -> Batch:
        batch = self.batches.get(int(call.parts["batch"]))
        if batch is None:
            raise Refused(404, "SparkBatchNotFound", f"there is no batch {call.parts['batch']}")
        return batch
