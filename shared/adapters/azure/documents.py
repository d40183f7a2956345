"""Documents on Azure Blob Storage, and on Azurite."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.storage.blob import BlobType, ContainerClient, ContentSettings

from shared.errors import Transient

BLOCK = 2 * 1024 * 1024
"""Bytes that are appended at once, far below what one request takes: a line is there whole or not at all."""


class BlobDocuments:
    """JSON blobs in one container; files that grow are append blobs."""

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

    def append(self, path: str, lines: Sequence[Mapping[str, Any]]) -> None:
        blob, kind = self._container.get_blob_client(path), ContentSettings("application/jsonl")
        try:
            for block in _blocks(lines):
                blob.upload_blob(block, blob_type=BlobType.APPENDBLOB, overwrite=False, content_settings=kind)
        except AzureError as error:
            raise Transient(f"nothing more was added to {path}: {error}") from error

    def lines(self, path: str) -> Sequence[Mapping[str, Any]]:
        try:
            content = self._container.download_blob(path).readall()
        except ResourceNotFoundError:
            return []
        except AzureError as error:
            raise Transient(f"{path} was not read: {error}") from error
        return [json.loads(line) for line in content.splitlines()]

    def names(self, folder: str) -> Sequence[str]:
        try:
            return sorted(self._container.list_blob_names(name_starts_with=folder))
        except AzureError as error:
            raise Transient(f"what is in {folder} was not listed: {error}") from error


def _blocks(lines: Sequence[Mapping[str, Any]]) -> Iterator[bytes]:
    block = b""
    for line in lines:
        text = json.dumps(line, separators=(",", ":"), default=str).encode() + b"\n"
        if block and len(block) + len(text) > BLOCK:
            yield block
            block = b""
        block += text
    if block:
        yield block
