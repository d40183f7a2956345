"""The log check against logs that are really damaged, and what it says held against what Delta can really read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from etl.log_check import LogCheck, TableNotFound, check_log
from etl.merge import merge

ROOT = Path(__file__).parents[2]
START = datetime(2025, 12, 8, tzinfo=UTC)
FEATURES = ["temperature"]


def add_day(table: Path, day: int) -> None:
    rows = pl.DataFrame(
        {
            "timestamp": [START + timedelta(days=day, hours=hour) for hour in range(3)],
            "sensor_id": "S1",
            "temperature": [float(day)] * 3,
        }
    )
    merge(str(table), rows, FEATURES, lambda change: {"run_id": f"run-{day}", "report": f"t_runs/run-{day}.json"})


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Versions 0 (created) to 6, a checkpoint at 4."""
    for day in range(4):
        add_day(tmp_path / "t", day)
    DeltaTable(str(tmp_path / "t")).create_checkpoint()
    for day in (4, 5):
        add_day(tmp_path / "t", day)
    return tmp_path / "t"


def log_file(table: Path, version: int) -> Path:
    return table / "_delta_log" / f"{version:020d}.json"


def versions(check: LogCheck) -> list[int]:
    return [version for first, last in check.readable for version in range(first, last + 1)]


def really_readable(table: Path) -> list[int]:
    """Versions that delta-rs opens and whose rows polars reads to the end."""
    found = []
    for version in range(7):
        try:
            opened = DeltaTable(str(table), version=version)
            pl.scan_delta(opened).collect()
        except Exception:  # whatever a damaged log makes them raise
            continue
        found.append(version)
    return found


def test_a_whole_log_is_described_as_delta_itself_sees_it(table: Path) -> None:
    check = check_log(str(table))
    delta = DeltaTable(str(table))
    assert (check.status, check.problems) == ("whole", ())
    assert check.table_id == str(delta.metadata().id) and check.newest_version == delta.version()
    assert check.readable == ((0, 6),) and check.newest_readable == 6
    assert check.data_files == len(delta.file_uris()) == 6
    assert [(one.version, one.files) for one in check.checkpoints] == [(4, 4)]
    history = {entry["version"]: entry for entry in delta.history()}
    for commit in check.history:
        assert commit.operation == history[commit.version]["operation"]
        assert commit.run_id == history[commit.version].get("run_id")
    assert [commit.rows_added for commit in check.history] == [0, 3, 3, 3, 3, 3, 3]
    assert [commit.data_changed for commit in check.history] == [False] + [True] * 6


def cut_in_a_line(table: Path) -> None:
    log_file(table, 6).write_bytes(log_file(table, 6).read_bytes()[:-50])


def cut_between_lines(table: Path) -> None:
    log_file(table, 6).write_bytes(log_file(table, 6).read_bytes().splitlines()[0] + b"\n")


def emptied(table: Path) -> None:
    log_file(table, 6).write_bytes(b"")


def overwritten(table: Path) -> None:
    log_file(table, 6).write_bytes(b'{"commitInfo": {}}\n\x00\x01garbage\n{"add": {}}\n')


def foreign(table: Path) -> None:
    log_file(table, 6).write_text('{"hello": "world"}\n')


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (cut_in_a_line, "the commit is truncated in line 2 of 2"),
        (cut_between_lines, "the commit is truncated: it says it added 1 files and lists 0"),
        (emptied, "the commit is empty"),
        (overwritten, "the commit is corrupt in line 2 of 3"),
        (foreign, "the commit is corrupt in line 1 of 1: no action of the Delta protocol"),
    ],
)
def test_a_damaged_newest_commit_is_named_and_the_version_before_can_be_read(
    table: Path, damage: Callable[[Path], None], problem: str
) -> None:
    damage(table)
    check = check_log(str(table))
    (found,) = check.problems
    assert found.file == "_delta_log/00000000000000000006.json"
    assert found.problem.startswith(problem)
    assert "restore _delta_log/00000000000000000006.json" in found.next_step
    assert (check.status, check.readable) == ("damaged", ((0, 5),))
    assert pl.scan_delta(DeltaTable(str(table), version=5)).collect().height == 15


