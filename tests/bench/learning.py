"""Training 200 circuits on two cores, and how forecasts compare with the naive ones on real series."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from deltalake import write_deltalake
from matplotlib import rc_context
from matplotlib.figure import Figure
from sklearn.ensemble import HistGradientBoostingRegressor

from etl.run import run_etl
from local.mapping import map_readings
from ml.backtest import Backtest
from ml.features import LOOKBACK_HOURS, FeatureSpec, future
from ml.history import open_version, read_history
from ml.requests import TrainingRequest
from ml.threads import VARIABLES
from ml.train import fit
from shared.configuration import CircuitConfig, load_fleet
from tests.bench.rows import BenchRow, measured, ours_at_most, ratio_at_most

ROOT = Path(__file__).resolve().parents[2]
REFERENCE_DATA = ROOT / os.environ.get("REFERENCE_DIR", "../shared") / "data"
MAPPING = ROOT / "docs/examples/mappings/public_series.yml"
CIRCUITS, HOURS, CORES = 200, 4_320, 2
START = datetime(2025, 1, 1, tzinfo=UTC)


def measure_all(folder: Path) -> list[BenchRow]:
    """Rows of both; the real series are left out, and that is said, where REFERENCE_DIR has none."""
    rows = [_training_of_a_fleet(folder / "fleet")]
    if not REFERENCE_DATA.is_dir():
        print(f"{REFERENCE_DATA} is absent: no forecast errors on real series")
        return rows
    judged = real_series(folder / "real")
    plot_errors(judged, folder / "forecast_errors.svg")
    for name, result in ((name, one.evaluation) for name, one in judged.items()):
        naive = result.naive.replace("_", " ")
        rows.append(measured(f"error on {name}", result.mae, result.naive_mae, naive, "sd", ratio_at_most(1)))
    return rows


# ---------------------------------------------------------------------------------------------------------- real series


def real_series(folder: Path) -> dict[str, Backtest]:
    """The default model's backtest on every series in REFERENCE_DIR/data, by file name."""
    report = map_readings(
        REFERENCE_DATA,
        MAPPING,
        folder / "landing",
        folder / "config",
        date(2026, 11, 24),
        load_fleet(ROOT / "config"),
    )
    fleet, table = report.fleet, str(folder / "sensor_data")
    run_etl(folder / "landing", table, "bench", fleet.policy, fleet)
    ranges = {name: (feature.minimum, feature.maximum) for name, feature in fleet.policy.features.items()}
    return {
        sensor.source: fit(training_request(fleet.circuit(sensor.circuit), table, ranges)).backtest
        for sensor in sorted(report.sensors, key=lambda sensor: sensor.source)
    }


def plot_errors(judged: Mapping[str, Backtest], file: Path) -> None:
    """The error of each step ahead, ours beside the naive forecasts', a panel for each series."""
    figure = Figure(figsize=(11, 6), layout="constrained")
    for panel, (name, one) in zip(figure.subplots(2, 2).flat, judged.items(), strict=False):
        steps = [step.step for step in one.steps]
        panel.plot(steps, [step.mae for step in one.steps], color="#08519c", linewidth=2.0, label="default model")
        panel.plot(steps, [step.persistence_mae for step in one.steps], "--", color="#969696", label="persistence")
        panel.plot(steps, [step.seasonal_naive_mae for step in one.steps], ":", color="#525252", label="seasonal naive")
        panel.set_title(f"{name.partition('.')[0]}: skill {one.evaluation.skill:+.2f}", fontsize=10)
        panel.set_ylim(bottom=0)
    figure.axes[0].legend(frameon=False, loc="lower right")
    figure.supxlabel("hours ahead")
    figure.supylabel("mean absolute error (standard deviations of the target)")
    with rc_context({"svg.hashsalt": "fleet", "svg.fonttype": "none"}):  # the same numbers, the same file
        figure.savefig(file, metadata={"Date": None})


# ------------------------------------------------------------------------------------------------------ a whole fleet


