from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml import compare as comparing
from ml import train as training
from ml.artifact import CircuitForecaster
from ml.compare import compare
from ml.errors import ModelInputError
from ml.history import Array
from ml.requests import Comparison, ComparisonRequest, Contender, TrainingRequest, TrainingResult
from ml.train import fit, train
from shared.configuration import CircuitConfig
from shared.domain.comparison import comparison
from shared.domain.values import Pair
from tests.contract.ml.lake import Lake

OLDER, NEWER = date(2025, 10, 20), date(2025, 11, 10)


def until(circuit: CircuitConfig, cutoff: date, **changes: Any) -> CircuitConfig:
    training = circuit.training.model_copy(update={"cutoff_date": cutoff, **changes})
    return circuit.model_copy(update={"training": training})


def request(lake: Lake, circuit: CircuitConfig, **changes: Any) -> TrainingRequest:
    given: dict[str, Any] = {
        "circuit": circuit,
        "table_uri": lake.table_uri,
        "plausible_ranges": lake.ranges,
        "tracking_uri": f"sqlite:///{lake.folder}/dev.db",
        "artifact_root": f"{lake.folder}/artifacts",
        "git_commit_sha": "0a1b2c3",
        "pr_number": "17",
        "pr_author": "ana",
        "command_id": "train",
    }
    return TrainingRequest(**{**given, **changes})


@pytest.fixture(scope="module")
def models(lake: Lake) -> dict[str, CircuitForecaster]:
    one, poor = lake.circuit("P001_C001"), lake.circuit("P001_C001", learning_rate=1.9, ridge_alpha=1e7)
    alone = one.training.data_filters.model_copy(update={"feature_columns": ()})
    return {
        "older": fit(request(lake, until(one, OLDER))).model,
        "newer": fit(request(lake, until(one, NEWER))).model,
        "poor": fit(request(lake, until(poor, OLDER))).model,
        "short": fit(request(lake, until(one, OLDER, forecast_horizon=12))).model,
        "other circuit": fit(request(lake, until(lake.circuit("P001_C002"), OLDER))).model,
        "other target": fit(request(lake, until(one, OLDER, target_column="power", data_filters=alone))).model,
    }


def asked(
    lake: Lake, champion: str | None, cutoff: date = OLDER, candidate: str = "newer", candidate_cutoff: date = NEWER
) -> ComparisonRequest:
    return ComparisonRequest(
        table_uri=lake.table_uri,
        candidate=Contender(version=2, cutoff_date=candidate_cutoff, folder=candidate),
        champion=Contender(version=1, cutoff_date=cutoff, folder=champion) if champion else None,
    )


def compared(models: dict[str, CircuitForecaster], request: ComparisonRequest) -> Comparison:
    return compare(request, lambda contender: models[contender.folder])


def test_both_forecast_from_the_same_hours_after_both_cutoffs_beside_the_naive_forecasts(
    lake: Lake, models: dict[str, CircuitForecaster]
) -> None:
    result = compared(models, asked(lake, "older"))
    assert result.first_origin == datetime(2025, 11, 11, tzinfo=UTC), "the day after the later cutoff"
    assert result.last_origin == datetime(2025, 12, 9, tzinfo=UTC), "its forecast ends in the table"
    assert result.candidate and result.champion and result.persistence_mae and result.seasonal_naive_mae
    for errors in (result.candidate, result.champion):
        assert errors.mae < min(result.persistence_mae, result.seasonal_naive_mae) and errors.skill > 0
        assert errors.coverage is not None and 0.8 < errors.coverage < 1
    assert (result.candidate_version, result.champion_version, result.horizon) == (2, 1, 24)
    assert result.delta_version == lake.delta_version
    swapped = compared(models, asked(lake, "newer", NEWER, candidate="older", candidate_cutoff=OLDER))
    assert (swapped.first_origin, swapped.candidate, swapped.champion) == (
        result.first_origin, result.champion, result.candidate,
    )  # fmt: skip


def test_a_clear_difference_is_told_from_an_accident(lake: Lake, models: dict[str, CircuitForecaster]) -> None:
    better = compared(models, asked(lake, "poor"))
    assert better.verdict == "better" and better.difference and better.difference[1] < 0
    assert better.better_days > 0.8 * better.days
    worse = compared(models, asked(lake, "newer", NEWER, candidate="poor", candidate_cutoff=OLDER))
    assert worse.verdict == "worse" and worse.better_days == better.days - better.better_days
    same = compared(models, asked(lake, "newer", NEWER))
    assert same.verdict == "no clear difference" and same.difference == (0, 0)


def test_models_with_different_horizons_meet_on_the_steps_both_have(
    lake: Lake, models: dict[str, CircuitForecaster]
) -> None:
    result = compared(models, asked(lake, "short"))
    assert result.horizon == 12 and result.verdict != "not comparable"


@pytest.mark.parametrize(
    ("champion", "cutoff", "reason"),
    [
        (None, OLDER, "nothing serves yet"),
        ("older", date(2025, 12, 4), r"4\.0 days of readings after 2025-12-04, the later cutoff; 7 are needed"),
        ("older", date(2026, 6, 1), "has no readings from 2026-05-26"),
        ("other target", OLDER, "the candidate forecasts target temperature, the champion power"),
    ],
)
def test_what_cannot_be_compared_says_so_and_why(
    lake: Lake, models: dict[str, CircuitForecaster], champion: str | None, cutoff: date, reason: str
) -> None:
    result = compared(models, asked(lake, champion, cutoff))
    assert result.verdict == "not comparable"
    assert result.candidate is None and result.champion is None and result.difference is None
    assert re.search(reason, result.reason)
    assert result.tags()["comparison"] == f"not comparable: {result.reason}"


