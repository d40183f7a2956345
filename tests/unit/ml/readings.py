"""Readings of a small fleet whose sensors wander, have days, and hang together within a circuit."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
from scipy.signal import lfilter

from ml.drift import CircuitReadings
from ml.history import Array
from shared.configuration import DriftLevels

START = datetime(2025, 1, 6, tzinfo=UTC)
COLUMNS = ("temperature", "power", "flow")
DAYS, SPAN = 240, 30


def fleet(circuits: int = 12, days: int = DAYS, span: int = SPAN, seed: int = 0) -> list[CircuitReadings]:
    """Circuits of four plants in which nothing changes."""
    chance = np.random.default_rng(seed)
    return [circuit(f"P00{1 + number % 4}", f"C{number:03}", chance, days, span) for number in range(circuits)]


def circuit(plant: str, name: str, chance: np.random.Generator, days: int, span: int) -> CircuitReadings:
    hours = (days + span) * 24
    common, own = _wandering(chance, 1, hours), _wandering(chance, len(COLUMNS), hours)
    rhythm = np.sin(2 * np.pi * (np.arange(hours) % 24) / 24)
    values = 100 + 2 * rhythm + 3 * common + own
    return CircuitReadings(
        circuit=f"{plant}_{name}",
        plant=plant,
        columns=COLUMNS,
        target=COLUMNS[0],
        start=START,
        window_start=START + timedelta(days=days),
        reference=values[:, : days * 24],
        window=values[:, days * 24 :],
        levels=DriftLevels(),
    )


def _wandering(chance: np.random.Generator, rows: int, hours: int) -> Array:
    """First-order autoregression with a memory of two days."""
    keeps = np.exp(-1 / 48)
    steps = chance.normal(0, np.sqrt(1 - keeps**2), (rows, hours + 500))
    return np.asarray(lfilter([1.0], [1.0, -keeps], steps, axis=1)[:, 500:])


def changed(readings: CircuitReadings, column: str, window: Array | float) -> CircuitReadings:
    """The circuit with other values of one column in its window."""
    values = readings.window.copy()
    values[readings.columns.index(column)] = window
    return replace(readings, window=values)


def of_window(readings: CircuitReadings, column: str) -> Array:
    return np.asarray(readings.window[readings.columns.index(column)])


def of_reference(readings: CircuitReadings, column: str) -> Array:
    return np.asarray(readings.reference[readings.columns.index(column)])
