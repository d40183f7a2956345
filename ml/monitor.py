"""A monitoring run: performance, drift, or the two weeks that only warn, of any number of circuits.

Reads what it needs of the Delta table once for all circuits, writes `results.json` (a MonitoringResult, last of all), a
page for each circuit and one for the fleet. A circuit of which nothing can be said says why, and stops no other.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

if __name__ == "__main__":
    from ml.threads import limit_threads

    limit_threads()

import numpy as np
import polars as pl
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from etl.storage import join, read_bytes, write_bytes
from ml.drift import CircuitReadings, judge_drift
from ml.errors import ModelInputError, WrongInput
from ml.features import DAY
from ml.history import HOUR, Array, open_version
from ml.measures import measures
from ml.monitor_messages import (
    RESULTS,
    Basis,
    Change,
    CircuitFinding,
    ColumnFinding,
    CommonChange,
    Kind,
    Level,
    MonitoredCircuit,
    MonitoringRequest,
    MonitoringResult,
    Role,
    Scope,
    Verdict,
)
from ml.performance import Forecasts, PerformanceFinding, judge_performance
from ml.predictions import PredictionsUnreadable, published_below, read_predictions
from ml.reports import CircuitPage, circuit_page, fleet_page

FILES_AT_ONCE = 8  # forecasts and pages are small and far away
LONGEST_HORIZON = timedelta(hours=168)
HOURS_STUCK = 24  # of one value in a whole window: no sensor of a running plant gives that
OUTSIDE = "~outside"  # suffix of a column's values that are not plausible

Grids = Mapping[str, Mapping[str, Array]]  # sensor -> column -> (hours,)


def monitor(request: MonitoringRequest, output: str) -> MonitoringResult:
    """Judge, and write everything below the output URI; the same request again writes the same.

    Raises ModelInputError where the table itself cannot be read or is another one.
    """
    table = _open(request)
    published = _published_forecasts(request)
    common: tuple[CommonChange, ...] = ()
    if request.kind is Kind.PERFORMANCE:
        pages = _performance(request, table, published)
    else:
        pages, common = _drift(request, table, published)
    result = MonitoringResult(
        kind=request.kind,
        first_day=request.first_day,
        last_day=request.last_day,
        command_id=request.command_id,
        delta_version=table.version(),
        findings=tuple(page.finding for page in pages),
        common_changes=common,
        fleet_report="fleet.html",
    )
    texts = {join(output, page.finding.report): circuit_page(page, request).encode() for page in pages}
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        list(pool.map(write_bytes, texts.keys(), texts.values()))
    write_bytes(join(output, result.fleet_report), fleet_page(result).encode())
    write_bytes(join(output, RESULTS), result.model_dump_json(indent=2).encode())
    return result


def _open(request: MonitoringRequest) -> DeltaTable:
    """The table at the requested version, or at the newest one if that version was vacuumed away."""
    try:
        table = open_version(request.table_uri, request.delta_version)
    except (DeltaError, OSError):
        table = open_version(request.table_uri, None)
    if request.table_id and str(table.metadata().id) != request.table_id:
        raise WrongInput(
            f"{request.table_uri} is table {table.metadata().id}, the request is about {request.table_id}: the table"
            " was made anew; ask again about its own commits"
        )
    return table


def _judged(request: MonitoringRequest) -> list[MonitoredCircuit]:
    return [monitored for monitored in request.circuits if monitored.judged]


# --------------------------------------------------------------------------------------------------------- performance


def _performance(
    request: MonitoringRequest, table: DeltaTable, published: Mapping[str, pl.DataFrame]
) -> list[CircuitPage]:
    start = request.begin - timedelta(days=2)
    end = request.end + LONGEST_HORIZON
    asked = {monitored.circuit.sensor_id: [monitored.circuit.target_column] for monitored in _judged(request)}
    grids = _grids(request, table, asked, start, end, [(start, end)])
    pages = []
    for monitored in _judged(request):
        circuit, live = monitored.circuit, monitored.live
        target = grids[circuit.sensor_id][circuit.target_column]
        forecasts = published.get(circuit.key)
        if live is None:
            found = PerformanceFinding(Verdict.CANNOT_SAY, monitored.unknown)
        else:
            found = judge_performance(
                None if forecasts is None else _on_grid(forecasts, start),
                target,
                live,
                circuit.monitoring,
                circuit.training.hyperparameters.holdout_days,
            )
        pages.append(CircuitPage(_performance_finding(monitored, found), monitored, daily=found.daily))
    return pages


def _performance_finding(monitored: MonitoredCircuit, found: PerformanceFinding) -> CircuitFinding:
    return CircuitFinding(
        **_identity(monitored),
        verdict=found.verdict,
        reason=found.reason,
        breaches=found.breaches,
        performance=found.performance,
    )


def _identity(monitored: MonitoredCircuit) -> dict[str, Any]:
    circuit = monitored.circuit
    return {
        "circuit": circuit.key,
        "plant_id": circuit.plant_id,
        "circuit_id": circuit.circuit_id,
        "sensor_id": circuit.sensor_id,
        "model_version": monitored.live.version if monitored.live else None,
        "report": f"{circuit.key}/circuit.html",
    }


# ---------------------------------------------------------------------------------------------------------------- drift


@dataclass(frozen=True)
class _Reference:
    """The whole days that a circuit's window is held against: from `start` up to, not including, `end`."""

    start: datetime
    end: datetime


