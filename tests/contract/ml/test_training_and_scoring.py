from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import mlflow.models
import polars as pl
import pytest
from deltalake import DeltaTable

from etl.run import run_etl
from local.readings import write_readings
from ml import score as scoring
from ml.artifact import CircuitForecaster, ModelCache, load_folder
from ml.errors import IncompleteInput, ModelInputError, StaleInput, WrongInput
from ml.features import LOOKBACK_HOURS
from ml.history import CARRIED_HOURS, open_version, scan
from ml.predictions import ForecastLimits, attempt_uri, check_predictions, read_predictions
from ml.requests import ScoringRequest, TrainingRequest, TrainingResult
from ml.score import score
from ml.train import fit, train
from shared.configuration import CircuitConfig
from tests.contract.ml.lake import ORIGIN, Lake

ROOT = Path(__file__).parents[3]


def training(lake: Lake, circuit: CircuitConfig, **changes: Any) -> TrainingRequest:
    return TrainingRequest(
        **{
            "circuit": circuit,
            "table_uri": lake.table_uri,
            "plausible_ranges": lake.ranges,
            "tracking_uri": f"sqlite:///{lake.folder}/dev.db",
            "artifact_root": f"{lake.folder}/artifacts",
            "git_commit_sha": "0a1b2c3",
            "pr_number": "17",
            "pr_author": "ana",
            "command_id": f"train-{circuit.key}-1",
        }
        | changes
    )


def limits(request: ScoringRequest, result: TrainingResult) -> ForecastLimits:
    return ForecastLimits(
        circuit=request.circuit,
        origin=request.forecast_origin,
        horizon=request.horizon,
        model_version=request.model_version,
        command_id=request.command_id,
        target_min=float(result.tags["target_min"]),
        target_max=float(result.tags["target_max"]),
        target_sd=float(result.tags["target_sd"]),
    )


@pytest.fixture(scope="session")
def trained(lake: Lake) -> TrainingResult:
    return train(training(lake, lake.circuit("P001_C001")))


@pytest.fixture(scope="session")
def model(lake: Lake, trained: TrainingResult) -> CircuitForecaster:
    return load_folder(lake.model_folder(trained))


def scoring_request(lake: Lake, **changes: Any) -> ScoringRequest:
    command_id = str(changes.get("command_id", "P001_C001|score|2025-12-10"))
    return ScoringRequest(
        **{
            "circuit": "P001_C001",
            "plant_id": "P001",
            "circuit_id": "C001",
            "forecast_origin": ORIGIN,
            "table_uri": lake.table_uri,
            "table_id": lake.table_id,
            "delta_version": lake.delta_version,
            "command_id": command_id,
            "output_uri": attempt_uri(str(lake.folder), "P001", "C001", ORIGIN.date(), command_id),
            "model_version": 1,
            "environment_version": "1.0.0",
            "horizon": 24,
        }
        | changes
    )


def test_a_model_is_registered_with_every_tag_and_beats_the_naive_forecasts(
    lake: Lake, trained: TrainingResult
) -> None:
    client = lake.store
    version = client.get_model_version("sensor_model_P001_C001", "1")
    assert version.tags == trained.tags
    assert set(version.tags) >= {
        "plant_id", "circuit_id", "pr_number", "pr_author", "cutoff_date", "data_asset_version",
        "hyperparameters_hash", "git_commit_sha", "environment_version", "mae", "rmse", "r2", "trained_at",
        "command_id", "naive_mae", "skill", "target_min", "target_max", "target_sd", "delta_version", "table_id",
        "target_column", "forecast_horizon", "model_hash", "interval_coverage",
    }  # fmt: skip
    assert json.loads(version.tags["training_settings"])["hyperparameters"]["learning_rate"] == 0.2
    assert json.loads(version.tags["backtest_steps"])["step"] == list(range(1, 25))
    assert max(map(len, version.tags.values())) < 1_000, "more does not fit a tag everywhere"
    assert version.tags["cutoff_date"] == version.tags["data_asset_version"] == "2025-12-09"
    assert (version.tags["table_id"], version.tags["delta_version"]) == (lake.table_id, str(lake.delta_version))
    assert float(version.tags["skill"]) > 0.2 and version.tags["beats_naive"] == "true"
    run = client.get_run(str(version.run_id))
    assert client.get_experiment(run.info.experiment_id).name == "plant_P001_circuit_C001"
    assert run.data.metrics["mae"] == pytest.approx(float(version.tags["mae"]), rel=1e-5)
    assert run.data.metrics["mae"] < min(run.data.metrics["persistence_mae"], run.data.metrics["seasonal_naive_mae"])
    assert run.data.params["learning_rate"] == "0.2"


