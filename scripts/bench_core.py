"""`make bench`: the core measured on the storage emulator; prints a table and writes .local/bench/core.json.

`--keep` also keeps the run with a description of the machine, for docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import re
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from local.azurite import Azurite
from tests.bench import idle_sweep, per_release, start, throughput
from tests.bench.fleet import BenchFleet
from tests.bench.rows import BenchRow, measured, ours_at_most, show, write

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / ".local" / "bench" / "core.json"
KEPT = ROOT / "docs" / "benchmarks" / "core.json"
DEMO = ROOT / ".local" / "demo" / "summary.json"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="keep the run in docs/benchmarks/core.json")
    given = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    described = machine()
    rows = measure()
    show(rows)
    write(rows, RESULT)
    print(f"Written to {RESULT.relative_to(ROOT)}")
    if given.keep:
        document = {"machine": described, "rows": [asdict(row) for row in rows]}
        KEPT.parent.mkdir(parents=True, exist_ok=True)
        KEPT.write_text(json.dumps(document, indent=2) + "\n")
        print(f"Kept in {KEPT.relative_to(ROOT)}: run make docs")
    return 0


def measure() -> list[BenchRow]:
    """All rows. Each measurement has an emulator of its own: it gets slower with what others leave in it."""
    print("Counting storage operations of an event and a release ...")
    with Azurite() as storage:
        rows, facts = per_release.measure(storage.connection_string)
        print("Measuring events a second ...")
        directory = BenchFleet(storage.connection_string, "benchdirectory").directory
        rows += throughput.measure(storage.connection_string, facts, directory)
    with Azurite() as storage:
        print("Starting the function app in fresh processes ...")
        rows += start.measure(storage.connection_string)
        print("Sweeping with up to 10,000 finished releases ...")
        rows += idle_sweep.measure(storage.connection_string)
    return [*rows, *demo()]


def demo() -> list[BenchRow]:
    """The last `make demo`, if there was one: it is not run for this."""
    if not DEMO.exists():
        print("make demo has not been run here: its time and memory are left out")
        return []
    summary = json.loads(DEMO.read_text())
    return [
        measured("make demo after set-up: time", summary["seconds"], 180, "3 minutes", "s", ours_at_most(180)),
        measured("make demo: memory", summary["memory_mb"], 4096, "4 GB", "MB", ours_at_most(4096)),
    ]


def machine() -> dict[str, str]:
    """What the numbers were measured on."""
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    azurite = json.loads((ROOT / "node_modules" / "azurite" / "package.json").read_text())["version"]
    return {
        "processor": f"{_processor()}, {psutil.cpu_count()} logical cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GB",
        "already running": f"load average {psutil.getloadavg()[0]:.1f} before the run",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "storage": f"Azurite {azurite} on Node {node.removeprefix('v')}, in memory",
        "clients": ", ".join(f"{name} {version(name)}" for name in ("azure-data-tables", "azure-storage-queue")),
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", information.read_text()) if information.exists() else None
    return found[1] if found else platform.processor()


if __name__ == "__main__":
    sys.exit(main())
