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
`docs/benchmarks/` (`scripts/bench_core.py`, `bench_fleet.py`, `bench_data.py`, `bench_monitoring.py` and
`bench_dashboard.py`, each with `--keep`). Counts are exact and the same on every machine. Times are of one machine that
had other work to do: read the ratios, whose two sides were measured in the same run.
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


READ_FLEET = """
### How to read it

- **Environment release**: from the registration of a version to where every circuit serves it, tested pair by pair,
  with 20 jobs at once whatever the size of the fleet. The store is the embedded one that keeps its keys sorted, as
  Table Storage does: the emulator's time for a read grows with its table, and would be all that one sees. Its
  operations are counted as Table Storage bills them, a range read for each page of 1,000 rows; sweeps are left out,
  since they cost time and not circuits. What is shared by the fleet is spread over fewer circuits in a small one, so
  the number falls.
- **Time** is processor time of the application and of the simulated world around it, in one process; jobs take no
  time. It grows with the fleet, operations do not: how far a release is, is counted in the fleet's index, and a
  larger fleet is counted more often and has a longer one.
- **Memory** is the peak of the whole process, which holds the state, every document and the simulated platform as
  well.
- **Rollback**: from a person's order to the circuit's row that says what production serves, all that the app does in
  between, on the emulator. The platform's deployment takes no real time here.
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

READ_MONITORING = """
### How to read it

- **Surrogates** are series in which nothing changes, made from every public series with its distribution, its
  autocorrelation and, within a source, its relations (iterative amplitude-adjusted Fourier transform; Schreiber and
  Schmitz 2000; the generator is `tests/bench/surrogates.py`). A year is the reference; what follows it is judged as in
  production. A circuit has five columns of one source; the two sources with a single column give five that have
  nothing to do with each other.
- **Chosen and scored.** The false discovery rate was chosen on the transformer's series and is scored on the others.
  The method itself took shape on surrogates of all of them, with other draws.
- **Alarms by chance** are of a whole quarter of the schedule: one deciding run by default, thirteen where it is
  weekly.
- **Power**: in each circuit one column is moved by so many standard deviations of its deseasonalised reference, and
  is the only one of 1,000 that moved, which is the hardest case: the more there is to find, the more the procedure
  lets through. It moves in the window's first hour unless the row says otherwise; the method does not know when and
  scans. The **ceiling** is what a test of the column's own monthly mean could find at the same rate if it knew how
  its means wander: monthly means of such sensors wander by 0.3 to 0.9 standard deviations. What is found beyond the
  ceiling is found by the column's relation to the others or as a step, which its forecast from hour to hour did not
  see. The usual tests find nearly all, and alarm on nearly all where nothing changed. **The goal of 0.9 is not
  reached** over all series. What a step leaves in the errors of a forecast is hardly above what scanning hundreds of
  hours of a thousand columns brings by chance, once it is granted that a column may have wandered since the
  reference. Without that grant about twice as much is found where the window follows the reference at once, and
  unchanged circuits alarm where it lies further away. Higher rates find more (see the curve). What comes little by
  little is found by the month's mean only, which is the row "little by little".
- **Not measured again.** The rows are of the method before it looked for steps. Measured since: on two other fleets of
  200 circuits power at 1 sd and 30 days 0.21, one false alarm in four deciding runs and one in each quarter of thirteen
  weekly ones; 11.6 CPU s for the row *time* and 1.26 GB, both above their goals (8.5 and 1.25 before, the same day).
  Of 80 unchanged fleets of a dozen circuits 9 have an alarm in a deciding run, where 11 had one before: a small fleet
  knows less of what is rare. Of the real months 0.38 alarm instead of 0.72, and 0.35 of the losses follow an alarm.
- **Losses**: a model for each column of the two sources with several columns, a month's verdict against the errors of
  the month after it. A loss is an error beyond what the backtest may come to by chance, and a quarter above it. Many of
  these real months alarm, because they really differ from the reference, and losses are hardly more frequent after an
  alarm of whatever kind. This is why input drift asks to look, and errors ask to retrain.
- **Time** is processor time of whole processes from a Delta table to `results.json` and all pages; Evidently's is of
  reading, reports and pages, without starting.

![What is found beside what alarms by chance](benchmarks/drift_power_and_alarms.svg)

![What is found of each series](benchmarks/drift_power_by_series.svg)
"""


READ_DASHBOARD = """
### How to read it

- **A page** is its slowest view, read and turned into JSON: a browser asks for the views of a page together. The goal
  is a second. Operations are those of all its views, as Table Storage would bill them.
- **The fleet** is copied from circuits that lived in the simulator: live and scored for some days, one in 40 waiting at
  a gate, one in 100 with a release that failed. Everything is read by the real client from the emulator.
- **A day's completeness of the whole fleet** reads a row for each circuit: scripts ask for it, and pages of a fleet of
  up to 300 circuits. Pages of a larger one show it plant by plant.
"""


def write() -> str:
    """docs/benchmarks.md"""
    core = ("## The core", *_run("core.json"), READ_CORE)
    kept = (KEPT / "fleet.json").exists()
    fleet = ("## Running a fleet", *_run("fleet.json"), READ_FLEET) if kept else ()
    data = ("## Data and learning", *_run("data.json"), READ_DATA)
    monitoring = ("## Monitoring", *_run("monitoring.json"), READ_MONITORING)
    shown = (KEPT / "dashboard.json").exists()
    dashboard = ("## The dashboard", *_run("dashboard.json"), READ_DASHBOARD) if shown else ()
    return page("Benchmarks", INTRODUCTION, *core, *fleet, *data, *monitoring, *dashboard)


def _run(file: str) -> tuple[str, str]:
    kept = json.loads((KEPT / file).read_text())
    header = ("What", "Ours", "Reference", "Ratio", "Unit", "Goal", "Met")
    return table(("Measured on", ""), kept["machine"].items()), table(header, map(_line, kept["rows"]))


def _line(row: Mapping[str, Any]) -> tuple[str, ...]:
    met = {True: "yes", False: "**no**", None: ""}[row["met"]]
    reference = f"{row['reference']:g} ({row['reference_name']})"
    return row["name"], f"{row['ours']:g}", reference, f"{row['ratio']:g}", row["unit"], row["goal"], met
