#!/usr/bin/env python3
"""Register the training data of circuits with AzureML, unless it is registered: one version a cutoff date.

  scripts/register_mltable.py P001_C001 P001_C002 --table abfss://lake@account.dfs.core.windows.net/processed/sensor_data
  scripts/register_mltable.py --all --table ... --dry-run         write the MLTable folders, and register nothing

The workspace is given by --subscription, --resource-group and --workspace, or by AZURE_SUBSCRIPTION_ID,
AZUREML_RESOURCE_GROUP and AZUREML_WORKSPACE; who registers is found by azure-identity.
Exit codes: 0 every circuit has its data asset; 1 some have not, each is named on stderr; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from etl.storage import storage_options
from ml.training_data import DataAssetDiffers, DataAssets, TrainingData, check_or_create
from shared.configuration import ConfigurationError, load_fleet

if TYPE_CHECKING:
    from azure.ai.ml import MLClient


class AzureDataAssets:
    """Data assets of an AzureML workspace. `options` go to the clients: one for each operation, they keep state."""

    def __init__(
        self, subscription: str, resource_group: str, workspace: str, credential: Any = None, **options: Any
    ) -> None:
        from azure.identity import DefaultAzureCredential

        self._place = (subscription, resource_group, workspace)
        self._credential = credential or DefaultAzureCredential()
        self._options = options

    def _client(self) -> MLClient:
        from azure.ai.ml import MLClient

        return MLClient(self._credential, *self._place, **self._options)

    def tags(self, name: str, version: str) -> Mapping[str, str] | None:
        from azure.core.exceptions import ResourceNotFoundError

        try:
            return dict(self._client().data.get(name, version=version).tags or {})
        except ResourceNotFoundError:
            return None

    def create(self, name: str, version: str, folder: Path, description: str, tags: Mapping[str, str]) -> None:
        from azure.ai.ml.constants import AssetTypes
        from azure.ai.ml.entities import Data

        asset = Data(
            name=name,
            version=version,
            type=AssetTypes.MLTABLE,
            path=str(folder),
            description=description,
            tags=dict(tags),
        )
        self._client().data.create_or_update(asset)


class NoDataAssets:
    """A dry run: nothing is registered, and nothing will be."""

    def tags(self, name: str, version: str) -> None:
        return None

    def create(self, name: str, version: str, folder: Path, description: str, tags: Mapping[str, str]) -> None:
        return None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("circuits", nargs="*", help="{plant_id}_{circuit_id}")
    parser.add_argument("--all", action="store_true", help="every circuit of the fleet")
    parser.add_argument("--table", required=True, help="address of the Delta table")
    parser.add_argument("--delta-version", type=int, help="default: the newest")
    parser.add_argument("--folder", type=Path, default=Path(".local/mltable"), help="default: %(default)s")
    parser.add_argument("--dry-run", action="store_true", help="write the folders, register nothing")
    parser.add_argument("--subscription", default=os.environ.get("AZURE_SUBSCRIPTION_ID", ""))
    parser.add_argument("--resource-group", default=os.environ.get("AZUREML_RESOURCE_GROUP", ""))
    parser.add_argument("--workspace", default=os.environ.get("AZUREML_WORKSPACE", ""))
    parser.add_argument("--config", type=Path, default=Path("config"), help="default: %(default)s")
    given = parser.parse_args(arguments)
    if bool(given.circuits) == given.all:
        parser.error("name circuits, or give --all")
    place = (given.subscription, given.resource_group, given.workspace)
    if not given.dry_run and not all(place):
        parser.error("--subscription, --resource-group and --workspace are needed, or --dry-run")
    try:
        fleet = load_fleet(given.config)
        circuits = list(fleet) if given.all else [fleet.circuit(key) for key in given.circuits]
        table = DeltaTable(given.table, version=given.delta_version, storage_options=storage_options(given.table))
    except (ConfigurationError, KeyError, DeltaError, OSError) as error:
        print(error.args[0] if error.args else error, file=sys.stderr)
        return 1
    assets: DataAssets = NoDataAssets() if given.dry_run else AzureDataAssets(*place)
    failed = False
    for circuit in circuits:
        data = TrainingData(circuit, given.table, str(table.metadata().id), table.version())
        try:
            created = check_or_create(assets, data, given.folder)
        except DataAssetDiffers as error:
            print(error, file=sys.stderr)
            failed = True
            continue
        done = "written" if given.dry_run else "created" if created else "exists"
        print(f"{data.name}:{data.version} {done}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
