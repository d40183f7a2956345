from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from etl.run import run_etl
from local.configuration import copy_configuration
from local.readings import write_readings
from ml.threads import limit_threads
from tests.contract.ml.lake import ORIGIN, Lake

limit_threads()


@pytest.fixture(scope="session")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    folder = tmp_path_factory.mktemp("lake")
    fleet = copy_configuration(
        Path(__file__).parents[3] / "config", folder / "config", cutoff_date=datetime(2025, 12, 9)
    )
    write_readings(fleet, folder / "landing", datetime(2025, 6, 13, tzinfo=UTC), ORIGIN.replace(hour=1), seed=7)
    table_uri = f"{folder}/processed/sensor_data"
    report = run_etl(folder / "landing", table_uri, "first", fleet.policy, fleet)
    assert report.table_id and report.version is not None
    return Lake(folder, fleet, table_uri, report.table_id, report.version)
