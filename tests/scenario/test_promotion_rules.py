"""Promotion rules: a gate that is blocked takes no approval, until somebody with the right says why it may."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.advance import Advanced
from shared.domain import messages as m
from shared.domain.machine import Verdict
from shared.domain.promotion import PromotionRules, Rule
from shared.domain.release import Phase
from shared.domain.rules import Rules
from shared.domain.values import AskState, Channel
from shared.ports import Ask
from tests.builders import CIRCUIT, DIRECTOR, DIRECTORS, ENGINEER, STRANGER, TRAINER, model_tags, person
from tests.world import Fleet, World

RELEASE = f"{CIRCUIT}:1"
BLOCKING = PromotionRules(worse_than_naive=Rule(then="block"), override_groups=(DIRECTORS,))
WORSE = model_tags(mae="0.16")


@pytest.fixture
def world(worlds: Callable[..., World]) -> World:
    """A world in which a candidate that is worse than the naive forecast asks for its registry gate."""
    made = worlds(fleet=Fleet(common=Rules(promotion=BLOCKING)))
    made.register(tags=WORSE)
    made.run(minutes=5)
    return made


def override(world: World, by: m.Person, digest: str = "", request: str = "override-1") -> Advanced:
    approval = world.release(RELEASE).approval
    assert approval is not None
    fields = {"approval": approval.id, "digest": digest or approval.digest, "request": request}
    reason = "the sensor was replaced, and the naive forecast with it"
    return world.app.advance(m.GateOverridden(root=CIRCUIT, person=by, reason=reason, **fields))


def test_a_blocked_gate_takes_no_approval_and_says_who_may_do_what(world: World) -> None:
    refused = world.answer(RELEASE, ENGINEER)
    assert (refused.verdict, refused.code) == (Verdict.REFUSED, "blocked")
    assert "its mae 0.16 is not below the naive forecast's 0.15" in refused.reason
    assert world.phase(RELEASE) == Phase.AWAITING_REGISTRY_APPROVAL
    explained = world.queries.explain(CIRCUIT, world.fleet.common, world.now())
    assert explained is not None
    assert f"{DIRECTORS} may override that" in explained.under_way[0].waits_for


def test_a_blocked_gate_may_be_rejected(world: World) -> None:
    assert world.answer(RELEASE, ENGINEER, "reject").verdict is Verdict.APPLIED
    assert world.phase(RELEASE) == Phase.REJECTED


def test_an_override_is_shown_to_who_approves_and_kept_in_history(world: World) -> None:
    first = world.release(RELEASE).approval
    assert override(world, DIRECTOR).verdict is Verdict.APPLIED
    world.run(minutes=1)
    second = world.release(RELEASE).approval
    assert first and second and (first.id, first.digest) != (second.id, second.digest)
    (shown,) = second.evidence["findings"]
    assert (shown["blocks"], shown["overridden"]["by"]) == (False, DIRECTOR.username)
    assert "sensor was replaced" in shown["overridden"]["reason"]
    (line,) = [line for line in world.history(CIRCUIT, RELEASE) if line["event"] == "GateOverridden"]
    assert line["detail"]["person"]["username"] == DIRECTOR.username

    world.approve(RELEASE)  # the override itself was no approval
    world.run(minutes=30)
    production = world.release(RELEASE).approval
    assert production and production.evidence["findings"][0]["blocks"] is False, "the same words, overridden once"
    world.approve(RELEASE, DIRECTOR)
    world.commit()
    world.run(minutes=30)
    assert world.phase(RELEASE) == Phase.LIVE, world.story(RELEASE)
    served = world.queries.as_of(CIRCUIT, world.now())
    assert served is not None
    told = [each for each in served["release"]["answers"] if each["event"] == "GateOverridden"]
    assert [(each["person"], each["reason"][:10]) for each in told] == [(DIRECTOR.username, "the sensor")]


def test_only_somebody_with_the_right_overrides_and_only_what_they_read(world: World) -> None:
    trainer_and_director = person("tess", DIRECTORS)
    assert trainer_and_director.username == TRAINER.username
    for by, code in ((ENGINEER, "forbidden"), (STRANGER, "forbidden"), (trainer_and_director, "forbidden")):
        assert override(world, by).code == code
    assert override(world, DIRECTOR, digest="0" * 64).code == "changed"
    assert override(world, DIRECTOR).verdict is Verdict.APPLIED
    assert override(world, DIRECTOR).verdict is Verdict.REFUSED, "the same name for another gate's digest"
    refused = override(world, DIRECTOR, request="override-2")
    assert refused.code == "closed" and "nothing blocks" in refused.reason


def test_numbers_that_change_after_an_override_block_again(world: World) -> None:
    override(world, DIRECTOR)
    world.register(tags=model_tags(mae="0.19"), digest="second")
    world.run(minutes=5)
    assert world.answer(RELEASE, ENGINEER).code == "blocked"
    assert "0.19" in str(world.release(RELEASE).approval)


def test_a_gate_asked_outside_is_asked_again_when_somebody_approves_what_is_blocked(
    worlds: Callable[..., World],
) -> None:
    world = worlds(fleet=Fleet(common=Rules(promotion=BLOCKING, approval_channel=Channel.DEVOPS)))
    world.approvals.outside = True
    world.register(tags=WORSE)
    world.run(minutes=5)
    world.approvals.asks[f"{RELEASE}:registry:1"] = [Ask(AskState.APPROVED, ENGINEER, "fine")]
    world.app.look_at_gates()
    world.run(minutes=5)
    assert world.events(RELEASE).count("AnswerUsedUp") == 1
    assert world.phase(RELEASE) == Phase.AWAITING_REGISTRY_APPROVAL
    assert override(world, DIRECTOR).verdict is Verdict.APPLIED, "wherever the gate is answered"
    world.run(minutes=5)
    approval = world.release(RELEASE).approval
    assert approval is not None and approval.id == f"{RELEASE}:registry:3"
    world.approvals.asks[approval.id] = [Ask(AskState.APPROVED, ENGINEER, "fine")]
    world.app.look_at_gates()
    world.run(minutes=5)
    assert "RegistryApproved" in world.events(RELEASE)
    world.order(m.CancelRequested, release=RELEASE)
