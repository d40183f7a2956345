from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable

from etl.delta_log import read_commit
from etl.log_check import check_log
from etl.merge import merge
from etl.upkeep import compact, keep_up, main, vacuum
from etl.upkeep_documents import UpkeepError, UpkeepOrder, UpkeepResult, order_uri, result_uri

START = datetime(2025, 12, 8, tzinfo=UTC)
FEATURES = ["temperature"]


def write(table: Path, day: int, value: float, hours: range = range(3)) -> None:
    rows = pl.DataFrame(
        {
            "timestamp": [START + timedelta(days=day, hours=hour) for hour in hours],
            "sensor_id": "S1",
            "temperature": value,
        }
    )
    merge(str(table), rows, FEATURES, lambda change: {"run_id": f"{day}-{value}"})


def content(table: Path, version: int | None = None) -> pl.DataFrame:
    return pl.scan_delta(DeltaTable(str(table), version=version)).sort("timestamp").collect()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two days; version 2 has value 2 in the first of them, version 3 value 3, and so on to 5."""
    write(tmp_path / "t", 1, 0.0)
    for value in range(2, 6):
        write(tmp_path / "t", 0, float(value))
    return tmp_path / "t"


def test_compaction_makes_one_file_a_day_and_changes_no_data(tmp_path: Path) -> None:
    table = tmp_path / "t"
    for hour in range(5):
        write(table, 0, float(hour), range(hour, hour + 1))
    write(table, 1, 9.0)
    before = content(table)
    result = compact(str(table))
    assert (result.version, result.files_before, result.files_after) == (7, 6, 2)
    assert content(table).equals(before)
    commit = read_commit(str(table), 7)
    assert (commit.operation, commit.data_changed, commit.run_id) == ("OPTIMIZE", False, None)
    assert check_log(str(table)).status == "whole"
    assert [one.version for one in check_log(str(table)).checkpoints] == [7]


def test_a_table_that_is_compact_gets_no_commit(table: Path) -> None:
    result = compact(str(table))
    assert result.version is None and DeltaTable(str(table)).version() == 5


def test_compaction_and_runs_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    table = tmp_path / "t"
    for hour in range(4):
        write(table, 0, 0.0, range(hour, hour + 1))
    with ThreadPoolExecutor(2) as pool:
        pending: list[Future[Any]] = [
            pool.submit(write, table, 0, float(hour), range(hour, hour + 1)) for hour in range(4, 10)
        ]
        pending += [pool.submit(compact, str(table)) for _ in range(3)]
        for one in pending:
            one.result()
    assert content(table)["temperature"].to_list() == [0.0] * 4 + [float(hour) for hour in range(4, 10)]
    assert check_log(str(table)).status == "whole"


def test_vacuum_spares_the_versions_it_is_given_and_takes_the_others(table: Path) -> None:
    newest, spared = content(table), content(table, 3)
    result = vacuum(str(table), {3}, retention_hours=0)
    assert (result.spared_versions, result.lost, result.deleted_files) == ((3,), (), 2)
    assert content(table).equals(newest)
    assert content(table, 3).equals(spared) and spared["temperature"][0] == 3.0
    for gone in (2, 4):
        with pytest.raises((FileNotFoundError, pl.exceptions.PolarsError, OSError)):
            content(table, gone)
    check = check_log(str(table))
    assert check.status == "whole"
    readable = {version for first, last in check.readable for version in range(first, last + 1)}
    assert {3, 5} <= readable and not {2, 4} & readable


def test_a_spared_version_stays_readable_through_further_runs_compactions_and_vacuums(table: Path) -> None:
    spared = content(table, 2)
    for day in range(2, 5):
        write(table, day, 1.0, range(2))
        write(table, day, 2.0, range(2, 4))
        compact(str(table))
        vacuum(str(table), {2}, retention_hours=0)
    assert content(table, 2).equals(spared)


def test_the_retention_keeps_every_young_version(table: Path) -> None:
    assert vacuum(str(table), set()).deleted_files == 0
    assert content(table, 2)["temperature"][0] == 2.0


def test_a_dry_run_counts_and_deletes_nothing(table: Path) -> None:
    files = sorted(table.rglob("*"))
    assert vacuum(str(table), {3}, retention_hours=0, dry_run=True).deleted_files == 2
    assert sorted(table.rglob("*")) == files


def test_what_a_writer_that_died_left_behind_goes(table: Path) -> None:
    orphan = table / "date=2025-12-08/part-00000-lost.snappy.parquet"
    orphan.write_bytes(b"half")
    vacuum(str(table), {2, 3, 4, 5}, retention_hours=0)
    assert not orphan.exists() and content(table, 4)["temperature"][0] == 4.0


def test_versions_of_another_table_or_of_none_are_refused(table: Path) -> None:
    with pytest.raises(UpkeepError, match="the versions to spare are of other"):
        vacuum(str(table), {3}, retention_hours=0, table_id="other")
    with pytest.raises(UpkeepError, match="has versions 0 to 5, not 6, 99"):
        vacuum(str(table), {3, 6, 99}, retention_hours=0)
    assert content(table, 2).height == 6


def test_a_damaged_log_is_not_vacuumed(table: Path) -> None:
    log = table / "_delta_log" / f"{5:020d}.json"
    log.write_bytes(log.read_bytes()[:-10])
    files = sorted(table.rglob("*"))
    with pytest.raises(UpkeepError, match=r"is damaged \(_delta_log/00000000000000000005.json"):
        vacuum(str(table), set(), retention_hours=0)
    assert sorted(table.rglob("*")) == files


def test_a_version_that_was_gone_before_is_named(table: Path) -> None:
    vacuum(str(table), {3}, retention_hours=0)
    result = vacuum(str(table), {2, 3}, retention_hours=0)
    assert (result.spared_versions, result.lost, result.deleted_files) == ((3,), (2,), 0)


def test_the_log_of_old_versions_is_kept(table: Path) -> None:
    assert DeltaTable(str(table)).metadata().configuration["delta.enableExpiredLogCleanup"] == "false"


def test_the_command_wants_to_be_told_what_to_spare(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["vacuum", str(table)])
    with pytest.raises(SystemExit):
        main(["vacuum", str(table), "--spare-none", "--retention-hours", "1"])
    capsys.readouterr()
    (tmp_path / "spare.json").write_text("[3]")
    assert main(["vacuum", str(table), "--spare-file", f"{tmp_path}/spare.json", "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["spared_versions"] == [3]
    (tmp_path / "spare.json").write_text("{}")
    assert main(["vacuum", str(table), "--spare-file", f"{tmp_path}/spare.json"]) == 1
    assert "is not a JSON list of versions" in capsys.readouterr().err
    assert main(["compact", str(table)]) == 0


def order(table: Path, *spare: int, run_id: str = "u1", table_id: str | None = None) -> None:
    identity = table_id or str(DeltaTable(str(table)).metadata().id)
    UpkeepOrder(table_id=identity, spare=spare).write(str(table), run_id)


def test_an_upkeep_run_compacts_and_obeys_its_order(table: Path) -> None:
    for hour in range(3):
        write(table, 3, float(hour), range(hour, hour + 1))
    order(table, 3)
    newest, spared = content(table), content(table, 3)
    done = keep_up(str(table), "u1")
    assert len(DeltaTable(str(table)).file_uris()) == 3
    assert (done.version, done.lost) == (9, ())
    assert done.deleted_files == 0, "all of it is younger than a week"
    assert UpkeepResult.model_validate_json(Path(result_uri(str(table), "u1")).read_text()) == done
    vacuum(str(table), {3}, retention_hours=0)
    assert content(table).equals(newest) and content(table, 3).equals(spared)
    assert keep_up(str(table), "u1").version is None


def test_what_is_referred_to_while_an_upkeep_runs_is_kept_by_the_retention(table: Path) -> None:
    order(table)
    write(table, 0, 6.0)
    referred_to_too_late = content(table, 2), content(table)
    keep_up(str(table), "u1")
    assert content(table, 2).equals(referred_to_too_late[0]) and content(table, 6).equals(referred_to_too_late[1])


@pytest.mark.parametrize("spoilt", [None, b"", b"{}", b'{"table_id": "t", "spare": [3], "retention_hours": 1}', b"[3"])
def test_without_an_order_that_can_be_read_nothing_is_touched(table: Path, spoilt: bytes | None) -> None:
    order(table, 3)
    path = Path(order_uri(str(table), "u1"))
    path.unlink() if spoilt is None else path.write_bytes(spoilt)
    files = sorted(table.rglob("*"))
    with pytest.raises(UpkeepError, match=r"upkeep/u1.json cannot be read .*nothing was deleted"):
        keep_up(str(table), "u1")
    assert sorted(table.rglob("*")) == files


def test_an_order_for_another_table_deletes_nothing(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    order(table, 3, table_id="another")
    files = set(table.rglob("*.parquet"))
    assert main(["run", str(table), "--run-id", "u1"]) == 1
    assert "the versions to spare are of another" in capsys.readouterr().err
    assert files <= set(table.rglob("*.parquet"))
