#!/usr/bin/env python3
"""Every circuit of the fleet, or of some plants, as a list or as the job matrix of a pipeline.

  scripts/load_all_circuits.py                                    one key a line
  scripts/load_all_circuits.py --format devops --jobs 20          output variables `matrix` and `count`

Exit codes: 0 done; 1 the configuration is not valid, or has no such plant; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from shared.config_changes import ChangesUnknown, matrix, output_variable
from shared.configuration import ConfigurationError, load_fleet


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plant", action="append", help="only this plant; may be repeated")
    parser.add_argument("--format", choices=["text", "json", "matrix", "devops"], default="text")
    parser.add_argument("--jobs", type=int, help="spread the circuits over at most so many jobs of the matrix")
    parser.add_argument("--config", type=Path, default=Path("config"), help="default: %(default)s")
    given = parser.parse_args(arguments)
    if given.jobs is not None and given.jobs < 1:
        parser.error("--jobs must be at least 1")
    try:
        fleet = load_fleet(given.config)
        if unknown := sorted(set(given.plant or ()) - set(fleet.plants)):
            print(f"no plant {', '.join(unknown)}; plants: {', '.join(fleet.plants)}", file=sys.stderr)
            return 1
        keys = [circuit.key for circuit in fleet if not given.plant or circuit.plant_id in given.plant]
        jobs = matrix(keys, given.jobs) if given.format in ("matrix", "devops") else {}
    except (ConfigurationError, ChangesUnknown) as error:
        print(error, file=sys.stderr)
        return 1
    match given.format:
        case "json":
            print(json.dumps([fleet.circuit(key).model_dump(mode="json") for key in keys], indent=2))
        case "matrix":
            print(json.dumps(jobs))
        case "devops":
            print(output_variable("matrix", jobs), output_variable("count", len(keys)), sep="\n")
        case _:
            print(*keys, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
