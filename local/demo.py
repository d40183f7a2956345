"""`make demo`: a fleet of circuits from raw readings to production predictions, through the app that Azure would run.

The script only does what people and plants do: it delivers readings, changes configuration, asks for training, signs in
and decides. Everything between is the app's. The summary is read from the state and the lake afterwards.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from local.azurite import AzuriteError
from local.configuration import copy_configuration
from local.event_grid import ChaosRule
from local.mapping import MappingError, map_readings
from local.platform.faults import FaultKind, FaultSwitches
from local.platform.names import Work
from local.ports import PortTaken, configured_port
from local.readings import write_readings
from local.runtime import REPOSITORY, LocalRuntime, Pace, RuntimeFailed
from local.summary import summarise
from shared.configuration import ConfigurationError, Fleet, load_fleet
from shared.domain.lake import ROOT as LAKE
from shared.domain.release import ENDS, Phase
from shared.domain.training import Phase as TrainingPhase
from shared.domain.training import TrainingRun
from shared.domain.values import Stage
from shared.settings import SettingsError
from shared.training_build import Change, TrainingBuild
from shared.wiring import Wired, wire

HOME = REPOSITORY / ".local" / "demo"
HISTORY_DAYS = 180
TRAINER, APPROVER, MANAGER = "dana@plant.example", "erik@plant.example", "maria@plant.example"
PATIENCE_SECONDS = 240
PACE = Pace(
    sweep="* * * * * *", first_look_seconds=1, first_job_look_seconds=8, longest_look_seconds=10, slot_wait_seconds=1
)


@dataclass(frozen=True)
class Story:
    """What goes otherwise than straight on, each for a circuit of its own."""

    rejected: str
    unusable: str
    superseded: str
    told_five_times: str
    event_lost: str


STORY = Story(
    rejected="P002_C003",
    unusable="P003_C004",
    superseded="P001_C002",
    told_five_times="P001_C001",
    event_lost="P003_C001",
)
UNUSABLE = {"training": {"hyperparameters": {"learning_rate": 25.0, "max_iter": 100}}}
"""A learning rate at which boosting diverges: training ends well and the forecasts are absurd."""


class DemoFailed(Exception):
    """The demonstration did not come where it should; the text says how far it came."""


class Stagehand:
    """Prints what happens, with a progress bar for everything that takes time."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)

    def scene(self, title: str) -> None:
        self.console.print(f"\n[bold]{title}[/bold]")

    def say(self, text: str) -> None:
        self.console.print(f"  {text}")

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Callable[[int, str], None]]:
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task(title, total=total, note="")
            yield lambda done, note: progress.update(task, completed=done, note=note)


