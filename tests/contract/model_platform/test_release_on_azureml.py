"""A release on the core and AzureML's adapter, whatever becomes of AzureML's events: they are hints, nothing more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from azure_harness import AzurePlatform

from shared.application import Application
from shared.domain.values import Pair, Stage
from tests.azure_services.arm import AzureMlState
from tests.azure_services.server import AzureServices
from tests.builders import CIRCUIT, START, model_tags
from tests.simulated import Predictions
from tests.world import World

MINUTE = timedelta(minutes=1)
PAIR = Pair(model=1, environment="1.0.0")


class Scoring:
    """The adapter, beside the machines that score: what a job would write lies in the lake of the world."""

    def __init__(self, world: World, azure: AzurePlatform) -> None:
        self._world, self._azure = world, azure
        self.jobs: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._azure.models, name)

    def start_scoring(self, command_id: str, stage: Stage, circuit: str, request_uri: str) -> str:
        job = self._azure.models.start_scoring(command_id, stage, circuit, request_uri)
        request = self._world.documents.at(request_uri)
        written = Predictions(request["command_id"], request["forecast_origin"], PAIR, True)
        self._world.lake.attempts[request["output_uri"]] = written
        self.jobs.append(job)
        return job


class Fleet:
    """One circuit whose models AzureML serves. `told`: how often each of its jobs' events comes, a minute apart."""

    def __init__(self, azure: AzurePlatform, told: int) -> None:
        self.azure = azure
        self.world = World()
        azure.azure.clock.advance(START - azure.now())
        azure.state.register_model(CIRCUIT, 1, model_tags(CIRCUIT, 1))
        self.platform = Scoring(self.world, azure)
        self.world.app = Application(replace(self.world.app.ports, platform=self.platform), self.world.fleet)
        self._told = Counter[str]()
        self._times = told

    def run(self, minutes: int) -> None:
        """Both clocks go on; job events come as soon as there is a job, so that the first are too early."""
        for _ in range(minutes):
            self.azure.azure.clock.advance(MINUTE)
            for job in self.platform.jobs:
                if self._told[job] < self._times:
                    self._told[job] += 1
                    self.world.tell(lambda app, job=job: app.look_at_job(job))  # type: ignore[misc]
            self.world.run(minutes=1)

    def started(self) -> Counter[str]:
        """How often each kind of work was really started."""
        calls = (each for each in self.azure.azure.requests() if each.status < 300)
        kinds = {"import": "promotion", "{deployment}": "deployment"}
        return Counter(
            kinds.get(each.operation.rsplit("/", 1)[-1], "scoring")
            for each in calls
            if (each.call.method == "PUT" and each.operation.endswith("/deployments/{deployment}"))
            or (each.call.method == "POST" and each.operation.endswith(("/import", "/jobs")))
        )


@pytest.fixture
def azure() -> Iterator[AzurePlatform]:
    state = AzureMlState()
    with AzureServices(*state.services()) as services:
        yield AzurePlatform(services, state)


@pytest.mark.parametrize("told", [0, 1, 3], ids=["never", "once, too early", "three times"])
def test_a_release_goes_live_and_starts_everything_once_however_often_events_come(
    azure: AzurePlatform, told: int
) -> None:
    fleet, release = Fleet(azure, told), f"{CIRCUIT}:1"
    fleet.world.register()
    fleet.run(2)
    fleet.world.approve(release)
    fleet.run(40)
    assert fleet.world.phase(release) == "awaiting production approval", fleet.world.story(release)
    fleet.world.approve(release)
    fleet.run(10)
    fleet.world.commit(circuits=(CIRCUIT,))
    fleet.run(30)
    assert fleet.world.phase(release) == "live", fleet.world.story(release)
    assert fleet.started() == {"promotion": 1, "deployment": 2, "scoring": 2}
    for stage in (Stage.TEST, Stage.PRODUCTION):
        deployed = azure.models.deployed(stage, CIRCUIT)
        assert deployed and deployed.pair == PAIR
    assert fleet.world.dead_letters() == []
