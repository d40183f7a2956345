"""The data assets port on AzureML, over REST."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from azure.core.credentials import TokenCredential

from shared.adapters.azure.rest import RestClient
from shared.errors import Permanent

MANAGEMENT = "https://management.azure.com"
SCOPE = "https://management.azure.com/.default"
API_VERSION = "2024-04-01"
OURS = "sensor_training_data_"
"""What the names of our data assets begin with; others are none of the table's."""


class AzureDataAssets:
    """Data assets of the dev workspace, whose ARM resource id `workspace` is. `options` go to the REST client."""

    def __init__(
        self, workspace: str, credential: TokenCredential, management: str = MANAGEMENT, **options: Any
    ) -> None:
        self._data = f"{workspace}/data"
        self._client = RestClient("AzureML", management, credential, SCOPE, **options)

    def delta_versions(self, table_id: str) -> frozenset[int]:
        """Also of archived assets: they can be taken back into use."""
        found = set()
        for name in (str(asset["name"]) for asset in self._all(self._data)):
            if not name.startswith(OURS):
                continue
            for version in self._all(f"{self._data}/{quote(name, safe='')}/versions"):
                tags: Mapping[str, str] = version["properties"].get("tags") or {}
                if not (tags.get("table_id") and tags.get("delta_version", "").isdigit()):
                    raise Permanent(
                        f"data asset {name}:{version['name']} does not say in its tags table_id and delta_version what"
                        " it reads; tag it again as its MLTable says, or delete it"
                    )
                if tags["table_id"] == table_id:
                    found.add(int(tags["delta_version"]))
        return frozenset(found)

    def _all(self, path: str) -> Iterator[Mapping[str, Any]]:
        """The entries of every page of a list."""
        address: str | None = path
        query: dict[str, str] | None = {"api-version": API_VERSION, "listViewType": "All"}
        while address:
            answer = self._client.send("GET", address, query=query)
            assert answer is not None
            yield from answer.body["value"]
            address, query = answer.body.get("nextLink"), None  # the link has its query
