"""What a local Event Grid must not forget: topics, subscriptions, events and how far their delivery is. SQLite."""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from local.event_grid.chaos import Chaos
from local.event_grid.schema import Event, InputSchema, attribute
from local.event_grid.subscriptions import Subscription

RETENTION_SECONDS = 7 * 24 * 3600
_TABLES = """
CREATE TABLE IF NOT EXISTS topic (name TEXT PRIMARY KEY, key TEXT NOT NULL, resource_id TEXT NOT NULL,
    input_schema TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS subscription (topic TEXT NOT NULL, name TEXT NOT NULL, definition TEXT NOT NULL,
    PRIMARY KEY (topic, name));
CREATE TABLE IF NOT EXISTS event (number INTEGER PRIMARY KEY, topic TEXT NOT NULL, id TEXT NOT NULL,
    type TEXT NOT NULL, subject TEXT NOT NULL, body TEXT NOT NULL, received REAL NOT NULL);
CREATE TABLE IF NOT EXISTS delivery (number INTEGER PRIMARY KEY, event INTEGER NOT NULL REFERENCES event (number),
    topic TEXT NOT NULL, subscription TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL, changed REAL NOT NULL, status INTEGER, outcome TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS delivery_by_state ON delivery (state, due);
CREATE INDEX IF NOT EXISTS delivery_by_event ON delivery (event);
CREATE INDEX IF NOT EXISTS event_by_id ON event (id);
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class DeliveryState(StrEnum):
    """Where one delivery stands. `lost`: a chaos rule dropped it; `dropped`: given up without a dead-letter place."""

    PENDING = "pending"
    DELIVERING = "delivering"
    DELIVERED = "delivered"
    DEAD_LETTERED = "dead-lettered"
    DROPPED = "dropped"
    LOST = "lost"


@dataclass(frozen=True)
class Topic:
    """One topic. resource_id is what its events carry as `topic`."""

    name: str
    resource_id: str
    input_schema: InputSchema
    key: str = field(repr=False)


@dataclass(frozen=True)
class Delivery:
    """One event on its way to one subscriber. due, changed and received: Unix seconds. status: of the last answer."""

    number: int
    topic: str
    subscription: str
    event_id: str
    event_type: str
    subject: str
    body: str = field(repr=False)
    received: float
    state: DeliveryState
    attempts: int
    due: float
    changed: float
    status: int | None
    outcome: str

    @property
    def event(self) -> Event:
        event: Event = json.loads(self.body)
        return event


class EventStore:
    """The durable state, in the file `path`; every method is one transaction and may be called from any thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # it holds topic keys and the keys in webhook addresses
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._lock = threading.Lock()
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(_TABLES)
        self._recover()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def put_topic(self, topic: Topic) -> None:
        with self._transaction() as rows:
            rows.execute(
                "INSERT OR REPLACE INTO topic VALUES (?, ?, ?, ?)",
                (topic.name, topic.key, topic.resource_id, topic.input_schema),
            )

    def topic(self, name: str) -> Topic | None:
        with self._transaction() as rows:
            row = rows.execute("SELECT * FROM topic WHERE name = ?", (name,)).fetchone()
        return _topic(row) if row else None

    def topics(self) -> list[Topic]:
        with self._transaction() as rows:
            return [_topic(row) for row in rows.execute("SELECT * FROM topic ORDER BY name")]

    def put_subscription(self, subscription: Subscription) -> None:
        with self._transaction() as rows:
            rows.execute(
                "INSERT OR REPLACE INTO subscription VALUES (?, ?, ?)",
                (subscription.topic, subscription.name, subscription.model_dump_json()),
            )

    def delete_subscription(self, topic: str, name: str) -> None:
        """Forget the subscription; what was not delivered to it yet is dropped."""
        with self._transaction() as rows:
            rows.execute("DELETE FROM subscription WHERE topic = ? AND name = ?", (topic, name))
            rows.execute(
                "UPDATE delivery SET state = ?, changed = ?, outcome = 'SubscriptionDeleted' "
                "WHERE topic = ? AND subscription = ? AND state IN (?, ?)",
                (DeliveryState.DROPPED, time.time(), topic, name, DeliveryState.PENDING, DeliveryState.DELIVERING),
            )

    def subscriptions(self, topic: str | None = None) -> list[Subscription]:
        with self._transaction() as rows:
            found = rows.execute(
                "SELECT definition FROM subscription WHERE ?1 IS NULL OR topic = ?1 ORDER BY topic, name", (topic,)
            ).fetchall()
        return [Subscription.model_validate_json(row["definition"]) for row in found]

    def accept(self, topic: Topic, events: list[Event], chaos: Chaos) -> None:
        """Keep events and plan their deliveries, all or none: once this returns, they will be delivered."""
        subscriptions = self.subscriptions(topic.name)
        now = time.time()
        with self._transaction() as rows:
            for event in events:
                number = rows.execute(
                    "INSERT INTO event (topic, id, type, subject, body, received) VALUES (?, ?, ?, ?, ?, ?)",
                    (topic.name, event["id"], attribute(event, "type"), attribute(event, "subject"),
                     json.dumps(event), now),
                ).lastrowid  # fmt: skip
                for subscription in subscriptions:
                    if not subscription.takes(event):
                        continue
                    delays = chaos.fate(event, subscription.name).delays
                    state = DeliveryState.PENDING if delays else DeliveryState.LOST
                    rows.executemany(
                        "INSERT INTO delivery (event, topic, subscription, state, due, changed, outcome) "
                        "VALUES (?, ?, ?, ?, ?, ?, ?)",
                        [
                            (number, topic.name, subscription.name, state, now + delay, now, "" if delays else "Chaos")
                            for delay in delays or (0.0,)
                        ],
                    )

    def claim(self, limit: int) -> list[Delivery]:
        """Take up to `limit` due deliveries, earliest first; they are this caller's until settled."""
        now = time.time()
        with self._transaction() as rows:
            due = [
                row["number"]
                for row in rows.execute(
                    "SELECT number FROM delivery WHERE state = ? AND due <= ? ORDER BY due, number LIMIT ?",
                    (DeliveryState.PENDING, now, limit),
                )
            ]
            marks = ",".join("?" * len(due))
            rows.execute(
                f"UPDATE delivery SET state = ?, attempts = attempts + 1, changed = ? WHERE number IN ({marks})",
                (DeliveryState.DELIVERING, now, *due),
            )
            return _deliveries(rows, f"delivery.number IN ({marks})", due, "delivery.due, delivery.number")

    def next_due(self) -> float | None:
        """When the next delivery is due, in Unix seconds."""
        with self._transaction() as rows:
            row = rows.execute(
                "SELECT MIN(due) AS due FROM delivery WHERE state = ?", (DeliveryState.PENDING,)
            ).fetchone()
        return row["due"]  # type: ignore[no-any-return]

    def undelivered(self) -> int:
        """How many deliveries have not ended. One look: between two, a delivery may go from one state to the other."""
        with self._transaction() as rows:
            row = rows.execute(
                "SELECT COUNT(*) AS count FROM delivery WHERE state IN (?, ?)",
                (DeliveryState.PENDING, DeliveryState.DELIVERING),
            ).fetchone()
        return int(row["count"])

    def settle(
        self, number: int, state: DeliveryState, status: int | None, outcome: str, due: float | None = None
    ) -> None:
        """Note how an attempt ended; due: when to try again. A deleted subscription's delivery stays dropped."""
        with self._transaction() as rows:
            rows.execute(
                "UPDATE delivery SET state = ?, changed = ?, status = ?, outcome = ?, due = COALESCE(?, due) "
                "WHERE number = ? AND state = ?",
                (state, time.time(), status, outcome, due, number, DeliveryState.DELIVERING),
            )

    def deliveries(self, limit: int = 1000, **wanted: str | None) -> list[Delivery]:
        """The newest deliveries, oldest first. wanted: topic, subscription, state, event_id or event_type."""
        columns = {
            "topic": "delivery.topic",
            "subscription": "delivery.subscription",
            "state": "delivery.state",
            "event_id": "event.id",
            "event_type": "event.type",
        }
        given = {columns[name]: value for name, value in wanted.items() if value is not None}
        condition = " AND ".join(f"{column} = ?" for column in given) or "TRUE"
        with self._transaction() as rows:
            found = _deliveries(rows, condition, list(given.values()), f"delivery.number DESC LIMIT {int(limit)}")
        return found[::-1]

    def setting(self, name: str) -> str | None:
        with self._transaction() as rows:
            row = rows.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        return str(row["value"]) if row else None

    def put_setting(self, name: str, value: str) -> None:
        with self._transaction() as rows:
            rows.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (name, value))

    def _recover(self) -> None:
        """After a crash: what was being delivered is delivered again; what ended long ago is forgotten."""
        with self._transaction() as rows:
            rows.execute(
                "UPDATE delivery SET state = ? WHERE state = ?", (DeliveryState.PENDING, DeliveryState.DELIVERING)
            )
            rows.execute(
                "DELETE FROM delivery WHERE state <> ? AND changed < ?",
                (DeliveryState.PENDING, time.time() - RETENTION_SECONDS),
            )
            rows.execute(
                "DELETE FROM event WHERE received < ? AND number NOT IN (SELECT event FROM delivery)",
                (time.time() - RETENTION_SECONDS,),
            )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


def new_key() -> str:
    return secrets.token_urlsafe(32)


def _topic(row: Mapping[str, Any]) -> Topic:
    return Topic(row["name"], row["resource_id"], InputSchema(row["input_schema"]), row["key"])


def _deliveries(rows: sqlite3.Connection, condition: str, values: list[Any], order: str) -> list[Delivery]:
    found = rows.execute(
        "SELECT delivery.*, event.id, event.type, event.subject, event.body, event.received FROM delivery "
        f"JOIN event ON event.number = delivery.event WHERE {condition} ORDER BY {order}",
        values,
    )
    return [
        Delivery(
            number=row["number"],
            topic=row["topic"],
            subscription=row["subscription"],
            event_id=row["id"],
            event_type=row["type"],
            subject=row["subject"],
            body=row["body"],
            received=row["received"],
            state=DeliveryState(row["state"]),
            attempts=row["attempts"],
            due=row["due"],
            changed=row["changed"],
            status=row["status"],
            outcome=row["outcome"],
        )
        for row in found
    ]
