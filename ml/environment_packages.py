"""Whether the packages of this machine are those of the environment that `ml/environment` describes."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "environment"


def pinned_packages(folder: Path = FOLDER) -> dict[str, str]:
    """The packages that the environment names itself, with the versions that are pinned for them."""
    named = re.findall(r"^([A-Za-z0-9][\w.-]*)", (folder / "requirements.in").read_text(encoding="utf-8"), re.MULTILINE)
    pins = dict(re.findall(r"^([\w.-]+)==([^\s;\\]+)", (folder / "requirements.txt").read_text(encoding="utf-8"), re.M))
    return {name: pins[name] for name in named}


def differing_packages(folder: Path = FOLDER) -> list[str]:
    """Packages that are installed here in another version than pinned, such as `numpy 2.4.1 instead of 2.4.2`.

    One that is not installed is left out: what reaches AzureML's stores is of no use without AzureML.
    """
    found = []
    for name, pin in pinned_packages(folder).items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            continue
        if installed != pin:
            found.append(f"{name} {installed} instead of {pin}")
    return found
