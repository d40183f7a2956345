"""Series in which nothing changes, with the distribution, the autocorrelation and the mutual relations of real ones.

Iterative amplitude-adjusted Fourier transform for several channels: T. Schreiber and A. Schmitz, Surrogate time series,
Physica D 142 (2000) 346, section 4.4. Phases are drawn anew, the same shift for all channels, so that where a value
lies in time means nothing while what channels have to do with each other stays. The original is joined to its mirror
image first: without that, the jump from its end back to its beginning would count as one of its properties. Its
weekly profile is taken out before, and put back afterwards: a sensor's days and weeks keep their shape.
"""

from __future__ import annotations

import numpy as np
from scipy.fft import irfft, next_fast_len, prev_fast_len, rfft, rfftfreq

from ml.history import Array

ITERATIONS = 6
WEEK = 168
SPARE = 1.03  # surrogates are periodic: more is made than is handed out, and which part is drawn
LOWEST_LINES = 4  # their mean stands for what is slower than the original is long


def surrogates(originals: Array, hours: int, chance: np.random.Generator) -> Array:
    """(channels, hours) from (channels, n) without NaN; a single channel may be made longer than twice its n."""
    profile = _weekly_profile(originals)
    moving = originals - _repeated(profile, originals.shape[1])
    return _moving_alike(moving, hours, chance) + _repeated(profile, hours)


def _weekly_profile(values: Array) -> Array:
    """The median of each hour of the week: (channels, 168)."""
    weeks = values.shape[1] // WEEK
    return np.asarray(np.median(values[:, : weeks * WEEK].reshape(len(values), weeks, WEEK), axis=1))


def _repeated(profile: Array, hours: int) -> Array:
    return np.asarray(np.tile(profile, (1, -(-hours // WEEK)))[:, :hours])


def _moving_alike(originals: Array, hours: int, chance: np.random.Generator) -> Array:
    needed = next_fast_len(int(hours * SPARE), real=True)
    originals = originals[:, : prev_fast_len(min(originals.shape[1], -(-needed // 2)), real=True)]
    mirrored = np.concatenate([originals, originals[:, ::-1]], axis=1)
    length = max(mirrored.shape[1], needed)
    if length > mirrored.shape[1] and len(originals) > 1:
        raise ValueError(f"{originals.shape[1]} hours of several channels do not make {hours}; use a longer series")
    centred = mirrored - mirrored.mean(axis=1, keepdims=True)
    lines = rfft(centred) if length == mirrored.shape[1] else _read_between(rfft(centred), mirrored.shape[1], length)
    amplitude, phase = np.abs(lines), np.angle(lines)
    ranked = np.quantile(originals, (np.arange(length) + 0.5) / length, axis=1).T
    values = irfft(amplitude * np.exp(1j * (phase + 2 * np.pi * chance.random(lines.shape[1]))), length)
    for _ in range(ITERATIONS):
        found = np.angle(rfft(_ranked_alike(values, ranked)))
        # One turn of all channels together brings them nearest to where they are, with the original's phases between.
        turn = np.angle(np.exp(1j * (found - phase)).sum(axis=0))
        values = irfft(amplitude * np.exp(1j * (phase + turn)), length)
    begin = int(chance.integers(0, length - hours + 1))
    return np.asarray(_ranked_alike(values, ranked)[:, begin : begin + hours])


def _ranked_alike(values: Array, ranked: Array) -> Array:
    """The numbers of `ranked` in the order of `values`."""
    placed = np.empty_like(ranked)
    np.put_along_axis(placed, np.argsort(values, axis=1), ranked, axis=1)
    return placed


def _read_between(lines: Array, length: int, wanted: int) -> Array:
    """Fourier lines of one channel for a longer series; below the lowest lines the spectrum goes on as there."""
    power = np.abs(lines[0]) ** 2
    power[0] = power[1 : 1 + LOWEST_LINES].mean()
    finer = np.interp(rfftfreq(wanted), rfftfreq(length), power)
    finer[0] = 0.0
    return np.asarray(np.sqrt(finer)[None, :] * np.sqrt(wanted / length), dtype=np.complex128)
