"""The storage emulator starts, keeps or forgets its state, and says what is wrong when it cannot run."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from azure.data.tables import TableServiceClient
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

from local.azurite import Azurite, AzuriteError
from local.ports import PortTaken, accepts, configured_port, free_port, free_ports

REPOSITORY = Path(__file__).parents[2]


def test_blobs_queues_and_tables_answer(azurite: Azurite) -> None:
    text = azurite.connection_string
    assert BlobServiceClient.from_connection_string(text).get_service_properties()
    assert QueueServiceClient.from_connection_string(text).get_service_properties()
    assert TableServiceClient.from_connection_string(text).get_service_properties()
    azurite.check()


def test_a_location_keeps_the_state_and_stopping_ends_every_process(tmp_path: Path) -> None:
    blob, queue, table = free_ports(3)
    ports = (blob, queue, table)
    for _ in range(2):
        with Azurite(tmp_path, ports) as storage:
            tables = TableServiceClient.from_connection_string(storage.connection_string)
            tables.create_table_if_not_exists("kept")
            assert [table.name for table in tables.list_tables()] == ["kept"]
            assert _processes_at(tmp_path)
        assert _processes_at(tmp_path) == []
    assert storage.ports == ports


def _processes_at(location: Path) -> list[int]:
    """The emulator's processes, told from those of other tests by the folder that they were given."""
    running = psutil.process_iter(["pid", "cmdline"])
    return [process.info["pid"] for process in running if str(location) in " ".join(process.info["cmdline"] or ())]


ORPHANING = """
import os, sys
from pathlib import Path
from azure.data.tables import TableServiceClient
from local.azurite import Azurite
storage = Azurite(Path(sys.argv[1])).start()
TableServiceClient.from_connection_string(storage.connection_string).create_table("kept")
print(storage.ports[2], flush=True)
sys.stdin.read()
"""


def test_no_emulator_outlives_a_killed_owner_and_its_state_is_saved(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ORPHANING, str(tmp_path)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        port = int(owner.stdout.readline())
        assert accepts(port)
        owner.kill()
    deadline = time.monotonic() + 10
    while accepts(port):
        assert time.monotonic() < deadline, "the emulator goes on"
        time.sleep(0.05)
    with Azurite(tmp_path) as storage:
        tables = TableServiceClient.from_connection_string(storage.connection_string)
        assert [table.name for table in tables.list_tables()] == ["kept"]


def test_a_dead_emulator_is_noticed() -> None:
    with Azurite() as storage:
        (emulator,) = (
            each for each in psutil.Process().children() if str(storage.ports[0]) in " ".join(each.cmdline())
        )
        emulator.kill()
        with pytest.raises(AzuriteError, match=r"has stopped \(exit code -9\)"):
            for _ in range(500):
                storage.check()
                time.sleep(0.01)


def test_a_taken_port_is_named_with_its_service_and_owner(free_port: int) -> None:
    blob, table = free_ports(2)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", free_port))
        holder.listen()
        with pytest.raises(
            PortTaken, match=rf"Port {free_port}, wanted for Azurite's queue service.*pid {os.getpid()}"
        ):
            Azurite(ports=(blob, free_port, table)).start()


def test_a_missing_emulator_names_the_command_that_installs_it(tmp_path: Path) -> None:
    with pytest.raises(AzuriteError, match="make setup"):
        Azurite(executable=tmp_path / "azurite").start()


def test_a_missing_node_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AzuriteError, match=r"Node\.js was not found.*Install Node\.js 20"):
        Azurite().start()


def test_an_old_node_is_named_with_its_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / "node"
    old.write_text("#!/bin/sh\necho v18.20.1\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AzuriteError, match=rf"{re.escape(str(old))} is version v18\.20\.1; Azurite needs 20"):
        Azurite().start()


def test_an_emulator_that_cannot_start_shows_its_last_output(tmp_path: Path) -> None:
    broken = tmp_path / "azurite"
    broken.write_text("#!/bin/sh\necho no such luck >&2\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(AzuriteError, match=r"exit code 3\).*no such luck"):
        Azurite(tmp_path / "state", executable=broken).start()


def test_a_port_comes_from_its_setting_else_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = free_port()
    monkeypatch.setenv("SOME_PORT", str(wanted))
    assert configured_port("SOME_PORT", "a test") == wanted
    monkeypatch.delenv("SOME_PORT")
    assert configured_port("SOME_PORT", "a test", default=wanted) == wanted
    assert configured_port("SOME_PORT", "a test") > 0
    monkeypatch.setenv("SOME_PORT", "seven")
    with pytest.raises(ValueError, match="SOME_PORT='seven' is not a port"):
        configured_port("SOME_PORT", "a test")
