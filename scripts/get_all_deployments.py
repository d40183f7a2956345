#!/usr/bin/env python3
"""What a workspace really serves for every circuit, as JSON: read from the platform, not from what is recorded.

    python scripts/get_all_deployments.py [--stage production] [--environment 1.0.0]

Exit code 1 when the platform serves nothing for a circuit that was asked for by name.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from shared.domain.values import Stage
from shared.ports import ModelPlatform


def deployments(
    platform: ModelPlatform, circuits: Iterable[str], stage: Stage, environment: str | None = None
) -> dict[str, dict[str, Any] | None]:
    """Each circuit's pair and tags; None where nothing is deployed. `environment` keeps those that serve with it."""
    found: dict[str, dict[str, Any] | None] = {}
    for circuit in circuits:
        deployment = platform.deployed(stage, circuit)
        if environment and (deployment is None or deployment.pair.environment != environment):
            continue
        found[circuit] = {**deployment.pair.model_dump(), "tags": dict(deployment.tags)} if deployment else None
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("circuits", nargs="*", help="circuits as P001_C001 (default: all of the configuration)")
    parser.add_argument("--stage", type=Stage, choices=tuple(Stage), default=Stage.PRODUCTION)
    parser.add_argument("--environment", help="only what serves with this version")
    given = parser.parse_args(arguments)
    from shared.wiring import wired  # settings are asked for when something is, not by --help

    application = wired().application
    known = application.directory.circuits()
    if unknown := sorted(set(given.circuits) - set(known)):
        parser.error(f"no such circuit: {', '.join(unknown)}; plants_circuits.yml has {len(known)}")
    found = deployments(application.ports.platform, given.circuits or known, given.stage, given.environment)
    print(json.dumps(found, indent=2))
    return 1 if given.circuits and None in found.values() else 0


if __name__ == "__main__":
    raise SystemExit(main())
