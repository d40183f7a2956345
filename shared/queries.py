"""Queries: what people read. Ranges of the indexes that `records` keeps, never the history of everything.

An item that the state keeps no more is read from the archive when it is asked for by name; lists do not have it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import Any

from shared import records
from shared.archive import Archive
from shared.domain.alerts.alert import ALERT
from shared.domain.alerts.causes import Severity
from shared.domain.approvals import LINEAGE, METRICS, would_not_count
from shared.domain.champion import Champion
from shared.domain.circuit import Circuit
from shared.domain.comparison import numbers
from shared.domain.departure import DEPARTURE
from shared.domain.direct_action import DIRECT_ACTION
from shared.domain.discrepancy import DISCREPANCY
from shared.domain.drift import DRIFT_CHECK, Drift
from shared.domain.environment.release import ENVIRONMENT_RELEASE, EnvironmentRelease
from shared.domain.explain import Explanation, explain
from shared.domain.fleet import ROOT as FLEET
from shared.domain.fleet import STOP
from shared.domain.hold import HOLD
from shared.domain.machine import Item, Kind
from shared.domain.messages import ApprovalRequested, Person
from shared.domain.monitoring import ROOT as MONITOR
from shared.domain.monitoring.run import MONITORING, check_id
from shared.domain.performance import PERFORMANCE, Degradation
from shared.domain.proposals.proposal import PROPOSAL
from shared.domain.release import RELEASE, Asked, Release, release_id
from shared.domain.rollback import ROLLBACK
from shared.domain.rules import Rules
from shared.domain.scoring import SCORING
from shared.domain.values import ENVIRONMENT, Gate, Monitoring, Pair, version_numbers
from shared.errors import Invalid
from shared.ports import Row, StateStore

PAGE_SIZES = range(1, 201)
ORDERED = (ROLLBACK, HOLD, DISCREPANCY, DIRECT_ACTION, DEPARTURE)
"""What people order of a circuit, and what befalls it beside its releases."""
LONGEST_KEY = 512


@dataclass(frozen=True)
class Listing:
    """Some entries, and the token with which to ask for the next ones (None: there are no more)."""

    entries: Sequence[Mapping[str, Any]]
    continuation: str | None


class Queries:
    """Reads for the API and for people's tools."""

    def __init__(self, store: StateStore, archive: Archive) -> None:
        self._store = store
        self._archive = archive

    def circuits(self, size: int, continuation: str | None = None) -> Listing:
        """Circuits with what serves and what is open, in key order."""
        return self._listed("$circuit|", size, continuation)

    def ended_releases(self, size: int, continuation: str | None = None) -> Listing:
        """Releases that have ended, newest first."""
        return self._listed("$done|", size, continuation)

    def open_releases(self) -> list[Mapping[str, Any]]:
        """Every release under way, oldest first: in proportion to what is under way."""
        found = [
            release
            for shard in self._store.shards
            for row in self._store.read_range(shard, *records.OPEN_CIRCUITS)
            for release in row.body["releases"]
        ]
        return sorted(found, key=lambda release: str(release["created_at"]))

    def approvals(self, person: Person, size: int, continuation: str | None = None) -> Listing:
        """Open approvals, oldest first, with their evidence and whether a yes of the person would count."""
        listing = self._listed("$gate|", size, continuation)
        entries = [self._approval(person, entry["circuit"], entry["release"]) for entry in listing.entries]
        return Listing([entry for entry in entries if entry], listing.continuation)

    def approval(self, person: Person, identity: str) -> Mapping[str, Any] | None:
        """One open approval by its id, as `approvals` has it."""
        release = identity.rsplit(":", 2)[0]
        entry = self._approval(person, release.partition(":")[0], release)
        return entry if entry and entry["id"] == identity else None

    def was_asked(self, identity: str) -> bool:
        """Whether there ever was an approval with this id, open or closed."""
        release, _, number = identity.rsplit(":", 2)
        found = self.release(release)
        return found is not None and int(number) <= int(found["asked"])

    def alerts(
        self, size: int, continuation: str | None = None, plant: str = "", severity: Severity | None = None
    ) -> Listing:
        """Open alerts, the critical and then the newest first; of one plant, of one severity, where these are given.

        Others are read over: in proportion to what is open, not to history.
        """
        prefix = records.alerts_of(severity) if severity else records.OPEN_ALERTS
        first = records.OPEN_ALERTS + opened(continuation, records.OPEN_ALERTS) if continuation else prefix
        found: list[Row] = []
        while len(found) <= checked(size):
            rows = merged(self._store, max(first, prefix), f"{prefix}~", PAGE_SIZES.stop)
            found += [row for row in rows if plant in ("", row.body["plant"])]
            if len(rows) < PAGE_SIZES.stop:
                break
            first = f"{rows[-1].key}~"
        return page([row.body for row in found], [row.key for row in found], size)

    def alert(self, key: str) -> Mapping[str, Any] | None:
        """The newest alert of a key, open or closed, with its history; one read a shard, and the history."""
        rows = [self._store.read(shard, records.alerted_key(key)) for shard in self._store.shards]
        body = next((row.body for row in rows if row), None)
        return {**body, "history": self.history(body["root"], ALERT, body["id"])} if body else None

    def proposals(self, size: int, continuation: str | None = None) -> Listing:
        """Open proposals, the newest first."""
        return self._listed(records.OPEN_PROPOSALS, size, continuation)

    def proposal(self, identity: str) -> Mapping[str, Any] | None:
        """One proposal, open or ended, with its history."""
        circuit = identity.partition("!")[0]
        item = self._item(circuit, PROPOSAL, identity)
        return {**item.model_dump(mode="json"), "history": self.history(circuit, PROPOSAL, identity)} if item else None

    def dead_letters(self, size: int, continuation: str | None = None) -> Listing:
        """What could not be taken or done, newest first; bodies that are long lie in a document beside."""
        first = opened(continuation, _DEAD) if continuation else "0"
        rows = self._store.read_range(records.DEAD, first, "~", checked(size) + 1)
        return page([{"id": row.key, **row.body} for row in rows], [_DEAD + row.key for row in rows], size)

    def acts(self, size: int, continuation: str | None = None, until: datetime | None = None) -> Listing:
        """What people did, newest first, from `until` (UTC) on backwards; one range read a shard."""
        first = records.ACTS
        if continuation:
            first += opened(continuation, records.ACTS)
        elif until:
            first += records.newest_first(until)
        rows = merged(self._store, first, f"{records.ACTS}~", checked(size) + 1)
        return page([row.body for row in rows], [row.key for row in rows], size)

    def root(self, root: str) -> Mapping[str, Any] | None:
        """A root itself, or None while nothing was heard of it."""
        loaded = self._load(root)
        return loaded.root.model_dump(mode="json") if loaded.rows else None

    def circuit(self, circuit: str) -> Mapping[str, Any] | None:
        """What serves, what is open and who owns what, of one circuit."""
        loaded = self._load(circuit)
        if not loaded.rows:
            return None
        assert isinstance(loaded.root, Circuit)
        return {
            **loaded.root.model_dump(mode="json"),
            "open": [item.model_dump(mode="json") for item in loaded.items.values()],
        }

    def releases_of(self, circuit: str) -> list[Mapping[str, Any]]:
        """Every release of one circuit, newest version first."""
        partition = self._store.shard_of(circuit)
        ended = self._store.read_range(partition, *records.finished_range(circuit, RELEASE))
        releases = [*self._load(circuit).items.values(), *map(records.item_from, ended)]
        found = [release for release in releases if isinstance(release, Release)]
        return [records.brief(r) for r in sorted(found, key=lambda r: r.version, reverse=True)]

    def releases_page(self, circuit: str, size: int, continuation: str | None = None) -> Listing:
        """A part of `releases_of`."""
        releases = self.releases_of(circuit)
        return part(releases, [f"{circuit}|{release['version']}" for release in releases], size, continuation)

    def release(self, identity: str) -> Mapping[str, Any] | None:
        """One release of a model or an environment, open or ended."""
        root = identity.partition(":")[0]
        kind = ENVIRONMENT_RELEASE if root == ENVIRONMENT else RELEASE
        item = self._item(root, kind, identity)
        return item.model_dump(mode="json") if item else None

    def environment_releases(self, size: int, continuation: str | None = None) -> Listing:
        """Environment releases, newest version first."""
        ended = self._store.read_range(
            self._store.shard_of(ENVIRONMENT), *records.finished_range(ENVIRONMENT, ENVIRONMENT_RELEASE)
        )
        items = [*self._load(ENVIRONMENT).items.values(), *map(records.item_from, ended)]
        releases = [item for item in items if isinstance(item, EnvironmentRelease)]
        newest = sorted(releases, key=lambda release: version_numbers(release.version), reverse=True)
        names = {"id", "version", "phase", "since", "deadline", "reason", "counts", "created_at"}
        briefs = [release.model_dump(mode="json", include=names) for release in newest]
        return part(briefs, [f"{ENVIRONMENT}|{release.version}" for release in newest], size, continuation)

    def environment_release(self, version: str) -> Mapping[str, Any] | None:
        """One environment release, with where the update of each circuit stands that has heard of it."""
        release = self.release(f"{ENVIRONMENT}:{version}")
        if release is None:
            return None
        rows = [row.body for shard in self._store.shards for row in self._store.read_range(shard, *records.CIRCUITS)]
        told = {row["id"]: row["update"] for row in rows if row.get("update") and row["update"]["version"] == version}
        return {**release, "updates": dict(sorted(told.items()))}

    def orders(self, circuit: str, size: int, continuation: str | None = None) -> Listing:
        """What people ordered of the circuit and what befell its production, newest first, each with its history."""
        open_items = [
            item
            for item in self._load(circuit).items.values()
            if isinstance(item, tuple(kind.item for kind in ORDERED))
        ]
        ended = [records.item_from(row) for kind in ORDERED for row in self._finished(circuit, kind)]
        newest = sorted([*open_items, *ended], key=lambda item: (item.created_at, item.id), reverse=True)
        return self._with_history(circuit, newest, size, continuation)

    def fleet(
        self, rules: Rules, now: datetime, size: int = PAGE_SIZES.stop - 1, continuation: str | None = None
    ) -> Mapping[str, Any]:
        """Why no release enters production now (nothing: it may), and the stops of the fleet, newest first."""
        loaded = self._load(FLEET)
        ended = [records.item_from(row) for row in self._finished(FLEET, STOP)]
        stops = sorted([*loaded.items.values(), *ended], key=lambda stop: stop.created_at, reverse=True)
        stopped = loaded.root.model_dump()["stopped"]
        listing = self._with_history(FLEET, stops, size, continuation)
        return {
            "standstill": rules.model_copy(update={"stopped": stopped}).standstill(now),
            "stops": listing.entries,
            "continuation": listing.continuation,
        }

    def _with_history(self, root: str, items: Sequence[Item], size: int, continuation: str | None) -> Listing:
        """A part of some items, each with its history: one range read for each that is shown."""
        kinds = {item.id: records.KINDS[type(item)] for item in items}
        bodies = [item.model_dump(mode="json") for item in items]
        shown = part(bodies, [f"{root}|{item.id}" for item in items], size, continuation)
        entries = [{**body, "history": self.history(root, kinds[body["id"]], body["id"])} for body in shown.entries]
        return Listing(entries, shown.continuation)

    def _finished(self, root: str, kind: Kind) -> list[Row]:
        return self._store.read_range(self._store.shard_of(root), *records.finished_range(root, kind))

    def history(self, root: str, kind: Kind, item: str) -> list[Mapping[str, Any]]:
        """Everything that happened to one item, in order."""
        first, _ = records.history_range(root, item)
        return [row.body for row in self._history(root, kind, item, first)]

    def history_page(self, root: str, kind: Kind, item: str, size: int, continuation: str | None = None) -> Listing:
        """A part of `history`; one range read, of no more than is shown."""
        first, _ = records.history_range(root, item)
        start = first + opened(continuation, first) if continuation else first
        rows = self._history(root, kind, item, start, checked(size) + 1)
        return page([row.body for row in rows], [row.key for row in rows], size)

    def _history(self, root: str, kind: Kind, item: str, start: str, limit: int | None = None) -> list[Row]:
        first, last = records.history_range(root, item)
        rows = self._store.read_range(self._store.shard_of(root), start, last, limit)
        if rows and (start > first or rows[0].key == f"{first}000001"):  # else it is gone, or on its way
            return rows
        return [row for row in self._archive.history(root, kind, item) if row.key >= start][:limit]

    def ended(self, root: str, kind: Kind) -> list[Mapping[str, Any]]:
        """Every ended item of one kind under one root."""
        rows = self._store.read_range(self._store.shard_of(root), *records.finished_range(root, kind))
        return [row.body for row in rows]

    def explain(self, root: str, rules: Rules, now: datetime) -> Explanation | None:
        """Where everything under a root stands and what can happen next; one read."""
        loaded = self._load(root)
        return explain(loaded.root, loaded.items, records.KINDS, rules, now) if loaded.rows else None

    def as_of(self, circuit: str, at: datetime) -> Mapping[str, Any] | None:
        """What served at a time (UTC), from which data, approved by whom on what evidence; None: nothing did yet.

        Five reads at most of the state, however long the history: the champion's row, its release and what happened to
        that, and the day's scorings. What is not there any more is looked for in the archive.
        """
        partition = self._store.shard_of(circuit)
        rows = self._store.read_range(partition, *records.champions_range(circuit, at), limit=1)
        if not rows:
            return None
        champion = Champion.model_validate(rows[0].body)
        day = f"{circuit}@{at:%Y-%m-%d}"
        span = records.finished_span(circuit, SCORING, day, f"{day}~")
        scorings = self._store.read_range(partition, *span)
        scorings = scorings or self._archive.of_month(circuit, SCORING, at.date(), *span)
        return {
            "circuit": circuit,
            "at": at.isoformat(),
            **champion.model_dump(mode="json"),
            "release": self._answered(circuit, champion.pair) if champion.pair else None,
            "scorings_of_the_day": [_of_scoring(row.body) for row in scorings],
        }

    def _answered(self, circuit: str, pair: Pair) -> Mapping[str, Any] | None:
        """A model's release: the data it learned from, its test, and who answered its gates on what evidence."""
        release = self.release(release_id(circuit, pair.model))
        if release is None:
            return None
        lines = self.history(circuit, RELEASE, release["id"])
        evidence = {
            line["detail"]["approval"]: line["detail"]["evidence_uri"]
            for line in lines
            if line["event"] == ApprovalRequested.__name__
        }
        asked = release["approval"] or {}
        return {
            "id": release["id"],
            "trained_by": release["trainer"],
            "data": {name: release["tags"][name] for name in LINEAGE if name in release["tags"]},
            "metrics": numbers(release["tags"], METRICS),
            "test_inference": release["test"],
            "answers": [
                {
                    "at": line["at"],
                    "event": line["event"],
                    **{k: line["detail"].get(k) for k in ("approval", "decision", "digest", "comment", "reason")},
                    "person": line["detail"]["person"]["username"],
                    "evidence_uri": evidence.get(line["detail"]["approval"], ""),
                }
                for line in lines
                if "person" in line["detail"] and "digest" in line["detail"]
            ],
            "production_evidence": asked.get("evidence") if asked.get("gate") == Gate.PRODUCTION else None,
        }

    def _load(self, root: str) -> records.Loaded:
        return records.load(root, self._store.read_range(self._store.shard_of(root), *records.root_range(root)))

    def _item(self, root: str, kind: Kind, identity: str) -> Item | None:
        """One item, open, ended or archived."""
        return self._load(root).items.get(identity) or self._ended(root, kind, identity)

    def _ended(self, root: str, kind: Kind, identity: str) -> Item | None:
        row = self._store.read(self._store.shard_of(root), records.finished_key(root, kind, identity))
        row = row or self._archive.item(root, kind, identity)
        return records.item_from(row) if row else None

    def _approval(self, person: Person, circuit: str, release: str) -> Mapping[str, Any] | None:
        item = self._load(circuit).items.get(release)
        if not isinstance(item, Asked) or not records.is_asked(item) or item.approval is None:
            return None
        shown = item.approval.model_dump(mode="json")
        why = would_not_count(item, person)
        return {**shown, "release": item.id, "circuit": circuit, "trained_by": item.trainer, "would_not_count": why}

    def monitoring_runs(self, monitoring: Monitoring, size: int, continuation: str | None = None) -> Listing:
        """The monitoring runs of one kind, newest first."""
        return self._listed(records.runs_prefix(monitoring), size, continuation)

    def monitoring_run(self, run: str) -> Mapping[str, Any] | None:
        """One monitoring run, under way or ended."""
        item = self._item(MONITOR, MONITORING, run)
        return item.model_dump(mode="json") if item else None

    def monitoring_of(self, circuit: str) -> Mapping[str, Any] | None:
        """A circuit's newest verdicts, and what stands of what they came to; one read."""
        loaded = self._load(circuit)
        if not loaded.rows:
            return None
        standing = [item for item in loaded.items.values() if isinstance(item, (Degradation, Drift))]
        return {
            **loaded.root.model_dump(mode="json", include={"performance", "drift", "drift_warnings"}),
            "circuit": circuit,
            "standing": [item.model_dump(mode="json") for item in standing],
        }

    def check(self, circuit: str, run: str) -> Mapping[str, Any] | None:
        """The verdict of one monitoring run on one circuit."""
        kind = PERFORMANCE if run.startswith(Monitoring.PERFORMANCE) else DRIFT_CHECK
        item = self._ended(circuit, kind, check_id(circuit, run))
        return item.model_dump(mode="json") if item else None

    def _listed(self, prefix: str, size: int, continuation: str | None) -> Listing:
        """The keys after the index's prefix sort alike in every shard."""
        first = prefix + (opened(continuation, prefix) if continuation else "")
        rows = merged(self._store, first, f"{prefix}~", checked(size) + 1)
        return page([row.body for row in rows], [row.key for row in rows], size)


