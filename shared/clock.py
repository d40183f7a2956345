"""The clock of this machine, as the port."""

from __future__ import annotations

from datetime import UTC, datetime


class SystemClock:
    """Now, in UTC."""

    def now(self) -> datetime:
        return datetime.now(UTC)
