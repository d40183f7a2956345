#!/usr/bin/env python3
"""Export the fleet's state to a file, or restore it from one: Table Storage has no restore of its own.

  scripts/state_backup.py export state.jsonl.gz
  scripts/state_backup.py export state.jsonl.gz --to https://account.blob.core.windows.net/state-backups
  scripts/state_backup.py fetch state.jsonl.gz --from https://account.blob.core.windows.net/state-backups
  scripts/state_backup.py restore state.jsonl.gz             only into an empty table; stop the app first

With --to the export is kept in that container as well, under its table and time, and read back; fetch copies the newest
from there. The pipeline state-backup exports every night. It reads the app's own settings from the environment, or from
a file like docs/examples/azure.settings.json (--settings). An export while the app runs is as good as one row at a time
can be: each circuit's rows are together, but two circuits may be seconds apart. Restored rows are read again and
compared.

Prints one JSON object. Exit codes: 0 done; 1 not; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from azure.core.exceptions import AzureError

from shared.adapters.azure import credentials
from shared.settings import LOCAL, Settings, SettingsError

if TYPE_CHECKING:
    from azure.data.tables import TableClient
    from azure.storage.blob import ContainerClient

BATCH = 100
"""Rows of one transaction of Table Storage."""


class NotRestored(Exception):
    """The state was not restored, or cannot be; the text says why."""


def rows(table: TableClient) -> Iterator[dict[str, Any]]:
    """Every entity, as JSON can hold it: times are tagged, so that they are times again."""
    for entity in table.list_entities():
        yield {
            name: {"time": value.isoformat()} if isinstance(value, datetime) else value
            for name, value in entity.items()
        }


def write(path: Path, found: Iterable[Mapping[str, Any]]) -> int:
    """Write rows to the file, whole or not at all; how many."""
    count, partial = 0, path.with_suffix(f"{path.suffix}.writing")
    with gzip.open(partial, "wt", encoding="utf-8") as file:
        for row in found:
            file.write(json.dumps(row, sort_keys=True) + "\n")
            count += 1
    partial.replace(path)
    return count


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file, as entities."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            yield {
                name: datetime.fromisoformat(value["time"]) if isinstance(value, dict) else value
                for name, value in row.items()
            }


def restore(table: TableClient, found: Iterable[dict[str, Any]]) -> int:
    """Write entities into the table, which must be empty but for its own description; how many. Raises NotRestored."""
    there = next((row for row in table.list_entities(results_per_page=2) if row["PartitionKey"] != "meta"), None)
    if there:
        raise NotRestored(f"{table.table_name} is not empty (it has {there['PartitionKey']} {there['RowKey']}): restore"
                          " into a new table, and name that in STATE_TABLE")  # fmt: skip
    count = 0
    for partition, of_partition in groupby(found, key=lambda row: row["PartitionKey"]):
        batch: list[tuple[str, dict[str, Any]]] = []
        for row in of_partition:
            batch.append(("upsert", row))
            if len(batch) == BATCH:
                count += _submit(table, batch)
        count += _submit(table, batch)
        print(f"{partition}: {count} rows so far", file=sys.stderr)
    return count


def _submit(table: TableClient, batch: list[tuple[str, dict[str, Any]]]) -> int:
    if batch:
        table.submit_transaction(batch)
    count = len(batch)
    batch.clear()
    return count


def keep(container: ContainerClient, file: Path, table: str, now: datetime) -> str:
    """Copy an export into the container and read it back from there; its name, which says when it was made."""
    name, sent = f"{table}/{now:%Y-%m-%dT%H%M%SZ}.jsonl.gz", file.read_bytes()
    container.upload_blob(name, sent)
    if container.download_blob(name).readall() != sent:
        raise NotRestored(f"{name} in {container.url} is not what was exported: export again")
    return name


def fetch(container: ContainerClient, file: Path, table: str) -> str:
    """Copy the newest export of the table from the container; its name. Raises NotRestored where there is none."""
    names = sorted(container.list_blob_names(name_starts_with=f"{table}/"))
    if not names:
        raise NotRestored(f"{container.url} has no export of {table}: look at the runs of the pipeline state-backup")
    file.write_bytes(container.download_blob(names[-1]).readall())
    return names[-1]


def _container(settings: Settings, address: str) -> ContainerClient:
    """A container by its address, as who the app's settings say; in the embedded mode of the emulator's account."""
    if settings.mode == LOCAL:
        return credentials.blobs(settings).get_container_client(address.rstrip("/").rpartition("/")[2])
    from azure.storage.blob import ContainerClient

    return ContainerClient.from_container_url(address, credential=credentials.identity(settings.identity_client))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("export", "fetch", "restore"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--settings", type=Path, help="a file with the app's settings")
    parser.add_argument("--to", metavar="URL", help="of export: the container that is to keep it too")
    parser.add_argument("--from", metavar="URL", dest="kept", help="of fetch: the container that has exports")
    given = parser.parse_args(arguments)
    if (given.command == "fetch") != bool(given.kept) or (given.to and given.command != "export"):
        parser.error("--to goes with export, and fetch needs --from")
    environment = dict(os.environ)
    try:
        if given.settings:
            environment |= json.loads(given.settings.read_text(encoding="utf-8"))["Values"]
        settings = Settings.read(environment)
        service = credentials.tables(settings)
        kept = ""
        if given.command == "export":
            count = write(given.file, rows(service.get_table_client(settings.state_table)))
            if given.to:
                kept = keep(_container(settings, given.to), given.file, settings.state_table, datetime.now(UTC))
        elif given.command == "fetch":
            kept = fetch(_container(settings, given.kept), given.file, settings.state_table)
            count = sum(1 for _ in read(given.file))
        else:
            service.create_table_if_not_exists(settings.state_table)
            table = service.get_table_client(settings.state_table)
            count = restore(table, read(given.file))
            if count != (there := sum(1 for _ in table.list_entities(select=["PartitionKey"]))):
                raise NotRestored(
                    f"{count} rows were written, and {there} are there: somebody else writes; stop the app"
                )
    except (AzureError, NotRestored, OSError, SettingsError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(
        json.dumps(
            {given.command: settings.state_table, "rows": count, "file": str(given.file), "kept": kept}, indent=2
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
