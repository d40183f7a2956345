"""What a demonstration came to, read from the state's history, the lake and Event Grid's own record of deliveries."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from local.event_grid import Delivery, DeliveryState
from shared.domain.quality import QUALITY
from shared.domain.release import RELEASE, Phase
from shared.domain.scoring import SCORING
from shared.domain.training import TRAINING
from shared.queries import PAGE_SIZES, Listing, Queries
from shared.subscriptions import MODEL_REGISTERED, RUN_COMPLETED, RUN_STATUS_CHANGED

MEASURED = ("mae", "naive_mae", "skill", "interval_coverage")
Line = Mapping[str, Any]
Histories = Mapping[str, Sequence[Line]]
"""Every line of every release's history, by release id."""


def summarise(queries: Queries, deliveries: Sequence[Delivery], root: Path) -> dict[str, Any]:
    """The summary; `root` is the folder that the paths of predictions are relative to."""
    circuits = [str(circuit["id"]) for circuit in every(queries.circuits)]
    releases = [release for circuit in circuits for release in queries.releases_of(circuit)]
    whole = [release for one in releases if (release := queries.release(one["id"]))]
    histories = {release["id"]: queries.history(release["circuit"], RELEASE, release["id"]) for release in releases}
    trainings = [run for circuit in circuits for run in queries.ended(circuit, TRAINING)]
    scorings = [run for circuit in circuits for run in queries.ended(circuit, SCORING)]
    recovered = recovered_job(deliveries, histories)
    return {
        "circuits": len(circuits),
        "releases": len(releases),
        **{
            str(phase): sorted(release["id"] for release in releases if release["phase"] == phase)
            for phase in (Phase.LIVE, Phase.REJECTED, Phase.FAILED, Phase.SUPERSEDED)
        },
        "reasons": {release["id"]: release["reason"] for release in releases if release["reason"]},
        "models": {release["id"]: backtest for release in whole if (backtest := measured(release["tags"]))},
        "predictions": published(scorings, root),
        "quality": newest_verdicts(check for circuit in circuits for check in queries.ended(circuit, QUALITY)),
        "duplicate_event": most_delivered(deliveries, histories),
        "recovered_job": recovered[1],
        "recovered_release": recovered[0],
        "max_parallel_training": most_at_once((run["started_at"], run["ended_at"]) for run in trainings),
    }


def every(listed: Callable[[int, str | None], Listing]) -> Iterator[Mapping[str, Any]]:
    """Every entry of a list that is given page by page."""
    continuation = None
    while True:
        listing = listed(PAGE_SIZES[-1], continuation)
        yield from listing.entries
        continuation = listing.continuation
        if continuation is None:
            return


def measured(tags: Mapping[str, str]) -> dict[str, float | str]:
    """What the backtest measured of a model, as its tags tell; nothing of a model that does not tell all of it."""
    if not {*MEASURED, "naive"} <= tags.keys():
        return {}
    return {"naive": tags["naive"]} | {name: float(tags[name]) for name in MEASURED}


def published(scorings: Iterable[Mapping[str, Any]], root: Path) -> list[str]:
    """The files that scoring runs say they published, as far as they are there, relative to `root`."""
    files = (Path(run["published_uri"]) for run in scorings if run["published_uri"])
    return sorted(os.path.relpath(file, root) for file in files if file.is_file())


def newest_verdicts(checks: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The verdict on the readings of each circuit's newest commit, with what is wrong with them."""
    newest = sorted(checks, key=lambda check: (check["circuit"], check["created_at"]))
    return {check["circuit"]: ": ".join([check["phase"], *check["problems"][:1]]) for check in newest}


def most_delivered(deliveries: Iterable[Delivery], histories: Histories) -> dict[str, Any]:
    """The registration that was delivered most often, and how many lines of history it made."""
    delivered: dict[str, int] = {}
    for delivery in deliveries:
        if delivery.event_type == MODEL_REGISTERED and delivery.state is DeliveryState.DELIVERED:
            release = delivery.subject.removeprefix("models/sensor_model_")
            delivered[release] = delivered.get(release, 0) + 1
    if not delivered:
        return {"release": "", "delivered": 0, "effects": 0}
    release = max(delivered, key=lambda name: delivered[name])
    effects = [line for line in histories.get(release, ()) if "ModelRegistered" in line["event"]]
    return {"release": release, "delivered": delivered[release], "effects": len(effects)}


def recovered_job(deliveries: Iterable[Delivery], histories: Histories) -> tuple[str, str]:
    """The first job that a timer found ended and of whose end no event was delivered, after the release it tested."""
    told = {
        delivery.subject.rpartition("/")[2]
        for delivery in deliveries
        if delivery.event_type in (RUN_COMPLETED, RUN_STATUS_CHANGED) and delivery.state is DeliveryState.DELIVERED
    }
    for release, lines in histories.items():
        for line in lines:
            detail = line["detail"]
            if detail.get("noticed_by") == "reconciler" and "job" in detail and detail["job"] not in told:
                return release, str(detail["job"])
    return "", ""


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
