#!/usr/bin/env python3
"""Register a version of the environment with AzureML, unless it is there: its image, and the code released with it.

  scripts/register_environment.py 1.1.0 --commit 0a1b2c3 --pull-request 17
  scripts/register_environment.py --newest --dry-run        says what would be registered, and asks nobody

The image goes to the dev workspace; the app takes it to the registry when people have approved. The code (what
.amlignore lets through) goes to the dev workspace, where trainings run it, and to the registry, where deployments find
it. A version never changes: code that differs from what is registered takes effect with the next version, and is said.

The places are given by --subscription, --resource-group, --workspace and --registry, or by AZURE_SUBSCRIPTION_ID,
AZUREML_RESOURCE_GROUP, AZUREML_WORKSPACE and REGISTRY; who registers is found by azure-identity.
Prints one JSON object. Exit codes: 0 the version is registered; 1 it could not be; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from shared.adapters.azure.rest import RestClient
from shared.configuration import ENVIRONMENT_NAME, ConfigurationError, EnvironmentSpec, load_fleet
from shared.errors import FleetError

ROOT = Path(__file__).resolve().parents[1]
MANAGEMENT = "https://management.azure.com"
VERSION = {"api-version": "2024-04-01"}
HASH_TAG = "code_sha256"
PLACES = ("workspace", "registry")
OTHER_CODE = "exists with other code"
WAIT_SECONDS, LOOK_SECONDS = 300.0, 5.0


class NotRegistered(Exception):
    """The version could not be registered; the text says why and what to do."""


def code_files(root: Path = ROOT) -> dict[str, bytes]:
    """What AzureML's jobs and deployments run, by path below the repository: what .amlignore lets through."""
    lines = (root / ".amlignore").read_text(encoding="utf-8").split()
    folders = sorted(line.removeprefix("!/") for line in lines if line.startswith("!/"))
    left_out = [line.lstrip("/") for line in lines if not line.startswith(("!", "#")) and line != "/*"]

    def taken(path: Path) -> bool:
        name = path.relative_to(root).as_posix()
        return path.is_file() and not any(
            name.startswith(f"{pattern}/") or any(fnmatch(part, pattern) for part in name.split("/"))
            for pattern in left_out
        )

    files = (path for folder in folders for path in sorted((root / folder).rglob("*")) if taken(path))
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def code_hash(files: Mapping[str, bytes]) -> str:
    """SHA-256 of names and contents."""
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


class CodeAssets:
    """Code assets of a workspace or a registry, by its ARM resource id. Options go to the REST and blob clients."""

    def __init__(
        self,
        place: str,
        credential: Any,
        management: str = MANAGEMENT,
        sleep: Callable[[float], None] = time.sleep,
        **options: Any,
    ) -> None:
        self._place = place
        self._sleep = sleep
        self._options = options
        self._client = RestClient("AzureML", management, credential, f"{MANAGEMENT}/.default", **options)

    def hash_of(self, version: str) -> str | None:
        """The registered code's hash ("" where it is not said), or None where the version is not registered."""
        answer = self._client.get(self._path(version), VERSION)
        return None if answer is None else str((answer.body["properties"].get("tags") or {}).get(HASH_TAG, ""))

    def create(self, version: str, files: Mapping[str, bytes]) -> None:
        """Upload the files to where the service says, and register them; raises NotRegistered when it never is."""
        asked = {"pendingUploadType": "TemporaryBlobReference"}
        answer = self._client.send("POST", f"{self._path(version)}/startPendingUpload", asked, VERSION)
        place = (answer.body if answer else {})["blobReferenceForConsumption"]
        self._upload(place["credential"]["sasUri"], files)
        body = {
            "properties": {
                "codeUri": place["blobUri"],
                "description": f"What {ENVIRONMENT_NAME}:{version} runs: training and scoring.",
                "tags": {HASH_TAG: code_hash(files)},
            }
        }
        self._client.send("PUT", self._path(version), body, VERSION)
        waited = 0.0
        while self.hash_of(version) is None:  # a registry takes it in an operation of its own
            if waited >= WAIT_SECONDS:
                raise NotRegistered(
                    f"{self._path(version)} is not there {WAIT_SECONDS:.0f} s after it was sent; run again"
                )
            self._sleep(LOOK_SECONDS)
            waited += LOOK_SECONDS

    def _upload(self, address: str, files: Mapping[str, bytes]) -> None:
        """`address` is a container or a folder in one, with the signature that allows to write there."""
        from azure.storage.blob import ContainerClient

        parts = urlsplit(address)
        names = unquote(parts.path).strip("/").split("/")
        depth = 2 if "devstoreaccount1" in names[0] else 1  # the emulator's addresses begin with the account
        container, folder = "/".join(names[:depth]), "/".join(names[depth:])
        client = ContainerClient.from_container_url(
            f"{parts.scheme}://{parts.netloc}/{container}?{parts.query}", **self._options
        )
        for name, content in files.items():
            client.upload_blob(f"{folder}/{name}" if folder else name, content, overwrite=True)

    def _path(self, version: str) -> str:
        return f"{self._place}/codes/{ENVIRONMENT_NAME}/versions/{version}"


