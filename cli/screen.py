"""What is shown: tables and facts for people, JSON for programs. No text from outside reaches a terminal as it is."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Unicode categories that move a cursor, turn a line around, or show nothing at all."""
PIPE_COLUMNS = 200
STYLES = {
    "live": "green",
    "done": "green",
    "ok": "green",
    "failed": "red",
    "errored": "red",
    "wrong": "red",
    "missing": "red",
    "critical": "red",
    "rejected": "red",
    "late": "yellow",
    "warning": "yellow",
    "expired": "yellow",
}


def plain(value: Any) -> str:
    """A text without what a terminal would obey: such characters are spelled out, line ends become spaces."""
    if value is None:
        return "-"
    text = str(value).replace("\r\n", " ").replace("\n", " ").replace("\t", " ")
    return "".join(f"\\u{ord(c):04x}" if unicodedata.category(c) in UNSEEN else c for c in text)


def when(text: str | None, now: datetime | None = None) -> str:
    """A time of the API as `2026-01-31 10:00Z, 3 h ago`."""
    if not text:
        return "-"
    try:
        at = datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return plain(text)
    return f"{at:%Y-%m-%d %H:%MZ}, {span((now or datetime.now(UTC)) - at)}"


def span(past: timedelta) -> str:
    """How long ago, or how long until."""
    seconds = abs(past.total_seconds())
    amount, unit = next(
        ((seconds / size, unit) for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")) if seconds >= size),
        (seconds, "s"),
    )
    return f"{amount:.0f} {unit} ago" if past >= timedelta() else f"in {amount:.0f} {unit}"


class Screen:
    """Standard output for what was asked, standard error for what goes wrong or is under way."""

    def __init__(self) -> None:
        self.as_json = False
        columns = None if sys.stdout.isatty() else PIPE_COLUMNS
        self.out = Console(highlight=False, markup=False, emoji=False, width=columns)
        self.err = Console(stderr=True, highlight=False, markup=False, emoji=False)

    def show(self, document: Mapping[str, Any], *parts: RenderableType) -> None:
        """The answer itself for programs, its parts for people. JSON is ASCII: escapes are escaped."""
        if self.as_json:
            print(json.dumps(document, indent=2))
            return
        for part in parts:
            self.out.print(part)

    def complain(self, text: str) -> None:
        self.err.print(Text(plain(text)), soft_wrap=True)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], nothing: str = "none") -> RenderableType:
    """A table, or a line that says that there is nothing."""
    cells = [[cell(value) for value in row] for row in rows]
    if not cells:
        return Text(f"{title}: {nothing}")
    shown = Table(title=Text(title), title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in columns:
        shown.add_column(name, overflow="fold")
    for row in cells:
        shown.add_row(*row)
    return shown


def facts(pairs: Iterable[tuple[str, Any]]) -> RenderableType:
    """Names and values, one a line."""
    shown = Table(box=None, show_header=False, pad_edge=False)
    shown.add_column(style="bold", no_wrap=True)
    shown.add_column(overflow="fold")
    for name, value in pairs:
        shown.add_row(Text(name), cell(value))
    return shown


def cell(value: Any) -> Text:
    text = plain(value)
    return Text(text, style=STYLES.get(text, ""))


def spelled(value: Any) -> str:
    """A value in one line, however nested, without what is empty; nothing where all of it is."""
    match value:
        case {"model": _, "environment": _}:
            rest = {name: each for name, each in value.items() if name not in ("model", "environment")}
            return ", ".join(filter(None, (pair(value), spelled(rest))))
        case Mapping():
            named = ((name, spelled(each)) for name, each in value.items())
            return ", ".join(f"{str(name).replace('_', ' ')} {text}" for name, text in named if text)
        case str():
            return value
        case bool():
            return "yes" if value else "no"
        case None:
            return ""
        case Sequence():
            return "; ".join(filter(None, map(spelled, value)))
        case float():
            return f"{value:.4g}"
    return str(value)


def pair(value: Mapping[str, Any] | None) -> str:
    """A model with its environment."""
    return f"model {value['model']} with {value['environment']}" if value else "nothing"
