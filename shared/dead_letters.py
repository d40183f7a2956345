"""Dead letters: what could not be taken or done and must not be lost. Listed, looked at and replayed by people."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from shared import records
from shared.errors import Invalid
from shared.ports import Clock, Documents, Page, Row, StateStore, Write

BODY_IN_ROW = 16_000


class DeadLetters:
    """Newest first; a large body lies in a document beside."""

    def __init__(self, store: StateStore, documents: Documents, clock: Clock) -> None:
        self._store = store
        self._documents = documents
        self._clock = clock

    def record(self, source: str, reason: str, body: Any) -> str:
        """Keep something; `source` names the replayer that can try it again. Returns the dead letter's id."""
        now = self._clock.now()
        identity = f"{records.newest_first(now)}-{uuid4().hex[:12]}"
        kept: dict[str, Any] = {"body": body}
        if len(json.dumps(body, default=str)) > BODY_IN_ROW:
            path = f"dead-letters/{identity}.json"
            self._documents.write(path, {"body": body})
            kept = {"document": path}
        row = {"source": source, "reason": reason[:2000], "at": now.isoformat(), "replayed_at": None, **kept}
        self._store.commit(records.DEAD, [Write("insert", Row(identity, row))])
        return identity

    def page(self, size: int, continuation: str | None = None) -> Page:
        return self._store.read_page(records.DEAD, "0", "~", size, continuation)

    def replay(self, identity: str, replayers: Mapping[str, Callable[[Any], str]]) -> str:
        """Try a dead letter again and mark it; returns what came of it. Raises `Invalid` for an unknown one."""
        row = self._store.read(records.DEAD, identity)
        if row is None:
            raise Invalid("id", f"there is no dead letter {identity!r}", "an id from the list of dead letters")
        replayer = replayers.get(row.body["source"])
        if replayer is None:
            allowed = ", ".join(sorted(replayers))
            raise Invalid("source", f"a dead letter from {row.body['source']!r} cannot be replayed", allowed)
        result = replayer(self.body(row))
        marked = {**row.body, "replayed_at": self._clock.now().isoformat(), "replay_result": result}
        self._store.commit(records.DEAD, [Write("put", Row(identity, marked))])
        return result

    def body(self, row: Row) -> Any:
        if "document" not in row.body:
            return row.body["body"]
        return (self._documents.read(row.body["document"]) or {}).get("body")
