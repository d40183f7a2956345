#!/usr/bin/env python3
"""A circuit's configuration as it is in effect: its own file over its plant's defaults over the policy's.

  scripts/read_config.py P001_C001                                  all of it
  scripts/read_config.py P001_C001 training.environment_version     one value, or everything below a key

Exit codes: 0 done; 1 the configuration is not valid, or has no such circuit or key; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import yaml

from shared.config_changes import output_variable
from shared.configuration import CircuitConfig, ConfigurationError, load_fleet


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("circuit", help="{plant_id}_{circuit_id}")
    parser.add_argument("key", nargs="?", help="dotted key; default: everything")
    parser.add_argument("--format", choices=["yaml", "json", "devops"], default="yaml")
    parser.add_argument("--config", type=Path, default=Path("config"), help="default: %(default)s")
    given = parser.parse_args(arguments)
    try:
        value = value_at(load_fleet(given.config).circuit(given.circuit), given.key)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyError as error:
        print(error.args[0], file=sys.stderr)
        return 1
    print(_text(value, given.format, given.key or given.circuit))
    return 0


def value_at(circuit: CircuitConfig, key: str | None) -> Any:
    """What the circuit has at a dotted key (None: all); KeyError names the keys there are."""
    value: Any = circuit.model_dump(mode="json")
    for step in key.split(".") if key else ():
        if not isinstance(value, dict) or step not in value:
            allowed = ", ".join(value) if isinstance(value, dict) else "none, it is a value"
            raise KeyError(f"{circuit.key} has no {key}: {step!r} is not among {allowed}")
        value = value[step]
    return value


def _text(value: Any, form: str, name: str) -> str:
    if form == "json":
        return json.dumps(value, indent=2)
    if form == "devops":
        return output_variable(name.replace(".", "_"), value)
    return value if isinstance(value, str) else yaml.safe_dump(value, sort_keys=False).removesuffix("...\n").rstrip()


if __name__ == "__main__":
    sys.exit(main())
