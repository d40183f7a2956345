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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import requests
from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from local.azurite import AzuriteError
from local.configuration import copy_configuration
from local.environments import register_environment
from local.event_grid import ChaosRule
from local.issuer import BadPeopleFile
from local.mapping import MappingError, map_readings
from local.platform.faults import FaultKind, FaultSwitches
from local.platform.names import Work
from local.ports import PortTaken, configured_port
from local.readings import write_readings
from local.runtime import LOCK, REPOSITORY, LocalRuntime, Pace, RuntimeFailed, only_one, shown
from local.summary import every, summarise
from shared.adapters.local.platform_client import PlatformClient
from shared.configuration import ConfigurationError, Fleet, load_fleet
from shared.domain.lake import ROOT as LAKE
from shared.domain.promotion import blocking
from shared.domain.release import ENDS, Phase
from shared.domain.training import Phase as TrainingPhase
from shared.domain.training import TrainingRun
from shared.domain.values import Stage
from shared.errors import FleetError
from shared.settings import SettingsError
from shared.training_build import Change, TrainingBuild
from shared.wiring import Wired, wire

HOME = REPOSITORY / ".local" / "demo"
HISTORY_DAYS = 180
TRAINER, APPROVER, MANAGER = "dana@plant.example", "erik@plant.example", "maria@plant.example"
PATIENCE_SECONDS = 240
MEMORY_EVERY_SECONDS = 2
PACE = Pace(
    sweep="* * * * * *",
    first_look_seconds=1,
    first_job_look_seconds=8,
    longest_look_seconds=10,
    slot_wait_seconds=1,
    monitoring="0 0 0 1 1 *",
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


Moving = Callable[[int, str], None]
"""Moves a bar: how much is done, and what is worth knowing just now."""


class Stagehand:
    """Prints what happens, with a progress bar for everything that takes time. Fits 80 columns."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self._scenes = 0

    def scene(self, title: str) -> None:
        self._scenes += 1
        self.console.print(f"\n[bold]{self._scenes}. {title}[/bold]")

    def say(self, text: str) -> None:
        self.console.print(Padding(text, (0, 0, 0, 3)))

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Moving]:
        columns = (TextColumn("  {task.description:<26}"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn())
        progress, note = Progress(*columns, console=self.console), Text()
        task = progress.add_task(title, total=total)

        def move(done: int, worth_knowing: str) -> None:
            progress.update(task, completed=done)
            note.plain = worth_knowing

        with Live(Group(progress, Padding(note, (0, 0, 0, 5))), console=self.console, refresh_per_second=5):
            yield move
        if not self.console.is_terminal:  # there, the cursor stays on the last line
            self.console.line()


class Demo:
    """One performance over a running runtime."""

    def __init__(self, runtime: LocalRuntime, fleet: Fleet, story: Story | None, stage: Stagehand) -> None:
        self._models = 0
        self.runtime = runtime
        self.fleet = fleet
        self.story = story
        self.stage = stage
        self.wired: Wired = wire(runtime.environment)
        self.faults = FaultSwitches(runtime.platform_url, runtime.keys["platform"])
        self.approver = runtime.sign_in(APPROVER)
        self.manager = runtime.sign_in(MANAGER)
        self.untrained: list[str] = []
        self.most_memory = 0
        self._memory_looked_at = 0.0

    # --------------------------------------------------------------------------------------------------- what happens

    def play(self, yesterday: datetime) -> None:
        stage, story, circuits = self.stage, self.story, len(self.fleet)
        stage.scene(f"Readings of {circuits} sensors become one Delta table")
        self._ingest(until=yesterday)
        stage.scene(f"A pull request changed {circuits} configurations: their models are trained")
        if story:
            self._arrange(story)
        self._train(list(self.fleet.circuits), Change("5f1c7d9e02ab", TRAINER, "101"))
        if story:
            self._wait_for(story.superseded, 1, Phase.AWAITING_REGISTRY_APPROVAL)
            stage.say(f"{story.superseded} is changed once more before anybody looked: version 2 supersedes 1.")
            self._train([story.superseded], Change("8ab3e4410c6d", TRAINER, "102"))
        stage.scene("Each model is a release: approved, tested, approved again, in production")
        stage.say(
            f"{APPROVER} decides about the registry, {MANAGER} about production. What is worse than the naive forecast "
            f"is blocked by the policy; {MANAGER} lets its test inference decide."
        )
        self._release()
        stage.scene("New readings arrive and start the day's inference of what serves")
        self._ingest(until=None)
        self._score()

    def _ingest(self, until: datetime | None) -> None:
        self.faults.leave_readings_after(until)
        before = self._commits()
        self.runtime.run_function("run_etl")
        with self.stage.bar("Merged, circuits told", len(self.fleet)) as bar:
            self._until(
                lambda: self._commits() > before and self._covered(bar) == len(self.fleet),
                "the commit's readings to reach every circuit",
            )

    def _commits(self) -> int:
        lake = self.wired.queries.root(LAKE) or {}
        newest: int | None = lake.get("newest_version")
        return -1 if newest is None else newest

    def _covered(self, bar: Moving) -> int:
        commit = self._commits()
        covered: int = sum(circuit["delta_version"] == commit for circuit in self._circuits())
        bar(covered, f"version {commit} of the table, made known by its event")
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
        lost = {"work": Work.SCORING, "circuit": story.event_lost, "stage": Stage.TEST, "times": 10}
        for event in ("RunCompleted", "RunStatusChanged"):
            self.faults.switch_on(FaultKind.EVENT_LOST, event_type=event, **lost)
        self.stage.say(
            f"Arranged, because it happens: one registration is told five times and out of order "
            f"({story.told_five_times}), the end of one test job is told nobody ({story.event_lost}), and one model "
            f"is trained with settings that make its forecasts absurd ({story.unusable})."
        )

    def _train(self, circuits: list[str], change: Change) -> None:
        platform = PlatformClient(self.runtime.platform_url, self.runtime.keys["platform"])
        for version in sorted({self.fleet.circuits[key].training.environment_version for key in circuits}):
            register_environment(platform, self.fleet.environment(version), change.commit, change.pull_request)
        limit = self.fleet.policy.max_parallel_training
        with self.stage.bar(f"Trained, at most {limit} at once", len(circuits)) as bar:
            phases = dict.fromkeys(circuits, str(TrainingPhase.REQUESTED))

            def told(run: TrainingRun) -> None:
                phases[run.circuit] = run.phase
                ended = sum(phase in (TrainingPhase.TRAINED, TrainingPhase.ERRORED) for phase in phases.values())
                bar(ended, _counted(phases.values()))

            build = TrainingBuild(self.wired.application, limit, poll_seconds=0.5, sleep=self._wait_a_moment)
            runs = build.run(circuits, change, told)
        broken = [f"{run.circuit}: {run.reason}" for run in runs.values() if run.phase != TrainingPhase.TRAINED]
        self._models += len(runs) - len(broken)
        if broken and (self.story or len(broken) == len(runs)):
            raise DemoFailed("Training did not succeed:\n" + "\n".join(broken))
        if broken:
            self.untrained += broken
            self.stage.say("Without a model, the others go on:\n" + "\n".join(broken))

    def _release(self) -> None:
        """People look at what waits for them, and decide, until nothing is left to decide."""
        expected = self._models  # not what the app has heard of: the last registration may still be on its way
        with self.stage.bar("In production, or ended", expected) as bar:

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
            if not approval["circuit"]:
                continue  # an environment's: the models bring it with them
            session, decision, comment = self.approver, "approve", "Metrics and lineage looked at."
            if approval["gate"] == "production":
                session = self.manager
            if story and approval["circuit"] == story.rejected:
                decision, comment = "reject", "The pump was rebuilt after the cutoff date: train on newer readings."
            elif blocking(approval["evidence"]):  # asked again, it is decided the next time
                reason = {"digest": approval["digest"], "reason": "A demonstration: let the test inference decide."}
                self._answer(self.manager, f"{approval['id']}/override", reason)
                continue
            body = {"decision": decision, "digest": approval["digest"], "comment": comment}
            self._answer(session, str(approval["id"]), body)

    def _answer(self, session: requests.Session, approval: str, body: Mapping[str, str]) -> None:
        answer = session.post(f"{self.runtime.url}/api/approvals/{approval}", json=body, timeout=30)
        if answer.status_code not in (200, 208, 409):  # 409: it was superseded while it was read
            raise DemoFailed(f"Deciding {approval} was answered {answer.status_code}: {answer.text}")

    def _score(self) -> None:
        serving = [circuit["id"] for circuit in self._circuits() if circuit["serving"]]
        with self.stage.bar("Scored and verified", len(serving)) as bar:

            def verified() -> bool:
                circuits = self._circuits()
                done = [c for c in circuits if c["serving"] and c["verified"] == c["serving"]]
                bar(len(done), _counted(self._phases().values()))
                return len(done) == len(serving)

            self._until(verified, "the day's inference of every circuit that serves")

    # -------------------------------------------------------------------------------------------------------- looking

    def _circuits(self) -> list[Mapping[str, Any]]:
        return list(every(self.wired.queries.circuits))

    def _phases(self) -> dict[str, str]:
        queries = self.wired.queries
        releases = [*queries.open_releases(), *every(queries.ended_releases)]
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
            if time.monotonic() > deadline:
                raise DemoFailed(f"Waited {PATIENCE_SECONDS} s for {what}.\n{self._standing()}")
            self._wait_a_moment(0.3)

    def _wait_a_moment(self, seconds: float) -> None:
        """Wait, as long as every part of the runtime is alive; remembers how much memory they took at most."""
        self.runtime.check()
        if time.monotonic() - self._memory_looked_at > MEMORY_EVERY_SECONDS:
            self.most_memory = max(self.most_memory, self.runtime.memory_bytes())
            self._memory_looked_at = time.monotonic()
        time.sleep(seconds)

    def _standing(self) -> str:
        """How far everything came, for somebody who has to find out why it came no farther."""
        open_releases = self.wired.queries.open_releases()
        waiting = [f"  {r['id']} is {r['phase']} since {r['since']}" for r in open_releases]
        letters = [f"  {letter['source']}: {letter['reason']}" for letter in self.wired.queries.dead_letters(5).entries]
        return "\n".join(
            [
                f"Releases: {_counted(self._phases().values()) or 'none'}.",
                *waiting,
                *(["Dead letters, newest first:", *letters] if letters else []),
                self.runtime.last_words("host"),
            ]
        )


def _counted(phases: Iterable[str]) -> str:
    return ", ".join(f"{count} {phase}" for phase, count in sorted(Counter(phases).items()))


def clear(home: Path) -> None:
    """Empty a demonstration's folder: it starts from nothing. Raises DemoFailed for a folder that is something else."""
    if not home.exists():
        home.mkdir(parents=True)
    elif any(home.iterdir()) and not (home / LOCK).exists():
        raise DemoFailed(f"{home} holds something that no demonstration left there. Give an empty folder.")
    with only_one(home):
        for child in home.iterdir():
            if child.name != LOCK:
                shutil.rmtree(child) if child.is_dir() else child.unlink()


@dataclass(frozen=True)
class Prepared:
    """A fleet, what its sensors delivered, and what is to be said about that."""

    fleet: Fleet
    landing: Path
    config: Path
    note: str


def prepare(home: Path, now: datetime, readings: Path | None, mapping: Path | None) -> Prepared:
    """Landing files and configuration below `home`: simulated, or from somebody's own folder through a mapping."""
    landing, config = home / "landing", home / "config"
    if readings and mapping:
        report = map_readings(readings, mapping, landing, config, now.date(), load_fleet(REPOSITORY / "config"))
        return Prepared(report.fleet, landing, config, str(report))
    cutoff = (now - timedelta(days=2)).date()
    fleet = copy_configuration(REPOSITORY / "config", config, cutoff_date=cutoff, overrides={STORY.unusable: UNUSABLE})
    written = write_readings(fleet, landing, now - timedelta(days=HISTORY_DAYS), now)
    note = f"{HISTORY_DAYS} days of simulated readings, {written.rows} rows, are in {shown(landing)}."
    return Prepared(fleet, landing, config, note)


def perform(home: Path, port: int, readings: Path | None, mapping: Path | None) -> Mapping[str, Any]:
    """Play the whole demonstration in a fresh `home` and return its summary."""
    began, stage, now = time.monotonic(), Stagehand(), datetime.now(UTC)
    clear(home)
    with stage.console.status("  Readings ..."):
        prepared = prepare(home, now, readings, mapping)
    stage.scene("Storage, Event Grid, token issuer, model platform and the app start")
    stage.say(prepared.note)
    with ExitStack() as running:
        with stage.console.status("  ..."):
            runtime = running.enter_context(LocalRuntime(home, prepared.config, prepared.landing, port=port, pace=PACE))
        stage.say(f"The app is at {runtime.url}, its logs are in {shown(runtime.logs)}.")
        demo = Demo(runtime, prepared.fleet, None if readings else STORY, stage)
        yesterday = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(hours=6)
        demo.play(yesterday)
        deliveries = runtime.services.event_grid.deliveries(limit=100_000)
        summary = summarise(demo.wired.queries, deliveries, REPOSITORY)
        summary["untrained"] = demo.untrained
        summary["memory_mb"] = round(demo.most_memory / 1e6)
        summary["seconds"] = round(time.monotonic() - began, 1)
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
    home = given.home.resolve()
    try:
        port = configured_port("FLEET_PORT", "the app")
        summary = perform(home, port, given.data, given.mapping)
    except EXPECTED as error:
        print(f"\nThe demonstration failed. {error}", file=sys.stderr)
        if (home / "logs").is_dir():
            print(f"All logs are in {shown(home / 'logs')}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Everything that ran has ended; make demo starts anew.", file=sys.stderr)
        return 130
    show(summary, home)
    return 0


EXPECTED = (
    AzuriteError,
    BadPeopleFile,
    ConfigurationError,
    DemoFailed,
    FleetError,
    MappingError,
    PortTaken,
    RuntimeFailed,
    SettingsError,
    requests.RequestException,
    OSError,
    ValueError,
)
"""What can go wrong on somebody's machine; their texts say what to do."""


def show(summary: Mapping[str, Any], home: Path) -> None:
    """What it came to, and what to do next."""
    console = Console(highlight=False)
    lines = Table.grid(padding=(0, 2))
    lines.add_row("  live", ", ".join(summary["live"]) or "-")
    for name in ("rejected", "failed", "superseded"):
        ends = [f"{release}, {summary['reasons'].get(release, 'no reason')}" for release in summary[name]]
        lines.add_row(f"  {name}", "\n".join(ends) or "-")
    duplicate = summary["duplicate_event"]
    if duplicate["delivered"] > 1:
        effects = f"{duplicate['effects']} effect{'s' * (duplicate['effects'] != 1)}"
        lines.add_row("  repeated", f"{duplicate['release']} was told {duplicate['delivered']} times, with {effects}")
    if summary["recovered_job"]:
        lines.add_row("  never told", f"the end of {summary['recovered_release']}'s test job: the reconciler found it")
    if summary["untrained"]:
        lines.add_row("  untrained", "\n".join(summary["untrained"]))
    failed = [f"{circuit} {verdict}" for circuit, verdict in summary["quality"].items() if verdict != "passed"]
    lines.add_row("  quality", "\n".join(failed) or "the newest readings of every sensor passed")
    most = f"{summary['max_parallel_training']} trainings at once, {summary['memory_mb']} MB of memory"
    lines.add_row("  at most", most)
    lines.add_row("  predictions", f"{len(summary['predictions'])} files, one for each circuit that serves")
    console.print(f"\n[bold]{summary['circuits']} circuits in {summary['seconds']:.0f} s[/bold]")
    console.print(lines)
    _show_models(console, summary["models"])
    if summary["predictions"]:
        _show_forecast(console, summary["predictions"][0])
    console.print("\n[bold]Next[/bold]")
    console.print(f"  {shown(home / 'summary.json')} has all of this, {shown(home / 'lake')} the data.")
    console.print("  make up DEMO=1   goes on with this fleet: its pages, approvals, rollback.")
    console.print("  make up          begins an empty one and keeps it running: train, approve.")


def _show_models(console: Console, models: Mapping[str, Mapping[str, Any]]) -> None:
    """How good each model is, the best first."""
    table = Table("model", "mae", "naive's mae", "skill", "in interval", box=None, padding=(0, 2), header_style="")
    for model, measured in sorted(models.items(), key=lambda one: -one[1]["skill"]):
        errors = (f"{measured[name]:.3g}" for name in ("mae", "naive_mae"))
        skill = f"{measured['skill']:+.0%}" if measured["skill"] > -1 else "below -100%"
        table.add_row(model, *errors, skill, f"{measured['interval_coverage']:.0%}")
    console.print("\n  Backtests: errors in standard deviations of the target, intervals for 90 %:")
    console.print(Padding(table, (0, 0, 0, 2)))


def _show_forecast(console: Console, file: str) -> None:
    forecast = pl.read_parquet(REPOSITORY / file).sort("timestamp").head(3)
    table = Table("hour (UTC)", "forecast", "between", "and", box=None, padding=(0, 2), header_style="")
    for row in forecast.iter_rows(named=True):
        numbers = (f"{row[name]:.2f}" for name in ("forecast", "lower", "upper"))
        table.add_row(f"{row['timestamp']:%Y-%m-%d %H:%M}", *numbers)
    console.print(f"\n  The first hours of {file}:")
    console.print(Padding(table, (0, 0, 0, 2)))


if __name__ == "__main__":
    sys.exit(main())
