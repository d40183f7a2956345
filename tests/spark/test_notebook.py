from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
from pyspark.sql import SparkSession

ROOT = Path(__file__).parents[2]


def test_the_notebook_runs_the_job_with_the_parameters_of_a_pipeline(spark: SparkSession, tmp_path: Path) -> None:
    notebook = json.loads((ROOT / "etl/notebooks/ingest.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    (parameters,) = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    (tmp_path / "landing").mkdir()
    (tmp_path / "landing/1.csv").write_text(
        "timestamp,sensor_id,temperature\n2025-12-01T00:00:00Z,A,1\n2025-12-03T00:00:00Z,A,2\n"
    )
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
