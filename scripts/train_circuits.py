#!/usr/bin/env python3
"""Train circuits for the commit that changed them, in the fleet's training slots, and say what came of each.

  scripts/train_circuits.py P001_C001 P001_C002 --merge HEAD --out parts/1

It reads the app's own settings from the environment (docs/reference/settings.md) and keeps its state where the app
does: run again, it goes on with the trainings it finds, and trains nothing twice for one commit. `make train` does the
same, and everything around it, on one machine.

Writes {out}/{commit}/build.json. Exit codes: 0 every circuit was trained; 1 some were not, each is named on stderr; 2
wrong usage.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from shared.build_artifact import build_artifact, write_artifact
from shared.config_changes import ChangesUnknown, Commits
from shared.configuration import ConfigurationError, load_fleet
from shared.domain.training import Phase, TrainingRun
from shared.errors import FleetError
from shared.settings import SettingsError
from shared.training_build import Change, TrainingBuild
from shared.wiring import wire


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("circuits", nargs="+", help="{plant_id}_{circuit_id}")
    parser.add_argument("--merge", metavar="COMMIT", required=True, help="the commit, or merge, that changed them")
    parser.add_argument("--out", type=Path, required=True, help="the folder for build.json")
    parser.add_argument("--author", help="who may not alone approve; default: the commit's author")
    parser.add_argument("--pull-request", help="its number; default: as the commit's message says")
    parser.add_argument("--poll-seconds", type=float, default=10, help="between two looks at what runs")
    parser.add_argument("--repository", type=Path, default=Path.cwd(), help="default: the current folder")
    given = parser.parse_args(arguments)
    try:
        commits = Commits.of_merge(given.repository, given.merge)
        pull_request = commits.pull_request() if given.pull_request is None else given.pull_request
        change = Change(commits.head, given.author or commits.author(), pull_request)
        return _train(given, change)
    except (ChangesUnknown, ConfigurationError, FleetError, SettingsError) as error:
        print(error, file=sys.stderr)
        return 1


def _train(given: argparse.Namespace, change: Change) -> int:
    wired = wire(os.environ)
    fleet = load_fleet(wired.settings.config)
    application = wired.application
    build = TrainingBuild(application, fleet.policy.max_parallel_training, given.poll_seconds)
    runs = build.run(given.circuits, change, _tell)
    tags = {}
    for circuit, run in runs.items():
        model = application.ports.platform.describe_model(circuit, run.model_version) if run.model_version else None
        tags[circuit] = model.tags if model else {}
    print(write_artifact(given.out, build_artifact(change, fleet, runs, tags, problems={})))
    failed = {circuit: run.reason for circuit, run in runs.items() if run.phase != Phase.TRAINED}
    for circuit, reason in failed.items():
        print(f"not trained: {circuit}: {reason}", file=sys.stderr)
    return 1 if failed else 0


def _tell(run: TrainingRun) -> None:
    version = f": model version {run.model_version}" if run.model_version else ""
    print(f"{run.circuit} {run.phase}{version}{f': {run.reason}' if run.reason else ''}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
