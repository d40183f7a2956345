"""Documents: every link leads somewhere, every command is one, every alert has a runbook."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import function_app  # noqa: F401 (declares the endpoints)
from functions.endpoints import DECLARED
from shared.domain.alerts.causes import Cause
from tests.commands import OWN, ROOT, problems

DOCUMENTS = sorted({ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob(".azuredevops/*.md")})
SHELL = sorted({*ROOT.glob("scripts/*.sh"), *ROOT.glob("monitoring/*.sh"), ROOT / ".ci/run"})
RUNBOOKS = ROOT / "docs" / "runbooks"
PEOPLE_READ = [path for path in DOCUMENTS if "reference" not in path.parts and "adr" not in path.parts]

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def without_code(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as Git hosts make them."""
    headings = re.findall(r"^#+ (.+)$", without_code(document.read_text(encoding="utf-8")), re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in plain}


def commands(document: Path) -> Iterator[str]:
    """The lines of fenced blocks, and the code in a text, that run something of this repository."""
    text = document.read_text(encoding="utf-8")
    fenced = re.findall(r"```(?:bash|shell|sh)?\n(.*?)```", text, re.DOTALL)
    lines = [line.strip() for block in fenced for line in block.replace("\\\n", " ").splitlines()]
    lines += [code for code in re.findall(r"`([^`\n]+)`", without_code(text)) if " " in code or code.startswith("./")]
    for line in lines:
        if OWN.match(re.sub(r"^([A-Z_]+=\S* )+", "", line)):
            yield re.split(r" [>|] ", line)[0]


@every_document
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(document: Path) -> None:
    text = without_code(document.read_text(encoding="utf-8"))
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


COMMANDS = sorted({command for document in PEOPLE_READ for command in commands(document)})


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_in_a_document_is_one(command: str) -> None:
    assert problems(command) == []


def test_every_cause_of_an_alert_has_a_runbook() -> None:
    rows = re.findall(
        r"^\| `([a-z-]+)` \| \[[^\]]+\]\((\w+\.md)\) \|$", (RUNBOOKS / "README.md").read_text(), re.MULTILINE
    )
    assert sorted(cause for cause, _ in rows) == sorted(Cause)
    for cause, file in rows:
        assert cause in (RUNBOOKS / file).read_text(), f"{file} does not say what to do about {cause}"


def test_every_runbook_can_be_found() -> None:
    index = (RUNBOOKS / "README.md").read_text()
    assert [
        path.name for path in RUNBOOKS.glob("*.md") if path.name != "README.md" and f"({path.name})" not in index
    ] == []
    whole = (ROOT / "docs/README.md").read_text()
    top = [path for path in ROOT.glob("docs/*.md") if path.name != "README.md"]
    assert [path.name for path in top if f"({path.name})" not in whole] == []


def test_every_alert_rule_from_outside_names_a_runbook_that_is_there() -> None:
    named = set(re.findall(r"^    runbook: (\S+)", (ROOT / "monitoring/alerts.yml").read_text(), re.MULTILINE))
    assert named and [path for path in named if not (ROOT / path).is_file()] == []


def test_every_request_that_a_document_names_is_one_of_the_apis() -> None:
    routes = {(one.method, re.sub(r"\{\w+\}", "*", one.route)) for one in DECLARED.values()}
    unknown = []
    for document in PEOPLE_READ:
        for method, path in re.findall(r"`(GET|POST) /api/([\w/{}:@.!-]+)", document.read_text()):
            parts = path.split("/")
            fits = [
                route
                for verb, route in routes
                if verb == method
                and len(route.split("/")) == len(parts)
                and all(there in ("*", given) for there, given in zip(route.split("/"), parts, strict=True))
            ]
            if not fits and not path.startswith("hooks/"):
                unknown.append(f"{document.name}: {method} {path}")
    assert unknown == []


@pytest.mark.parametrize("file", SHELL, ids=lambda path: path.name)
def test_shell_is_as_shellcheck_wants_it(file: Path) -> None:
    shellcheck = Path(sys.executable).parent / "shellcheck"
    found = subprocess.run(
        [str(shellcheck), "--severity", "warning", "--external-sources", str(file)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout
