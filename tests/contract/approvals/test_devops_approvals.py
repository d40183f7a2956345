"""What only Azure DevOps can do: who acted and for whom, what ended otherwise, what was lost, doubled or forged."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count

import pytest

from shared.adapters.azure.approvals import GatePipeline
from shared.domain.messages import Person
from shared.domain.values import AskState
from shared.errors import Permanent, Transient
from shared.ports import Ask, Asked
from tests.azure_services.devops import PIPELINE, PROJECT, Check
from tests.azure_services.server import Fault
from tests.builders import DIRECTOR, DIRECTORS, ENGINEER, ENGINEERS, TRAINER
from tests.contract.approvals.channels import BOTH, DIGEST, EITHER, RELEASE, OnDevops, approval_id, instructions
from tests.simulated import Effects, Killed, Through

RUNS = rf"/pipelines/{PIPELINE}/runs$"


def states(asks: object) -> list[AskState]:
    assert isinstance(asks, (list, tuple))
    return [ask.state for ask in asks]


# ----------------------------------------------------------------------------------------------------------- who acted


def test_the_approver_is_who_acted_by_their_directory_id_and_for_the_group_that_was_asked(devops: OnDevops) -> None:
    asked = devops.ask()
    devops.answer(ENGINEER, comment="looks right")
    assert devops.port.look(asked, DIGEST) == [Ask(AskState.APPROVED, ENGINEER, "looks right")]


def test_the_trainer_acts_as_themself_though_the_app_started_the_run(devops: OnDevops) -> None:
    asked = devops.ask()
    devops.answer(TRAINER)
    (ask,) = devops.port.look(asked, DIGEST)
    assert ask.person == TRAINER


def test_a_person_whom_the_directory_does_not_describe_is_known_by_their_name(devops: OnDevops) -> None:
    devops.state.says_who = False
    asked = devops.ask()
    devops.answer(ENGINEER)
    (ask,) = devops.port.look(asked, DIGEST)
    assert ask.person and (ask.person.username, ask.person.oid) == (ENGINEER.username, ENGINEER.username)


def test_a_program_is_no_person(devops: OnDevops) -> None:
    asked = devops.ask()
    devops.answer(Person(oid="app", name="A pipeline", username="app-1", groups=(ENGINEERS,)))
    with pytest.raises(Permanent, match="A pipeline is a program"):
        devops.port.look(asked, DIGEST)


def test_either_group_may_answer_one_question(devops: OnDevops) -> None:
    asked = devops.ask("production", EITHER)
    devops.answer(DIRECTOR)
    assert devops.port.look(asked, DIGEST) == [Ask(AskState.APPROVED, DIRECTOR)]


def test_each_of_several_groups_is_asked_by_a_stage_of_its_own(devops: OnDevops) -> None:
    asked = devops.ask("production", BOTH)
    assert [stage.environment for stage in devops.run.stages] == [
        f"production-workspace-{ENGINEERS}",
        f"production-workspace-{DIRECTORS}",
    ]
    devops.answer(DIRECTOR)
    assert devops.port.look(asked, DIGEST) == [Ask(AskState.PENDING), Ask(AskState.APPROVED, DIRECTOR)]
    devops.answer(ENGINEER, "rejected", "too early")
    assert devops.port.look(asked, DIGEST)[0] == Ask(AskState.REJECTED, ENGINEER, "too early")


def test_a_check_that_asks_for_two_tells_of_the_first_while_it_waits_for_the_second(devops: OnDevops) -> None:
    devops.state.environments["production-workspace"] = Check((ENGINEERS, DIRECTORS), required=2)
    asked = devops.ask("production", EITHER)
    devops.answer(ENGINEER)
    assert devops.port.look(asked, DIGEST) == [Ask(AskState.APPROVED, ENGINEER), Ask(AskState.PENDING)]
    devops.answer(DIRECTOR)
    assert devops.port.look(asked, DIGEST) == [Ask(AskState.APPROVED, ENGINEER), Ask(AskState.APPROVED, DIRECTOR)]


# ---------------------------------------------------------------------------------------------- what ended otherwise


def test_a_question_nobody_answered_times_out(devops: OnDevops) -> None:
    asked = devops.ask()
    assert states(devops.port.look(asked, DIGEST)) == [AskState.PENDING]
    devops.azure.clock.advance(timedelta(minutes=1441))
    assert states(devops.port.look(asked, DIGEST)) == [AskState.TIMED_OUT]


def test_a_deferred_yes_names_its_time_and_becomes_an_approval_then(devops: OnDevops) -> None:
    asked, until = devops.ask(), devops.azure.clock.now() + timedelta(hours=2)
    devops.answer(ENGINEER, "deferred", until=until)
    assert devops.port.look(asked, DIGEST) == [Ask(AskState.DEFERRED, ENGINEER, until=until), Ask(AskState.PENDING)]
    devops.azure.clock.advance(timedelta(hours=2))
    (ask,) = devops.port.look(asked, DIGEST)
    assert (ask.state, ask.person) == (AskState.APPROVED, ENGINEER)


def test_skipped_and_cancelled_are_told_apart_and_are_nobodys_answer(devops: OnDevops) -> None:
    asked = devops.ask()
    devops.devops.skip(devops.devops.open_approvals()[0])
    assert devops.port.look(asked, DIGEST) == [Ask(AskState.SKIPPED)]

    devops.renew()
    asked = devops.ask()
    devops.devops.cancel(devops.run)
    assert devops.port.look(asked, DIGEST) == [Ask(AskState.CANCELLED)]


def test_an_environment_that_asks_nobody_lets_nothing_through(devops: OnDevops) -> None:
    devops.state.environments["azureml-registry"] = None
    asked = devops.ask()
    assert devops.run.result == "succeeded"
    with pytest.raises(Permanent, match="azureml_registry asked nobody: its environment needs an approval check"):
        devops.port.look(asked, DIGEST)


def test_an_answered_run_is_not_cancelled_when_it_is_withdrawn(devops: OnDevops) -> None:
    asked = devops.ask()
    devops.answer(ENGINEER)
    devops.port.withdraw(asked, "superseded")
    assert devops.run.result == "succeeded"


# ------------------------------------------------------------------------------------------------ lost, doubled, forged


def test_a_start_whose_answer_was_lost_is_found_again(devops: OnDevops) -> None:
    devops.azure.faults.switch_on(Fault("lose", method="POST", path=RUNS, status=504))
    with pytest.raises(Transient):
        devops.ask()
    devops.ask()
    assert len(devops.state.runs) == 1


@pytest.mark.parametrize("moment", range(1, 9))
def test_a_crash_at_any_moment_asks_once(devops: OnDevops, moment: int) -> None:
    """The application dies before or after one of its writes; a new one goes on from what is written."""
    effects, points = Effects(), count(1)

    def interrupt(point: str) -> None:
        if next(points) == moment:
            raise Killed

    effects.interrupt = interrupt
    dying = devops.adapter(Through(devops.store, effects, "commit"))
    try:
        dying.request(approval_id(), instructions())
    except Killed:
        devops.azure.clock.advance(timedelta(minutes=3))  # whoever was at it is given up
    else:
        assert moment > 8, "the application lived: this moment does not come"
    asked = devops.port.request(approval_id(), instructions())
    assert asked.run == str(devops.run.id)
    devops.answer(ENGINEER)
    assert states(devops.port.look(approval_id(), DIGEST)) == [AskState.APPROVED]


def test_callers_that_race_start_one_run(devops: OnDevops) -> None:
    def ask(_: int) -> Asked | None:
        try:
            return devops.port.request(approval_id(), instructions())
        except Transient:
            return None

    with ThreadPoolExecutor(4) as callers:
        answers = set(callers.map(ask, range(8)))
    assert len(devops.state.runs) == 1
    assert len(answers - {None}) == 1


def test_a_gate_withdrawn_after_a_crash_before_its_run_was_known_is_cancelled(devops: OnDevops) -> None:
    devops.azure.faults.switch_on(Fault("lose", method="POST", path=RUNS, status=504))
    with pytest.raises(Transient):
        devops.ask()
    devops.port.withdraw(approval_id(), "superseded")
    assert devops.run.result == "canceled"


def test_a_run_somebody_else_started_in_our_name_answers_nothing(devops: OnDevops) -> None:
    """Whoever may start the pipeline can name our approval, but does not know the nonce."""
    devops.azure.faults.switch_on(Fault("refuse", method="POST", path=RUNS, status=503))
    with pytest.raises(Transient):
        devops.ask()
    (row,) = devops.store.read_range("gate-runs", "asked|", "asked|~")
    devops.start_by_hand({**row.body["parameters"], "nonce": "guessed"})
    devops.ask()
    ours = [run for run in devops.state.runs.values() if run.parameters["nonce"] != "guessed"]
    assert len(ours) == 1
    forged_approval = next(a for a in devops.devops.open_approvals() if a.run != ours[0].id)
    devops.devops.answer(ENGINEER, forged_approval, "approved")
    assert states(devops.port.look(approval_id(), DIGEST)) == [AskState.PENDING]


def test_a_run_that_was_started_for_other_evidence_is_not_believed(devops: OnDevops) -> None:
    asked = devops.ask()
    devops.answer(ENGINEER)
    with pytest.raises(Permanent, match="does not ask"):
        devops.port.look(asked, "00" * 32)
    devops.run.parameters["digest"] = "00" * 32
    with pytest.raises(Permanent, match="does not ask"):
        devops.port.look(asked, DIGEST)


def test_an_approval_id_does_not_stand_for_other_evidence(devops: OnDevops) -> None:
    devops.ask()
    with pytest.raises(Permanent, match="was asked with other evidence already"):
        devops.port.request(approval_id(), {**instructions(), "digest": "00" * 32})


def test_a_deleted_run_is_said_to_be_deleted(devops: OnDevops) -> None:
    asked = devops.ask()
    devops.state.runs.clear()
    with pytest.raises(Permanent, match="was deleted: ask again"):
        devops.port.look(asked, DIGEST)


# ------------------------------------------------------------------------------------------------------------- troubles


def test_throttling_says_when_to_come_again_and_starts_nothing(devops: OnDevops) -> None:
    devops.azure.faults.switch_on(Fault("refuse", method="POST", path=RUNS, status=429, retry_after=42))
    with pytest.raises(Transient) as throttled:
        devops.ask()
    assert throttled.value.retry_after == 42
    devops.ask()
    assert len(devops.state.runs) == 1


def test_a_service_that_hangs_is_to_be_tried_again(devops: OnDevops) -> None:
    devops.azure.faults.switch_on(Fault("hang", method="POST", path=RUNS, seconds=30))
    with pytest.raises(Transient, match="does not answer"):
        devops.ask()


def test_an_environment_that_does_not_exist_is_said_in_the_services_words(devops: OnDevops) -> None:
    del devops.state.environments["azureml-registry"]
    with pytest.raises(Permanent, match="Environment azureml-registry could not be found"):
        devops.ask()


def test_a_gate_that_cannot_be_asked_by_a_pipeline_is_refused_before_anything_is_started() -> None:
    gate = GatePipeline.of("https://dev.azure.com/contoso/", PROJECT, PIPELINE)
    assert gate.graph == "https://vssps.dev.azure.com/contoso"
    assert gate.asking("production", EITHER) == ("production-workspace",)
    with pytest.raises(Permanent, match="asks the same groups twice"):
        gate.asking("production", ((ENGINEERS,), (ENGINEERS,)))
    with pytest.raises(Permanent, match="no environment asks the gate 'launch'"):
        gate.asking("launch", EITHER)


def test_people_are_led_to_the_run_that_asks_them(devops: OnDevops) -> None:
    asked = devops.port.request(approval_id(), instructions())
    assert asked.at.endswith(f"/contoso/{PROJECT}/_build/results?buildId={devops.run.id}")
    assert devops.run.name == f"{RELEASE}.registry.1".replace(":", ".")
