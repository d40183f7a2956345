"""One embedded platform for the session, with readings ingested and four circuits trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from harness import CONFIG, TRAINED, Lake, Platform, embedded, ingest, make_lake, new_command
from platform_process import PlatformProcess
from topic import Topic

from local.azurite import Azurite


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
    """The session's service; scoring jobs may take 6 seconds."""
    folder = tmp_path_factory.mktemp("platform")
    with PlatformProcess(
        state=folder / "state",
        config=CONFIG,
        lake=lake.folder,
        landing=lake.landing,
        topic_endpoint=topic.endpoint,
        topic_key=topic.key,
        storage_connection=azurite.connection_string,
        scoring_timeout=6,
        publish_backoff=0.1,
    ) as running:
        yield running


@pytest.fixture(scope="session")
def session_platform(
    process: PlatformProcess, topic: Topic, lake: Lake, tmp_path_factory: pytest.TempPathFactory
) -> Platform:
    platform = embedded(process, topic, lake, tmp_path_factory.mktemp("requests"))
    ingest(platform)
    started = [platform.training.start(new_command(), circuit, "0" * 40, "ann", "17") for circuit in TRAINED]
    for reference in started:
        platform.succeeded(reference)
    return platform


ADAPTERS: dict[str, Callable[[pytest.FixtureRequest], Platform]] = {
    "embedded": lambda request: request.getfixturevalue("session_platform"),
}


@pytest.fixture(params=ADAPTERS)
def platform(request: pytest.FixtureRequest) -> Iterator[Platform]:
    """A platform to check the contract on; no fault outlives a test."""
    tested = ADAPTERS[request.param](request)
    yield tested
    tested.faults.switch_off()
