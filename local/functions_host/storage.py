"""The host's own storage: connection settings, timer status and the lock of the host that runs the timers."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobClient, BlobLeaseClient, BlobServiceClient, ContainerClient

from local.azurite import DEFAULT_PORTS, connection_string

HOST_STORAGE = "AzureWebJobsStorage"
HOST_CONTAINER = "azure-webjobs-hosts"
LOCK_SECONDS = 15
SHORT_WAITS: Mapping[str, Any] = {"retry_total": 2, "initial_backoff": 1, "connection_timeout": 5}
"""A host that cannot reach its storage must say so soon, and end soon; the SDK's first wait would be 15 s."""
NEVER = datetime.min.replace(tzinfo=UTC)
_log = logging.getLogger("Host.Storage")


class MissingConnection(RuntimeError):
    """A trigger's connection setting is missing or unusable; the message names it and what to set."""


def resolve_connection(name: str | None, environment: Mapping[str, str], user: str) -> str:
    """The connection string that setting `name` holds (also looked up as AzureWebJobs<name>).

    user: who needs it, for the message. Raises MissingConnection.
    """
    name = name or HOST_STORAGE
    for setting in (name, f"AzureWebJobs{name}"):
        if value := environment.get(setting):
            if value.replace(" ", "").rstrip(";").lower() == "usedevelopmentstorage=true":
                return connection_string(*DEFAULT_PORTS)
            return value
        identity = next((key for key in environment if key.startswith(f"{setting}__")), None)
        if identity:
            raise MissingConnection(
                f"{user} uses the identity-based connection {identity}, which needs Azure: in the embedded mode set "
                f"{setting} to a connection string, such as the one local.azurite prints."
            )
    raise MissingConnection(
        f"{user} needs the setting {name}: a storage connection string, or UseDevelopmentStorage=true for an Azurite "
        f"on its default ports {', '.join(map(str, DEFAULT_PORTS))}."
    )


@dataclass(frozen=True)
class ScheduleStatus:
    """What is remembered of one timer, in UTC. last is NEVER before its first run."""

    last: datetime
    next: datetime
    last_updated: datetime

    def as_json(self) -> dict[str, str]:
        return {
            "Last": self.last.isoformat(),
            "Next": self.next.isoformat(),
            "LastUpdated": self.last_updated.isoformat(),
        }


class HostStorage:
    """Blobs in `azure-webjobs-hosts`: blocking calls, to be made off the event loop."""

    def __init__(self, connection: str, host_id: str, instance_id: str) -> None:
        self._service = BlobServiceClient.from_connection_string(connection, **SHORT_WAITS)
        self._host_id = host_id
        # The same instance takes its own lock back at once after a crash; another one waits until it lapses.
        self._lease_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{host_id}/{instance_id}"))

    def read_status(self, function_name: str) -> ScheduleStatus | None:
        """The remembered status, or None when there is none or it cannot be read."""
        try:
            document = json.loads(self._status_blob(function_name).download_blob().readall())
            return ScheduleStatus(*(_utc(document[key]) for key in ("Last", "Next", "LastUpdated")))
        except ResourceNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            _log.warning("The status of timer '%s' is unreadable and is begun anew", function_name)
            return None

    def write_status(self, function_name: str, status: ScheduleStatus) -> None:
        self._container()
        self._status_blob(function_name).upload_blob(json.dumps(status.as_json()), overwrite=True)

    def hold_lock(self) -> bool:
        """Take or renew the host lock for LOCK_SECONDS; False while another instance holds it."""
        blob = self._lock_blob()
        try:
            BlobLeaseClient(blob, self._lease_id).acquire(LOCK_SECONDS)
            return True
        except ResourceNotFoundError:
            self._container()
            try:
                blob.upload_blob(b"", overwrite=False)
            except ResourceExistsError:
                _log.debug("Another instance made the host lock first")
            return self.hold_lock()
        except ResourceExistsError:
            return False

    def release_lock(self) -> None:
        try:
            BlobLeaseClient(self._lock_blob(), self._lease_id).release()
        except AzureError as error:
            _log.debug("The host lock was not held: %s", error)

    def _container(self) -> ContainerClient:
        container = self._service.get_container_client(HOST_CONTAINER)
        try:
            container.create_container()
        except ResourceExistsError:
            _log.debug("The host's container exists")
        return container

    def _status_blob(self, function_name: str) -> BlobClient:
        path = f"timers/{self._host_id}/Host.Functions.{function_name}/status"
        return self._service.get_blob_client(HOST_CONTAINER, path)

    def _lock_blob(self) -> BlobClient:
        return self._service.get_blob_client(HOST_CONTAINER, f"locks/{self._host_id}/host")


def _utc(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
