#!/usr/bin/env python3
"""Measure running a fleet: environment releases by size, a storm of events, rollbacks; writes .local/bench/fleet.json.

`--keep` also keeps the run with a description of the machine, for docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from local.azurite import Azurite
from tests.bench import environment_release, rollback, storm
from tests.bench.machine import machine, record

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=environment_release.SIZES, help="circuits in each fleet"
    )
    parser.add_argument("--keep", action="store_true", help="keep the run in docs/benchmarks/fleet.json")
    given = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    described = machine()
    print(f"Releasing an environment to fleets of {', '.join(map(str, given.sizes))} ...")
    rows = environment_release.measure(given.sizes)
    print("A storm of events, and rollbacks ...")
    rows += storm.measure()
    with Azurite() as storage:
        rows += rollback.measure(storage.connection_string)
    record(rows, described, "fleet.json", given.keep)
    return 0


if __name__ == "__main__":
    sys.exit(main())
