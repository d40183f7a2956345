#!/usr/bin/env python3
"""Verify a Delta table's transaction log: history, commits, checkpoints, and that every data file is there.

Exit code 0: whole. 1: damaged; what is wrong, what to do and which versions can still be read is printed.
2: it could not be checked (no table there, no access).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from etl.log_check import LogCheck, TableNotFound, check_log


def describe(check: LogCheck, commits: int) -> str:
    """The finding for people, with the newest commits of the history."""
    versions = ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in check.readable) or "none"
    lines = [
        f"{check.table_uri}: {check.status}",
        f"  table {check.table_id}, newest version {check.newest_version}, {check.data_files} data files,"
        f" {check.data_bytes / 1e6:.1f} MB",
        f"  versions that can be read: {versions}",
        f"  checkpoints: {', '.join(str(one.version) for one in check.checkpoints) or 'none'}",
    ]
    lines += [f"  PROBLEM {one.file}: {one.problem}; {one.next_step}" for one in check.problems]
    for commit in list(reversed(check.history))[:commits]:
        moment = f"{commit.timestamp:%Y-%m-%d %H:%M:%S}" if commit.timestamp else "time unknown"
        lines.append(
            f"  {commit.version:>6}  {moment}  {commit.operation:<14}"
            f" +{commit.files_added} -{commit.files_removed} files{'' if commit.data_changed else ', no data changed'}"
            f"{f', run {commit.run_id}' if commit.run_id else ''}"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", help="URI of the Delta table: a path, az://... or abfss://...")
    parser.add_argument("--json", action="store_true", help="print everything that was found as JSON")
    parser.add_argument("--commits", type=int, default=10, help="how many commits of the history to print (default 10)")
    options = parser.parse_args(arguments)
    try:
        check = check_log(options.table)
    except (TableNotFound, OSError, ValueError) as error:
        print(f"{options.table} cannot be checked: {error}", file=sys.stderr)
        return 2
    print(check.model_dump_json(indent=2) if options.json else describe(check, options.commits))
    return 0 if check.status == "whole" else 1


if __name__ == "__main__":
    sys.exit(main())
