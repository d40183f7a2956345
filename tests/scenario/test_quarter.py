"""A quarter of a fleet under the virtual clock, over real readings and forecasts that the real monitor judges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from etl import quality
from ml.monitor import monitor
from ml.monitor_messages import MonitoringRequest
from ml.predictions import SCHEMA, published_below, write_predictions
from shared.adapters.azure.lake import UriLake
from shared.configuration import Fleet, load_fleet
from shared.domain.drift import Drift
from shared.domain.performance import Degradation
from shared.domain.period import Every
from shared.domain.proposals.proposal import Proposal, Remedy
from shared.domain.values import Monitoring
from shared.fleet_directory import FleetDirectory
from shared.ports import Findings, LiveModel, MonitoringOrder
from shared.settings import Settings
from tests.builders import model_tags
from tests.scenario.test_monitoring import SCHEDULED, alerts, runs, serving, told
from tests.unit.ml.readings import circuit as wandering
from tests.unit.test_settings import LOCAL
from tests.world import World

BROKEN, DRIFTING, BAD, SEASON = "P001_C001", "P001_C003", "P001_C002", "P002"
CIRCUITS = (BROKEN, DRIFTING, BAD, "P002_C001", "P002_C002", "P002_C003", "P003_C001")
BREAKS, DRIFTS, WORSENS, TURNS = date(2026, 4, 20), date(2026, 5, 1), date(2026, 5, 1), date(2026, 5, 15)
"""From when on a sensor is stuck, a column drifts, a model is bad, and a plant works harder."""
BEGIN, END = date(2025, 1, 20), date(2026, 7, 3)
DAY = timedelta(days=1)
TAGS = model_tags()
DECIDING = {**SCHEDULED.monitored_every, Monitoring.WARNING: Every.NEVER}
"""Warnings raise and propose nothing, and would be nine runs of ten."""


def test_a_quarter_of_a_fleet_has_exactly_its_alerts_and_proposals_and_no_others(tmp_path: Path) -> None:
    estate = Estate.laid_out(tmp_path)
    world = serving(*CIRCUITS, rules=SCHEDULED.model_copy(update={"monitored_every": DECIDING}))
    world.monitor.program = estate.judged
    while world.now().date() < date(2026, 7, 2):
        world.run_until(world.at(hour=6, minute=5, day=1))
        world.commit(qualities=estate.counted(world.now().date() - DAY))
        world.tell(lambda app: app.monitor())
    world.run(hours=12)

    assert alerts(world) == {f"quality:{BROKEN}", f"drift:{DRIFTING}", f"drift:{SEASON}", f"performance:{BAD}"}
    (proposal,) = [item for c in CIRCUITS for item in world.items(c).values() if isinstance(item, Proposal)]
    assert (proposal.circuit, proposal.remedy, proposal.phase) == (BAD, Remedy.RETRAIN, "offered")
    decided = {"DriftFound", "SharedDriftReached", "PerformanceDegraded", "PerformanceDegradedCritically"}
    assert {c: events & decided for c, events in told(world).items() if events & decided} == {
        DRIFTING: {"DriftFound"},
        BAD: {"PerformanceDegraded"},
        **{c: {"SharedDriftReached"} for c in CIRCUITS if c.startswith(SEASON)},
    }
    assert Counter(run.monitoring for run in runs(world)) == {
        Monitoring.PERFORMANCE: 4,  # March to June
        Monitoring.DRIFT: 2,  # the first and the second quarter
    }
    assert {run.phase for run in runs(world)} == {"completed"}
    assert not world.dead_letters() and not world.crashes

    degraded = _only(world, BAD, Degradation)
    assert f"{degraded.since:%Y-%m-%d}" == "2026-07-01", "two months of three"
    measured, promised = degraded.evidence.measured, degraded.evidence.promised
    assert 0.15 < measured["mae"] < 0.25 and promised == {"mae": float(TAGS["mae"])}
    drifted = _only(world, DRIFTING, Drift)
    assert drifted.features and drifted.features[0].startswith(estate.column(DRIFTING))
    judged = world.circuit(BROKEN).drift[0]
    assert judged.verdict == "cannot say", "a sensor that gives one value is not a drift"


def _only(world: World, circuit: str, kind: type[Any]) -> Any:
    (found,) = [item for item in world.items(circuit).values() if isinstance(item, kind)]
    return found


@dataclass(frozen=True)
class Estate:
    """The lake of seven configured circuits: their readings of eighteen months, and a forecast for each day of four.

    What the ETL counts of a day and what the monitor finds in a period are the real programs' answers about it.
    """

    fleet: Fleet
    folder: Path
    sensors: Mapping[str, pl.DataFrame]

    @classmethod
    def laid_out(cls, folder: Path) -> Estate:
        configured = load_fleet(Path(__file__).resolve().parents[2] / "config")
        circuits = {key: configured.circuit(key) for key in CIRCUITS}
        fleet = configured.model_copy(update={"circuits": circuits})
        chance = np.random.default_rng(7)
        estate = cls(fleet, folder, {key: _sensor(fleet, key, chance) for key in CIRCUITS})
        write_deltalake(estate.table, pl.concat(estate.sensors.values(), how="diagonal"), mode="overwrite")
        for key in CIRCUITS:
            estate._publish(key, chance)
        return estate

    @property
    def table(self) -> str:
        return f"{self.folder}/processed/sensor_data"

    def column(self, key: str) -> str:
        """The column of a circuit that drifts: no part of what it forecasts."""
        return self.fleet.circuit(key).feature_columns[0]

    def counted(self, day: date) -> Mapping[str, Mapping[str, Any]]:
        """What the ETL counts of one day's commit."""
        hours = (day - BEGIN).days * 24
        back = hours - quality.look_back(self.fleet) // timedelta(hours=1)
        new = pl.concat([self.sensors[key][hours : hours + 24] for key in CIRCUITS], how="diagonal")
        near = pl.concat([self.sensors[key][back:hours] for key in CIRCUITS], how="diagonal")
        found = quality.assess(new, self._features(), near)
        return {key: self._own(key, asdict(found[f"SENSOR_{key}"])) for key in CIRCUITS}

    def judged(self, request: Mapping[str, Any]) -> Findings:
        """What the monitoring program finds."""
        live = {key: LiveModel(model["version"], model["tags"]) for key, model in request["live"].items()}
        days = {name: date.fromisoformat(request[name]) for name in ("first", "last")}
        about = {"table_uri": self.table, "predictions_uri": f"{self.folder}/predictions", "delta_version": 0}
        order = MonitoringOrder(
            **{**request, **days, **about, "live": live, "table_id": str(DeltaTable(self.table).metadata().id)}
        )
        asked = FleetDirectory(self.fleet, Settings.read(LOCAL)).monitoring_request(order)
        output = f"{self.folder}/monitoring/{order.command_id}"
        monitor(MonitoringRequest.model_validate(asked), output)
        return UriLake(str(self.folder)).read_findings(output)

    def _features(self) -> dict[str, Any]:
        present = {name for sensor in self.sensors.values() for name in sensor.columns}
        return {name: column for name, column in self.fleet.policy.features.items() if name in present}

    def _own(self, key: str, counted: Mapping[str, Any]) -> Mapping[str, Any]:
        """Of a circuit's own columns: those that it lacks are empty in a table of all."""
        circuit = self.fleet.circuit(key)
        own = {circuit.target_column, *circuit.feature_columns}
        return {
            what: {name: n for name, n in value.items() if name in own} if isinstance(value, dict) else value
            for what, value in counted.items()
        }

    def _publish(self, key: str, chance: np.random.Generator) -> None:
        """Forecasts as good as the model promised; the bad one's are half as wrong again from a day on."""
        circuit = self.fleet.circuit(key)
        target = self.sensors[key][circuit.target_column].to_numpy()
        promised = float(TAGS["mae"]) * float(TAGS["target_sd"])
        for number in range((date(2026, 2, 27) - BEGIN).days, (END - BEGIN).days - 1):
            day = BEGIN + number * DAY
            worse = 1.7 if key == BAD and day >= WORSENS else 0.9
            truth = target[number * 24 + 1 : number * 24 + 25]
            forecast = truth + chance.normal(0, worse * promised * np.sqrt(np.pi / 2), len(truth))
            origin = datetime(day.year, day.month, day.day, tzinfo=UTC)
            steps = list(range(1, len(truth) + 1))
            columns = {
                "circuit": key,
                "sensor_id": circuit.sensor_id,
                "origin": origin,
                "model_version": 1,
                "environment_version": "1.0.0",
                "delta_version": 0,
                "command_id": "score",
            }
            predictions = pa.table(
                {
                    **{name: [value] * len(truth) for name, value in columns.items()},
                    "timestamp": [origin + timedelta(hours=step) for step in steps],
                    "step": steps,
                    "forecast": forecast,
                    "lower": forecast - 2 * promised,
                    "upper": forecast + 2 * promised,
                }
            )
            uri = published_below(f"{self.folder}/predictions", circuit.plant_id, circuit.circuit_id, day)
            write_predictions(uri, predictions.select(SCHEMA.names))


