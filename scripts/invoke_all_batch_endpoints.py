#!/usr/bin/env python3
"""Score a day through the app: wherever its forecast was not published, or the circuits that are named.

The app does the work, with its slots, retries and checks; this asks for it, waits if told to, and says how complete the
day is. Asked again, it goes on with what is left.

  scripts/invoke_all_batch_endpoints.py                               the newest forecast origin, all circuits
  scripts/invoke_all_batch_endpoints.py --day 2026-01-31 --wait 30    a past day, until it is done: at most 30 minutes
  scripts/invoke_all_batch_endpoints.py --day 2026-01-31 --circuit P001_C001      also where a forecast stands

Prints one JSON object. Exit codes: 0 asked for, or every forecast published (--wait); 1 not; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.fleet_api import ENVIRONMENT, ApiProblem, FleetApi

LOOK_SECONDS = 5.0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=ENVIRONMENT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--day", type=date.fromisoformat, help="UTC date of the forecast origin; default: today")
    parser.add_argument("--circuit", action="append", default=[], help="such as P001_C001; may be repeated")
    parser.add_argument("--comment", default="", help="why; kept with the runs")
    parser.add_argument("--wait", type=float, default=0, metavar="MINUTES", help="wait until the day is complete")
    given = parser.parse_args(arguments)
    day = given.day or datetime.now(UTC).date()
    try:
        api = FleetApi()
        asked, refused = _ask(api, day, given.circuit, given.comment)
        found = _complete(api, day, asked, time.monotonic() + 60 * given.wait)
        if not given.circuit:
            found = _of_fleet(api, day) | found
    except ApiProblem as problem:
        print(problem, file=sys.stderr)
        return 1
    print(json.dumps({"day": str(day), **found, "refused": refused}, indent=2))
    return 1 if refused or (given.wait and found["not_done"]) else 0


def _ask(api: FleetApi, day: date, circuits: Sequence[str], comment: str) -> tuple[Sequence[str], dict[str, str]]:
    """Ask for the scorings; returns the circuits that are scored, and why a named one was refused."""
    if not circuits:
        return list(api.post("ledger/fill", day=day, comment=comment)["circuits"]), {}
    refused = {}
    for circuit in circuits:
        try:
            api.post(f"circuits/{circuit}/scorings", day=day, comment=comment)
        except ApiProblem as problem:
            refused[circuit] = str(problem)
    return circuits, refused


def _complete(api: FleetApi, day: date, circuits: Sequence[str], until: float) -> dict[str, Any]:
    """How the circuits stand, once every forecast is published or the time is over."""
    while True:
        found = _of_circuits(api, day, circuits)
        if not found["not_done"] or time.monotonic() >= until:
            return found
        time.sleep(LOOK_SECONDS)


def _of_fleet(api: FleetApi, day: date) -> dict[str, Any]:
    days = api.get("ledger/days", **{"from": day, "to": day})["days"]
    return dict(days[0]) if days else {"day": str(day), "expected": 0, "not_done": {}}


def _of_circuits(api: FleetApi, day: date, circuits: Sequence[str]) -> dict[str, Any]:
    """The named circuits' day: done when the run that was begun last has published."""
    states: dict[str, str] = {}
    for circuit in circuits:
        days = api.get(f"circuits/{circuit}/ledger", **{"from": day, "to": day})["days"]
        runs = days[0]["runs"] if days else []
        published = bool(runs) and runs[-1]["run"] == days[0]["published_run"]
        states[circuit] = "published" if published else (runs[-1]["phase"] if runs else "missing")
    left = {circuit: state for circuit, state in states.items() if state != "published"}
    return {"circuits": states, "not_done": left}


if __name__ == "__main__":
    sys.exit(main())
