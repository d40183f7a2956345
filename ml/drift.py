"""Drift of a circuit's columns, told from what its sensors do anyway.

A month of an autocorrelated sensor differs from its year nearly always, so that tests made for independent values alarm
all the time. Here a window is held against windows of the same length, cut out of the reference and judged as if they
were the present. docs/monitoring.md has the method and what it was measured to do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from math import atan, exp, pi, sqrt

import numpy as np
from scipy import stats

from ml.features import DAY, WEEK
from ml.history import HOUR, Array
from ml.monitor_messages import Basis, Change, ColumnFinding, CommonChange, Level, Role, Scope, Verdict
from ml.steps import Steps, find_steps
from ml.windows import (
    DAILY,
    MINIMUM_KNOWN_SHARE,
    Deseasonalised,
    Null,
    daily_mean,
    deseasonalise,
    played_presents,
    standing,
)
from shared.configuration import DriftLevels

MINIMUM_REFERENCE_SPANS = 5  # a shorter reference has no windows to compare with
MINIMUM_REFERENCE_DAYS = 28  # four weeks of each hour of the week
MINIMUM_POOL = 40  # windows of the fleet in which nothing changed; fewer say nothing about rare ones
CONSTANT = 1e-9
NOMINAL = 0.05  # what counts as the same change elsewhere; it takes less than an alarm of one's own
COMMON_SHARE, COMMON_MINIMUM = 0.5, 3
ALONE = (Basis.LEVEL, Basis.SPREAD, Basis.STEP)  # what does not take the circuit's other columns
FORECAST = Role.FORECAST.value
OTHER_UNITS = "its units seem to have changed"

# What readings turn into when a source changes its units: factor and offset.
CONVERSIONS: Mapping[str, tuple[float, float]] = {
    "degF instead of degC": (1.8, 32.0),
    "degC instead of degF": (1 / 1.8, -32 / 1.8),
    "K instead of degC": (1.0, 273.15),
    "degC instead of K": (1.0, -273.15),
    "psi instead of kPa": (0.145038, 0.0),
    "kPa instead of psi": (6.894757, 0.0),
    "l/s instead of m3/h": (1 / 3.6, 0.0),
    "m3/h instead of l/s": (3.6, 0.0),
    "gal/min instead of m3/h": (4.402868, 0.0),
    "m3/h instead of gal/min": (1 / 4.402868, 0.0),
    "in/s instead of mm/s": (1 / 25.4, 0.0),
    "mm/s instead of in/s": (25.4, 0.0),
    **{f"{10.0**power:g} times as large": (10.0**power, 0.0) for power in (-6, -3, -2, -1, 1, 2, 3, 6)},
}


@dataclass(frozen=True)
class CircuitReadings:
    """What is known of a circuit: reference and window are (columns, hours), NaN where nothing was measured.

    Both begin at midnight UTC and hold whole days; the window begins on or after the reference's end. before: (columns,
    hours), the whole days right before the window that lie after the reference, or as many of them as were read.
    forecast: what the model said about the window's hours, None where nothing serves. implausible: by column, what was
    measured in the window and dropped because it is outside of the policy's range (hours,). unusable: columns of which
    nothing can be said, and why. judged False: the circuit only lends its past to the null.
    """

    circuit: str
    plant: str
    columns: tuple[str, ...]
    target: str
    start: datetime
    window_start: datetime
    reference: Array
    window: Array
    levels: DriftLevels
    before: Array | None = None
    forecast: Array | None = None
    implausible: Mapping[str, Array] | None = None
    unusable: Mapping[str, str] = field(default_factory=dict)
    judged: bool = True

    @property
    def span(self) -> int:
        """Days of the window."""
        return int(self.window.shape[1]) // DAY

    @property
    def apart(self) -> int:
        """Days between the reference's end and the window."""
        return (self.window_start - self.start).days - int(self.reference.shape[1]) // DAY

    @property
    def stretch(self) -> Array:
        """The window with the days before it, in which a step may have begun."""
        return self.window if self.before is None else np.concatenate([self.before, self.window], axis=1)

    def beside(self, column: str) -> tuple[Array, Array]:
        """Reference and window of a column; of the forecasts, beside the target's reference."""
        if column == FORECAST and self.forecast is not None:
            return self.reference[self.columns.index(self.target)], self.forecast
        row = self.columns.index(column)
        return self.reference[row], self.window[row]


@dataclass(frozen=True)
class DriftFindings:
    """Findings per circuit, one for each column and for the forecast; and the changes that many circuits share."""

    columns: dict[str, tuple[ColumnFinding, ...]]
    common: tuple[CommonChange, ...]


