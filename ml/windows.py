"""How far a window lies from its reference, beside windows of the same length in which nothing changed.

Columns are rows here: reference and window are (columns, hours), or (columns, days), NaN where unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import stats

from ml.features import DAY, WEEK
from ml.history import Array
from ml.monitor_messages import Basis

DAILY = (Basis.LEVEL, Basis.SPREAD, Basis.RELATION)  # what is looked at by the day
MINIMUM_KNOWN_SHARE = 0.5  # of a day's hours, and of the days that are averaged
FASTEST_DAYS = 6  # the spectrum is fitted to periods at least this long
SLOPES = (-1.5, 0.3)  # of stationary sensors
SET_ASIDE = 0.1  # at most this share of the reference plays the present at each of its ends
TAIL_SHARE = 0.1  # of the pool: what lies beyond is described by a fitted tail
FOLDS = 5  # parts of the reference
SMALLEST = 1e-12  # p-value: nobody can know more
RIDGE = 1e-3  # columns that are copies of each other explain each other all the same
NOISE_FLOOR = 1e-3  # of a standard deviation: below it a day's spread counts as none


@dataclass(frozen=True)
class Deseasonalised:
    """Reference and window without the reference's hour-of-week medians, and measured, as they were with them; all in
    standard deviations of what is left in the reference.

    sd is (columns,), in the columns' units; profile (columns, hours of the window) is what was taken from the window.
    """

    reference: Array
    window: Array
    measured: tuple[Array, Array]
    sd: Array
    profile: Array

    def from_hour(self, first: int) -> Deseasonalised:
        """With a window that begins so many hours later."""
        measured = self.measured[0], self.measured[1][:, first:]
        return replace(self, window=self.window[:, first:], measured=measured, profile=self.profile[:, first:])

    def daily(self, basis: Basis) -> tuple[Array, Array]:
        """What a basis looks at, a value a day, of reference and window: (columns, days) each.

        A numb sensor has lost its days as well: what is left of it without them would not be less.
        """
        if basis is Basis.SPREAD:
            return _log_spread(self.measured[0]), _log_spread(self.measured[1])
        return daily_mean(self.reference), daily_mean(self.window)


def deseasonalise(reference: Array, window: Array, offset: int) -> Deseasonalised:
    """offset: hours of the week between the beginnings of the two; the reference has at least a week."""
    weeks = reference.shape[1] // WEEK
    by_week = reference[:, : weeks * WEEK].reshape(len(reference), weeks, WEEK)
    # Sorting puts NaN last, which is many times as fast here as nanmedian.
    ordered, known = np.sort(by_week, axis=1), (~np.isnan(by_week)).sum(axis=1)
    middle = [np.maximum(known - back, 0) // 2 for back in (1, 0)]
    low, high = (np.take_along_axis(ordered, np.minimum(at, weeks - 1)[:, None, :], axis=1)[:, 0, :] for at in middle)
    medians = (low + high) / 2
    moved = reference - _repeated(medians, 0, reference.shape[1])
    profile = _repeated(medians, offset, window.shape[1])
    sd = np.nanstd(moved, axis=1)
    unit = sd[:, None]
    return Deseasonalised(moved / unit, (window - profile) / unit, (reference / unit, window / unit), sd, profile)


def standing(
    basis: Basis, past: Array, present: Array, windows: int, without: Sequence[int] = ()
) -> tuple[Array, Array]:
    """How far the present stands from the past in multiples of the past's own wandering, and how far in its own unit.

    past, present: daily values of one basis. With several windows, one after the other, the least far counts, and
    nothing if they do not agree which way. without: columns that Basis.RELATION does not explain others by. Returns
    (columns,) each; NaN where too little is known.
    """
    if basis is Basis.RELATION:
        past, present = _unexplained(past, present, without)
    parts = np.split(present, windows, axis=1)
    scale, centre = _wandering(past, parts[0].shape[1]), _known_mean(past)
    deviations = np.array([_known_mean(part) - centre for part in parts])
    same_way = np.abs(np.sign(deviations).sum(axis=0)) == windows
    nearest = np.abs(deviations).argmin(axis=0)
    deviation = np.where(same_way, np.take_along_axis(deviations, nearest[None, :], axis=0)[0], 0.0)
    deviation[np.isnan(deviations).any(axis=0)] = np.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        standardised = deviation / scale
    return np.where(np.isfinite(standardised), standardised, np.nan), deviation


def played_presents(past: Array, span: int, apart: int) -> Iterator[tuple[Array, Array]]:
    """Past and present within the reference: its last days play the present, then its first, since time runs both ways
    alike where nothing changes; then the days next to those.

    apart: days between the reference's end and the real present. They are left out here too, as far as half of the
    reference remains: what wanders is the further away the longer it has been on its way.
    """
    days = past.shape[1]
    for place in range(max(1, int(days * SET_ASIDE) // span)):
        first, end = place * span, days - place * span
        gap = max(0, min(apart, days // 2 - first - span))
        yield past[:, : end - span - gap], past[:, end - span : end]
        yield past[:, first + span + gap :], past[:, first : first + span]


class Null:
    """What standings look like where nothing changes, pooled over columns and circuits.

    The pool's most distant tenth is described by a generalised Pareto tail, fitted to squares (those of normal
    standings fall off exponentially) by probability-weighted moments (J. Hosking and J. Wallis, Technometrics 29 (1987)
    339), and never one that ends: a p-value may be smaller than one over the pool's size, and is never 0.
    """

    def __init__(self, standings: Array) -> None:
        self._squares = np.sort(standings[np.isfinite(standings)] ** 2)
        self._threshold, self._tail = np.inf, stats.expon()
        if len(self):
            self._threshold = float(np.quantile(self._squares, 1 - TAIL_SHARE))
            excesses = self._squares[self._squares > self._threshold] - self._threshold
            if len(excesses) > 1:
                self._tail = _pareto(excesses)

    def __len__(self) -> int:
        return len(self._squares)

    def p_value(self, standing: float) -> float:
        """The probability of a standing at least this far from 0 where nothing changes."""
        square = standing**2
        if square > self._threshold:
            return max(float(TAIL_SHARE * self._tail.sf(square - self._threshold)), SMALLEST)
        return float((len(self) - np.searchsorted(self._squares, square) + 1) / (len(self) + 1))


def _pareto(excesses: Array) -> stats.distributions.rv_frozen:
    """Fitted to excesses in ascending order."""
    from_above = np.arange(len(excesses))[::-1] / (len(excesses) - 1)
    first, second = float(excesses.mean()), float((excesses * from_above).mean())
    unequal = first - 2 * second
    if first >= 2 * unequal:  # its tail would end, or all are the same
        return stats.expon(scale=first)
    return stats.genpareto(2 - first / unequal, scale=2 * first * second / unequal)


def _unexplained(past: Array, present: Array, without: Sequence[int]) -> tuple[Array, Array]:
    """What remains of each column when the others, as they went along with it in the past, are taken out (ridge).

    A part of the past is explained by its other parts: how well a relation holds is seen only where it was not fitted.
    """
    remaining_past, remaining_present = np.full_like(past, np.nan), np.full_like(present, np.nan)
    together = np.asarray(~np.isnan(past).any(axis=0))
    if together.sum() < FOLDS:
        return remaining_past, remaining_present
    centre = past[:, together].mean(axis=1, keepdims=True)
    past, present = past - centre, present - centre
    explaining = np.array([row for row in range(len(past)) if row not in without], dtype=np.intp)
    folds = np.array_split(np.arange(past.shape[1]), FOLDS)
    known = [past[:, fold[together[fold]]] for fold in folds]
    products = np.array([part @ part.T for part in known])
    whole = products.sum(axis=0)
    fitted_on = np.concatenate([whole[None], whole - products])  # all of the past, then all but each part
    for row in range(len(past)):
        others = explaining[explaining != row]
        if len(others):
            shares = _shares(fitted_on, row, others)
            remaining_present[row] = present[row] - shares[0] @ present[others]
            for fold, of_rest in zip(folds, shares[1:], strict=True):
                remaining_past[row, fold] = past[row, fold] - of_rest @ past[others, fold[0] : fold[-1] + 1]
    return remaining_past, remaining_present


def _shares(products: Array, row: int, others: NDArray[np.intp]) -> Array:
    """How much of each other column goes along with one, for several sums of products: (sums, others)."""
    mutual = products[:, others[:, None], others]
    ridge = RIDGE * mutual * np.eye(len(others))
    return np.asarray(np.linalg.solve(mutual + ridge, products[:, others, row, None])[..., 0])


def daily_mean(hourly: Array) -> Array:
    """The mean of each day of which enough is known: (columns, days)."""
    return _known_mean(hourly.reshape(len(hourly), -1, DAY))


def _log_spread(hourly: Array) -> Array:
    """The logarithm of each day's standard deviation."""
    by_day = hourly.reshape(len(hourly), -1, DAY)
    centred = by_day - _known_mean(by_day)[..., None]
    return np.asarray(np.log(np.sqrt(_known_mean(centred**2)) + NOISE_FLOOR))


