"""The demonstration, played as a new user would: its story, its summary, and its words when something is wrong."""

from __future__ import annotations

import json
import math
import re
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from local.demo import STORY
from local.runtime import shown
from shared.configuration import load_fleet
from tests.e2e.conftest import REFERENCE_DIR, ROOT, Program

MAPPING = ROOT / "docs" / "examples" / "mappings" / "public_series.yml"


class Played:
    """A demonstration that has come to its end."""

    def __init__(self, home: Path, output: str) -> None:
        self.home = home
        self.output = output
        self.summary: dict[str, Any] = json.loads((home / "summary.json").read_text())

    def forecasts(self) -> Iterator[tuple[str, pl.DataFrame]]:
        """Every published file with its circuit, as the path says."""
        for path in self.summary["predictions"]:
            plant, circuit, day = (ROOT / path).parts[-3:]
            assert re.fullmatch(r"\d{4}-\d\d-\d\d\.parquet", day)
            yield f"{plant}_{circuit}", pl.read_parquet(ROOT / path)


def play(home: Path, *arguments: str, seconds: float = 300) -> Played:
    with Program("local.demo", "--home", str(home), *arguments, log=home.with_suffix(".txt")) as program:
        try:
            code = program.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the demonstration did not end in {seconds:g} s; it had said:\n{program.output()}")
        assert code == 0, program.output()
        return Played(home, program.output())


def refused(home: Path, *arguments: str, code: int = 1, **environment: str) -> str:
    """What a demonstration says that does not even begin."""
    with Program("local.demo", "--home", str(home), *arguments, log=home.with_suffix(".txt"), **environment) as program:
        assert program.process.wait(30) == code, program.output()
        assert "Traceback" not in program.output()
        return program.output()


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    return play(tmp_path_factory.mktemp("demo") / "home")


def test_twelve_circuits_come_to_thirteen_releases_of_which_ten_are_live(played: Played) -> None:
    summary, fleet = played.summary, load_fleet(ROOT / "config")
    successor = f"{STORY.superseded}:2"
    ended_otherwise = {STORY.rejected, STORY.unusable}
    assert (summary["circuits"], summary["releases"]) == (12, 13)
    expected = {f"{circuit}:1" for circuit in fleet.circuits if circuit not in {*ended_otherwise, STORY.superseded}}
    assert set(summary["live"]) == expected | {successor} and len(summary["live"]) == 10
    assert summary["rejected"] == [f"{STORY.rejected}:1"]
    assert summary["failed"] == [f"{STORY.unusable}:1"]
    assert summary["superseded"] == [f"{STORY.superseded}:1"]


def test_every_other_end_has_its_reason(played: Played) -> None:
    reasons = played.summary["reasons"]
    assert set(reasons) == {f"{STORY.rejected}:1", f"{STORY.unusable}:1", f"{STORY.superseded}:1"}
    assert reasons[f"{STORY.rejected}:1"].startswith("rejected by erik@plant.example: ")
    assert "24 of 24 forecasts lie outside the plausible range" in reasons[f"{STORY.unusable}:1"]
    assert reasons[f"{STORY.superseded}:1"] == f"superseded by {STORY.superseded}:2"


def test_an_event_delivered_five_times_has_one_effect(played: Played) -> None:
    assert played.summary["duplicate_event"] == {"release": f"{STORY.told_five_times}:1", "delivered": 5, "effects": 1}


def test_the_job_whose_end_nobody_told_is_found_and_is_that_circuits(played: Played) -> None:
    assert played.summary["recovered_release"] == f"{STORY.event_lost}:1"
    assert re.fullmatch(r"batchjob-[0-9a-f-]{36}", played.summary["recovered_job"])


def test_never_more_than_five_trainings_run_at_once_and_five_do(played: Played) -> None:
    assert played.summary["max_parallel_training"] == 5


def test_every_circuit_that_serves_has_a_readable_forecast_of_the_day(played: Played) -> None:
    live = {release.partition(":")[0]: int(release.partition(":")[2]) for release in played.summary["live"]}
    seen = {}
    for circuit, forecast in played.forecasts():
        seen[circuit] = forecast
        assert forecast.height == 24
        assert forecast["model_version"].unique().to_list() == [live[circuit]]
        assert forecast["circuit"].unique().to_list() == [circuit]
        assert forecast["sensor_id"].unique().to_list() == [f"SENSOR_{circuit}"]
        (origin,) = forecast["origin"].unique().to_list()
        assert forecast["timestamp"].sort().to_list() == [origin + timedelta(hours=hour) for hour in range(1, 25)]
        assert abs(datetime.now(UTC) - origin) < timedelta(hours=25)
        assert all(math.isfinite(value) for name in ("forecast", "lower", "upper") for value in forecast[name])
        assert (forecast["lower"] <= forecast["upper"]).all()
        assert forecast["forecast"].n_unique() > 12  # a day has its rhythm
    assert set(seen) == set(live)


