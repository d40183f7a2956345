#!/usr/bin/env python3
"""`make bench`: the core measured on the storage emulator; prints a table and writes .local/bench/core.json.

`--keep` also keeps the run with a description of the machine, for docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from local.azurite import Azurite
from tests.bench import idle_sweep, per_release, start, throughput
from tests.bench.fleet import BenchFleet
from tests.bench.machine import machine, record
from tests.bench.rows import BenchRow, measured, ours_at_most

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / ".local" / "demo" / "summary.json"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="keep the run in docs/benchmarks/core.json")
    given = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    described = machine() | storage()
    rows = measure()
    record(rows, described, "core.json", given.keep)
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


def storage() -> dict[str, str]:
    """The emulator and the clients."""
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    azurite = json.loads((ROOT / "node_modules" / "azurite" / "package.json").read_text())["version"]
    return {
        "storage": f"Azurite {azurite} on Node {node.removeprefix('v')}, in memory",
        "clients": ", ".join(f"{name} {version(name)}" for name in ("azure-data-tables", "azure-storage-queue")),
    }


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


if __name__ == "__main__":
    sys.exit(main())
