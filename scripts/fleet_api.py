"""The app's HTTP API, as scripts call it: by address and access token, with problems told as the app tells them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

DEFAULT_URL = "http://127.0.0.1:7071"
ENVIRONMENT = f"""
FLEET_URL    where the app is (default: {DEFAULT_URL})
FLEET_TOKEN  your access token; without it, Azure CLI is asked for one for TOKEN_AUDIENCE
"""
SECONDS = 60


class ApiProblem(Exception):
    """The app did not do what was asked; the text is its own, or why it could not be asked."""


class FleetApi:
    """Calls of a person's or a pipeline's; `environment` names where and who."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._url = environment.get("FLEET_URL", DEFAULT_URL).rstrip("/")
        self._token = environment.get("FLEET_TOKEN") or _from_azure_cli(environment.get("TOKEN_AUDIENCE", ""))

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        return self._call("GET", f"{path}?{urlencode(query)}" if query else path)

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        return self._call("POST", path, json.dumps(body, default=str).encode())

    def _call(self, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        request = Request(f"{self._url}/api/{path}", body, headers, method=method)
        try:
            with urlopen(request, timeout=SECONDS) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except HTTPError as error:
            raise ApiProblem(_told(error)) from error
        except (URLError, TimeoutError) as error:
            raise ApiProblem(f"{self._url} does not answer: {error}; set FLEET_URL to where the app is") from error


def _told(error: HTTPError) -> str:
    """What the app says is wrong."""
    try:
        told = json.load(error)
        return f"{told['title']}: {told['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"the app answered {error.code} {error.reason}"


def _from_azure_cli(audience: str) -> str:
    """An access token of who is signed in to Azure CLI; raises ApiProblem saying what to set."""
    tool = shutil.which("az")
    if not audience or tool is None:
        raise ApiProblem("set FLEET_TOKEN, or sign in with Azure CLI and set TOKEN_AUDIENCE")
    asked = [tool, "account", "get-access-token", "--resource", audience, "--query", "accessToken", "--output", "tsv"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise ApiProblem(f"Azure CLI gave no token: {answer.stderr.strip()}")
    return answer.stdout.strip()
