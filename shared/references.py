"""What the state refers to of the table: the versions that a vacuum has to spare for the ledger's sake."""

from __future__ import annotations

from datetime import datetime, timedelta

from shared import records
from shared.domain.scoring import SCORING, scoring_id
from shared.ports import StateStore

KEPT_DAYS = 30
"""How long a day can be scored again on the very readings that it was scored on."""


def ledger_versions(store: StateStore, table_id: str, now: datetime) -> frozenset[int]:
    """The versions of the table that circuits, their open items and the scorings of the last KEPT_DAYS refer to.

    Two range reads a circuit, also of circuits that are in no configuration any more.
    """
    bodies = []
    for shard in store.shards:
        for index in store.read_range(shard, "$circuit|", "$circuit|~"):
            circuit = index.body["id"]
            since = scoring_id(circuit, now - timedelta(days=KEPT_DAYS))
            bodies += store.read_range(shard, *records.root_range(circuit))
            bodies += store.read_range(shard, *records.finished_span(circuit, SCORING, since, "~"))
    found = [row.body for row in bodies if row.body.get("table") == table_id]
    return frozenset(body["delta_version"] for body in found if body.get("delta_version") is not None)
