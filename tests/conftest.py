"""Fixtures for all tests, and a report that names every skip and fails CI on one that was not expected."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from local import ports
from local.azurite import Azurite
from ml.threads import limit_threads

limit_threads()  # before anything imports a numerical library: tests share few cores

TESTS = Path(__file__).parent
DEFAULT_EXPECTED_SKIPS = TESTS / "expected_skips.txt"
_skips: dict[str, str] = {}


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """One in-memory storage emulator for the whole session: use names of your own in it."""
    with Azurite() as storage:
        yield storage


@pytest.fixture
def free_port() -> int:
    """A port nothing listens on."""
    return ports.free_port()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        _note_skip(report.nodeid, report.longrepr)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        _note_skip(report.nodeid, report.longrepr)


def _note_skip(test: str, reason: object) -> None:
    text = str(reason[2]) if isinstance(reason, tuple) else str(reason)
    _skips[test] = text.removeprefix("Skipped: ")


def _unexpected_skips() -> dict[str, str]:
    """The skips that no line of the EXPECTED_SKIPS file (regular expressions over `test: reason`) matches."""
    path = Path(os.environ.get("EXPECTED_SKIPS") or DEFAULT_EXPECTED_SKIPS)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    expected = [re.compile(line) for line in lines if line.strip() and not line.startswith("#")]
    return {
        test: reason
        for test, reason in _skips.items()
        if not any(pattern.search(f"{test}: {reason}") for pattern in expected)
    }


def pytest_sessionfinish(session: pytest.Session) -> None:
    if os.environ.get("CI") and _unexpected_skips() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _skips:
        return
    unexpected = _unexpected_skips()
    terminalreporter.section("skipped, and why")
    for test, reason in sorted(_skips.items()):
        mark = " [UNEXPECTED]" if test in unexpected else ""
        terminalreporter.write_line(f"{test}: {reason}{mark}")
    if unexpected and os.environ.get("CI"):
        terminalreporter.write_line(
            f"{len(unexpected)} skip(s) were not expected here: mend what is missing, or add a line to the file that "
            "EXPECTED_SKIPS names (tests/expected_skips.txt)."
        )
