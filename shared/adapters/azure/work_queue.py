"""The work queue on Azure Queue Storage, and on Azurite."""

from __future__ import annotations

from azure.core.exceptions import AzureError
from azure.storage.queue import QueueClient

from shared.errors import Transient

LONGEST_DELAY = 7 * 24 * 3600


class StorageWorkQueue:
    """Sends commands; the queue trigger receives them. The client must encode as base64, which the trigger expects."""

    def __init__(self, queue: QueueClient) -> None:
        self._queue = queue

    def send(self, message: str, delay_seconds: float = 0) -> None:
        delay = min(max(round(delay_seconds), 0), LONGEST_DELAY - 1)
        try:
            self._queue.send_message(message, visibility_timeout=delay or None)
        except AzureError as error:
            raise Transient(f"the work queue did not take a command: {error}") from error

    def waiting(self) -> int:
        try:
            return int(self._queue.get_queue_properties().approximate_message_count or 0)
        except AzureError as error:
            raise Transient(f"the work queue did not say how many commands wait: {error}") from error
