"""Dead letters: what could not be taken or done and must not be lost. Listed, looked at and replayed by people.

What comes from outside is kept as it came, as data, and never in unbounded size: a flood costs rows, not gigabytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from shared import records
from shared.errors import Invalid
from shared.ports import Clock, Documents, Row, StateStore, Write

BODY_IN_ROW = 16_000
BODY_LIMIT = 256_000
"""Characters of JSON; a body beyond is cut, and what is cut cannot be replayed. Real events have a few thousand."""
REASON_LIMIT = 500

Replayer = Callable[[Any], str]


@dataclass(frozen=True)
class Replay:
    """What came of a replay; `repeated`: it was replayed before, and this is what came of it then."""

    result: str
    repeated: bool = False


class DeadLetters:
    """A short body lies in the row, a longer one in a document beside it."""

    def __init__(self, store: StateStore, documents: Documents, clock: Clock) -> None:
        self._store = store
        self._documents = documents
        self._clock = clock

    def record(self, source: str, reason: str, body: Any) -> str:
        """Keep something; `source` names the replayer that can try it again. Returns the dead letter's id."""
        now = self._clock.now()
        identity = f"{records.newest_first(now)}-{uuid4().hex[:12]}"
        text = json.dumps(body, default=str)
        kept: dict[str, Any] = {"body": body}
        if len(text) > BODY_LIMIT:
            kept = {"cut": text[: BODY_IN_ROW // 2], "characters": len(text)}
        elif len(text) > BODY_IN_ROW:
            path = f"dead-letters/{identity}.json"
            self._documents.write(path, {"body": body})
            kept = {"document": path}
        row = {"source": source, "reason": reason[:REASON_LIMIT], "at": now.isoformat(), "replayed_at": None, **kept}
        self._store.commit(records.DEAD, [Write("insert", Row(identity, row))])
        return identity

    def find(self, identity: str) -> Mapping[str, Any] | None:
        """One dead letter with its whole body, or None."""
        row = self._store.read(records.DEAD, identity)
        return self._whole(row) if row else None

    def replay(self, identity: str, replayers: Mapping[str, Replayer], by: str) -> Replay:
        """Try a dead letter again, once, and mark it with what came of it and who did it.

        Raises `Invalid` for one that does not exist, cannot be replayed, or is still not acceptable; it stays as it is.
        """
        row = self._store.read(records.DEAD, identity)
        if row is None:
            raise Invalid("id", f"there is no dead letter {identity!r}", "an id from the list of dead letters")
        letter = self._whole(row)
        if letter["replayed_at"]:
            return Replay(letter["replay_result"], repeated=True)
        replayer = replayers.get(letter["source"])
        if replayer is None:
            raise Invalid("source", f"{letter['source']!r} cannot be replayed", ", ".join(sorted(replayers)))
        if "body" not in letter:
            raise Invalid("body", "was not kept whole, so it cannot be replayed", f"up to {BODY_LIMIT} characters")
        result = replayer(letter["body"])
        now = self._clock.now()
        marks = {"replayed_at": now.isoformat(), "replayed_by": by, "replay_result": result}
        self._store.commit(records.DEAD, [Write("put", Row(identity, {**row.body, **marks}))])
        done = records.act(now, by, "DeadLetterReplayed", records.DEAD, identity, told={"reason": result})
        self._store.commit(self._store.shard_of(records.DEAD), [Write("put", done)])
        return Replay(result)

    def _whole(self, row: Row) -> Mapping[str, Any]:
        beside = self._documents.read(row.body["document"]) if "document" in row.body else None
        return {"id": row.key, **row.body, **(beside or {})}
