"""Small charts as SVG for pages that work without internet: drawn by style sheet, so that they follow light and dark.

What a chart shows is told apart by line and fill, not by colour alone. Everything that is written into it is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from ml.history import Array

WIDTH, HEIGHT = 760, 230
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 22, 28
TEXT_HEIGHT = 12


@dataclass
class Chart:
    """A chart whose axes are fixed before anything is drawn. label says in words what it shows; room is kept
    free at its right end for the names of levels."""

    label: str
    x: tuple[float, float]
    y: tuple[float, float]
    width: int = WIDTH
    room: int = RIGHT
    _drawn: list[str] = field(default_factory=list)
    _names: list[float] = field(default_factory=list)

    def line(self, xs: Array, ys: Array, style: str) -> None:
        """A line that is interrupted where a value is not known."""
        known = np.flatnonzero(np.isfinite(ys))
        pieces = np.split(known, np.flatnonzero(np.diff(known) > 1) + 1)
        path = "".join("M" + self._path(xs[piece], ys[piece])[1:] for piece in pieces if len(piece))
        self._drawn.append(f'<path class="{style}" d="{path}"/>')

    def area(self, xs: Array, ys: Array, style: str) -> None:
        """A line filled down to the axis, in steps."""
        outline = self._path(xs, ys)
        begin, end = f"M{self._at_x(xs[0]):.1f} {self._at_y(0):.1f}", f"L{self._at_x(xs[-1]):.1f} {self._at_y(0):.1f}"
        self._drawn.append(f'<path class="{style}" d="{begin}{outline}{end}Z"/>')

    def span(self, begin: float, end: float, style: str, text: str) -> None:
        """A stretch of the x axis, with its name."""
        left, right = self._at_x(begin), self._at_x(end)
        size = f'width="{right - left:.1f}" height="{HEIGHT - TOP - BOTTOM}"'
        self._drawn.append(f'<rect class="{style}" x="{left:.1f}" y="{TOP}" {size}/>')
        self._text((left + right) / 2, TOP - 8, text, "middle")

    def across(self, y: float, style: str, text: str) -> None:
        """A level, with its name beside it; nothing where it lies outside. Names that would meet move apart."""
        if not self.y[0] <= y <= self.y[1]:
            return
        at = float(self._at_y(y))
        self._drawn.append(f'<path class="{style}" d="M{LEFT} {at:.1f}H{self.width - self.room}"/>')
        place = at + 4
        while any(abs(place - other) < TEXT_HEIGHT for other in self._names):
            place -= TEXT_HEIGHT
        self._names.append(place)
        self._text(self.width - self.room + 4, place, text, "start")

    def mark(self, x: float, text: str) -> None:
        """A moment, with its name."""
        at = self._at_x(x)
        self._drawn.append(f'<path class="mark" d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
        self._text(at + 4, TOP + 12, text, "start")

    def x_labels(self, labels: Sequence[tuple[float, str]]) -> None:
        for x, text in labels:
            self._text(self._at_x(x), HEIGHT - 8, text, "middle")

    def svg(self) -> Markup:
        """The finished chart."""
        scale = []
        for y in round_numbers(*self.y, 4):
            scale.append(f'<path class="grid" d="M{LEFT} {self._at_y(y):.1f}H{self.width - self.room}"/>')
            self._text(LEFT - 6, self._at_y(y) + 4, f"{y:g}", "end")
        size = f'viewBox="0 0 {self.width} {HEIGHT}" style="max-width:{self.width}px"'
        return Markup(f'<svg role="img" aria-label="{escape(self.label)}" {size}>{"".join(scale + self._drawn)}</svg>')

    def _text(self, x: float, y: float, text: str, anchor: str) -> None:
        self._drawn.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>')

    def _path(self, xs: Array, ys: Array) -> str:
        """Lines from point to point."""
        points = np.column_stack([self._at_x(xs), self._at_y(ys)])
        return "L%.1f %.1f" * len(points) % tuple(points.ravel().tolist())

    def _at_x(self, x: Any) -> Any:
        return LEFT + (x - self.x[0]) / (self.x[1] - self.x[0]) * (self.width - LEFT - self.room)

    def _at_y(self, y: Any) -> Any:
        return HEIGHT - BOTTOM - (y - self.y[0]) / (self.y[1] - self.y[0]) * (HEIGHT - TOP - BOTTOM)


def round_numbers(low: float, high: float, about: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten between two values, about so many."""
    rough = (high - low) / about
    power = 10.0 ** np.floor(np.log10(rough))
    step = power * next(times for times in (1, 2, 5, 10) if times * power >= rough)
    return [
        float(f"{number * step:.10g}") for number in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)
    ]


def padded(values: Array, from_zero: bool = False) -> tuple[float, float]:
    """A y axis on which all known values have room."""
    known = values[np.isfinite(values)]
    if not len(known):
        return 0.0, 1.0
    low, high = (0.0 if from_zero else float(known.min())), float(known.max())
    room = 0.06 * (high - low) or max(abs(high) * 0.1, 0.5)
    return (low if from_zero else low - room), high + room