class Demo:
    """One performance over a running runtime."""

    def __init__(self, runtime: LocalRuntime, fleet: Fleet, story: Story | None, stage: Stagehand) -> None:
        self.runtime = runtime
        self.fleet = fleet
        self.story = story
        self.stage = stage
        self.wired: Wired = wire(runtime.environment)
        self.approver = runtime.sign_in(APPROVER)
        self.manager = runtime.sign_in(MANAGER)

    # --------------------------------------------------------------------------------------------------- what happens

    def play(self, yesterday: datetime) -> None:
        stage, story = self.stage, self.story
        stage.scene(f"Readings of {len(self.fleet)} sensors are merged into one Delta table")
        self._ingest(until=yesterday)
        if story:
            self._arrange(story)
        stage.scene(f"A pull request changed {len(self.fleet)} configurations: their models are trained")
        self._train(list(self.fleet.circuits), Change("5f1c7d9e02ab", TRAINER, "101"))
        if story:
            self._wait_for(story.superseded, 1, Phase.AWAITING_REGISTRY_APPROVAL)
            stage.say(f"{story.superseded} is changed again before anybody has looked: version 2 supersedes version 1")
            self._train([story.superseded], Change("8ab3e4410c6d", TRAINER, "102"))
        stage.scene("Releases: approval, registry, test deployment, test inference, approval, production")
        self._release()
        stage.scene("New readings arrive: the commit starts the day's inference of every circuit that serves")
        self._ingest(until=None)
        self._score()

    def _ingest(self, until: datetime | None) -> None:
        answer = requests.put(
            f"{self.runtime.platform_url}/etl/until",
            json={"until": until.isoformat() if until else None},
            headers={"Authorization": f"Bearer {self.runtime.keys['platform']}"},
            timeout=30,
        )
        answer.raise_for_status()
        before = self._commits()
        self.runtime.run_function("run_etl")
        with self.stage.bar("ETL and fan-out", len(self.fleet)) as bar:
            self._until(
                lambda: self._commits() > before and self._covered(bar, until) == len(self.fleet),
                "the commit's readings to reach every circuit",
            )

    def _commits(self) -> int:
        lake = self.wired.queries.root(LAKE) or {}
        newest: int | None = lake.get("newest_version")
        return -1 if newest is None else newest

    def _covered(self, bar: Callable[[int, str], None], until: datetime | None) -> int:
        commits = self._commits()
        circuits = self.wired.queries.circuits(200).entries
        covered: int = sum(circuit["delta_version"] == commits for circuit in circuits)
        bar(covered, f"Delta version {commits}")
        return covered

    def _arrange(self, story: Story) -> None:
        """What Azure does now and then by itself."""
        doubled = ChaosRule(
            event_type="*ModelRegistered",
            subject=f"models/sensor_model_{story.told_five_times}:*",
            copies=5,
            reorder_seconds=4,
        )
        self.runtime.services.event_grid.set_chaos([doubled], seed=7)
        faults = FaultSwitches(self.runtime.platform_url, self.runtime.keys["platform"])
        lost = {"work": Work.SCORING, "circuit": story.event_lost, "stage": Stage.TEST, "times": 10}
        faults.switch_on(FaultKind.EVENT_LOST, event_type="RunCompleted", **lost)
        faults.switch_on(FaultKind.EVENT_LOST, event_type="RunStatusChanged", **lost)
        self.stage.say(f"Arranged: the registration of {story.told_five_times} is told five times and out of order,")
        self.stage.say(f"          and nobody is told that the test job of {story.event_lost} has ended.")

    def _train(self, circuits: list[str], change: Change) -> None:
        limit = self.fleet.policy.max_parallel_training
        build = TrainingBuild(self.wired.application, limit, poll_seconds=0.5)
        with self.stage.bar(f"Training, at most {limit} at once", len(circuits)) as bar:
            ended: list[TrainingRun] = []

            def told(run: TrainingRun) -> None:
                self.runtime.check()
                if run.phase != TrainingPhase.TRAINING:
                    ended.append(run)
                    bar(len(ended), f"{run.circuit} {run.phase}")

            runs = build.run(circuits, change, told)
        broken = {run.circuit: run.reason for run in runs.values() if run.phase != TrainingPhase.TRAINED}
        if broken:
            raise DemoFailed(f"training did not succeed: {json.dumps(broken, indent=2)}")

    def _release(self) -> None:
        """People look at what waits for them, and decide, until nothing is left to decide."""
        expected = sum(self._trained().values())
        with self.stage.bar("Decided and deployed", expected) as bar:

            def settled() -> bool:
                self._decide()
                phases = self._phases()
                done = [phase for phase in phases.values() if phase in ENDS or phase == Phase.OBSERVING]
                bar(len(done), _counted(phases.values()))
                return len(phases) == expected and len(done) == expected

            self._until(settled, "every release to reach production or an end")

    def _decide(self) -> None:
        story = self.story
        for approval in self._get("approvals?size=200")["approvals"]:
            session, decision, comment = self.approver, "approve", "Metrics and lineage looked at."
            if approval["gate"] == "production":
                session = self.manager
            if story and approval["circuit"] == story.rejected:
                decision, comment = (
                    "reject",
                    "The pump was rebuilt after the cutoff date: train again on newer readings.",
                )
            body = {"decision": decision, "digest": approval["digest"], "comment": comment}
            answer = session.post(f"{self.runtime.url}/api/approvals/{approval['id']}", json=body, timeout=30)
            if answer.status_code not in (200, 208, 409):  # 409: it was superseded while it was read
                raise DemoFailed(f"deciding {approval['id']}: {answer.status_code} {answer.text}")

    def _score(self) -> None:
        serving = [c["id"] for c in self.wired.queries.circuits(200).entries if c["serving"]]
        with self.stage.bar("Scored and verified", len(serving)) as bar:

            def verified() -> bool:
                circuits = self.wired.queries.circuits(200).entries
                done = [c for c in circuits if c["serving"] and c["verified"] == c["serving"]]
                bar(len(done), _counted(self._phases().values()))
                return len(done) == len(serving)

            self._until(verified, "the day's inference of every circuit that serves")

    # -------------------------------------------------------------------------------------------------------- looking

    def _trained(self) -> Mapping[str, int]:
        return {c["id"]: c["newest_version"] for c in self.wired.queries.circuits(200).entries}

    def _phases(self) -> dict[str, str]:
        queries = self.wired.queries
        releases = [*queries.open_releases(), *queries.ended_releases(200).entries]
        return {str(release["id"]): str(release["phase"]) for release in releases}

    def _wait_for(self, circuit: str, version: int, phase: Phase) -> None:
        self._until(lambda: self._phases().get(f"{circuit}:{version}") == phase, f"{circuit}:{version} to be {phase}")

    def _get(self, path: str) -> Any:
        answer = self.approver.get(f"{self.runtime.url}/api/{path}", timeout=30)
        answer.raise_for_status()
        return answer.json()

    def _until(self, reached: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not reached():
            self.runtime.check()
            if time.monotonic() > deadline:
                raise DemoFailed(
                    f"waited {PATIENCE_SECONDS} s for {what}. Releases: {_counted(self._phases().values())}. "
                    f"The logs are in {self.runtime.logs}"
                )
            time.sleep(0.3)


def _counted(phases: Iterator[str] | Any) -> str:
    counts: dict[str, int] = {}
    for phase in phases:
        counts[phase] = counts.get(phase, 0) + 1
    return ", ".join(f"{count} {phase}" for phase, count in sorted(counts.items()))


def prepare(home: Path, now: datetime, readings: Path | None, mapping: Path | None) -> tuple[Fleet, Path, Path]:
    """Landing files and configuration below `home`: simulated, or from somebody's own folder through a mapping."""
    landing, config = home / "landing", home / "config"
    if readings and mapping:
        report = map_readings(readings, mapping, landing, config, now.date(), load_fleet(REPOSITORY / "config").policy)
        print(report)
        return report.fleet, landing, config
    cutoff = (now - timedelta(days=2)).date()
    fleet = copy_configuration(REPOSITORY / "config", config, cutoff_date=cutoff, overrides={STORY.unusable: UNUSABLE})
    write_readings(fleet, landing, now - timedelta(days=HISTORY_DAYS), now)
    return fleet, landing, config


def perform(home: Path, port: int, readings: Path | None, mapping: Path | None) -> Mapping[str, Any]:
    """Play the whole demonstration in a fresh `home` and return its summary."""
    began, stage = time.monotonic(), Stagehand()
    now = datetime.now(UTC)
    home.mkdir(parents=True, exist_ok=True)
    for child in home.iterdir():  # a demonstration starts from nothing; a running one holds its lock file
        if child.name != "running.lock":
            shutil.rmtree(child) if child.is_dir() else child.unlink()
    stage.scene("Preparing readings and configuration, starting storage, Event Grid, model platform and the app")
    fleet, landing, config = prepare(home, now, readings, mapping)
    yesterday = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(hours=6)
    with LocalRuntime(home, config, landing, port=port, pace=PACE) as runtime:
        stage.say(f"The app is at {runtime.url}, its logs are in {runtime.logs.relative_to(REPOSITORY)}")
        demo = Demo(runtime, fleet, None if readings else STORY, stage)
        demo.play(yesterday)
        summary = summarise(demo.wired, runtime.services.event_grid, fleet, REPOSITORY, time.monotonic() - began)
        summary["memory_mb"] = round(runtime.memory_bytes() / 1e6)
    (home / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--home", type=Path, default=HOME, help="where everything is kept (default: .local/demo)")
    parser.add_argument("--data", type=Path, help="a folder of your own CSV or Parquet files")
    parser.add_argument("--mapping", type=Path, help="how to read them: a mapping file, see docs/examples/mappings")
    given = parser.parse_args(arguments)
    if bool(given.data) != bool(given.mapping):
        parser.error("DATA and MAPPING belong together: make demo DATA=folder MAPPING=file.yml")
    logging.disable(logging.INFO)
    try:
        port = configured_port("FLEET_PORT", "the app")
        summary = perform(given.home.resolve(), port, given.data, given.mapping)
    except (
        AzuriteError,
        ConfigurationError,
        DemoFailed,
        MappingError,
        PortTaken,
        RuntimeFailed,
        SettingsError,
        ValueError,
    ) as error:
        print(f"\nThe demonstration failed. {error}", file=sys.stderr)
        return 1
    _show(summary, given.home)
    return 0


def _show(summary: Mapping[str, Any], home: Path) -> None:
    console = Console(highlight=False)
    console.print(f"\n[bold]{summary['circuits']} circuits in {summary['seconds']:.0f} s[/bold]")
    for name in ("live", "rejected", "failed", "superseded"):
        console.print(f"  {name:<11}{', '.join(summary[name]) or '-'}")
    duplicate = summary["duplicate_event"]
    console.print(f"  one event delivered {duplicate['delivered']} times had {duplicate['effects']} effect")
    console.print(f"  job found by the reconciler: {summary['recovered_job'] or '-'}")
    console.print(f"  trainings at once: at most {summary['max_parallel_training']}")
    console.print(
        f"  {len(summary['predictions'])} prediction files, such as {next(iter(summary['predictions']), '-')}"
    )
    console.print(f"  all of it: {home / 'summary.json'}")


if __name__ == "__main__":
    sys.exit(main())
