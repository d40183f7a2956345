"""What the pages load is what package-lock.json names, and comes with its licence."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import vendor_static


def test_the_vendored_files_are_the_locked_ones() -> None:
    assert vendor_static.stale() == [], "run scripts/vendor_static.py"


def test_every_vendored_library_has_its_licence_beside_it() -> None:
    libraries = {name.partition(".")[0] for name in vendor_static.VENDORED}
    assert {f"{library}.LICENSE.txt" for library in libraries} <= set(vendor_static.VENDORED)


def test_a_changed_a_missing_and_a_forgotten_file_are_found_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vendor_static, "VENDOR", tmp_path)
    assert vendor_static.main([]) == 0
    (tmp_path / "uplot.js").write_text("changed")
    (tmp_path / "uplot.css").unlink()
    (tmp_path / "left.js").touch()

    assert vendor_static.stale() == ["left.js", "uplot.css", "uplot.js"]
    assert vendor_static.main(["--check"]) == 1
    assert vendor_static.main([]) == 0
    assert vendor_static.main(["--check"]) == 0