def test_every_circuit_has_a_first_quality_verdict(played: Played) -> None:
    assert set(played.summary["quality"]) == set(load_fleet(ROOT / "config").circuits)
    assert all(re.match(r"passed|failed: |cannot say: ", verdict) for verdict in played.summary["quality"].values())


def test_it_says_how_good_each_model_is_beside_the_naive_forecast(played: Played) -> None:
    models = played.summary["models"]
    assert set(models) >= set(played.summary["live"])
    for release in played.summary["live"]:
        assert models[release]["mae"] < models[release]["naive_mae"]
        assert re.search(rf"^ *{release} .*\+\d+%", played.output, re.MULTILINE)


def test_it_says_how_long_it_took_and_takes_less_than_four_gigabytes(played: Played) -> None:
    assert played.summary["seconds"] > 0
    assert 300 < played.summary["memory_mb"] < 4000


def test_what_it_prints_fits_eighty_columns_and_says_what_comes_next(played: Played) -> None:
    prose = [line for line in played.output.splitlines() if shown(played.home) not in line]
    assert [line for line in prose if len(line.rstrip()) > 80] == []
    assert len(re.findall(r"^\d\. ", played.output, re.MULTILINE)) == 5
    assert "make up DEMO=1" in played.output and "summary.json" in played.output
    assert "Traceback" not in played.output


def test_a_demonstration_can_be_played_with_ones_own_files(tmp_path: Path) -> None:
    data = REFERENCE_DIR / "data"
    if not data.is_dir():
        pytest.skip("REFERENCE_DIR/data (public sensor series) is absent")
    played = play(tmp_path / "home", "--data", str(data), "--mapping", str(MAPPING))
    sources = sorted(path.name for path in data.glob("*.csv"))
    assert len(sources) > 1 and all(name in played.output.replace("\n", "") for name in sources)
    summary = played.summary
    assert summary["circuits"] == len(summary["live"]) == len(summary["predictions"]) == len(sources)
    assert summary["rejected"] == summary["failed"] == summary["superseded"] == []
    assert {forecast.height for _, forecast in played.forecasts()} == {24}


# ------------------------------------------------------------------------------------------------- when it cannot be so


def test_a_port_that_is_taken_is_named_with_who_holds_it_and_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        said = refused(tmp_path / "home", FLEET_PORT=str(port))
    assert f"Port {port}, wanted for the app, is held by" in said and "set FLEET_PORT to another port" in said
    assert "is not a port" in refused(tmp_path / "home", FLEET_PORT="http")


def test_a_folder_that_no_demonstration_made_is_left_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("years of work")
    assert "Give an empty folder" in refused(home)
    assert [path.name for path in home.iterdir()] == ["thesis.txt"]


def test_data_without_a_mapping_and_a_mapping_that_is_not_there_are_named(tmp_path: Path) -> None:
    assert "DATA and MAPPING belong together" in refused(tmp_path / "a", "--data", str(tmp_path), code=2)
    missing = str(tmp_path / "missing.yml")
    assert "missing.yml" in refused(tmp_path / "b", "--data", str(tmp_path), "--mapping", missing)


def test_a_part_that_dies_ends_the_demonstration_with_the_end_of_its_log_and_nothing_is_left(tmp_path: Path) -> None:
    home, log = tmp_path / "home", tmp_path / "out.txt"
    with Program("local.demo", "--home", str(home), log=log) as program:
        platform = program.part("local.platform")
        said = refused(home)  # a second one must not wipe what the first one works with
        assert "Another runtime uses" in said and (home / "landing").is_dir()
        platform.kill()
        assert program.end(seconds=60) == 1
        said = program.output()
    assert "The demonstration failed. The platform ended with exit code -9." in said
    assert f"Its log, {shown(home / 'logs' / 'platform.log')}, ends:" in said
    assert "Traceback" not in said
    assert not (home / "environment.json").exists()
