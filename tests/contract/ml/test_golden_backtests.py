"""The default model on real series, beside persistence and seasonal naive. What it loses, it says it loses."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml.evaluate import Evaluation
from tests.bench.learning import REFERENCE_DATA, real_series

pytestmark = pytest.mark.skipif(
    not REFERENCE_DATA.is_dir(), reason="REFERENCE_DIR/data (public sensor series) is absent"
)

GOLDEN = {  # mean absolute errors in standard deviations of the target: the model's, persistence's, seasonal naive's
    "AirQuality.csv": (0.344, 0.838, 0.450),
    "ETTh1.csv": (0.106, 0.149, 0.156),
    "ambient_temperature_system_failure.csv": (0.338, 0.671, 0.639),
    "machine_temperature_system_failure.csv": (0.944, 0.799, 1.263),  # its holdout is a machine that fails
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Evaluation]:
    judged = real_series(Path(tmp_path_factory.mktemp("real")))
    return {source: one.evaluation for source, one in judged.items()}


@pytest.mark.parametrize("source", GOLDEN)
def test_errors_on_real_series_are_as_they_were(results: dict[str, Evaluation], source: str) -> None:
    model, persistence, seasonal = GOLDEN[source]
    result = results[source]
    assert result.persistence_mae == pytest.approx(persistence, abs=0.001), "the naive ones have nothing to learn"
    assert result.seasonal_naive_mae == pytest.approx(seasonal, abs=0.001)
    assert result.mae == pytest.approx(model, rel=0.05)


def test_a_model_that_does_not_beat_the_naive_forecasts_says_so(results: dict[str, Evaluation]) -> None:
    losing = {source for source, result in results.items() if not result.beats_naive}
    assert losing == {"machine_temperature_system_failure.csv"}
    assert results["machine_temperature_system_failure.csv"].naive == "persistence"


def test_the_percentage_error_is_left_out_where_the_target_comes_near_zero(results: dict[str, Evaluation]) -> None:
    assert results["AirQuality.csv"].mape is None and results["AirQuality.csv"].mase < 1
    assert results["ambient_temperature_system_failure.csv"].mape == pytest.approx(0.02, abs=0.005)


def test_intervals_hold_most_of_what_really_came(results: dict[str, Evaluation]) -> None:
    coverage = [result.coverage for result in results.values()]
    assert min(coverage) > 0.7 and 0.85 < sum(coverage) / len(coverage) < 0.97
