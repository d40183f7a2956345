"""Many gates decided at once: each by the rules of a single decision, with a result and a history of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shared.domain.messages import ApprovalDecided, Person
from shared.errors import Transient
from shared.gate_answers import GateAnswers, Taken
from tests.builders import ENGINEER, SECOND_ENGINEER, STRANGER, TRAINER, circuits, decided
from tests.world import Fleet, World

THIRTY = circuits(30)
AWAITING, PROMOTING = "awaiting registry approval", "promoting"


def asked_world(worlds: Callable[..., World], names: Sequence[str]) -> World:
    """A world in which the first gate of a release of each circuit is open."""
    world = worlds(fleet=Fleet(names))
    for circuit in names:
        world.register(circuit)
    world.run(minutes=5)
    return world


def read(world: World, names: Sequence[str], by: Person = ENGINEER, decision: str = "approve") -> list[ApprovalDecided]:
    """A person's answers to the circuits' gates, as they were read now."""
    approvals = [world.release(f"{circuit}:1").approval for circuit in names]
    return [decided(approval.id, approval.digest, by, decision) for approval in approvals if approval]


def take_all(world: World, answers: Sequence[ApprovalDecided]) -> dict[str, Taken]:
    return dict(GateAnswers(world.app, world.queries).take_all(answers))


def phases(world: World, names: Sequence[str]) -> list[str]:
    return [world.phase(f"{circuit}:1") for circuit in names]


def test_twenty_eight_are_approved_one_is_rejected_and_one_is_kept(worlds: Callable[..., World]) -> None:
    world = asked_world(worlds, THIRTY)
    approved, rejected, kept = THIRTY[:28], THIRTY[28:29], THIRTY[29:]
    answers = [*read(world, approved), *read(world, rejected, decision="reject")]
    named = [answer.model_copy(update={"request": "monday-round"}) for answer in answers]
    results = take_all(world, named)
    assert [taken.refused for taken in results.values()] == [""] * 29
    assert (phases(world, approved), phases(world, rejected)) == ([PROMOTING] * 28, ["rejected"])
    assert phases(world, kept) == [AWAITING]
    for answer in named:  # recorded one by one, each with the digest that it was read with
        line = world.history(answer.root, f"{answer.root}:1")[-1]["detail"]
        assert (line["digest"], line["request"]) == (answer.digest, "monday-round")
        assert line["person"]["username"] == ENGINEER.username


def test_a_batch_sent_again_records_nothing_twice_and_what_was_left(worlds: Callable[..., World]) -> None:
    world = asked_world(worlds, THIRTY[:4])
    answers = read(world, THIRTY[:4])
    take_all(world, answers[:2])
    results = take_all(world, answers)
    assert [bool(taken.moved) for taken in results.values()] == [False, False, True, True]
    assert not any(taken.refused for taken in results.values())
    assert [world.events(f"{circuit}:1").count("RegistryApproved") for circuit in THIRTY[:4]] == [1] * 4


def test_each_answer_of_a_batch_is_held_to_the_rules_of_a_single_one(worlds: Callable[..., World]) -> None:
    world = asked_world(worlds, THIRTY[:4])
    good, changed, own, never = read(world, THIRTY[:4])
    results = take_all(
        world,
        [
            changed.model_copy(update={"digest": "0" * 64}),
            own.model_copy(update={"person": TRAINER}),
            never.model_copy(update={"approval": f"{THIRTY[3]}:7:registry:1"}),
            good,
        ],
    )
    assert [taken.refused for taken in results.values()] == ["changed", "", "unknown", ""]
    assert [line["event"] for line in results[own.approval].moved] == ["ApprovalCounted"]
    assert phases(world, THIRTY[:4]) == [PROMOTING, AWAITING, AWAITING, AWAITING]
    refused = take_all(world, read(world, THIRTY[1:3], STRANGER))
    assert {taken.refused for taken in refused.values()} == {"forbidden"}


def test_two_people_who_answer_the_same_gates_at_once_each_learn_what_became_of_theirs(
    worlds: Callable[..., World],
) -> None:
    world = asked_world(worlds, THIRTY[:3])
    first, second = read(world, THIRTY[:2]), read(world, THIRTY[1:3], SECOND_ENGINEER, "reject")
    take_all(world, first)
    results = take_all(world, second)
    assert [taken.refused for taken in results.values()] == ["closed", ""]
    assert phases(world, THIRTY[:3]) == [PROMOTING, PROMOTING, "rejected"]


def test_a_store_that_fails_in_mid_batch_leaves_the_rest_for_the_same_batch_sent_again(
    worlds: Callable[..., World],
) -> None:
    world = asked_world(worlds, THIRTY[:3])
    answers = read(world, THIRTY[:3])

    def failing(point: str) -> None:
        if point.startswith("before") and "commit" in point and world.phase(f"{THIRTY[0]}:1") == PROMOTING:
            raise Transient("the store does not answer")

    world.effects.interrupt = failing
    results = take_all(world, answers)
    world.effects.interrupt = lambda point: None
    assert [taken.refused for taken in results.values()] == ["", "unavailable", "unavailable"]
    assert phases(world, THIRTY[:3]) == [PROMOTING, AWAITING, AWAITING]
    assert not any(taken.refused for taken in take_all(world, answers).values())
    assert phases(world, THIRTY[:3]) == [PROMOTING] * 3
