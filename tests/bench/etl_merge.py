"""Merging readings into 10,000,000 rows: ours beside delta-rs, plain and at its best, and Spark where it is set up.

Every measurement is a process of its own on a copy of the same table, so that peak memory is that of one merge.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import polars as pl
from deltalake import DeltaTable, write_deltalake

from etl.merge import merge
from tests.bench.memory import peak_mb
from tests.bench.rows import BenchRow, measured, ratio_at_most

ROOT = Path(__file__).resolve().parents[2]
SENSORS, STEPS = 200, 50_000
STEP = timedelta(minutes=10)
START = datetime(2025, 1, 1, tzinfo=UTC)
FEATURES = ["temperature", "flow"]
SIZES = {"4,800 rows": 24, "1,000,000 rows": 5_000}  # steps of every sensor
REPEATS = 3
SPARK_PYTHON = ROOT / ".venv-spark/bin/python"
SPARK_JARS = ROOT / ".local/spark-jars"


@dataclass(frozen=True)
class Measurement:
    """Median seconds of the merge alone, and the process's peak memory in MB."""

    seconds: float
    peak_mb: float


def make_table(folder: Path) -> Path:
    """The table of 10,000,000 rows, one file a day; made once."""
    table = folder / "base"
    if not (table / "_delta_log").exists():
        for begin in range(0, STEPS, 10_000):
            frame = readings(range(begin, begin + 10_000)).with_columns(date=pl.col("timestamp").dt.date())
            columns = ["timestamp", "date", "sensor_id", *FEATURES]
            write_deltalake(str(table), frame.select(columns), mode="append", partition_by=["date"])
    return table


def readings(steps: range, revision: int = 0) -> pl.DataFrame:
    """Readings of every sensor; another revision has other values."""
    moments = pl.DataFrame({"step": pl.Series(steps, dtype=pl.Int64)})
    sensors = pl.DataFrame({"sensor": pl.Series(range(SENSORS), dtype=pl.Int64)})
    phase = pl.col("step") * 0.0436 + pl.col("sensor")
    return moments.join(sensors, how="cross").select(
        (pl.lit(START) + pl.col("step") * STEP).cast(pl.Datetime("us", "UTC")).alias("timestamp"),
        pl.format("SENSOR_{}", pl.col("sensor")).alias("sensor_id"),
        (phase.sin() * 10 + 50 + revision).alias("temperature"),
        (phase.cos() * 3 + revision).alias("flow"),
    )


def make_source(folder: Path, steps: int) -> Path:
    """Readings that overlap the table's end by half, with other values."""
    path = folder / f"source-{steps}.parquet"
    begin = STEPS - steps // 2
    readings(range(begin, begin + steps), revision=1).write_parquet(path)
    return path


def ours(table: str, source: str) -> None:
    merge(table, pl.read_parquet(source), FEATURES, lambda change: {"run_id": "bench"})


def plain(table: str, source: str) -> None:
    rows = pl.read_parquet(source).with_columns(date=pl.col("timestamp").dt.date())
    _delta_rs(table, rows, "t.sensor_id = s.sensor_id AND t.timestamp = s.timestamp", streamed=True)


def best(table: str, source: str) -> None:
    """With the literal date range and without streaming; it compares nothing and reports nothing."""
    rows = pl.read_parquet(source).with_columns(date=pl.col("timestamp").dt.date())
    on = "t.sensor_id = s.sensor_id AND t.timestamp = s.timestamp AND t.date = s.date"
    first, last = rows["date"].min(), rows["date"].max()
    dates = f" AND t.date >= DATE '{first!s}' AND t.date <= DATE '{last!s}'"
    _delta_rs(table, rows, on + dates, streamed=False)


def _delta_rs(table: str, rows: pl.DataFrame, predicate: str, streamed: bool) -> None:
    merging = DeltaTable(table).merge(rows, predicate, "s", "t", streamed_exec=streamed)
    merging.when_matched_update_all().when_not_matched_insert_all().execute()


MERGES: dict[str, Callable[[str, str], None]] = {"ours": ours, "plain": plain, "best": best}


def measure(engine: str, table: Path, source: Path, repeats: int = REPEATS) -> Measurement:
    """Merge the source into fresh copies of the table."""
    found = [_once(engine, table, source) for _ in range(repeats)]
    return Measurement(median(one.seconds for one in found), max(one.peak_mb for one in found))


def _once(engine: str, table: Path, source: Path) -> Measurement:
    copy = table.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(table, copy, copy_function=os.link)  # Delta never changes a file
    python = str(SPARK_PYTHON) if engine == "spark" else sys.executable
    module = "tests.bench.etl_merge_on_spark" if engine == "spark" else "tests.bench.etl_merge"
    try:
        done = subprocess.run(
            [python, "-m", module, engine, str(copy), str(source)], cwd=ROOT, capture_output=True, text=True, check=True
        )
        return Measurement(**json.loads(done.stdout.splitlines()[-1]))
    finally:
        shutil.rmtree(copy)


def measure_all(folder: Path) -> list[BenchRow]:
    """Ours beside each other engine, for every size; `folder` keeps the table for the next time."""
    table = make_table(folder)
    rows: list[BenchRow] = []
    for size, steps in SIZES.items():
        source = make_source(folder, steps)
        name = f"merge of {size} into 10,000,000"
        own, simple, fastest = (measure(engine, table, source) for engine in MERGES)
        rows += [
            measured(f"{name}: time", own.seconds, simple.seconds, "delta-rs, plain", "s", ratio_at_most(1)),
            measured(f"{name}: time", own.seconds, fastest.seconds, "delta-rs, at its best", "s", ratio_at_most(1)),
            measured(f"{name}: memory", own.peak_mb, simple.peak_mb, "delta-rs, plain", "MB", ratio_at_most(1)),
            measured(f"{name}: memory", own.peak_mb, fastest.peak_mb, "delta-rs, at its best", "MB"),
        ]
        if has_spark():
            spark = measure("spark", table, source, repeats=1)
            rows.append(measured(f"{name}: time", own.seconds, spark.seconds, "Spark", "s", ratio_at_most(0.1)))
            rows.append(measured(f"{name}: memory", own.peak_mb, spark.peak_mb, "Spark", "MB"))
    return rows


def has_spark() -> bool:
    """Whether `make test-spark` has set Spark up here."""
    return SPARK_PYTHON.exists() and any(SPARK_JARS.glob("delta-spark*.jar"))


def main() -> None:
    engine, table, source = sys.argv[1:]
    begin = time.perf_counter()
    MERGES[engine](table, source)
    seconds = time.perf_counter() - begin
    print(json.dumps({"seconds": seconds, "peak_mb": peak_mb()}))


if __name__ == "__main__":
    main()
