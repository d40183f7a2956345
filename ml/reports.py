"""The pages that people look at, of each circuit and of the fleet: self-contained, no script, light and dark."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from ml.charts import Chart, padded, round_numbers
from ml.drift import FORECAST, CircuitReadings
from ml.history import Array
from ml.monitor_messages import CircuitFinding, Kind, MonitoredCircuit, MonitoringRequest, MonitoringResult, Verdict
from ml.performance import DailyError
from ml.windows import daily_mean

TEMPLATES = Path(__file__).parent / "templates"
BINS = 40
# A verdict is a word and a sign; the colour only repeats it.
SIGNS = {
    Verdict.OK: "✓",
    Verdict.STEADY: "✓",
    Verdict.WARNING: "▲",
    Verdict.CRITICAL: "■",
    Verdict.DRIFTED: "■",
    Verdict.CANNOT_SAY: "?",
}
WORST_FIRST = (Verdict.DRIFTED, Verdict.CRITICAL, Verdict.WARNING, Verdict.CANNOT_SAY, Verdict.STEADY, Verdict.OK)


@dataclass(frozen=True)
class CircuitPage:
    """What a circuit's page is made of: its readings for drift, its daily errors for performance."""

    finding: CircuitFinding
    monitored: MonitoredCircuit
    readings: CircuitReadings | None = None
    windows: int = 1
    daily: tuple[DailyError, ...] = ()


@dataclass(frozen=True)
class ColumnPictures:
    """A column's time line and distribution."""

    column: str
    unit: str
    timeline: Markup
    distribution: Markup | None


def circuit_page(page: CircuitPage, request: MonitoringRequest) -> str:
    """A circuit's page as HTML."""
    return _template("circuit.html").render(
        finding=page.finding,
        circuit=page.monitored.circuit,
        live=page.monitored.live,
        request=request,
        pictures=_pictures(page) if page.readings else [],
        errors=_error_line(page) if page.daily else None,
        signs=SIGNS,
    )


def fleet_page(result: MonitoringResult) -> str:
    """The fleet's page as HTML, the worst circuits first, with links to theirs."""
    order = sorted(result.findings, key=lambda one: (WORST_FIRST.index(one.verdict), one.circuit))
    counts = {verdict: sum(one.verdict is verdict for one in result.findings) for verdict in WORST_FIRST}
    return _template("fleet.html").render(
        result=result,
        findings=order,
        counts={verdict: count for verdict, count in counts.items() if count},
        performance=result.kind is Kind.PERFORMANCE,
        signs=SIGNS,
    )


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = lambda value: "-" if value is None else f"{value:.3g}"
    environment.filters["share"] = lambda value: "-" if value is None else f"{value:.0%}"
    return environment.get_template(name)


# ---------------------------------------------------------------------------------------------------------------- drift


def _pictures(page: CircuitPage) -> list[ColumnPictures]:
    readings = page.readings
    assert readings is not None
    found = []
    for name in (one.column for one in page.finding.columns):
        reference, window = readings.beside(name)
        if np.isfinite(window).any() or np.isfinite(reference).any():
            found.append(
                ColumnPictures(
                    column=name,
                    unit=readings.target if name == FORECAST else name,
                    timeline=_timeline(readings, name, reference, window, page.windows),
                    distribution=_distribution(name, reference, window),
                )
            )
    return found


def _timeline(readings: CircuitReadings, name: str, reference: Array, window: Array, windows: int) -> Markup:
    """Daily means of the reference and of the window, at their dates."""
    before, now = daily_mean(reference[None, :])[0], daily_mean(window[None, :])[0]
    apart = (readings.window_start - readings.start).days
    last = apart + len(now)
    chart = Chart(
        f"daily means of {name}, reference and window", (0, last), padded(np.concatenate([before, now])), room=70
    )
    for number, (begin, end) in enumerate(pairwise(np.linspace(apart, last, windows + 1))):
        chart.span(float(begin), float(end), "window", "window" if windows == 1 else f"window {number + 1}")
    if np.isfinite(before).any():
        chart.across(float(np.nanmedian(before)), "median", "ref. median")
    chart.line(np.arange(len(before), dtype=np.float64) + 0.5, before, "reference")
    chart.line(apart + np.arange(len(now), dtype=np.float64) + 0.5, now, "now")
    chart.x_labels(_dates(readings.start, last))
    return chart.svg()


def _distribution(name: str, reference: Array, window: Array) -> Markup | None:
    """How often which value, in the reference and in the window, each as a share of its hours."""
    reference, window = reference[np.isfinite(reference)], window[np.isfinite(window)]
    if not len(reference) or not len(window):
        return None
    edges = np.histogram_bin_edges(np.concatenate([reference, window]), BINS)
    shares = [np.histogram(sample, edges)[0] / len(sample) for sample in (reference, window)]
    steps = np.repeat(edges, 2)[1:-1]
    chart = Chart(
        f"distribution of {name}, reference and window",
        (edges[0], edges[-1]),
        padded(np.concatenate(shares), True),
        460,
    )
    chart.area(steps, np.repeat(shares[0], 2), "reference-area")
    chart.line(steps, np.repeat(shares[1], 2), "now")
    chart.x_labels([(x, f"{x:g}") for x in round_numbers(float(edges[0]), float(edges[-1]), 5)])
    return chart.svg()


# --------------------------------------------------------------------------------------------------------- performance


def _error_line(page: CircuitPage) -> Markup:
    """Each forecast's error and the better naive one's, with the limits, and a mark where the champion changed."""
    scale = float(page.monitored.live.tags.get("target_sd", "1")) if page.monitored.live else 1.0
    days = np.array([(error.day - page.daily[0].day).days for error in page.daily], dtype=np.float64)
    mine = np.array([error.mae for error in page.daily]) / scale
    naive = np.array([error.naive_mae for error in page.daily]) / scale
    limits, found = page.monitored.circuit.monitoring.mae, page.finding.performance
    levels = [limits.warn, limits.critical]
    chart = Chart(
        "error of each day's forecast beside the better naive forecast",
        (-0.5, float(days[-1]) + 0.5),
        padded(np.concatenate([mine, naive, levels]), from_zero=True),
        room=110,
    )
    chart.across(limits.warn, "limit", f"warn {limits.warn:g}")
    chart.across(limits.critical, "limit", f"critical {limits.critical:g}")
    if found and found.expected_mae is not None:
        chart.across(found.expected_mae, "median", f"by chance {found.expected_mae:.2g}")
    chart.line(days, naive, "naive")
    chart.line(days, mine, "now")
    for before, after in pairwise(page.daily):
        if after.model_version != before.model_version:
            chart.mark((after.day - page.daily[0].day).days - 0.5, f"model {after.model_version}")
    first = page.daily[0].day
    chart.x_labels(_dates(datetime(first.year, first.month, first.day), int(days[-1]) + 1))
    return chart.svg()


def _dates(start: datetime, days: int) -> list[tuple[float, str]]:
    """A date at about every eighth of an axis of days."""
    every = max(1, round(days / 7))
    return [(float(day), f"{start + timedelta(days=day):%d %b}") for day in range(every // 2, days, every)]
