"""A fleet that has lived: twelve circuits of three plants through a month and more, and the app served over them.

Everything happens through the application itself under the virtual clock: releases and their gates, two environments,
daily scorings of which some fail, monitoring, proposals, alerts, orders. Only what lies outside is simulated. To look:

    python -m tests.played --port 7171     then the page's own clock has to be set to what this prints
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

from local.functions_host.host import FunctionsHost, HostOptions
from local.functions_host.index import load_app
from local.platform.names import STORAGE_ID, workspace_id
from local.ports import LOOPBACK
from local.runtime import PEOPLE, TOPIC_ID
from local.servers import ServerThread
from local.services import LocalServices
from shared.configuration import load_fleet
from shared.domain.approvals import SETTINGS, STEPS
from shared.domain.messages import HoldRequested, Person, RollbackRequested
from shared.domain.monitoring.messages import Finding
from shared.domain.values import Monitoring, Pair, Stage
from shared.fleet_directory import FleetDirectory
from shared.ports import MonitoringOrder
from shared.settings import Settings
from shared.wiring import serve, wire_around
from tests.builders import model_tags, ordered
from tests.simulated import FAILS, SCORING
from tests.world import Fleet, World

ROOT = Path(__file__).resolve().parents[1]
BEGINS = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
ENDS = datetime(2026, 4, 9, 14, 0, tzinfo=UTC)
NEVER_TRAINED = "P003_C004"
BETTER, REFUSED, TAKEN_BACK, ON_HOLD = "P001_C001", "P001_C004", "P003_C001", "P003_C002"
DEGRADED, DRIFTED, BAD_READINGS, MISSED = "P002_C001", "P001_C002", "P002_C002", "P001_C003"
WAITING = ("P002_C003", "P002_C004", "P003_C003")
"""Circuits whose second model waits for its registry approval in the end."""
FIRST_ENVIRONMENT, LIVE_ENVIRONMENT, NEXT_ENVIRONMENT = "1.0.0", "1.1.0", "1.2.0"
NOBODY = "the embedded platform, which nothing here asks"


def person(name: str, *groups: str) -> Person:
    """One of those who can sign in to the embedded mode."""
    return Person(oid=name, name=name.title(), username=f"{name}@plant.example", groups=groups)


DANA, ERIK = person("dana", "ML-Engineers"), person("erik", "ML-Engineers")
MARIA = person("maria", "Engineering-Managers")


class PlayedDirectory(FleetDirectory):
    """The repository's own configuration; monitoring is asked for as the simulated one understands it."""

    def monitoring_request(self, order: MonitoringOrder) -> Mapping[str, Any]:
        return asdict(order)


