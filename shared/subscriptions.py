"""Event subscriptions: which function hears which events of which source, through which filters.

One table for all that depends on it: the application believes a kind of event only from these sources, the embedded
runtime subscribes by it, and the infrastructure is held to it. Event Grid compares subjects without regard to case.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MODEL_REGISTERED = "Microsoft.MachineLearningServices.ModelRegistered"
RUN_COMPLETED = "Microsoft.MachineLearningServices.RunCompleted"
RUN_STATUS_CHANGED = "Microsoft.MachineLearningServices.RunStatusChanged"
BLOB_CREATED = "Microsoft.Storage.BlobCreated"
BLOB_RENAMED = "Microsoft.Storage.BlobRenamed"
ETL_COMPLETED = "SensorForecast.EtlCompleted"
ENVIRONMENT_REGISTERED = "SensorForecast.EnvironmentRegistered"


class Source(StrEnum):
    """A resource whose events are heard; its resource id is the `topic` of each of them."""

    DEV_WORKSPACE = "dev"
    TEST_WORKSPACE = "test"
    PRODUCTION_WORKSPACE = "production"
    LAKE = "lake"
    OWN_TOPIC = "own"


@dataclass(frozen=True)
class EventSubscription:
    """One subscription for each of `sources`, in the Event Grid schema, to the function of that name."""

    function: str
    sources: tuple[Source, ...]
    event_types: tuple[str, ...]
    subject_begins_with: str = ""
    subject_contains: str = ""
    subject_ends_with: str = ""


SUBSCRIPTIONS = (
    # Models are trained in dev and nowhere else: the copies that a promotion makes are no candidates.
    EventSubscription(
        "on_model_registered", (Source.DEV_WORKSPACE,), (MODEL_REGISTERED,), subject_begins_with="models/sensor_model_"
    ),
    EventSubscription(
        "on_run_changed",
        (Source.TEST_WORKSPACE, Source.PRODUCTION_WORKSPACE),
        (RUN_COMPLETED, RUN_STATUS_CHANGED),
        subject_begins_with="experiments/",
    ),
    # Spark commits by renaming, delta-rs by one conditional request.
    EventSubscription(
        "on_delta_log_written",
        (Source.LAKE,),
        (BLOB_CREATED, BLOB_RENAMED),
        subject_contains="/processed/sensor_data/_delta_log/",
        subject_ends_with=".json",
    ),
    EventSubscription("on_etl_completed", (Source.OWN_TOPIC,), (ETL_COMPLETED,)),
    # AzureML tells of no environment: the build that registers one does.
    EventSubscription("on_environment_registered", (Source.OWN_TOPIC,), (ENVIRONMENT_REGISTERED,)),
)


def sources_of(event_type: str) -> frozenset[Source]:
    """Who tells of this kind of event; nobody of a kind that is not heard."""
    return frozenset(s for one in SUBSCRIPTIONS if event_type in one.event_types for s in one.sources)
