"""Measure monitoring beside its references; writes .local/bench/monitoring.json, and plots beside it.

With --alarms, --loss or --speed only that part is measured anew; the other rows stay as they were, so that a run can be
made in portions. `--quick` looks at one scored fleet instead of two and is never kept. `--keep` also keeps everything
for docs/benchmarks.md. Beside Evidently needs its environment, which `make bench` sets up.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.bench import drift_alarms, drift_loss, monitoring_speed
from tests.bench.machine import keep, machine
from tests.bench.rows import BenchRow, show

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".local" / "bench"
FILE = FOLDER / "monitoring.json"
KEPT = ROOT / "docs" / "benchmarks"
PARTS: dict[str, Callable[[Path], list[BenchRow]]] = {
    "alarms": drift_alarms.measure_all,
    "loss": drift_loss.measure_all,
    "speed": monitoring_speed.measure_all,
}
SAID = {
    "alarms": "Fleets in which nothing changed, and in which one column did ...",
    "loss": "Whether an alarm is followed by larger errors ...",
    "speed": "200 circuits x 5 columns ...",
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for part in PARTS:
        parser.add_argument(f"--{part}", action="store_true", help=f"measure only this: {SAID[part]}")
    parser.add_argument("--keep", action="store_true", help="keep the run and its plots in docs/benchmarks")
    parser.add_argument("--quick", action="store_true", help="fewer surrogates: for a look, not to keep")
    given = vars(parser.parse_args(arguments))
    if given["quick"] and given["keep"]:
        parser.error("--quick is for a look: what is kept has all surrogates")
    described = machine()
    wanted = [part for part in PARTS if given[part]] or list(PARTS)
    parts = json.loads(FILE.read_text()) if FILE.is_file() else {}
    for part in wanted:
        print(SAID[part], flush=True)
        folder = FOLDER / "monitoring"
        rows = drift_alarms.measure_all(folder, 1) if part == "alarms" and given["quick"] else PARTS[part](folder)
        parts[part] = [asdict(row) for row in rows]
        FILE.parent.mkdir(parents=True, exist_ok=True)
        FILE.write_text(json.dumps(parts, indent=2) + "\n")
    rows = [BenchRow(**row) for part in PARTS for row in parts.get(part, [])]
    show(rows)
    print(f"Written to {FILE.relative_to(ROOT)}")
    if given["keep"]:
        keep(rows, described, KEPT / "monitoring.json")
        for plot in (FOLDER / "monitoring").glob("*.svg"):
            shutil.copy(plot, KEPT / plot.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
