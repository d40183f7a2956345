"""One release's calls of the model platform on both adapters; docs/reference/release_traces.md is what was recorded.

The calls are those of the real core on a simulated platform. `RECORD=1` writes the document anew.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from azure_harness import AzurePlatform
from harness import ModelsUnderTest, Platform, new_command

from shared.application import Application
from shared.domain.values import Stage
from tests.builders import CIRCUIT
from tests.world import World

DOCUMENT = Path(__file__).parents[3] / "docs" / "reference" / "release_traces.md"
HEAD = """# One release on both adapters

What a release asks of the model platform, from its registration to its first day in production, and what comes of it:
requests of the embedded adapter to `python -m local.platform`, and of the Azure adapter to the local AzureML service
that holds them against Microsoft's definitions. An answer is named where it is no success. Work is looked at until it
has ended; what is asked more than once in one step stands here once.

Recorded by `tests/contract/model_platform/test_release_traces.py`, which holds this page (`RECORD=1` writes it anew).

| # | the core asks | embedded platform | AzureML |
| --- | --- | --- | --- |
"""


@dataclass(frozen=True)
class Asked:
    """One call of the port."""

    method: str
    arguments: tuple[Any, ...]
    answer: Any

    def __str__(self) -> str:
        stage = next((f"{argument}" for argument in self.arguments if isinstance(argument, Stage)), "")
        return f"`{self.method}`" + (f" ({stage})" if stage else "")


class Noted:
    """A port whose calls are noted; a look at what was looked at before is no news."""

    def __init__(self, port: Any, asked: list[Asked]) -> None:
        self._port, self._asked = port, asked

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            answer = getattr(self._port, name)(*arguments)
            known = {each.arguments for each in self._asked if each.method == "look"}
            if name != "look" or arguments not in known:
                self._asked.append(Asked(name, arguments, answer))
            return answer

        return call


@pytest.fixture(scope="module")
def release() -> list[Asked]:
    """What the core asks of the platform for a release that goes live."""
    world, asked = World(), list[Asked]()
    platform = Noted(world.app.ports.platform, asked)
    world.app = Application(replace(world.app.ports, platform=platform), world.fleet)
    world.go_live()
    return asked


Requests = Callable[[], list[str]]


def played(release: list[Asked], platform: ModelsUnderTest, requests: Requests) -> list[list[str]]:
    """The requests of each call, when the same are made on this platform; work is looked at until it has succeeded."""
    references: dict[str, str] = {}
    commands: dict[str, str] = {}
    deployed = next(each for each in release if each.method == "start_deployment").arguments[3]
    traces = []
    for each in release:
        requests()
        if each.method == "look":
            platform.succeeded(references[each.arguments[0]])
        elif each.method.startswith("start_"):
            name, *others = each.arguments
            command = commands.setdefault(name, new_command())
            if each.method == "start_scoring":
                others[-1] = platform.request_uri(CIRCUIT, deployed, command)
            start = partial(getattr(platform.models, each.method), command, *others)
            references[each.answer] = platform.taken(start)
        else:
            assert getattr(platform.models, each.method)(*each.arguments), each
        traces.append(list(dict.fromkeys(requests())))
    return traces


def embedded_requests(records: Callable[[], list[logging.LogRecord]]) -> Requests:
    """The requests that urllib3 has logged since the last call."""
    seen = 0

    def new() -> list[str]:
        nonlocal seen
        lines = [record.args for record in records() if isinstance(record.args, tuple) and len(record.args) == 8]
        found = [_shown(f"{args[3]} {_nameless(str(args[4]))}", args[6]) for args in lines[seen:]]
        seen = len(lines)
        return found

    return new


def azure_requests(platform: AzurePlatform) -> Requests:
    seen = 0

    def new() -> list[str]:
        nonlocal seen
        logged = [each for each in platform.azure.requests() if each.call.service != "identity"]
        found = [_shown(_relative(each.operation), each.status) for each in logged[seen:]]
        seen = len(logged)
        return found

    return new


def _shown(request: str, status: Any) -> str:
    return f"`{request}`" if int(status) < 300 else f"`{request}` ({status})"


def _nameless(path: str) -> str:
    """The path with names in the place of what differs from run to run."""
    path = re.sub(r"^/(operations|jobs)/[^/]+", r"/\1/{name}", path)
    return path.lstrip("/")


def _relative(operation: str) -> str:
    method, _, path = operation.partition(" ")
    path = re.sub(r"^arm/subscriptions/\{\w+\}/resourceGroups/\{\w+\}/providers/[\w.]+/", "", path)
    path = re.sub(r"subscriptions/\{\w+\}/(resourceGroups/\{\w+\}/)?providers/[\w.]+/", "", path)
    return f"{method} {path}"


@pytest.fixture
def embedded_trace(
    release: list[Asked], embedded_platform: Platform, caplog: pytest.LogCaptureFixture
) -> list[list[str]]:
    with caplog.at_level(logging.DEBUG, "urllib3.connectionpool"):
        return played(release, embedded_platform, embedded_requests(lambda: caplog.records))


@pytest.fixture
def azure_trace(release: list[Asked]) -> Iterator[list[list[str]]]:
    from tests.azure_services.arm import AzureMlState
    from tests.azure_services.server import AzureServices

    state = AzureMlState()
    with AzureServices(*state.services()) as azure:
        platform = AzurePlatform(azure, state)
        yield played(release, platform, azure_requests(platform))


def test_a_release_asks_the_same_of_both_platforms_and_the_page_shows_what_comes_of_it(
    release: list[Asked], embedded_trace: list[list[str]], azure_trace: list[list[str]]
) -> None:
    assert all(embedded_trace) and all(azure_trace), "no call of the port is answered from memory"
    traces = zip(release, embedded_trace, azure_trace, strict=True)
    rows = [
        f"| {number} | {asked} | {'<br>'.join(embedded)} | {'<br>'.join(azure)} |"
        for number, (asked, embedded, azure) in enumerate(traces, start=1)
    ]
    page = HEAD + "\n".join(rows) + "\n"
    if os.environ.get("RECORD"):
        DOCUMENT.write_text(page, encoding="utf-8")
    assert DOCUMENT.read_text(encoding="utf-8") == page
