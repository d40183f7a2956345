"""What a demonstration came to, read from the state's history, the lake and Event Grid's own record of deliveries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from local.event_grid import DeliveryState, EventGridService
from shared.configuration import Fleet
from shared.domain.release import Phase
from shared.domain.scoring import QUALITY
from shared.domain.training import TRAINING
from shared.signals import MODEL_REGISTERED, RUN_COMPLETED, RUN_STATUS_CHANGED
from shared.wiring import Wired


def summarise(wired: Wired, event_grid: EventGridService, fleet: Fleet, root: Path, seconds: float) -> dict[str, Any]:
    """The summary; `root` is the folder that the paths of predictions are relative to."""
    queries = wired.queries
    releases = [release for circuit in fleet.circuits for release in queries.releases_of(circuit)]
    histories = {release["id"]: queries.history(release["circuit"], release["id"]) for release in releases}
    trainings = [run for circuit in fleet.circuits for run in queries.ended(circuit, TRAINING)]
    checks = [check for circuit in fleet.circuits for check in queries.ended(circuit, QUALITY)]
    lake = Path(wired.settings.lake)
    predictions = sorted(lake.glob("predictions/*/*/*.parquet"))
    return {
        "circuits": len(fleet),
        "releases": len(releases),
        **{
            name: sorted(release["id"] for release in releases if release["phase"] == phase)
            for name, phase in (
                ("live", Phase.LIVE),
                ("rejected", Phase.REJECTED),
                ("failed", Phase.FAILED),
                ("superseded", Phase.SUPERSEDED),
            )
        },
        "reasons": {release["id"]: release["reason"] for release in releases if release["reason"]},
        "predictions": [str(path.relative_to(root)) for path in predictions],
        "quality": {phase: _ids(checks, phase) for phase in sorted({check["phase"] for check in checks})},
        "duplicate_event": _duplicate(event_grid, histories),
        "recovered_job": _recovered(event_grid, histories),
        "max_parallel_training": most_at_once((run["started_at"], run["ended_at"]) for run in trainings),
        "seconds": round(seconds, 1),
    }


def _ids(checks: Iterable[Mapping[str, Any]], phase: str) -> list[str]:
    return sorted({check["circuit"] for check in checks if check["phase"] == phase})


def _duplicate(event_grid: EventGridService, histories: Mapping[str, Any]) -> dict[str, Any]:
    """The registration that was delivered most often, and how many lines of history it made."""
    delivered: dict[str, list[str]] = {}
    for delivery in event_grid.deliveries(event_type=MODEL_REGISTERED, state=DeliveryState.DELIVERED):
        release = delivery.subject.removeprefix("models/sensor_model_")
        delivered.setdefault(release, []).append(delivery.event_id)
    release, deliveries = max(delivered.items(), key=lambda item: len(item[1]))
    effects = [line for line in histories.get(release, ()) if line["event"].endswith("ModelRegistered")]
    return {"release": release, "delivered": len(deliveries), "effects": len(effects)}


def _recovered(event_grid: EventGridService, histories: Mapping[str, Any]) -> str:
    """The first job that a timer found ended and of whose end no event was delivered."""
    told = {
        delivery.subject.rpartition("/")[2]
        for kind in (RUN_COMPLETED, RUN_STATUS_CHANGED)
        for delivery in event_grid.deliveries(event_type=kind, state=DeliveryState.DELIVERED)
    }
    for lines in histories.values():
        for line in lines:
            detail = line["detail"]
            if detail.get("noticed_by") == "reconciler" and "job" in detail and detail["job"] not in told:
                return str(detail["job"])
    return ""


def most_at_once(spans: Iterable[tuple[str | None, str | None]]) -> int:
    """How many of the spans (ISO times, start and end) overlapped at most."""
    edges: list[tuple[datetime, int]] = []
    for start, end in spans:
        if start and end:
            edges += [(datetime.fromisoformat(start), 1), (datetime.fromisoformat(end), -1)]
    running = most = 0
    for _, change in sorted(edges):
        running += change
        most = max(most, running)
    return most
