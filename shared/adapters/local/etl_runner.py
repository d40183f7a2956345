"""The ETL runner port on the embedded model platform."""

from __future__ import annotations

from shared.adapters.local.platform_client import PlatformClient
from shared.domain.values import OperationStatus


class LocalEtlRunner:
    """Jobs of `python -m local.platform`: the landing folder into the lake's Delta table, and the table's upkeep."""

    def __init__(self, url: str, key: str) -> None:
        self._client = PlatformClient(url, key)

    def start(self, command_id: str, run_id: str) -> str:
        return f"job:{self._client.start('POST', 'etl/jobs', command_id, {'run_id': run_id})}"

    def start_upkeep(self, command_id: str, run_id: str) -> str:
        return f"job:{self._client.start('POST', 'etl/upkeep', command_id, {'run_id': run_id})}"

    def look(self, reference: str) -> OperationStatus:
        return self._client.look(reference)

    def cancel(self, reference: str) -> None:
        self._client.cancel(reference)
