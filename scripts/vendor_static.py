"""Copy the pages' libraries from node_modules to functions/static/vendor, from where the app serves them.

The app needs no Node and no internet to run, so what it serves lies in the repository; `package-lock.json` says which
version that is, and a test holds both together (`--check` only says which files differ).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NODE_MODULES = ROOT / "node_modules"
VENDOR = ROOT / "functions" / "static" / "vendor"

VENDORED: Mapping[str, str] = {
    "htm-preact.js": "htm/preact/standalone.module.js",
    "htm-preact.LICENSE.txt": "htm/LICENSE",
    "swagger-ui.js": "swagger-ui-dist/swagger-ui-bundle.js",
    "swagger-ui.css": "swagger-ui-dist/swagger-ui.css",
    "swagger-ui.LICENSE.txt": "swagger-ui-dist/LICENSE",
    "uplot.js": "uplot/dist/uPlot.esm.js",
    "uplot.css": "uplot/dist/uPlot.min.css",
    "uplot.LICENSE.txt": "uplot/LICENSE",
}
"""What each file in the vendor folder is, below node_modules."""


def stale() -> list[str]:
    """The files that are not what is locked, and those that nobody names."""
    differing = [
        name for name, source in VENDORED.items() if _content(VENDOR / name) != _content(NODE_MODULES / source)
    ]
    return sorted({*differing, *(file.name for file in VENDOR.glob("*") if file.name not in VENDORED)})


def _content(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; say which files are stale")
    given = parser.parse_args(arguments)
    if given.check:
        names = stale()
        print("\n".join(f"{name} is not what package-lock.json names: run scripts/vendor_static.py" for name in names))
        return 1 if names else 0
    missing = [source for source in VENDORED.values() if not (NODE_MODULES / source).is_file()]
    if missing:
        print(f"Not in node_modules: {', '.join(missing)}. Run make setup first.", file=sys.stderr)
        return 1
    VENDOR.mkdir(parents=True, exist_ok=True)
    for name in stale():
        (VENDOR / name).unlink(missing_ok=True)
    for name, source in VENDORED.items():
        (VENDOR / name).write_bytes((NODE_MODULES / source).read_bytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
