"""Documents on Azure Blob Storage, and on Azurite."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.storage.blob import ContainerClient, ContentSettings

from shared.errors import Transient


class BlobDocuments:
    """JSON blobs in one container."""

    def __init__(self, container: ContainerClient) -> None:
        self._container = container

    def write(self, path: str, document: Mapping[str, Any]) -> str:
        content = json.dumps(document, indent=2, default=str).encode()
        blob = self._container.get_blob_client(path)
        try:
            blob.upload_blob(content, overwrite=True, content_settings=ContentSettings("application/json"))
        except AzureError as error:
            raise Transient(f"document {path} was not written: {error}") from error
        return str(blob.url)

    def read(self, path: str) -> Mapping[str, Any] | None:
        try:
            found = json.loads(self._container.download_blob(path).readall())
        except ResourceNotFoundError:
            return None
        except AzureError as error:
            raise Transient(f"document {path} was not read: {error}") from error
        return found if isinstance(found, dict) else None
