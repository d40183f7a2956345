"""`make train`: the build on this machine, for the circuits whose configuration a branch has changed.

Five stages: what changed, its data, its environment, training (as many at once as there are slots, whoever trains), and
the artifact that says what came of it. Each stage looks first at what is there: a build that was interrupted goes on
when it is run again, does nothing twice, and tries anew what did not end well.

It works on the runtime that `make up` keeps running; where none runs it starts one in the same folder, and stops it at
the end. Each model that it registers becomes a release by itself.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from local.azurite import AzuriteError
from local.environments import register_environment
from local.platform.data_assets import FolderDataAssets
from local.platform.settings import configurations_in, data_assets_in
from local.ports import PortTaken
from local.runtime import ENVIRONMENT as ENVIRONMENT_FILE
from local.runtime import REPOSITORY, LocalRuntime, RuntimeFailed, environment_of, is_running, shown
from local.up import HOME, TRAINER, Plants, Stopped, stop_once
from ml.environment_packages import differing_packages
from ml.history import newest_readings, open_version
from ml.training_data import DataAssetDiffers, TrainingData
from shared.adapters.local.platform_client import PlatformClient
from shared.build_artifact import build_artifact, write_artifact
from shared.config_changes import (
    CONFIG_FOLDER,
    ENVIRONMENT_FOLDER,
    Change,
    ChangesUnknown,
    Commits,
    ConfigChanges,
    Consequence,
    config_changes,
    environment_change,
    uncommitted,
)
from shared.configuration import CircuitConfig, ConfigurationError, Fleet, load_fleet
from shared.domain.lake import ETL, EtlPhase
from shared.domain.lake import ROOT as LAKE
from shared.domain.release import RELEASE, RESTARTS
from shared.domain.training import Phase, TrainingRun
from shared.domain.values import version_numbers
from shared.errors import FleetError
from shared.settings import SettingsError
from shared.training_build import Change as TrainedChange
from shared.training_build import TrainingBuild
from shared.wiring import Wired, wire

OUT = REPOSITORY / ".local" / "build"
LOOK_SECONDS = 1.0


class BuildStopped(Exception):
    """The build cannot go on; says why, and what to do."""


@dataclass(frozen=True)
class Plan:
    """What is to be trained and registered for which change.

    commits: where the configuration comes from; None: as it is now. environments: versions that are new with it.
    """

    change: TrainedChange
    fleet: Fleet
    circuits: tuple[str, ...]
    new_circuits: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    commits: Commits | None = None


@dataclass(frozen=True)
class Running:
    """A runtime to work on; `check` raises RuntimeFailed once it runs no more."""

    environment: Mapping[str, str]
    check: Callable[[], object]


# ------------------------------------------------------------------------------------------------- 1 what has changed


def plan_of_changes(repository: Path, base: str | None, author: str | None, pull_request: str) -> Plan | None:
    """What the branch changed since it left `base` (None: the main branch); None when nothing has to be built.

    Raises BuildStopped for changes that no commit holds or that are not declared rightly, and ChangesUnknown.
    """
    if files := uncommitted(repository, CONFIG_FOLDER, ENVIRONMENT_FOLDER):
        raise BuildStopped(
            f"{', '.join(files)}: not committed, so no commit would tell what was trained; commit it, or undo it"
        )
    commits = Commits.since(repository, base) if base else Commits.of_branch(repository)
    changes, environment = config_changes(commits), environment_change(commits)
    if environment.problems:
        raise BuildStopped("; ".join(environment.problems))
    _tell_changes(changes)
    trained = changes.needing(Consequence.RETRAIN)
    if not trained and not changes.new_environments:
        return None
    _, fleet = commits.fleets()
    return Plan(
        change=TrainedChange(commits.head, author or commits.author(), pull_request),
        fleet=fleet,
        circuits=tuple(change.circuit for change in trained),
        new_circuits=tuple(c.circuit for c in trained if c.change in (Change.ADDED, Change.RENAMED)),
        environments=changes.new_environments,
        commits=commits,
    )


def _tell_changes(changes: ConfigChanges) -> None:
    print(f"  {changes.base[:10]}..{changes.head[:10]}")
    for change in changes.circuits:
        keys = f" ({', '.join(change.keys)})" if change.keys else ""
        print(f"  {change.circuit} {change.change}{keys}: {', '.join(change.consequences)}")
    for version in changes.new_environments:
        print(f"  environment {version} is new")


def plan_of_circuits(fleet: Fleet, circuits: Sequence[str], commit: str, author: str | None, pull_request: str) -> Plan:
    """These circuits (`all`: every one) as they are configured now; raises BuildStopped for one that is not."""
    chosen = tuple(fleet.circuits) if list(circuits) == ["all"] else tuple(dict.fromkeys(circuits))
    try:
        for circuit in chosen:
            fleet.circuit(circuit)
    except KeyError as unknown:
        raise BuildStopped(unknown.args[0]) from None
    print(f"  asked for: {', '.join(chosen)}")
    return Plan(TrainedChange(commit, author or TRAINER, pull_request), fleet, chosen)


def _newest_commit(repository: Path) -> str:
    """The commit that is checked out; raises BuildStopped where there is none."""
    try:
        if uncommitted(repository, CONFIG_FOLDER):
            print("  config/ has changes that are not committed: the commit will not tell what was trained.")
        return Commits.since(repository, "HEAD").head
    except ChangesUnknown as error:
        raise BuildStopped(f"{error}; or give --commit") from None


# --------------------------------------------------------------------------------------------------------- the runtime


@contextmanager
def runtime_in(home: Path, config: Path) -> Iterator[Running]:
    """The runtime that runs in `home`; where none does, one with this configuration, for the time being."""
    if is_running(home):
        yield Running(environment_of(home), lambda: environment_of(home))
        return
    print(f"Nothing runs in {shown(home)}: storage, Event Grid, model platform and app start ...")
    home.mkdir(parents=True, exist_ok=True)
    with LocalRuntime(home, config, home / "landing") as runtime:
        Plants(load_fleet(config), home / "landing").deliver(datetime.now(UTC))
        yield Running(runtime.environment, runtime.check)
        print("Storage, Event Grid, model platform and app stop; make up goes on from here.")


def expect_the_same_configuration(plan: Plan, home: Path, environment: Mapping[str, str]) -> None:
    """Raises BuildStopped when the app that runs would not know what is to be trained."""
    config = Path(environment["CONFIG_FOLDER"])
    serves = load_fleet(config).circuits
    if other := [circuit for circuit in plan.circuits if serves.get(circuit) != plan.fleet.circuits[circuit]]:
        raise BuildStopped(
            f"the app in {shown(home)} is configured by {shown(config)}, where {', '.join(other)} is not as in commit"
            f" {plan.change.commit[:10]}; check that commit out there, or give another --home"
        )
    started = (home / ENVIRONMENT_FILE).stat().st_mtime
    if plan.new_circuits and any(file.stat().st_mtime > started for file in config.rglob("*.yml")):
        raise BuildStopped(
            f"the app in {shown(home)} was started before {', '.join(plan.new_circuits)} was configured and would not"
            " take its model; stop it (Ctrl-C), run make up, and then this again"
        )


# --------------------------------------------------------------------------------------------------------- 2 to 5


class Build:
    """Stages 2 to 5 on a running runtime."""

    def __init__(self, plan: Plan, home: Path, running: Running) -> None:
        self._plan = plan
        self._running = running
        self._state = home / "platform"
        self._wired: Wired = wire(running.environment)
        self._problems: dict[str, str] = {}
        self._trained_before: frozenset[str] = frozenset()

    def run(self, out: Path) -> bool:
        """Whether every circuit was trained. What was not is named, and does not stop the others."""
        _stage(2, "data")
        ready = self.prepare_data()
        _stage(3, "environment")
        self.register_environments()
        limit = self._plan.fleet.policy.max_parallel_training
        _stage(4, f"training, at most {limit} at once")
        runs = self.train(ready, limit) if ready else {}
        _stage(5, "artifact")
        self.publish(runs, out)
        failed = {**self._problems, **{c: run.reason for c, run in runs.items() if run.phase != Phase.TRAINED}}
        print(f"{len(self._plan.circuits) - len(failed)} of {len(self._plan.circuits)} trained.")
        for circuit, reason in failed.items():
            print(f"Not trained: {circuit}: {reason}", file=sys.stderr)
        return not failed

    # ---------------------------------------------------------------------------------------------------- 2 data

    def prepare_data(self) -> tuple[str, ...]:
        """The circuits whose training data are registered; merges what has been delivered if readings are missing."""
        circuits = [self._plan.fleet.circuits[key] for key in self._plan.circuits]
        if not circuits:
            return ()
        if self._plan.commits:
            self._plan.commits.write_configuration(configurations_in(self._state) / self._plan.change.commit)
        why = ""
        table, newest = self._readings(circuits)
        if any(not _reaches(newest.get(circuit.sensor_id), circuit, hour=23) for circuit in circuits):
            print("  readings are missing: what the plants have delivered is merged into the table ...")
            why = self._ingest()
            table, newest = self._readings(circuits)
        if table is None:
            raise BuildStopped(f"there is no table of readings. {why or 'Deliver readings, and run this again.'}")
        return tuple(c.key for c in circuits if self._register(c, table, newest.get(c.sensor_id), why))

    def _register(self, circuit: CircuitConfig, table: DeltaTable, newest: datetime | None, why: str) -> bool:
        """Register the circuit's training data, once; false, and a problem, where that cannot be."""
        lake = self._wired.application.ports.lake
        data = TrainingData(circuit, lake.table_uri, str(table.metadata().id), table.version())
        try:
            if not _reaches(newest, circuit, hour=0):
                until = f"end at {newest:%Y-%m-%d %H:%M} UTC" if newest else "are not in the table"
                raise BuildStopped(
                    f"the readings of {circuit.sensor_id} {until}, and cutoff_date is {data.version}; wait for them, or"
                    f" move cutoff_date{f' ({why})' if why else ''}"
                )
            version, created = FolderDataAssets(data_assets_in(self._state)).register(data)
        except (BuildStopped, DataAssetDiffers) as problem:
            self._problems[circuit.key] = str(problem)
            print(f"  {circuit.key}: {problem}")
            return False
        print(f"  {data.name}:{data.version} {'registered' if created else 'exists'}, version {version} of the table")
        return True

    def _readings(self, circuits: Sequence[CircuitConfig]) -> tuple[DeltaTable | None, dict[str, datetime]]:
        try:
            table = open_version(self._wired.application.ports.lake.table_uri, None)
        except TableNotFoundError:
            return None, {}
        return table, newest_readings(table, [circuit.sensor_id for circuit in circuits])

    def _ingest(self) -> str:
        """Run the ETL and wait for its end; returns why it failed, or nothing."""
        application, queries = self._wired.application, self._wired.queries
        begun = application.start_etl(application.ports.clock.now().replace(microsecond=0))
        run_id = begun.history[0].item
        while (line := queries.history(LAKE, ETL, run_id)[-1])["after"] not in ETL.ends:
            self._wait(LOOK_SECONDS)
        return "" if line["after"] == EtlPhase.COMPLETED else f"{run_id} failed: {line['detail'].get('error', '')}"

    # --------------------------------------------------------------------------------------------- 3 environment

    def register_environments(self) -> None:
        """Register what is new or used, with its tags; the packages that train here must be those that it pins."""
        if different := differing_packages():
            raise BuildStopped(
                f"this machine has {', '.join(different)}, as {shown(REPOSITORY / ENVIRONMENT_FOLDER)} has it; run make"
                " setup"
            )
        plan, places = self._plan, self._running.environment
        platform = PlatformClient(places["PLATFORM_ENDPOINT"], places["PLATFORM_KEY"])
        used = {plan.fleet.circuits[key].training.environment_version for key in plan.circuits}
        for version in sorted({*used, *plan.environments}, key=version_numbers):
            spec = plan.fleet.environment(version)
            new = register_environment(platform, spec, plan.change.commit, plan.change.pull_request)
            print(f"  {spec.reference} {'registered' if new else 'exists'}")

    # ------------------------------------------------------------------------------------------------ 4 training

    def train(self, circuits: Sequence[str], limit: int) -> Mapping[str, TrainingRun]:
        ended = 0

        def tell(run: TrainingRun) -> None:
            nonlocal ended
            ended += run.phase in (Phase.TRAINED, Phase.ERRORED)
            came = f": model version {run.model_version}" if run.phase == Phase.TRAINED else ""
            became = f"already {run.phase}" if run.circuit in self._trained_before else run.phase
            print(f"  {ended}/{len(circuits)} {run.circuit} {became}{came}{f': {run.reason}' if run.reason else ''}")

        build = TrainingBuild(self._wired.application, limit, poll_seconds=LOOK_SECONDS, sleep=self._wait)
        self._trained_before = build.trained(circuits, self._plan.change)
        return build.run(circuits, self._plan.change, tell)

    # ------------------------------------------------------------------------------------------------ 5 artifact

    def publish(self, runs: Mapping[str, TrainingRun], out: Path) -> None:
        platform, tags = self._wired.application.ports.platform, {}
        for circuit, run in runs.items():
            if run.model_version is not None:
                model = platform.describe_model(circuit, run.model_version)
                if model is None:
                    raise BuildStopped(f"the model platform has lost {circuit}'s model {run.model_version}")
                tags[circuit] = model.tags
                release = f"{circuit}:{run.model_version}"
                known = self._wired.queries.release(release) if circuit in self._trained_before else None
                print(f"  release {release}{standing_of(release, known['phase']) if known else ''}")
        plan = self._plan
        artifact = build_artifact(plan.change, plan.fleet, runs, tags, self._problems, plan.environments)
        print(f"  {shown(write_artifact(out, artifact))}")

    def _wait(self, seconds: float) -> None:
        self._running.check()  # a build that waits for a runtime that was stopped would wait for ever
        time.sleep(seconds)


