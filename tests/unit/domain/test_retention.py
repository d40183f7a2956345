"""Retention: one table for everything that is over."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from pydantic import ValidationError

from shared import records
from shared.configuration import Policy
from shared.domain.release import RELEASE
from shared.domain.retention import RETENTION, Kept, RetentionRules, kept_as
from shared.domain.scoring import SCORING
from shared.retention import ITEMS


def test_every_kind_of_item_is_archived_and_never_dropped() -> None:
    for kind in records.KINDS.values():
        assert kept_as(kind) in ITEMS
        assert RETENTION[kept_as(kind)].then == "archived", kind.name
    assert (kept_as(RELEASE), kept_as(SCORING)) == (Kept.HISTORY, Kept.LEDGER)


def test_the_table_and_the_policy_say_the_same_things() -> None:
    assert set(RETENTION) == set(Kept)
    assert {f"{kept}_days" for kept in Kept} == set(RetentionRules.model_fields)


def test_days_are_counted_back_from_now() -> None:
    assert RetentionRules().before(Kept.FAN_OUTS, datetime(2026, 3, 1, 23, tzinfo=UTC)) == date(2026, 2, 15)


@pytest.mark.parametrize("name", ["inbox_days", "lookups_days"])
def test_a_dead_letter_that_is_replayed_is_known_for_what_was_done_before(name: str) -> None:
    with pytest.raises(ValidationError, match=rf"{name} \(60\) must be more than dead_letters_days \(60\)"):
        RetentionRules(**{name: 60, "dead_letters_days": 60})


def test_a_gate_is_known_for_as_long_as_it_may_be_open() -> None:
    with pytest.raises(ValidationError, match=r"lookups_days \(120\) must be longer than a gate may be open"):
        Policy.model_validate(
            {"features": {"flow": {"unit": "m3/h", "minimum": 0, "maximum": 1}}, "approval_timeout_hours": 120 * 24}
        )
