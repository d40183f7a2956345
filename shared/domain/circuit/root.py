"""The circuit itself: the row that is loaded and saved with everything open under it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from shared.domain.machine import Root
from shared.domain.persistence import Judged
from shared.domain.update import Standing
from shared.domain.values import Pair, Value

PAIRS_KEPT = 10
"""Proved and condemned pairs that a circuit remembers; the newest ones."""


class Proved(Value):
    """A pair that served and was verified (UTC), with the tags that scoring it takes."""

    pair: Pair
    at: datetime
    tags: Mapping[str, str] = {}


class Forecast(Value):
    """The scoring run whose forecast of the newest origin (UTC) stands."""

    run: str
    origin: datetime


class Circuit(Root):
    """`desired` is set with the deploy command, `serving` by its outcome, `verified` when serving has proved itself.

    `served_by` put `serving` there, at `serving_since`. From `expected_since` on, without a break, a scoring a day is
    expected; times are UTC. `proved` are the pairs that a rollback may go back to, the one that served last first;
    `condemned` were rolled back and are none of them. `direct` is what a person put into production past the
    application, until something else serves. An owner is the id of the item whose affair a deployment is.
    `performance`, `drift` (of runs that decide) and `drift_warnings` are the newest verdicts, newest period first.
    """

    desired: Pair | None = None
    serving: Pair | None = None
    verified: Pair | None = None
    serving_tags: Mapping[str, str] = {}
    served_by: str = ""
    serving_since: datetime | None = None
    expected_since: datetime | None = None
    proved: tuple[Proved, ...] = ()
    condemned: tuple[Pair, ...] = ()
    test_owner: str = ""
    production_owner: str = ""
    scoring: bool = True
    rollbacks: int = 0
    discrepancies: int = 0
    direct: Pair | None = None
    direct_actions: int = 0
    update: Standing | None = None
    departure: str = ""
    departures: int = 0
    retired: bool = False
    sensor: str = ""
    hold: str = ""
    holds: int = 0
    newest_version: int = 0
    newest_reading: datetime | None = None
    table: str = ""
    former_tables: tuple[str, ...] = ()
    delta_version: int | None = None
    scored_through: datetime | None = None
    forecast: Forecast | None = None
    performance: tuple[Judged, ...] = ()
    drift: tuple[Judged, ...] = ()
    drift_warnings: tuple[Judged, ...] = ()
    degradations: int = 0
    proposals: int = 0
    drifts: int = 0

    def proven(self, pair: Pair, tags: Mapping[str, str], at: datetime) -> tuple[Proved, ...]:
        """The proved pairs with this one first: it is what served last."""
        others = [proved for proved in self.proved if proved.pair != pair]
        return (Proved(pair=pair, at=at, tags=tags), *others)[:PAIRS_KEPT]
