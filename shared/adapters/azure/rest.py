"""REST calls to Azure's services with the app's identity; troubles come back as Transient or Permanent, unwaited.

Azure's SDKs wait and retry inside a call. Here nothing waits: what may be tried again says so and when, and the work
queue does the waiting.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from azure.core import PipelineClient
from azure.core.credentials import TokenCredential
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError, ServiceResponseError
from azure.core.pipeline.policies import BearerTokenCredentialPolicy, UserAgentPolicy
from azure.core.rest import HttpRequest, HttpResponse

from shared.errors import Permanent, Transient

TIMEOUTS: dict[str, Any] = {"connection_timeout": 5, "read_timeout": 30}
IN_PROGRESS_SECONDS = 15.0
"""When to try again while another operation on the resource stands in the way, where the service does not say."""
_TRY_AGAIN = {401, 408, 409, 423, 429}


@dataclass(frozen=True)
class Answer:
    """What a service answered to a request that it did not refuse; header names are lower-case."""

    status: int
    body: Any
    headers: Mapping[str, str]


class RestClient:
    """One service at `url`, for the audience that `scope` names. Safe in threads.

    Options go to azure-core's transport; `connection_verify` is a file of certificate authorities to believe.
    Redirects are not followed: they would carry the token elsewhere.
    """

    def __init__(self, service: str, url: str, credential: TokenCredential, scope: str, **options: Any) -> None:
        self._service = service
        self.url = url.rstrip("/")
        policies = [UserAgentPolicy("sensor-forecast"), BearerTokenCredentialPolicy(credential, scope)]
        self._client: PipelineClient[HttpRequest, HttpResponse] = PipelineClient(
            self.url, policies=policies, **{**TIMEOUTS, **options}
        )

    def get(self, address: str, query: Mapping[str, str] | None = None) -> Answer | None:
        """The resource, or None where there is none."""
        return self.send("GET", address, query=query, absent=True)

    def start(
        self,
        method: str,
        address: str,
        command_id: str,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Start work for a command; the service's logs find it by `request_id(command_id)`."""
        named = {"x-ms-client-request-id": request_id(command_id), **(headers or {})}
        answer = self.send(method, address, body, query, named)
        assert answer is not None
        return answer

    def send(
        self,
        method: str,
        address: str,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        absent: bool = False,
    ) -> Answer | None:
        """Send one request; `address` is a path below the service's, or a whole URL that begins with it.

        With `absent`, 404 is None instead of Permanent.
        """
        own = address == self.url or address.startswith(self.url + "/")
        url = address if own else f"{self.url}/{address.lstrip('/')}"
        request = HttpRequest(method, url, params=query, json=body, headers=dict(headers or {}))
        try:
            response = self._client.send_request(request)
            content = response.text()
        except ClientAuthenticationError as error:
            raise Transient(f"{self._service}: the app's identity was given no token: {error.message}") from error
        except (ServiceRequestError, ServiceResponseError) as error:
            raise Transient(f"{self._service} does not answer to {method} {url}: {error.message}") from error
        if response.status_code == 404 and absent:
            return None
        answer = Answer(response.status_code, _json(content), {k.lower(): v for k, v in response.headers.items()})
        if answer.status >= 400:
            raise self._trouble(f"{method} {url}", answer, content)
        return answer

    def _trouble(self, request: str, answer: Answer, content: str) -> Transient | Permanent:
        message = (
            f"{self._service} answered {answer.status} to {request}: {service_error(answer.body) or content[:500]}"
        )
        if answer.status not in _TRY_AGAIN and answer.status < 500:
            return Permanent(message)
        retry_after = seconds_to_wait(answer.headers.get("retry-after"))
        if retry_after is None and answer.status == 409:
            retry_after = IN_PROGRESS_SECONDS
        return Transient(message, retry_after)


def request_id(command_id: str) -> str:
    """The GUID that stands for a command where Azure takes nothing else."""
    return str(uuid5(NAMESPACE_URL, f"command:{command_id}"))


def service_error(body: Any) -> str:
    """The service's own words in an error body: Azure Resource Manager's form, Azure DevOps', or none."""
    if not isinstance(body, Mapping):
        return ""
    error = body.get("error", body)
    if not isinstance(error, Mapping):
        return str(error)
    words = [str(error[name]) for name in ("code", "message") if error.get(name)]
    details = [service_error(detail) for detail in error.get("details") or ()]
    return ": ".join(words) + "".join(f"; {detail}" for detail in details if detail)


def _json(content: str) -> Any:
    try:
        return json.loads(content) if content else None
    except ValueError:
        return None


def seconds_to_wait(text: str | None, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> float | None:
    """`Retry-After`: seconds, or the time of an HTTP date."""
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(text) - now()).total_seconds())
    except (TypeError, ValueError):
        return None