def pool_nulls(readings: Sequence[CircuitReadings], windows: int = 1) -> dict[Basis, Null]:
    """What standings of windows of this length look like in the references, by what they are judged by."""
    return _pooled([_candidate(one, windows) for one in readings], windows)


def judge_drift(
    readings: Sequence[CircuitReadings],
    false_discovery_rate: float,
    windows: int = 1,
    nulls: Mapping[Basis, Null] | None = None,
) -> DriftFindings:
    """The verdict on every column of every judged circuit.

    nulls: what it is held against, if that is not to be pooled from the readings themselves.
    windows 1: the whole window decides. windows 2: both its halves must have changed the same way; that is a warning.
    """
    candidates = [_candidate(one, windows) for one in readings]
    nulls = nulls or _pooled(candidates, windows)
    judged = [candidate for candidate in candidates if candidate.readings.judged]
    weighed = [_weigh(candidate, nulls, windows) for candidate in judged]
    tests = [(at, name) for at, candidate in enumerate(weighed) for name in candidate.tests]
    p_values = [weighed[at].tests[name].p_value for at, name in tests]
    q_values = stats.false_discovery_control(p_values) if p_values else []
    for (at, name), q_value in zip(tests, q_values, strict=True):
        weighed[at].tests[name] = replace(weighed[at].tests[name], q_value=float(q_value))
    found = [p for p, q in zip(p_values, q_values, strict=True) if q <= false_discovery_rate]
    limit = max(found, default=0.0)
    explained = [_explained(candidate, nulls, windows, limit) for candidate in weighed]
    common = _common_changes(explained, limit)
    alarm = Verdict.DRIFTED if windows == 1 else Verdict.WARNING
    columns = {one.readings.circuit: _findings(one, limit, alarm, common) for one in explained}
    return DriftFindings(columns, common)


# --------------------------------------------------------------------------------------------------------- one circuit


@dataclass(frozen=True)
class _Test:
    """The strongest of a column's statistics. p_value accounts for having looked at all of them; deviation is in
    standard deviations, of Basis.SPREAD the logarithm of a ratio; follows: of a step, hours to the window's end."""

    p_value: float
    basis: Basis
    deviation: float
    follows: int | None = None
    q_value: float = 1.0
    explained_by: str = ""


@dataclass(frozen=True)
class _Look:
    """What one basis says of every column that can be judged, in the order of the rows; see _Test."""

    basis: Basis
    standings: Array
    deviations: Array
    follows: Sequence[int | None]


@dataclass(frozen=True)
class _Candidate:
    """A circuit on its way to findings. rows: the columns that can be judged, as they lie in the arrays."""

    readings: CircuitReadings
    rows: tuple[str, ...]
    reasons: dict[str, str]
    moved: Deseasonalised | None
    daily: dict[Basis, tuple[Array, Array]]
    steps: dict[Basis, Steps]
    tests: dict[str, _Test]


