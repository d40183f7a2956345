"""What reaches a terminal: nothing that it would obey, times that can be read, and tables of what is there."""

from __future__ import annotations

import json
import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.main import exit_code
from cli.screen import Screen, facts, plain, table, when

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


@given(st.text())
def test_no_text_moves_a_cursor_turns_a_line_around_or_hides(text: str) -> None:
    shown = plain(text)
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Kreislauf Süd 温度 🚨", "Kreislauf Süd 温度 🚨"),
        ("two\nlines", "two lines"),
        ("\x1b[2Jgone", "\\u001b[2Jgone"),
        ("\u202eabc", "\\u202eabc"),
        ("[red]markup[/red]", "[red]markup[/red]"),
        (None, "-"),
        (0, "0"),
    ],
)
def test_what_can_be_read_stays_and_what_cannot_is_spelled_out(text: object, shown: str) -> None:
    assert plain(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-01-31T10:00:00Z", "2026-01-31 10:00Z, 2 h ago"),
        ("2026-01-31T14:00:00+01:00", "2026-01-31 13:00Z, in 1 h"),
        ("2026-01-28T12:00:00Z", "2026-01-28 12:00Z, 3 d ago"),
        ("2026-01-31T11:59:30Z", "2026-01-31 11:59Z, 30 s ago"),
        (None, "-"),
        ("soon\x07", "soon\\u0007"),
    ],
)
def test_a_time_says_when_and_how_long_ago(text: str | None, shown: str) -> None:
    assert when(text, NOW) == shown


def test_programs_get_the_answer_itself_in_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    screen.as_json = True
    screen.show({"reason": "\x9b31m \u202e"}, facts([("never", "shown")]))
    said = capsys.readouterr().out
    assert said.isascii() and "\x9b" not in said and json.loads(said) == {"reason": "\x9b31m \u202e"}


def test_people_get_tables_and_a_word_where_there_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    screen.show({}, table("Alerts", ("alert", "reason"), []), table("Gates", ("gate",), [["[bold]P001_C001:1"]]))
    said = capsys.readouterr().out
    assert "Alerts: none" in said and "[bold]P001_C001:1" in said


@pytest.mark.parametrize(
    ("status", "code"), [(400, 2), (422, 2), (401, 3), (403, 3), (404, 1), (409, 1), (500, 4), (503, 4), (0, 4)]
)
def test_a_status_is_an_exit_code_that_a_script_can_act_on(status: int, code: int) -> None:
    assert exit_code(status) == code
