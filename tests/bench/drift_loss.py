"""Does an alarm about drift come before larger errors? One month of a real series is judged, the next one tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np

from ml.backtest import backtest
from ml.drift import CircuitReadings, judge_drift
from ml.features import DAY, FeatureSpec
from ml.history import HOUR, Array, History
from ml.measures import measures
from ml.model import ChangeForecaster
from ml.monitor_messages import Basis, ColumnFinding, Level, LiveModel, Role, Verdict
from ml.performance import MATERIAL, Forecasts, judge_performance
from shared.configuration import DriftLevels, DriftRules, Hyperparameters, Monitoring
from tests.bench.real_series import REFERENCE_DATA, real_series
from tests.bench.rows import BenchRow, measured

START = datetime(2016, 7, 4, tzinfo=UTC)  # a Monday; the sources' own calendars do not matter here
TRAINED_ON = {"transformer": 365, "air": 210}  # days; what is left is judged month by month
HORIZON, HOLDOUT_DAYS = 24, 28
RULES = DriftRules()
SETTINGS = Hyperparameters(backtest_folds=1)


@dataclass(frozen=True)
class Month:
    """One circuit's window and whether the errors of the month after it were worse than the backtest's."""

    alarms: tuple[ColumnFinding, ...]
    alarmed_by_ks: bool
    lost: bool


def measure_all(folder: Path) -> list[BenchRow]:
    """The rows; nothing, and it is said, where REFERENCE_DIR has no series."""
    if not REFERENCE_DATA.is_dir():
        print(f"{REFERENCE_DATA} is absent: nothing to see losses on")
        return []
    months = [month for source, days in TRAINED_ON.items() for month in _months(source, days)]
    lost = float(np.mean([month.lost for month in months]))
    ours = [bool(month.alarms) for month in months]
    by_ks = [month.alarmed_by_ks for month in months]
    losses = sum(month.lost for month in months)
    of = f"{len(months)} months of real series, {losses} before larger errors"
    ks = "Kolmogorov-Smirnov p < .05 on any column"
    return [
        measured(f"precision: alarms before larger errors; {of}", _share(months, ours), lost, "any month", "of alarms"),
        measured(f"precision of {ks}", _share(months, by_ks), lost, "any month", "of alarms"),
        measured(
            "recall: larger errors after an alarm", _caught(months, ours), _caught(months, by_ks), ks, "of losses"
        ),
        *_kind_rows(months, lost),
        measured("months that alarm", float(np.mean(ours)), float(np.mean(by_ks)), ks, "of months"),
    ]


# Alarms of which more might be expected.
KINDS: dict[str, Callable[[ColumnFinding], bool]] = {
    "of level high": lambda one: one.level is Level.HIGH,
    "about the target": lambda one: one.role is Role.TARGET,
    "about a column beside the others": lambda one: one.basis in (Basis.RELATION, Basis.STEP_BESIDE),
    "about a step": lambda one: one.since is not None,
}


def _kind_rows(months: list[Month], lost: float) -> Iterator[BenchRow]:
    for kind, belongs in KINDS.items():
        alarmed = [any(map(belongs, month.alarms)) for month in months]
        of = f"{sum(alarmed)} months, recall {_caught(months, alarmed):.2f}"
        yield measured(f"precision of alarms {kind}; {of}", _share(months, alarmed), lost, "any month", "of alarms")


def _share(months: list[Month], alarms: list[bool]) -> float:
    """How many of the alarming months were followed by a loss."""
    followed = [month.lost for month, alarmed in zip(months, alarms, strict=True) if alarmed]
    return float(np.mean(followed)) if followed else 0.0


def _caught(months: list[Month], alarms: list[bool]) -> float:
    """How many of the months before a loss alarmed."""
    before = [alarmed for month, alarmed in zip(months, alarms, strict=True) if month.lost]
    return float(np.mean(before)) if before else 0.0


def _months(source: str, trained_days: int) -> Iterator[Month]:
    """Every column of a source is a circuit's target once, with the next four as its features."""
    series = {name: values for name, values in real_series().items() if name.startswith(source)}
    names = list(series)
    circuits = [tuple(names[(first + n) % len(names)] for n in range(5)) for first in range(len(names))]
    windows = range(trained_days, len(series[names[0]]) // DAY - 2 * RULES.window_days, RULES.window_days)
    lost = {circuit: _losses(circuit, series, trained_days, windows) for circuit in circuits}
    for at, begin in enumerate(windows):
        readings = [_readings(circuit, series, trained_days, begin) for circuit in circuits]
        found = judge_drift(readings, RULES.false_discovery_rate).columns
        for circuit, one in zip(circuits, readings, strict=True):
            usual = [measures(*one.beside(column)) for column in one.columns]
            yield Month(
                alarms=tuple(column for column in found[one.circuit] if column.verdict is Verdict.DRIFTED),
                alarmed_by_ks=any(found is not None and found.ks_p_value < 0.05 for found in usual),
                lost=lost[circuit][at],
            )


def _readings(circuit: tuple[str, ...], series: dict[str, Array], trained_days: int, begin: int) -> CircuitReadings:
    first = max(0, trained_days - RULES.reference_days)
    values = np.array([series[name] for name in circuit])
    return CircuitReadings(
        circuit=circuit[0],
        plant=circuit[0].partition(" ")[0],
        columns=circuit,
        target=circuit[0],
        start=START + timedelta(days=first),
        window_start=START + timedelta(days=begin),
        reference=values[:, first * DAY : trained_days * DAY],
        window=values[:, begin * DAY : (begin + RULES.window_days) * DAY],
        levels=DriftLevels(),
    )


def _losses(circuit: tuple[str, ...], series: dict[str, Array], trained_days: int, windows: range) -> list[bool]:
    """Per window, whether the daily forecasts of the month after it were worse than the model's backtest allows."""
    columns = {f"column_{number}": series[name] for number, name in enumerate(circuit)}
    hours = len(series[circuit[0]])
    spec = FeatureSpec("column_0", tuple(columns)[1:], HORIZON)
    past = History(
        START,
        START + (trained_days * DAY - 1) * HOUR,
        {name: values[: trained_days * DAY] for name, values in columns.items()},
        trained_days * DAY,
    )
    judged = backtest(past, spec, SETTINGS, HOLDOUT_DAYS * DAY, seed=0).evaluation
    examples = spec.examples(past)
    model = ChangeForecaster(spec, SETTINGS, 0).fit(examples.features, examples.truth)
    whole = History(START, START + (hours - 1) * HOUR, columns, hours)
    scale = float(past.values["column_0"].std())
    tags = {"target_sd": repr(scale), "mae": repr(judged.mae), "naive_mae": repr(judged.naive_mae)}
    live = LiveModel(version=1, cutoff_date=date(2016, 7, 4), tags=tags)
    found = []
    for begin in windows:
        first = begin + RULES.window_days
        origins = np.arange(first, first + RULES.window_days) * DAY
        origins = origins[origins + HORIZON < hours]
        forecast = model.predict(spec.build(whole, origins))
        steps = np.tile(np.arange(1, HORIZON + 1), len(origins))
        flat = forecast.ravel()
        forecasts = Forecasts(
            START, np.repeat(origins, HORIZON), steps, flat, flat, flat, np.ones(len(flat), dtype=np.int64)
        )
        month = judge_performance(forecasts, columns["column_0"], live, Monitoring(), HOLDOUT_DAYS).performance
        assert month is not None and month.expected_mae is not None and month.backtest_mae is not None
        found.append(month.mae > month.expected_mae and month.mae >= MATERIAL * month.backtest_mae)
    return found
