"""The data assets port on the embedded model platform."""

from __future__ import annotations

from shared.adapters.local.platform_client import PlatformClient
from shared.errors import Permanent


class LocalDataAssets:
    """Data assets of the dev workspace of `python -m local.platform`."""

    def __init__(self, url: str, key: str) -> None:
        self._client = PlatformClient(url, key)

    def delta_versions(self, table_id: str) -> frozenset[int]:
        assets = self._client.get("workspaces/dev/data")
        if assets is None:
            raise Permanent("the model platform lists no data assets; start the version that belongs to this app")
        tags = [asset["tags"] for asset in assets["value"]]
        return frozenset(int(one["delta_version"]) for one in tags if one.get("table_id") == table_id)