def _sensor(fleet: Fleet, key: str, chance: np.random.Generator) -> pl.DataFrame:
    """A circuit's hours: sensors that wander, have days, hang together, and what happens to them in the quarter."""
    circuit = fleet.circuit(key)
    days = (END - BEGIN).days
    pairs = [wandering(circuit.plant_id, circuit.circuit_id, chance, days, 0).reference for _ in range(2)]
    moments = pl.datetime_range(
        datetime(BEGIN.year, BEGIN.month, BEGIN.day, tzinfo=UTC),
        datetime(END.year, END.month, END.day, tzinfo=UTC),
        "1h",
        closed="left",
        time_unit="us",
        time_zone="UTC",
        eager=True,
    )
    columns: dict[str, Any] = {}
    for name, values in zip((circuit.target_column, *circuit.feature_columns), np.vstack(pairs), strict=False):
        feature = fleet.policy.features[name]
        sd = float(TAGS["target_sd"]) if name == circuit.target_column else (feature.maximum - feature.minimum) / 20
        wanders = (values - values.mean()) / values.std()
        if key == DRIFTING and name == circuit.feature_columns[0]:
            wanders[(DRIFTS - BEGIN).days * 24 :] += 3
        if circuit.plant_id == SEASON:
            wanders[(TURNS - BEGIN).days * 24 :] += 3
        if key == BROKEN:
            wanders[(BREAKS - BEGIN).days * 24 :] = wanders[(BREAKS - BEGIN).days * 24]
        columns[name] = (feature.minimum + feature.maximum) / 2 + sd * wanders
    frame = pl.DataFrame({"timestamp": moments, **columns})
    return frame.with_columns(sensor_id=pl.lit(circuit.sensor_id), date=moments.dt.date())
