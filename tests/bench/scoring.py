"""Scoring: one circuit's read beside a read of the whole table, and a fleet of 200 circuits by two warm processes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from datetime import time as clock_time
from functools import partial
from pathlib import Path
from statistics import median

import polars as pl
import yaml

from ml.artifact import ModelCache, load_folder
from ml.features import LOOKBACK_HOURS
from ml.history import CARRIED_HOURS, HOUR, open_version, scan
from ml.requests import ScoringRequest
from ml.score import score
from ml.threads import VARIABLES
from ml.train import fit
from tests.bench.learning import CIRCUITS, CORES, HOURS, START, circuit_of, fleet_table, training_request
from tests.bench.rows import BenchRow, measured, ratio_at_most

REPEATS = 5
COLD = 3
"""Processes that are started for one circuit each; more would take minutes and say the same."""
ORIGIN = datetime.combine((START + (HOURS - 1) * HOUR).date(), clock_time(), UTC)


def measure_all(folder: Path) -> list[BenchRow]:
    """Rows of both; `folder` keeps the table and the models for the next time."""
    table = str(fleet_table(folder / "fleet"))
    models = _models(table, folder / "models")
    requests = _requests(table, folder)
    return [*_reads(table), _fleet(models, requests)]


def _reads(table: str) -> list[BenchRow]:
    first = ORIGIN - (LOOKBACK_HOURS + CARRIED_HOURS) * HOUR
    columns = ["temperature", "power"]
    one = scan(open_version(table, None), circuit_of(0).sensor_id, columns, first, ORIGIN)
    whole = pl.scan_delta(table).select("timestamp", "sensor_id", *columns)
    own, all_rows = _timed(lambda: one.collect().height), _timed(lambda: whole.collect().height)
    name, reference = "one circuit's scoring read", "the whole table"
    return [
        measured(f"{name}: time", own[0], all_rows[0], reference, "s", ratio_at_most(0.1)),
        measured(f"{name}: rows", own[1], all_rows[1], reference, "rows"),
    ]


def _timed(read: Callable[[], int]) -> tuple[float, int]:
    """Median seconds, and what was read."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        rows = read()
        times.append(time.perf_counter() - began)
    return median(times), rows


def _fleet(models: Path, requests: list[Path]) -> BenchRow:
    for variable in VARIABLES:  # the workers are started with it
        os.environ[variable] = "1"
    with ProcessPoolExecutor(CORES, multiprocessing.get_context("spawn"), _begin, (str(models),)) as pool:
        work = partial(pool.map, _score, chunksize=5)
        list(work(requests))  # warm: every library is there and every model was used yesterday
        began = time.perf_counter()
        list(work(requests))
        seconds = time.perf_counter() - began
    began = time.perf_counter()
    for number in range(COLD):
        command = [sys.executable, "-m", "ml.score", str(requests[number]), "--model", str(models / str(number))]
        subprocess.run(command, check=True, capture_output=True)
    cold = (time.perf_counter() - began) / COLD * CIRCUITS / CORES
    reference = f"a process for each, {CORES} at once ({COLD} measured)"
    return measured(
        f"scoring {CIRCUITS} circuits, warm, {CORES} cores", seconds, cold, reference, "s", ratio_at_most(0.05)
    )


_models_of_worker: ModelCache | None = None


def _begin(models: str) -> None:
    global _models_of_worker
    _models_of_worker = ModelCache(lambda one: load_folder(f"{models}/{_number(one.circuit)}"), size=CIRCUITS)


def _score(request: Path) -> None:
    assert _models_of_worker is not None
    score(ScoringRequest.model_validate_json(request.read_bytes()), _models_of_worker)


def _number(circuit: str) -> int:
    plant, _, name = circuit.partition("_")
    return int(plant[1:]) * 10 + int(name[1:])


def _models(table: str, folder: Path) -> Path:
    """A model folder for each circuit: one model, trained once, in the name of each."""
    if not (folder / str(CIRCUITS - 1)).exists():
        model = fit(training_request(circuit_of(0), table, {})).model
        for number in range(CIRCUITS):
            model.circuit, model.sensor_id = circuit_of(number).key, circuit_of(number).sensor_id
            (folder / str(number)).mkdir(parents=True, exist_ok=True)
            (folder / str(number) / "model.pkl").write_bytes(pickle.dumps(model))
            descriptor = {"flavors": {"sklearn": {"pickled_model": "model.pkl"}}}
            (folder / str(number) / "MLmodel").write_text(yaml.safe_dump(descriptor))
    return folder


def _requests(table: str, folder: Path) -> list[Path]:
    opened, files = open_version(table, None), []
    (folder / "requests").mkdir(parents=True, exist_ok=True)
    for number in range(CIRCUITS):
        circuit = circuit_of(number)
        request = ScoringRequest(
            circuit=circuit.key,
            plant_id=circuit.plant_id,
            circuit_id=circuit.circuit_id,
            forecast_origin=ORIGIN,
            table_uri=table,
            table_id=str(opened.metadata().id),
            delta_version=opened.version(),
            command_id=f"bench-{number}",
            output_uri=str(folder / "predictions" / f"{circuit.key}.parquet"),
            model_version=1,
            environment_version="1.0.0",
            horizon=24,
        )
        files.append(folder / "requests" / f"{circuit.key}.json")
        files[-1].write_text(request.model_dump_json())
    return files
