"""The plain MERGE of Delta on Spark, on every core; run with the Spark environment's Python."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    from delta.tables import DeltaTable
    from pyspark.sql import functions as F

    from etl.spark_job import session
    from tests.bench.memory import peak_mb

    _, table, source = sys.argv[1:]
    jars = ",".join(map(str, sorted((ROOT / ".local/spark-jars").glob("delta-*.jar"))))
    spark = session(
        {"spark.master": "local[*]", "spark.jars": jars, "spark.driver.memory": "4g", "spark.ui.enabled": "false"}
    )
    spark.range(1).count()  # the session has started: only the merge is measured
    begin = time.perf_counter()
    rows = spark.read.parquet(source).withColumn("date", F.to_date("timestamp"))
    days = rows.agg(F.min("date"), F.max("date")).first()
    assert days is not None
    merging = (
        DeltaTable.forPath(spark, table)
        .alias("t")
        .merge(
            rows.alias("s"),
            "t.sensor_id = s.sensor_id AND t.timestamp = s.timestamp AND t.date = s.date"
            f" AND t.date >= DATE '{days[0]}' AND t.date <= DATE '{days[1]}'",
        )
    )
    merging.whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()
    seconds = time.perf_counter() - begin
    jvm = spark._jvm.ProcessHandle.current().pid()
    print(json.dumps({"seconds": seconds, "peak_mb": peak_mb(jvm)}))


if __name__ == "__main__":
    main()
