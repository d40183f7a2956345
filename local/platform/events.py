"""Events as AzureML, Azure Storage and the ETL publish them, and their way from the outbox to the topic."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import AzureError, HttpResponseError
from azure.eventgrid import EventGridEvent, EventGridPublisherClient

from local.platform import names
from local.platform.ledger import Ledger, State, WorkItem, now
from shared.adapters.names import MONITORING_EXPERIMENT, experiment_name
from shared.domain.values import ENVIRONMENT, Stage
from shared.subscriptions import (
    BLOB_CREATED,
    ENVIRONMENT_REGISTERED,
    ETL_COMPLETED,
    MODEL_REGISTERED,
    RUN_COMPLETED,
    RUN_STATUS_CHANGED,
)

log = logging.getLogger(__name__)

LONGEST_BACKOFF_SECONDS = 10.0
SEND_TIMEOUT_SECONDS = 10

Event = Mapping[str, Any]


def model_registered(stage: Stage, name: str, version: int, tags: Mapping[str, str]) -> Event:
    """The published sample has PascalCase keys and a number where the schema says camelCase and a string."""
    return _event(
        MODEL_REGISTERED,
        f"models/{name}:{version}",
        {"ModelName": name, "ModelVersion": version, "ModelTags": dict(tags), "ModelProperties": {}},
        topic=names.workspace_id(stage),
    )


def run_status_changed(job: WorkItem, state: State) -> Event:
    """A job came to a new state; the published sample writes it in lower case."""
    return _run_event(RUN_STATUS_CHANGED, job, {"runStatus": state.lower()})


def run_completed(job: WorkItem) -> Event:
    """A job did its work. AzureML raises none for a job that failed or was cancelled."""
    return _run_event(RUN_COMPLETED, job, {})


def environment_registered(version: str) -> Event:
    """AzureML raises no event for an environment: who registers one tells of it."""
    return _event(ENVIRONMENT_REGISTERED, f"environments/{ENVIRONMENT}:{version}", {"version": version})


def etl_completed(run_id: str, table_id: str, version: int, report: str) -> Event:
    return _event(
        ETL_COMPLETED, f"etl/{run_id}", {"runId": run_id, "tableId": table_id, "version": version, "report": report}
    )


def delta_log_created(version: int, length: int) -> Event:
    """The Delta commit's file, put by delta-rs in one conditional request."""
    path = f"{names.TABLE_PATH}/_delta_log/{version:020d}.json"
    request_id = str(uuid4())
    return _event(
        BLOB_CREATED,
        f"/blobServices/default/containers/{names.LAKE_CONTAINER}/blobs/{path}",
        {
            "api": "PutBlob",
            "clientRequestId": request_id,
            "requestId": request_id,
            "eTag": f"0x{uuid4().hex[:15].upper()}",
            "contentType": "application/json",
            "contentLength": length,
            "blobType": "BlockBlob",
            "url": f"https://{names.LAKE_ACCOUNT}.blob.core.windows.net/{names.LAKE_CONTAINER}/{path}",
            "sequencer": f"{version:064x}",
            "storageDiagnostics": {},
        },
        topic=names.STORAGE_ID,
    )


def _run_event(event_type: str, job: WorkItem, more: Mapping[str, Any]) -> Event:
    topic = names.workspace_id(Stage(job.stage))
    experiment = experiment_name(job.circuit) if job.circuit else MONITORING_EXPERIMENT
    experiment_id = str(uuid5(NAMESPACE_URL, f"{topic}/experiments/{experiment}"))
    return _event(
        event_type,
        f"experiments/{experiment_id}/runs/{job.reference}",
        {
            "experimentId": experiment_id,
            "experimentName": experiment,
            "runId": job.reference,
            "runType": None,
            "runTags": {},
            "runProperties": {},
            **more,
        },
        topic=topic,
    )


def _event(event_type: str, subject: str, content: Mapping[str, Any], topic: str | None = None) -> Event:
    return {
        "id": str(uuid4()),
        "eventType": event_type,
        "subject": subject,
        "eventTime": now(),
        "data": dict(content),
        "dataVersion": "1.0",
        "topic": topic,
    }


class Publisher:
    """Sends what the outbox holds, each event as often as it is due, until its topic has accepted it.

    `endpoint` takes every event but those of a source (a workspace, a storage account) with a system topic of its own:
    `source_endpoints`, by the source's resource id.
    """

    def __init__(
        self, ledger: Ledger, endpoint: str, key: str, backoff: float, source_endpoints: Mapping[str, str] | None = None
    ) -> None:
        self._ledger = ledger
        self._backoff = backoff
        self._silent_until = 0.0
        self._client = _client(endpoint, key)
        self._of_source = {source: _client(address, key) for source, address in (source_endpoints or {}).items()}

    def step(self) -> None:
        """Send everything that is due, once."""
        if time.monotonic() < self._silent_until:
            return
        for pending in self._ledger.pending_events():
            body = pending.body
            event = EventGridEvent(
                id=body["id"],
                subject=body["subject"],
                event_type=body["eventType"],
                event_time=body["eventTime"],
                data=body["data"],
                data_version=body["dataVersion"],
                topic=body["topic"],
            )
            try:
                self._of_source.get(body["topic"], self._client).send(event)
            except AzureError as error:
                wait = min(self._backoff * 2 ** min(pending.attempts, 10), LONGEST_BACKOFF_SECONDS)
                self._ledger.event_refused(pending.sequence, wait)
                log.warning("%s was not accepted, again in %.1f s: %s", body["eventType"], wait, error)
                if not _is_about_the_event(error):
                    self._silent_until = time.monotonic() + self._backoff
                    return
            else:
                self._ledger.event_sent(pending.sequence)


def _client(endpoint: str, key: str) -> EventGridPublisherClient:
    # The outbox is the one that retries: it also does after a crash.
    return EventGridPublisherClient(
        endpoint,
        AzureKeyCredential(key),
        retry_total=0,
        connection_timeout=SEND_TIMEOUT_SECONDS,
        read_timeout=SEND_TIMEOUT_SECONDS,
    )


def _is_about_the_event(error: AzureError) -> bool:
    """Whether the topic refused this event; otherwise it would have no other one either."""
    status = error.status_code if isinstance(error, HttpResponseError) else None
    return status is not None and 400 <= status < 500 and status not in (408, 429)
