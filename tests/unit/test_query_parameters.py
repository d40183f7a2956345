"""Times in a query: a day means its end, a time itself, and nothing later than now is ever asked about."""

from __future__ import annotations

from datetime import UTC, datetime

import azure.functions as func
import pytest

from functions.http import time_of
from shared.errors import Invalid

NOW = datetime(2026, 2, 10, 12, 0, tzinfo=UTC)


def asked(text: str | None) -> func.HttpRequest:
    params = {} if text is None else {"date": text}
    return func.HttpRequest("GET", "http://app.example/api/circuits/P001_C001/as-of", params=params, body=b"")


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
    ],
)
def test_a_day_is_its_end_and_a_time_is_itself(text: str | None, means: datetime) -> None:
    assert time_of(asked(text), "date", NOW) == means


@pytest.mark.parametrize("text", ["yesterday", "2026-02-30", "0001-01-01T00:00+10:00"])
def test_what_is_no_time_is_refused_by_name(text: str) -> None:
    with pytest.raises(Invalid, match=r"date: is .*allowed: a day such as 2026-01-31"):
        time_of(asked(text), "date", NOW)
