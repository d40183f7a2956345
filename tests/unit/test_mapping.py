from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from etl.run import run_etl
from local.mapping import MappingError, MappingReport, map_readings
from ml.requests import TrainingRequest
from ml.train import fit
from shared.configuration import ConfigurationError, load_fleet

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs/examples/mappings"
REFERENCE_DIR = ROOT / os.environ.get("REFERENCE_DIR", "../shared")
SAMPLE = load_fleet(ROOT / "config")
LAST = date(2026, 11, 24)


def mapped(tmp_path: Path, mapping: Path | str, folder: Path | None = None) -> MappingReport:
    if isinstance(mapping, str):
        (tmp_path / "mapping.yml").write_text(mapping)
        mapping = tmp_path / "mapping.yml"
    return map_readings(folder or tmp_path, mapping, tmp_path / "landing", tmp_path / "config", LAST, SAMPLE)


def landing(tmp_path: Path, circuit: str = "P001_C001") -> pl.DataFrame:
    return pl.read_parquet(tmp_path / f"landing/SENSOR_{circuit}/mapped.parquet")


BASIC = """
files: "*.csv"
timestamp: {columns: time, format: "%Y-%m-%d %H:%M"}
target: value
"""


@pytest.mark.skipif(not (REFERENCE_DIR / "data").is_dir(), reason="REFERENCE_DIR/data (public sensor series) is absent")
def test_four_public_series_become_circuits_that_can_be_trained(tmp_path: Path) -> None:
    report = mapped(tmp_path, EXAMPLES / "public_series.yml", REFERENCE_DIR / "data")
    by_source = {sensor.source: sensor for sensor in report.sensors}
    assert set(by_source) == {
        "AirQuality.csv",
        "ETTh1.csv",
        "ambient_temperature_system_failure.csv",
        "machine_temperature_system_failure.csv",
    }
    assert {sensor.last.date() for sensor in report.sensors} == {LAST}
    machine = by_source["machine_temperature_system_failure.csv"]
    assert (machine.rows_read, machine.hours) == (22695, 1891), "five minutes become hours"
    air = by_source["AirQuality.csv"]
    assert air.missing_values > 300 and landing(tmp_path, air.circuit)["benzene"].min() > 0, "-200 is missing"  # type: ignore[operator]
    assert "moved forward by 7904 days" in str(report)

    fleet = report.fleet
    table = f"{tmp_path}/processed/sensor_data"
    etl = run_etl(tmp_path / "landing", table, "run", fleet.policy, fleet)
    assert set(etl.sensors) == {circuit.sensor_id for circuit in fleet}
    assert not etl.rejected_sources
    circuit = fleet.circuit(by_source["ETTh1.csv"].circuit)
    assert circuit.feature_columns == ("high_useful_load", "high_useless_load", "middle_useful_load", "low_useful_load")
    ranges = {name: (feature.minimum, feature.maximum) for name, feature in fleet.policy.features.items()}
    request = TrainingRequest(
        circuit=circuit,
        table_uri=table,
        plausible_ranges=ranges,
        tracking_uri="unused",
        git_commit_sha="0a1b2c3",
        pr_number="1",
        pr_author="ana",
        command_id="fit",
    )
    assert fit(request).evaluation.beats_naive


def test_semicolons_decimal_commas_and_empty_rows_at_the_end_are_read(tmp_path: Path) -> None:
    (tmp_path / "AirQualityUCI.csv").write_text(
        "Date;Time;CO(GT);T;;\n"
        "10/03/2004;18.00.00;2,6;13,6;;\n"
        "10/03/2004;19.00.00;-200;13,3;;\n"
        "11/03/2004;00.00.00;1,2;11,9;;\n"
        ";;;;;\n;;;;;\n"
    )
    report = mapped(tmp_path, EXAMPLES / "air_quality_original.yml")
    rows = landing(tmp_path)
    assert rows["carbon_monoxide"].to_list() == [2.6, None, 1.2]
    assert rows["air_temperature"].to_list() == [13.6, 13.3, 11.9]
    shift = timedelta(days=report.sensors[0].shifted_days)
    assert rows["timestamp"][0] - shift == datetime(2004, 3, 10, 17, tzinfo=UTC), "one hour east of UTC"
    assert rows["timestamp"].dt.date().max() == LAST
    assert report.fleet.policy.features["carbon_monoxide"].unit == "mg/m3"
    assert report.fleet.circuit("P001_C001").training.cutoff_date == LAST - timedelta(days=1)


