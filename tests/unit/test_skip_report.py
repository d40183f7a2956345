"""Every skip is named with its reason, and with CI set an unexpected one fails the run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TESTS = """
import pytest

@pytest.mark.skip(reason="REFERENCE_DIR is absent")
def test_expected(): ...

def test_inside():
    pytest.skip("no such machine")

@pytest.mark.xfail(reason="known")
def test_known(): assert False
"""
WHOLE_FILE = "import pytest\npytest.importorskip('a_module_that_does_not_exist')\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copy(REPOSITORY / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_whole.py").write_text(WHOLE_FILE)
    return tmp_path


def run(project: Path, *expected: str, ci: bool) -> subprocess.CompletedProcess[str]:
    (project / "expected.txt").write_text("# a comment\n" + "\n".join(expected))
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    environment |= {"EXPECTED_SKIPS": str(project / "expected.txt"), "PYTHONPATH": str(REPOSITORY)}
    environment |= {"CI": "true"} if ci else {}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(project), str(project)]
    return subprocess.run(command, env=environment, cwd=project, capture_output=True, text=True, check=False)


def test_every_skip_is_listed_with_its_reason(project: Path) -> None:
    answer = run(project, ci=False)
    assert answer.returncode == 0, answer.stdout
    assert "test_some.py::test_expected: REFERENCE_DIR is absent [UNEXPECTED]" in answer.stdout
    assert "test_some.py::test_inside: no such machine [UNEXPECTED]" in answer.stdout
    assert "test_whole.py: could not import 'a_module_that_does_not_exist'" in answer.stdout
    assert "test_known" not in answer.stdout


def test_in_ci_an_unexpected_skip_fails_the_run(project: Path) -> None:
    answer = run(project, "REFERENCE_DIR", "a_module_that_does_not_exist", ci=True)
    assert answer.returncode == 1
    assert "test_expected: REFERENCE_DIR is absent\n" in answer.stdout
    assert "test_inside: no such machine [UNEXPECTED]" in answer.stdout
    assert "1 skip(s) were not expected here" in answer.stdout


def test_in_ci_expected_skips_pass(project: Path) -> None:
    assert run(project, "REFERENCE_DIR", "does_not_exist", "no such machine", ci=True).returncode == 0