def environment_asset(spec: EnvironmentSpec, commit: str, pull_request: str) -> Any:
    """AzureML's own entity of the version, from ml/azureml/environment.yml and what the configuration declares."""
    from azure.ai.ml import load_environment

    given: list[dict[str, Any]] = [{"version": spec.version}, {"tags": spec.tags(commit, pull_request)}]
    return load_environment(ROOT / "ml" / "azureml" / "environment.yml", params_override=given)


def register_image(place: tuple[str, str, str], spec: EnvironmentSpec, commit: str, pull_request: str) -> bool:
    """Register the image's description in the workspace unless it is there; whether it was created."""
    from azure.ai.ml import MLClient
    from azure.core.exceptions import ResourceNotFoundError
    from azure.identity import DefaultAzureCredential

    environments = MLClient(DefaultAzureCredential(), *place).environments
    try:
        environments.get(ENVIRONMENT_NAME, version=spec.version)
        return False
    except ResourceNotFoundError:
        environments.create_or_update(environment_asset(spec, commit, pull_request))
        return True


def register_code(assets: CodeAssets, version: str, files: Mapping[str, bytes]) -> str:
    """`created`, `exists`, or `exists with other code`."""
    known = assets.hash_of(version)
    if known is None:
        assets.create(version, files)
        return "created"
    return "exists" if known in ("", code_hash(files)) else OTHER_CODE


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", nargs="?", help="a version of config/environments")
    parser.add_argument("--newest", action="store_true", help="the newest version of config/environments")
    parser.add_argument("--commit", default="", help="for the tag git_commit_sha")
    parser.add_argument("--pull-request", default="", help="for the tag pr_number")
    parser.add_argument("--dry-run", action="store_true", help="say what would be registered, and ask nobody")
    parser.add_argument("--subscription", default=os.environ.get("AZURE_SUBSCRIPTION_ID", ""))
    parser.add_argument("--resource-group", default=os.environ.get("AZUREML_RESOURCE_GROUP", ""))
    parser.add_argument("--workspace", default=os.environ.get("AZUREML_WORKSPACE", ""), help="the dev workspace's name")
    parser.add_argument("--registry", default=os.environ.get("REGISTRY", ""))
    parser.add_argument("--config", type=Path, default=Path("config"), help="default: %(default)s")
    given = parser.parse_args(arguments)
    if bool(given.version) == given.newest:
        parser.error("name a version, or give --newest")
    place = (given.subscription, given.resource_group, given.workspace)
    if not given.dry_run and not all((*place, given.registry)):
        parser.error("--subscription, --resource-group, --workspace and --registry are needed, or --dry-run")
    try:
        fleet = load_fleet(given.config)
        spec = fleet.environment(given.version or list(fleet.environments)[-1])
        files = code_files()
        told: dict[str, Any] = {"environment": spec.reference, "tags": spec.tags(given.commit, given.pull_request)}
        if given.dry_run:
            told |= {"files": len(files), HASH_TAG: code_hash(files), "dry_run": True}
        else:
            told |= _register(place, given.registry, spec, files, given.commit, given.pull_request)
    except (ConfigurationError, KeyError, FleetError, NotRegistered) as error:
        print(error.args[0] if error.args else error, file=sys.stderr)
        return 1
    print(json.dumps(told, indent=2))
    if other := [where for where in PLACES if told.get(f"code_in_{where}") == OTHER_CODE]:
        print(
            f"the code of {spec.reference} in {' and '.join(other)} differs from this commit's, and a version never"
            " changes: a new file in config/environments releases the new code",
            file=sys.stderr,
        )
    return 0


def _register(
    place: tuple[str, str, str],
    registry: str,
    spec: EnvironmentSpec,
    files: Mapping[str, bytes],
    commit: str,
    pull_request: str,
) -> dict[str, str]:
    """Code first: an environment that is told of can be trained with at once."""
    from azure.identity import DefaultAzureCredential

    subscription, group, workspace = place
    provider = f"/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.MachineLearningServices"
    places = dict(zip(PLACES, (f"{provider}/workspaces/{workspace}", f"{provider}/registries/{registry}"), strict=True))
    credential = DefaultAzureCredential()
    told = {
        f"code_in_{where}": register_code(CodeAssets(address, credential), spec.version, files)
        for where, address in places.items()
    }
    told["image"] = "created" if register_image(place, spec, commit, pull_request) else "exists"
    return told


if __name__ == "__main__":
    sys.exit(main())
