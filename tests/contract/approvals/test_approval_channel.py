"""What every approval channel promises."""

from __future__ import annotations

import pytest

from shared.errors import Transient
from tests.contract.approvals.channels import DIGEST, Channel, approval_id, instructions


def test_people_see_what_they_are_asked_and_where_the_evidence_lies(channel: Channel) -> None:
    channel.port.request(approval_id(), instructions())
    question = channel.questions[approval_id()]
    for name in ("release", "gate", "evidence", "digest"):
        assert question[name] == instructions()[name]


def test_a_gate_asked_again_and_again_is_one_question(channel: Channel) -> None:
    first = channel.port.request(approval_id(), instructions())
    assert all(channel.port.request(approval_id(), instructions()) == first for _ in range(3))
    assert list(channel.questions) == [approval_id()]


def test_a_gate_asked_anew_is_a_question_of_its_own(channel: Channel) -> None:
    runs = {channel.port.request(approval_id(number), instructions()).run for number in (1, 2)}
    assert set(channel.questions) == {approval_id(1), approval_id(2)}
    assert len(runs) == 2 or runs == {""}


def test_what_is_withdrawn_is_taken_back_where_it_was_asked(channel: Channel) -> None:
    for number in (1, 2):
        channel.port.request(approval_id(number), instructions())
    for _ in range(2):
        channel.port.withdraw(approval_id(1), "superseded by P001_C001:4")
    assert channel.taken_back == {approval_id(1)}


def test_nobody_has_answered_what_was_just_asked_or_never_asked(channel: Channel) -> None:
    assert not channel.port.look(approval_id(9), DIGEST)
    channel.port.request(approval_id(), instructions())
    assert all(ask.person is None for ask in channel.port.look(approval_id(), DIGEST))


def test_a_system_that_is_down_is_to_be_tried_again(channel: Channel) -> None:
    channel.port.request(approval_id(1), instructions())
    channel.break_down()
    with pytest.raises(Transient):
        channel.port.request(approval_id(2), instructions())
    with pytest.raises(Transient):
        channel.port.withdraw(approval_id(1), "superseded")
