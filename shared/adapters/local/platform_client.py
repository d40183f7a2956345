"""The embedded model platform's HTTP API, as the adapters beside this file use it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from shared.domain.values import OperationState, OperationStatus
from shared.errors import Permanent, Transient

TIMEOUT_SECONDS = 30.0
CONNECTIONS = 32  # as many as a host runs functions at once

_STATES = {
    "Succeeded": OperationState.SUCCEEDED,
    "Completed": OperationState.SUCCEEDED,
    "Failed": OperationState.FAILED,
    "Canceled": OperationState.CANCELLED,
}


class PlatformClient:
    """Requests to the service, its answers as values and its troubles as Transient or Permanent. Safe in threads."""

    def __init__(self, url: str, key: str, timeout: float = TIMEOUT_SECONDS) -> None:
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._session = requests.Session()
        self._session.mount("http://", HTTPAdapter(pool_maxsize=CONNECTIONS))
        self._session.headers["Authorization"] = f"Bearer {key}"
        # The service is on this machine: a proxy, or keys in a .netrc, have no part in it.
        self._session.trust_env = False

    def start(
        self, method: str, path: str, command_id: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> str:
        """Start work under the command's id and return its name; the same id finds the work started before."""
        answer = self._request(method, path, body, {"Repeatability-Request-ID": command_id, **(headers or {})})
        return str(_content(answer)["name"])

    def get(self, path: str) -> Mapping[str, Any] | None:
        """The resource, or None where there is none."""
        answer = self._request("GET", path)
        return None if answer.status_code == requests.codes.not_found else _content(answer)

    def put(self, path: str, body: Mapping[str, Any]) -> bool:
        """Register something by its name; whether it is new."""
        answer = self._request("PUT", path, body)
        _raise_for_trouble(answer)
        return bool(answer.status_code == requests.codes.created)

    def look(self, reference: str) -> OperationStatus:
        """The state of `operation:{id}`, `job:{name}` or a plain job name."""
        shown = self.get(_path(reference))
        if shown is None:
            return OperationStatus(reference=reference, state=OperationState.UNKNOWN)
        return OperationStatus(
            reference=reference,
            state=_STATES.get(shown["status"], OperationState.RUNNING),
            error=shown.get("error", {}).get("message", ""),
            outputs=shown["outputs"],
            started_at=_time(shown["startTime"]),
            ended_at=_time(shown["endTime"]),
        )

    def cancel(self, reference: str) -> None:
        """Ask that started work stops; work that has ended, or never was, is left as it is."""
        answer = self._request("POST", f"{_path(reference)}/cancel")
        if answer.status_code != requests.codes.not_found:
            _raise_for_trouble(answer)

    def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        try:
            return self._session.request(
                method, f"{self._url}/{path}", json=body, headers=headers, timeout=self._timeout
            )
        except (requests.ConnectionError, requests.Timeout) as error:
            raise Transient(
                f"the model platform at {self._url} does not answer ({type(error).__name__}); start it, or try again"
            ) from error


def _path(reference: str) -> str:
    kind, _, name = reference.rpartition(":")
    return f"{kind or 'job'}s/{name}"


def _content(answer: requests.Response) -> Mapping[str, Any]:
    _raise_for_trouble(answer)
    content: Mapping[str, Any] = answer.json()
    return content


def _raise_for_trouble(answer: requests.Response) -> None:
    if answer.ok:
        return
    try:
        trouble = answer.json()["error"]
        reason = f"{trouble['code']}: {trouble['message']}"
    except (ValueError, KeyError, TypeError):
        reason = answer.text[:500]
    request = answer.request
    message = f"the model platform answered {answer.status_code} to {request.method} {request.path_url}: {reason}"
    # 409 means that an operation on the same target is in progress.
    if answer.status_code in (408, 409, 429) or answer.status_code >= 500:
        raise Transient(message, _seconds(answer.headers.get("Retry-After")))
    raise Permanent(message)


def _seconds(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
