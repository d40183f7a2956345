"""Whether, and since when, a column goes on from another place: a step that forecasts from hour to hour did not see.

The mean of a month says little of a sensor whose months wander; what its next hour will be is known much better.
Columns are rows here, as in ml.windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ml.features import DAY, WEEK
from ml.history import Array
from ml.monitor_messages import Basis
from ml.windows import FOLDS, MINIMUM_KNOWN_SHARE, SMALLEST, bridged

BASES = (Basis.STEP, Basis.STEP_BESIDE)  # by the column's own past, and by that of the circuit's other columns as well
BEHIND = WEEK  # hours that a forecast looks back
OWN_LAGS, OTHERS_LAGS, MEANS = (1, 2, 3, DAY, DAY + 1), (0, 1), (DAY, WEEK)  # hours back; hours that are averaged
LAGS = tuple(sorted({*OWN_LAGS, *OTHERS_LAGS}))
OWN_ROWS = [*map(LAGS.index, OWN_LAGS), *range(len(LAGS), len(LAGS) + len(MEANS))]
OTHERS_ROWS = [*map(LAGS.index, OTHERS_LAGS), *range(len(LAGS), len(LAGS) + len(MEANS))]
RIDGE = 1e-4
TAKEN_BACK = 0.5  # so strong, beside a step, one the other way undoes it, if it is rarer than any of the past
LENGTHS = 4  # of what follows a step: so often is it seen how far such comparisons lie apart anyway
SHARES = (np.arange(100) + 0.5) / 100
EVERY = 4  # hours, of which quantiles are taken: there are enough
RARITIES = np.array((0.5, 0.1, 0.01, 0.001, 0.0003))  # of innovations that far from 0
RAREST = 5.0  # standard deviations that one hour may count for: alone it is not enough for an alarm
FAR = 1e3


@dataclass(frozen=True)
class Steps:
    """The strongest step of each column.

    standings (columns,), NaN where too little is known, and normal (columns, stretches): those of stretches of the
    reference. follows (columns,): hours from its beginning to the end. heights (columns,): in standard deviations.
    """

    standings: Array
    normal: Array
    follows: NDArray[np.intp]
    heights: Array


def find_steps(
    reference: Array, stretch: Array, adjoining: bool, lasts: int, every: int, without: Sequence[int] = ()
) -> dict[Basis, Steps]:
    """The steps in a stretch of hours after the reference, both deseasonalised; empty where the reference is too short.

    adjoining: the stretch begins where the reference ends, whose end then shows where the columns came from; where it
    does not, its first week only serves to look back on. lasts: hours, a week at least, for which a step must have
    gone on at the end. every: hours between the stretches of the reference that say what is normal. without: columns
    that the others are not forecast by.
    """
    past, present = bridged(reference), bridged(stretch)
    knots = _quantiles(past[:, ::EVERY], SHARES)
    past, present = _normal_scores(past, knots), _normal_scores(present, knots)
    there = [~np.isnan(reference), ~np.isnan(stretch)]
    earlier = every if adjoining else 0
    if adjoining:
        present = np.concatenate([past[:, -BEHIND - earlier :], present], axis=1)
        there[1] = np.concatenate([there[0][:, -BEHIND - earlier :], there[1]], axis=1)
    known = [each[:, BEHIND:] for each in there]
    hours = known[1].shape[1]
    if known[0].shape[1] < hours or hours - earlier < lasts:
        return {}
    rows = [_regressors(past), _regressors(present)]
    weights = _weights(rows[0], len(reference), without)
    begins = slice(earlier, hours - lasts + 1)
    return {basis: _strongest(*_innovations(weights[basis], rows, known), known, begins, every) for basis in BASES}


# ----------------------------------------------------------------------------------------------- forecasts hour by hour


def _regressors(values: Array) -> Array:
    """Every column at every lag, and its means over the hours before: (columns * rows of each, hours - BEHIND)."""
    hours = values.shape[1]
    sums = _running(values)
    rows = [values[:, BEHIND - lag : hours - lag] for lag in LAGS]
    rows += [(sums[:, BEHIND:hours] - sums[:, BEHIND - mean : hours - mean]) / mean for mean in MEANS]
    return np.stack(rows, axis=1).reshape(-1, hours - BEHIND)


def _weights(past: Array, columns: int, without: Sequence[int]) -> dict[Basis, Array]:
    """What makes innovations of regressors (ridge): of all of the past, then of all but each of its parts, so that an
    hour of the past is never forecast by what was fitted to it. (1 + FOLDS, columns, regressors) each."""
    each = len(LAGS) + len(MEANS)
    parts = np.array([part @ part.T for part in np.array_split(past, FOLDS, axis=1)])
    fitted_on = np.concatenate([parts.sum(axis=0)[None], parts.sum(axis=0) - parts])
    found = {basis: np.zeros((1 + FOLDS, columns, columns * each)) for basis in BASES}
    for column in range(columns):
        own = [column * each + row for row in OWN_ROWS]
        others = [other * each + row for other in range(columns) if other != column for row in OTHERS_ROWS]
        beside = [row for row in others if row // each not in without]
        for basis, by in zip(BASES, (own, own + beside), strict=True):
            products = fitted_on[:, np.array(by)[:, None], by]
            ridge = RIDGE * products * np.eye(len(by))
            shares = np.linalg.solve(products + ridge, fitted_on[:, by, column * each, None])[..., 0]
            found[basis][:, column, by] = -shares
            found[basis][:, column, column * each] = 1.0
    return found


def _innovations(weights: Array, rows: Sequence[Array], known: Sequence[Array]) -> tuple[Array, Array, Array]:
    """What the forecasts did not see of past and present, 0 where nothing was measured; and each column's weights of
    its own regressors: (columns, rows of each)."""
    parts = np.array_split(rows[0], FOLDS, axis=1)
    past = np.concatenate([fitted @ part for fitted, part in zip(weights[1:], parts, strict=True)], axis=1)
    columns = np.arange(weights.shape[1])
    own = weights[0].reshape(len(columns), len(columns), -1)[columns, columns]
    return np.where(known[0], past, 0.0), np.where(known[1], weights[0] @ rows[1], 0.0), own


# ---------------------------------------------------------------------------------------------------------------- steps


def _strongest(past: Array, present: Array, own: Array, known: Sequence[Array], begins: slice, every: int) -> Steps:
    """Every hour of `begins` is tried as the beginning of a step that goes on to the end, by the matched filter of what
    one leaves beside a constant: where a column lay before, it may have wandered to since the reference.

    How far such comparisons lie from 0 anyway is seen in the past, for each number of hours that follow; of a stretch
    of the past, in the rest of it. A step that another one takes back is none.
    """
    hours, count = present.shape[1], past.shape[1]
    scored = [_as_rare_as_normal(past, values) for values in (past, present)]
    left = _left_by_a_step(own, hours)
    level, area = left[:, -1:], left.cumsum(axis=1)
    energy = (left**2).cumsum(axis=1) - area**2 / hours
    sums, matched = _filtered(scored[0], own)
    mean = (sums[:, hours:] - sums[:, : count - hours + 1]) / hours
    lengths = np.unique(np.linspace(BEHIND, hours - begins.start, LENGTHS).astype(int))
    squares = []
    for n in lengths:
        match = level * sums[:, hours:] - matched[:, hours - n : count - n + 1] - area[:, n - 1 : n] * mean
        squares.append(_running(match**2 / energy[:, n - 1 : n]))
    usual = _root_mean_square(scored[0], known[0])
    follows = np.arange(hours - begins.start, BEHIND - 1, -1)

    def standings(filtered: tuple[Array, Array], values: Array, known: Array, first: int) -> Array:
        sums, matched = filtered
        apart = [_mean_without(one, first + n - hours, first + n) for n, one in zip(lengths, squares, strict=True)]
        scale = np.array([np.interp(follows, lengths, of_column) for of_column in np.sqrt(apart).T])
        scale *= np.sqrt(energy[:, follows - 1]) * (_root_mean_square(values, known) / usual)[:, None]
        mean = (sums[:, -1:] - sums[:, -hours - 1 : -hours]) / hours
        with np.errstate(invalid="ignore", divide="ignore"):
            match = level * sums[:, -1:] - matched[:, begins.start : hours - BEHIND + 1] - area[:, follows - 1] * mean
            found = match / scale
        enough = known[:, begins.start :].mean(axis=1, keepdims=True) >= MINIMUM_KNOWN_SHARE
        return np.where(enough, np.where(np.isfinite(found), found, 0.0), np.nan)

    normal = []
    for end in range(count, hours - 1, -every):
        first = end - hours
        filtered = sums[:, : end + 1], matched[:, first:]
        of_past = standings(filtered, scored[0][:, first:end], known[0][:, first:end], first)
        normal.append(_furthest(of_past[:, : begins.stop - begins.start])[0])
    of_present = standings(_filtered(scored[1], own), scored[1], known[1], count)
    found, at = _furthest(of_present[:, : begins.stop - begins.start])
    follow = hours - begins.start - at
    traces = np.array([np.pad(row, (hours - n, 0))[:hours] for row, n in zip(left, follow, strict=True)])
    beside = (traces - traces.mean(axis=1, keepdims=True)) / energy[np.arange(len(at)), follow - 1][:, None]
    less = scored[1] - (beside * scored[1]).sum(axis=1, keepdims=True) * traces
    back = -standings(_filtered(less, own), scored[1], known[1], count) * np.sign(found)[:, None]
    undone = np.maximum(TAKEN_BACK * np.abs(found), np.nanmax(np.abs(normal), axis=0, initial=0.0))
    found = np.where(back.max(axis=1) >= undone, 0.0, found)
    return Steps(found, np.array(normal).T, follow, np.copysign((beside * present).sum(axis=1), found))


def _furthest(standings: Array) -> tuple[Array, NDArray[np.intp]]:
    """Each column's standing that is the furthest from 0, and where it is."""
    at = np.nan_to_num(np.abs(standings)).argmax(axis=1)
    return np.take_along_axis(standings, at[:, None], axis=1)[:, 0], at


