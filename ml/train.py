"""Training of one circuit: read its past, fit, judge against the naive forecasts, register with every tag."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":
    from ml.threads import limit_threads

    limit_threads()

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from ml.artifact import CircuitForecaster, load_folder
from ml.backtest import Backtest, StepErrors, backtest
from ml.compare import compare
from ml.errors import IncompleteInput, ModelInputError, WrongInput
from ml.evaluate import Evaluation, NothingToJudge
from ml.features import LOOKBACK_HOURS, FeatureSpec
from ml.history import History, open_version, read_history
from ml.model import ChangeForecaster
from ml.plots import backtest_figure
from ml.requests import Comparison, ComparisonRequest, Contender, TrainingRequest, TrainingResult
from shared.domain.approvals import PLOT, SETTINGS, STEPS

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

MINIMUM_TRAINING_HOURS = 14 * 24
MINIMUM_KNOWN_SHARE = 0.5
STEPS_SHOWN = 24


@dataclass(frozen=True)
class Fit:
    """A forecaster trained on everything up to the cutoff, and how the same one did on days it had not seen."""

    model: CircuitForecaster
    backtest: Backtest
    history: History
    example: np.ndarray
    training_rows: int
    target_min: float
    target_max: float
    target_sd: float
    table_id: str
    delta_version: int

    @property
    def evaluation(self) -> Evaluation:
        return self.backtest.evaluation

    @property
    def first(self) -> datetime:
        return self.history.start

    @property
    def last(self) -> datetime:
        return self.history.newest


def fit(request: TrainingRequest) -> Fit:
    """Read and train, touching no store.

    The last `holdout_days` before the cutoff (at most a quarter of the history) judge models trained on what lies
    before them; then the same model is trained on all of it. Raises ModelInputError when the readings do not allow it.
    """
    circuit, training = request.circuit, request.circuit.training
    spec = FeatureSpec(circuit.target_column, circuit.feature_columns, training.forecast_horizon)
    table = open_version(request.table_uri, request.delta_version)
    cutoff = datetime.combine(training.cutoff_date, time(23), UTC)
    history = read_history(
        table, circuit.sensor_id, spec.columns, first=None, last=cutoff, plausible=request.plausible_ranges
    ).without_end()
    target = history.values[spec.target]
    holdout_hours = min(training.hyperparameters.holdout_days * 24, history.hours // 4)
    _check_enough(circuit.key, history, spec, holdout_hours)

    examples = spec.examples(history)
    forecaster = ChangeForecaster(spec, training.hyperparameters, request.seed)
    with threadpool_limits(limits=1):  # the data are small: more threads, on a shared machine, take ten times as long
        try:
            judged = backtest(history, spec, training.hyperparameters, holdout_hours, request.seed, examples)
        except NothingToJudge:
            raise IncompleteInput(
                f"{circuit.key}: {circuit.sensor_id} has no {spec.target} in the last {holdout_hours // 24} days before"
                f" {history.newest:%Y-%m-%d}, so no model can be judged; move cutoff_date, or look at the sensor"
            ) from None
        forecaster.fit(examples.features, examples.truth)
    plausible = {name: request.plausible_ranges[name] for name in spec.columns if name in request.plausible_ranges}
    return Fit(
        model=CircuitForecaster(circuit.key, circuit.sensor_id, forecaster, plausible, judged.offsets),
        backtest=judged,
        history=history,
        example=examples.features[:5],
        training_rows=len(examples.origins),
        target_min=float(np.nanmin(target)),
        target_max=float(np.nanmax(target)),
        target_sd=float(np.nanstd(target)),
        table_id=str(table.metadata().id),
        delta_version=table.version(),
    )


def _check_enough(circuit: str, history: History, spec: FeatureSpec, holdout_hours: int) -> None:
    needed = LOOKBACK_HOURS + spec.horizon + MINIMUM_TRAINING_HOURS
    if history.hours - holdout_hours < needed or holdout_hours < 2 * spec.horizon:
        raise IncompleteInput(
            f"{circuit}: {history.hours} hours of history ({history.start:%Y-%m-%d} to {history.newest:%Y-%m-%d}) are"
            f" too few, {needed + holdout_hours} are needed; move cutoff_date or wait for more readings"
        )
    target = history.values[spec.target]
    known = float((~np.isnan(target)).mean())
    if known < MINIMUM_KNOWN_SHARE:
        raise IncompleteInput(
            f"{circuit}: only {known:.0%} of the hours have a plausible {spec.target}; check the sensor and its range"
        )
    if np.nanstd(target[: len(target) - holdout_hours]) < 1e-9:
        raise IncompleteInput(f"{circuit}: {spec.target} is constant; a sensor that never moves cannot be forecast")


def train(request: TrainingRequest) -> TrainingResult:
    """Train and register one version of `sensor_model_{circuit}`; the same command id never registers twice.

    Sets mlflow's process-wide store URIs: one process trains for one workspace. Raises ModelInputError.
    """
    import mlflow
    from mlflow import MlflowClient

    registry_uri = request.registry_uri or request.tracking_uri
    client = MlflowClient(request.tracking_uri, registry_uri)
    if registered := _find_registered(client, request):
        return registered
    mlflow.set_tracking_uri(request.tracking_uri)
    mlflow.set_registry_uri(registry_uri)
    fitted = fit(request)
    comparison = _comparison(request, fitted)
    metrics = _metrics(fitted.evaluation)
    tags = _tags(request, fitted) | (comparison.tags() if comparison else {})
    experiment_id = _experiment_id(client, request)
    with mlflow.start_run(experiment_id=experiment_id, run_name=request.command_id, tags=tags) as run:
        mlflow.log_params(_parameters(request, fitted))
        mlflow.log_metrics({name: value for name, value in metrics.items() if np.isfinite(value)})
        tags[f"{PLOT}backtest"] = _log_backtest(request, fitted)
        tags[STEPS] = _steps(fitted.backtest.steps)
        if comparison:
            mlflow.log_dict(comparison.model_dump(mode="json"), "comparison.json")
        source, model_id = _log_model(client, fitted, experiment_id, run.info.run_id)
    registered_version = _register(client, request, source, model_id, run.info.run_id, tags)
    return TrainingResult(
        model_name=request.circuit.model_name,
        model_version=int(registered_version.version),
        run_id=run.info.run_id,
        command_id=request.command_id,
        metrics=metrics,
        tags=tags,
    )


def _comparison(request: TrainingRequest, fitted: Fit) -> Comparison | None:
    """The new model beside the champion, on what the table has after both cutoffs; None if no champion was named."""
    if request.champion is None:
        return None
    try:
        champion = load_folder(request.champion.folder)
    except Exception as error:  # what another environment has pickled can fail in any way when it is read here
        return Comparison(
            verdict="not comparable",
            reason=f"the champion cannot be loaded here ({type(error).__name__}: {error!s:.200})",
            candidate_version=None,
            champion_version=request.champion.version,
        )
    candidate = Contender(cutoff_date=request.circuit.training.cutoff_date, folder="")
    asked = ComparisonRequest(  # on the newest readings: the version that trained it may end with its cutoff
        table_uri=request.table_uri,
        candidate=candidate,
        champion=request.champion,
    )
    with threadpool_limits(limits=1):
        return compare(asked, lambda model: fitted.model if model == candidate else champion)


def _log_backtest(request: TrainingRequest, fitted: Fit) -> str:
    """The backtest as tables of its folds and steps and as a picture among the run's artifacts; the picture's URI."""
    import mlflow

    judged, circuit = fitted.backtest, request.circuit
    mlflow.log_dict(asdict(judged.evaluation), "evaluation.json")
    mlflow.log_text(pl.DataFrame([asdict(fold) for fold in judged.folds]).write_csv(), "backtest/folds.csv")
    mlflow.log_text(pl.DataFrame([asdict(step) for step in judged.steps]).write_csv(), "backtest/steps.csv")
    title = f"{circuit.key} {circuit.name}: skill {judged.evaluation.skill:+.2f} against {judged.evaluation.naive}"
    picture = "backtest/backtest.png"
    mlflow.log_figure(backtest_figure(title, circuit.target_column, judged, fitted.history), picture)
    return str(mlflow.get_artifact_uri(picture))


def _steps(steps: Sequence[StepErrors]) -> str:
    """The errors of each step ahead beside the naive ones, of at most `STEPS_SHOWN` steps, as JSON that fits a tag."""
    shown = steps[:: -(-len(steps) // STEPS_SHOWN)]
    named = {"step": "step", "mae": "mae", "persistence": "persistence_mae", "seasonal": "seasonal_naive_mae"}
    columns = {short: [float(f"{getattr(one, name):.3g}") for one in shown] for short, name in named.items()}
    return json.dumps(columns, separators=(",", ":"))


def _metrics(evaluation: Evaluation) -> dict[str, float]:
    numbers = asdict(evaluation).items()
    return {name: float(value) for name, value in numbers if isinstance(value, int | float)}


def _parameters(request: TrainingRequest, fitted: Fit) -> dict[str, str | int | float]:
    training = request.circuit.training
    return {
        **training.hyperparameters.model_dump(),
        "target_column": training.target_column,
        "feature_columns": ",".join(training.data_filters.feature_columns),
        "forecast_horizon": training.forecast_horizon,
        "cutoff_date": training.cutoff_date.isoformat(),
        "first_reading": fitted.first.isoformat(),
        "last_reading": fitted.last.isoformat(),
        "training_rows": fitted.training_rows,
        "seed": request.seed,
    }


def _tags(request: TrainingRequest, fitted: Fit) -> dict[str, str]:
    circuit, training, evaluation = request.circuit, request.circuit.training, fitted.evaluation
    return {
        "plant_id": circuit.plant_id,
        "circuit_id": circuit.circuit_id,
        "sensor_id": circuit.sensor_id,
        "pr_number": request.pr_number,
        "pr_author": request.pr_author,
        "git_commit_sha": request.git_commit_sha,
        "command_id": request.command_id,
        "cutoff_date": training.cutoff_date.isoformat(),
        "data_asset_version": training.cutoff_date.isoformat(),
        "hyperparameters_hash": training.hyperparameters.digest(),
        SETTINGS: training.model_dump_json(include={"hyperparameters", "data_filters"}),
        "environment_version": training.environment_version,
        "target_column": training.target_column,
        "forecast_horizon": str(training.forecast_horizon),
        "mae": f"{evaluation.mae:.6g}",
        "rmse": f"{evaluation.rmse:.6g}",
        "r2": f"{evaluation.r2:.6g}",
        "naive": evaluation.naive,
        "naive_mae": f"{evaluation.naive_mae:.6g}",
        "skill": f"{evaluation.skill:.6g}",
        "beats_naive": str(evaluation.beats_naive).lower(),
        "interval_coverage": f"{evaluation.coverage:.4g}",
        "model_hash": fitted.model.digest(),
        "target_min": repr(fitted.target_min),
        "target_max": repr(fitted.target_max),
        "target_sd": repr(fitted.target_sd),
        "table_id": fitted.table_id,
        "delta_version": str(fitted.delta_version),
        "trained_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _find_registered(client: MlflowClient, request: TrainingRequest) -> TrainingResult | None:
    name = request.circuit.model_name
    found = client.search_model_versions(f"name = '{name}' and tags.command_id = '{request.command_id}'")
    if not found:
        return None
    first = min(found, key=lambda candidate: int(candidate.version))
    run_id = str(first.run_id)
    return TrainingResult(
        model_name=name,
        model_version=int(first.version),
        run_id=run_id,
        command_id=request.command_id,
        metrics=client.get_run(run_id).data.metrics,
        tags=dict(first.tags),
        already_registered=True,
    )


def _experiment_id(client: MlflowClient, request: TrainingRequest) -> str:
    from mlflow.exceptions import MlflowException

    name = request.circuit.experiment_name
    if (experiment := client.get_experiment_by_name(name)) is None:
        location = f"{request.artifact_root.rstrip('/')}/{name}" if request.artifact_root else None
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException:  # another training of this circuit created it in between
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    return str(experiment.experiment_id)


def _log_model(client: MlflowClient, fitted: Fit, experiment_id: str, run_id: str) -> tuple[str, str]:
    """The model's artifact location and its id in the store."""
    import mlflow.sklearn
    from mlflow.models import infer_signature

    packages = ("scikit-learn", "numpy", "cloudpickle", "polars", "deltalake", "pydantic", "pyyaml")
    with np.errstate(all="ignore"):
        signature = infer_signature(fitted.example, fitted.model.predict(fitted.example))
    # Without pip_requirements mlflow looks for them for 6 s; skops, its default format, does not know our classes.
    logged = mlflow.sklearn.log_model(
        fitted.model,
        name="model",
        serialization_format="cloudpickle",
        pip_requirements=[f"{package}=={version(package)}" for package in packages],
        signature=signature,
        input_example=fitted.example,
    )
    return str(client.get_logged_model(logged.model_id).artifact_location), str(logged.model_id)