def standing_of(release: str, phase: str) -> str:
    """Where the release of a model that was trained before stands, and which command goes on."""
    if any(phase in ends for ends in RESTARTS.values()):
        return f" is {phase}; it goes on with: ./fleet retry {release} --reason TEXT"
    if phase in RELEASE.ends:
        return f" has ended {phase}; another model needs another commit"
    return f" is {phase}; ./fleet explain {release.partition(':')[0]} says what it waits for"


def _reaches(newest: datetime | None, circuit: CircuitConfig, hour: int) -> bool:
    """Whether there are readings up to this hour of the circuit's cutoff date (UTC)."""
    cutoff = circuit.training.cutoff_date
    return newest is not None and newest >= datetime(cutoff.year, cutoff.month, cutoff.day, hour, tzinfo=UTC)


def _stage(number: int, what: str) -> None:
    print(f"Stage {number} of 5: {what}", flush=True)


# -------------------------------------------------------------------------------------------------------- command line


def build(given: argparse.Namespace) -> bool:
    """The five stages; whether every circuit that had to be trained was."""
    home, repository = given.home.resolve(), given.repository.resolve()
    config = repository / CONFIG_FOLDER
    _stage(1, "what changed")
    if given.circuits:
        if is_running(home):
            config = Path(environment_of(home)["CONFIG_FOLDER"])
        commit = given.commit or _newest_commit(repository)
        circuits = [name.strip() for name in given.circuits.split(",") if name.strip()]
        plan: Plan | None = plan_of_circuits(load_fleet(config), circuits, commit, given.author, given.pull_request)
    else:
        plan = plan_of_changes(repository, given.changed, given.author, given.pull_request)
    if plan is None:
        print("Nothing has to be built.")
        return True
    with runtime_in(home, config) as running:
        if plan.commits:
            expect_the_same_configuration(plan, home, running.environment)
        return Build(plan, home, running).run(given.out.resolve())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m local.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--changed",
        metavar="COMMIT",
        help="what the branch changed since it left this branch or commit; default: since it left origin/main or main,"
        " and on that branch what its newest commit brought",
    )
    what.add_argument("--circuits", help="these as they are configured now: P001_C001,P001_C002, or all")
    parser.add_argument("--commit", help="with --circuits: what changed them; default: the one that is checked out")
    parser.add_argument(
        "--author", help=f"who changed them, and may not alone approve (of a commit its author, else {TRAINER})"
    )
    parser.add_argument("--pull-request", default="", help="its number")
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help=f"default: {shown(REPOSITORY)}")
    parser.add_argument("--home", type=Path, default=HOME, help=f"folder of the runtime (default: {shown(HOME)})")
    parser.add_argument("--out", type=Path, default=OUT, help=f"where the artifact goes (default: {shown(OUT)})")
    given = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    stop_once()
    try:
        return 0 if build(given) else 1
    except Stopped:
        print("\nInterrupted; the same command goes on from here.", file=sys.stderr)
        return 130
    except (
        AzuriteError,
        BuildStopped,
        ChangesUnknown,
        ConfigurationError,
        FleetError,
        PortTaken,
        RuntimeFailed,
        SettingsError,
    ) as error:
        print(f"The build stopped. {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
