"""The state's export and its restore, on the storage emulator."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from azure.data.tables import TableClient
from azure.storage.blob import BlobServiceClient

from local.azurite import Azurite
from scripts import state_backup
from scripts.state_backup import NotRestored, read, restore, rows, write
from shared.adapters.azure.state_store import TableStateStore
from shared.ports import Row, Write

ROOT = Path(__file__).resolve().parents[2]
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


def test_a_nights_export_is_kept_elsewhere_and_the_newest_is_restored(
    azurite: Azurite, new_table: NewTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the commands of the runbook, as they stand there."""
    table, file, kept = new_table(), tmp_path / "state.jsonl.gz", "http://127.0.0.1/devstoreaccount1/state-backups"
    sample = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]
    for name, value in {**sample, "FLEET_STORAGE": azurite.connection_string, "STATE_TABLE": table.table_name}.items():
        monkeypatch.setenv(name, value)
    blobs = BlobServiceClient.from_connection_string(azurite.connection_string)
    container = blobs.create_container("state-backups")
    assert state_backup.main(["fetch", str(file), "--from", kept]) == 1, "there is none yet"
    filled(table, 3)
    assert state_backup.main(["export", str(file), "--to", kept]) == 0
    container.upload_blob(f"{table.table_name}/2000-01-01T000000Z.jsonl.gz", b"an older one")
    file.unlink()
    assert state_backup.main(["fetch", str(file), "--from", kept]) == 0
    monkeypatch.setenv("STATE_TABLE", f"{table.table_name}restored")
    assert state_backup.main(["restore", str(file)]) == 0
    assert contents(
        TableClient.from_connection_string(azurite.connection_string, f"{table.table_name}restored")
    ) == contents(table)


@pytest.mark.parametrize(
    "wrong", [["fetch", "f"], ["restore", "f", "--to", "u"], ["export", "f", "--from", "u"], ["keep", "f"]]
)
def test_wrong_use_is_told_before_anything_is_asked(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        state_backup.main(wrong)
    assert stopped.value.code == 2


def test_missing_settings_are_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLEET_MODE", raising=False)
    assert state_backup.main(["export", "anywhere"]) == 1
    assert "FLEET_MODE is missing" in capsys.readouterr().err
