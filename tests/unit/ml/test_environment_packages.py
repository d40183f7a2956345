from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from ml.environment_packages import FOLDER, differing_packages, pinned_packages


def test_this_machine_trains_with_the_packages_that_the_environment_pins() -> None:
    assert pinned_packages()["scikit-learn"] == version("scikit-learn")
    assert differing_packages(FOLDER) == []


def test_a_package_in_another_version_is_named_and_one_that_is_not_installed_is_not(tmp_path: Path) -> None:
    (tmp_path / "requirements.in").write_text("# why\n-c other.txt\nnumpy\nno-such-package>=2  # needed there\n")
    (tmp_path / "requirements.txt").write_text("no-such-package==2.1 \\\n    --hash=x\nnumpy==0.1\nzlib==3\n")
    assert pinned_packages(tmp_path) == {"numpy": "0.1", "no-such-package": "2.1"}
    assert differing_packages(tmp_path) == [f"numpy {version('numpy')} instead of 0.1"]
