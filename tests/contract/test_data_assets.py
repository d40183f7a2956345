"""Which versions of the table data assets read, asked of AzureML's REST API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from shared.adapters.azure.data_assets import AzureDataAssets
from shared.errors import Permanent, Transient
from tests.azure_services.rights import allows, needed
from tests.azure_services.server import AzureServices, Call, Endpoint, Fault, Refused, Reply, Service

WORKSPACE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/dev"


class Workspace(Service):
    """The lists of data assets and of their versions, two entries a page, by Microsoft's definition of them."""

    name: ClassVar[str] = "management"
    audience: ClassVar[str] = "https://management.azure.com"
    page = 2

    def __init__(self) -> None:
        self.assets: dict[str, dict[str, dict[str, str] | None]] = {}
        self.archived: set[str] = set()

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("GET", f"{WORKSPACE}/data", lambda call: self._listed(call, [{"name": n} for n in self.assets])),
            Endpoint("GET", f"{WORKSPACE}/data/{{name}}/versions", self._versions),
        ]

    def register(self, name: str, version: str, **tags: str) -> None:
        self.assets.setdefault(name, {})[version] = tags or None

    def _versions(self, call: Call) -> Reply:
        versions = self.assets[call.parts["name"]]
        return self._listed(call, [{"name": name, "properties": {"tags": tags}} for name, tags in versions.items()])

    def _listed(self, call: Call, entries: list[dict[str, Any]]) -> Reply:
        if call.query.get("api-version") != "2024-04-01":
            raise Refused(400, "MissingApiVersionParameter", "the api-version is required")
        if call.query.get("listViewType") != "All":
            entries = [entry for entry in entries if entry["name"] not in self.archived]
        begin = int(call.query.get("$skip", "0"))
        shown: dict[str, Any] = {"value": entries[begin : begin + self.page]}
        if begin + self.page < len(entries):
            query = f"api-version=2024-04-01&listViewType=All&$skip={begin + self.page}"
            shown["nextLink"] = f"{self.azure.url(self.name)}{call.path}?{query}"
        return Reply(200, shown)


@pytest.fixture
def workspace() -> Workspace:
    return Workspace()


@pytest.fixture
def azure(workspace: Workspace) -> Iterator[AzureServices]:
    with AzureServices(workspace) as running:
        yield running


@pytest.fixture
def data_assets(azure: AzureServices) -> AzureDataAssets:
    return AzureDataAssets(
        WORKSPACE, azure.credential(), azure.url("management"), connection_verify=str(azure.authority)
    )


def test_every_version_on_every_page_counts_and_only_of_the_table(
    workspace: Workspace, data_assets: AzureDataAssets
) -> None:
    for circuit in range(5):
        for version in range(3):
            table = "another" if version == 2 else "table-1"
            name = f"sensor_training_data_P001_C00{circuit}"
            workspace.register(name, f"2025-12-0{version}", table_id=table, delta_version=str(10 * circuit + version))
    workspace.register("somebody_elses", "1")
    workspace.archived |= {"sensor_training_data_P001_C004", "2025-12-01"}
    assert data_assets.delta_versions("table-1") == {0, 1, 10, 11, 20, 21, 30, 31, 40, 41}
    assert data_assets.delta_versions("made-anew") == frozenset()


def test_an_asset_that_does_not_say_what_it_reads_is_named_rather_than_left_out(
    workspace: Workspace, data_assets: AzureDataAssets
) -> None:
    workspace.register("sensor_training_data_P001_C001", "2025-12-01", table_id="table-1")
    with pytest.raises(Permanent, match=r"sensor_training_data_P001_C001:2025-12-01 does not say .* tag it again"):
        data_assets.delta_versions("table-1")


def test_a_workspace_that_does_not_answer_raises(
    azure: AzureServices, workspace: Workspace, data_assets: AzureDataAssets
) -> None:
    workspace.register("sensor_training_data_P001_C001", "2025-12-01", table_id="table-1", delta_version="3")
    azure.faults.switch_on(Fault(kind="refuse", path="/data", status=503))
    with pytest.raises(Transient):
        data_assets.delta_versions("table-1")
    assert data_assets.delta_versions("table-1") == {3}


def test_the_application_may_list_what_data_assets_read(
    azure: AzureServices, workspace: Workspace, data_assets: AzureDataAssets
) -> None:
    workspace.register("sensor_training_data_P001_C001", "2025-12-01", table_id="table-1", delta_version="3")
    data_assets.delta_versions("table-1")
    asked = needed(logged.call for logged in azure.requests())
    assert {right.action.partition("/workspaces/")[2] for right in asked} == {"data/read", "data/versions/read"}
    assert all(allows("fleet trainer", right) for right in asked)
