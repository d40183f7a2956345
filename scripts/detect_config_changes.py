#!/usr/bin/env python3
"""Which circuits the configuration changes between two commits concern, and what has to follow for each.

  scripts/detect_config_changes.py --base origin/main             what HEAD changed since it left origin/main
  scripts/detect_config_changes.py --merge HEAD --format devops   what a merge brought, as pipeline variables

`devops` sets the output variables `matrix` (jobs of the circuits to retrain), `count`, `hasChanges` and `changes`. A
stage with an empty matrix must be skipped by the condition hasChanges = true.
Exit codes: 0 done, also without changes; 1 the configuration or the commits do not allow an answer; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.commit_arguments import add_commit_arguments, commits_of
from shared.config_changes import (
    ChangesUnknown,
    ConfigChanges,
    Consequence,
    config_changes,
    matrix,
    output_variable,
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_commit_arguments(parser)
    parser.add_argument("--only", type=Consequence, action="append", choices=list(Consequence), help="may be repeated")
    parser.add_argument("--format", choices=["text", "json", "matrix", "devops"], default="text")
    parser.add_argument("--jobs", type=_positive, help="spread the circuits over at most so many jobs of the matrix")
    given = parser.parse_args(arguments)
    try:
        pair = commits_of(given)
        changes = config_changes(pair, given.config)
        if given.only:
            changes = replace(changes, circuits=changes.needing(*given.only))
        print(*_lines(given.format, changes, given.jobs), sep="\n")
    except ChangesUnknown as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _lines(form: str, changes: ConfigChanges, jobs: int | None) -> list[str]:
    trained = [change.circuit for change in changes.needing(Consequence.RETRAIN)]
    match form:
        case "json":
            return [json.dumps(changes.to_json(), indent=2)]
        case "matrix":
            return [json.dumps(matrix(trained, jobs))]
        case "devops":
            return [
                output_variable("matrix", matrix(trained, jobs)),
                output_variable("count", len(trained)),
                output_variable("hasChanges", bool(trained)),
                output_variable("changes", changes.to_json()),
            ]
        case _:
            return _text(changes)


def _text(changes: ConfigChanges) -> list[str]:
    lines = [f"{changes.base[:10]}..{changes.head[:10]}: {len(changes.circuits)} circuits"]
    for change in changes.circuits:
        former = f" (was {change.previous})" if change.previous else ""
        source = " by defaults" if change.inherited and change.keys else ""
        keys = f": {', '.join(change.keys)}" if change.keys else ""
        lines.append(f"  {change.circuit}{former} {change.change}{source} -> {', '.join(change.consequences)}{keys}")
    lines += [f"  policy {key} changed, for the whole fleet" for key in changes.policy]
    return lines + [f"  environment {version} is new" for version in changes.new_environments]


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of jobs")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
