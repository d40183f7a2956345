#!/usr/bin/env python3
"""Export the fleet's state to a file, or restore it from one: Table Storage has no restore of its own.

  scripts/state_backup.py export state-2026-01-31.jsonl.gz
  scripts/state_backup.py restore state-2026-01-31.jsonl.gz            only into an empty table; stop the app first

It reads the app's own settings from the environment, or from a file like docs/examples/azure.settings.json
(--settings). An export while the app runs is as good as one row at a time can be: each circuit's rows are together, but
two circuits may be seconds apart. Restored rows are read again and compared.

Prints one JSON object. Exit codes: 0 done; 1 not; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from azure.core.exceptions import AzureError

from shared.adapters.azure import credentials
from shared.settings import Settings, SettingsError

if TYPE_CHECKING:
    from azure.data.tables import TableClient

BATCH = 100
"""Rows of one transaction of Table Storage."""


class NotRestored(Exception):
    """The state was not restored; the text says why."""


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


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("export", "restore"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--settings", type=Path, help="a file with the app's settings")
    given = parser.parse_args(arguments)
    environment = dict(os.environ)
    try:
        if given.settings:
            environment |= json.loads(given.settings.read_text(encoding="utf-8"))["Values"]
        settings = Settings.read(environment)
        service = credentials.tables(settings)
        if given.command == "export":
            count = write(given.file, rows(service.get_table_client(settings.state_table)))
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
    print(json.dumps({given.command: settings.state_table, "rows": count, "file": str(given.file)}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
