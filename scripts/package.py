#!/usr/bin/env python3
"""Make what is uploaded to Azure: the Function App's package, or the ETL job's files.

    scripts/package.py app FILE.zip   what function_app.py imports, its packages for Azure's Python, configuration
    scripts/package.py etl FOLDER     spark_job.py, spark_upkeep.py, fleet.zip and config.zip, as ETL_CODE_URI has them

Of our own modules the app's package holds those that function_app.py reaches through imports, also late ones, and no
others. The packages are those of requirements.txt with their hashes, as wheels for Linux and Python 3.12.
"""

from __future__ import annotations

import argparse
import ast
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

ROOT = Path(__file__).resolve().parents[1]
APP = ("function_app.py", "host.json", "requirements.txt")
SPARK_JOBS = ("etl/spark_job.py", "etl/spark_upkeep.py")
PYTHON, PLATFORM = "3.12", "x86_64-manylinux_2_28"
"""Azure's; infra/modules/function_app.bicep asks for the same Python."""
SITE_PACKAGES = ".python_packages/lib/site-packages"
EPOCH = (2020, 1, 1, 0, 0, 0)
"""The time of every file in an archive: the same content gives the same bytes."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("app", "etl"))
    parser.add_argument("to", type=Path, help="the file (app) or folder (etl) to write")
    parser.add_argument("--without-packages", action="store_true", help="app: our own files only")
    given = parser.parse_args(arguments)
    if given.what == "etl":
        return etl(given.to)
    return app(given.to, packages=not given.without_packages)


def app(file: Path, *, packages: bool) -> int:
    """Write the Function App's package."""
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / SITE_PACKAGES
        if packages and (code := _install(site)):
            return code
        own = {ROOT / name for name in APP} | reached(ROOT / "function_app.py") | set(_shown())
        installed = [path for path in Path(folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        file.parent.mkdir(parents=True, exist_ok=True)
        with ZipFile(file, "w", ZIP_DEFLATED) as archive:
            _add(archive, ROOT, own)
            _add(archive, Path(folder), installed)
    print(f"{file}: {len(own)} files of ours, {len(installed)} of packages, {file.stat().st_size / 2**20:.1f} MB")
    return 0


def etl(folder: Path) -> int:
    """Write the files that the Spark jobs are submitted with."""
    (folder / "etl").mkdir(parents=True, exist_ok=True)
    for job in SPARK_JOBS:
        shutil.copyfile(ROOT / job, folder / job)
    with ZipFile(folder / "fleet.zip", "w", ZIP_DEFLATED) as archive:
        _add(archive, ROOT, [*(ROOT / "etl").rglob("*.py"), *(ROOT / "shared").rglob("*.py")])
    with ZipFile(folder / "config.zip", "w", ZIP_DEFLATED) as archive:
        _add(archive, ROOT / "config", (ROOT / "config").rglob("*.yml"))
    print(
        f"{folder}: {', '.join(sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file()))}"
    )
    return 0


def reached(module: Path) -> set[Path]:
    """A module and those of ours that it imports, at any time and through others."""
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        waiting += _imported(path)
    return found


def third_party(modules: Iterable[Path]) -> set[str]:
    """The top-level names of what modules import and neither this repository nor Python has."""
    own = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    names = {name.partition(".")[0] for path in modules for name in _names(path)}
    return names - own - sys.stdlib_module_names - {"__future__"}


def _imported(path: Path) -> Iterator[Path]:
    for name in _names(path):
        parts = name.split(".")
        for depth in range(1, len(parts) + 1):
            base = ROOT.joinpath(*parts[:depth])
            if (base / "__init__.py").exists():
                yield base / "__init__.py"
            elif base.with_suffix(".py").exists():
                yield base.with_suffix(".py")


def _names(path: Path) -> Iterator[str]:
    """What a module imports at any time but for types alone; `from a import b` may mean the module a.b."""
    tree = ast.parse(path.read_text())
    for_types = {each for node in ast.walk(tree) if _checks_types(node) for each in ast.walk(node)}
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _checks_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _shown() -> Iterator[Path]:
    """What the app reads besides modules: the configuration, and the pages that it serves."""
    yield from (ROOT / "config").rglob("*.yml")
    yield from (path for path in (ROOT / "functions" / "static").rglob("*") if path.is_file())


def _install(folder: Path) -> int:
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    wheels = ["--python-version", PYTHON, "--python-platform", PLATFORM, "--only-binary", ":all:"]
    install = [
        uv,
        "pip",
        "install",
        "-q",
        "--require-hashes",
        "--no-compile-bytecode",
        "--target",
        str(folder),
        *wheels,
    ]
    return subprocess.run([*install, "-r", str(ROOT / "requirements.txt")], check=False).returncode


def _add(archive: ZipFile, root: Path, files: Iterable[Path]) -> None:
    for path in sorted(set(files)):
        entry = ZipInfo(str(path.relative_to(root)), EPOCH)
        entry.compress_type, entry.external_attr = ZIP_DEFLATED, 0o644 << 16
        archive.writestr(entry, path.read_bytes())


if __name__ == "__main__":
    sys.exit(main())
