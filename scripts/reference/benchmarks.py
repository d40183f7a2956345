"""The benchmark runs that are kept in the repository, with the machines they were measured on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.reference.markdown import page, table

KEPT = Path(__file__).resolve().parents[2] / "docs" / "benchmarks"
INTRODUCTION = """
`make bench` measures, prints rows and writes them to `.local/bench`. What follows are runs of it that were kept in
`docs/benchmarks/` (`scripts/bench_core.py --keep`, `scripts/bench_data.py --keep`). Counts are exact and the same on
every machine. Times are of one machine that had other work to do: read the ratios, whose two sides were measured in the
same run.
"""
READ_CORE = """
### How to read it

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


READ_DATA = """
### How to read it

- **Merge**: the same rows into a copy of the same table, each in a process of its own. *Plain* is delta-rs with the
  key alone as predicate; *at its best* adds the literal date range and leaves streaming out. Ours brings the same rows
  in (without MERGE, see decision 15) and finds out which rows change anything at all, what was rewritten in closed
  days, and where each sensor now ends: that is the difference to the best, and a batch that changes nothing makes no
  commit.
- **Training** is everything that decides about a model: reading one sensor of the table, features, three models of the
  backtest, the model itself, intervals and metrics, in two processes; registering it in MLflow comes on top. The
  reference fits scikit-learn's boosted trees once for the next hour and judges nothing.
- **Error** is the backtest's mean absolute error in standard deviations of the target, beside the better of the two
  naive forecasts, on the last 28 days of each public series (their origins and licences are with the data, which is not
  in this repository). The default settings were chosen on earlier windows of the same series. Where ours loses, a model
  of that circuit says so in its evidence; the holdout of `machine_temperature` is a machine that fails.
- **Scoring** in warm processes that have each model in memory, as the embedded platform keeps them. The reference
  starts Python and its libraries for each circuit.

![Error of each step ahead on public series, beside the naive forecasts](benchmarks/forecast_errors.svg)
"""


def write() -> str:
    """docs/benchmarks.md"""
    core = ("## The core", *_run("core.json"), READ_CORE)
    return page("Benchmarks", INTRODUCTION, *core, "## Data and learning", *_run("data.json"), READ_DATA)


def _run(file: str) -> tuple[str, str]:
    kept = json.loads((KEPT / file).read_text())
    header = ("What", "Ours", "Reference", "Ratio", "Unit", "Goal", "Met")
    return table(("Measured on", ""), kept["machine"].items()), table(header, map(_line, kept["rows"]))


def _line(row: Mapping[str, Any]) -> tuple[str, ...]:
    met = {True: "yes", False: "**no**", None: ""}[row["met"]]
    reference = f"{row['reference']:g} ({row['reference_name']})"
    return row["name"], f"{row['ours']:g}", reference, f"{row['ratio']:g}", row["unit"], row["goal"], met
