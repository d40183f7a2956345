"""How often drift is found where nothing changed, and how often where something did, on surrogates of real series."""

from __future__ import annotations

import multiprocessing
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from scipy import stats

from ml.drift import CircuitReadings, judge_drift, pool_nulls
from ml.features import DAY, WEEK
from ml.history import Array
from ml.measures import measures
from ml.monitor_messages import ColumnFinding, Measures, Verdict
from ml.threads import VARIABLES
from ml.windows import deseasonalise
from shared.configuration import DriftLevels, DriftRules
from tests.bench.real_series import REFERENCE_DATA, real_series
from tests.bench.rows import BenchRow, Goal, measured, ours_at_most
from tests.bench.surrogates import surrogates

CIRCUITS, COLUMNS, PROCESSES = 200, 5, 3
REFERENCE_DAYS, QUARTER_DAYS = 365, 91
RULES = DriftRules()
TESTS = CIRCUITS * COLUMNS
HOURS = 17_856  # two quarters with their references, which overlap; their windows lie nine months apart
QUARTERS = (0, HOURS - (REFERENCE_DAYS + RULES.window_days + QUARTER_DAYS - 7) * DAY)
START = datetime(2025, 1, 6, tzinfo=UTC)
SHIFTS = (0.5, 1.0)
RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
CHOSEN_ON = "transformer"  # the false discovery rate was chosen on these series, and is scored on the others
SCORED_FLEETS = 2
MOVED_IN_TURN = 2  # columns of each circuit
# Of the 30 days: how far of its way the column is, by the share of the window that is over.
COMINGS: dict[str, Callable[[Array], Array]] = {
    "in its first hour": np.ones_like,
    "on its 11th day": lambda over: (over >= 1 / 3).astype(np.float64),
    "little by little over two weeks": lambda over: np.minimum(over * 30 / 14, 1.0),
}
FIRST = next(iter(COMINGS))
# What people take as a sign of drift.
KS = "Kolmogorov-Smirnov p < .05"
USUAL: dict[str, Callable[[Measures], bool]] = {
    KS: lambda found: found.ks_p_value < 0.05,
    "PSI > .2": lambda found: found.psi > 0.2,
    "Wasserstein > .1 sd": lambda found: found.wasserstein_sd > 0.1,
    "Jensen-Shannon > .1": lambda found: found.jensen_shannon > 0.1,
}


@dataclass(frozen=True)
class SurrogateFleet:
    """values (circuits, columns, hours) in which nothing changes; names (circuits, columns) of what they are like."""

    values: Array
    names: tuple[tuple[str, ...], ...]

    def readings(self, begin: int, offset_days: int, days: int) -> list[CircuitReadings]:
        """A year of reference from hour `begin`, and a window so many days after its end."""
        end = begin + REFERENCE_DAYS * DAY
        window = slice(end + offset_days * DAY, end + (offset_days + days) * DAY)
        return [
            CircuitReadings(
                circuit=f"{number:03}",
                plant=f"{number // 10:02}",
                columns=tuple(f"column_{column}" for column in range(COLUMNS)),
                target="column_0",
                start=START,
                window_start=START + timedelta(days=REFERENCE_DAYS + offset_days),
                reference=values[:, begin:end],
                before=values[:, max(window.start - days * DAY, end) : window.start],
                window=values[:, window],
                levels=DriftLevels(),
            )
            for number, values in enumerate(self.values)
        ]


