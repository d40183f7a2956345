"""Clients of the storage account: by connection string in the embedded mode, by managed identity on Azure."""

from __future__ import annotations

from functools import cache
from typing import Any

from azure.core.credentials import TokenCredential
from azure.data.tables import TableServiceClient
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

from shared.settings import LOCAL, Settings

TIMEOUTS: dict[str, Any] = {"connection_timeout": 5, "read_timeout": 30}


@cache
def identity(client_id: str) -> TokenCredential:
    """The managed identity on Azure, or who is signed in with the Azure CLI; a password in the environment is not used.

    azure-identity is imported only here: the embedded mode never needs it.
    """
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential(
        managed_identity_client_id=client_id or None,
        exclude_environment_credential=True,
        exclude_shared_token_cache_credential=True,
    )


def tables(settings: Settings, **options: Any) -> TableServiceClient:
    if settings.mode == LOCAL:
        return TableServiceClient.from_connection_string(settings.storage, **TIMEOUTS, **options)
    return TableServiceClient(settings.table_uri, credential=identity(settings.identity_client), **TIMEOUTS, **options)


def queues(settings: Settings, **options: Any) -> QueueServiceClient:
    if settings.mode == LOCAL:
        return QueueServiceClient.from_connection_string(settings.storage, **TIMEOUTS, **options)
    return QueueServiceClient(settings.queue_uri, credential=identity(settings.identity_client), **TIMEOUTS, **options)


def blobs(settings: Settings, **options: Any) -> BlobServiceClient:
    if settings.mode == LOCAL:
        return BlobServiceClient.from_connection_string(settings.storage, **TIMEOUTS, **options)
    return BlobServiceClient(settings.blob_uri, credential=identity(settings.identity_client), **TIMEOUTS, **options)
