"""`make up`: the same app, staying up, over plants that go on delivering readings. Ctrl-C stops it, state is kept.

The plants are simulated, or somebody's own files through a mapping, or those that a demonstration left.
"""

from __future__ import annotations

import argparse
import logging
import re
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType

from rich.console import Console

from local import demo
from local.azurite import AzuriteError
from local.issuer import BadPeopleFile
from local.mapping import MappingError, map_readings
from local.ports import PortTaken, configured_port
from local.readings import write_readings
from local.runtime import REPOSITORY, LocalRuntime, RuntimeFailed, only_one, shown
from shared.configuration import ConfigurationError, Fleet, load_fleet
from shared.domain.lake import ROOT as LAKE
from shared.errors import FleetError
from shared.settings import SettingsError
from shared.wiring import wire

HOME = REPOSITORY / ".local" / "up"
OWN_HOME = REPOSITORY / ".local" / "own"
PORT = 7071
TRAINER, APPROVER = "dana@plant.example", "erik@plant.example"
HISTORY = timedelta(days=180)
LOOK_SECONDS = 1.0
RESTARTS, RESTART_SECONDS = 3, 60.0
"""A host that ends more often than that in so many seconds is not started again."""


class Plants:
    """Simulated plants: whatever has arrived up to the last full hour lies in the landing folder, sensor by sensor.

    One file a sensor and month grows hour by hour. The file that it replaces stays for another hour, since an ETL run
    may be reading it.
    """

    def __init__(self, fleet: Fleet, landing: Path) -> None:
        self._fleet = fleet
        self._landing = landing
        self._delivered: datetime | None = None

    def deliver(self, now: datetime) -> bool:
        """Deliver up to the last full hour; False when that has been done. Times in UTC."""
        hour = now.replace(minute=0, second=0, microsecond=0)
        if self._delivered == hour:
            return False
        for circuit in self._fleet:
            only = self._fleet.model_copy(update={"circuits": {circuit.key: circuit}})
            start = self._next_start(self._landing / circuit.sensor_id, hour)
            if start < hour:
                write_readings(only, self._landing, start, hour)
        self._delivered = hour
        return True

    def _next_start(self, folder: Path, hour: datetime) -> datetime:
        """Where the next file begins: where this month's does, or where the newest ends, or at the very beginning."""
        windows = sorted(_window(file) for file in folder.glob("*.parquet"))
        if not windows:
            return self._beginning(hour)
        start, end = windows[-1]
        for replaced in windows[:-1]:
            if replaced[0] == start:
                (folder / _name(*replaced)).unlink()
        grows = end < hour and (start.year, start.month) == (hour.year, hour.month)
        return start if grows else end

    def _beginning(self, hour: datetime) -> datetime:
        """Long enough before the first day that a model is trained up to."""
        cutoffs = (circuit.training.cutoff_date for circuit in self._fleet)
        first = min(datetime(day.year, day.month, day.day, tzinfo=UTC) for day in cutoffs)
        return min(first, hour) - HISTORY


SIMULATED = re.compile(r"\d{8}T\d{4}_\d{8}T\d{4}")


def plants_of(fleet: Fleet, landing: Path) -> Plants | None:
    """The plants that go on delivering there; None for somebody's own readings, which end where they end."""
    simulated = all(SIMULATED.fullmatch(file.stem) for file in landing.glob("*/*.parquet"))
    return Plants(fleet, landing) if simulated else None


def _window(file: Path) -> tuple[datetime, datetime]:
    start, end = (datetime.strptime(part, "%Y%m%dT%H%M").replace(tzinfo=UTC) for part in file.stem.split("_"))
    return start, end


def _name(start: datetime, end: datetime) -> str:
    return f"{start:%Y%m%dT%H%M}_{end:%Y%m%dT%H%M}.parquet"


class Stopped(KeyboardInterrupt):
    """Ctrl-C, or SIGTERM; the first one only: a second must not keep the parts from being stopped."""


def stop_once() -> None:
    """From now on the first SIGINT or SIGTERM raises Stopped, and others are ignored."""

    def stop(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise Stopped

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, stop)


def stay_up(runtime: LocalRuntime, plants: Plants | None, say: Callable[[str], None]) -> None:
    """Keep the host alive and the readings coming until Stopped; raises RuntimeFailed, AzuriteError for a dead part."""
    ended: list[float] = []
    while True:
        time.sleep(LOOK_SECONDS)
        if plants:
            plants.deliver(datetime.now(UTC))
        if runtime.host_has_ended():
            ended = [at for at in ended if time.monotonic() - at < RESTART_SECONDS] + [time.monotonic()]
            if len(ended) <= RESTARTS:
                say("The app had ended and is started again; host.log may say why.")
                runtime.start_host()
        runtime.check()


