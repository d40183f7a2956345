#!/usr/bin/env python3
"""Run the ETL now, through the app; with --wait until it has ended.

  scripts/run_etl.py --wait 110          at most 110 minutes

Prints one JSON object. Exit codes: 0 asked for, or completed (--wait); 1 not; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.fleet_api import ENVIRONMENT, ApiProblem, FleetApi

LOOK_SECONDS = 5.0
COMPLETED = "completed"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=ENVIRONMENT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wait", type=float, default=0, metavar="MINUTES", help="wait until it has ended")
    given = parser.parse_args(arguments)
    until = time.monotonic() + 60 * given.wait
    try:
        api = FleetApi()
        asked = api.post("lake/etl")
        while True:
            run = api.get(asked["progress"])
            if run["ended"] or time.monotonic() >= until:
                break
            time.sleep(LOOK_SECONDS)
    except ApiProblem as problem:
        print(problem, file=sys.stderr)
        return 1
    last = run["history"][-1]
    print(
        json.dumps(
            {"run": run["run"], "phase": run["phase"], "ended": run["ended"], "detail": last["detail"]}, indent=2
        )
    )
    if given.wait and run["phase"] != COMPLETED:
        why = last["detail"].get("error", "") if run["ended"] else f"it has not ended within {given.wait:g} minutes"
        print(f"{run['run']} is {run['phase']}: {why}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
