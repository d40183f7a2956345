#!/usr/bin/env python3
"""Scan infra/ for misconfiguration with checkov: exit 1 on a finding, on a file it cannot read, on a check that broke.

checkov itself ends with 0 where it cannot parse a file. Suppressions stand in the Bicep files, each with its reason.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CHECKOV = ROOT / ".venv-infra" / "bin" / "checkov"
BROKEN = "CKV_AZURE_189"
"""A vault's public access: the check breaks where that depends on a parameter; tests/infrastructure looks at it."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "infra", help="the Bicep files (default: infra/)")
    parser.add_argument("--checkov", type=Path, default=CHECKOV, help="the program (default: .venv-infra's)")
    given = parser.parse_args(arguments)
    if not given.checkov.exists():
        print(f"{given.checkov} is not there: run make check-infra, which installs it", file=sys.stderr)
        return 2
    files = len(list(given.folder.rglob("*.bicep")))
    scan = [given.checkov, "-d", given.folder, "--framework", "bicep", "--skip-download", "-o", "json"]
    scan += ["--skip-check", BROKEN]
    done = subprocess.run([str(part) for part in scan], capture_output=True, text=True, check=False)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        print(f"checkov said nothing that can be read:\n{done.stderr[-2000:]}", file=sys.stderr)
        return 2
    problems = [*_problems(report), *(line for line in done.stderr.splitlines() if "Failed to run check" in line)]
    for problem in problems:
        print(problem, file=sys.stderr)
    passed, skipped = (report.get("summary", {}).get(name, 0) for name in ("passed", "skipped"))
    if not passed:
        print(f"checkov checked nothing in {files} files of {given.folder}", file=sys.stderr)
    print(f"{files} Bicep files: {passed} checks passed, {skipped} suppressed with a reason, {len(problems)} problems")
    return 1 if problems or not passed else 0


def _problems(report: Mapping[str, Any]) -> Iterator[str]:
    results = report.get("results", {})
    for file in results.get("parsing_errors", ()):
        yield f"{file}: checkov cannot parse it"
    for one in results.get("failed_checks", ()):
        yield f"{one['file_path'].lstrip('/')}: {one['resource']}: {one['check_id']} {one['check_name']}"
    for one in results.get("skipped_checks", ()):
        if len(one["check_result"].get("suppress_comment") or "") < len("no reason was given"):
            yield f"{one['file_path'].lstrip('/')}: {one['resource']}: {one['check_id']} is suppressed without a reason"


if __name__ == "__main__":
    sys.exit(main())
