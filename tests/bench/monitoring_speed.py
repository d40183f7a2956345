"""A fleet's drift in one run, beside Evidently's on the same table: processor time and memory of whole processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from deltalake import write_deltalake

from ml.monitor_messages import RESULTS, Kind, LiveModel, MonitoredCircuit, MonitoringRequest, MonitoringResult
from shared.configuration import CircuitConfig
from tests.bench.rows import BenchRow, measured, ours_at_most, ratio_at_most

ROOT = Path(__file__).resolve().parents[2]
EVIDENTLY = ROOT / ".venv-evidently" / "bin" / "python"
CIRCUITS, COLUMNS = 200, ("temperature", "pressure", "flow", "vibration", "power")
REFERENCE_DAYS, WINDOW_DAYS = 365, 30
SHARE = 10  # circuits that Evidently reports on: it works on them one by one
START = datetime(2025, 1, 1, tzinfo=UTC)
WINDOW_BEGINS = (START + timedelta(days=REFERENCE_DAYS)).date()


def measure_all(folder: Path) -> list[BenchRow]:
    """The rows; without its environment, Evidently is left out, and that is said."""
    folder.mkdir(parents=True, exist_ok=True)
    table = _fleet_table(folder / "sensor_data")
    request = folder / "request.json"
    request.write_text(_request(str(table)).model_dump_json(), encoding="utf-8")
    output = folder / "speed"
    ours = _run([sys.executable, "-m", "ml.monitor", "--request", str(request), "--output", str(output)])
    found = MonitoringResult.model_validate_json((output / RESULTS).read_bytes()).findings
    assert len(found) == CIRCUITS and all(len(one.columns) == len(COLUMNS) for one in found)
    what = f"drift of {CIRCUITS} circuits x {len(COLUMNS)} columns, a year hourly against {WINDOW_DAYS} days"
    if not EVIDENTLY.is_file():
        print("no .venv-evidently: `make bench` sets it up, to measure beside Evidently")
        return [measured(f"{what}, with {CIRCUITS + 1} pages", ours[0], 10, "the goal", "CPU s", ours_at_most(10))]
    program = Path(__file__).with_name("drift_by_evidently.py")
    asked = [str(EVIDENTLY), str(program), str(table), f"{WINDOW_BEGINS}", str(folder / "evidently" / "found.json")]
    (folder / "evidently").mkdir(exist_ok=True)
    reports = float(subprocess.run([*asked, str(SHARE)], capture_output=True, check=True, text=True).stdout)
    theirs = reports * CIRCUITS / SHARE
    name = f"Evidently 0.7, DataDriftPreset with pages: {SHARE} circuits, times {CIRCUITS // SHARE}"
    pages = f"{what}, with {CIRCUITS + 1} pages"
    return [
        measured(pages, ours[0], theirs, name, "CPU s", ours_at_most(10)),
        measured("the same, as a share", ours[0], theirs, name, "CPU s", ratio_at_most(1 / 20)),
        measured("the same, memory", ours[1], 1024, "1 GB", "MB", ours_at_most(1024)),
    ]


def _run(command: Sequence[str]) -> tuple[float, float]:
    """Processor seconds of a process from its start to its end, and its peak memory in MB."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(command)} failed")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def _circuit(number: int) -> CircuitConfig:
    plant, circuit = f"P{number // 10:03}", f"C{number % 10:03}"
    return CircuitConfig.model_validate(
        {
            "plant_id": plant,
            "circuit_id": circuit,
            "training": {
                "cutoff_date": WINDOW_BEGINS - timedelta(days=1),
                "environment_version": "1.0.0",
                "target_column": COLUMNS[0],
                "data_filters": {"sensor_id": f"SENSOR_{plant}_{circuit}", "feature_columns": COLUMNS[1:]},
            },
        }
    )


def _request(table: str) -> MonitoringRequest:
    live = LiveModel(version=1, cutoff_date=WINDOW_BEGINS - timedelta(days=1))
    return MonitoringRequest(
        kind=Kind.DRIFT,
        first_day=WINDOW_BEGINS,
        last_day=WINDOW_BEGINS + timedelta(days=WINDOW_DAYS - 1),
        circuits=tuple(MonitoredCircuit(circuit=_circuit(number), live=live) for number in range(CIRCUITS)),
        table_uri=table,
        predictions_uri=str(Path(table).with_name("predictions")),
        command_id="bench",
    )


def _fleet_table(table: Path) -> Path:
    """Every column with a daily rhythm and a slow wander, made once."""
    if (table / "_delta_log").exists():
        return table
    chance = np.random.default_rng(0)
    hours = (REFERENCE_DAYS + WINDOW_DAYS) * 24
    moments = pl.datetime_range(
        START, START + timedelta(hours=hours - 1), "1h", time_unit="us", time_zone="UTC", eager=True
    )
    rhythm = 3 * np.sin(2 * np.pi * np.arange(hours) / 24)
    frames = []
    for number in range(CIRCUITS):
        wander = chance.normal(0, 0.1, (len(COLUMNS), hours)).cumsum(axis=1)
        values = 100 + rhythm + wander - wander.mean(axis=1, keepdims=True) + chance.normal(0, 1, wander.shape)
        frame = pl.DataFrame({"timestamp": moments, **dict(zip(COLUMNS, values, strict=True))})
        frames.append(frame.with_columns(sensor_id=pl.lit(_circuit(number).sensor_id), date=moments.dt.date()))
    write_deltalake(str(table), pl.concat(frames).sort("timestamp"), partition_by=["date"])
    return table
