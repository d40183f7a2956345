"""The training runner port on the embedded model platform."""

from __future__ import annotations

from shared.adapters.local.platform_client import PlatformClient
from shared.domain.values import OperationStatus


class LocalTrainingRunner:
    """Training jobs of `python -m local.platform`.

    The circuit's configuration is the commit's, where a build has left it; otherwise what it is when the job begins.
    """

    def __init__(self, url: str, key: str) -> None:
        self._client = PlatformClient(url, key)

    def start(
        self, command_id: str, circuit: str, commit: str, author: str, pull_request: str, champion: int | None = None
    ) -> str:
        body = {
            "circuit": circuit,
            "commit": commit,
            "author": author,
            "pull_request": pull_request,
            "champion": champion,
        }
        return f"job:{self._client.start('POST', 'workspaces/dev/jobs', command_id, body)}"

    def look(self, reference: str) -> OperationStatus:
        return self._client.look(reference)

    def cancel(self, reference: str) -> None:
        self._client.cancel(reference)
