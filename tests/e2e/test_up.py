"""`make up`: the app stays up, its screen's own lines work when they are copied, and a second start goes on."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from local.configuration import copy_configuration
from local.ports import free_port
from local.runtime import shown
from tests.e2e.conftest import ROOT, Program, until

READY = "Look around"


def up(home: Path, config: Path, port: int) -> Program:
    log = home.parent / f"up-{time.monotonic_ns()}.txt"
    return Program("local.up", "--home", str(home), "--config", str(config), log=log, FLEET_PORT=str(port))


def shell(command: str) -> str:
    """What a command says that was copied from the screen into a shell in the repository's folder."""
    answer = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def commands(screen: str, title: str) -> str:
    """The indented lines below a title of the screen."""
    found = re.search(rf"^{re.escape(title)}.*\n((?:  .*\n)+)", screen, re.MULTILINE)
    assert found, screen
    return found[1]


def approvals(screen: str) -> dict[str, dict[str, Any]]:
    """What waits for people by what it is about, asked for with the very lines of the screen."""
    return {gate["release"]: gate for gate in fleet(screen, "See what needs somebody")["approvals"]}


def fleet(screen: str, title: str, *further: str) -> dict[str, Any]:
    """What the command below a title says in JSON, run where the screen says the app is."""
    export, status = commands(screen, "See what needs somebody").splitlines()
    command = status if title == "See what needs somebody" else commands(screen, title).strip()
    answer: dict[str, Any] = json.loads(shell(f"{export}\n{command} {' '.join(further)} --json"))
    return answer


@pytest.fixture
def config(tmp_path: Path) -> Path:
    folder = tmp_path / "config"
    copy_configuration(ROOT / "config", folder, cutoff_date=(datetime.now(UTC) - timedelta(days=3)).date())
    return folder


def test_the_app_stays_up_is_used_by_its_screens_own_lines_and_goes_on_after_a_stop(
    tmp_path: Path, config: Path
) -> None:
    home, port = tmp_path / "home", free_port()
    with up(home, config, port) as program:
        screen = program.until_it_says(READY)
        address = f"http://127.0.0.1:{port}"
        assert f"The app is up: {address}\n" in screen
        assert (home / "environment.json").stat().st_mode & 0o077 == 0
        assert [line for line in screen.splitlines() if len(line) > 80 and shown(tmp_path) not in line] == []
        assert approvals(screen) == {}
        until(lambda: len(_circuits(screen)) == 12, "the first ETL run to reach every circuit", 180)

        training = f"{commands(screen, 'Train a circuit').strip()} --commit 5f1c7d9e02ab --out {tmp_path / 'out'}"
        trained = shell(training)
        assert "release P001_C001:1" in trained and "1 of 1 trained" in trained
        gate = until(lambda: approvals(screen).get("P001_C001:1"), "people to be asked", 180)
        assert gate["trained_by"] == "dana@plant.example"

        program.part("local.functions_host").kill()
        program.until_it_says("is started again", seconds=30)
        until(lambda: _is_healthy(address), "the app to be back")
        said = up(home, config, free_port())
        assert said.process.wait(30) == 1 and "Another runtime uses" in said.output()
        assert program.end(seconds=20, signal=signal.SIGINT) == 0
        assert "Stopped" in program.output() and "Traceback" not in program.output()
    assert not (home / "environment.json").exists() and not _is_healthy(address)

    with up(home, config, port) as program:
        screen = program.until_it_says(READY)
        assert approvals(screen)["P001_C001:1"] == gate
        answer = fleet(screen, "Approve", "--digest", gate["digest"])
        assert answer["recorded"][0]["event"] == "RegistryApproved"
        again = shell(training)
        assert "model version 1" in again  # trained once for its commit, and the state knows
        assert program.end(seconds=20, signal=signal.SIGTERM) == 0


def test_a_part_that_dies_for_good_ends_it_with_the_end_of_its_log(tmp_path: Path, config: Path) -> None:
    with up(tmp_path / "home", config, free_port()) as program:
        program.until_it_says(READY)
        program.part("local.platform").kill()
        assert program.end(seconds=30) == 1
        said = program.output()
    assert "The app is not up. The platform ended with exit code -9." in said
    assert shown(tmp_path / "home" / "logs" / "platform.log") in said and "Traceback" not in said


def test_a_taken_port_is_named_with_who_holds_it_and_what_to_do(tmp_path: Path, config: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        with up(tmp_path / "home", config, holder.getsockname()[1]) as program:
            assert program.process.wait(30) == 1
    assert "is held by" in program.output() and "set FLEET_PORT to another port" in program.output()


def test_a_configuration_that_is_wrong_is_named_by_file_and_line(tmp_path: Path, config: Path) -> None:
    circuit = config / "plants" / "P001" / "C001.yml"
    circuit.write_text(circuit.read_text().replace("target_column: temperature", "target_column: temprature"))
    with up(tmp_path / "home", config, free_port()) as program:
        assert program.process.wait(30) == 1
    assert re.search(r"plants/P001/C001\.yml:\d+", program.output()) and "temprature" in program.output()


def _circuits(screen: str) -> list[Any]:
    """The circuits that are known."""
    return list(fleet(screen, "See what needs somebody", "--circuits")["circuits"])


def _is_healthy(address: str) -> bool:
    try:
        return requests.get(f"{address}/api/health", timeout=2).ok
    except requests.RequestException:
        return False
