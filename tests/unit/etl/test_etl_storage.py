from __future__ import annotations

import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest
from deltalake import DeltaTable

from etl.storage import RemotePath, arrow_arguments, list_files, remote_path, storage_options, write_bytes

ABFSS = "abfss://lake@plantdata.dfs.core.windows.net/processed/sensor_data"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("AZURE_", "IDENTITY_")):
            monkeypatch.delenv(name)


def test_a_remote_address_is_taken_apart() -> None:
    assert remote_path("az://lake/a/b") == RemotePath("lake", "a/b")
    assert remote_path(ABFSS) == RemotePath("lake", "processed/sensor_data", "plantdata", "core.windows.net")


@pytest.mark.parametrize(
    "uri",
    ["abfss://lake/a", "abfss://lake@host/a", "abfss://@x.dfs.core.windows.net/a", "s3://b/a", "az://", "az:///a"],
)
def test_an_address_that_is_none_says_what_one_looks_like(uri: str) -> None:
    with pytest.raises(ValueError, match=r"use a local path, az://container/path or"):
        storage_options(uri)


@pytest.mark.parametrize("uri", ["/data/t", "data/t", "file:///data/t"])
def test_local_addresses_need_no_options(uri: str) -> None:
    assert storage_options(uri) is None


def test_without_a_key_the_machines_identity_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert storage_options(ABFSS) == {"azure_storage_account_name": "plantdata"}
    assert arrow_arguments(ABFSS) == {"account_name": "plantdata"}
    monkeypatch.setenv("AZURE_CLIENT_ID", "etl-identity")
    monkeypatch.setenv("IDENTITY_ENDPOINT", "http://localhost:42356/msi/token")
    assert storage_options(ABFSS) == {
        "azure_storage_account_name": "plantdata",
        "azure_client_id": "etl-identity",
        "azure_msi_endpoint": "http://localhost:42356/msi/token",
    }
    assert arrow_arguments(ABFSS) == {"account_name": "plantdata", "client_id": "etl-identity"}


def test_in_a_job_of_azureml_the_clusters_identity_is_used_unless_another_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DEFAULT_IDENTITY_CLIENT_ID", "cluster")
    assert arrow_arguments(ABFSS) == {"account_name": "plantdata", "client_id": "cluster"}
    monkeypatch.setenv("AZURE_CLIENT_ID", "etl-identity")
    assert arrow_arguments(ABFSS) == {"account_name": "plantdata", "client_id": "etl-identity"}


def test_a_key_counts_more_than_an_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_CLIENT_ID", "etl-identity")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")
    assert storage_options(ABFSS) == {"azure_storage_account_name": "plantdata", "azure_storage_account_key": "a2V5"}
    assert arrow_arguments(ABFSS) == {"account_name": "plantdata", "account_key": "a2V5"}


def test_the_address_says_whose_account_it_is_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "other")
    assert (storage_options(ABFSS) or {})["azure_storage_account_name"] == "plantdata"
    assert (storage_options("az://lake/t") or {})["azure_storage_account_name"] == "other"


def test_a_service_principal_is_three_values_and_a_tenant_alone_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_TENANT_ID", "tenant")
    monkeypatch.setenv("AZURE_CLIENT_ID", "client")
    assert "tenant_id" not in arrow_arguments(ABFSS)
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "secret")
    expected = {"account_name": "plantdata", "client_id": "client", "tenant_id": "tenant", "client_secret": "secret"}
    assert arrow_arguments(ABFSS) == expected


def test_other_clouds_and_emulators_have_other_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert arrow_arguments("abfss://lake@plant.dfs.core.chinacloudapi.cn/t") == {
        "account_name": "plant",
        "blob_storage_authority": ".blob.core.chinacloudapi.cn",
        "dfs_storage_authority": ".dfs.core.chinacloudapi.cn",
    }
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:10000/plantdata")
    assert (storage_options(ABFSS) or {})["allow_http"] == "true"
    assert arrow_arguments(ABFSS)["dfs_storage_authority"] == "127.0.0.1:10000"


def test_an_address_without_an_account_says_what_to_set() -> None:
    with pytest.raises(ValueError, match="set AZURE_STORAGE_ACCOUNT_NAME, or use abfss://"):
        arrow_arguments("az://lake/t")


def test_what_arrow_is_given_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyarrow.fs import AzureFileSystem

    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        AzureFileSystem(**arrow_arguments(ABFSS))
        monkeypatch.setenv(name, "x")
    AzureFileSystem(**arrow_arguments(ABFSS))


class _IdentityEndpoint(BaseHTTPRequestHandler):
    """Answers like the token endpoint of a managed identity, and storage that refuses everybody."""

    asked: list[dict[str, list[str]]]

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/msi/token":
            self.asked.append({**parse_qs(url.query), "header": [self.headers.get("x-identity-header", "")]})
            status, body = 200, b'{"access_token": "t", "expires_on": "4102444800", "token_type": "Bearer"}'
        else:
            status, body = 403, b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, list[str]]]]:
    handler = type("Handler", (_IdentityEndpoint,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{address}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "proof")
        monkeypatch.setenv("AZURE_CLIENT_ID", "etl-identity")
        monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", f"{address}/plantdata")
        yield handler.asked  # type: ignore[attr-defined]
        server.shutdown()


def test_delta_asks_the_managed_identity_of_the_function_app_for_its_token(
    identity: list[dict[str, list[str]]],
) -> None:
    with pytest.raises(Exception, match=r"(?i)403|forbidden|permission|privilege"):
        DeltaTable(ABFSS, storage_options=storage_options(ABFSS))
    assert identity[0]["client_id"] == ["etl-identity"]
    assert identity[0]["resource"] == ["https://storage.azure.com"]
    assert identity[0]["header"] == ["proof"]


def test_files_are_listed_by_their_path_below_the_address(tmp_path: Path) -> None:
    write_bytes(f"{tmp_path}/t/date=2025-12-08/a.parquet", b"12345")
    write_bytes(f"{tmp_path}/t/_delta_log/0.json", b"")
    assert list_files(f"{tmp_path}/t") == {"date=2025-12-08/a.parquet": 5, "_delta_log/0.json": 0}
    assert list_files(f"{tmp_path}/nowhere") == {}
