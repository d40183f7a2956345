"""A champion: what served a circuit from a moment on. One row each, so that any day can be asked about."""

from __future__ import annotations

from datetime import datetime

from shared.domain.values import Pair, Value


class Champion(Value):
    """From `since` (UTC) on `pair` served, or nothing; `served_by` is the item that put it there."""

    pair: Pair | None
    since: datetime
    served_by: str
    previous: Pair | None = None
