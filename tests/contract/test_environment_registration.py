"""What the build registers of an environment: the code that AzureML runs, and the image's description."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import BlobServiceClient, ContainerSasPermissions, generate_container_sas

from local.azurite import Azurite
from scripts import register_environment
from scripts.register_environment import CodeAssets, code_files, code_hash, environment_asset, register_code
from shared.configuration import load_fleet
from shared.errors import Permanent
from tests.azure_services.codes import REGISTRY, WORKSPACE, Codes
from tests.azure_services.definitions import SPECS, azureml
from tests.azure_services.rights import needed, sent
from tests.azure_services.server import AzureServices, Fault

ROOT = Path(__file__).resolve().parents[2]
FILES = {"ml/score.py": b"one", "shared/clock.py": b"two"}
UPLOADS = count()


@pytest.fixture
def blobs(azurite: Azurite) -> BlobServiceClient:
    return BlobServiceClient.from_connection_string(azurite.connection_string)


@pytest.fixture
def azure(blobs: BlobServiceClient) -> Iterator[AzureServices]:
    def upload_to() -> str:
        container = blobs.create_container(f"upload-{next(UPLOADS)}")
        signature = generate_container_sas(
            str(blobs.account_name),
            container.container_name,
            account_key=blobs.credential.account_key,
            permission=ContainerSasPermissions(read=True, write=True, create=True, list=True),
            expiry=datetime.now(UTC) + timedelta(hours=1),
        )
        return f"{container.url}/code/1?{signature}"

    with AzureServices(Codes(upload_to)) as services:
        yield services


def assets(azure: AzureServices, place: str) -> CodeAssets:
    def later(seconds: float) -> None:
        azure.clock.advance(timedelta(seconds=seconds))

    return CodeAssets(place, azure.credential(), azure.url("arm"), later, connection_verify=str(azure.authority))


@pytest.mark.parametrize("place", [WORKSPACE, REGISTRY], ids=["workspace", "registry"])
def test_the_code_is_uploaded_and_registered_once(azure: AzureServices, blobs: BlobServiceClient, place: str) -> None:
    assert register_code(assets(azure, place), "1.1.0", FILES) == "created"
    assert register_code(assets(azure, place), "1.1.0", FILES) == "exists"
    assert register_code(assets(azure, place), "1.1.0", {**FILES, "ml/score.py": b"other"}) == "exists with other code"
    (put,) = azure.requests("arm", "PUT")
    assert put.call.body["properties"]["tags"] == {"code_sha256": code_hash(FILES)}
    container, _, folder = put.call.body["properties"]["codeUri"].partition("devstoreaccount1/")[2].partition("/")
    lies = blobs.get_container_client(container)
    assert {blob.name: lies.download_blob(blob.name).readall() for blob in lies.list_blobs()} == {
        f"{folder}/{name}": content for name, content in FILES.items()
    }


def test_a_registration_that_is_refused_says_why(azure: AzureServices) -> None:
    azure.faults.switch_on(Fault("refuse", method="PUT", status=403))
    with pytest.raises(Permanent, match="403"):
        register_code(assets(azure, WORKSPACE), "1.1.0", FILES)
    assert register_code(assets(azure, WORKSPACE), "1.1.0", FILES) == "created"


def test_the_builds_identity_is_said_to_need_just_what_registering_code_sends(azure: AzureServices) -> None:
    for place in (WORKSPACE, REGISTRY):
        register_code(assets(azure, place), "1.1.0", FILES)
    asked = needed(logged.call for logged in azure.requests("arm"))
    for scope, place in (("dev workspace", WORKSPACE), ("registry", REGISTRY)):
        in_it = {right.action for right in asked if right.place == place.rpartition("/")[2]}
        assert in_it == sent("scripts/register_environment.py", scope)


@pytest.mark.skipif(not SPECS.is_dir(), reason="REFERENCE_DIR holds no REST definitions")
def test_every_request_is_one_that_microsoft_defines(azure: AzureServices) -> None:
    for place in (WORKSPACE, REGISTRY):
        register_code(assets(azure, place), "1.1.0", FILES)
    assert {logged.operation for logged in azure.requests("arm") if azureml().operation(logged.call) is None} == set()


def test_the_code_is_what_jobs_import_and_no_adapter() -> None:
    files = code_files()
    assert {"ml/train.py", "ml/score.py", "shared/configuration.py", "etl/storage.py"} <= set(files)
    assert not [name for name in files if name.startswith("shared/adapters/") or "__pycache__" in name]


def test_the_code_that_is_registered_trains_and_scores_by_itself(tmp_path: Path) -> None:
    """An import that .amlignore leaves out would be found on the cluster only."""
    for name, content in code_files().items():
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    script = "import ml.train, ml.score"
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, env={"PATH": "/usr/bin:/bin"})


def test_the_image_is_described_with_the_tags_that_the_configuration_declares() -> None:
    spec = load_fleet(ROOT / "config").environment("1.0.0")
    asset: Any = environment_asset(spec, "0a1b2c3", "17")
    assert (asset.name, asset.version) == ("sensor-forecast-env", "1.0.0")
    assert asset.tags == spec.tags("0a1b2c3", "17") and Path(asset.build.path).name == "environment"


def test_the_command_says_what_it_would_register_and_what_it_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    assert register_environment.main(["--newest", "--dry-run", "--commit", "0a1b2c3"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["environment"] == "sensor-forecast-env:1.0.0" and told["tags"]["git_commit_sha"] == "0a1b2c3"
    assert register_environment.main(["9.9.9", "--dry-run"]) == 1
    assert "9.9.9" in capsys.readouterr().err
    for wrong in ([], ["1.0.0", "--newest"], ["1.0.0", "--workspace", "dev", "--registry", ""]):
        with pytest.raises(SystemExit) as stopped:
            register_environment.main(wrong)
        assert stopped.value.code == 2