@dataclass
class Counts:
    """What was counted. power: by (days, shift, how it came) the p-values of the shifted circuit and column, a series'
    name each."""

    alarms: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    by_rate: dict[float, list[int]] = field(default_factory=lambda: defaultdict(list))
    usual: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    usual_power: dict[tuple[int, float, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    power: dict[tuple[int, float, str], list[tuple[str, float, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    wandering: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, other: Counts) -> None:
        """Take in what was counted on another fleet."""
        for name in vars(self):
            mine: defaultdict[Any, list[Any]] = getattr(self, name)
            for key, found in getattr(other, name).items():
                mine[key] += found


def measure_all(folder: Path, scored_fleets: int = SCORED_FLEETS) -> list[BenchRow]:
    """The rows; nothing, and it is said, where REFERENCE_DIR has no series."""
    if not REFERENCE_DATA.is_dir():
        print(f"{REFERENCE_DATA} is absent: no false alarms and no power on surrogates of real series")
        return []
    folder.mkdir(parents=True, exist_ok=True)
    for variable in VARIABLES:  # the workers are started with it
        os.environ[variable] = "1"
    seeds = range(1 + scored_fleets)
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool:
        chosen, *scored_counts = pool.map(_counted, seeds)
    scored = Counts()
    for counts in scored_counts:
        scored.add(counts)
    _plot_curve(scored, folder / "drift_power_and_alarms.svg")
    _plot_series(chosen, scored, folder / "drift_power_by_series.svg")
    return [*_alarm_rows(chosen, scored), *_power_rows(scored), *_series_rows(chosen, scored)]


# --------------------------------------------------------------------------------------------------------------- fleets


def _counted(seed: int) -> Counts:
    """One fleet from beginning to end; fleet 0 is of the series that the rate was chosen on."""
    chance = np.random.default_rng(seed)
    made = [_circuit(number, chance, chosen_on=seed == 0) for number in range(CIRCUITS)]
    counts = Counts()
    fleet = SurrogateFleet(np.array([values for values, _ in made]), tuple(names for _, names in made))
    _count(counts, fleet, whole_quarter=seed > 0)
    return counts


@cache
def _series() -> dict[str, Array]:
    return real_series()


def _circuit(number: int, chance: np.random.Generator, chosen_on: bool) -> tuple[Array, tuple[str, ...]]:
    """Five columns of one source, which keep their relations; a source of a single column gives five that have none."""
    series = _series()
    sources = [CHOSEN_ON] if chosen_on else ["air"] * 8 + ["ambient_temperature", "machine_temperature"]
    pool = [name for name in series if name.startswith(sources[number % len(sources)])]
    if len(pool) == 1:
        alone = [surrogates(series[pool[0]][None, :], HOURS, chance)[0] for _ in range(COLUMNS)]
        return np.array(alone), tuple(pool * COLUMNS)
    names = tuple(str(name) for name in chance.permutation(pool)[:COLUMNS])
    return surrogates(np.array([series[name] for name in names]), HOURS, chance), names


# ------------------------------------------------------------------------------------------------------------- counting


def _count(counts: Counts, fleet: SurrogateFleet, whole_quarter: bool) -> None:
    """whole_quarter: with every week's deciding and warning run, and the power of the latter."""
    span, pair = RULES.window_days, 2 * RULES.warning_days
    for begin in QUARTERS:
        once = _found(fleet.readings(begin, 0, span))
        counts.alarms["once"].append(len(_alarming(once)))
        columns = [column for found in once.values() for column in found]
        for rate in RATES:
            counts.by_rate[rate].append(sum((column.q_value or 0.0) <= rate for column in columns))
        for one in fleet.readings(begin, 0, span):
            for name, passed in _usual(one, one.columns).items():
                counts.usual[name] += passed
    weeks = range(0, QUARTER_DAYS, 7)
    for schedule, days, windows in (("weekly", span, 1), ("warnings", pair, 2)) if whole_quarter else ():
        runs = [_alarming(_found(fleet.readings(0, offset, days), windows)) for offset in weeks]
        counts.alarms[schedule].append(len(set().union(*runs)))
    for shift in SHIFTS:
        _count_power(counts, fleet, span, shift)
        if whole_quarter:
            _count_power(counts, fleet, pair, shift, windows=2)
    for coming in COMINGS if whole_quarter else ():
        if coming != FIRST:
            _count_power(counts, fleet, span, 1.0, coming)
    for circuit, names in zip(fleet.values, fleet.names, strict=True):
        moved = deseasonalise(circuit, circuit[:, :WEEK], 0).reference.reshape(COLUMNS, -1, DAY).mean(axis=2)
        sums = np.cumsum(np.pad(moved, ((0, 0), (1, 0))), axis=1)
        means = (sums[:, span:] - sums[:, :-span]) / span
        for name, wandering in zip(names, means.std(axis=1), strict=True):
            counts.wandering[name].append(float(wandering))


def _found(readings: Sequence[CircuitReadings], windows: int = 1) -> dict[str, tuple[ColumnFinding, ...]]:
    return judge_drift(readings, RULES.false_discovery_rate, windows).columns


def _alarming(found: Mapping[str, tuple[ColumnFinding, ...]]) -> set[str]:
    """Circuits of which something would be said."""
    return {
        circuit
        for circuit, columns in found.items()
        if any(column.verdict in (Verdict.DRIFTED, Verdict.WARNING) for column in columns)
    }


def _usual(readings: CircuitReadings, columns: Sequence[str]) -> dict[str, list[float]]:
    """Per usual limit, whether each of the columns passes it."""
    found = [measures(*readings.beside(column)) for column in columns]
    return {name: [float(passes(one)) for one in found if one] for name, passes in USUAL.items()}


def _count_power(
    counts: Counts, fleet: SurrogateFleet, days: int, shift: float, coming: str = FIRST, windows: int = 1
) -> None:
    """In every circuit one column moved, then another, each held against the fleet in which nothing moved."""
    steady = fleet.readings(0, 0, days)
    nulls = pool_nulls(steady, windows)
    for first in range(MOVED_IN_TURN):
        places = [(first + number) % COLUMNS for number in range(CIRCUITS)]
        moved = [_moved(one, column, shift, coming) for one, column in zip(steady, places, strict=True)]
        found = judge_drift(moved, RULES.false_discovery_rate, windows, nulls).columns.values()
        for column, names, readings, columns in zip(places, fleet.names, moved, found, strict=True):
            p_values = [one.p_value if one.p_value is not None else 1.0 for one in columns]
            counts.power[days, shift, coming].append((names[column], min(p_values), p_values[column]))
            if coming == FIRST:
                for name, passed in _usual(readings, [readings.columns[column]]).items():
                    counts.usual_power[days, shift, name] += passed


def _moved(readings: CircuitReadings, column: int, shift: float, coming: str) -> CircuitReadings:
    """By so many standard deviations of the deseasonalised reference."""
    rows = readings.reference[column : column + 1]
    window = readings.window.copy()
    over = np.arange(window.shape[1]) / window.shape[1]
    window[column] += shift * COMINGS[coming](over) * deseasonalise(rows, rows[:, :WEEK], 0).sd[0]
    return replace(readings, window=window)


# ----------------------------------------------------------------------------------------------------------------- rows


def _alarm_rows(chosen: Counts, scored: Counts) -> Iterator[BenchRow]:
    by_ks, beside = float(np.mean(scored.usual[KS])) * TESTS, f"{KS}, columns of one run"
    for schedule, (said, goal) in {
        "once": ("one deciding run", ours_at_most(1)),
        "weekly": ("13 deciding runs", ours_at_most(1)),
        "warnings": ("13 warning runs", None),
    }.items():
        counted = scored.alarms[schedule]
        what = f"circuits of {CIRCUITS} that alarm though nothing changed, {said} ({len(counted)} quarters)"
        yield measured(what, float(np.mean(counted)), by_ks, beside, "a quarter", goal)
    own = chosen.alarms["once"]
    what = f"the same, one deciding run, on the series that the rate was chosen on ({len(own)} quarters)"
    yield measured(what, float(np.mean(own)), by_ks, beside, "a quarter")
    rate = float(np.mean(scored.by_rate[RULES.false_discovery_rate])) / TESTS
    for name, passed in scored.usual.items():
        yield measured(
            f"columns that alarm though nothing changed, beside {name}",
            rate,
            float(np.mean(passed)),
            name,
            "of columns",
        )


def power_at(found: Sequence[tuple[str, float, float]], rate: float = RULES.false_discovery_rate) -> float:
    """The share of moved circuits that would be found, each the only one of the fleet that moved."""
    return float(np.mean([of_circuit <= rate / TESTS for _, of_circuit, _ in found]))


def _power_rows(scored: Counts) -> Iterator[BenchRow]:
    for (days, shift, coming), found in sorted(scored.power.items(), key=lambda one: (-one[0][0], one[0][1])):
        goal = Goal("at least 0.9", lambda ours, _: ours >= 0.9) if (days, shift, coming) == (30, 1.0, FIRST) else None
        windows = f"{days} days" if days == RULES.window_days else "2 x 7 days in a row (warning)"
        yield measured(
            f"power: one column moved by {shift:g} sd, {windows}" + (f", {coming}" if coming != FIRST else ""),
            power_at(found),
            float(np.mean(scored.usual_power[days, shift, KS])),
            f"{KS}, which alarms on {np.mean(scored.usual[KS]):.0%} where nothing changed",
            "of circuits",
            goal,
        )


def _series_rows(chosen: Counts, scored: Counts) -> Iterator[BenchRow]:
    for name, (ours, ceiling) in sorted(_by_series(chosen, scored).items()):
        yield measured(
            f"power at 1 sd, 30 days: {name}", ours, ceiling, "ceiling of a test of its own monthly mean", "of circuits"
        )


def _by_series(chosen: Counts, scored: Counts) -> dict[str, tuple[float, float]]:
    """Per series the power at 1 sd and 30 days, and what a test that knew how its means wander would have alone."""
    found: dict[str, tuple[float, float]] = {}
    z = float(stats.norm.isf(RULES.false_discovery_rate / TESTS / 2))
    for counts in (chosen, scored):
        for name, wandering in counts.wandering.items():
            mine = [one for one in counts.power[RULES.window_days, 1.0, FIRST] if one[0] == name]
            ceiling = float(np.mean(stats.norm.cdf(1 / np.array(wandering) - z)))
            found[name] = (power_at(mine), ceiling)
    return found


# ---------------------------------------------------------------------------------------------------------------- plots


def _plot_curve(scored: Counts, file: Path) -> None:
    """What is found beside what alarms by chance, as the false discovery rate goes."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    panel = figure.subplots()
    chance = [float(np.mean(scored.by_rate[rate])) for rate in RATES]
    for (days, shift), style in zip(((30, 1.0), (30, 0.5)), (("#08519c", "o-"), ("#d94801", "s--")), strict=True):
        power = [power_at(scored.power[days, shift, FIRST], rate) for rate in RATES]
        panel.plot(chance, power, style[1], color=style[0], label=f"moved by {shift:g} sd for {days} days")
        at = RATES.index(RULES.false_discovery_rate)
        panel.plot(chance[at], power[at], "k*", markersize=14, label="" if shift < 1 else "the default")
        for x, y, rate in zip(chance, power, RATES, strict=True):
            panel.annotate(f"{rate:g}", (x, y), xytext=(4, -12), textcoords="offset points", fontsize=8)
    panel.set_xlabel(f"columns of {TESTS:,} found in a quarterly run although nothing changed (numbers: the rate)")
    panel.set_ylabel("share found")
    panel.set_ylim(0, 1)
    panel.legend(frameon=False)
    _save(figure, file)


def _plot_series(chosen: Counts, scored: Counts, file: Path) -> None:
    found = sorted(_by_series(chosen, scored).items(), key=lambda one: one[1][0])
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    panel = figure.subplots()
    places = np.arange(len(found))
    panel.barh(places, [ours for _, (ours, _) in found], color="#9ecae1", edgecolor="#08519c", label="found")
    panel.plot([ceiling for _, (_, ceiling) in found], places, "kd", label="ceiling of a test of the column's own mean")
    panel.set_yticks(places, [name + ("*" if name.startswith(CHOSEN_ON) else "") for name, _ in found])
    panel.set_xlim(0, 1)
    panel.set_xlabel("share found: moved by 1 sd for 30 days (*: the rate was chosen on these)")
    panel.legend(frameon=False, loc="lower right")
    _save(figure, file)


def _save(figure: Figure, file: Path) -> None:
    with rc_context({"svg.hashsalt": "fleet", "svg.fonttype": "none"}):  # the same numbers, the same file
        figure.savefig(file, metadata={"Date": None})