def _drift(
    request: MonitoringRequest, table: DeltaTable, published: Mapping[str, pl.DataFrame]
) -> tuple[list[CircuitPage], tuple[CommonChange, ...]]:
    windows = 2 if request.kind is Kind.WARNING else 1
    references: dict[str, _Reference] = {}
    refused: dict[str, str] = {}
    for monitored in request.circuits:
        found = _reference(request, monitored, windows)
        if isinstance(found, str):
            refused[monitored.circuit.key] = found
        else:
            references[monitored.circuit.key] = found
    held = [monitored for monitored in request.circuits if monitored.circuit.key in references]
    readings = _circuit_readings(request, table, published, held, references)
    drift = judge_drift(list(readings.values()), request.rules.false_discovery_rate, windows)
    pages = []
    for monitored in _judged(request):
        key = monitored.circuit.key
        if key in refused:
            finding = CircuitFinding(**_identity(monitored), verdict=Verdict.CANNOT_SAY, reason=refused[key])
            pages.append(CircuitPage(finding, monitored))
        else:
            columns = tuple(
                one.model_copy(update={"measures": measures(*readings[key].beside(one.column))})
                for one in drift.columns[key]
            )
            finding = _drift_finding(monitored, columns)
            pages.append(CircuitPage(finding, monitored, readings=readings[key], windows=windows))
    return pages, drift.common


def _reference(request: MonitoringRequest, monitored: MonitoredCircuit, windows: int) -> _Reference | str:
    """What the window is held against, or why there is nothing."""
    if monitored.live is None:
        return monitored.unknown
    days = (request.end - request.begin).days
    if days % windows:
        return f"the period has {days} days, which do not make {windows} windows of the same length"
    end = datetime.combine(monitored.live.cutoff_date, datetime.min.time(), UTC) + timedelta(days=1)
    if end > request.begin:
        return (
            f"model {monitored.live.version} was trained on readings up to {monitored.live.cutoff_date}, the period"
            f" begins on {request.first_day}; ask for a later period"
        )
    return _Reference(end - timedelta(days=request.rules.reference_days), end)


