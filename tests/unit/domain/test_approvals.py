"""Approvals: who counts, when enough people said yes, and what an approval is bound to."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from shared.domain import approvals
from shared.domain.messages import ApprovalDecided, Person
from shared.domain.release import Phase, Release
from shared.domain.rules import Rules
from shared.domain.values import Gate, Pair
from tests.builders import (
    CIRCUIT,
    DIRECTOR,
    DIRECTORS,
    ENGINEER,
    ENGINEERS,
    SECOND_ENGINEER,
    START,
    STRANGER,
    TRAINER,
    decided,
    model_tags,
    person,
)

CHAMPION = Pair(model=1, environment="1.0.0")
EITHER = ((ENGINEERS, DIRECTORS),)
BOTH = ((ENGINEERS,), (DIRECTORS,))
BOTH_ROLES = person("bo", ENGINEERS, DIRECTORS)


def release(**changed: object) -> Release:
    fields = {
        "id": f"{CIRCUIT}:2",
        "circuit": CIRCUIT,
        "version": 2,
        "workspace": "dev",
        "environment": "1.0.0",
        "trainer": TRAINER.username,
        "tags": model_tags(version=2),
        "phase": Phase.AWAITING_PRODUCTION_APPROVAL,
        "created_at": START,
        "since": START,
        "test": {"job": "job-1", "rows": 24},
    }
    return Release.model_validate({**fields, **changed})


@pytest.mark.parametrize(
    ("requirement", "approvers", "enough"),
    [
        (EITHER, [], False),
        (EITHER, [STRANGER], False),
        (EITHER, [ENGINEER], True),
        (EITHER, [DIRECTOR], True),
        (BOTH, [ENGINEER], False),
        (BOTH, [ENGINEER, SECOND_ENGINEER], False),
        (BOTH, [DIRECTOR, ENGINEER], True),
        (BOTH, [BOTH_ROLES], False),
        (BOTH, [BOTH_ROLES, ENGINEER], True),
        (BOTH, [ENGINEER, BOTH_ROLES], True),
        (BOTH, [BOTH_ROLES, DIRECTOR], True),
        (BOTH, [BOTH_ROLES, BOTH_ROLES], False),
        (((ENGINEERS,), (ENGINEERS,)), [ENGINEER], False),
        (((ENGINEERS,), (ENGINEERS,)), [ENGINEER, SECOND_ENGINEER], True),
        ((), [], True),
    ],
)
def test_each_approval_asked_for_is_given_by_another_person_of_its_group(
    requirement: tuple[tuple[str, ...], ...], approvers: list[Person], enough: bool
) -> None:
    assert approvals.satisfied(requirement, approvers) is enough


def test_the_trainers_own_approval_is_recorded_and_does_not_count() -> None:
    mine = decided("a", "d", TRAINER)
    others = decided("a", "d", ENGINEER)
    assert approvals.counted(release(), [mine]) == []
    assert approvals.counted(release(), [mine, others]) == [ENGINEER]
    assert approvals.counted(release(), [decided("a", "d", ENGINEER, "reject")]) == []


@pytest.mark.parametrize("trainer", [TRAINER.username, TRAINER.username.upper(), TRAINER.oid])
def test_the_trainer_is_known_by_name_or_object_id_in_any_case(trainer: str) -> None:
    assert approvals.is_trainer(release(trainer=trainer), TRAINER)
    assert not approvals.is_trainer(release(trainer=trainer), ENGINEER)


def shown(gate: Gate = Gate.PRODUCTION, champion: Pair | None = CHAMPION, **changed: object) -> str:
    return approvals.digest(approvals.evidence(release(**changed), gate, champion))


CHANGES = {
    "candidate's version": shown(version=3),
    "candidate's environment": shown(environment="1.1.0"),
    "candidate's metrics": shown(tags=model_tags(version=2, mae="0.12")),
    "lineage": shown(tags=model_tags(version=2, data_asset_version="2026-01-21")),
    "trainer": shown(trainer="someone@example.org"),
    "champion's model": shown(champion=Pair(model=7, environment="1.0.0")),
    "champion's environment": shown(champion=Pair(model=1, environment="2.0.0")),
    "comparison": shown(tags=model_tags(version=2, comparison="better", comparison_champion_version="1")),
    "picture": shown(tags=model_tags(version=2, plot_backtest="file:///backtest.png")),
    "no champion": shown(champion=None),
    "test inference": shown(test={"job": "job-2", "rows": 24}),
    "target": shown(gate=Gate.REGISTRY),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_of_the_evidence_changes_its_digest(change: str) -> None:
    assert CHANGES[change] != shown()
    assert len(set(CHANGES.values())) == len(CHANGES)


def test_the_digest_does_not_depend_on_the_order_of_what_is_shown() -> None:
    evidence = approvals.evidence(release(), Gate.PRODUCTION, CHAMPION)
    assert approvals.digest(evidence) == approvals.digest(dict(reversed(evidence.items())))


def test_each_time_a_release_asks_it_is_another_approval_with_its_own_end() -> None:
    first = approvals.ask(release(asked=0, phase=Phase.AWAITING_REGISTRY_APPROVAL), {}, Rules(), START)
    second = approvals.ask(release(asked=1, phase=Phase.AWAITING_REGISTRY_APPROVAL), {}, Rules(), START)
    assert first.id != second.id
    assert first.digest == second.digest
    assert first.expires_at == START + timedelta(hours=24)


def test_evidence_says_whether_the_candidate_beats_the_naive_forecast() -> None:
    def beats(tags: dict[str, str]) -> object:
        return approvals.evidence(release(tags=tags), Gate.REGISTRY, None)["beats_naive"]

    assert beats(model_tags()) is True
    assert beats(model_tags(mae="0.16")) is False
    assert beats(model_tags(naive_mae="")) is None


def test_evidence_leaves_out_numbers_that_are_none() -> None:
    odd = model_tags(mae="0.1", rmse="n/a", r2="nan", naive_mae="")
    shown = approvals.evidence(release(tags=odd), Gate.REGISTRY, None)
    assert shown["candidate"]["metrics"] == {"mae": 0.1}


MEASURED = {
    "comparison": "better",
    "comparison_champion_version": "1",
    "comparison_holdout": "2026-01-21/2026-01-29",
    "comparison_mae": "0.11",
    "comparison_champion_mae": "0.14",
    "comparison_naive_mae": "0.2",
    "comparison_difference": "-0.04 to -0.02",
}


def compared(champion: Pair | None, **tags: str) -> dict[str, Any]:
    evidence = approvals.evidence(release(tags=model_tags(version=2, **tags)), Gate.PRODUCTION, champion)
    found: dict[str, Any] = evidence["comparison"]
    return found


def test_evidence_has_both_models_errors_of_one_holdout() -> None:
    assert compared(CHAMPION, **MEASURED) == {
        "verdict": "better",
        "reason": "",
        "holdout": "2026-01-21/2026-01-29",
        "candidate": {"mae": 0.11},
        "champion": {"mae": 0.14},
        "naive": {"mae": 0.2},
        "difference": "-0.04 to -0.02",
    }


@pytest.mark.parametrize(
    ("champion", "tags", "reason"),
    [
        (None, {}, "nothing serves yet"),
        (None, MEASURED, "nothing serves yet"),
        (CHAMPION, {}, "training did not measure it beside model 1"),
        (Pair(model=7, environment="1.0.0"), MEASURED, "beside model 1, but model 7 serves now"),
        (
            CHAMPION,
            {"comparison": "not comparable: 1.0 days of readings", "comparison_champion_version": "1"},
            "1.0 days of readings",
        ),
        (CHAMPION, {"comparison_champion_version": "1"}, ""),
    ],
)
def test_evidence_that_cannot_compare_says_why_and_shows_no_number_that_looks_like_it(
    champion: Pair | None, tags: dict[str, str], reason: str
) -> None:
    shown = compared(champion, **tags)
    assert shown["verdict"] == "not comparable" and reason in shown["reason"]
    assert shown.keys() == {"verdict", "reason"}


def test_no_metric_of_the_champion_is_shown_outside_the_comparison() -> None:
    evidence = approvals.evidence(release(tags=model_tags(version=2, **MEASURED)), Gate.PRODUCTION, CHAMPION)
    assert evidence["champion"] == {"model": 1, "environment": "1.0.0"}


def test_evidence_names_the_data_and_the_pictures() -> None:
    tags = model_tags(version=2, table_id="t-1", delta_version="7", plot_backtest="file:///runs/1/backtest.png")
    shown = approvals.evidence(release(tags=tags), Gate.REGISTRY, CHAMPION)
    assert shown["plots"] == {"backtest": "file:///runs/1/backtest.png"}
    assert shown["lineage"] == {name: tags[name] for name in approvals.LINEAGE if name in tags}
    assert {"data_asset_version", "table_id", "delta_version", "git_commit_sha"} <= shown["lineage"].keys()


def test_only_people_of_a_group_that_is_asked_may_answer() -> None:
    asked = approvals.ask(release(), {}, Rules(), START)
    assert approvals.may_answer(asked, ENGINEER) and approvals.may_answer(asked, DIRECTOR)
    assert not approvals.may_answer(asked, STRANGER)


def test_an_answer_is_the_same_fact_only_for_the_same_person_evidence_and_decision() -> None:
    answer = decided("a", "d", ENGINEER)
    others: list[ApprovalDecided] = [
        decided("b", "d", ENGINEER),
        decided("a", "e", ENGINEER),
        decided("a", "d", DIRECTOR),
        decided("a", "d", ENGINEER, "reject"),
    ]
    assert answer.identity == decided("a", "d", ENGINEER).identity
    assert answer.identity not in {other.identity for other in others}