def test_a_run_keeps_its_backtest_as_tables_and_a_picture_and_the_model_says_what_it_takes(
    lake: Lake, trained: TrainingResult
) -> None:
    folder = Path(lake.store.download_artifacts(trained.run_id, "backtest"))
    folds, steps = pl.read_csv(folder / "folds.csv"), pl.read_csv(folder / "steps.csv")
    assert folds["trained_before"].is_sorted() and folds.height == 3
    assert folds["origins"].sum() == trained.metrics["origins"]
    assert (folds["mae"] < folds["persistence_mae"]).all() and steps["step"].to_list() == list(range(1, 25))
    assert (folder / "backtest.png").read_bytes().startswith(b"\x89PNG")
    described = mlflow.models.get_model_info(str(lake.model_folder(trained)))
    features = load_folder(lake.model_folder(trained)).spec.names
    assert described.signature.inputs.inputs[0].shape == (-1, len(features))
    assert described.signature.outputs.inputs[0].shape == (-1, 24)
    assert described.saved_input_example_info is not None


def test_the_same_readings_and_seed_give_the_same_model_whichever_process_trains_it(
    lake: Lake, trained: TrainingResult, model: CircuitForecaster, tmp_path: Path
) -> None:
    request = training(
        lake, lake.circuit("P001_C001"), command_id="elsewhere", tracking_uri=f"sqlite:///{tmp_path}/a.db"
    )
    file = tmp_path / "request.json"
    file.write_text(request.model_dump_json())
    command = [sys.executable, "-m", "ml.train", str(file), "--result", str(tmp_path / "result.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    elsewhere = TrainingResult.model_validate_json((tmp_path / "result.json").read_bytes())
    assert elsewhere.tags["model_hash"] == trained.tags["model_hash"] == model.digest()
    assert fit(training(lake, lake.circuit("P001_C001"), seed=1)).model.digest() != model.digest()
    assert fit(training(lake, lake.circuit("P001_C001", ridge_alpha=11.0))).model.digest() != model.digest()


def test_the_same_command_never_registers_twice(lake: Lake, trained: TrainingResult) -> None:
    again = train(training(lake, lake.circuit("P001_C001")))
    assert again.already_registered
    assert (again.model_version, again.run_id, again.tags) == (trained.model_version, trained.run_id, trained.tags)
    versions = lake.store.search_model_versions(
        "name = 'sensor_model_P001_C001' and tags.command_id = 'train-P001_C001-1'"
    )
    assert len(versions) == 1


def test_every_circuit_of_the_fleet_beats_the_naive_forecasts_and_meets_its_thresholds(lake: Lake) -> None:
    for circuit in lake.fleet:
        evaluation = fit(training(lake, circuit)).evaluation
        assert evaluation.beats_naive, circuit.key
        assert evaluation.mae < circuit.monitoring.mae.critical, circuit.key
        assert evaluation.rmse < circuit.monitoring.rmse.critical, circuit.key
        assert 0.8 < evaluation.coverage <= 1, circuit.key


def test_readings_after_the_cutoff_do_not_train(lake: Lake) -> None:
    circuit = lake.circuit("P001_C001")
    early = circuit.model_copy(
        update={"training": circuit.training.model_copy(update={"cutoff_date": date(2025, 10, 31)})}
    )
    fitted = fit(training(lake, early))
    assert fitted.last == datetime(2025, 10, 31, 23, tzinfo=UTC)
    assert fitted.training_rows < fit(training(lake, circuit)).training_rows


@pytest.mark.parametrize(
    ("cutoff", "column", "expected"),
    [
        (date(2025, 7, 5), "temperature", "hours of history .* are too few"),
        (date(2025, 5, 1), "temperature", "has no readings to 2025-05-01"),
        (date(2025, 12, 9), "speed", "the table has no column speed"),
    ],
)
def test_readings_that_cannot_train_are_named(lake: Lake, cutoff: date, column: str, expected: str) -> None:
    circuit = lake.circuit("P001_C001")
    changed = circuit.training.model_copy(update={"cutoff_date": cutoff, "target_column": column})
    with pytest.raises(IncompleteInput, match=expected):
        fit(training(lake, circuit.model_copy(update={"training": changed})))


def test_a_constant_or_mostly_missing_target_is_refused(lake: Lake, tmp_path: Path) -> None:
    hours = pl.datetime_range(ORIGIN - timedelta(days=90), ORIGIN, "1h", time_zone="UTC", eager=True)
    circuit = lake.circuit("P001_C001")
    frame = pl.DataFrame({"timestamp": hours, "sensor_id": circuit.sensor_id, "temperature": 20.0, "power": 1.0})
    for name, rows, expected in (
        ("constant", frame, "temperature is constant"),
        (
            "missing",
            frame.with_columns(temperature=pl.when(pl.int_range(pl.len()) % 9 == 0).then(20.0)),
            "only 4\\d% of",
        ),
    ):
        (tmp_path / name).mkdir()
        rows.write_parquet(tmp_path / name / "a.parquet")
        run_etl(tmp_path / name, f"{tmp_path}/{name}_table", "r", lake.fleet.policy, lake.fleet)
        with pytest.raises(IncompleteInput, match=expected):
            fit(training(lake, circuit, table_uri=f"{tmp_path}/{name}_table"))


def test_a_forecast_is_written_with_its_lineage_and_can_be_used(
    lake: Lake, trained: TrainingResult, model: CircuitForecaster
) -> None:
    request = scoring_request(lake)
    summary = score(request, lambda _: model)
    predictions = read_predictions(request.output_uri)
    assert check_predictions(predictions, limits(request, trained)) == []
    rows = predictions.to_pylist()
    assert [row["step"] for row in rows] == list(range(1, 25))
    assert rows[0]["timestamp"] == ORIGIN + timedelta(hours=1)
    assert rows[-1]["timestamp"] == ORIGIN + timedelta(hours=24)
    assert {row["sensor_id"] for row in rows} == {"SENSOR_P001_C001"}
    assert {row["delta_version"] for row in rows} == {lake.delta_version}
    assert summary.rows == 24 and summary.newest_reading == ORIGIN


def test_the_same_request_again_writes_the_same_bytes(lake: Lake, model: CircuitForecaster) -> None:
    request = scoring_request(lake, command_id="again")
    score(request, lambda _: model)
    first = Path(request.output_uri).read_bytes()
    score(request, lambda _: model)
    assert Path(request.output_uri).read_bytes() == first
    assert [path.name for path in Path(request.output_uri).parent.iterdir() if path.name.startswith(".")] == []


def test_scoring_reads_a_week_of_its_own_sensor_and_opens_no_other_day(
    lake: Lake, model: CircuitForecaster, tmp_path: Path
) -> None:
    table_uri = shutil.copytree(lake.table_uri, tmp_path / "table")
    needed = {f"date={ORIGIN.date() - timedelta(days=days)}" for days in range(9)}
    for partition in table_uri.glob("date=*"):
        if partition.name not in needed:
            shutil.rmtree(partition)
    request = scoring_request(lake, table_uri=str(table_uri), command_id="week")
    assert 150 < score(request, lambda _: model).rows_read <= LOOKBACK_HOURS + CARRIED_HOURS + 1
    plan = scan(open_version(str(table_uri), None), model.sensor_id, ["temperature"], None, ORIGIN).explain()
    assert f'col("sensor_id") == "{model.sensor_id}"' in plan.split("SELECTION:")[1], "the file readers get the filter"


def test_an_interval_ends_where_the_sensor_can_measure_no_more(lake: Lake, model: CircuitForecaster) -> None:
    request = scoring_request(lake, command_id="bounded")
    score(request, lambda _: model)
    usual = read_predictions(request.output_uri).to_pandas()
    least = float(usual["lower"].quantile(0.1))  # above some of the bounds, below nearly all that was measured
    bounded = CircuitForecaster(
        model.circuit, model.sensor_id, model.forecaster, {"temperature": (least, 100.0)}, model.offsets
    )
    score(request, lambda _: bounded)
    found = read_predictions(request.output_uri).to_pandas()
    assert (found["forecast"] == usual["forecast"]).all()
    assert (found["upper"] == usual["upper"]).all()
    assert (found["lower"] == usual["lower"].clip(lower=least).clip(upper=usual["forecast"])).all()


def test_a_past_day_is_scored_from_what_was_known_then(lake: Lake, model: CircuitForecaster) -> None:
    origin = datetime(2025, 11, 3, tzinfo=UTC)
    request = scoring_request(lake, forecast_origin=origin, command_id="past")
    assert score(request, lambda _: model).newest_reading == origin
    assert read_predictions(request.output_uri).to_pylist()[0]["timestamp"] == origin + timedelta(hours=1)


def test_a_version_that_was_vacuumed_gives_way_to_the_newest(
    lake: Lake, model: CircuitForecaster, tmp_path: Path
) -> None:
    table_uri = f"{tmp_path}/table"
    landing = tmp_path / "landing"
    write_readings(lake.fleet, landing, ORIGIN - timedelta(days=10), ORIGIN + timedelta(hours=1))
    old = run_etl(landing, table_uri, "r1", lake.fleet.policy, lake.fleet)
    write_readings(lake.fleet, landing, ORIGIN + timedelta(hours=1), ORIGIN + timedelta(hours=2))
    run_etl(landing, table_uri, "r2", lake.fleet.policy, lake.fleet)
    request = scoring_request(
        lake, table_uri=table_uri, table_id=old.table_id, delta_version=old.version, command_id="vacuumed"
    )
    assert score(request, lambda _: model).delta_version == 1
    table = DeltaTable(table_uri)
    table.optimize.compact()
    table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    assert score(request, lambda _: model).delta_version > 2


@pytest.mark.parametrize(
    ("changes", "error", "expected"),
    [
        ({"forecast_origin": ORIGIN + timedelta(hours=2)}, StaleInput, "newest reading .* 2025-12-10T00:00Z"),
        ({"forecast_origin": ORIGIN + timedelta(days=90)}, IncompleteInput, "has no readings from"),
        ({"forecast_origin": datetime(2025, 6, 15, tzinfo=UTC)}, IncompleteInput, "80% are needed"),
        ({"table_id": "another"}, WrongInput, "the table was made anew"),
        ({"delta_version": 99}, StaleInput, "has no version 99 yet"),
        ({"horizon": 12}, WrongInput, "forecasts 24 hours, not 12"),
        ({"circuit_id": "C002"}, WrongInput, "is not P001_C002"),
        ({"circuit": "P001_C002", "circuit_id": "C002"}, WrongInput, "model is P001_C001's"),
    ],
)
def test_input_that_does_not_allow_a_forecast_is_refused_and_nothing_is_written(
    lake: Lake, model: CircuitForecaster, changes: dict[str, Any], error: type[ModelInputError], expected: str
) -> None:
    request = scoring_request(lake, command_id="refused", **changes)
    with pytest.raises(error, match=expected):
        score(request, lambda _: model)
    assert not Path(request.output_uri).exists()


def test_a_diverging_model_is_registered_and_its_forecast_is_found_unusable(lake: Lake) -> None:
    circuit = lake.circuit("P002_C001", learning_rate=25.0)
    result = train(training(lake, circuit))
    assert result.tags["beats_naive"] == "false"
    request = scoring_request(
        lake,
        circuit="P002_C001",
        plant_id="P002",
        command_id="absurd",
        model_version=result.model_version,
    )
    score(request, lambda _: load_folder(lake.model_folder(result)))
    problems = check_predictions(read_predictions(request.output_uri), limits(request, result))
    assert problems and "24 of 24 forecasts" in problems[0]


def test_a_warm_process_loads_a_model_once_and_forgets_the_oldest(lake: Lake, model: CircuitForecaster) -> None:
    loaded: list[int] = []

    def load(reference: Any) -> CircuitForecaster:
        loaded.append(reference.model_version)
        return model

    cache = ModelCache(load, size=2)
    for version in (1, 1, 2, 1, 3, 1, 2):
        cache(scoring_request(lake, model_version=version))
    assert loaded == [1, 2, 3, 2]


def test_a_batch_deployment_scores_request_files_of_its_own_circuit(
    lake: Lake, trained: TrainingResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(lake.model_folder(trained).parent))
    monkeypatch.setenv("PLANT_ID", "P001")
    monkeypatch.setenv("CIRCUIT_ID", "C001")
    request = scoring_request(lake, command_id="batch")
    file = tmp_path / "request.json"
    file.write_text(request.model_dump_json())
    scoring.init()
    (summary,) = scoring.run([str(file)])
    assert json.loads(summary)["output_uri"] == request.output_uri
    assert Path(request.output_uri).is_file()
    monkeypatch.setenv("CIRCUIT_ID", "C002")
    with pytest.raises(WrongInput, match="this deployment is P001_C002's"):
        scoring.run([str(file)])


def test_the_command_scores_without_importing_mlflow_or_says_why_not(
    lake: Lake, trained: TrainingResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "request.json"
    file.write_text(scoring_request(lake, command_id="command").model_dump_json())
    script = "import sys; from ml.score import main; assert main(sys.argv[1:]) == 0; assert 'mlflow' not in sys.modules"
    command = [sys.executable, "-c", script, str(file), "--model", str(lake.model_folder(trained))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 24
    assert scoring.main([str(file), "--model", str(tmp_path)]) == 1
    assert "holds no MLflow model" in capsys.readouterr().err
