"""Hosts that run the sample app in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from local.azurite import Azurite
from local.functions_host.host import HostOptions
from tests.contract.functions_host.running_host import RunningHost, StartHost, sample_settings, start


@pytest.fixture
def settings(azurite: Azurite) -> dict[str, str]:
    return sample_settings(azurite)


@pytest.fixture
def start_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StartHost]:
    """Starts hosts with all their triggers; they stop with the test."""
    trace = tmp_path / "trace.jsonl"
    monkeypatch.setenv("TRACE_FILE", str(trace))
    running: list[RunningHost] = []

    def start_one(settings: Mapping[str, str], options: HostOptions | None = None) -> RunningHost:
        running.append(start(settings, options or HostOptions(grace_seconds=5), trace))
        return running[-1]

    yield start_one
    for each in running:
        each.stop()


@pytest.fixture(scope="module")
def host(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    """One host for a module's requests; its timers and queues do not run."""
    trace = tmp_path_factory.mktemp("host") / "trace.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACE_FILE", str(trace))
        running = start(sample_settings(azurite), HostOptions(listen=False, grace_seconds=5), trace)
        yield running
        running.stop()
