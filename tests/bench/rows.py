"""Rows of a benchmark: ours beside a reference, with the goal and whether it is met."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Goal:
    """What ours and the ratio of ours to the reference are held against."""

    text: str
    met: Callable[[float, float], bool]


def ours_at_most(limit: float) -> Goal:
    return Goal(f"at most {limit:g}", lambda ours, ratio: ours <= limit)


def exactly(count: float) -> Goal:
    return Goal(f"exactly {count:g}", lambda ours, ratio: ours == count)


def ratio_at_most(limit: float) -> Goal:
    return Goal(f"ratio at most {limit:g}", lambda ours, ratio: ratio <= limit)


def ratio_at_least(limit: float) -> Goal:
    return Goal(f"ratio at least {limit:g}", lambda ours, ratio: ratio >= limit)


@dataclass(frozen=True)
class BenchRow:
    """One measurement; without a goal, `met` is None and the row is for reading only."""

    name: str
    ours: float
    reference: float
    reference_name: str
    ratio: float
    unit: str
    goal: str
    met: bool | None


def measured(
    name: str, ours: float, reference: float, reference_name: str, unit: str, goal: Goal | None = None
) -> BenchRow:
    """A row; the ratio is ours over the reference, and 0 where both are 0."""
    ratio = ours / reference if reference else float(ours != 0)
    met = None if goal is None else goal.met(ours, ratio)
    return BenchRow(
        name, round(ours, 3), round(reference, 3), reference_name, round(ratio, 3), unit, goal.text if goal else "", met
    )


def write(rows: Sequence[BenchRow], path: Path) -> None:
    """The rows as a list of JSON objects."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


def show(rows: Sequence[BenchRow]) -> None:
    """Print the rows as a table."""
    shown = Table("", "ours", "unit", "reference", "", "ratio", "goal", "met")
    for row in rows:
        met = {True: "yes", False: "[bold red]NO[/]", None: ""}[row.met]
        shown.add_row(
            row.name,
            f"{row.ours:g}",
            row.unit,
            f"{row.reference:g}",
            row.reference_name,
            f"{row.ratio:g}",
            row.goal,
            met,
        )
    Console(width=170).print(shown)