def _register(
    client: MlflowClient, request: TrainingRequest, source: str, model_id: str, run_id: str, tags: dict[str, str]
) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    name = request.circuit.model_name
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return client.create_model_version(name, source, run_id, tags=tags, model_id=model_id)


def _placed(request: TrainingRequest, folder: str | None) -> TrainingRequest:
    """The request with its champion in the folder where this machine has it."""
    if folder is None:
        return request
    if request.champion is None:
        raise WrongInput("--champion names a folder, but the request names no champion; leave one or name the other")
    return request.model_copy(update={"champion": request.champion.model_copy(update={"folder": folder})})


def main(arguments: list[str] | None = None) -> int:
    """Command line: train by a request file; prints the result as JSON. Exit code 1 says on stderr what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m ml.train", description=__doc__)
    parser.add_argument("request", type=Path, help="JSON file of a TrainingRequest")
    parser.add_argument("--result", type=Path, help="write the result there too")
    parser.add_argument("--champion", help="folder of the request's champion, where it lies somewhere of its own")
    options = parser.parse_args(arguments)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    try:
        result = train(_placed(TrainingRequest.model_validate_json(options.request.read_bytes()), options.champion))
    except (ModelInputError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    if options.result:
        options.result.write_text(result.model_dump_json(indent=2), encoding="utf-8")
    print(result.model_dump_json(indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
