"""Clients of the storage account: by connection string in the embedded mode, by managed identity on Azure."""

from __future__ import annotations

from typing import Any

from azure.data.tables import TableServiceClient
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

from shared.settings import LOCAL, Settings

TIMEOUTS: dict[str, Any] = {"connection_timeout": 5, "read_timeout": 30}


def credential() -> Any:
    """The managed identity on Azure, or who is signed in on this machine; imported only where it is used."""
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential()


def tables(settings: Settings, **options: Any) -> TableServiceClient:
    if settings.mode == LOCAL:
        return TableServiceClient.from_connection_string(settings.storage, **TIMEOUTS, **options)
    return TableServiceClient(settings.table_uri, credential=credential(), **TIMEOUTS, **options)


def queues(settings: Settings, **options: Any) -> QueueServiceClient:
    if settings.mode == LOCAL:
        return QueueServiceClient.from_connection_string(settings.storage, **TIMEOUTS, **options)
    return QueueServiceClient(settings.queue_uri, credential=credential(), **TIMEOUTS, **options)


def blobs(settings: Settings, **options: Any) -> BlobServiceClient:
    if settings.mode == LOCAL:
        return BlobServiceClient.from_connection_string(settings.storage, **TIMEOUTS, **options)
    return BlobServiceClient(settings.blob_uri, credential=credential(), **TIMEOUTS, **options)
