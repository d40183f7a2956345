#!/usr/bin/env python3
"""Measure data and learning beside their references; writes .local/bench/data.json, and plots beside it.

`make test-spark` once before, and Spark is measured too. With --etl, --learning or --scoring only that part is measured
anew; the other rows stay as they were. `--keep` also keeps everything for docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.bench import etl_merge, learning, scoring
from tests.bench.machine import keep, machine
from tests.bench.rows import BenchRow, show, write

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".local" / "bench"
KEPT = ROOT / "docs" / "benchmarks"
PARTS: dict[str, Callable[[Path], list[BenchRow]]] = {
    "etl": etl_merge.measure_all,
    "learning": learning.measure_all,
    "scoring": scoring.measure_all,
}
SAID = {
    "etl": "Merging into 10,000,000 rows ...",
    "learning": "Training 200 circuits, and the real series ...",
    "scoring": "Scoring 200 circuits ...",
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for part in PARTS:
        parser.add_argument(f"--{part}", action="store_true", help=f"measure only this: {SAID[part]}")
    parser.add_argument("--keep", action="store_true", help="keep the run and its plots in docs/benchmarks")
    given = vars(parser.parse_args(arguments))
    described = machine()
    wanted = [part for part in PARTS if given[part]] or list(PARTS)
    logging.disable(logging.WARNING)
    rows: list[BenchRow] = []
    for part in wanted:
        print(SAID[part])
        rows += PARTS[part](FOLDER / part)
    show(rows)
    earlier = [] if wanted == list(PARTS) else _earlier(FOLDER / "data.json", {row.name for row in rows})
    write([*earlier, *rows], FOLDER / "data.json")
    print(f"Written to {(FOLDER / 'data.json').relative_to(ROOT)}")
    if given["keep"]:
        keep([*earlier, *rows], described, KEPT / "data.json")
        for plot in FOLDER.glob("*/*.svg"):
            shutil.copy(plot, KEPT / plot.name)
    return 0


def _earlier(path: Path, measured_anew: set[str]) -> list[BenchRow]:
    if not path.is_file():
        return []
    return [BenchRow(**row) for row in json.loads(path.read_text()) if row["name"] not in measured_anew]


if __name__ == "__main__":
    sys.exit(main())
