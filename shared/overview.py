"""The overview: what needs a person now, and every circuit at a glance. Reads in proportion to what it shows."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from shared import records
from shared.domain.alerts.causes import Cause, Severity
from shared.domain.ledger import PUBLISHED, DayState
from shared.domain.release import AWAITING, Phase
from shared.domain.rules import Rules
from shared.domain.values import split_circuit
from shared.ledger import Ledger
from shared.ports import Clock, Row, StateStore
from shared.queries import Listing, checked, merged, opened, token

PAGE = "overview|"
WIDEST_PAGE = 400
"""Configured circuits that one page may span: what is read for it never exceeds their rows."""
NEEDS_SHOWN = 50
ENDED_LOOKED_AT = 100
ENDED_WITHIN = timedelta(days=7)
DAYS_AT_A_GLANCE = 3
OVERDUE_SHARE = 0.75
"""A step that has used more than this much of the time it is allowed is slow."""


UNSAID = frozenset({Cause.PERFORMANCE, Cause.DRIFT, Cause.QUALITY, Cause.ENVIRONMENT_UPDATE, Cause.PROPOSAL})
"""Causes of alerts that nothing else of a circuit shows: what comes of holds, days and releases is said of these."""


class Show(StrEnum):
    """Which circuits are shown."""

    ALL = "all"
    UNDER_WAY = "under way"
    PEOPLE = "waits for people"
    HELD = "held"
    ALERTED = "alerted"


class Health(StrEnum):
    """How a circuit is, the worst first."""

    BAD = "bad"
    WARN = "warn"
    PERSON = "person"
    BUSY = "busy"
    WAIT = "wait"
    NONE = "none"
    GOOD = "good"


class Configured(Protocol):
    """The part of the directory that the overview asks."""

    def circuits(self) -> Sequence[str]: ...

    def name(self, circuit: str) -> str: ...

    def rules(self, root: str) -> Rules: ...


class Overview:
    """Reads for the first page that people look at."""

    def __init__(self, store: StateStore, directory: Configured, ledger: Ledger, clock: Clock) -> None:
        self._store = store
        self._directory = directory
        self._ledger = ledger
        self._clock = clock

    def plants(self) -> list[Mapping[str, Any]]:
        """The configured plants with how many circuits each has."""
        counts: dict[str, int] = {}
        for circuit in self._directory.circuits():
            plant = split_circuit(circuit)[0]
            counts[plant] = counts.get(plant, 0) + 1
        return [{"plant": plant, "circuits": count} for plant, count in counts.items()]

    def needs(self) -> Mapping[str, Any]:
        """What needs a person, each list the most pressing first: gates, what went wrong, what is slow, what is held.

        Four range reads a shard, and one row for each of the releases that went wrong.
        """
        now = self._clock.now()
        gates = merged(self._store, *records.OPEN_GATES, NEEDS_SHOWN + 1)
        rows = self._opened()
        of_circuits = {name: _all(rows, name) for name in ("releases", "holds", "discrepancies", "rollbacks")}
        names = ("id", "circuit", "release", "gate", "requested_at", "expires_at")
        return {
            "at": now.isoformat(),
            "approvals": [{name: row.body[name] for name in names} for row in gates[:NEEDS_SHOWN]],
            "more_approvals": len(gates) > NEEDS_SHOWN,
            "went_wrong": self._went_wrong(now),
            "slow": sorted((r for r in of_circuits["releases"] if _is_slow(r, now)), key=lambda r: str(r["deadline"])),
            **{name: of_circuits[name] for name in ("holds", "discrepancies", "rollbacks")},
            "under_way": len(of_circuits["releases"]),
        }

    def _opened(self) -> list[Mapping[str, Any]]:
        """The circuits with something open."""
        span = records.OPEN_CIRCUITS
        return [row.body for shard in self._store.shards for row in self._store.read_range(shard, *span)]

    def _went_wrong(self, now: datetime) -> list[Mapping[str, Any]]:
        """Releases that failed, errored or expired within a week and that no newer version has followed."""
        ended = merged(self._store, "$done|", f"$done|{records.newest_first(now - ENDED_WITHIN)}", ENDED_LOOKED_AT)
        wrong = {Phase.FAILED, Phase.ERRORED, Phase.EXPIRED}
        found: list[Mapping[str, Any]] = []
        for row in ended:
            if row.body["phase"] not in wrong:
                continue
            circuit = row.body["circuit"]
            summary = self._store.read(self._store.shard_of(circuit), f"{records.CIRCUITS[0]}{circuit}")
            if summary and summary.body["newest_version"] == row.body["version"]:
                found.append(row.body)
            if len(found) == NEEDS_SHOWN:
                break
        return found

    def circuits(
        self, size: int, continuation: str | None = None, plant: str = "", text: str = "", show: Show = Show.ALL
    ) -> Listing:
        """One page of circuits at a glance, in key order; `text` is looked for in their keys and names.

        Whatever is asked for, a page reads its span of each index once: circuits, what is open, and three days.
        """
        shown, more = self._page(self._matching(plant, text, show), size, continuation)
        return Listing(self._glances(shown) if shown else [], token(PAGE + shown[-1]) if more else None)

    def days(
        self, first: date, last: date, size: int, continuation: str | None = None, plant: str = "", text: str = ""
    ) -> Listing:
        """One page of circuits, each with the states of its days; one range read a day and shard."""
        shown, more = self._page(self._matching(plant, text, Show.ALL), size, continuation)
        if not shown:
            return Listing([], None)
        summaries = {row.body["id"]: row.body for row in self._span(records.CIRCUITS[0], shown)}
        states = self._ledger.states(shown, first, last, summaries)
        entries = [
            {"circuit": circuit, "name": self._directory.name(circuit), "days": states[circuit]} for circuit in shown
        ]
        return Listing(entries, token(PAGE + shown[-1]) if more else None)

    def _page(self, wanted: Sequence[str], size: int, continuation: str | None) -> tuple[Sequence[str], bool]:
        """The next of the wanted circuits, as far as their span stays narrow; and whether there are more."""
        after = opened(continuation, PAGE) if continuation else ""
        wanted = wanted[bisect_right(wanted, after) :]
        if not wanted:
            return [], False
        known = self._directory.circuits()
        furthest = known[min(bisect_right(known, wanted[0]) + WIDEST_PAGE, len(known)) - 1] if known else ""
        shown = [circuit for circuit in wanted[: checked(size)] if circuit <= max(furthest, wanted[0])]
        return shown, len(shown) < len(wanted)

    def _matching(self, plant: str, text: str, show: Show) -> list[str]:
        """The keys that are asked for, in order: of the configuration, or of what is open."""
        if show is Show.ALL:
            keys = sorted(self._directory.circuits())
        else:
            keys = sorted(body["circuit"] for body in self._opened() if _is_shown(body, show))
        sought = text.strip().casefold()
        return [
            key
            for key in keys
            if (not plant or split_circuit(key)[0] == plant)
            and (not sought or sought in key.casefold() or sought in self._directory.name(key).casefold())
        ]

    def _glances(self, shown: Sequence[str]) -> list[Mapping[str, Any]]:
        summaries = {row.body["id"]: row.body for row in self._span(records.CIRCUITS[0], shown)}
        opened_rows = {row.body["circuit"]: row.body for row in self._span(records.OPEN_CIRCUITS[0], shown)}
        today = self._directory.rules(shown[0]).origin(self._clock.now()).date()
        days = self._ledger.states(shown, today - timedelta(days=DAYS_AT_A_GLANCE - 1), today, summaries)
        return [
            glance(
                circuit,
                self._directory.name(circuit),
                summaries.get(circuit),
                opened_rows.get(circuit, {}),
                days[circuit],
            )
            for circuit in shown
        ]

    def _span(self, prefix: str, shown: Sequence[str]) -> list[Row]:
        span = f"{prefix}{shown[0]}", f"{prefix}{shown[-1]}~"
        return [row for shard in self._store.shards for row in self._store.read_range(shard, *span)]


def glance(
    circuit: str,
    name: str,
    summary: Mapping[str, Any] | None,
    open_now: Mapping[str, Any],
    days: Mapping[str, DayState],
) -> Mapping[str, Any]:
    """One circuit in a few words; `days` are the newest days' states, `says` what is the matter, the worst first."""
    serving = summary["serving"] if summary else None
    says = sorted(_said(summary, open_now, list(days.values())), key=lambda said: list(Health).index(said[0]))
    return {
        "circuit": circuit,
        "plant": split_circuit(circuit)[0],
        "name": name,
        "serving": serving,
        "verified": bool(serving) and summary is not None and summary["verified"] == serving,
        "newest_reading": summary["newest_reading"] if summary else None,
        "days": {day: str(state) for day, state in days.items()},
        "releases": open_now.get("releases", []),
        "update": summary["update"] if summary else None,
        "health": str(says[0][0]) if says else str(Health.GOOD),
        "says": [text for _, text in says],
    }


