"""Measure data and learning beside their references; writes .local/bench/data.json.

Only the ETL's part so far: `make test-spark` once before, and Spark is measured too.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.bench import etl_merge
from tests.bench.rows import show, write

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".local" / "bench"


def main() -> int:
    logging.disable(logging.WARNING)
    print("Merging into 10,000,000 rows ...")
    rows = etl_merge.measure_all(FOLDER / "etl")
    show(rows)
    write(rows, FOLDER / "data.json")
    print(f"Written to {(FOLDER / 'data.json').relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
