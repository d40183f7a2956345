"""`python -m local.train`: what a build does when a pull request has changed circuits: train them, once for its commit.

It works on the runtime that `make up` keeps running. Each model that it registers becomes a release by itself.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from local.runtime import REPOSITORY, RuntimeFailed, environment_of, shown
from local.up import HOME, TRAINER
from shared.configuration import ConfigurationError, load_fleet
from shared.domain.training import Phase, TrainingRun
from shared.errors import FleetError, Invalid
from shared.settings import SettingsError
from shared.training_build import Change, TrainingBuild
from shared.wiring import wire


def train(home: Path, circuits: Sequence[str], change: Change) -> bool:
    """Train circuits (none given: all) on the runtime in `home`; tells how each ended and returns whether all did well.

    Raises RuntimeFailed when nothing runs there, and Invalid for circuits that are not configured.
    """
    environment = environment_of(home)
    fleet = load_fleet(environment["CONFIG_FOLDER"])
    limit, chosen = fleet.policy.max_parallel_training, list(circuits or fleet.circuits)
    print(f"{len(chosen)} circuit(s) for commit {change.commit} by {change.author}, at most {limit} at once:")

    def look_later(seconds: float) -> None:
        environment_of(home)  # a build that waits for a runtime that was stopped would wait for ever
        time.sleep(seconds)

    build = TrainingBuild(wire(environment).application, limit, poll_seconds=1, sleep=look_later)
    runs = build.run(chosen, change, told=_tell)
    trained = sum(run.phase == Phase.TRAINED for run in runs.values())
    print(f"{trained} of {len(runs)} trained.")
    return trained == len(runs)


def _tell(run: TrainingRun) -> None:
    if run.phase == Phase.TRAINED:
        print(f"  {run.circuit}: model version {run.model_version}, release {run.circuit}:{run.model_version}")
    else:
        print(f"  {run.circuit}: {run.phase}" + (f": {run.reason}" if run.reason else ""))


def _newest_commit() -> str:
    """The commit that is checked out here, or nothing."""
    if _git("status", "--porcelain", "config"):
        print("config/ has changes that are not committed: the commit will not tell what was trained.", file=sys.stderr)
    return _git("rev-parse", "HEAD")


def _git(*arguments: str) -> str:
    """What git says in the repository, or nothing when it cannot be asked."""
    try:
        answer = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return answer.stdout.strip()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m local.train", description=__doc__)
    parser.add_argument("--circuits", default="", help="such as P001_C001,P001_C002; default: all")
    parser.add_argument("--commit", help="what changed them; default: the one that is checked out")
    parser.add_argument("--author", default=TRAINER, help=f"who changed them, and may not alone approve ({TRAINER})")
    parser.add_argument("--pull-request", default="", help="its number")
    parser.add_argument("--home", type=Path, default=HOME, help=f"folder of the runtime (default: {shown(HOME)})")
    given = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    commit = given.commit or _newest_commit()
    if not commit:
        parser.error("give --commit: this folder is no git checkout, so there is none to take")
    circuits = [name.strip() for name in given.circuits.split(",") if name.strip()]
    try:
        change = Change(commit, given.author, given.pull_request)
        return 0 if train(given.home.resolve(), circuits, change) else 1
    except (ConfigurationError, Invalid, FleetError, RuntimeFailed, SettingsError) as error:
        print(f"Nothing more is trained. {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nNobody waits any more; what runs goes on. The same command looks at it again.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