class Played(World):
    """The world of `config/`, and what happens in it."""

    def __init__(self, settings: Settings, begins: datetime = BEGINS) -> None:
        fleet = load_fleet(settings.config)
        self.directory = PlayedDirectory(fleet, settings)
        self.limits = {"training": fleet.policy.max_parallel_training, "invocation": self.directory.max_invocations}
        super().__init__(Fleet(self.directory.circuits()), at=begins)
        self.monitor.judge = self._judge
        self.lake.measured, self.lake.forecast = self._measured, self._forecast
        self.live = [circuit for circuit in self.directory.circuits() if circuit != NEVER_TRAINED]

    def _directory(self) -> PlayedDirectory:
        return self.directory

    def play(self) -> None:
        """All of it, up to `ENDS`."""
        self._first_models()
        self._until(date(2026, 3, 6))
        self.release_environment(LIVE_ENVIRONMENT, "security updates of numpy and scikit-learn")
        self._until(date(2026, 3, 12))
        self.train(BETTER, 2, mae="0.08", comparison_mae="0.081", verdict="better")
        self.train(REFUSED, 2, mae="0.12", comparison_mae="0.127", verdict="no difference")
        self.run(minutes=10)
        self.answer(f"{REFUSED}:2", ERIK, "reject")
        self.take(f"{BETTER}:2")
        self._until(date(2026, 3, 20))
        self.train(TAKEN_BACK, 2, mae="0.10", comparison_mae="0.095", verdict="better")
        self.run(minutes=10)
        self.take(f"{TAKEN_BACK}:2")
        self._until(date(2026, 3, 23))
        reason = "the boiler was rebuilt, and the forecasts run two degrees high"
        assert self.app.advance(ordered(RollbackRequested, ERIK, TAKEN_BACK, reason=reason)).history
        self._until(date(2026, 4, 3))
        hold = "the supply main is flushed until Easter"
        assert self.app.advance(ordered(HoldRequested, MARIA, ON_HOLD, reason=hold)).history
        self._until(ENDS.date())
        for circuit in WAITING:
            self.train(circuit, 2, mae="0.09", comparison_mae="0.093", verdict="better")
        self.train(ON_HOLD, 2, mae="0.10", comparison_mae="0.104", verdict="better")
        self.run(minutes=10)
        self.approve(f"{ON_HOLD}:2", ERIK)
        self.run_until(ENDS)
        assert not self.crashes, self.crashes

    def _first_models(self) -> None:
        for circuit in self.live:
            self.register(circuit, 1, self._tags(circuit, 1, cutoff_date="2026-02-25"))
        for _ in range(2):
            self.run(minutes=30)
            for circuit in self.live:
                self.approve(f"{circuit}:1", ERIK)
        self.run(minutes=30)

    def train(self, circuit: str, version: int, mae: str, comparison_mae: str, verdict: str) -> None:
        """A further model is registered, measured beside the one that serves."""
        serving = self.circuit(circuit).serving
        assert serving is not None
        days = f"{self.now() - timedelta(days=14):%Y-%m-%d}/{self.now() - timedelta(days=1):%Y-%m-%d}"
        beside = {
            "comparison": f"{verdict}: its error on the same hours is {comparison_mae}, the champion's 0.118",
            "comparison_champion_version": str(serving.model),
            "comparison_holdout": days,
            "comparison_difference": "-0.034 to -0.012" if verdict == "better" else "-0.006 to 0.009",
        }
        for prefix, error in (("", comparison_mae), ("champion_", "0.118"), ("naive_", "0.161")):
            beside |= {f"comparison_{prefix}mae": error, f"comparison_{prefix}rmse": f"{float(error) * 1.4:.3g}"}
        cutoff = f"{self.now() - timedelta(days=2):%Y-%m-%d}"
        tags = self._tags(circuit, version, cutoff_date=cutoff, environment_version=serving.environment, mae=mae)
        self.register(circuit, version, {**tags, **beside})

    def take(self, release: str) -> None:
        """People say yes at both gates; production serves it in the end."""
        for _ in range(2):
            self.approve(release, ERIK)
            self.run(minutes=30)

    def release_environment(self, version: str, summary: str) -> None:
        """An environment's whole way, up to its day of observation."""
        release = self.register_environment(version, tags={"change_summary": summary})
        self.run(minutes=5)
        self.approve(release, ERIK)
        self.run(hours=1)
        self.approve(release, ERIK)
        self.approve(release, MARIA)
        self.run(hours=2)
        assert self.phase(release) == "observing", self.story(release)

    def _until(self, day: date) -> None:
        """The days go by: their readings come and are scored, and what is scheduled is looked at."""
        while self.now().date() < day:
            self.run_until(self.at(0, 10, day=1))
            today = self.now().date()
            if today in (date(2026, 3, 16), date(2026, 4, 7)):
                self.fate(SCORING, FAILS, FAILS, FAILS, FAILS)
                self.commit(circuits=(MISSED,))
                self.run(hours=2)
            others = [circuit for circuit in self.live if circuit != BAD_READINGS]
            self.commit(circuits=others)
            self.commit(circuits=(BAD_READINGS,), nulls=9 if today >= date(2026, 4, 6) else 0)
            self.run_until(self.at(10))
            self.tell(lambda app: app.check_daily_scoring())
            self.tell(lambda app: app.monitor())
            self.run_until(self.at(12))

    def _tags(self, circuit: str, version: int, **changed: str) -> Mapping[str, str]:
        trained = {
            "pr_author": DANA.username,
            "table_id": self.lake.table_id,
            "delta_version": str(max(0, len(self.lake.commits) - 1)),
            "trained_at": self.now().isoformat(),
            "model_hash": f"{sum(map(ord, circuit)) * version:x}9f2c41d7",
            "skill": "0.31",
            "naive": "seasonal_naive",
            "interval_coverage": "0.91",
            "target_column": self.directory.target(circuit),
            SETTINGS: json.dumps(_settings(self.directory.sensor(circuit), version)),
            STEPS: json.dumps(_steps(version)),
            **changed,
        }
        return model_tags(circuit, version, **{**trained, "data_asset_version": trained["cutoff_date"]})

    # ------------------------------------------------------------------------------------------ what lies outside

    def _measured(self, circuit: str, at: datetime) -> float:
        """Days and weeks with a little of everything; nothing is known of the hours to come."""
        if at > self.now():
            return math.nan
        hours, phase = at.timestamp() / 3600, sum(map(ord, circuit))
        step = 6.0 if circuit in (DEGRADED, DRIFTED) and at.date() >= date(2026, 3, 24) else 0.0
        noise = math.sin(hours * 12.9898 + phase) * 43758.5453 % 1 - 0.5
        return (
            52 + step + 7 * math.sin((hours + phase) / 24 * math.tau) + 3 * math.sin(hours / 168 * math.tau) + 2 * noise
        )

    def _forecast(self, circuit: str, pair: Pair, at: datetime) -> float:
        hours, phase = at.timestamp() / 3600, sum(map(ord, circuit))
        offset = 2.5 if pair.model == 1 else 0.4
        return 52 + offset + 6.5 * math.sin((hours + phase) / 24 * math.tau) + 3 * math.sin(hours / 168 * math.tau)

    def _judge(self, circuit: str, request: Mapping[str, Any]) -> Finding:
        performance, last = request["monitoring"] == Monitoring.PERFORMANCE, date.fromisoformat(request["last"])
        if performance and circuit == DEGRADED and last >= date(2026, 3, 31):
            numbers = {"mae": 0.31, "skill": -0.12}
            return Finding(verdict="critical", reason="mae 0.31 (critical 0.25), by 6 degrees too low", numbers=numbers)
        if not performance and circuit in (DEGRADED, DRIFTED) and last >= date(2026, 3, 31):
            warning = request["monitoring"] == Monitoring.WARNING
            reason = "temperature moved by 0.9 standard deviations since 24 March"
            features = ("temperature higher", "flow lower")
            return Finding(verdict="warning" if warning else "drifted", reason=reason, features=features)
        return Finding(verdict="ok" if performance else "steady", reason="as in the reference")

    def serving(self) -> Mapping[str, str]:
        """The environment that each circuit really serves with."""
        found = {circuit: self.platform.deployed(Stage.PRODUCTION, circuit) for circuit in self.live}
        return {circuit: deployment.pair.environment for circuit, deployment in found.items() if deployment}


