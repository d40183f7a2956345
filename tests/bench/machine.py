"""What a benchmark was measured on, and keeping a run of it for the documents."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import psutil

from tests.bench.rows import BenchRow, show, write

ROOT = Path(__file__).resolve().parents[2]


def machine() -> dict[str, str]:
    """The machine, as far as it decides about times."""
    return {
        "processor": f"{_processor()}, {psutil.cpu_count()} logical cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GB",
        "already running": f"load average {psutil.getloadavg()[0]:.1f} before the run",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def keep(rows: Sequence[BenchRow], described: Mapping[str, str], path: Path) -> None:
    """Write the run to where the documents take it from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": described, "rows": [asdict(row) for row in rows]}, indent=2) + "\n")
    print(f"Kept in docs/benchmarks/{path.name}: run make docs")


def record(rows: Sequence[BenchRow], described: Mapping[str, str], name: str, kept: bool) -> None:
    """Print the rows and write them to .local/bench; `kept`: also to where the documents take them from."""
    result = ROOT / ".local" / "bench" / name
    show(rows)
    write(rows, result)
    print(f"Written to {result.relative_to(ROOT)}")
    if kept:
        keep(rows, described, ROOT / "docs" / "benchmarks" / name)


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", information.read_text()) if information.exists() else None
    return found[1] if found else platform.processor()
