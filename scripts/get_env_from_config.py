#!/usr/bin/env python3
"""The environment that a circuit is trained and scored with, and the tags it is registered with.

  scripts/get_env_from_config.py P001_C001                              sensor-forecast-env:1.0.0
  scripts/get_env_from_config.py --newest --commit 0a1b2c3 --pull-request 17 --format json

Exit codes: 0 done; 1 the configuration is not valid, or has no such circuit or environment; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from shared.config_changes import output_variable
from shared.configuration import ENVIRONMENT_NAME, ConfigurationError, load_fleet


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("circuit", nargs="?", help="{plant_id}_{circuit_id}")
    parser.add_argument("--newest", action="store_true", help="the newest version, whatever circuits use")
    parser.add_argument("--commit", default="", help="for the tag git_commit_sha")
    parser.add_argument("--pull-request", default="", help="for the tag pr_number")
    parser.add_argument("--format", choices=["text", "json", "devops"], default="text")
    parser.add_argument("--config", type=Path, default=Path("config"), help="default: %(default)s")
    given = parser.parse_args(arguments)
    if bool(given.circuit) == given.newest:
        parser.error("name a circuit, or give --newest")
    try:
        fleet = load_fleet(given.config)
        if given.newest:
            version = list(fleet.environments)[-1] if fleet.environments else "any version"
        else:
            version = fleet.circuit(given.circuit).training.environment_version
        spec = fleet.environment(version)
    except (ConfigurationError, KeyError) as error:
        print(error.args[0], file=sys.stderr)
        return 1
    environment = {
        "name": ENVIRONMENT_NAME,
        "version": spec.version,
        "reference": spec.reference,
        "tags": spec.tags(given.commit, given.pull_request),
    }
    match given.format:
        case "json":
            print(json.dumps(environment, indent=2))
        case "devops":
            print(output_variable("environment", spec.reference))
            print(output_variable("environmentVersion", spec.version))
            print(output_variable("environmentTags", environment["tags"]))
        case _:
            print(spec.reference)
    return 0


if __name__ == "__main__":
    sys.exit(main())
