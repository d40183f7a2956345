"""The benchmark run that is kept in the repository, with the machine it was measured on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.reference.markdown import page, table

KEPT = Path(__file__).resolve().parents[2] / "docs" / "benchmarks" / "core.json"
INTRODUCTION = """
`make bench` measures the core on the storage emulator, prints these rows and writes them to `.local/bench/core.json`.
What follows is one run of it, kept in `docs/benchmarks/core.json`; `scripts/bench_core.py --keep` keeps another.
Counts are exact and the same on every machine. Times are of one machine that had other work to do: read the ratios,
whose two sides were measured in turns.
"""
READING = """
## How to read it

- **Operations** are HTTP requests of the real storage clients, seen by a hook in their pipelines, told apart by which
  part of the core asked for them. The model platform is simulated and time is virtual: twelve circuits go from
  registered to live, promotions, deployments and jobs take two minutes each, and every look that finds one still
  running is an event of its own.
- **Dearest event** is the largest number of operations that `advance` needed for any event of that run, once when it
  was new and once when it was told again. An event that loses a conflict reads and writes again; nothing conflicts
  here.
- **Events a second** are single-threaded, one client, on the emulator. The raw side writes the same entities of the
  same events without conditions and decisions. Table Storage itself takes 2,000 entities a second in a partition; the
  state is in four.
- **Start** is measured with the packages of `requirements.txt` alone, the median of fresh processes with bytecode.
  Azure's own cold start (placing and starting a worker) comes on top and cannot be measured here.
- **Idle sweep**: a release that has ended is represented by three of its rows, because the emulator needs a
  millisecond for each. The emulator also takes longer for any range read the more rows its table holds, so there the
  sweep is held against bare reads of the same ranges; in the store that keeps its keys sorted it is held against an
  empty one.
- **`make demo`** is read from the last run's summary. Its memory is that of all processes at its end, shared pages
  counted once.
"""


def write() -> str:
    """docs/benchmarks.md"""
    kept = json.loads(KEPT.read_text())
    machine = table(("Measured on", ""), ((name, value) for name, value in kept["machine"].items()))
    header = ("What", "Ours", "Reference", "Ratio", "Unit", "Goal", "Met")
    return page("Benchmarks", INTRODUCTION, machine, table(header, map(_line, kept["rows"])), READING)


def _line(row: Mapping[str, Any]) -> tuple[str, ...]:
    met = {True: "yes", False: "**no**", None: ""}[row["met"]]
    reference = f"{row['reference']:g} ({row['reference_name']})"
    return row["name"], f"{row['ours']:g}", reference, f"{row['ratio']:g}", row["unit"], row["goal"], met