def _said(
    summary: Mapping[str, Any] | None, open_now: Mapping[str, Any], days: Sequence[DayState]
) -> list[tuple[Health, str]]:
    if summary is None:
        return [(Health.NONE, "no reading and no model yet")]
    said = [
        (Health.BAD, "production serves something else than is recorded") for _ in open_now.get("discrepancies", [])
    ]
    said += [(Health.WARN, f"on hold by {hold['by']}") for hold in open_now.get("holds", [])]
    said += [(Health.BUSY, "is being rolled back") for _ in open_now.get("rollbacks", [])]
    for release in open_now.get("releases", []):
        awaits = release["phase"] in AWAITING
        said.append((Health.PERSON if awaits else Health.BUSY, f"version {release['version']} {release['phase']}"))
    if summary["serving"] is None:
        said.append((Health.NONE if open_now else Health.WAIT, "nothing serves"))
    elif not summary["scoring"]:
        said.append((Health.BAD, "scoring is suspended"))
    said += [
        (Health.BAD if alert["severity"] == Severity.CRITICAL else Health.WARN, alert["reason"])
        for alert in open_now.get("alerts", [])
        if alert["cause"] in UNSAID
    ]
    late = [state for state in days if state in (DayState.MISSING, DayState.FAILED)]
    if late:
        said.append((Health.BAD, f"{len(late)} of the last {len(days)} days without a forecast"))
    elif days and days[-1] not in PUBLISHED:
        said.append((Health.WAIT, f"today's forecast is {days[-1]}"))
    elif DayState.LATE in days[-1:]:
        said.append((Health.WARN, "today's forecast came late"))
    return said


def _is_shown(body: Mapping[str, Any], show: Show) -> bool:
    match show:
        case Show.PEOPLE:
            return any(release["phase"] in AWAITING for release in body["releases"])
        case Show.HELD:
            return bool(body["holds"] or body["discrepancies"])
        case Show.ALERTED:
            return bool(body.get("alerts"))
        case _:
            return bool(body["releases"] or body["rollbacks"])


def _all(rows: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    return [{**one, "circuit": row["circuit"]} for row in rows for one in row[name]]


def _is_slow(release: Mapping[str, Any], now: datetime) -> bool:
    """Whether a step that does not wait for people has used most of the time that it is allowed."""
    if release["phase"] in AWAITING or not release["deadline"]:
        return False
    since, deadline = datetime.fromisoformat(release["since"]), datetime.fromisoformat(release["deadline"])
    return now > since + (deadline - since) * OVERDUE_SHARE
