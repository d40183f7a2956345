"""Faults: what goes wrong on Azure now and then, switched on for a test or a demonstration, counted and limited."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import requests
from pydantic import BaseModel, ConfigDict, Field

from local.platform.names import Work
from shared.domain.values import Stage


class FaultKind(StrEnum):
    """What goes wrong."""

    OPERATION_FAILS = "operation_fails"  # accepted, and failed when looked at later
    OPERATION_SLOW = "operation_slow"  # ends `seconds` later than usual
    JOB_FAILS = "job_fails"  # starts to run, then fails
    JOB_HANGS = "job_hangs"  # runs until it is cancelled or its time is over
    JOB_SLOW = "job_slow"  # runs `seconds` longer than its work takes
    OUTPUT_UNUSABLE = "output_unusable"  # a scoring job completes, its predictions are not numbers
    EVENT_LOST = "event_lost"
    EVENT_REPEATED = "event_repeated"  # published `copies` times
    EVENT_DELAYED = "event_delayed"  # published `seconds` later
    ANSWER_LOST = "answer_lost"  # the start happens, its answer is a 500
    THROTTLED = "throttled"  # the start is refused with 429 and `Retry-After: seconds`


class Fault(BaseModel):
    """One fault and what it strikes: everything that matches all the filters given, the first `times` times."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FaultKind
    work: Work | None = None
    circuit: str | None = None
    stage: Stage | None = None
    command_id: str | None = None
    event_type: str | None = Field(None, description="the end of an event type, e.g. RunCompleted")
    times: int = Field(1, ge=1)
    seconds: float = Field(1.0, ge=0)
    copies: int = Field(2, ge=1)

    def strikes(self, **subject: str) -> bool:
        """Whether it concerns this subject; what a subject does not name, it does not match."""
        event_type = subject.pop("event_type", "")
        wanted = {name: getattr(self, name) for name in ("work", "circuit", "stage", "command_id")}
        if self.event_type is not None and not event_type.endswith(self.event_type):
            return False
        return all(value is None or subject.get(name) == value for name, value in wanted.items())


class FaultSwitches:
    """The switches of a running platform, turned over its HTTP API."""

    def __init__(self, url: str, key: str) -> None:
        self._platform = url.rstrip("/")
        self._url = f"{self._platform}/faults"
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {key}"

    def switch_on(self, kind: FaultKind, **options: Any) -> int:
        """Switch a fault on (`options`: the other fields of Fault) and return its number."""
        fault = Fault(kind=kind, **options)
        answer = self._session.post(self._url, json=fault.model_dump(mode="json"), timeout=10)
        answer.raise_for_status()
        return int(answer.json()["number"])

    def listed(self) -> list[dict[str, Any]]:
        """Every fault that was switched on: its fields, `number`, `left` and `struck` (how often it struck)."""
        answer = self._session.get(self._url, timeout=10)
        answer.raise_for_status()
        return list(answer.json()["value"])

    def switch_off(self) -> None:
        """Switch every fault off and forget it."""
        self._session.delete(self._url, timeout=10).raise_for_status()

    def leave_readings_after(self, until: datetime | None) -> None:
        """Let ETL runs leave readings after this time (aware of its time zone) for a later run; None lifts it."""
        body = {"until": until.isoformat() if until else None}
        self._session.put(f"{self._platform}/etl/until", json=body, timeout=10).raise_for_status()
