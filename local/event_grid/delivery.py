"""Delivery: the handshake, one event a request, the retry schedule, and the dead letter at its end."""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import requests
from azure.core.exceptions import AzureError, ResourceExistsError
from azure.storage.blob import BlobServiceClient

from local.event_grid.schema import InputSchema
from local.event_grid.store import Delivery, DeliveryState, EventStore, Topic
from local.event_grid.subscriptions import DeadLetterDestination, Subscription

ANSWER_SECONDS = 30.0
RETRY_SECONDS = (10, 30, 60, 300, 600, 1800, 3600, 10800, 21600, 43200)
SENDERS = 8
# The least wait that the service's documentation gives for these answers.
_LEAST_WAIT_SECONDS = {404: 300, 408: 120, 503: 30}
_ACCEPTED = frozenset({200, 201, 202, 203, 204})
_NOT_RETRIED = frozenset({400, 401, 403, 413})
_ORIGIN = "eventgrid.azure.net"
_log = logging.getLogger("local.event_grid")


class HandshakeFailed(RuntimeError):
    """An endpoint did not prove that it wants the events; the message names it and what it answered."""


@dataclass(frozen=True)
class _Answer:
    """What an endpoint said: its status, or why there is none."""

    status: int | None
    outcome: str


class Deliverer:
    """Delivers what is due, in threads, until stopped. time_scale shortens waits and times to live alike."""

    def __init__(self, store: EventStore, *, time_scale: float, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._store = store
        self._scale = time_scale
        self._answer_seconds = answer_seconds
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._places = threading.Semaphore(SENDERS)
        self._senders = ThreadPoolExecutor(SENDERS, thread_name_prefix="event-grid")
        self._sessions = threading.local()
        self._thread = threading.Thread(target=self._run, name="event-grid", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Look for due deliveries now."""
        self._wake.set()

    def stop(self) -> None:
        """Start no further delivery and wait for those under way; what is left is delivered after the next start."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self._senders.shutdown(wait=True)

    def handshake(self, topic: Topic, subscription: Subscription) -> None:
        """Ask the endpoint whether it wants the events; raise HandshakeFailed unless it says so."""
        try:
            if topic.input_schema is InputSchema.CLOUD_EVENT:
                _cloud_handshake(subscription, self._answer_seconds)
            else:
                _event_grid_handshake(topic, subscription, self._answer_seconds)
        except requests.RequestException as error:
            raise HandshakeFailed(
                f"{subscription.shown_endpoint} did not answer the handshake of subscription {subscription.name!r} "
                f"({type(error).__name__}). Start the function host first."
            ) from None

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                if not self._deliver_next():
                    due = self._store.next_due()
                    # At most a second: the clock of the machine may be changed meanwhile.
                    self._wake.wait(1.0 if due is None else min(1.0, max(0.0, due - time.time())))
            except sqlite3.Error:
                _log.exception("The local Event Grid cannot read its file and tries again")
                self._stopping.wait(1.0)

    def _deliver_next(self) -> bool:
        """Hand the earliest due delivery to a sender, once one is free; False when nothing is due."""
        self._places.acquire()
        claimed = [] if self._stopping.is_set() else self._store.claim(1)
        if not claimed:
            self._places.release()
            return False
        self._senders.submit(self._deliver, claimed[0])
        return True

    def _deliver(self, delivery: Delivery) -> None:
        try:
            self._attempt(delivery)
        except Exception:
            _log.exception("Delivery %d failed inside the local Event Grid and is tried again", delivery.number)
            again = time.time() + RETRY_SECONDS[0] * self._scale
            self._store.settle(delivery.number, DeliveryState.PENDING, None, "InternalError", again)
        finally:
            self._places.release()
            self._wake.set()

    def _attempt(self, delivery: Delivery) -> None:
        subscription = next(
            (each for each in self._store.subscriptions(delivery.topic) if each.name == delivery.subscription), None
        )
        topic = self._store.topic(delivery.topic)
        if subscription is None or topic is None:
            self._store.settle(delivery.number, DeliveryState.DROPPED, None, "SubscriptionDeleted")
            return
        expires = delivery.received + subscription.event_ttl_minutes * 60 * self._scale
        if delivery.attempts > 1 and time.time() > expires:
            last = _Answer(delivery.status, delivery.outcome)
            self._give_up(delivery, subscription, last, delivery.attempts - 1, "TimeToLiveExceeded")
            return
        answer = self._send(delivery, topic, subscription)
        if answer.status in _ACCEPTED:
            self._store.settle(delivery.number, DeliveryState.DELIVERED, answer.status, answer.outcome)
            return
        _log.warning(
            "Event %s to %s: %s (attempt %d)", delivery.event_id, subscription.name, answer.outcome, delivery.attempts
        )
        if answer.status in _NOT_RETRIED:
            self._give_up(delivery, subscription, answer, delivery.attempts, answer.outcome)
        elif delivery.attempts >= subscription.max_delivery_attempts:
            self._give_up(delivery, subscription, answer, delivery.attempts, "MaxDeliveryAttemptsExceeded")
        else:
            planned = RETRY_SECONDS[min(delivery.attempts, len(RETRY_SECONDS)) - 1]
            wait = max(planned, _LEAST_WAIT_SECONDS.get(answer.status or 0, 0)) * self._scale
            again = min(time.time() + wait, max(expires, time.time()))
            self._store.settle(delivery.number, DeliveryState.PENDING, answer.status, answer.outcome, again)

    def _send(self, delivery: Delivery, topic: Topic, subscription: Subscription) -> _Answer:
        event = delivery.event
        cloud = topic.input_schema is InputSchema.CLOUD_EVENT
        headers = {
            "content-type": f"application/{'cloudevents+' if cloud else ''}json; charset=utf-8",
            "aeg-event-type": "Notification",
            "aeg-subscription-name": subscription.name.upper(),
            "aeg-delivery-count": str(delivery.attempts - 1),
            "aeg-data-version": str(event.get("dataVersion", "")),
            "aeg-metadata-version": "" if cloud else "1",
        }
        if not hasattr(self._sessions, "session"):
            self._sessions.session = requests.Session()
        session: requests.Session = self._sessions.session
        try:
            answer = session.post(
                subscription.endpoint,
                data=json.dumps(event if cloud else [event]).encode(),
                headers=headers,
                timeout=(5, self._answer_seconds),
                allow_redirects=False,
            )
        except requests.Timeout:
            return _Answer(None, "TimedOut")
        except requests.RequestException as error:
            return _Answer(None, f"ConnectionFailed ({type(error).__name__})")
        return _Answer(answer.status_code, _phrase(answer.status_code))

    def _give_up(
        self, delivery: Delivery, subscription: Subscription, last: _Answer, attempts: int, reason: str
    ) -> None:
        if subscription.dead_letter is None:
            self._store.settle(delivery.number, DeliveryState.DROPPED, last.status, reason)
            return
        letter = {
            **delivery.event,
            "deadLetterReason": reason,
            "deliveryAttempts": attempts,
            "lastDeliveryOutcome": last.outcome,
            "publishTime": _iso(delivery.received),
            "lastDeliveryAttemptTime": _iso(delivery.changed),
        }
        try:
            _keep(letter, delivery, subscription.dead_letter)
        except (AzureError, OSError) as error:
            _log.error("Event %s could not be dead-lettered, it is kept and tried again: %s", delivery.event_id, error)
            again = time.time() + RETRY_SECONDS[0] * self._scale
            self._store.settle(delivery.number, DeliveryState.PENDING, last.status, last.outcome, again)
            return
        self._store.settle(delivery.number, DeliveryState.DEAD_LETTERED, last.status, reason)


def _keep(letter: dict[str, Any], delivery: Delivery, destination: DeadLetterDestination) -> None:
    hour = datetime.now(UTC).strftime("%Y/%m/%d/%H")
    path = f"{delivery.topic}/{delivery.subscription.upper()}/{hour}/{uuid.uuid4()}.json"
    body = json.dumps([letter], indent=2)
    if destination.folder is not None:
        file = destination.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(body, encoding="utf-8")
        return
    service = BlobServiceClient.from_connection_string(str(destination.connection_string), retry_total=2)
    container = service.get_container_client(str(destination.container))
    with contextlib.suppress(ResourceExistsError):
        container.create_container()
    container.upload_blob(path, body)


def _event_grid_handshake(topic: Topic, subscription: Subscription, timeout: float) -> None:
    code = str(uuid.uuid4()).upper()
    event = {
        "id": str(uuid.uuid4()),
        "topic": topic.resource_id,
        "subject": "",
        "data": {"validationCode": code},
        "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
        "eventTime": datetime.now(UTC).isoformat(),
        "metadataVersion": "1",
        "dataVersion": "2",
    }
    headers = {"aeg-event-type": "SubscriptionValidation", "aeg-subscription-name": subscription.name.upper()}
    answer = requests.post(subscription.endpoint, json=[event], headers=headers, timeout=timeout, allow_redirects=False)
    try:
        response = answer.json() if answer.status_code == 200 else None
    except ValueError:
        response = None
    if not isinstance(response, dict) or response.get("validationResponse") != code:
        raise HandshakeFailed(
            f"{subscription.shown_endpoint} answered the handshake of subscription {subscription.name!r} with "
            f"{answer.status_code} {answer.text[:200]!r}; expected 200 with the validation code. "
            "Check the function's name and the system key in the address."
        )


def _cloud_handshake(subscription: Subscription, timeout: float) -> None:
    answer = requests.options(
        subscription.endpoint, headers={"WebHook-Request-Origin": _ORIGIN}, timeout=timeout, allow_redirects=False
    )
    allowed = answer.headers.get("WebHook-Allowed-Origin", "")
    if answer.status_code != 200 or allowed not in ("*", _ORIGIN):
        raise HandshakeFailed(
            f"{subscription.shown_endpoint} answered the CloudEvents handshake of subscription {subscription.name!r} "
            f"with {answer.status_code} and WebHook-Allowed-Origin {allowed!r}; expected 200 and {_ORIGIN!r} or '*'."
        )


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase.replace(" ", "")
    except ValueError:
        return str(status)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
