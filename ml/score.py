"""Scoring of one circuit by a request file: the forecast from one origin, written as one Parquet file.

The entry script of the batch deployments (`init`, `run`), a command line, and the function `score` behind both.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

if __name__ == "__main__" or "AZUREML_MODEL_DIR" in os.environ:
    from ml.threads import limit_threads

    limit_threads()

import numpy as np
import polars as pl
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from ml.artifact import CircuitForecaster, ModelCache, load_folder
from ml.errors import IncompleteInput, ModelInputError, StaleInput, WrongInput
from ml.features import LOOKBACK_HOURS
from ml.history import CARRIED_HOURS, HOUR, History, has_readings_after, open_version, read_history
from ml.predictions import write_predictions
from ml.requests import ScoringRequest, ScoringSummary

MINIMUM_KNOWN_SHARE = 0.8

LoadModel = Callable[[ScoringRequest], CircuitForecaster]


def score(request: ScoringRequest, load_model: LoadModel) -> ScoringSummary:
    """Forecast and write; the same request again writes the same file.

    Reads the sensor's last LOOKBACK_HOURS before the origin, no other rows. Raises StaleInput, IncompleteInput or
    WrongInput; nothing is written then.
    """
    model = load_model(request)
    _check_model(request, model)
    table, history = _read(request, model)
    _check_history(request, model, history)
    features = model.spec.build(history, np.array([history.position(request.forecast_origin)]))
    with np.errstate(all="ignore"):  # a diverged model is judged by its forecast, not by a warning
        forecast = model.predict(features)[0]
    write_predictions(request.output_uri, _predictions(request, model, forecast, table.version()))
    return ScoringSummary(
        circuit=request.circuit,
        sensor_id=model.sensor_id,
        command_id=request.command_id,
        output_uri=request.output_uri,
        rows=len(forecast),
        forecast_origin=request.forecast_origin,
        newest_reading=history.newest,
        rows_read=history.rows_read,
        delta_version=table.version(),
        model_version=request.model_version,
        environment_version=request.environment_version,
    )


def _check_model(request: ScoringRequest, model: CircuitForecaster) -> None:
    if request.circuit != f"{request.plant_id}_{request.circuit_id}":
        raise WrongInput(f"circuit {request.circuit} is not {request.plant_id}_{request.circuit_id}; mend the request")
    if model.circuit != request.circuit:
        raise WrongInput(f"the deployed model is {model.circuit}'s, the request is {request.circuit}'s; redeploy it")
    if model.spec.horizon != request.horizon:
        raise WrongInput(
            f"{request.circuit}: model {request.model_version} forecasts {model.spec.horizon} hours, not"
            f" {request.horizon}; send the model's own horizon"
        )


def _read(request: ScoringRequest, model: CircuitForecaster) -> tuple[DeltaTable, History]:
    """The history at the requested version, or at the newest one if that version was vacuumed away."""
    try:
        table = open_version(request.table_uri, request.delta_version)
        _check_table(request, table)
        return table, _history(request, model, table)
    except (DeltaError, OSError, pl.exceptions.ComputeError):
        table = open_version(request.table_uri, None)
        _check_table(request, table)
        if table.version() < request.delta_version:
            raise StaleInput(
                f"{request.circuit}: {request.table_uri} has no version {request.delta_version} yet, its newest is"
                f" {table.version()}; try again after the ETL run"
            ) from None
        if table.version() == request.delta_version:
            raise
        return table, _history(request, model, table)


def _check_table(request: ScoringRequest, table: DeltaTable) -> None:
    if str(table.metadata().id) != request.table_id:
        raise WrongInput(
            f"{request.circuit}: {request.table_uri} is table {table.metadata().id}, the request is about"
            f" {request.table_id}: the table was made anew; ask for a scoring of its own commits"
        )


def _history(request: ScoringRequest, model: CircuitForecaster, table: DeltaTable) -> History:
    origin = request.forecast_origin
    first = origin - (LOOKBACK_HOURS + CARRIED_HOURS) * HOUR
    history = read_history(table, model.sensor_id, model.spec.columns, first, origin, model.plausible)
    # A hole at the origin is not staleness if the sensor has been heard of since.
    if history.newest < origin and not has_readings_after(table, model.sensor_id, origin):
        raise StaleInput(
            f"{request.circuit}: the newest reading of {model.sensor_id} is of {history.newest:%Y-%m-%dT%H:%MZ}, the"
            f" forecast starts at {origin:%Y-%m-%dT%H:%MZ}; run ETL, or look at the sensor"
        )
    return history


def _check_history(request: ScoringRequest, model: CircuitForecaster, history: History) -> None:
    origin, target = request.forecast_origin, history.values[model.spec.target]
    at = history.position(origin)
    known = float((~np.isnan(target[at - LOOKBACK_HOURS : at + 1])).mean())
    if np.isnan(target[at]) or known < MINIMUM_KNOWN_SHARE:
        raise IncompleteInput(
            f"{request.circuit}: {model.spec.target} of {model.sensor_id} is known for {known:.0%} of the"
            f" {LOOKBACK_HOURS} hours up to {origin:%Y-%m-%dT%H:%MZ}"
            f"{' and not at its end' if np.isnan(target[at]) else ''}; {MINIMUM_KNOWN_SHARE:.0%} are needed"
        )


def _predictions(request: ScoringRequest, model: CircuitForecaster, forecast: np.ndarray, version: int) -> pa.Table:
    steps = range(1, len(forecast) + 1)
    rows = len(forecast)
    # No sensor measures beyond its range; a forecast beyond it is left as it is, for who judges the model.
    least, most = model.plausible.get(model.spec.target, (-np.inf, np.inf))
    lower = np.maximum(forecast + np.minimum(model.offsets[0], 0.0), least)
    upper = np.minimum(forecast + np.maximum(model.offsets[1], 0.0), most)
    return pa.table(
        {
            "circuit": [request.circuit] * rows,
            "sensor_id": [model.sensor_id] * rows,
            "origin": [request.forecast_origin] * rows,
            "timestamp": [request.forecast_origin + timedelta(hours=step) for step in steps],
            "step": list(steps),
            "forecast": forecast,
            "lower": np.minimum(lower, forecast),
            "upper": np.maximum(upper, forecast),
            "model_version": [request.model_version] * rows,
            "environment_version": [request.environment_version] * rows,
            "delta_version": [version] * rows,
            "command_id": [request.command_id] * rows,
        }
    )


_load_model: LoadModel | None = None


def init() -> None:
    """Batch deployment: load nothing yet, remember where the model is (AZUREML_MODEL_DIR)."""
    global _load_model
    folder = os.environ["AZUREML_MODEL_DIR"]
    _load_model = ModelCache(lambda _: load_folder(folder), size=1)


def run(mini_batch: list[str]) -> list[str]:
    """Batch deployment: score each request file; one JSON summary per file.

    PLANT_ID and CIRCUIT_ID of the deployment's environment must be the request's. Raises ModelInputError, which fails
    the mini batch.
    """
    if _load_model is None:
        raise RuntimeError("init() comes before run()")
    return [score_file(Path(file), _load_model).model_dump_json() for file in mini_batch]


def score_file(file: Path, load_model: LoadModel) -> ScoringSummary:
    """Score by a request file, for the circuit that this deployment is for."""
    request = ScoringRequest.model_validate_json(file.read_bytes())
    deployed = (os.environ.get("PLANT_ID", request.plant_id), os.environ.get("CIRCUIT_ID", request.circuit_id))
    if deployed != (request.plant_id, request.circuit_id):
        raise WrongInput(f"{file} is for {request.circuit}, this deployment is {'_'.join(deployed)}'s")
    return score(request, load_model)


def main(arguments: list[str] | None = None) -> int:
    """Command line: score by a request file with a downloaded model. Exit code 1 says on stderr what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m ml.score", description=__doc__)
    parser.add_argument("request", type=Path, help="JSON file of a ScoringRequest")
    parser.add_argument("--model", required=True, help="folder of the downloaded MLflow model")
    options = parser.parse_args(arguments)
    try:
        summary = score_file(options.request, ModelCache(lambda _: load_folder(options.model)))
    except (ModelInputError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(summary.model_dump_json(indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
