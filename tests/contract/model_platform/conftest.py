"""One embedded platform for the session, with readings ingested and four circuits trained."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from azure_harness import AzurePlatform
from harness import CONFIG, TRAINED, Lake, Platform, embedded, ingest, make_lake, new_command
from platform_process import PlatformProcess
from topic import Topic

from local.azurite import Azurite
from tests.azure_services.arm import AzureMlState
from tests.azure_services.server import AzureServices


@pytest.fixture
def command() -> str:
    """A command id that nothing has used."""
    return new_command()


@pytest.fixture(scope="session")
def topic() -> Iterator[Topic]:
    with Topic() as running:
        yield running


@pytest.fixture(scope="session")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return make_lake(tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="session")
def process(
    tmp_path_factory: pytest.TempPathFactory, topic: Topic, lake: Lake, azurite: Azurite
) -> Iterator[PlatformProcess]:
    """The session's service."""
    folder = tmp_path_factory.mktemp("platform")
    with PlatformProcess(
        state=folder / "state",
        config=CONFIG,
        lake=lake.folder,
        landing=lake.landing,
        topic_endpoint=topic.endpoint,
        topic_key=topic.key,
        storage_connection=azurite.connection_string,
        publish_backoff=0.1,
    ) as running:
        yield running


@pytest.fixture(scope="session")
def embedded_platform(
    process: PlatformProcess, topic: Topic, lake: Lake, tmp_path_factory: pytest.TempPathFactory
) -> Platform:
    platform = embedded(process, topic, lake, tmp_path_factory.mktemp("requests"))
    ingest(platform)
    started = [platform.training.start(new_command(), circuit, "0" * 40, "ann", "17") for circuit in TRAINED]
    for reference in started:
        platform.succeeded(reference)
    return platform


@pytest.fixture(scope="session")
def azure_platform() -> Iterator[AzurePlatform]:
    state = AzureMlState()
    with AzureServices(*state.services()) as azure:
        yield AzurePlatform(azure, state)


@pytest.fixture
def platform(embedded_platform: Platform) -> Iterator[Platform]:
    """The embedded platform; no fault outlives a test."""
    yield embedded_platform
    embedded_platform.faults.switch_off()
