#!/usr/bin/env python3
"""Write the JSON Schemas of the configuration files to config/schemas/; `--check` only says which are stale."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from shared.config_schemas import stale_schemas

FOLDER = Path(__file__).resolve().parents[1] / "config" / "schemas"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 when a schema is stale")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="default: %(default)s")
    given = parser.parse_args(arguments)
    stale = stale_schemas(given.folder)
    for name, text in stale.items():
        path = given.folder / name
        if given.check:
            print(f"{path} is stale: run scripts/write_config_schemas.py, and commit it", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"{path} written")
    return 1 if given.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
