#!/usr/bin/env python3
"""Act on the model platform past the app, for when the app cannot be had (break-glass). Nobody is asked: report it.

  scripts/break_glass.py promote P001_C001 --model 3 --reason "..."
  scripts/break_glass.py deploy P001_C001 --stage production --model 3 --environment 1.0.0 --reason "..."
  scripts/break_glass.py roll-back P001_C001 --reason "..."      to the pair that the deployment's tags record as before
  scripts/break_glass.py report .local/break_glass/P001_C001-….json           hand in what the app did not take then

The app is told before anything is done: it then holds the circuit and does not undo what is done. If it does not
answer, the report is kept in a file, and the exit code is 3 until somebody hands it in. Settings are the app's own
(docs/reference/settings.md), in the environment or in a file like docs/examples/azure.settings.json (--settings).
Prints one JSON object. Exit codes: 0 done and reported; 1 not done; 2 wrong usage; 3 done, and still to be reported.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.fleet_api import ENVIRONMENT, ApiProblem, FleetApi
from shared.configuration import ConfigurationError, Fleet, load_fleet
from shared.domain.values import SCORING_TIME, SEMANTIC_VERSION, OperationState, Pair, Stage
from shared.errors import FleetError, Permanent, Transient
from shared.ports import ModelPlatform
from shared.settings import SettingsError

RECORDS = Path(".local/break_glass")
LOOK_SECONDS, LONGEST_SECONDS = 2.0, 2 * 3600.0
DID = {"promote": "promote", Stage.TEST: "deploy to test", Stage.PRODUCTION: "deploy to production"}
NOT_REPORTED = 3


class NotDone(Exception):
    """Nothing was done, or it did not end well; the text says which, why, and what would be needed."""


@dataclass(frozen=True)
class Action:
    """What is done with which circuit; `stage` None: promotion to the registry, which needs no environment."""

    circuit: str
    model: int
    environment: str
    stage: Stage | None
    reason: str
    request: str
    at: str
    scoring_time: timedelta = SCORING_TIME

    @property
    def did(self) -> str:
        return DID[self.stage or "promote"]

    def report(self) -> dict[str, Any]:
        """The body that the app takes."""
        body = {name: value for name, value in asdict(self).items() if name in ("model", "environment", "reason", "at")}
        return {**body, "action": self.request, "did": self.did}


def check(platform: ModelPlatform, fleet: Fleet, action: Action) -> Pair | None:
    """What the deployment serves now (None: nothing, or a promotion). Raises NotDone for what could not end well."""
    if action.circuit not in fleet.circuits:
        raise NotDone(f"there is no circuit {action.circuit}: plants_circuits.yml has {', '.join(fleet.circuits)}")
    if platform.describe_model(action.circuit, action.model) is None:
        raise NotDone(f"the dev workspace has no version {action.model} of {action.circuit}'s model")
    if action.stage is None:
        return None
    if action.environment not in fleet.environments:
        raise NotDone(
            f"there is no environment {action.environment}: config/environments has {', '.join(fleet.environments)}"
        )
    deployed = platform.deployed(action.stage, action.circuit)
    return deployed.pair if deployed else None


def before(platform: ModelPlatform, circuit: str) -> Pair:
    """The pair that production served before, by the deployment's own tags; raises NotDone where they name none."""
    deployed = platform.deployed(Stage.PRODUCTION, circuit)
    tags: Mapping[str, str] = deployed.tags if deployed else {}
    model, environment = tags.get("previous_model_version", ""), tags.get("previous_environment_version", "")
    if not model or not environment:
        raise NotDone(f"the production deployment of {circuit} records no pair before it: name one with `deploy`")
    return Pair(model=int(model), environment=environment)


