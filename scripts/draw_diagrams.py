#!/usr/bin/env python3
"""`make docs`: write the diagrams and reference pages again from the code; `--check` only says which are stale."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.reference import (
    alerts,
    benchmarks,
    capacity,
    cli,
    http,
    infrastructure,
    messages,
    picture,
    retention,
    settings,
    transitions,
)

ROOT = Path(__file__).resolve().parents[1]
README = "README.md"
BEGIN, END = "<!-- picture: written by `make docs` -->", "<!-- end of picture -->"

PAGES: Mapping[str, Callable[[], str]] = {
    "docs/reference/transitions.md": transitions.write,
    "docs/reference/alerts.md": alerts.write,
    "docs/reference/alert.schema.json": alerts.write_schema,
    "docs/reference/messages.md": messages.write,
    "docs/reference/settings.md": settings.write,
    "docs/reference/http.md": http.write,
    "docs/reference/retention.md": retention.write,
    "docs/benchmarks.md": benchmarks.write,
    "docs/cli.md": cli.write,
    "docs/reference/capacity.md": capacity.write,
    "docs/reference/rights.md": infrastructure.rights,
    "infra/generated/event_subscriptions.json": infrastructure.event_subscriptions,
    "infra/generated/schedules.json": infrastructure.schedules,
}


def documents(root: Path) -> dict[str, str]:
    """Every generated document as it should be, by its path below `root`."""
    return {README: _with_picture((root / README).read_text())} | {path: write() for path, write in PAGES.items()}


def stale(root: Path) -> list[str]:
    """The documents below `root` that do not say what the code says."""
    return [path for path, text in documents(root).items() if not _says(root / path, text)]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a document is stale")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this one)")
    given = parser.parse_args(arguments)
    found = stale(given.root)
    if given.check:
        for path in found:
            print(f"{path} is stale: run make docs, and commit it", file=sys.stderr)
        return 1 if found else 0
    for path, text in documents(given.root).items():
        if path in found:
            (given.root / path).parent.mkdir(parents=True, exist_ok=True)
            (given.root / path).write_text(text)
            print(f"{path} written")
    return 0


def _with_picture(readme: str) -> str:
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{README} needs the lines {BEGIN} and {END}, one after the other: the picture goes between")
    return f"{before}{BEGIN}\n\n{picture.write()}\n\n{END}{after}"


def _says(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main())
