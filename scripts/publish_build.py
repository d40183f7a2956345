#!/usr/bin/env python3
"""The artifact of a build, from the parts that its training jobs left: what each circuit was trained from, and the end.

  scripts/publish_build.py --merge HEAD --parts parts --out artifact

Every build.json below the folder of parts is read; a job that was run again left several, and the one that trained the
circuit counts. Writes {out}/{commit}/build.json and prints its path.
Exit codes: 0 every circuit that the commit concerns was trained; 1 some were not, each is named on stderr; 2 wrong
usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from shared.build_artifact import FILE_NAME, merged, write_artifact
from shared.config_changes import ChangesUnknown, Commits, Consequence, config_changes
from shared.errors import Invalid


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--merge", metavar="COMMIT", required=True, help="the commit, or merge, that was built")
    parser.add_argument("--parts", type=Path, required=True, help="the folder with what the training jobs left")
    parser.add_argument("--out", type=Path, required=True, help="the folder for build.json")
    parser.add_argument("--repository", type=Path, default=Path.cwd(), help="default: the current folder")
    given = parser.parse_args(arguments)
    try:
        commits = Commits.of_merge(given.repository, given.merge)
        changes = config_changes(commits)
        _, fleet = commits.fleets()
        parts = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(given.parts.rglob(FILE_NAME))]
        whole = merged(parts, [change.circuit for change in changes.needing(Consequence.RETRAIN)])
    except (ChangesUnknown, Invalid, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    author, pull_request = commits.author(), commits.pull_request()
    whole |= {"config_commit": commits.head, "author": author, "pull_request": pull_request}
    for version in changes.new_environments:
        spec = fleet.environment(version)
        whole["environments"][version] = {"reference": spec.reference, "tags": spec.tags(commits.head, pull_request)}
    print(write_artifact(given.out, whole))
    failed = {circuit: told["reason"] for circuit, told in whole["circuits"].items() if not told["trained"]}
    for circuit, reason in failed.items():
        print(f"not trained: {circuit}: {reason}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
