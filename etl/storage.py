"""Files by URI: a local path, `file://`, `az://` or `abfss://`. The one place that knows credentials of storage."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname
from uuid import uuid4

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

# Environment variables of an identity -> what object stores call them.
_IDENTITY = {
    "DEFAULT_IDENTITY_CLIENT_ID": "azure_client_id",  # AzureML's name for the identity of its cluster
    "AZURE_CLIENT_ID": "azure_client_id",
    "AZURE_TENANT_ID": "azure_tenant_id",
    "AZURE_CLIENT_SECRET": "azure_client_secret",
    "AZURE_FEDERATED_TOKEN_FILE": "azure_federated_token_file",
    "AZURE_USE_AZURE_CLI": "azure_use_azure_cli",
    "IDENTITY_ENDPOINT": "azure_msi_endpoint",
}
# What object stores call a credential -> what Arrow calls it.
_ARROW = {
    "azure_storage_account_key": "account_key",
    "azure_storage_sas_token": "sas_token",
    "azure_client_id": "client_id",
    "azure_tenant_id": "tenant_id",
    "azure_client_secret": "client_secret",
}


def local_path(uri: str) -> Path | None:
    """The path of a local URI, or None if the URI is remote."""
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return Path(url2pathname(unquote(parts.path)))
    return None if len(parts.scheme) > 1 else Path(uri)


@dataclass(frozen=True)
class RemotePath:
    """A remote URI taken apart: `account` and `dns_suffix` only of those that name them (`abfss://`)."""

    container: str
    path: str
    account: str | None = None
    dns_suffix: str | None = None


def remote_path(uri: str) -> RemotePath:
    """Takes `az://container/path` and `abfss://container@account.dfs.core.windows.net/path`; else ValueError."""
    parts = urlsplit(uri)
    if parts.scheme == "az" and parts.netloc and "@" not in parts.netloc:
        return RemotePath(parts.netloc, parts.path.strip("/"))
    if parts.scheme == "abfss":
        container, _, host = parts.netloc.partition("@")
        account, _, suffix = host.partition(".dfs.")
        if container and account and suffix:
            return RemotePath(container, parts.path.strip("/"), account, suffix)
    raise ValueError(
        f"{uri} is not a storage address; use a local path, az://container/path or"
        " abfss://container@account.dfs.core.windows.net/path"
    )


def storage_options(uri: str) -> dict[str, str] | None:
    """What delta-rs, polars and object stores need to open the URI; None for local ones.

    Taken from the environment variables that begin with `AZURE_STORAGE_` (account, key, emulator flag, endpoint).
    Where there is no key, the identity that the environment describes is used: a managed identity
    (`IDENTITY_ENDPOINT`, and `AZURE_CLIENT_ID` if it is user-assigned; in AzureML's jobs `DEFAULT_IDENTITY_CLIENT_ID`),
    a federated token, or a service principal.
    """
    if local_path(uri) is not None:
        return None
    remote = remote_path(uri)
    options = {name.lower(): value for name, value in os.environ.items() if name.startswith("AZURE_STORAGE_")}
    if remote.account:
        options["azure_storage_account_name"] = remote.account
    if not options.keys() & {"azure_storage_account_key", "azure_storage_sas_token"}:
        options |= {option: os.environ[name] for name, option in _IDENTITY.items() if os.environ.get(name)}
    if options.get("azure_storage_endpoint", "").startswith("http://"):  # an emulator's
        options["allow_http"] = "true"
    return options


def join(uri: str, *parts: str) -> str:
    """The URI below `uri`; works for local paths too."""
    return "/".join([uri.rstrip("/"), *parts])


def arrow_arguments(uri: str) -> dict[str, str]:
    """The arguments of pyarrow's AzureFileSystem for the URI; without key or client id it looks for an identity."""
    remote, options = remote_path(uri), storage_options(uri) or {}
    if not (account := options.get("azure_storage_account_name")):
        raise ValueError(f"{uri} does not say whose storage it is; set AZURE_STORAGE_ACCOUNT_NAME, or use abfss://")
    arguments = {"account_name": account}
    for option, argument in _ARROW.items():
        if option in options:
            arguments[argument] = options[option]
    if "client_secret" not in arguments:
        arguments.pop("tenant_id", None)  # means something to service principals only
    endpoint = urlsplit(options.get("azure_storage_endpoint", ""))
    for service in ("blob", "dfs"):
        if endpoint.netloc:
            arguments[f"{service}_storage_authority"] = endpoint.netloc
            arguments[f"{service}_storage_scheme"] = endpoint.scheme
        elif remote.dns_suffix and remote.dns_suffix != "core.windows.net":
            arguments[f"{service}_storage_authority"] = f".{service}.{remote.dns_suffix}"
    return arguments


def _remote(uri: str) -> tuple[FileSystem, str]:
    """The account's file system, and the path of the URI in it: container/path."""
    from pyarrow.fs import AzureFileSystem

    remote = remote_path(uri)
    return AzureFileSystem(**arrow_arguments(uri)), f"{remote.container}/{remote.path}".rstrip("/")


def list_files(uri: str) -> dict[str, int]:
    """Every file below the URI with its size in bytes, by its path relative to it; empty if there is nothing."""
    path = local_path(uri)
    if path is not None:
        files = (file for file in path.rglob("*") if file.is_file())
        return {file.relative_to(path).as_posix(): file.stat().st_size for file in files}
    from pyarrow.fs import FileSelector

    filesystem, root = _remote(uri)
    found = filesystem.get_file_info(FileSelector(root, allow_not_found=True, recursive=True))
    return {file.path[len(root) + 1 :]: file.size for file in found if file.is_file}


def folder_exists(uri: str) -> bool:
    """Whether there is a folder; in an account without folders of its own: whether there is anything below the URI."""
    path = local_path(uri)
    if path is not None:
        return path.is_dir()
    from pyarrow.fs import FileType

    filesystem, name = _remote(uri)
    return bool(filesystem.get_file_info(name).type == FileType.Directory)


def read_bytes(uri: str) -> bytes:
    """The content of the file; raises FileNotFoundError that names the URI."""
    path = local_path(uri)
    if path is not None:
        return path.read_bytes()
    filesystem, name = _remote(uri)
    if not filesystem.get_file_info(name).is_file:
        raise FileNotFoundError(uri)
    with filesystem.open_input_file(name) as file:
        return bytes(file.read())


def exists(uri: str) -> bool:
    """Whether there is a file at the URI."""
    path = local_path(uri)
    if path is not None:
        return path.is_file()
    filesystem, name = _remote(uri)
    return bool(filesystem.get_file_info(name).is_file)


def write_bytes(uri: str, content: bytes) -> None:
    """Write the whole file or nothing: a reader sees the old content or the new, never a part."""
    path = local_path(uri)
    if path is None:
        filesystem, name = _remote(uri)
        with filesystem.open_output_stream(name) as file:  # an upload shows only once it is closed
            file.write(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
