"""The contract of the ETL and training runner ports, on the embedded platform and on Synapse and AzureML."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness import Platform, new_command
from runners_harness import KINDS, Kind, LocalRunners, RunnersUnderTest, azure_runners, readings

from shared.domain.values import OperationState
from shared.errors import Transient


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return readings(tmp_path_factory.mktemp("landing"))


@pytest.fixture(params=["embedded", "azure"])
def runners(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunnersUnderTest]:
    """Runners to check the contract on; no fault outlives a test."""
    if request.param == "azure":
        with azure_runners(tmp_path, request.getfixturevalue("landing")) as azure:
            yield azure
        return
    platform: Platform = request.getfixturevalue("embedded_platform")
    yield LocalRunners(platform)
    platform.faults.switch_off()


every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
def test_started_work_runs_and_ends_with_its_times(runners: RunnersUnderTest, kind: Kind, command: str) -> None:
    reference = runners.start(kind, command)
    ended = runners.ended(kind, reference)
    assert ended.state is OperationState.SUCCEEDED, ended.error
    assert ended.started_at and ended.ended_at and ended.started_at <= ended.ended_at
    assert ended.started_at.tzinfo is not None and ended.outputs


@every_kind
def test_the_same_command_is_the_same_work_whenever_it_is_given(
    runners: RunnersUnderTest, kind: Kind, command: str
) -> None:
    before = runners.started()
    reference = runners.start(kind, command)
    assert runners.start(kind, command) == reference
    assert runners.ended(kind, reference).state is OperationState.SUCCEEDED
    assert runners.start(kind, command) == reference
    assert runners.started() == before + 1


@every_kind
def test_callers_who_race_on_one_command_start_its_work_once(
    runners: RunnersUnderTest, kind: Kind, command: str
) -> None:
    def start(_: int) -> str | None:
        try:
            return runners.start(kind, command)
        except Transient:
            return None  # somebody else is at it; the queue brings the command again

    before = runners.started()
    with ThreadPoolExecutor(8) as callers:
        references = {reference for reference in callers.map(start, range(16)) if reference}
    assert len(references | {runners.start(kind, command)}) == 1
    assert runners.started() == before + 1


@every_kind
def test_work_whose_answer_was_lost_is_found_and_not_started_again(
    runners: RunnersUnderTest, kind: Kind, command: str
) -> None:
    runners.start(kind, new_command())
    before = runners.started()
    runners.lose_answer(kind, command)
    with pytest.raises(Transient):
        runners.start(kind, command)
    reference = runners.start(kind, command)
    assert runners.started() == before + 1
    assert runners.ended(kind, reference).state is OperationState.SUCCEEDED


@every_kind
def test_a_runner_that_cannot_now_says_when_to_come_again(runners: RunnersUnderTest, kind: Kind, command: str) -> None:
    before = runners.started()
    runners.throttle(kind, command, seconds=17)
    with pytest.raises(Transient) as told:
        runners.start(kind, command)
    assert told.value.retry_after == 17
    assert runners.started() == before
    assert runners.start(kind, command) and runners.started() == before + 1


@every_kind
def test_work_that_fails_says_why_or_where_to_look(runners: RunnersUnderTest, kind: Kind, command: str) -> None:
    runners.fail(kind, command)
    failed = runners.ended(kind, runners.start(kind, command))
    assert (failed.state, failed.outputs) == (OperationState.FAILED, {})
    assert failed.error


@every_kind
def test_work_that_hangs_runs_until_it_is_cancelled(runners: RunnersUnderTest, kind: Kind, command: str) -> None:
    runners.hang(kind, command)
    reference = runners.start(kind, command)
    runners.running(kind, reference)
    assert runners.look(kind, reference).state is OperationState.RUNNING
    for _ in range(2):
        runners.runner(kind).cancel(reference)
        cancelled = runners.ended(kind, reference)
        assert (cancelled.state, cancelled.outputs) == (OperationState.CANCELLED, {})


@every_kind
def test_work_that_has_ended_is_left_as_it_is(runners: RunnersUnderTest, kind: Kind, command: str) -> None:
    reference = runners.start(kind, command)
    ended = runners.ended(kind, reference)
    runners.runner(kind).cancel(reference)
    assert runners.look(kind, reference) == ended


@every_kind
def test_work_that_nobody_started_is_unknown_and_cancelling_it_is_nothing(
    runners: RunnersUnderTest, kind: Kind
) -> None:
    nobody = runners.unknown(kind)
    assert runners.look(kind, nobody).state is OperationState.UNKNOWN
    runners.runner(kind).cancel(nobody)
