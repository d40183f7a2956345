"""The circuit itself: the row that is loaded and saved with everything open under it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from shared.domain.machine import Root
from shared.domain.values import Pair


class Circuit(Root):
    """`desired` is set with the deploy command, `serving` by its outcome, `verified` when serving has proved itself.

    `served_by` put `serving` there, at `serving_since`. From `expected_since` on, without a break, a scoring a day is
    expected; times are UTC.
    """

    desired: Pair | None = None
    serving: Pair | None = None
    verified: Pair | None = None
    serving_tags: Mapping[str, str] = {}
    served_by: str = ""
    serving_since: datetime | None = None
    expected_since: datetime | None = None
    test_owner: str = ""
    production_owner: str = ""
    scoring: bool = True
    newest_version: int = 0
    newest_reading: datetime | None = None
    table: str = ""
    former_tables: tuple[str, ...] = ()
    delta_version: int | None = None
    scored_through: datetime | None = None
