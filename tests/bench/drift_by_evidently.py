"""The drift of circuits by Evidently's own preset; run by its environment's Python, which has nothing of ours.

python drift_by_evidently.py TABLE WINDOW_BEGINS OUTPUT CIRCUITS

Prints the processor seconds of reading, reports and pages, without those of starting.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from datetime import date
from pathlib import Path

import polars as pl

warnings.filterwarnings("ignore")


def main(table: str, window_begins: str, output: str, circuits: str) -> None:
    from evidently import Report  # type: ignore[import-not-found]
    from evidently.presets import DataDriftPreset  # type: ignore[import-not-found]

    began, begins = time.process_time(), date.fromisoformat(window_begins)
    readings = pl.scan_delta(table).drop("timestamp").collect()
    found = {}
    by_sensor = readings.partition_by("sensor_id", as_dict=True)
    for (sensor,), frame in list(by_sensor.items())[: int(circuits)]:
        reference = frame.filter(pl.col("date") < begins).drop("sensor_id", "date").to_pandas()
        window = frame.filter(pl.col("date") >= begins).drop("sensor_id", "date").to_pandas()
        report = Report([DataDriftPreset()]).run(window, reference)
        report.save_html(str(Path(output).with_name(f"{sensor}.html")))
        found[sensor] = report.dict()
    Path(output).write_text(json.dumps(found, default=str))
    print(time.process_time() - began)


if __name__ == "__main__":
    main(*sys.argv[1:])
