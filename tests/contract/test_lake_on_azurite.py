"""The lake's code on object storage: the same calls as on a local folder, with an az:// or abfss:// address."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import polars as pl
import pytest
from azure.storage.blob import BlobServiceClient

from etl.delta_log import CommitNotFound, read_commit
from etl.log_check import check_log
from etl.report import EtlReport
from etl.run import run_etl
from etl.sources import SourceError
from etl.storage import exists, read_bytes, storage_options, write_bytes
from local.azurite import Azurite
from local.readings import write_readings
from ml.history import open_version, read_history
from shared.adapters.azure.lake import UriLake
from shared.configuration import load_fleet

FLEET = load_fleet(Path(__file__).parents[2] / "config")
START = datetime(2025, 12, 1, tzinfo=UTC)


@pytest.fixture(params=["az", "abfss"])
def lake(azurite: Azurite, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    settings = dict(part.split("=", 1) for part in azurite.connection_string.rstrip(";").split(";"))
    if request.param == "az":  # the other form names the account itself
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", settings["AccountName"])
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", settings["AccountKey"])
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", settings["BlobEndpoint"])
    container = f"lake-{uuid4().hex[:8]}"
    BlobServiceClient.from_connection_string(azurite.connection_string).create_container(container)
    if request.param == "az":
        return f"az://{container}"
    return f"abfss://{container}@{settings['AccountName']}.dfs.core.windows.net"


def test_files_are_written_whole_and_found_again(lake: str) -> None:
    uri = f"{lake}/predictions/P001/C001/2025-12-10.parquet"
    assert not exists(uri)
    with pytest.raises(FileNotFoundError, match="2025-12-10"):
        read_bytes(uri)
    write_bytes(uri, b"first")
    write_bytes(uri, b"second")
    assert exists(uri) and read_bytes(uri) == b"second"


def test_a_run_merges_reports_and_can_be_read_back(lake: str, tmp_path: Path) -> None:
    table = f"{lake}/processed/sensor_data"
    write_readings(FLEET, tmp_path, START, START + timedelta(days=2))
    report = run_etl(tmp_path, table, "run-1", FLEET.policy, FLEET)
    again = run_etl(tmp_path, table, "run-2", FLEET.policy, FLEET)
    assert (report.version, again.version) == (1, None)
    assert EtlReport.read(table, "run-1") == report
    commit = read_commit(table, 1)
    assert (commit.table_id, commit.run_id, commit.data_changed) == (report.table_id, "run-1", True)
    with pytest.raises(CommitNotFound):
        read_commit(table, 9)
    assert pl.scan_delta(table, storage_options=storage_options(table)).collect().height == report.rows_inserted
    circuit = FLEET.circuit("P001_C001")
    end = START + timedelta(hours=40)
    history = read_history(open_version(table, None), circuit.sensor_id, (circuit.target_column,), None, end, {})
    assert history.hours == 41 and history.newest == end
    check = check_log(table)
    assert (check.status, check.readable, check.table_id) == ("whole", ((0, 1),), report.table_id)
    assert check.data_files == len(set(days_of(table)))


def test_hours_that_people_look_at_are_means_of_one_sensor_and_of_no_other_day(lake: str, tmp_path: Path) -> None:
    write_readings(FLEET, tmp_path, START, START + timedelta(days=3))
    circuit = next(iter(FLEET))
    first, last = START + timedelta(hours=20), START + timedelta(hours=30)
    seen = UriLake(lake)
    assert seen.hourly_readings(circuit.sensor_id, circuit.target_column, first, last) == []  # there is no table yet
    run_etl(tmp_path, f"{lake}/processed/sensor_data", "run-1", FLEET.policy, FLEET)

    found = seen.hourly_readings(circuit.sensor_id, circuit.target_column, first, last)

    rows = pl.scan_parquet(tmp_path / circuit.sensor_id / "*.parquet").filter(
        pl.col("timestamp").is_between(first, last)
    )
    means = rows.group_by(pl.col("timestamp").dt.truncate("1h")).agg(pl.col(circuit.target_column).mean())
    expected = [(at, value) for at, value in means.sort("timestamp").collect().iter_rows() if value is not None]
    assert [at for at, _ in found] == [at.astimezone(UTC) for at, _ in expected]
    assert [value for _, value in found] == pytest.approx([value for _, value in expected])
    assert seen.hourly_readings(circuit.sensor_id, "no_such_column", first, last) == []
    assert seen.read_forecast(f"{lake}/predictions/P001/C001/2025-12-02.parquet") == []


def test_readings_that_land_in_object_storage_are_merged_like_those_in_a_folder(lake: str, tmp_path: Path) -> None:
    write_readings(FLEET, tmp_path / "landing", START, START + timedelta(days=1))
    upload(tmp_path / "landing", f"{lake}/landing")
    write_bytes(f"{lake}/landing/half.parquet", b"PAR1 and no end")
    sources = tmp_path / "sources.yml"
    sources.write_text(f"folders:\n  - path: {lake}/landing\n  - path: {lake}/nowhere\n")
    expected = run_etl(tmp_path / "landing", str(tmp_path / "table"), "run-1", FLEET.policy, FLEET)
    for source in (sources, f"{lake}/landing"):
        table = f"{lake}/{Path(source).stem}/sensor_data"
        report = run_etl(source, table, "run-1", FLEET.policy, FLEET)
        assert report.rows_inserted == expected.rows_inserted > 0
        assert report.sensors == expected.sensors
        reasons = " ".join(one.reason for one in report.rejected_sources)
        assert "half.parquet cannot be read" in reasons
        assert ("nowhere is not a folder" in reasons) is (source == sources)
    with pytest.raises(SourceError, match="nowhere is not a folder"):
        run_etl(f"{lake}/nowhere", f"{lake}/other/sensor_data", "run-1", FLEET.policy, FLEET)


def test_a_folder_in_storage_that_cannot_be_reached_is_named_with_what_to_check(
    lake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "d3Jvbmc=")
    with pytest.raises(SourceError, match=r"landing cannot be read .*; check the address and who may read there"):
        run_etl(f"{lake}/landing", str(tmp_path / "table"), "run-1", FLEET.policy, FLEET)
    with pytest.raises(SourceError, match="is not a storage address"):
        run_etl("s3://landing", str(tmp_path / "table"), "run-1", FLEET.policy, FLEET)
    assert not (tmp_path / "table").exists()


def upload(folder: Path, uri: str) -> None:
    for file in folder.rglob("*.parquet"):
        write_bytes(f"{uri}/{file.relative_to(folder).as_posix()}", file.read_bytes())


def days_of(table: str) -> list[date]:
    rows = pl.scan_delta(table, storage_options=storage_options(table))
    return rows.select("date").unique().collect()["date"].to_list()
