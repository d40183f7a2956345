"""Code assets of a workspace and of a registry here: where to upload to, and what was registered."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, ClassVar

from tests.azure_services.definitions import SPECS, Definitions, azureml
from tests.azure_services.server import Call, Endpoint, Refused, Reply, Service

PROVIDER = "/subscriptions/s/resourceGroups/fleet/providers/Microsoft.MachineLearningServices"
WORKSPACE, REGISTRY = f"{PROVIDER}/workspaces/dev", f"{PROVIDER}/registries/sensor-forecast"
REGISTRY_TAKES = timedelta(seconds=8)


class Codes(Service):
    """`upload_to` makes a container for one upload and returns its address with a signature that allows to write."""

    name: ClassVar[str] = "arm"
    audience: ClassVar[str] = "https://management.azure.com"

    def __init__(self, upload_to: Callable[[], str]) -> None:
        self._upload_to = upload_to
        self._definitions: Definitions | None = azureml() if SPECS.is_dir() else None
        self.versions: dict[str, tuple[dict[str, Any], datetime]] = {}
        """The properties of what was registered, and from when on it is there, by path."""

    def endpoints(self) -> list[Endpoint]:
        version = "/codes/sensor-forecast-env/versions/{version}"
        return [
            endpoint
            for place in (WORKSPACE, REGISTRY)
            for endpoint in (
                Endpoint("GET", place + version, self._show),
                Endpoint("PUT", place + version, self._put),
                Endpoint("POST", f"{place}{version}/startPendingUpload", self._start_upload),
            )
        ]

    def check(self, call: Call) -> None:
        if problems := self._definitions and self._definitions.problems(call):
            raise Refused(400, "InvalidRequest", "; ".join(problems))

    def _show(self, call: Call) -> Reply:
        properties, there = self.versions.get(call.path, ({}, self.now + timedelta(days=1)))
        if there > self.now:
            raise Refused(404, "NotFound", f"there is no {call.path}")
        return Reply(body={"id": call.path, "name": call.parts["version"], "properties": properties})

    def _put(self, call: Call) -> Reply:
        if call.path in self.versions:
            raise Refused(409, "Conflict", "a version of a code asset does not change")
        takes = REGISTRY_TAKES if call.path.startswith(REGISTRY) else timedelta()
        self.versions[call.path] = (call.body["properties"], self.now + takes)
        return Reply(202 if takes else 201)

    def _start_upload(self, call: Call) -> Reply:
        address = self._upload_to()
        reference = {
            "blobUri": address.partition("?")[0],
            "credential": {"credentialType": "SAS", "sasUri": address},
        }
        return Reply(body={"blobReferenceForConsumption": reference, "pendingUploadType": "TemporaryBlobReference"})
