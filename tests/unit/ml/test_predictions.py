from __future__ import annotations

import math
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ml.predictions import (
    SCHEMA,
    ForecastLimits,
    PredictionsUnreadable,
    attempt_uri,
    check_predictions,
    publish,
    published_uri,
    read_predictions,
    write_predictions,
)

ORIGIN = datetime(2025, 12, 10, tzinfo=UTC)
LIMITS = ForecastLimits("P001_C001", ORIGIN, 4, 3, "cmd", target_min=10, target_max=20, target_sd=2)


def forecast(**columns: Any) -> pa.Table:
    steps = list(range(1, 5))
    values: dict[str, Any] = {
        "circuit": ["P001_C001"] * 4,
        "sensor_id": ["SENSOR_P001_C001"] * 4,
        "origin": [ORIGIN] * 4,
        "timestamp": [ORIGIN + timedelta(hours=step) for step in steps],
        "step": steps,
        "forecast": [15.0] * 4,
        "lower": [14.0] * 4,
        "upper": [16.0] * 4,
        "model_version": [3] * 4,
        "environment_version": ["1.0.0"] * 4,
        "delta_version": [1] * 4,
        "command_id": ["cmd"] * 4,
    }
    return pa.table(values | columns, schema=SCHEMA)


def test_a_sound_forecast_has_no_problems_even_if_it_is_flat() -> None:
    assert check_predictions(forecast(), LIMITS) == []


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (
            {"forecast": [15, 15, 15, 26.1], "upper": [30] * 4},
            "1 of 4 forecasts lie outside the plausible range 4 to 26",
        ),
        ({"forecast": [15, 15, 15, -1e39], "lower": [-1e40] * 4}, "the furthest is -1e+39"),
        ({"forecast": [math.nan] * 4}, "4 of 4 forecasts are not finite"),
        ({"forecast": [None, math.inf, 15, 15]}, "2 of 4 forecasts are not finite"),
        ({"timestamp": [ORIGIN + timedelta(hours=hour) for hour in (1, 2, 4, 5)]}, "not the consecutive hours after"),
        ({"timestamp": [ORIGIN + timedelta(hours=hour) for hour in (0, 1, 2, 3)]}, "not the consecutive hours after"),
        ({"model_version": [3, 3, 2, 3]}, "model_version is 2 instead of 3"),
        ({"command_id": ["other"] * 4}, "command_id is other instead of cmd"),
        ({"circuit": ["P001_C002"] * 4}, "circuit is P001_C002 instead of P001_C001"),
        ({"origin": [ORIGIN - timedelta(days=1)] * 4}, "origin is 2025-12-09"),
        ({"lower": [15.5] * 4}, "do not enclose the forecast"),
    ],
)
def test_each_thing_that_makes_a_forecast_unusable_is_said(columns: dict[str, Any], expected: str) -> None:
    problems = check_predictions(forecast(**columns), LIMITS)
    assert len(problems) == 1
    assert expected in problems[0]


def test_missing_hours_and_an_empty_forecast_are_said() -> None:
    assert "3 rows instead of 4" in check_predictions(forecast().slice(0, 3), LIMITS)[0]
    assert "0 rows instead of 4" in check_predictions(forecast().slice(0, 0), LIMITS)[0]


def test_an_attempt_is_published_and_kept(tmp_path: Path) -> None:
    first = attempt_uri(str(tmp_path), "P001", "C001", ORIGIN.date(), "P001_C001:3|score|1")
    second = attempt_uri(str(tmp_path), "P001", "C001", ORIGIN.date(), "P001_C001:3|score|2")
    day = published_uri(str(tmp_path), "P001", "C001", ORIGIN.date())
    assert day == f"{tmp_path}/predictions/P001/C001/2025-12-10.parquet"
    write_predictions(first, forecast())
    write_predictions(second, forecast(forecast=[15.5] * 4))
    publish(first, day)
    assert read_predictions(day).equals(forecast())
    publish(second, day)
    publish(second, day)
    assert read_predictions(day)["forecast"].to_pylist() == [15.5] * 4
    assert read_predictions(first).equals(forecast())
    assert [path.name for path in Path(day).parent.iterdir() if path.is_file()] == ["2025-12-10.parquet"]


def test_command_ids_that_look_alike_do_not_share_a_file() -> None:
    uris = {attempt_uri("lake", "P001", "C001", date(2025, 12, 10), command) for command in ("a:b", "a|b", "a_b")}
    assert len(uris) == 3
    assert all("attempts/2025-12-10/a_b" in uri for uri in uris)


def test_a_file_that_is_no_forecast_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    with pytest.raises(FileNotFoundError, match=r"x\.parquet"):
        read_predictions(str(path))
    path.write_bytes(b"PAR1")
    with pytest.raises(PredictionsUnreadable, match=r"x\.parquet is not a forecast file"):
        read_predictions(str(path))


def test_predictions_are_light_to_import() -> None:
    heavy = "('sklearn', 'pandas', 'mlflow', 'polars', 'numpy.random', 'deltalake')"
    script = f"import sys, ml.predictions, ml.requests; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
