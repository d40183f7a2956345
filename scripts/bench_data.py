"""Measure data and learning beside their references; writes .local/bench/data.json.

`make test-spark` once before, and Spark is measured too. With --etl or --learning only that part is measured anew; the
other rows stay as they were.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.bench import etl_merge, learning
from tests.bench.rows import BenchRow, show, write

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".local" / "bench"
PARTS: dict[str, Callable[[Path], list[BenchRow]]] = {"etl": etl_merge.measure_all, "learning": learning.measure_all}
SAID = {"etl": "Merging into 10,000,000 rows ...", "learning": "Training 200 circuits, and four real series ..."}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for part in PARTS:
        parser.add_argument(f"--{part}", action="store_true", help=f"measure only this: {SAID[part]}")
    given = vars(parser.parse_args(arguments))
    wanted = [part for part in PARTS if given[part]] or list(PARTS)
    logging.disable(logging.WARNING)
    rows: list[BenchRow] = []
    for part in wanted:
        print(SAID[part])
        rows += PARTS[part](FOLDER / part)
    show(rows)
    kept = [] if wanted == list(PARTS) else _earlier(FOLDER / "data.json", {row.name for row in rows})
    write([*kept, *rows], FOLDER / "data.json")
    print(f"Written to {(FOLDER / 'data.json').relative_to(ROOT)}")
    return 0


def _earlier(path: Path, measured_anew: set[str]) -> list[BenchRow]:
    if not path.is_file():
        return []
    return [BenchRow(**row) for row in json.loads(path.read_text()) if row["name"] not in measured_anew]


if __name__ == "__main__":
    sys.exit(main())