def test_models_of_two_circuits_are_refused(lake: Lake, models: dict[str, CircuitForecaster]) -> None:
    with pytest.raises(ModelInputError, match="the candidate is P001_C001's, the champion P001_C002's"):
        compared(models, asked(lake, "other circuit"))


def test_a_model_without_finite_forecasts_is_worse(lake: Lake, models: dict[str, CircuitForecaster]) -> None:
    class Diverged(CircuitForecaster):
        def predict(self, X: Array) -> Array:
            return np.full((len(X), 24), np.nan)

    model = models["newer"]
    diverged = Diverged(model.circuit, model.sensor_id, model.forecaster, model.plausible, model.offsets)
    result = compared({**models, "diverged": diverged}, asked(lake, "older", candidate="diverged"))
    assert result.verdict == "worse" and "forecasts of the candidate are not finite numbers" in result.reason


def test_training_compares_the_new_model_with_the_champion_it_is_told(lake: Lake) -> None:
    circuit = lake.circuit("P002_C003")
    first = train(request(lake, until(circuit, OLDER), command_id="champion"))
    champion = Contender(version=first.model_version, cutoff_date=OLDER, folder=str(lake.model_folder(first)))
    second = train(request(lake, until(circuit, NEWER), command_id="candidate", champion=champion))
    assert "comparison" not in first.tags
    assert second.tags["comparison"] in ("better", "worse", "no clear difference")
    assert second.tags["comparison_champion_version"] == str(first.model_version)
    assert second.tags["comparison_holdout"] == "2025-11-11/2025-12-09"
    logged = json.loads(Path(lake.store.download_artifacts(second.run_id, "comparison.json")).read_text())
    shown = comparison(second.tags, Pair(model=first.model_version, environment="1.0.0"))
    assert shown["verdict"] == logged["verdict"] and shown["holdout"] == "2025-11-11/2025-12-09"
    for model in ("candidate", "champion"):
        assert shown[model] == pytest.approx({name: value for name, value in logged[model].items()}, rel=1e-5)
    assert shown["naive"]["mae"] == pytest.approx(
        min(logged["persistence_mae"], logged["seasonal_naive_mae"]), rel=1e-5
    )


def test_a_champion_that_cannot_be_loaded_does_not_keep_the_new_model_from_being_trained(
    lake: Lake, tmp_path: Path
) -> None:
    gone = Contender(version=4, cutoff_date=OLDER, folder=str(tmp_path))
    trained = train(request(lake, lake.circuit("P002_C002"), command_id="champion gone", champion=gone))
    assert trained.tags["comparison"].startswith("not comparable: the champion cannot be loaded here (WrongInput")
    assert trained.tags["comparison_champion_version"] == "4"


def test_the_picture_of_the_backtest_is_found_at_the_address_of_its_tag(lake: Lake) -> None:
    trained = train(request(lake, lake.circuit("P002_C001"), command_id="with a picture"))
    picture = Path(trained.tags["plot_backtest"].removeprefix("file://"))
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_command_prints_the_comparison_or_says_what_is_wrong(
    lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result: TrainingResult = train(request(lake, lake.circuit("P002_C004"), command_id="compared"))
    contender = Contender(version=1, cutoff_date=date(2025, 12, 9), folder=str(lake.model_folder(result)))
    file = tmp_path / "request.json"
    both = ComparisonRequest(table_uri=lake.table_uri, candidate=contender, champion=contender)
    file.write_text(both.model_dump_json())
    assert comparing.main([str(file)]) == 0
    printed = Comparison.model_validate_json(capsys.readouterr().out)
    assert printed.verdict == "not comparable" and "0.0 days of readings after 2025-12-09" in printed.reason
    file.write_text(
        both.model_copy(update={"candidate": contender.model_copy(update={"folder": "/none"})}).model_dump_json()
    )
    assert comparing.main([str(file)]) == 1
    assert "/none holds no MLflow model" in capsys.readouterr().err


def test_a_job_finds_the_champion_where_its_machine_has_it(lake: Lake, tmp_path: Path) -> None:
    first = train(request(lake, until(lake.circuit("P002_C004"), OLDER), command_id="champion elsewhere"))
    champion = Contender(version=first.model_version, cutoff_date=OLDER, folder="")
    asked_for = request(lake, until(lake.circuit("P002_C004"), NEWER), command_id="mounted", champion=champion)
    file, result = tmp_path / "request.json", tmp_path / "result.json"
    file.write_text(asked_for.model_dump_json())
    arguments = [str(file), "--result", str(result), "--champion", str(lake.model_folder(first))]
    assert training.main(arguments) == 0
    assert json.loads(result.read_text())["tags"]["comparison"] in ("better", "worse", "no clear difference")
    file.write_text(asked_for.model_copy(update={"champion": None, "command_id": "nobody"}).model_dump_json())
    assert training.main(arguments) == 1
