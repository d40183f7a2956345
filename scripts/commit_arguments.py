"""The arguments with which a command is told between which two commits to look."""

from __future__ import annotations

import argparse
from pathlib import Path

from shared.config_changes import CONFIG_FOLDER, Commits


def add_commit_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --base or --merge, --head, --repository and --config."""
    commits = parser.add_mutually_exclusive_group(required=True)
    commits.add_argument("--base", metavar="COMMIT", help="what --head changed since it left this branch or commit")
    commits.add_argument("--merge", metavar="COMMIT", help="what this merge, or plain commit, changed")
    parser.add_argument("--head", metavar="COMMIT", default="HEAD", help="with --base; default: %(default)s")
    parser.add_argument("--repository", type=Path, default=Path.cwd(), help="default: the current folder")
    parser.add_argument("--config", default=CONFIG_FOLDER, help="folder in the repository; default: %(default)s")


def commits_of(given: argparse.Namespace) -> Commits:
    """The two commits that were named; raises ChangesUnknown where git does not know them."""
    if given.merge:
        return Commits.of_merge(given.repository, given.merge)
    return Commits.since(given.repository, given.base, given.head)