def test_a_missing_commit_in_the_middle_ends_what_can_be_read_until_the_checkpoint(table: Path) -> None:
    log_file(table, 2).unlink()
    check = check_log(str(table))
    assert [(one.file, one.problem) for one in check.problems] == [
        ("_delta_log/00000000000000000002.json", "the commit is missing")
    ]
    assert check.readable == ((0, 1), (4, 6))
    assert versions(check) == really_readable(table)


def test_a_corrupt_commit_after_the_checkpoint_ends_what_can_be_read(table: Path) -> None:
    log_file(table, 5).write_bytes(b"{")
    check = check_log(str(table))
    assert check.readable == ((0, 4),)
    assert versions(check) == really_readable(table)


def test_commits_that_a_checkpoint_replaced_may_be_gone(table: Path) -> None:
    for version in range(3):
        log_file(table, version).unlink()
    check = check_log(str(table))
    assert (check.status, check.readable) == ("whole", ((4, 6),))
    assert versions(check) == really_readable(table)


def test_a_broken_checkpoint_is_named_and_the_commits_carry_the_table(table: Path) -> None:
    checkpoint = next((table / "_delta_log").glob("*.checkpoint.parquet"))
    checkpoint.write_bytes(checkpoint.read_bytes()[:500])
    check = check_log(str(table))
    assert [one.file for one in check.problems] == [f"_delta_log/{checkpoint.name}", "_delta_log/_last_checkpoint"]
    assert check.readable == ((0, 6),) and not check.checkpoints
    checkpoint.unlink()
    (table / "_delta_log/_last_checkpoint").unlink()  # the advice
    assert check_log(str(table)).status == "whole"
    assert DeltaTable(str(table)).version() == 6


def test_a_last_checkpoint_that_is_garbage_is_named(table: Path) -> None:
    (table / "_delta_log/_last_checkpoint").write_text("{")
    (found,) = check_log(str(table)).problems
    assert found.file == "_delta_log/_last_checkpoint" and "delete _delta_log/_last_checkpoint" in found.next_step


def test_data_files_that_are_missing_or_cut_are_named(table: Path) -> None:
    (first,) = table.glob("date=2025-12-08/*.parquet")
    (last,) = table.glob("date=2025-12-13/*.parquet")
    first.unlink()
    size = last.stat().st_size
    last.write_bytes(last.read_bytes()[:100])
    check = check_log(str(table))
    assert [(one.file, one.problem) for one in check.problems] == [
        (first.relative_to(table).as_posix(), "the data file is missing"),
        (last.relative_to(table).as_posix(), f"the data file has 100 of {size} bytes"),
    ]
    assert check.readable == ((0, 0),)


def test_a_file_that_only_an_old_version_needs_takes_that_version_and_is_no_damage(table: Path) -> None:
    rewritten = pl.DataFrame({"timestamp": [START], "sensor_id": "S1", "temperature": 99.0})
    (old,) = table.glob("date=2025-12-08/*.parquet")
    merge(str(table), rewritten, FEATURES, lambda change: {})
    old.unlink()
    check = check_log(str(table))
    assert (check.status, check.readable) == ("whole", ((0, 0), (7, 7)))


def test_a_folder_without_a_table_is_said_to_have_none(tmp_path: Path) -> None:
    with pytest.raises(TableNotFound, match="has no transaction log"):
        check_log(str(tmp_path))


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = [sys.executable, "scripts/verify_delta_log.py", *arguments]
    return subprocess.run(script, cwd=ROOT, capture_output=True, text=True)


def test_the_command_answers_by_exit_code_text_and_json(table: Path) -> None:
    whole = command(str(table))
    assert whole.returncode == 0 and "versions that can be read: 0-6" in whole.stdout and "run run-5" in whole.stdout
    cut_in_a_line(table)
    damaged = command(str(table), "--json")
    assert damaged.returncode == 1 and json.loads(damaged.stdout)["readable"] == [[0, 5]]
    nothing = command(str(table / "nowhere"))
    assert nothing.returncode == 2 and "cannot be checked" in nothing.stderr and "Traceback" not in nothing.stderr