_DEAD = "dead|"
_SCORING = ("id", "phase", "pair", "table", "delta_version", "attempt", "job", "published_uri", "since", "reason")


def _of_scoring(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: body[name] for name in _SCORING}


def merged(store: StateStore, first: str, last: str, wanted: int) -> list[Row]:
    """The first so many rows of one range of every shard, in key order; one range read a shard."""
    shards = [store.read_range(shard, first, last, wanted) for shard in store.shards]
    return list(islice(merge(*shards, key=lambda row: row.key), wanted))


def checked(size: int) -> int:
    """A page's size; raises `Invalid`."""
    if size not in PAGE_SIZES:
        raise Invalid("size", f"is {size}", f"{PAGE_SIZES.start} to {PAGE_SIZES.stop - 1}")
    return size


def page(entries: Sequence[Mapping[str, Any]], keys: Sequence[str], size: int) -> Listing:
    """The first `size` entries, and a token of the key after them, which begins with the name of its list."""
    return Listing(entries[:size], token(keys[size]) if len(keys) > size else None)


def part(
    entries: Sequence[Mapping[str, Any]], keys: Sequence[str], size: int, continuation: str | None = None
) -> Listing:
    """A page of a list that was read whole, since it is never long; its keys name the entries and begin with its root.

    Raises `Invalid` for a token of another list, or of an entry that is gone.
    """
    begin = 0
    if continuation:
        root = keys[0].partition("|")[0] if keys else "|"
        key = f"{root}|{opened(continuation, f'{root}|')}"
        begin = keys.index(key) if key in keys else len(keys)
    return page(entries[begin : begin + checked(size) + 1], keys[begin : begin + size + 1], size)


def token(key: str) -> str:
    """A key as the token with which the page that begins there is asked for."""
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def opened(token: str, prefix: str) -> str:
    """What comes after the prefix in a token's key. Raises `Invalid` for what is no token of this list."""
    try:
        key = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode("ascii")
    except ValueError:
        key = ""
    if not key.startswith(prefix) or not key.isprintable() or len(key) > LONGEST_KEY:
        raise Invalid("continuation", "is not a token of this list", "the value that the page before gave")
    return key.removeprefix(prefix)