def _mean_without(running: Array, first: int, end: int) -> Array:
    """The mean of what running sums are of, less a part; of everything where little else is left."""
    count = running.shape[1] - 1
    first, end = min(max(first, 0), count), min(max(end, 0), count)
    rest = count - (end - first)
    if rest < count / 4:
        first, end, rest = 0, 0, count
    return np.asarray((running[:, -1] - running[:, end] + running[:, first]) / rest)


def _running(values: Array) -> Array:
    """Running sums from 0 on: (columns, hours + 1)."""
    return np.concatenate([np.zeros((len(values), 1)), values.cumsum(axis=1)], axis=1)


def _left_by_a_step(own: Array, hours: int) -> Array:
    """What a step of 1 leaves in the innovations of the hours from its beginning on: (columns, hours)."""
    since = np.arange(hours)
    seen = [since >= lag for lag in LAGS] + [np.minimum(since / mean, 1.0) for mean in MEANS]
    return np.asarray(own @ np.array(seen, dtype=float))


def _filtered(values: Array, own: Array) -> tuple[Array, Array]:
    """Running sums of values, from 0 on, and what has to be taken from them for each beginning of a step.

    One that begins at b and goes on to e matches level * sums[e] - matched[b]; level is what it leaves in the end.
    (columns, hours + 1) and (columns, hours - BEHIND + 1).
    """
    sums = _running(values)
    count = values.shape[1] - BEHIND + 1
    matched = np.zeros((len(values), count))
    for lag, share in zip(LAGS, own.T, strict=False):
        matched += share[:, None] * sums[:, lag : lag + count]
    twice = np.concatenate([sums, sums[:, -1:]], axis=1).cumsum(axis=1)
    for mean, share in zip(MEANS, own[:, len(LAGS) :].T, strict=True):
        matched += share[:, None] / mean * (twice[:, mean : mean + count] - twice[:, :count])
    return sums, matched