def run(home: Path, config: Path) -> None:
    """Start, prepare, say what there is, and stay up until Stopped."""
    console = Console(highlight=False, soft_wrap=True)

    def say(text: str) -> None:
        console.print(f"{datetime.now():%H:%M:%S} {text}")

    fleet = load_fleet(config)
    home.mkdir(parents=True, exist_ok=True)
    with only_one(home):  # before the port is asked for, which the other one holds
        port = configured_port("FLEET_PORT", "the app", default=PORT)
    plants = plants_of(fleet, home / "landing")
    say("Storage, Event Grid, token issuer, model platform and the app start ...")
    with LocalRuntime(home, config, home / "landing", port=port) as runtime:
        if plants:
            plants.deliver(datetime.now(UTC))
        if wire(runtime.environment).queries.root(LAKE) is None:
            say("The first readings are merged into the table ...")
            runtime.run_function("run_etl")
        console.print(welcome(runtime, fleet, goes_on=plants is not None))
        stay_up(runtime, plants, say)


def take_own(home: Path, readings: Path, mapping: Path) -> Path:
    """The configuration of somebody's own readings, mapped into `home` once. Raises MappingError."""
    config = home / "config"
    if config.exists():
        print(f"{shown(home)} holds these readings from before; delete it to read {shown(readings)} anew.")
    else:
        today, like = datetime.now(UTC).date(), load_fleet(REPOSITORY / "config")
        print(map_readings(readings, mapping, home / "landing", config, today, like))
    return config


def welcome(runtime: LocalRuntime, fleet: Fleet, goes_on: bool) -> str:
    """What there is and what can be done with it, in lines of 80 columns that can be copied."""
    arrive = "arrive every hour" if goes_on else f"yours; more of them go to {shown(runtime.landing)}"
    names = {person.username: ", ".join(person.groups) or "in no group" for person in runtime.services.issuer.people}
    people = "\n".join(f"  {username:<22}{groups}" for username, groups in names.items())
    first = next(iter(fleet.circuits))
    return f"""
[bold]The app is up: {runtime.url}[/bold]

  dashboard    {runtime.url}/api/dashboard
  circuits     {len(fleet)}, configured in {shown(runtime.config)}
  readings     {arrive}; the ETL runs at minute 5 of every third hour
  state        {shown(runtime.home)}
  logs         {shown(runtime.logs)}/host.log, platform.log
  stop         Ctrl-C; the same command goes on where it was

[bold]Who can sign in[/bold] (without a password: on this machine only)
{people}

[bold]Train a circuit[/bold] as {TRAINER}: its model becomes a release
  {shown(Path(sys.executable))} -m local.train{_option_of(runtime.home)} --circuits {first}

[bold]See what needs somebody[/bold], as {APPROVER}
  export FLEET_URL={runtime.url} FLEET_USER={APPROVER}
  ./fleet status

[bold]Approve[/bold]: the evidence is shown, and you are asked
  ./fleet approve {first}

[bold]Look around[/bold]
  ./fleet --help             every command; docs/cli.md
  ./fleet doctor             whether all is well here
  {runtime.url}/api/dashboard/
"""


def _option_of(home: Path) -> str:
    return "" if home == HOME else f" --home {shown(home)}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make up", description=__doc__)
    parser.add_argument("--home", type=Path, help=f"where state is kept (default: {shown(HOME)})")
    parser.add_argument("--config", type=Path, default=REPOSITORY / "config", help="configuration folder")
    parser.add_argument("--data", type=Path, help="a folder of your own CSV or Parquet files")
    parser.add_argument("--mapping", type=Path, help="how to read them: a mapping file, see docs/examples/mappings")
    parser.add_argument("--demo", action="store_true", help="go on with what make demo left")
    given = parser.parse_args(arguments)
    if bool(given.data) != bool(given.mapping):
        parser.error("DATA and MAPPING belong together: make up DATA=folder MAPPING=file.yml")
    if given.demo and (given.data or not (demo.HOME / "config").is_dir()):
        parser.error(
            "there is no demonstration to go on with, or DATA is given as well: make demo, then make up DEMO=1"
        )
    home = given.home or (demo.HOME if given.demo else OWN_HOME if given.data else HOME)
    logging.disable(logging.INFO)
    stop_once()
    try:
        config = given.config
        if given.demo:
            config = home / "config"
        elif given.data:
            config = take_own(home.resolve(), given.data, given.mapping)
        run(home.resolve(), config.resolve())
    except Stopped:
        print("\nStopped; the same command goes on from here.")
        return 0
    except (
        AzuriteError,
        BadPeopleFile,
        ConfigurationError,
        FleetError,
        MappingError,
        OSError,
        PortTaken,
        RuntimeFailed,
        SettingsError,
        ValueError,
    ) as error:
        print(f"\nThe app is not up. {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
