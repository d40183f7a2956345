"""The state on Azure Table Storage, and on Azurite."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

from azure.core import MatchConditions
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.data.tables import TableClient, TableTransactionError, UpdateMode

from shared.errors import AlreadyExists, Conflict, Permanent, Transient
from shared.ports import Page, Row, Write

BODY_LIMIT = 32 * 1024
"""Characters in one string property: 64 KiB of UTF-16."""
PAGE_LIMIT = 1000


class TableStateStore:
    """Rows as entities of one table. The number of shards is fixed for its life: every root's partition hangs on it."""

    def __init__(self, table: TableClient, shards: int) -> None:
        self._table = table
        self.shards = tuple(f"shard-{n:02d}" for n in range(shards))

    def shard_of(self, root: str) -> str:
        return self.shards[crc32(root.encode()) % len(self.shards)]

    def read_range(self, partition: str, first: str, last: str, limit: int | None = None) -> list[Row]:
        rows: list[Row] = []
        continuation = None
        while True:
            # A page may be short or empty and still have more behind it.
            size = PAGE_LIMIT if limit is None else min(PAGE_LIMIT, limit - len(rows))
            page = self.read_page(partition, first, last, size, continuation)
            rows += page.rows
            continuation = page.continuation
            if continuation is None or (limit is not None and len(rows) >= limit):
                return rows[:limit]

    def read_page(self, partition: str, first: str, last: str, size: int, continuation: str | None = None) -> Page:
        start = json.loads(continuation) if continuation else None
        try:
            pages = self._table.query_entities(
                "PartitionKey eq @partition and RowKey ge @first and RowKey lt @last",
                parameters={"partition": partition, "first": first, "last": last},
                results_per_page=size,
            ).by_page(start)
            rows = [_row(entity) for entity in next(pages, [])]
        except (ServiceRequestError, ServiceResponseError, HttpResponseError) as error:
            raise _transient(error) from error
        following = getattr(pages, "continuation_token", None)
        return Page(rows, json.dumps(following) if following else None)

    def read(self, partition: str, key: str) -> Row | None:
        try:
            return _row(self._table.get_entity(partition, key))
        except ResourceNotFoundError:
            return None
        except (ServiceRequestError, ServiceResponseError, HttpResponseError) as error:
            raise _transient(error) from error

    def commit(self, partition: str, writes: Sequence[Write]) -> None:
        if len(writes) > 100:
            raise Permanent(f"a transaction takes 100 rows, not {len(writes)}; split the fan-out")
        try:
            self._table.submit_transaction([_operation(partition, write) for write in writes])
        except TableTransactionError as error:
            raise _refused(error, writes) from error
        except (ServiceRequestError, ServiceResponseError) as error:
            raise _transient(error) from error
        except HttpResponseError as error:
            if len(writes) == 1:
                raise _single(error, writes[0]) from error
            raise _transient(error) from error


def _operation(partition: str, write: Write) -> Any:
    row = write.row
    keys = {"PartitionKey": partition, "RowKey": row.key}
    condition = {"etag": row.etag, "match_condition": MatchConditions.IfNotModified}
    if write.action == "delete":
        return ("delete", keys, condition if row.etag else {})
    entity = {**keys, "body": _body(row)}
    for column in ("phase", "event"):
        if isinstance(row.body.get(column), str):
            entity[column] = row.body[column]
    if write.action == "insert":
        return ("create", entity)
    if write.action == "put":
        return ("upsert", entity, {"mode": UpdateMode.REPLACE})
    return ("update", entity, {"mode": UpdateMode.REPLACE, **condition})


def _body(row: Row) -> str:
    body = json.dumps(row.body, separators=(",", ":"))
    if len(body) > BODY_LIMIT:
        raise Permanent(f"row {row.key} has {len(body)} characters; {BODY_LIMIT} fit. Move what is large to a document")
    return body


def _row(entity: Mapping[str, Any]) -> Row:
    metadata: Mapping[str, Any] = getattr(entity, "metadata", {})
    return Row(entity["RowKey"], json.loads(entity["body"]), metadata.get("etag", ""))


def _refused(error: TableTransactionError, writes: Sequence[Write]) -> Exception:
    key = writes[error.index].row.key if 0 <= error.index < len(writes) else "?"
    if getattr(error, "error_code", "") == "EntityAlreadyExists":
        return AlreadyExists(key)
    if error.status_code in (404, 412):
        return Conflict(f"{key} changed since it was read")
    return _transient(error)


def _single(error: HttpResponseError, write: Write) -> Exception:
    if isinstance(error, ResourceExistsError):
        return AlreadyExists(write.row.key)
    if error.status_code in (404, 412):
        return Conflict(f"{write.row.key} changed since it was read")
    return _transient(error)


def _transient(error: Exception) -> Exception:
    status = getattr(error, "status_code", None)
    if status is None or status == 429 or status >= 500:
        return Transient(f"Table Storage did not answer: {error}")
    return Permanent(f"Table Storage refused: {error}")
