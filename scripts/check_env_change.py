#!/usr/bin/env python3
"""Whether two commits change the environment that trains and scores, and whether its version says so rightly.

A change in ml/environment needs a new file in config/environments; a file that was there before must not change; a new
MAJOR version is one that models trained before cannot be scored with.

  scripts/check_env_change.py --base origin/main
  scripts/check_env_change.py --merge HEAD --format devops        variables environmentChanged, environmentVersion,
                                                                  environmentBreaking, environmentRequiresRetrain
Exit codes: 0 no change, or one that is declared rightly; 1 not; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.commit_arguments import add_commit_arguments, commits_of
from shared.config_changes import (
    ChangesUnknown,
    EnvironmentChange,
    environment_change,
    output_variable,
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_commit_arguments(parser)
    parser.add_argument("--format", choices=["text", "json", "devops"], default="text")
    given = parser.parse_args(arguments)
    try:
        pair = commits_of(given)
        change = environment_change(pair, given.config)
    except ChangesUnknown as error:
        print(error, file=sys.stderr)
        return 1
    print(*_lines(given.format, change), sep="\n")
    for problem in change.problems:
        print(problem, file=sys.stderr)
    return 1 if change.problems else 0


def _lines(form: str, change: EnvironmentChange) -> list[str]:
    match form:
        case "json":
            return [json.dumps({**asdict(change), "is_new": change.is_new}, indent=2)]
        case "devops":
            return [
                output_variable("environmentChanged", change.is_new),
                output_variable("environmentVersion", change.version or ""),
                output_variable("environmentBreaking", change.is_new and not change.backward_compatible),
                output_variable("environmentRequiresRetrain", change.is_new and change.requires_retrain),
            ]
        case _ if change.is_new:
            kind = "models go on with it" if change.backward_compatible else "breaking: models are trained again"
            return [f"environment {change.version} is new, after {change.previous or 'none'}; {kind}"]
        case _:
            return [f"environment {change.version or '(none)'}, as before; {len(change.files)} of its files changed"]


if __name__ == "__main__":
    sys.exit(main())