def _circuit_readings(
    request: MonitoringRequest,
    table: DeltaTable,
    published: Mapping[str, pl.DataFrame],
    held: Sequence[MonitoredCircuit],
    references: Mapping[str, _Reference],
) -> dict[str, CircuitReadings]:
    """Per circuit key; the table is read once."""
    if not held:
        return {}
    start = min(references[monitored.circuit.key].start for monitored in held)
    reference_end = max(references[monitored.circuit.key].end for monitored in held)
    columns = {
        monitored.circuit.sensor_id: [monitored.circuit.target_column, *monitored.circuit.feature_columns]
        for monitored in held
    }
    looked_back = request.begin - (request.end - request.begin)  # a step may have begun before the window
    spans = [(start, reference_end), (looked_back, request.end)]
    grids = _grids(request, table, columns, start, request.end, spans)
    present = {field.name for field in table.schema().fields}
    found = {}
    for monitored in held:
        circuit, reference = monitored.circuit, references[monitored.circuit.key]
        grid, names = grids[circuit.sensor_id], tuple(columns[circuit.sensor_id])
        past = _known_days(
            [grid[name] for name in names], (reference.start - start) // HOUR, (reference.end - start) // HOUR
        )
        window = slice((request.begin - start) // HOUR, (request.end - start) // HOUR)
        before = slice((max(looked_back, reference.end) - start) // HOUR, window.start)
        found[circuit.key] = CircuitReadings(
            circuit=circuit.key,
            plant=circuit.plant_id,
            columns=names,
            target=circuit.target_column,
            start=start + past.start * HOUR,
            window_start=request.begin,
            reference=np.array([grid[name][past] for name in names]),
            window=np.array([grid[name][window] for name in names]),
            before=np.array([grid[name][before] for name in names]),
            levels=circuit.monitoring.drift,
            forecast=_newest_forecasts(published.get(circuit.key), request),
            implausible={name: grid[name + OUTSIDE][window] for name in names if name + OUTSIDE in grid},
            unusable={name: why for name in names if (why := _why_unusable(name, present, grid[name][window]))},
            judged=monitored.judged,
        )
    return found


def _why_unusable(name: str, present: Container[str], window: Array) -> str:
    """Why a column's window says nothing of the process, whatever was before; empty if it may."""
    if name not in present:
        return f"the table has no column {name}"
    known = window[np.isfinite(window)]
    if len(known) > HOURS_STUCK and np.ptp(known) == 0:
        return f"gave one and the same value ({known[0]:g}) in the whole window: look at the sensor"
    return ""


def _known_days(columns: Sequence[Array], first: int, end: int) -> slice:
    """The whole days of [first, end) from the first one with a reading: younger sensors have a shorter reference."""
    known = np.flatnonzero(~np.isnan(np.array(columns)[:, first:end]).all(axis=0))
    return slice(first + (int(known[0]) // DAY * DAY if len(known) else 0), end)


def _newest_forecasts(published: pl.DataFrame | None, request: MonitoringRequest) -> Array | None:
    """What was said last about each hour of the window: (hours,)."""
    if published is None:
        return None
    last = published.sort("step", descending=True).unique("timestamp", keep="last")
    return _grid(last, "forecast", request.begin, (request.end - request.begin) // HOUR)


def _drift_finding(monitored: MonitoredCircuit, columns: tuple[ColumnFinding, ...]) -> CircuitFinding:
    alarms = [one for one in columns if one.verdict in (Verdict.DRIFTED, Verdict.WARNING)]
    unjudged = [one for one in columns if one.verdict is Verdict.CANNOT_SAY and one.role is not Role.FORECAST]
    silent = [one for one in unjudged if one.role is Role.TARGET or one.units_changed]
    verdict = Verdict.STEADY
    if alarms:
        verdict = alarms[0].verdict
    elif silent or len(unjudged) == len([one for one in columns if one.role is not Role.FORECAST]):
        verdict = Verdict.CANNOT_SAY
    return CircuitFinding(
        **_identity(monitored),
        verdict=verdict,
        reason="; ".join(f"{one.column}: {one.reason}" for one in unjudged) if verdict is Verdict.CANNOT_SAY else "",
        breaches=tuple(_sentence(one) for one in alarms),
        level=max((one.level for one in alarms), key=list(Level).index, default=Level.NONE),
        scope=max((one.scope for one in alarms), key=list(Scope).index, default=Scope.CIRCUIT),
        columns=columns,
    )


def _sentence(found: ColumnFinding) -> str:
    """What an alarm rests on, for people."""
    assert found.change is not None and found.basis is not None and found.q_value is not None
    if found.change in (Change.WIDER, Change.NARROWER):
        how = f"spreads {found.spread_ratio:.2g} times as far within a day"
    else:
        how = f"lies {abs(found.shift_sd or 0.0):.2g} sd {found.change}"
    if found.basis in (Basis.RELATION, Basis.STEP_BESIDE):
        how += " than the circuit's other columns would have it"
    if found.since is not None:
        how += f" since {found.since}"
    return f"{found.column} {how} ({found.level}, {found.scope}; q = {found.q_value:.1g})"


# -------------------------------------------------------------------------------------------------------------- reading


def _grids(
    request: MonitoringRequest,
    table: DeltaTable,
    columns: Mapping[str, Sequence[str]],
    start: datetime,
    end: datetime,
    spans: Iterable[tuple[datetime, datetime]],
) -> Grids:
    """Hourly means of the sensors' columns from start to end, read in the given spans only; NaN where nothing is known.

    What is not plausible is kept apart, in the column's name with OUTSIDE.
    """
    present = {field.name for field in table.schema().fields}
    wanted = sorted({name for names in columns.values() for name in names} & present)
    in_spans = pl.any_horizontal(
        pl.col("date").is_between(first.date(), last.date())
        & (pl.col("timestamp") >= first)
        & (pl.col("timestamp") < last)
        for first, last in spans
    )
    plausible = {
        name: pl.col(name).is_between(*request.plausible_ranges[name])
        for name in wanted
        if name in request.plausible_ranges
    }
    hourly = (
        pl.scan_delta(table)
        .filter(pl.col("sensor_id").is_in(list(columns)), in_spans)
        .select("sensor_id", pl.col("timestamp").dt.truncate("1h"), *wanted)
        .group_by("sensor_id", "timestamp")
        .agg(
            *(pl.col(name).filter(plausible[name]).mean() for name in plausible),
            *(pl.col(name).mean() for name in wanted if name not in plausible),
            *(pl.col(name).filter(~within).mean().alias(name + OUTSIDE) for name, within in plausible.items()),
        )
        .collect()
    )
    by_sensor = {str(key[0]): frame for key, frame in hourly.partition_by("sensor_id", as_dict=True).items()}
    hours = (end - start) // HOUR
    empty = hourly.clear()
    grids: dict[str, dict[str, Array]] = {}
    for sensor, names in columns.items():
        frame = by_sensor.get(sensor, empty)
        kept = [name + suffix for name in names for suffix in ("", OUTSIDE) if name + suffix in frame.columns]
        grids[sensor] = {name: np.full(hours, np.nan) for name in names}
        grids[sensor] |= {name: _grid(frame, name, start, hours) for name in kept}
    return grids


def _grid(frame: pl.DataFrame, column: str, start: datetime, hours: int) -> Array:
    """A column of rows with whole hours, one each, as (hours,) from start; rows outside are left out."""
    positions = (frame["timestamp"] - start).dt.total_hours().to_numpy()
    inside = (positions >= 0) & (positions < hours)
    grid = np.full(hours, np.nan)
    grid[positions[inside]] = frame[column].cast(pl.Float64).to_numpy()[inside]
    return grid


def _published_forecasts(request: MonitoringRequest) -> dict[str, pl.DataFrame]:
    """Per circuit key what was published from the period's origins; circuits without any are left out.

    A file that cannot be read is told on stderr and counts as not published.
    """
    days = [request.first_day + timedelta(days=n) for n in range((request.last_day - request.first_day).days + 1)]
    asked = [(monitored, day) for monitored in _judged(request) if monitored.live for day in days]

    def read(one: tuple[MonitoredCircuit, date]) -> pa.Table | None:
        monitored, day = one
        uri = published_below(request.predictions_uri, monitored.circuit.plant_id, monitored.circuit.circuit_id, day)
        try:
            return read_predictions(uri)
        except FileNotFoundError:
            return None
        except (PredictionsUnreadable, OSError) as error:
            print(f"left out: {error}", file=sys.stderr)
            return None

    found: dict[str, list[pa.Table]] = {}
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        for (monitored, _), predictions in zip(asked, pool.map(read, asked), strict=True):
            if predictions is not None:
                found.setdefault(monitored.circuit.key, []).append(predictions)
    return {key: pl.DataFrame(pa.concat_tables(tables)) for key, tables in found.items()}


def _on_grid(published: pl.DataFrame, start: datetime) -> Forecasts:
    """Forecasts with their origins as hours since start."""

    def column(name: str) -> Array:
        return np.asarray(published[name].to_numpy(), dtype=np.float64)

    return Forecasts(
        start=start,
        origin=(published["origin"] - start).dt.total_hours().to_numpy(),
        step=published["step"].cast(pl.Int64).to_numpy(),
        forecast=column("forecast"),
        lower=column("lower"),
        upper=column("upper"),
        model_version=published["model_version"].to_numpy(),
    )


def main(arguments: list[str] | None = None) -> int:
    """Command line: judge by a request file. Exit code 1 says on stderr why nothing could be judged at all."""
    parser = argparse.ArgumentParser(prog="python -m ml.monitor", description=__doc__)
    parser.add_argument("--request", required=True, help="JSON file of a MonitoringRequest, path or URI")
    parser.add_argument("--output", required=True, help="folder of results.json and the pages, path or URI")
    options = parser.parse_args(arguments)
    try:
        result = monitor(MonitoringRequest.model_validate_json(read_bytes(options.request)), options.output)
    except (ModelInputError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    counts = {verdict: sum(one.verdict is verdict for one in result.findings) for verdict in Verdict}
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count))
    return 0


if __name__ == "__main__":
    sys.exit(main())
