from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import polars as pl
from pyspark.sql import SparkSession

from etl.report import EtlReport
from tests.spark.conftest import JARS

ROOT = Path(__file__).parents[2]
ROWS = "timestamp,sensor_id,temperature\n2025-12-01T00:00:00Z,A,1\n2025-12-03T00:00:00Z,A,2\n"


def test_the_notebook_runs_the_job_with_the_parameters_of_a_pipeline(spark: SparkSession, tmp_path: Path) -> None:
    notebook = json.loads((ROOT / "etl/notebooks/ingest.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    (parameters,) = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    (tmp_path / "landing").mkdir()
    (tmp_path / "landing/1.csv").write_text(ROWS)
    scope: dict[str, Any] = {}
    for cell in cells:
        exec("".join(cell["source"]), scope)
        if cell is parameters:
            assert {"source", "table", "config", "run_id", "until"} <= scope.keys()
            scope |= {
                "source": f"{tmp_path}/landing",
                "table": f"{tmp_path}/t",
                "config": str(ROOT / "config"),
                "run_id": "notebook",
                "until": "2025-12-02T00:00:00Z",
            }
    assert pl.scan_delta(f"{tmp_path}/t").collect()["temperature"].to_list() == [1.0]
    assert scope["report"].rows_inserted == 1


def test_the_job_runs_as_it_is_submitted_to_a_pool(tmp_path: Path) -> None:
    (tmp_path / "landing").mkdir()
    (tmp_path / "landing/1.csv").write_text(ROWS)
    with ZipFile(tmp_path / "fleet.zip", "w") as package:
        for file in [*(ROOT / "etl").rglob("*.py"), *(ROOT / "shared").rglob("*.py")]:
            package.write(file, file.relative_to(ROOT))
    shutil.copytree(ROOT / "config", tmp_path / "config")
    submit = [str(Path(sys.executable).with_name("spark-submit")), "--master", "local[1]", "--py-files", "fleet.zip"]
    small = ["spark.sql.shuffle.partitions=1", "spark.databricks.delta.snapshotPartitions=1", "spark.ui.enabled=false"]
    options = [word for setting in small for word in ("--conf", setting)]
    jars = ["--jars", ",".join(map(str, sorted(JARS.glob("delta-*.jar"))))]
    job = [str(ROOT / "etl/spark_job.py"), f"{tmp_path}/landing", f"{tmp_path}/t", "--run-id", "batch"]
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [*submit, *options, *jars, *job], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert EtlReport.model_validate_json(done.stdout).rows_inserted == 2
    assert pl.scan_delta(f"{tmp_path}/t").collect().height == 2
