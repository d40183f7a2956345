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
    """Of two samples (hours,), NaN left out; None where one of them is empty or the reference is constant."""
    reference, window = np.sort(reference[~np.isnan(reference)]), np.sort(window[~np.isnan(window)])
    if not len(reference) or not len(window) or reference[0] == reference[-1]:
        return None
    distance = _greatest_distance(reference, window)
    both_sizes = len(reference) * len(window) / (len(reference) + len(window))
    return Measures(
        psi=_population_stability_index(reference, window),
        jensen_shannon=_jensen_shannon(reference, window),
        wasserstein_sd=float(stats.wasserstein_distance(reference, window) / reference.std()),
        ks=distance,
        ks_p_value=float(stats.kstwobign.sf(distance * np.sqrt(both_sizes))),
    )


def _greatest_distance(reference: Array, window: Array) -> float:
    """The Kolmogorov-Smirnov statistic of two sorted samples."""
    at = np.concatenate([reference, window])
    below = [np.searchsorted(sample, at, side="right") / len(sample) for sample in (reference, window)]
    return float(np.abs(below[0] - below[1]).max())


def _population_stability_index(reference: Array, window: Array) -> float:
    """Over tenths of the reference."""
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, QUANTILES + 1)[1:-1]))
    before, after = (
        np.maximum(np.bincount(np.searchsorted(edges, sample), minlength=len(edges) + 1) / len(sample), EMPTY_BIN)
        for sample in (reference, window)
    )
    return float(((after - before) * np.log(after / before)).sum())


def _jensen_shannon(reference: Array, window: Array) -> float:
    """The distance (base 2, 0 to 1) of histograms over the range of both."""
    edges = np.linspace(min(reference[0], window[0]), max(reference[-1], window[-1]), BINS + 1)
    return float(jensenshannon(np.histogram(reference, edges)[0], np.histogram(window, edges)[0], base=2))
