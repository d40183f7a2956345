"""Builders: the smallest honest messages, tags and persons, each with one place to vary it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any, TypeVar

from shared.domain.messages import ApprovalDecided, ModelRegistered, Order, Person, SensorCovered
from shared.domain.values import split_circuit

CIRCUIT = "P001_C001"
START = datetime(2026, 1, 30, 6, 0, tzinfo=UTC)

Ordered = TypeVar("Ordered", bound=Order)
_REQUESTS = count(1)

ENGINEERS, DIRECTORS = "ML-Engineers", "Engineering-Managers"


def person(name: str, *groups: str) -> Person:
    return Person(oid=f"oid-{name}", name=name.title(), username=f"{name}@example.org", groups=groups)


TRAINER = person("tess", ENGINEERS)
ENGINEER = person("erik", ENGINEERS)
SECOND_ENGINEER = person("edda", ENGINEERS)
DIRECTOR = person("dora", DIRECTORS)
STRANGER = person("sten")


def model_tags(circuit: str = CIRCUIT, version: int = 1, **changed: str) -> dict[str, str]:
    """The tags a training leaves on its model; `changed` replaces some, an empty string removes one."""
    plant, name = split_circuit(circuit)
    tags = {
        "plant_id": plant,
        "circuit_id": name,
        "pr_number": str(100 + version),
        "pr_author": TRAINER.username,
        "cutoff_date": "2026-01-20",
        "data_asset_version": "2026-01-20",
        "hyperparameters_hash": "5f3a",
        "git_commit_sha": f"c0ffee{version:02d}",
        "environment_version": "1.0.0",
        "mae": "0.11",
        "rmse": "0.17",
        "r2": "0.91",
        "naive_mae": "0.15",
        "trained_at": "2026-01-29T12:00:00+00:00",
        "forecast_horizon": "24",
        "target_min": "10.0",
        "target_max": "90.0",
        "target_sd": "12.0",
        **changed,
    }
    return {name: value for name, value in tags.items() if value}


def registered(circuit: str = CIRCUIT, version: int = 1, tags_digest: str = "first") -> ModelRegistered:
    return ModelRegistered(root=circuit, version=version, workspace="dev", tags_digest=tags_digest)


def decided(
    approval: str, digest: str, by: Person = ENGINEER, decision: str = "approve", lift_hold: bool = False
) -> ApprovalDecided:
    return ApprovalDecided(
        root=approval.partition(":")[0],
        approval=approval,
        digest=digest,
        decision="approve" if decision == "approve" else "reject",
        person=by,
        lift_hold=lift_hold,
    )


def ordered(order: type[Ordered], by: Person = ENGINEER, circuit: str = CIRCUIT, **fields: Any) -> Ordered:
    """A person's order; every one is another request unless `request` says which."""
    given = {"reason": "the forecasts drift off", "request": f"request-{next(_REQUESTS)}", **fields}
    return order(root=circuit, person=by, **given)


def covered(
    newest: datetime,
    version: int = 1,
    table: str = "table-1",
    circuit: str = CIRCUIT,
    rows: int = 24,
    nulls: int = 0,
) -> SensorCovered:
    counts = {"rows": float(rows), "nulls.temperature": float(nulls)}
    return SensorCovered(root=circuit, table=table, version=version, newest=newest, counts=counts)


def circuits(count: int) -> Sequence[str]:
    """`P001_C001`, `P001_C002`, …: five circuits a plant."""
    return tuple(f"P{1 + n // 5:03d}_C{1 + n % 5:03d}" for n in range(count))