def test_a_column_can_tell_sensors_apart_and_summer_time_is_respected(tmp_path: Path) -> None:
    (tmp_path / "export_1.csv").write_text(
        "logged_at,tag,temperature,pressure\n"
        "30.03.2025 01:30,TI-2,20,1\n"
        "30.03.2025 02:30,TI-2,99,1\n"
        "30.03.2025 03:30,TI-2,21,n/a\n"
        "30.03.2025 03:45,TI-2,23,3\n"
        "30.03.2025 03:00,TI-1,5,-\n"
    )
    report = mapped(tmp_path, EXAMPLES / "plant_export.yml")
    assert [sensor.source for sensor in report.sensors] == ["export_1.csv TI-2", "export_1.csv TI-1"]
    assert report.sensors[0].impossible_times == 1, "2:30 was skipped by the clock"
    rows = landing(tmp_path)
    assert rows["temperature"].to_list() == [20.0, 22.0]
    assert rows["pressure"].to_list() == [1.0, 3.0]
    assert rows["timestamp"].diff()[1] == timedelta(hours=1)
    assert report.fleet.circuit("P001_C002").target_column == "temperature"


def test_parquet_files_with_types_need_no_format(tmp_path: Path) -> None:
    times = [datetime(2024, 1, 1, hour) for hour in range(3)]
    pl.DataFrame({"Time": times, "Flow Rate": [1, 2, -200]}).write_parquet(tmp_path / "a.parquet")
    mapped(
        tmp_path,
        'files: "*.parquet"\ntimestamp: {columns: Time, format: ""}\ntarget: Flow Rate\nmissing: [-200]\n',
    )
    assert landing(tmp_path)["flow_rate"].to_list() == [1.0, 2.0, None]


@pytest.mark.parametrize(
    ("content", "mapping", "expected"),
    [
        ("time,value\n2024-01-01,1\n", BASIC, "row 1: timestamp '2024-01-01' does not look like '%Y-%m-%d %H:%M'"),
        ("time;value\n2024-01-01 00:00;1\n", BASIC, "with delimiter ',' it has 'time;value'"),
        ("time,value\n2024-01-01 00:00,1\n2024-01-01 01:00,off\n", BASIC, "row 2: value is 'off', not a number"),
        ("time,val\n2024-01-01 00:00,1\n", BASIC, "a.csv has no column 'value'"),
        ("time,value\n2024-01-01 00:00,1\n", BASIC.replace("*.csv", "*.txt"), "no file in .* is called \\*.txt"),
        ("time,value\n2024-01-01 00:00,1\n", BASIC + "features: {value: date}\n", "may not be called date"),
    ],
)
def test_a_file_that_does_not_fit_its_mapping_is_named(
    tmp_path: Path, content: str, mapping: str, expected: str
) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(MappingError, match=expected):
        mapped(tmp_path, mapping)


def test_every_problem_of_a_mapping_file_is_reported_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,value\n2024-01-01 00:00,1\n")
    wrong = BASIC + 'time_zone: Europe/Roma\ndecimal: ";"\ntargett: x\noverrides:\n  a.csv:\n    missing: {}\n'
    with pytest.raises(ConfigurationError) as raised:
        mapped(tmp_path, wrong)
    text = str(raised.value)
    assert "mapping.yml:5: time_zone: 'Europe/Roma' is not a time zone" in text
    assert "mapping.yml:6: decimal:" in text
    assert "mapping.yml:7: targett: unknown key; did you mean target?" in text
    assert "mapping.yml:10: missing:" in text
