"""Real Spark with real Delta jars. `make test-spark` has both; where they are missing these tests are not collected."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

JARS = Path(os.environ.get("SPARK_JARS", Path(__file__).parents[2] / ".local/spark-jars"))

if find_spec("pyspark") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """One Spark on two cores for all tests, with settings for little data and many plans."""
    from etl.spark_job import session

    jars = sorted(JARS.glob("delta-*.jar"))
    assert jars, f"{JARS} has no Delta jars; scripts/fetch_spark_jars.sh fetches them"
    os.environ["PYSPARK_PYTHON"] = sys.executable
    folder = tmp_path_factory.mktemp("spark")
    spark = session(
        {
            "spark.master": "local[2]",
            "spark.jars": ",".join(map(str, jars)),
            "spark.ui.enabled": "false",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.local.dir": str(folder),
            "spark.sql.warehouse.dir": str(folder / "warehouse"),
            "spark.sql.shuffle.partitions": "1",
            "spark.default.parallelism": "1",
            "spark.databricks.delta.snapshotPartitions": "1",
            "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",  # quick to start, not to run
            "spark.sql.codegen.wholeStage": "false",
        }
    )
    spark.sparkContext.setLogLevel("ERROR")
    yield spark
    spark.stop()
