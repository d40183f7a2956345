"""Monitoring runs over a real Delta table and published forecasts: what they answer, and what cannot stop them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from ml.monitor import main, monitor
from ml.monitor_messages import (
    RESULTS,
    CircuitFinding,
    Kind,
    LiveModel,
    MonitoredCircuit,
    MonitoringRequest,
    MonitoringResult,
    Scope,
    Verdict,
)
from ml.predictions import published_below, write_predictions
from shared.configuration import CircuitConfig, Fleet, load_fleet
from tests.unit.ml.readings import fleet as wandering

CONFIG = Path(__file__).parents[3] / "config"
START = datetime(2025, 1, 6, tzinfo=UTC)
DAYS, SPAN = 240, 30
CUTOFF = START.date() + timedelta(days=DAYS - 1)
FIRST, LAST = CUTOFF + timedelta(days=1), CUTOFF + timedelta(days=SPAN)


@dataclass(frozen=True)
class World:
    """A table of the configured fleet in which nothing changes; values are (hours,) by circuit and column."""

    fleet: Fleet
    folder: Path
    values: dict[str, dict[str, np.ndarray]]

    @property
    def table_uri(self) -> str:
        return str(self.folder / "sensor_data")

    @property
    def predictions_uri(self) -> str:
        return str(self.folder / "predictions")

    def write_table(self, keep: Callable[[str], bool] = lambda circuit: True) -> None:
        frames = []
        for circuit in self.fleet:
            if keep(circuit.key):
                hours = len(next(iter(self.values[circuit.key].values())))
                moments = pl.datetime_range(
                    START, START + timedelta(hours=hours - 1), "1h", time_unit="us", time_zone="UTC", eager=True
                )
                frame = pl.DataFrame({"timestamp": moments, **self.values[circuit.key]})
                frames.append(frame.with_columns(sensor_id=pl.lit(circuit.sensor_id), date=moments.dt.date()))
        table = pl.concat(frames, how="diagonal").sort("timestamp")
        write_deltalake(self.table_uri, table, partition_by=["date"], mode="overwrite", schema_mode="overwrite")

    def publish(self, circuit: CircuitConfig, error: Callable[[date], float], version: Callable[[date], int]) -> None:
        """A forecast for each day of the window: what will be measured, and the error."""
        target = self.values[circuit.key][circuit.target_column]
        for number in range(SPAN - 1):
            day = FIRST + timedelta(days=number)
            origin = datetime(day.year, day.month, day.day, tzinfo=UTC)
            at = (origin - START) // timedelta(hours=1)
            forecast = target[at + 1 : at + 25] + error(day)
            rows = len(forecast)
            predictions = pa.table(
                {
                    "circuit": [circuit.key] * rows,
                    "sensor_id": [circuit.sensor_id] * rows,
                    "origin": [origin] * rows,
                    "timestamp": [origin + timedelta(hours=step) for step in range(1, rows + 1)],
                    "step": list(range(1, rows + 1)),
                    "forecast": forecast,
                    "lower": forecast - 1,
                    "upper": forecast + 1,
                    "model_version": [version(day)] * rows,
                    "environment_version": ["1.0.0"] * rows,
                    "delta_version": [0] * rows,
                    "command_id": ["score"] * rows,
                }
            )
            uri = published_below(self.predictions_uri, circuit.plant_id, circuit.circuit_id, day)
            write_predictions(uri, predictions)

    def request(
        self, kind: Kind, live: dict[str, LiveModel | None] | None = None, **changed: object
    ) -> MonitoringRequest:
        models = {circuit.key: live_model() for circuit in self.fleet} | (live or {})
        last = LAST if kind is not Kind.WARNING else FIRST + timedelta(days=13)
        request = MonitoringRequest(
            kind=kind,
            first_day=FIRST,
            last_day=last,
            circuits=tuple(MonitoredCircuit(circuit=circuit, live=models[circuit.key]) for circuit in self.fleet),
            table_uri=self.table_uri,
            predictions_uri=self.predictions_uri,
            command_id="monitor-1",
        )
        return request.model_copy(update=changed)


def live_model(**tags: str) -> LiveModel:
    standard = {"target_sd": "3.5", "mae": "0.1", "rmse": "0.15", "naive_mae": "0.5"}
    return LiveModel(version=3, cutoff_date=CUTOFF, tags=standard | tags)


@pytest.fixture
def world(tmp_path: Path) -> World:
    fleet = load_fleet(CONFIG)
    values: dict[str, dict[str, np.ndarray]] = {}
    for number, circuit in enumerate(fleet):
        one = wandering(circuits=1, days=DAYS, span=SPAN, seed=number)[0]
        rows = np.concatenate([one.reference, one.window], axis=1)
        values[circuit.key] = dict(zip((circuit.target_column, *circuit.feature_columns), rows, strict=False))
    return World(fleet, tmp_path, values)


def verdicts(result: MonitoringResult) -> dict[str, Verdict]:
    return {finding.circuit: finding.verdict for finding in result.findings}


def test_a_quarters_run_finds_the_broken_sensor_and_says_of_every_other_circuit_that_it_is_steady(
    world: World, tmp_path: Path
) -> None:
    broken = world.fleet.circuit("P002_C003")
    column = broken.feature_columns[0]
    world.values[broken.key][column][DAYS * 24 :] -= 2.5 * world.values[broken.key][column][: DAYS * 24].std()
    world.write_table()
    result = monitor(world.request(Kind.DRIFT), str(tmp_path / "out"))
    assert {key for key, verdict in verdicts(result).items() if verdict is not Verdict.STEADY} == {broken.key}
    found = result.of(broken.key)
    assert found.verdict is Verdict.DRIFTED and found.scope is Scope.CIRCUIT
    assert [one.column for one in found.columns if one.verdict is Verdict.DRIFTED] == [column]
    assert f"{column} lies" in found.breaches[0] and "lower" in found.breaches[0]
    assert MonitoringResult.model_validate_json((tmp_path / "out" / RESULTS).read_bytes()) == result
    assert (tmp_path / "out" / found.report).is_file() and (tmp_path / "out" / result.fleet_report).is_file()


def test_a_season_that_moves_a_whole_plant_is_told_from_one_circuit(world: World, tmp_path: Path) -> None:
    for circuit in world.fleet:
        if circuit.plant_id == "P003":
            for values in world.values[circuit.key].values():
                values[DAYS * 24 :] += 14
    world.write_table()
    result = monitor(world.request(Kind.DRIFT), str(tmp_path / "out"))
    moved = [finding for finding in result.findings if finding.verdict is Verdict.DRIFTED]
    assert moved and {finding.plant_id for finding in moved} == {"P003"}
    assert {change.plant_id for change in result.common_changes} == {"P003"}
    assert {finding.scope for finding in moved} == {Scope.PLANT}


def test_a_warning_run_judges_the_two_weeks_of_its_period(world: World, tmp_path: Path) -> None:
    key = "P001_C002"
    column = world.fleet.circuit(key).target_column
    world.values[key][column][DAYS * 24 :] += 4 * world.values[key][column][: DAYS * 24].std()
    world.write_table()
    result = monitor(world.request(Kind.WARNING), str(tmp_path / "out"))
    assert {key for key, verdict in verdicts(result).items() if verdict is not Verdict.STEADY} == {key}
    assert result.of(key).verdict is Verdict.WARNING


def test_bad_input_of_one_circuit_is_a_reason_and_stops_no_other(world: World, tmp_path: Path) -> None:
    cases = {
        "P001_C001": "no live model",
        "P001_C002": "was trained on readings up to",
        "P001_C003": "no readings|too little reference|plausible",
        "P001_C004": "its units seem to have changed (degF instead of degC)",
    }
    target = world.fleet.circuit("P001_C004").target_column
    values = world.values["P001_C004"][target]
    values[DAYS * 24 :] = values[DAYS * 24 :] * 1.8 + 32
    world.write_table(keep=lambda key: key != "P001_C003")
    late = LiveModel(version=4, cutoff_date=FIRST + timedelta(days=3))
    ranges = {target: (50.0, 150.0)}  # what is in degF now is not plausible, and known all the same
    request = world.request(Kind.DRIFT, {"P001_C001": None, "P001_C002": late}, plausible_ranges=ranges)
    result = monitor(request, str(tmp_path / "out"))
    for key, reason in cases.items():
        found = result.of(key)
        assert found.verdict is Verdict.CANNOT_SAY
        assert re.search(reason if "|" in reason else re.escape(reason), found.reason), (key, found.reason)
    others = {key: verdict for key, verdict in verdicts(result).items() if key not in cases}
    assert len(others) == 8 and set(others.values()) == {Verdict.STEADY}


def test_a_sensor_that_is_stuck_is_no_drift_and_its_other_columns_are_judged(world: World, tmp_path: Path) -> None:
    key = "P001_C002"
    circuit = world.fleet.circuit(key)
    world.values[key][circuit.target_column][DAYS * 24 :] = 70.0
    world.write_table()
    found = monitor(world.request(Kind.DRIFT), str(tmp_path / "out")).of(key)
    stuck = next(column for column in found.columns if column.column == circuit.target_column)
    assert stuck.verdict is Verdict.CANNOT_SAY
    assert "one and the same value (70) in the whole window" in stuck.reason
    other = next(column for column in found.columns if column.column == circuit.feature_columns[0])
    assert other.verdict is Verdict.STEADY


def test_a_circuit_that_is_not_judged_has_no_finding_and_no_page(world: World, tmp_path: Path) -> None:
    world.write_table()
    request = world.request(Kind.DRIFT)
    circuits = tuple(one.model_copy(update={"judged": one.circuit.plant_id == "P002"}) for one in request.circuits)
    result = monitor(request.model_copy(update={"circuits": circuits}), str(tmp_path / "out"))
    assert {finding.plant_id for finding in result.findings} == {"P002"} and len(result.findings) == 4
    assert len(list((tmp_path / "out").glob("*/circuit.html"))) == 4


def performance(world: World, tmp_path: Path, error: float, **tags: str) -> CircuitFinding:
    circuit = world.fleet.circuit("P001_C001")
    world.write_table()
    world.publish(circuit, lambda day: error * (1 + 0.1 * np.sin(day.toordinal())), lambda day: 3)
    request = world.request(Kind.PERFORMANCE, {circuit.key: live_model(**tags)})
    return monitor(request, str(tmp_path / "out")).of(circuit.key)


def test_a_month_of_good_forecasts_is_ok_and_its_numbers_are_those_of_the_errors(world: World, tmp_path: Path) -> None:
    found = performance(world, tmp_path, error=0.35)
    assert (found.verdict, found.reason) == (Verdict.OK, "")
    measured = found.performance
    assert measured is not None
    assert measured.mae == pytest.approx(0.35 / 3.5, rel=0.05)
    assert measured.coverage == 1.0 and measured.days == SPAN - 1 and measured.hours == (SPAN - 1) * 24
    assert measured.mape == pytest.approx(0.35 / 100, rel=0.2)
    assert measured.skill is not None and measured.skill > 0.5
    assert measured.r2 is not None and measured.r2 > 0.9


def test_errors_beyond_the_limits_and_the_backtest_are_critical_and_say_so(world: World, tmp_path: Path) -> None:
    found = performance(world, tmp_path, error=2.0)
    assert found.verdict is Verdict.CRITICAL
    assert any("above its critical limit 0.25" in breach for breach in found.breaches)
    assert any("worse than the backtest's 0.1" in breach for breach in found.breaches)


def test_a_model_that_is_no_worse_than_when_it_was_approved_does_not_alarm(world: World, tmp_path: Path) -> None:
    found = performance(world, tmp_path, error=2.0, mae="0.58", rmse="0.6")
    assert found.verdict is Verdict.OK
    assert found.breaches and all("no worse than the backtest's 0.58" in breach for breach in found.breaches)


def test_what_cannot_be_said_of_a_month_is_said(world: World, tmp_path: Path) -> None:
    world.write_table()
    keys = [circuit.key for circuit in world.fleet]
    world.publish(world.fleet.circuit(keys[2]), lambda day: 0.3, lambda day: 3)
    world.publish(world.fleet.circuit(keys[3]), lambda day: 0.3, lambda day: 2 if day < LAST - timedelta(days=4) else 3)
    damaged = world.fleet.circuit(keys[4])
    path = Path(published_below(world.predictions_uri, damaged.plant_id, damaged.circuit_id, FIRST))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a forecast")
    live = {keys[0]: None, keys[2]: live_model().model_copy(update={"tags": {}})}
    result = monitor(world.request(Kind.PERFORMANCE, live), str(tmp_path / "out"))
    assert set(verdicts(result).values()) == {Verdict.CANNOT_SAY}
    reasons = [result.of(key).reason for key in keys[:5]]
    assert reasons[0] == "no live model: nothing serves this circuit"
    assert reasons[1].startswith("no forecast was published in the period")
    assert reasons[2].startswith("model 3 has no usable tag target_sd")
    assert reasons[3].startswith("4 days of forecasts of model 3 have their actuals, 7 are needed")
    assert reasons[4].startswith("no forecast was published in the period")


def test_no_actuals_yet_is_said_where_forecasts_reach_beyond_the_readings(world: World, tmp_path: Path) -> None:
    circuit = world.fleet.circuit("P001_C001")
    world.publish(circuit, lambda day: 0.3, lambda day: 3)
    world.values[circuit.key] = {name: values[: DAYS * 24] for name, values in world.values[circuit.key].items()}
    world.write_table()
    found = monitor(world.request(Kind.PERFORMANCE), str(tmp_path / "out")).of(circuit.key)
    assert (found.verdict, found.reason.partition(":")[0]) == (Verdict.CANNOT_SAY, "no actuals yet")


def test_pages_escape_what_comes_from_outside_and_need_nothing_from_elsewhere(world: World, tmp_path: Path) -> None:
    world.write_table()
    request = world.request(Kind.DRIFT)
    named = request.circuits[0].circuit.model_copy(update={"name": "<script>alert(1)</script>"})
    circuits = (request.circuits[0].model_copy(update={"circuit": named}), *request.circuits[1:])
    monitor(request.model_copy(update={"circuits": circuits}), str(tmp_path / "out"))
    for page in (tmp_path / "out").rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "<script" not in text
        assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", text)
        assert "@import" not in text and "url(" not in text


def test_the_command_line_writes_the_answer_and_names_what_stops_it(world: World, tmp_path: Path) -> None:
    world.write_table()
    request = tmp_path / "request.json"
    request.write_text(world.request(Kind.DRIFT).model_dump_json(), encoding="utf-8")
    asked = [sys.executable, "-m", "ml.monitor", "--request", str(request), "--output", str(tmp_path / "out")]
    done = subprocess.run(asked, capture_output=True, text=True, cwd=Path(__file__).parents[3], check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "12 steady"), done.stderr
    assert len(json.loads((tmp_path / "out" / RESULTS).read_text())["findings"]) == 12


def test_another_table_than_was_asked_about_is_refused(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.write_table()
    request = tmp_path / "request.json"
    other = world.request(Kind.DRIFT, table_id="another")
    request.write_text(other.model_dump_json(), encoding="utf-8")
    assert main(["--request", str(request), "--output", str(tmp_path / "out")]) == 1
    assert str(DeltaTable(world.table_uri).metadata().id) in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