def act(
    platform: ModelPlatform, action: Action, serves: Pair | None, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Start the action and wait for its end; raises NotDone when it ends badly, or not within two hours."""
    command = f"break-glass.{action.request}"

    def start() -> str:
        if action.stage is None:
            return platform.start_promotion(command, action.circuit, action.model)
        pair = Pair(model=action.model, environment=action.environment)
        return platform.start_deployment(command, action.stage, action.circuit, pair, serves, action.scoring_time)

    reference, waited = "", 0.0
    while True:
        wait = LOOK_SECONDS
        try:
            if reference:
                status = platform.look(reference)
                if status.state is OperationState.SUCCEEDED:
                    return
                if status.state is not OperationState.RUNNING:
                    raise NotDone(f"{reference} is {status.state}: {status.error or 'the platform says no more'}")
            else:
                reference, wait = start(), 0.0
        except Transient as error:
            print(f"again: {error}", file=sys.stderr)
            wait = error.retry_after or LOOK_SECONDS
        except Permanent as error:
            raise NotDone(str(error)) from error
        if waited >= LONGEST_SECONDS:
            raise NotDone(f"{reference or 'the start'} has not ended after two hours; look at it in AzureML's studio")
        sleep(wait)
        waited += wait


def hand_in(circuit: str, report: Mapping[str, Any]) -> None:
    """Tell the app; raises ApiProblem when it does not take it."""
    FleetApi().post(f"circuits/{circuit}/direct-actions", **report)


def _keep(folder: Path, action: Action) -> Path:
    """A file to hand in later; written before anything is done."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{action.circuit}-{action.request}.json"
    file.write_text(
        json.dumps({"circuit": action.circuit, "report": action.report()}, indent=2) + "\n", encoding="utf-8"
    )
    return file


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    try:
        return _report(given.file) if given.command == "report" else _do(given)
    except (NotDone, ConfigurationError, SettingsError, FleetError, ApiProblem, OSError) as error:
        print(error, file=sys.stderr)
        return 1


def _report(file: Path) -> int:
    kept = json.loads(file.read_text(encoding="utf-8"))
    hand_in(kept["circuit"], kept["report"])
    file.replace(file.with_suffix(".reported"))
    print(json.dumps({**kept, "reported": True}, indent=2))
    return 0


def _do(given: argparse.Namespace) -> int:
    from shared.wiring import platform_alone

    environment = {**os.environ, **_settings(given.settings)}
    platform, fleet = platform_alone(environment), load_fleet(Path(environment.get("CONFIG_FOLDER", "config")))
    pair = before(platform, given.circuit) if given.command == "roll-back" else None
    action = Action(
        circuit=given.circuit,
        model=pair.model if pair else given.model,
        environment=pair.environment if pair else getattr(given, "environment", ""),
        stage=Stage.PRODUCTION if pair else getattr(given, "stage", None),
        reason=given.reason,
        request=uuid4().hex,
        at=datetime.now(UTC).isoformat(),
    )
    if circuit := fleet.circuits.get(action.circuit):
        action = replace(action, scoring_time=timedelta(minutes=circuit.deployment.scoring_timeout_minutes))
    serves = check(platform, fleet, action)
    shown = {**action.report(), "circuit": action.circuit, "serves": serves.model_dump() if serves else None}
    if given.dry_run:
        print(json.dumps({**shown, "dry_run": True}, indent=2))
        return 0
    file, reported = _keep(given.record, action), True
    try:
        hand_in(action.circuit, action.report())
    except ApiProblem as problem:
        reported = False
        print(
            f"the app was not told ({problem}); when it is back: scripts/break_glass.py report {file}", file=sys.stderr
        )
    act(platform, action, serves)
    if reported:
        file.rename(file.with_suffix(".reported"))
    print(json.dumps({**shown, "done": True, "reported": reported, "report": str(file)}, indent=2))
    return 0 if reported else NOT_REPORTED


def _settings(file: Path | None) -> dict[str, str]:
    return dict(json.loads(file.read_text(encoding="utf-8"))["Values"]) if file else {}


def _parser() -> argparse.ArgumentParser:
    form: Any = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=ENVIRONMENT, formatter_class=form)
    commands = parser.add_subparsers(dest="command", required=True, metavar="promote|deploy|roll-back|report")
    for name in ("promote", "deploy", "roll-back"):
        command = commands.add_parser(name, description=__doc__, formatter_class=form)
        command.add_argument("circuit", help="P001_C001")
        command.add_argument("--reason", type=_reason, required=True, help="why the app cannot do it")
        command.add_argument("--dry-run", action="store_true", help="check everything, and do nothing")
        command.add_argument(
            "--record", type=Path, default=RECORDS, help="where reports are kept (default: %(default)s)"
        )
        command.add_argument("--settings", type=Path, help="a file with the app's settings")
        if name != "roll-back":
            command.add_argument("--model", type=_model, required=True, help="the model version")
        if name == "deploy":
            stages = (Stage.TEST, Stage.PRODUCTION)
            command.add_argument("--stage", type=Stage, choices=stages, required=True)
            command.add_argument("--environment", type=_environment, required=True, help="the environment version")
    report = commands.add_parser("report", description=__doc__, formatter_class=form)
    report.add_argument("file", type=Path)
    return parser


def _reason(text: str) -> str:
    if len(text.strip()) < 3:
        raise argparse.ArgumentTypeError("a reason is missing: it is what people find in the history")
    return text.strip()


def _model(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a model version")
    return int(text)


def _environment(text: str) -> str:
    if not re.fullmatch(SEMANTIC_VERSION, text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a version such as 1.0.0")
    return text


if __name__ == "__main__":
    sys.exit(main())
