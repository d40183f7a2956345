"""The configuration's repository: one contract, on Azure DevOps and on Git on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.domain.values import ChangeState
from shared.errors import Permanent, Transient
from tests.azure_services.definitions import SPECS
from tests.azure_services.server import Fault, Logged
from tests.contract.config_repository.repositories import (
    AFTER,
    BEFORE,
    COMMAND,
    PATH,
    OnDevops,
    OnThisMachine,
    Stage,
    change,
    problems,
)

needs_definitions = pytest.mark.skipif(not SPECS.is_dir(), reason="REFERENCE_DIR holds no REST definitions")


@pytest.fixture
def devops() -> Iterator[OnDevops]:
    stage = OnDevops()
    stage.start()
    yield stage
    stage.azure.__exit__(None, None, None)


@pytest.fixture(params=["azure", "local"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Stage:
    if request.param == "local":
        return OnThisMachine(tmp_path)
    made = request.getfixturevalue("devops")
    assert isinstance(made, OnDevops)
    return made


def test_a_change_is_a_branch_with_one_edited_file_and_says_why(stage: Stage) -> None:
    opened = stage.port.open_change(COMMAND, change())
    ((branch, text),) = stage.branches().items()
    assert text == AFTER
    assert branch.startswith("proposals/P001-C001-proposal-1")
    assert stage.said(branch) == "Train P001_C001 to 2026-03-01\n\nIt drifts."
    assert branch in opened.at or opened.at.endswith(f"/pullrequest/{opened.reference}")
    assert stage.port.look(opened.reference) is ChangeState.OPEN


def test_a_change_that_is_opened_twice_is_one(stage: Stage) -> None:
    first = stage.port.open_change(COMMAND, change())
    assert stage.port.open_change(COMMAND, change()) == first
    assert len(stage.branches()) == 1


def test_two_commands_make_two_changes(stage: Stage) -> None:
    stage.port.open_change(COMMAND, change())
    stage.port.open_change("P001_C001!proposal.1-2.OpenChange", change(to="2026-04-01"))
    assert len(stage.branches()) == 2


def test_what_people_make_of_a_change_is_seen(stage: Stage) -> None:
    merged = stage.port.open_change(COMMAND, change())
    given_up = stage.port.open_change("another", change(to="2026-04-01"))
    by_text = {text: branch for branch, text in stage.branches().items()}
    stage.abandon(by_text[BEFORE.replace("2025-12-09", "2026-04-01")])
    stage.merge(by_text[AFTER])
    assert stage.port.look(merged.reference) is ChangeState.MERGED
    assert stage.port.look(given_up.reference) is ChangeState.ABANDONED


def test_a_change_that_was_never_opened_is_unknown(stage: Stage) -> None:
    assert stage.port.look("4711" if isinstance(stage, OnDevops) else f"x@{'1' * 40}") is ChangeState.UNKNOWN


def test_a_change_that_was_opened_stays_what_it_was_when_main_goes_on(stage: Stage) -> None:
    first = stage.port.open_change(COMMAND, change())
    stage.commit(BEFORE.replace("P001\n", "P001\nname: renamed\n"))
    assert stage.port.open_change(COMMAND, change()) == first
    assert list(stage.branches().values()) == [AFTER]


@pytest.mark.parametrize(
    ("path", "to", "why"),
    [("plants/P001/C009.yml", "2026-03-01", "has no file"), (PATH, "2025-12-09", "says that already")],
)
def test_what_cannot_be_proposed_leaves_no_branch(stage: Stage, path: str, to: str, why: str) -> None:
    with pytest.raises(Permanent, match=why):
        stage.port.open_change(COMMAND, change(path, to))
    assert stage.branches() == {}


# ------------------------------------------------------------------------------------------------ Azure DevOps alone


@pytest.mark.parametrize("kind", ["lose", "refuse"])
@pytest.mark.parametrize("path", ["/refs$", "/pushes$", "/pullrequests$"])
def test_whatever_answer_is_lost_there_is_one_branch_and_one_pull_request(
    devops: OnDevops, path: str, kind: str
) -> None:
    devops.azure.faults.switch_on(
        Fault("lose" if kind == "lose" else "refuse", method="POST", path=path, status=503, retry_after=3)
    )
    with pytest.raises(Transient) as lost:
        devops.port.open_change(COMMAND, change())
    assert lost.value.retry_after == 3
    devops.port.open_change(COMMAND, change())
    assert list(devops.branches().values()) == [AFTER]
    assert [request.status for request in devops.state.pull_requests] == ["active"]


def test_an_identity_that_may_not_create_branches_is_told_so(devops: OnDevops) -> None:
    devops.state.may_create_branches = False
    with pytest.raises(Permanent, match="createBranchPermissionRequired"):
        devops.port.open_change(COMMAND, change())


def test_a_text_that_is_too_long_for_a_description_is_cut(devops: OnDevops) -> None:
    devops.port.open_change(COMMAND, change(text="x" * 5000))
    (request,) = devops.state.pull_requests
    assert len(request.description) == 4000 and request.description.endswith("…")


@pytest.fixture
def story(devops: OnDevops) -> list[Logged]:
    """The requests of a change that is opened and looked at."""
    opened = devops.port.open_change(COMMAND, change())
    devops.port.look(opened.reference)
    return devops.azure.requests(devops.service.name)


def test_the_story_has_every_operation_that_the_service_knows(devops: OnDevops, story: list[Logged]) -> None:
    known = {f"{endpoint.method} {devops.service.name}{endpoint.path}" for endpoint in devops.service.endpoints()}
    assert known == {logged.operation for logged in story}


@needs_definitions
def test_every_request_is_as_microsoft_defines_it(story: list[Logged]) -> None:
    assert {logged.operation: problems(logged.call) for logged in story} == {logged.operation: [] for logged in story}


# ------------------------------------------------------------------------------------------------- this machine alone


def test_what_somebody_edits_in_the_working_tree_is_not_touched(tmp_path: Path) -> None:
    stage = OnThisMachine(tmp_path)
    file = tmp_path / "config" / PATH
    file.write_text("half an edit\n")
    stage.port.open_change(COMMAND, change())
    assert file.read_text() == "half an edit\n"
    assert (tmp_path / ".git/HEAD").read_text() == "ref: refs/heads/main\n"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    stage = OnThisMachine(tmp_path / "repository")
    (tmp_path / "repository").rename(tmp_path / "elsewhere")
    with pytest.raises(Permanent, match=r"CONFIG_REPOSITORY is .*there is no such folder"):
        stage.port.open_change(COMMAND, change())