# --------------------------------------------------------------------------------------------------------------- scores


def _normal_scores(values: Array, knots: Array) -> Array:
    """What the values would be if the reference were normal; beyond it a standard deviation stays one. knots are the
    reference's quantiles, (columns, SHARES)."""
    normal = stats.norm.ppf(SHARES)
    normal = np.concatenate([[normal[0] - FAR], normal, [normal[-1] + FAR]])
    ends = np.concatenate([knots[:, :1] - FAR, knots, knots[:, -1:] + FAR], axis=1)
    return np.array([np.interp(row, of_column, normal) for row, of_column in zip(values, ends, strict=True)])


def _as_rare_as_normal(past: Array, values: Array) -> Array:
    """Innovations, turned into normal ones that are as rare as they are in the past: one spike is no step."""
    normal = np.concatenate([[0.0], stats.norm.isf(RARITIES / 2)])
    knots = np.concatenate([np.zeros((len(past), 1)), _quantiles(np.abs(past), 1 - RARITIES)], axis=1)
    steepness = (normal[-1] - normal[-2]) / np.maximum(knots[:, -1] - knots[:, -2], SMALLEST)
    rarest = knots[:, -1] + (RAREST - normal[-1]) / steepness
    scored = [
        np.interp(np.abs(row), np.append(of_column, last), np.append(normal, RAREST))
        for row, of_column, last in zip(values, knots, rarest, strict=True)
    ]
    return np.copysign(scored, values)


def _quantiles(values: Array, shares: Array) -> Array:
    """(columns, shares); sorting is faster than a partition at so many places."""
    return np.asarray(np.sort(values, axis=1)[:, (shares * values.shape[1]).astype(int)])


def _root_mean_square(values: Array, known: Array) -> Array:
    """Over the known hours; values are 0 in the others."""
    return np.asarray(np.sqrt((values**2).sum(axis=1) / np.maximum(known.sum(axis=1), 1)))
