"""Starts: which work was started for which command, written before and after, so that a crash between loses nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from shared import records
from shared.domain.retention import Kept
from shared.errors import AlreadyExists, Conflict, FleetError, Permanent, Transient
from shared.ports import Clock, Row, StateStore, Write

CLAIM = timedelta(minutes=2)
"""Longer than a start takes at most: two requests at their timeouts, and the rows."""


class Starts:
    """One row a command: what was asked, who is at it until when, and the reference once it is known."""

    def __init__(self, store: StateStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def once(
        self,
        command_id: str,
        request: Mapping[str, Any],
        find: Callable[[], str | None],
        start: Callable[[], str],
    ) -> str:
        """The reference of the command's work, which is started unless it was.

        The intent is written first. Where an earlier caller wrote it and left no reference (it crashed, or the answer
        was lost), `find` looks for the work on the service before `start` is called again. Raises Transient while
        another caller is at it, and Permanent for an id that stands for another request.
        """
        key = records.safe(command_id)
        row = self._store.read(records.STARTS, key)
        if row is not None:
            if row.body["request"] != dict(request):
                raise Permanent(f"{command_id} stands for {row.body['request']} already, not for {dict(request)}")
            if row.body["reference"]:
                return str(row.body["reference"])
        claimed = self._claim(command_id, key, request, row)
        try:
            reference = (find() if row is not None else None) or start()
        except FleetError:
            self._write(key, {**claimed, "until": self._clock.now().isoformat()})
            raise
        self._write(key, {**claimed, "reference": reference})
        return reference

    def _claim(self, command_id: str, key: str, request: Mapping[str, Any], row: Row | None) -> dict[str, Any]:
        now = self._clock.now()
        claimed = {"request": dict(request), "reference": "", "until": (now + CLAIM).isoformat()}
        try:
            if row is None:
                kept = records.kept(Kept.LOOKUPS, now.date(), key)
                self._store.commit(records.STARTS, [Write("insert", Row(key, claimed)), Write("put", kept)])
                return claimed
            if datetime.fromisoformat(row.body["until"]) <= now:
                self._store.commit(records.STARTS, [Write("replace", Row(key, claimed, row.etag))])
                return claimed
        except (AlreadyExists, Conflict):
            pass
        raise Transient(f"another caller is starting the work of {command_id}", retry_after=2)

    def _write(self, key: str, body: Mapping[str, Any]) -> None:
        self._store.commit(records.STARTS, [Write("put", Row(key, body))])
