"""Queue triggers: batches under lease, dequeue counts, the poison queue and polling that backs off."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.functions.meta import Datum
from azure.storage.queue import QueueClient, QueueMessage

from local.functions_host.host_json import QueueSettings
from local.functions_host.index import IndexedFunction
from local.functions_host.invocation import Invoker, Outcome
from local.functions_host.storage import SHORT_WAITS

T = TypeVar("T")
LEASE_SECONDS = 600
POISON_SUFFIX = "-poison"
_FIRST_WAIT_SECONDS = 0.02
_log = logging.getLogger("Host.Triggers.Queue")


class QueueListener:
    """Feeds one queue function until stopped. lease_seconds: how long a received message stays hidden."""

    def __init__(
        self,
        function: IndexedFunction,
        invoker: Invoker,
        connection: str,
        settings: QueueSettings,
        lease_seconds: int = LEASE_SECONDS,
    ) -> None:
        self.function = function
        self._invoker = invoker
        self._settings = settings
        self._lease_seconds = lease_seconds
        self._longest_wait = settings.max_polling_interval.total_seconds()
        name = str(function.trigger["queueName"])
        # No policies: a message that cannot be decoded must arrive here, not raise inside the client.
        options: dict[str, Any] = {"message_encode_policy": None, "message_decode_policy": None, **SHORT_WAITS}

        def client(queue: str) -> QueueClient:
            return QueueClient.from_connection_string(connection, queue, **options)

        self._queue = client(name)
        # As on Azure, a poison queue has none of its own: its messages are tried until they expire.
        self._poison = None if name.endswith(POISON_SUFFIX) else client(name + POISON_SUFFIX)
        most = settings.batch_size + settings.threshold
        self._threads = ThreadPoolExecutor(min(most, 16) + 1, thread_name_prefix=f"queue-{name}")
        self._running: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._unreachable = False

    def start(self) -> None:
        self._task = asyncio.create_task(self._poll(), name=f"queue {self.function.name}")

    def stop_taking(self) -> None:
        """Begin nothing new; what runs goes on."""
        if self._task is not None:
            self._task.cancel()

    async def stop(self, grace_seconds: float) -> None:
        """Receive no more and settle what runs, for at most the grace time; the rest reappears when its lease ends."""
        self.stop_taking()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        if self._running:
            _, unsettled = await asyncio.wait(self._running, timeout=grace_seconds)
            for task in unsettled:
                task.cancel()
            await asyncio.gather(*unsettled, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def invoke_now(self, body: str) -> Outcome:
        """One run with a message that is in no queue."""
        return await self._invoker.invoke(self.function, Datum(body, "string"), {"DequeueCount": Datum(1, "int")})

    async def _poll(self) -> None:
        wait = _FIRST_WAIT_SECONDS
        while True:
            if len(self._running) > self._settings.threshold:
                await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
                continue
            messages = await self._receive_or_return()
            for message in messages:
                task = asyncio.create_task(self._settle(message))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            if messages:
                wait = _FIRST_WAIT_SECONDS
            else:
                await asyncio.sleep(wait)
                wait = min(wait * 2, self._longest_wait)

    async def _receive_or_return(self) -> list[QueueMessage]:
        """A batch; one that comes when receiving has been ended is put back: it would hide until its lease ends."""
        receiving = asyncio.create_task(self._receive())
        try:
            return await asyncio.shield(receiving)
        except asyncio.CancelledError:
            for message in await receiving:
                await self._lease_of(message).release(0)
            raise

    def _lease_of(self, message: QueueMessage) -> _Lease:
        return _Lease(self._queue, message, self._lease_seconds, self._blocking)

    async def _receive(self) -> list[QueueMessage]:
        size = self._settings.batch_size

        def first_page() -> list[QueueMessage]:
            received = self._queue.receive_messages(messages_per_page=size, visibility_timeout=self._lease_seconds)
            return list(next(received.by_page(), ()))

        try:
            messages = await self._blocking(first_page)
        except AzureError as error:
            if not self._unreachable:
                missing = isinstance(error, ResourceNotFoundError)
                cause = "does not exist yet" if missing else f"cannot be read: {error}"
                _log.warning("Queue '%s' of function '%s' %s", self._queue.queue_name, self.function.name, cause)
            self._unreachable = True
            return []
        self._unreachable = False
        return messages

    async def _settle(self, message: QueueMessage) -> None:
        """Run one message and delete, release or poison it. Nothing that happens here may stop the polling."""
        lease = self._lease_of(message)
        received = message.dequeue_count or 1
        try:
            if self._poison and received > self._settings.max_dequeue_count:
                await self._move_to_poison(self._poison, lease, "was received too often")
                return
            try:
                body = _decoded(message.content, self._settings.message_encoding)
            except ValueError as error:
                if self._poison:
                    await self._move_to_poison(self._poison, lease, f"cannot be decoded ({error})")
                else:
                    _log.error("Message %s of '%s' cannot be decoded (%s)", message.id, self._queue.queue_name, error)
                return
            async with lease:
                outcome = await self._invoker.invoke(self.function, body, _metadata(message))
            if outcome.succeeded:
                await lease.delete()
            elif self._poison and received >= self._settings.max_dequeue_count:
                await self._move_to_poison(self._poison, lease, f"has failed {received} times")
            else:
                await lease.release(self._settings.visibility_timeout.total_seconds())
        except AzureError as error:
            name = self._queue.queue_name
            _log.error("Message %s of queue '%s' could not be settled, it will reappear: %s", message.id, name, error)

    async def _move_to_poison(self, poison: QueueClient, lease: _Lease, reason: str) -> None:
        _log.error("Message %s %s: moved to '%s'", lease.message.id, reason, poison.queue_name)
        try:
            await self._blocking(poison.send_message, lease.message.content)
        except ResourceNotFoundError:
            await self._blocking(poison.create_queue)
            await self._blocking(poison.send_message, lease.message.content)
        await lease.delete()

    async def _blocking(self, call: Callable[..., T], *arguments: Any, **options: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(call, *arguments, **options))


class _Lease:
    """The hold on one message; inside `async with` it is renewed. Every renewal changes the pop receipt."""

    def __init__(self, queue: QueueClient, message: QueueMessage, seconds: int, blocking: Callable[..., Any]) -> None:
        self.message = message
        self._queue = queue
        self._seconds = seconds
        self._blocking = blocking
        self._receipt = message.pop_receipt
        self._settling = asyncio.Lock()
        self._renewal: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._renewal = asyncio.create_task(self._renew())

    async def __aexit__(self, *_: object) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)

    async def delete(self) -> None:
        async with self._settling:
            await self._blocking(self._queue.delete_message, self.message.id, self._receipt)

    async def release(self, seconds: float) -> None:
        await self._update(round(seconds))

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._seconds / 2)
            try:
                # Shielded: settling the message must wait for the receipt of a renewal that is under way.
                await asyncio.shield(self._update(self._seconds))
            except AzureError as error:
                _log.warning("The lease of message %s was not renewed: %s", self.message.id, error)

    async def _update(self, seconds: int) -> None:
        async with self._settling:
            updated = await self._blocking(
                self._queue.update_message, self.message.id, self._receipt, visibility_timeout=seconds
            )
            self._receipt = updated.pop_receipt


def _decoded(content: str, encoding: str) -> Datum:
    if encoding == "none":
        return Datum(content, "string")
    try:
        body = base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("it is not base64, as extensions.queues.messageEncoding says") from None
    try:
        return Datum(body.decode(), "string")
    except UnicodeDecodeError:
        return Datum(body, "bytes")


def _metadata(message: QueueMessage) -> dict[str, Datum]:
    def moment(value: datetime | None) -> Datum:
        return Datum(value.isoformat() if value else None, "string" if value else None)

    return {
        "Id": Datum(message.id, "string"),
        "DequeueCount": Datum(message.dequeue_count, "int"),
        "ExpirationTime": moment(message.expires_on),
        "InsertionTime": moment(message.inserted_on),
        "NextVisibleTime": moment(message.next_visible_on),
        "PopReceipt": Datum(message.pop_receipt, "string"),
    }
