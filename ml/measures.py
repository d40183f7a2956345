"""The usual measures of how two distributions differ, reported because people ask for them. They decide nothing."""

from __future__ import annotations

import numpy as np
from scipy import stats
from scipy.spatial.distance import jensenshannon

from ml.history import Array
from ml.monitor_messages import Measures

QUANTILES, BINS = 10, 30
EMPTY_BIN = 1e-4  # the share that an empty bin counts as


def measures(reference: Array, window: Array) -> Measures | None:
    """Of two samples (hours,), NaN left out; None where one of them is empty or the reference is constant.

    The p-value is the asymptotic one for independent values.
    """
    reference, window = np.sort(reference[~np.isnan(reference)]), np.sort(window[~np.isnan(window)])
    if not len(reference) or not len(window) or reference[0] == reference[-1]:
        return None
    distance, area = _between(reference, window)
    both_sizes = len(reference) * len(window) / (len(reference) + len(window))
    return Measures(
        psi=_population_stability_index(reference, window),
        jensen_shannon=_jensen_shannon(reference, window),
        wasserstein_sd=area / float(reference.std()),
        ks=distance,
        ks_p_value=float(stats.kstwobign.sf(distance * np.sqrt(both_sizes))),
    )


def _between(reference: Array, window: Array) -> tuple[float, float]:
    """The greatest distance between two distribution functions (Kolmogorov-Smirnov's statistic), and the area between
    them (Wasserstein's distance)."""
    at = np.sort(np.concatenate([reference, window]), kind="stable")
    below = [np.searchsorted(sample, at, side="right") / len(sample) for sample in (reference, window)]
    apart = np.abs(below[0] - below[1])
    return float(apart.max()), float((apart[:-1] * np.diff(at)).sum())


def _population_stability_index(reference: Array, window: Array) -> float:
    """Over tenths of the reference."""
    inner = np.unique(reference[np.arange(1, QUANTILES) * len(reference) // QUANTILES])
    before, after = (np.maximum(_shares(sample, inner), EMPTY_BIN) for sample in (reference, window))
    return float(((after - before) * np.log(after / before)).sum())


def _jensen_shannon(reference: Array, window: Array) -> float:
    """The distance (base 2, 0 to 1) of histograms over the range of both."""
    inner = np.linspace(min(reference[0], window[0]), max(reference[-1], window[-1]), BINS + 1)[1:-1]
    return float(jensenshannon(_shares(reference, inner), _shares(window, inner), base=2))


def _shares(ordered: Array, inner: Array) -> Array:
    """The shares of a sorted sample below, between and above inner edges."""
    return np.asarray(np.diff(np.searchsorted(ordered, inner), prepend=0, append=len(ordered)) / len(ordered))