def _known_mean(values: Array) -> Array:
    """The mean over the last axis; NaN where less than MINIMUM_KNOWN_SHARE of it is known."""
    known = ~np.isnan(values)
    count = known.sum(axis=-1)
    total = np.where(known, values, 0.0).sum(axis=-1)
    return np.where(count >= MINIMUM_KNOWN_SHARE * values.shape[-1], total / np.maximum(count, 1), np.nan)


def _wandering(daily: Array, days: int) -> Array:
    """How far means over so many days lie apart, as a standard deviation: (columns,).

    The geometric mean of two estimates, neither good alone: of the windows that there are, which are few, and of what
    the whole spectrum says about them.
    """
    means = _known_mean(sliding_window_view(daily, days, axis=1))
    known = ~np.isnan(means)
    count = np.maximum(known.sum(axis=1), 1)
    centre = np.where(known, means, 0.0).sum(axis=1) / count
    variance = (np.where(known, means - centre[:, None], 0.0) ** 2).sum(axis=1) / count
    return np.asarray((variance * _variance_by_spectrum(daily, days)) ** 0.25)


def _variance_by_spectrum(daily: Array, days: int) -> Array:
    """The variance of means over so many days, from a power law fitted to the slow part of the periodogram.

    The log-periodogram regression of J. Geweke and S. Porter-Hudak, Journal of Time Series Analysis 4 (1983) 221.
    """
    length = daily.shape[1]
    power = np.abs(np.fft.rfft(bridged(daily)))[:, 1 : 1 + length // FASTEST_DAYS] ** 2 / length
    frequency = np.arange(1, power.shape[1] + 1) / length
    design = np.column_stack([np.ones_like(frequency), np.log(frequency)])
    logarithms = np.log(np.maximum(power, np.finfo(float).tiny)) + np.euler_gamma
    level, slope = np.linalg.lstsq(design, logarithms.T, rcond=None)[0]
    at = np.fft.rfftfreq(4 * length)[1:]
    fitted = np.exp(level[:, None] + np.clip(slope, *SLOPES)[:, None] * np.log(np.maximum(at, 0.5 / length)))
    kept_by_mean = (np.sin(np.pi * at * days) / (days * np.sin(np.pi * at))) ** 2
    return np.asarray((fitted * kept_by_mean).sum(axis=1) / (2 * length))


def bridged(values: Array) -> Array:
    """With straight lines where something is unknown; 0 where everything is."""
    at = np.arange(values.shape[1])
    lines = values.copy()
    for row, unknown in zip(lines, np.isnan(values), strict=True):
        if unknown.all():
            row[:] = 0.0
        elif unknown.any():
            row[unknown] = np.interp(at[unknown], at[~unknown], row[~unknown])
    return lines


def _repeated(weekly: Array, offset: int, hours: int) -> Array:
    return np.asarray(weekly[:, (offset + np.arange(hours)) % WEEK])
