"""A configuration file edited by a program looks as if a careful person had edited one value."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from shared.errors import Permanent
from shared.yaml_edit import with_value

CONFIG = Path(__file__).parents[2] / "config"
FILES = sorted((CONFIG / "plants").glob("*/*.yml"))
CUTOFF = ("training", "cutoff_date")


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}_{file.stem}")
def test_every_circuits_file_is_changed_in_one_line(file: Path) -> None:
    before = file.read_text()
    after = with_value(before, CUTOFF, "2026-03-01")
    changed = [(old, new) for old, new in zip(before.splitlines(), after.splitlines(), strict=True) if old != new]
    assert [new.strip() for _, new in changed] == ["cutoff_date: 2026-03-01"]
    assert str(yaml.safe_load(after)["training"]["cutoff_date"]) == "2026-03-01"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("training:\n  cutoff_date: 2025-12-09  # why\n", "training:\n  cutoff_date: 2026-03-01  # why\n"),
        ("training: {cutoff_date: '2025-12-09', x: 1}\n", "training: {cutoff_date: 2026-03-01, x: 1}\n"),
        ("# top\ntraining:\n  # below\n  x: 1\n", "# top\ntraining:\n  # below\n  cutoff_date: 2026-03-01\n  x: 1\n"),
        ("training: {x: 1}\n", "training: {cutoff_date: 2026-03-01, x: 1}\n"),
        ("training: {}\n", "training: {cutoff_date: 2026-03-01}\n"),
        ("plant_id: P001\n", "training:\n  cutoff_date: 2026-03-01\nplant_id: P001\n"),
        ("{plant_id: P001}", "{training: {cutoff_date: 2026-03-01}, plant_id: P001}"),
        ("training:\r\n  cutoff_date: 2025-12-09\r\n", "training:\r\n  cutoff_date: 2026-03-01\r\n"),
        (
            "training:\n  name: Zürich\n  cutoff_date: 2025-12-09",
            "training:\n  name: Zürich\n  cutoff_date: 2026-03-01",
        ),
    ],
)
def test_comments_order_and_spelling_stay_as_they_were(before: str, after: str) -> None:
    assert with_value(before, CUTOFF, "2026-03-01") == after


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("training: [\n", "not valid YAML"),
        ("- a\n", "holds no keys"),
        ("", "holds no keys"),
        ("training: soon\n", "training holds no keys"),
        ("training:\n  cutoff_date: [1]\n", "holds keys or a list"),
        ("a: &x {cutoff_date: 2025-12-09}\ntraining: *x\n", "without changing something else"),
    ],
)
def test_a_file_that_cannot_be_changed_so_is_left_to_a_person(text: str, why: str) -> None:
    with pytest.raises(Permanent, match=why):
        with_value(text, CUTOFF, "2026-03-01")