def _candidate(readings: CircuitReadings, windows: int) -> _Candidate:
    reasons = {
        name: reason for row, name in enumerate(readings.columns) if (reason := _why_unusable(readings, name, row))
    }
    rows = tuple(name for name in readings.columns if name not in reasons)
    if not rows:
        return _Candidate(readings, rows, reasons, None, {}, {}, {})
    at = [readings.columns.index(name) for name in rows]
    stretch = readings.stretch[at]
    before = stretch.shape[1] - readings.window.shape[1]
    offset = ((readings.window_start - readings.start) // HOUR - before) % WEEK
    moved = deseasonalise(readings.reference[at], stretch, offset)
    window = moved.from_hour(before)
    daily = {basis: window.daily(basis) for basis in DAILY}
    return _Candidate(readings, rows, reasons, moved, daily, _steps(readings, moved, windows), {})


def _steps(
    readings: CircuitReadings, moved: Deseasonalised, windows: int, without: Sequence[int] = ()
) -> dict[Basis, Steps]:
    """Where several windows must agree, a step must have come by the first day of the first."""
    adjoining = moved.window.shape[1] == (readings.apart + readings.span) * DAY
    lasts = WEEK if windows == 1 else max(WEEK, (readings.span - 1) * DAY)
    return find_steps(moved.reference, moved.window, adjoining, lasts, readings.window.shape[1], without)


def _pooled(candidates: Sequence[_Candidate], windows: int) -> dict[Basis, Null]:
    """From all references: their ends are judged as if they were the present, and steps looked for all over them."""
    standings: dict[Basis, list[Array]] = {basis: [np.empty(0)] for basis in Basis}
    for candidate in candidates:
        for basis, (past, _) in candidate.daily.items():
            played = played_presents(past, candidate.readings.span, candidate.readings.apart)
            standings[basis] += [standing(basis, before, now, windows)[0] for before, now in played]
        for basis, steps in candidate.steps.items():
            standings[basis].append(steps.normal.ravel())
    return {basis: Null(np.concatenate(found)) for basis, found in standings.items()}


def _weigh(candidate: _Candidate, nulls: Mapping[Basis, Null], windows: int) -> _Candidate:
    """The candidate with a test of each usable column, and of the forecast."""
    readings, reasons = candidate.readings, dict(candidate.reasons)
    if not candidate.rows:
        return candidate
    if len(nulls[Basis.LEVEL]) < MINIMUM_POOL:
        too_few = (
            f"the references hold {len(nulls[Basis.LEVEL])} windows of {readings.span} days in which nothing changed,"
            f" {MINIMUM_POOL} are needed; ask about more circuits at once, or wait for more readings"
        )
        return replace(candidate, reasons=reasons | dict.fromkeys(candidate.rows, too_few))
    tests = _strongest(candidate, _looks(candidate, windows), nulls)
    for name in candidate.rows:
        if name not in tests:
            reasons[name] = "too little of the window's days is known"
    if readings.forecast is not None and readings.target in tests:
        past, present = _forecast_beside_target(candidate)
        standardised, deviations = standing(Basis.LEVEL, past, present, windows)
        if np.isfinite(standardised[0]):
            p_value = nulls[Basis.LEVEL].p_value(standardised[0])
            tests[FORECAST] = _Test(p_value, Basis.LEVEL, float(deviations[0]))
        else:
            known = float(np.isfinite(present).mean())
            reasons[FORECAST] = (
                f"forecasts were published for {known:.0%} of the days, {MINIMUM_KNOWN_SHARE:.0%} are needed; the"
                " ledger says which are missing"
            )
    return replace(candidate, reasons=reasons, tests=tests)


def _strongest(candidate: _Candidate, looks: Sequence[_Look], nulls: Mapping[Basis, Null]) -> dict[str, _Test]:
    """Of each column that can be judged the test that says most."""
    tests: dict[str, _Test] = {}
    for look in looks:
        found = zip(candidate.rows, look.standings, look.deviations, look.follows, strict=True)
        for name, at, deviation, follows in found:
            if np.isfinite(at):
                p_value = min(1.0, len(Basis) * nulls[look.basis].p_value(at))
                if name not in tests or p_value < tests[name].p_value:
                    tests[name] = _Test(p_value, look.basis, float(deviation), follows)
    return tests


def _looks(candidate: _Candidate, windows: int, without: Sequence[int] = ()) -> list[_Look]:
    """Everything that is looked at. without: columns that explain no others."""
    assert candidate.moved is not None
    steps = _steps(candidate.readings, candidate.moved, windows, without) if without else candidate.steps
    unknown = [None] * len(candidate.rows)
    daily = [
        _Look(basis, *standing(basis, past, present, windows, without), unknown)
        for basis, (past, present) in candidate.daily.items()
    ]
    return daily + [_Look(basis, one.standings, one.heights, one.follows.tolist()) for basis, one in steps.items()]


def _forecast_beside_target(candidate: _Candidate) -> tuple[Array, Array]:
    """The target's past, since nobody forecast the reference, and the forecasts as its present: daily levels."""
    assert candidate.moved is not None and candidate.readings.forecast is not None
    row, moved = candidate.rows.index(candidate.readings.target), candidate.moved
    profile = moved.profile[row, -len(candidate.readings.forecast) :]
    present = daily_mean(((candidate.readings.forecast - profile) / moved.sd[row])[None, :])
    return candidate.daily[Basis.LEVEL][0][row : row + 1], present


def _explained(candidate: _Candidate, nulls: Mapping[Basis, Null], windows: int, limit: float) -> _Candidate:
    """A column that moved alone also breaks what the others have to do with it: those are asked again without it.

    What can be said by a column's own past is said by that. limit: the largest p-value that counts.
    """
    tests = dict(candidate.tests)
    found = [name for name in candidate.rows if name in tests and tests[name].p_value <= limit]
    confirmed: list[int] = []
    while found:
        first = min(found, key=lambda name: (tests[name].p_value, -abs(tests[name].deviation)))
        found.remove(first)
        confirmed.append(candidate.rows.index(first))
        again = _strongest(candidate, _looks(candidate, windows, confirmed), nulls) if found else {}
        for name in list(found):
            if again[name].p_value > limit:
                tests[name] = replace(tests[name], explained_by=first)
                found.remove(name)
            else:
                tests[name] = replace(again[name], q_value=tests[name].q_value)
    looks = _looks(candidate, windows) if confirmed else []
    alone = _strongest(candidate, [look for look in looks if look.basis in ALONE], nulls)
    for name in (candidate.rows[row] for row in confirmed):
        if name in alone and alone[name].p_value <= limit:
            tests[name] = replace(alone[name], p_value=tests[name].p_value, q_value=tests[name].q_value)
    return replace(candidate, tests=tests)


# ------------------------------------------------------------------------------------------------------------- verdicts


def _findings(
    candidate: _Candidate, limit: float, alarm: Verdict, common: Sequence[CommonChange]
) -> tuple[ColumnFinding, ...]:
    readings = candidate.readings
    names = (*readings.columns, *([FORECAST] if FORECAST in candidate.tests or FORECAST in candidate.reasons else []))
    return tuple(_finding(candidate, name, limit, alarm, common) for name in names)


def _finding(
    candidate: _Candidate, name: str, limit: float, alarm: Verdict, common: Sequence[CommonChange]
) -> ColumnFinding:
    readings, test = candidate.readings, candidate.tests.get(name)
    role = Role.FORECAST if name == FORECAST else Role.TARGET if name == readings.target else Role.FEATURE
    if test is None:
        reason = candidate.reasons[name]
        return ColumnFinding(
            column=name,
            role=role,
            verdict=Verdict.CANNOT_SAY,
            reason=reason,
            units_changed=reason.startswith(OTHER_UNITS),
        )
    shift, spread = _shift_and_spread(candidate, name, test)
    effect = _effect(shift, spread, test.basis)
    level = _level(effect, readings.levels)
    change = _change(test)
    alarms = test.p_value <= limit and not test.explained_by and level is not Level.NONE
    return ColumnFinding(
        column=name,
        role=role,
        verdict=alarm if alarms else Verdict.STEADY,
        reason=_reason(test, limit, level),
        level=level if alarms else Level.NONE,
        change=change if alarms else None,
        basis=test.basis if alarms else None,
        since=_since(readings, test) if alarms else None,
        scope=_scope(readings, name, change, common) if alarms else Scope.CIRCUIT,
        effect=effect,
        shift_sd=shift,
        spread_ratio=spread,
        p_value=test.p_value,
        q_value=test.q_value,
    )


def _reason(test: _Test, limit: float, level: Level) -> str:
    if test.explained_by:
        return f"it only left {test.explained_by}, which has moved itself"
    if test.p_value <= limit and level is Level.NONE:
        return "the change is certain, and too small to matter"
    return ""


def _shift_and_spread(candidate: _Candidate, name: str, test: _Test) -> tuple[float, float | None]:
    """How far the column moved in standard deviations, and how many times as far it spreads within a day."""
    if name == FORECAST:
        return test.deviation, None
    row = candidate.rows.index(name)
    levels, spreads = candidate.daily[Basis.LEVEL], candidate.daily[Basis.SPREAD]
    own = float(np.nanmean(levels[1][row]) - np.nanmean(levels[0][row]))
    ratio = exp(float(np.nanmean(spreads[1][row]) - np.nanmean(spreads[0][row])))
    return own if test.basis in (Basis.LEVEL, Basis.SPREAD) else test.deviation, ratio


def _effect(shift: float, spread: float | None, basis: Basis) -> float:
    """The probability that a value of the window lies above (or further out than) one of the reference, less one half.

    Of normal values, from the shift in standard deviations or the ratio of spreads: K. McGraw and S. Wong, A common
    language effect size statistic, Psychological Bulletin 111 (1992) 361.
    """
    if basis is Basis.SPREAD and spread is not None:
        return abs(2 / pi * atan(spread) - 0.5)
    return float(stats.norm.cdf(abs(shift) / sqrt(2))) - 0.5


def _level(effect: float, levels: DriftLevels) -> Level:
    for level, bound in ((Level.HIGH, levels.high), (Level.MEDIUM, levels.medium), (Level.LOW, levels.low)):
        if effect >= bound:
            return level
    return Level.NONE


def _since(readings: CircuitReadings, test: _Test) -> date | None:
    """The day on which a step began."""
    if test.follows is None:
        return None
    end: datetime = readings.window_start + readings.window.shape[1] * HOUR
    return (end - test.follows * HOUR).date()


def _change(test: _Test) -> Change:
    if test.basis is Basis.SPREAD:
        return Change.WIDER if test.deviation > 0 else Change.NARROWER
    return Change.HIGHER if test.deviation > 0 else Change.LOWER


# --------------------------------------------------------------------------------------------- whole plant, whole fleet


def _common_changes(candidates: Sequence[_Candidate], limit: float) -> tuple[CommonChange, ...]:
    """Changes of one column, one way, in at least half of a plant's circuits or of the fleet's, one of them certain."""
    asked: dict[tuple[str | None, str], list[str]] = defaultdict(list)
    changed: dict[tuple[str | None, str, Change], list[str]] = defaultdict(list)
    certain: set[tuple[str | None, str, Change]] = set()
    for candidate in candidates:
        circuit, plant = candidate.readings.circuit, candidate.readings.plant
        for name, test in candidate.tests.items():
            for where in (None, plant):
                asked[where, name].append(circuit)
                if test.p_value <= NOMINAL and not test.explained_by:
                    changed[where, name, _change(test)].append(circuit)
                    if test.p_value <= limit:
                        certain.add((where, name, _change(test)))
    plants = {candidate.readings.circuit: candidate.readings.plant for candidate in candidates}
    found = []
    for where, name, change in sorted(certain, key=lambda key: (key[0] or "", key[1], key[2])):
        circuits, share = changed[where, name, change], len(changed[where, name, change]) / len(asked[where, name])
        several = where is not None or len({plants[circuit] for circuit in circuits}) > 1
        if share >= COMMON_SHARE and len(circuits) >= COMMON_MINIMUM and several:
            scope = Scope.PLANT if where else Scope.FLEET
            found.append(
                CommonChange(
                    scope=scope, plant_id=where, column=name, change=change, circuits=tuple(circuits), share=share
                )
            )
    return tuple(found)


def _scope(readings: CircuitReadings, name: str, change: Change, common: Sequence[CommonChange]) -> Scope:
    shared = {
        one.scope
        for one in common
        if one.column == name and one.change is change and one.plant_id in (None, readings.plant)
    }
    return Scope.FLEET if Scope.FLEET in shared else Scope.PLANT if shared else Scope.CIRCUIT


# ------------------------------------------------------------------------------------------------ what cannot be judged


def _why_unusable(readings: CircuitReadings, name: str, row: int) -> str:
    """Why nothing can be said of a column; empty if something can."""
    if name in readings.unusable:
        return readings.unusable[name]
    reference, window = readings.reference[row], readings.window[row]
    days = reference.shape[0] // DAY
    needed = max(MINIMUM_REFERENCE_SPANS * readings.span, MINIMUM_REFERENCE_DAYS)
    known = int((~np.isnan(reference)).sum())
    if days < needed or known < MINIMUM_KNOWN_SHARE * len(reference) or known < MINIMUM_KNOWN_SHARE * needed * DAY:
        return (
            f"too little reference: {known / DAY:.0f} days of {name} are known before the model's cutoff, {needed} are"
            f" needed for a window of {readings.span} days"
        )
    measured = reference[~np.isnan(reference)]
    if np.ptp(measured) <= CONSTANT * max(1.0, float(np.abs(measured).max())):
        return f"{name} is constant in the reference ({measured[0]:g})"
    if units := _changed_units(measured, _everything_measured(readings, name, window)):
        return units
    of_window = float((~np.isnan(window)).mean())
    if of_window == 0.0:
        return f"{name} has no plausible value in the window"
    if of_window < MINIMUM_KNOWN_SHARE:
        return f"{name} is known for {of_window:.0%} of the window's hours, {MINIMUM_KNOWN_SHARE:.0%} are needed"
    return ""


def _everything_measured(readings: CircuitReadings, name: str, window: Array) -> Array:
    dropped = (readings.implausible or {}).get(name)
    return window if dropped is None else np.where(np.isnan(window), dropped, window)


def _changed_units(reference: Array, window: Array) -> str:
    """Whether the window holds the reference's values after a known conversion, all of them outside of its range."""
    measured = window[~np.isnan(window)]
    if not len(measured):
        return ""
    low, high = np.quantile(reference, (0.05, 0.95))
    window_low, window_middle, window_high = np.quantile(measured, (0.05, 0.5, 0.95))
    if low <= window_middle <= high:
        return ""
    for what, (factor, offset) in CONVERSIONS.items():
        as_before = (window_middle - offset) / factor
        spread = (window_high - window_low) / factor / max(high - low, CONSTANT)
        outside = window_low > high or window_high < low
        if outside and low <= as_before <= high and 0.5 <= spread <= 2:
            return (
                f"{OTHER_UNITS} ({what}): {window_low:.4g} to {window_high:.4g} in the window,"
                f" {low:.4g} to {high:.4g} in the reference; look at the source, not at the model"
            )
    return ""
