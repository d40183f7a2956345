"""What a query may say: a day means its end, nothing later than now is asked about, what is not known is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from functions.endpoints import read_query
from functions.parameters import At, Days, Page, PageOfDays
from shared.errors import Invalid

NOW = datetime(2026, 2, 10, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        (None, NOW),
        ("2026-01-31", datetime(2026, 1, 31, 23, 59, 59, 999999, tzinfo=UTC)),
        ("2026-01-31T10:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("2026-01-31T10:00Z", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("2026-01-31T10:00+02:00", datetime(2026, 1, 31, 8, tzinfo=UTC)),
        ("2026-02-10", NOW),
        ("2031-01-01", NOW),
        ("9999-12-31", NOW),
    ],
)
def test_a_day_is_its_end_and_a_time_is_itself(text: str | None, means: datetime) -> None:
    assert read_query(At, {} if text is None else {"date": text}).moment(NOW) == means


@pytest.mark.parametrize("text", ["yesterday", "2026-02-30", "0001-01-01T00:00+10:00"])
def test_what_is_no_time_is_refused_by_name(text: str) -> None:
    with pytest.raises(Invalid, match=r"date: is .*allowed: a day such as 2026-01-31"):
        read_query(At, {"date": text}).moment(NOW)


def test_a_span_without_days_is_the_last_seven() -> None:
    assert read_query(Days, {}).span(NOW.date()) == (date(2026, 2, 4), date(2026, 2, 10))
    assert read_query(Days, {"to": "2026-01-31"}).span(NOW.date()) == (date(2026, 1, 25), date(2026, 1, 31))
    assert read_query(Days, {"from": "2026-02-09"}).span(NOW.date()) == (date(2026, 2, 9), date(2026, 2, 10))


@pytest.mark.parametrize(
    "text", ["2026-1-31", "20260131", "2026-W05-6", "1769817600", "2026-01-31T00:00", "2026-02-30"]
)
def test_a_day_is_written_in_one_way(text: str) -> None:
    with pytest.raises(Invalid, match=r"from: is .*allowed: a day such as 2026-01-31"):
        read_query(Days, {"from": text})


@pytest.mark.parametrize("given", [{"Size": "5"}, {"contination": "x"}, {"first": "2026-01-31"}])
def test_a_parameter_that_is_not_known_is_named_with_those_that_are(given: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match=r"is no parameter of this request \(allowed: size, continuation, from, to\)"):
        read_query(PageOfDays, given)


def test_a_functions_key_in_the_query_is_between_the_caller_and_the_host() -> None:
    assert read_query(Page, {"code": "the-key", "size": "7"}).size == 7
