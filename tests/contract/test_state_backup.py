"""The state's export and its restore, on the storage emulator."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from azure.data.tables import TableClient

from scripts import state_backup
from scripts.state_backup import NotRestored, read, restore, rows, write
from shared.adapters.azure.state_store import TableStateStore
from shared.ports import Row, Write

NewTable = Callable[..., TableClient]


def filled(table: TableClient, count: int = 130) -> TableStateStore:
    """A store with more rows of a shard than one transaction takes, and a row of a fixed partition."""
    store = TableStateStore(table, 2)
    for number in range(count):
        body = {"number": number, "text": "ä" * 40}
        store.commit(store.shard_of("P001_C001"), [Write("insert", Row(f"P001_C001|9|x|{number:04}", body))])
    store.commit("slots", [Write("insert", Row("training", {"holders": {}}))])
    table.create_entity({"PartitionKey": "meta", "RowKey": "made", "at": datetime(2026, 1, 31, 6, tzinfo=UTC)})
    return store


def contents(table: TableClient) -> dict[tuple[str, str], dict[str, object]]:
    return {(row["PartitionKey"], row["RowKey"]): dict(row) for row in table.list_entities()}


def test_a_restored_state_is_the_one_that_was_exported(new_table: NewTable, tmp_path: Path) -> None:
    table, other, file = new_table(), new_table(), tmp_path / "state.jsonl.gz"
    filled(table)
    assert write(file, rows(table)) == 132
    assert restore(other, read(file)) == 132
    assert contents(other) == contents(table)
    before = TableStateStore(table, 2).read_range(TableStateStore(table, 2).shard_of("P001_C001"), "P", "Q")
    after = TableStateStore(other, 2).read_range(TableStateStore(other, 2).shard_of("P001_C001"), "P", "Q")
    assert [(row.key, row.body) for row in before] == [(row.key, row.body) for row in after]


def test_a_state_that_is_in_use_is_never_written_over(new_table: NewTable, tmp_path: Path) -> None:
    table, file = new_table(), tmp_path / "state.jsonl.gz"
    filled(table, 3)
    write(file, rows(table))
    before = contents(table)
    with pytest.raises(NotRestored, match=r"is not empty .* STATE_TABLE"):
        restore(table, read(file))
    assert contents(table) == before


def test_an_export_that_breaks_leaves_no_file_that_looks_whole(new_table: NewTable, tmp_path: Path) -> None:
    def breaks() -> object:
        yield {"PartitionKey": "p", "RowKey": "r"}
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        write(tmp_path / "state.jsonl.gz", breaks())  # type: ignore[arg-type]
    assert not (tmp_path / "state.jsonl.gz").exists()


def test_missing_settings_are_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLEET_MODE", raising=False)
    assert state_backup.main(["export", "anywhere"]) == 1
    assert "FLEET_MODE is missing" in capsys.readouterr().err
