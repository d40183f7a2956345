"""The documents say what the code says, and every link and command in them leads somewhere."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scripts import draw_diagrams
from scripts.draw_diagrams import ROOT
from scripts.reference import picture
from shared.domain import messages as m
from shared.domain.machine import Then
from shared.domain.release import RELEASE, Phase

PAGES = sorted(path.relative_to(ROOT) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"`make ([a-z-]+)")
COMMAND_IN_BLOCK = re.compile(r"^ *make ([a-z-]+)", re.MULTILINE)
CODE_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", sorted(draw_diagrams.documents(ROOT)))
def test_a_generated_document_says_what_the_code_says(page: str) -> None:
    assert page not in draw_diagrams.stale(ROOT), f"{page} is stale: run make docs, and commit it"


def test_a_changed_or_missing_document_is_stale_and_is_written_again(tmp_path: Path) -> None:
    root = ["--root", str(tmp_path)]
    shutil.copy(ROOT / "README.md", tmp_path)
    assert draw_diagrams.main(root) == 0
    (tmp_path / "docs/reference/settings.md").unlink()
    messages = tmp_path / "docs/reference/messages.md"
    messages.write_text(messages.read_text().replace("`DeltaCommitted`", "`DeltaChanged`"))

    assert draw_diagrams.main(["--check", *root]) == 1
    assert draw_diagrams.stale(tmp_path) == ["docs/reference/messages.md", "docs/reference/settings.md"]
    assert draw_diagrams.main(root) == 0
    assert draw_diagrams.main(["--check", *root]) == 0


def test_the_picture_follows_the_transition_table() -> None:
    table = dict(RELEASE.table)
    table[Phase.READY, m.ModelPromoted] = Then(Phase.OBSERVING)
    assert "ModelPromoted| production_workspace" not in picture.write()
    assert "ModelPromoted| production_workspace" in picture.write(replace(RELEASE, table=table))


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = [target for target in _links(page) if not _leads_somewhere(page, target)]
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_make_command_is_one(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = (ROOT / page).read_text()
    in_blocks = {command for block in CODE_BLOCK.findall(text) for command in COMMAND_IN_BLOCK.findall(block)}
    assert {*COMMAND.findall(text), *in_blocks} <= targets


def _links(page: Path) -> Iterator[str]:
    text = CODE_BLOCK.sub("", (ROOT / page).read_text())
    yield from (target for target in LINK.findall(text) if not re.match(r"[a-z]+:", target))


def _leads_somewhere(page: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    file = (ROOT / page).parent / path if path else ROOT / page
    if not file.exists():
        return False
    return not anchor or anchor in _anchors(file)


def _anchors(file: Path) -> set[str]:
    """The anchors that a page's headings make: lower case, no punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ (.+)$", CODE_BLOCK.sub("", file.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
