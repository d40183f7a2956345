"""The artifact of a build: for each circuit from what it was trained, and what came of it."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from shared.configuration import CircuitConfig, Fleet
from shared.domain.approvals import METRICS
from shared.domain.comparison import numbers
from shared.domain.release import release_id
from shared.domain.training import Phase, TrainingRun
from shared.errors import Invalid
from shared.training_build import Change

FILE_NAME = "build.json"


def build_artifact(
    change: Change,
    fleet: Fleet,
    runs: Mapping[str, TrainingRun],
    tags: Mapping[str, Mapping[str, str]],
    problems: Mapping[str, str],
    new_environments: Collection[str] = (),
) -> dict[str, Any]:
    """What is published. runs and problems are by circuit; tags are those of the registered models, by circuit.

    problems: circuits that were not trained because their data could not be prepared.
    """
    circuits = {circuit: fleet.circuit(circuit) for circuit in sorted({*runs, *problems})}
    versions = {*new_environments} | {circuit.training.environment_version for circuit in circuits.values()}
    return {
        "config_commit": change.commit,
        "author": change.author,
        "pull_request": change.pull_request,
        "environments": {
            version: {"reference": spec.reference, "tags": spec.tags(change.commit, change.pull_request)}
            for version, spec in fleet.environments.items()
            if version in versions
        },
        "circuits": {
            key: _trained(circuit, runs[key], tags[key], change)
            if key in runs and runs[key].phase == Phase.TRAINED
            else _not_trained(circuit, runs[key].reason if key in runs else problems[key], change)
            for key, circuit in circuits.items()
        },
    }


def merged(parts: Sequence[Mapping[str, Any]], expected: Sequence[str]) -> dict[str, Any]:
    """One artifact of the parts that the jobs of one build left; of a circuit in several, the part that trained it.

    A circuit of `expected` that no part has was not trained. Raises Invalid for parts of different commits.
    """
    commits = sorted({str(part["config_commit"]) for part in parts})
    if len(commits) > 1:
        raise Invalid("parts", f"are of several commits: {', '.join(commits)}", "parts of one build")
    circuits: dict[str, Any] = {}
    environments: dict[str, Any] = {}
    for part in parts:
        environments |= part["environments"]
        for circuit, told in part["circuits"].items():
            if told["trained"] or circuit not in circuits:
                circuits[circuit] = told
    unheard = {"trained": False, "reason": "no training job told of it: see the log of its job"}
    whole = circuits | {circuit: unheard for circuit in expected if circuit not in circuits}
    return {
        **{name: parts[0][name] if parts else "" for name in ("config_commit", "author", "pull_request")},
        "environments": environments,
        "circuits": dict(sorted(whole.items())),
    }


def _trained_from(circuit: CircuitConfig, change: Change) -> dict[str, Any]:
    return {
        "config_commit": change.commit,
        "data_asset": f"{circuit.data_asset_name}:{circuit.training.cutoff_date.isoformat()}",
        "environment_version": circuit.training.environment_version,
        "model": circuit.model_name,
    }


def _trained(circuit: CircuitConfig, run: TrainingRun, tags: Mapping[str, str], change: Change) -> dict[str, Any]:
    assert run.model_version is not None, "a training that has ended well names its model"
    return {
        "trained": True,
        **_trained_from(circuit, change),
        "model_version": run.model_version,
        "release": release_id(circuit.key, run.model_version),
        "metrics": numbers(tags, METRICS),
        "tags": dict(sorted(tags.items())),
        "started_at": run.started_at.isoformat() if run.started_at else None,
        "ended_at": run.ended_at.isoformat() if run.ended_at else None,
    }


def _not_trained(circuit: CircuitConfig, reason: str, change: Change) -> dict[str, Any]:
    return {"trained": False, "reason": reason, **_trained_from(circuit, change)}


def write_artifact(folder: Path, artifact: Mapping[str, Any]) -> Path:
    """Write `{folder}/{commit}/build.json`, whole or not at all, and return its path."""
    target = folder / str(artifact["config_commit"])[:12] / FILE_NAME
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".writing")
    partial.write_text(json.dumps(artifact, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, target)
    return target