def fleet_table(folder: Path) -> Path:
    """The readings of 200 sensors, made once."""
    table = folder / "sensor_data"
    if not (table / "_delta_log").exists():
        columns = ["timestamp", "date", "sensor_id", "temperature", "power"]
        write_deltalake(str(table), _readings().select(columns), partition_by=["date"])
    return table


def _training_of_a_fleet(folder: Path) -> BenchRow:
    table = fleet_table(folder)
    ours = _seconds(partial(_fit_ours, str(table)))
    boosted = _seconds(partial(_fit_boosted_trees, str(table)))
    return measured(
        f"training {CIRCUITS} circuits x {HOURS:,} rows, backtest included, {CORES} cores",
        ours,
        boosted,
        "HistGradientBoosting, scikit-learn's defaults, one fit and no backtest",
        "s",
        ours_at_most(30),
    )


def _seconds(work: Callable[[int], None]) -> float:
    for variable in VARIABLES:  # the workers are started with it
        os.environ[variable] = "1"
    with ProcessPoolExecutor(CORES, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_warm_up, range(2 * CORES)))
        began = time.perf_counter()
        list(pool.map(work, range(CIRCUITS), chunksize=5))
        return time.perf_counter() - began


def _warm_up(_: int) -> None:
    time.sleep(0.5)  # long enough that every worker takes one


def _fit_ours(table: str, number: int) -> None:
    fit(training_request(circuit_of(number), table, {}))


def _fit_boosted_trees(table: str, number: int) -> None:
    circuit = circuit_of(number)
    spec = FeatureSpec(circuit.target_column, circuit.feature_columns, 24)
    last = START + timedelta(hours=HOURS - 1)
    history = read_history(open_version(table, None), circuit.sensor_id, spec.columns, None, last, {})
    origins = np.arange(LOOKBACK_HOURS, history.hours - spec.horizon)
    target = future(history.values[spec.target], origins, spec.horizon)[:, 0]
    HistGradientBoostingRegressor(random_state=0).fit(spec.build(history, origins), target)


def circuit_of(number: int) -> CircuitConfig:
    """One circuit of the made-up fleet."""
    plant, circuit = f"P{number // 10:03}", f"C{number % 10:03}"
    return CircuitConfig.model_validate(
        {
            "plant_id": plant,
            "circuit_id": circuit,
            "training": {
                "cutoff_date": (START + timedelta(hours=HOURS - 1)).date(),
                "environment_version": "1.0.0",
                "target_column": "temperature",
                "data_filters": {"sensor_id": f"SENSOR_{plant}_{circuit}", "feature_columns": ["power"]},
            },
        }
    )


def training_request(circuit: CircuitConfig, table: str, ranges: dict[str, tuple[float, float]]) -> TrainingRequest:
    """What `fit` needs to know; nothing is registered."""
    return TrainingRequest(
        circuit=circuit,
        table_uri=table,
        plausible_ranges=ranges,
        tracking_uri="unused",
        git_commit_sha="0a1b2c3",
        pr_number="0",
        pr_author="bench",
        command_id="bench",
    )


def _readings() -> pl.DataFrame:
    """Every sensor with a daily rhythm of its own, a slow wander and noise."""
    chance = np.random.default_rng(0)
    hours = np.arange(HOURS)
    frames = []
    for number in range(CIRCUITS):
        power = 100 + chance.normal(0, 1, HOURS).cumsum() * 0.2
        rhythm = 5 * np.sin(2 * np.pi * (hours + chance.integers(24)) / 24)
        temperature = 60 + rhythm + 0.3 * (power - 100) + chance.normal(0, 0.5, HOURS)
        frames.append(
            pl.DataFrame({"temperature": temperature, "power": power}).with_columns(
                timestamp=pl.datetime_range(
                    START, START + timedelta(hours=HOURS - 1), "1h", time_unit="us", time_zone="UTC", eager=True
                ),
                sensor_id=pl.lit(circuit_of(number).sensor_id),
            )
        )
    return pl.concat(frames).with_columns(date=pl.col("timestamp").dt.date()).sort("timestamp")
