#!/usr/bin/env python3
"""An environment's way through the fleet, through the app, which does the work and asks the people.

  scripts/release_environment.py preview 1.1.0                       whom it would touch now, and whom it would leave
  scripts/release_environment.py begin 1.1.0                         tell the app of it; nothing when it knows already
  scripts/release_environment.py follow 1.1.0 --until tested --wait 60    until it is that far, at most 60 minutes
  scripts/release_environment.py roll-back 1.1.0 --reason "..." --wait 60

--until: promoted (in the registry), tested (every live model, with it), updated (canaries and waves), live (observed).
Prints one JSON object. Exit codes: 0 done, or that far; 1 not possible, ended otherwise, or not that far in time, and
stderr says what is waited for; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.fleet_api import ENVIRONMENT, ApiProblem, FleetApi
from shared.domain.environment.release import Phase
from shared.domain.values import SEMANTIC_VERSION

LOOK_SECONDS = 10.0
WAY = (
    Phase.REGISTERED,
    Phase.WAITING,
    Phase.CLASSIFIED,
    Phase.AWAITING_REGISTRY_APPROVAL,
    Phase.PROMOTING,
    Phase.TESTING_ALL,
    Phase.AWAITING_PRODUCTION_APPROVAL,
    Phase.READY,
    Phase.UPDATING_CANARIES,
    Phase.UPDATING_WAVES,
    Phase.OBSERVING,
    Phase.LIVE,
    Phase.SETTLED,
)
"""The way of a release that nothing stops, in order."""
REACHED: Mapping[str, Phase] = {
    "promoted": Phase.TESTING_ALL,
    "tested": Phase.AWAITING_PRODUCTION_APPROVAL,
    "updated": Phase.OBSERVING,
    "live": Phase.LIVE,
}
"""The first phase of the way that has each behind it."""
ON_ITS_WAY_BACK = (Phase.ROLLING_BACK,)


class Stopped(Exception):
    """The release will not get there, or has not in time; the text says why."""


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    try:
        shown = given.run(FleetApi(), given)
    except (ApiProblem, Stopped) as problem:
        print(problem, file=sys.stderr)
        return 1
    print(json.dumps(shown, indent=2))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=ENVIRONMENT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="preview|begin|follow|roll-back")
    for name, run in (("preview", _preview), ("begin", _begin), ("follow", _follow), ("roll-back", _roll_back)):
        command = commands.add_parser(name, description=parser.description, formatter_class=parser.formatter_class)
        command.set_defaults(run=run)
        command.add_argument("version", type=_version, help="a version of the environment, 1.1.0")
        if name in ("follow", "roll-back"):
            command.add_argument("--wait", type=float, default=0, metavar="MINUTES", help="default: only look")
        if name == "follow":
            command.add_argument("--until", choices=tuple(REACHED), required=True)
            command.add_argument("--report", type=Path, metavar="FILE", help="write where each circuit stands")
        if name == "roll-back":
            command.add_argument("--reason", required=True, help="why; kept in the history")
    return parser


def _version(text: str) -> str:
    if not re.fullmatch(SEMANTIC_VERSION, text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a version such as 1.1.0")
    return text


def _preview(api: FleetApi, given: argparse.Namespace) -> dict[str, Any]:
    return api.get(f"environments/{given.version}/preview")


def _begin(api: FleetApi, given: argparse.Namespace) -> dict[str, Any]:
    api.post(f"environments/{given.version}")
    return _summary(api.get(f"environments/{given.version}"))


def _follow(api: FleetApi, given: argparse.Namespace) -> dict[str, Any]:
    until = time.monotonic() + 60 * given.wait
    wanted = WAY.index(REACHED[given.until])
    while True:
        release = api.get(f"environments/{given.version}")
        if given.report:
            given.report.parent.mkdir(parents=True, exist_ok=True)
            given.report.write_text(json.dumps(release, indent=2) + "\n", encoding="utf-8")
        if release["phase"] not in WAY:
            raise Stopped(f"{given.version} is {release['phase']}: {release['reason'] or 'see its history'}")
        if WAY.index(Phase(release["phase"])) >= wanted:
            return _summary(release)
        if time.monotonic() >= until:
            raise Stopped(_waiting(release, given.until))
        time.sleep(LOOK_SECONDS)


def _roll_back(api: FleetApi, given: argparse.Namespace) -> dict[str, Any]:
    until = time.monotonic() + 60 * given.wait
    release = api.get(f"environments/{given.version}")
    if release["phase"] not in (*ON_ITS_WAY_BACK, Phase.ROLLED_BACK):
        api.post(f"environments/{given.version}/rollback", reason=given.reason)
    while True:
        release = api.get(f"environments/{given.version}")
        if release["phase"] == Phase.ROLLED_BACK or not given.wait:
            return _summary(release)
        if release["phase"] not in ON_ITS_WAY_BACK or time.monotonic() >= until:
            raise Stopped(_waiting(release, "rolled back"))
        time.sleep(LOOK_SECONDS)


def _summary(release: Mapping[str, Any]) -> dict[str, Any]:
    names = ("id", "version", "phase", "since", "deadline", "reason", "counts")
    return {name: release.get(name) for name in names}


def _waiting(release: Mapping[str, Any], wanted: str) -> str:
    why = f": {release['reason']}" if release.get("reason") else ""
    return (
        f"{release['version']} is not {wanted} yet: it is {release['phase']} since {release['since']}{why}."
        " It goes on by itself; run this again to go on waiting"
    )


if __name__ == "__main__":
    sys.exit(main())
