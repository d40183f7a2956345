"""What Event Grid could not deliver, in the blob container that its subscriptions name; also the embedded one's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.storage.blob import ContainerClient

from shared.errors import Transient


class BlobUndeliveredEvents:
    """The files of a container, as Event Grid writes them: each a JSON list of events."""

    def __init__(self, container: ContainerClient) -> None:
        self._container = container

    def names(self, limit: int) -> Sequence[str]:
        try:
            return list(islice(self._container.list_blob_names(results_per_page=limit), limit))
        except ResourceNotFoundError:  # the embedded Event Grid makes it with the first
            return []
        except AzureError as error:
            raise Transient(f"what Event Grid could not deliver was not listed: {error}") from error

    def read(self, name: str) -> Any:
        try:
            content = self._container.download_blob(name).readall()
        except AzureError as error:
            raise Transient(f"{name} was not read: {error}") from error
        try:
            return json.loads(content)
        except ValueError:
            return content.decode(errors="replace")

    def remove(self, name: str) -> None:
        try:
            with suppress(ResourceNotFoundError):
                self._container.delete_blob(name)
        except AzureError as error:
            raise Transient(f"{name} was not removed: {error}") from error