def _settings(sensor: str, version: int) -> Mapping[str, Any]:
    hyperparameters = {"ridge_alpha": 10.0, "learning_rate": 0.2 / version, "max_iter": 20 * version}
    return {"hyperparameters": hyperparameters, "data_filters": {"sensor_id": sensor, "feature_columns": ["flow"]}}


def _steps(version: int) -> Mapping[str, Any]:
    hours = list(range(1, 25))
    naive = [round(0.05 + 0.006 * hour, 3) for hour in hours]
    model = [round(0.04 + 0.004 * hour / version, 3) for hour in hours]
    return {"step": hours, "mae": model, "persistence": naive, "seasonal": [0.161] * 24}


@contextlib.contextmanager
def served(home: Path, port: int = 0) -> Iterator[tuple[Played, ServerThread, LocalServices]]:
    """A played fleet behind the app's own HTTP functions, with the embedded issuer beside it."""
    with LocalServices(home, PEOPLE) as services:
        settings = Settings.read(_environment(services))
        played = Played(settings)
        played.play()
        made = wire_around(played.app, played.directory, settings, played.limits)
        serve(made)
        try:
            host = FunctionsHost(
                load_app("function_app:app", ROOT), ROOT, _environment(services), HostOptions(listen=False)
            )
            with ServerThread(host.application, port=port, purpose="the app over a played fleet") as server:
                yield played, server, services
        finally:
            serve(None)


def _environment(services: LocalServices) -> dict[str, str]:
    known = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]
    return {
        **{name: value for name, value in known.items() if name.endswith("_SCHEDULE")},
        "AzureWebJobsStorage": "UseDevelopmentStorage=true",
        "FLEET_STORAGE": "UseDevelopmentStorage=true",
        "WORK_QUEUE": "fleet-work",
        "EVENTS_QUEUE": "fleet-events",
        "FLEET_MODE": "local",
        "CONFIG_FOLDER": str(ROOT / "config"),
        "LAKE_URI": "memory://lake",
        "TOPIC_ENDPOINT": services.event_grid.endpoint("fleet"),
        "TOPIC_KEY": NOBODY,
        "TOPIC_ID": TOPIC_ID,
        "DEV_WORKSPACE": workspace_id(Stage.DEV),
        "TEST_WORKSPACE": workspace_id(Stage.TEST),
        "PRODUCTION_WORKSPACE": workspace_id(Stage.PRODUCTION),
        "LAKE_ACCOUNT": STORAGE_ID,
        "TOKEN_ISSUER": services.issuer.issuer,
        "TOKEN_AUDIENCE": services.issuer.audience,
        "TOKEN_KEYS_URI": services.issuer.keys_url,
        "SIGN_IN_ENDPOINT": f"{services.url}/issuer",
        "PLATFORM_ENDPOINT": f"http://{LOOPBACK}:9",
        "PLATFORM_KEY": NOBODY,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    with TemporaryDirectory() as home, served(Path(home), given.port) as (played, server, _):
        print(f"{server.url}/api/dashboard, where it is {played.now():%Y-%m-%d %H:%M} UTC", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            Event().wait()


if __name__ == "__main__":
    main()
