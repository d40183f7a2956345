"""The monitor runner port on the embedded model platform."""

from __future__ import annotations

from shared.adapters.local.platform_client import PlatformClient
from shared.domain.values import OperationStatus


class LocalMonitorRunner:
    """Monitoring jobs of `python -m local.platform`, each in a process of its own; its environment is this machine."""

    def __init__(self, url: str, key: str) -> None:
        self._client = PlatformClient(url, key)

    def start(self, command_id: str, request_uri: str, output_uri: str, environment: str) -> str:
        body = {"request_uri": request_uri, "output_uri": output_uri, "environment_version": environment}
        return self._client.start("POST", "workspaces/production/monitoring", command_id, body)

    def look(self, reference: str) -> OperationStatus:
        return self._client.look(reference)

    def cancel(self, reference: str) -> None:
        self._client.cancel(reference)
