"""Files by URI: a local path, `file://`, or `az://container/path`. The one place that knows credentials of storage."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname
from uuid import uuid4

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


def local_path(uri: str) -> Path | None:
    """The path of a local URI, or None if the URI is remote."""
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return Path(url2pathname(unquote(parts.path)))
    return None if len(parts.scheme) > 1 else Path(uri)


def storage_options(uri: str) -> dict[str, str] | None:
    """What delta-rs, polars and object stores need to open the URI; None for local ones.

    Taken from the environment variables that begin with `AZURE_STORAGE_` (account, key, emulator flag, endpoint), or
    the identity of the machine where there are none.
    """
    if local_path(uri) is not None:
        return None
    options = {name.lower(): value for name, value in os.environ.items() if name.startswith("AZURE_STORAGE_")}
    if options.get("azure_storage_endpoint", "").startswith("http://"):  # an emulator's
        options["allow_http"] = "true"
    return options


def join(uri: str, *parts: str) -> str:
    """The URI below `uri`; works for local paths too."""
    return "/".join([uri.rstrip("/"), *parts])


def _remote(uri: str) -> tuple[FileSystem, str]:
    """The account's file system, and the path of the URI in it: container/path."""
    from pyarrow.fs import AzureFileSystem

    options = storage_options(uri) or {}
    endpoint = urlsplit(options.get("azure_storage_endpoint", ""))
    elsewhere = {
        f"{service}_storage_{part}": value
        for service in ("blob", "dfs")
        for part, value in (("authority", endpoint.netloc), ("scheme", endpoint.scheme))
    }
    account = AzureFileSystem(
        account_name=options["azure_storage_account_name"],
        account_key=options.get("azure_storage_account_key"),
        **(elsewhere if endpoint.netloc else {}),
    )
    parts = urlsplit(uri)
    return account, f"{parts.netloc}{parts.path}"


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
