"""The few pieces of Markdown that the reference pages are made of."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from datetime import timedelta

NOTICE = "<!-- Written by `make docs` from the code; change the code, not this file. -->"


def page(title: str, *blocks: str) -> str:
    """A whole generated page."""
    return "\n\n".join([NOTICE, f"# {title}", *(block.strip() for block in blocks)]) + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def mermaid(lines: Iterable[str]) -> str:
    return "\n".join(["```mermaid", *lines, "```"])


def code(names: Iterable[str]) -> str:
    """Names in code type, with commas."""
    return ", ".join(f"`{name}`" for name in names)


def contract(documented: object) -> str:
    """The first paragraph of a docstring, on one line; empty without one of its own."""
    own = getattr(documented, "__doc__", None)
    return " ".join(inspect.cleandoc(own).split("\n\n")[0].split()) if own else ""


def span(length: timedelta) -> str:
    """`7 days`, `24 hours`, `15 seconds`"""
    for unit, size in (("day", timedelta(days=1)), ("hour", timedelta(hours=1)), ("minute", timedelta(minutes=1))):
        count, rest = divmod(length, size)
        if not rest and (count > 1 or unit != "day"):
            return f"{count} {unit}{'s' * (count != 1)}"
    return f"{length.total_seconds():g} seconds"


def _cell(text: str) -> str:
    return text.replace("\n", " ").replace("|", "\\|")
