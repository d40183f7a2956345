"""The server that Azure's services run on here: HTTPS, tokens, a clock, a request log, and faults on demand.

A service is a class in a file of its own. It keeps its state in plain attributes and has one `Endpoint` for each
operation it knows; requests are handled one at a time, in the order in which they come, so state needs no locks.

    class Devops(Service):
        name, audience = "devops", "499b84ac-1321-427f-aa17-267ca6975798"

        def endpoints(self) -> list[Endpoint]:
            return [Endpoint("GET", "/{project}/_apis/pipelines/approvals", self._approvals)]

    with AzureServices(Devops(), …) as azure:
        client = SomeAdapter(azure.url("devops"), azure.credential(), connection_verify=azure.authority)
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

import requests
import trustme
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from local.ports import LOOPBACK
from local.servers import ServerThread

TOKEN_LIFETIME = timedelta(hours=1)
METHODS = ["GET", "PUT", "POST", "PATCH", "DELETE"]


@dataclass(frozen=True)
class Call:
    """One request as a service sees it. `path` is below the service's root; header names are lower-case."""

    service: str
    method: str
    path: str
    parts: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any = None


@dataclass(frozen=True)
class Reply:
    """What a service answers; `body` is sent as JSON, None as nothing at all."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """A request that is not answered as asked; the service says how its errors look."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers or {}


@dataclass(frozen=True)
class Endpoint:
    """One operation of a service. `path` as Starlette's routes have it; a part `{name:path}` may hold slashes."""

    method: str
    path: str
    answer: Callable[[Call], Reply]


class Service(ABC):
    """A part of Azure. `audience` is whom its callers' tokens are for; with none it asks for no token."""

    name: ClassVar[str]
    audience: ClassVar[str] = ""
    azure: AzureServices

    @abstractmethod
    def endpoints(self) -> Sequence[Endpoint]:
        """The operations it knows."""

    @property
    def audiences(self) -> tuple[str, ...]:
        """Whose tokens are taken: the audience's, and those for the address that stands for it here."""
        return (self.audience, self.azure.url(self.name))

    def check(self, call: Call) -> None:  # noqa: B027 (most services accept whatever an operation does)
        """Raise Refused for what no operation accepts; called before any of them."""

    def error(self, refused: Refused) -> Any:
        """The body of an error: Azure Resource Manager's form."""
        return {"error": {"code": refused.code, "message": refused.message}}

    @property
    def now(self) -> datetime:
        return self.azure.clock.now()


class Clock:
    """The services' time: the real one, until a test goes ahead of it."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def advance(self, by: timedelta) -> None:
        """Let time go by at once: what would have ended by then has ended."""
        self._ahead += by


@dataclass
class Fault:
    """What goes wrong with the first `times` requests that match.

    refuse: answered with `status` and nothing is done. lose: done, but answered with `status`. hang: nothing is done,
    and the answer comes after `seconds`. Every filter given must match: `path` and `body` are regular expressions that
    are searched for, `header` is a name and a value.
    """

    kind: Literal["refuse", "lose", "hang"]
    service: str = ""
    method: str = ""
    path: str = ""
    body: str = ""
    header: tuple[str, str] | None = None
    status: int = 500
    retry_after: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 30
    times: int = 1
    struck: int = 0

    def strikes(self, call: Call) -> bool:
        return (
            self.struck < self.times
            and self.service in ("", call.service)
            and self.method in ("", call.method)
            and bool(re.search(self.path, call.path))
            and bool(re.search(self.body, json.dumps(call.body)))
            and (self.header is None or call.headers.get(self.header[0].lower()) == self.header[1])
        )


class Faults:
    """The faults that are switched on; they may be switched from any thread."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def switch_on(self, fault: Fault) -> Fault:
        """Switch on, and return it: its `struck` tells how often it has struck."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def switch_off(self) -> None:
        with self._lock:
            self._faults.clear()

    def take(self, call: Call) -> Fault | None:
        """The fault that strikes this request, counted."""
        with self._lock:
            struck = next((fault for fault in self._faults if fault.strikes(call)), None)
            if struck:
                struck.struck += 1
            return struck


@dataclass(frozen=True)
class Logged:
    """A request that was answered, and how.

    `operation` is the endpoint's method and path below its service, and `fault` the kind of the fault that struck it.
    """

    call: Call
    operation: str
    status: int
    body: Any = None
    fault: str = ""


class Identity(Service):
    """The managed identity's endpoint of the Functions host: tokens for whatever resource is asked for."""

    name = "identity"

    def __init__(self) -> None:
        self.header = secrets.token_urlsafe(16)
        self._issued: dict[str, str] = {}

    def endpoints(self) -> list[Endpoint]:
        return [Endpoint("GET", "/token", self._token)]

    def error(self, refused: Refused) -> Any:
        return {"statusCode": refused.status, "message": refused.message}

    def admits(self, token: str, audiences: Sequence[str]) -> bool:
        """Whether this token was issued here for one of these audiences, and is still good."""
        return self._issued.get(token) in audiences

    def revoke(self) -> None:
        """Let every token be good no more, though those who hold one think so."""
        self._issued.clear()

    def _token(self, call: Call) -> Reply:
        if call.headers.get("x-identity-header") != self.header:
            raise Refused(403, "Forbidden", "X-IDENTITY-HEADER is not the host's")
        token, until = secrets.token_urlsafe(24), datetime.now(UTC) + TOKEN_LIFETIME
        self._issued[token] = call.query["resource"].rstrip("/")
        return Reply(
            body={
                "access_token": token,
                "expires_on": str(int(until.timestamp())),
                "resource": call.query["resource"],
                "token_type": "Bearer",
            }
        )


class HostIdentity:
    """A credential like `ManagedIdentityCredential`, which reads the process's environment anew at each token."""

    def __init__(self, environment: Mapping[str, str], authority: Path) -> None:
        self._environment, self._authority = environment, authority
        self._tokens: dict[str, AccessToken] = {}

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """A token for the scope's resource, kept while it lasts. Raises ClientAuthenticationError."""
        (scope,) = scopes
        token = self._tokens.get(scope)
        if token is None or token.expires_on < time.time() + 60:
            token = self._tokens[scope] = self._fetch(scope.removesuffix("/.default"))
        return token

    def _fetch(self, resource: str) -> AccessToken:
        answer = requests.get(
            self._environment["IDENTITY_ENDPOINT"],
            params={"resource": resource, "api-version": "2019-08-01"},
            headers={"X-IDENTITY-HEADER": self._environment["IDENTITY_HEADER"]},
            verify=str(self._authority),
            timeout=10,
        )
        if not answer.ok:
            raise ClientAuthenticationError(f"no token for {resource}: {answer.text}")
        return AccessToken(answer.json()["access_token"], int(answer.json()["expires_on"]))


class AzureServices:
    """One HTTPS server for all services, each below a path of its own; `authority` is the file of its throw-away CA."""

    def __init__(self, *services: Service) -> None:
        self.identity = Identity()
        self.clock = Clock()
        self.faults = Faults()
        self._log: list[Logged] = []
        self._folder = tempfile.TemporaryDirectory(prefix="azure-services-")
        authority = trustme.CA()
        certificate = Path(self._folder.name) / "certificate.pem"
        authority.issue_cert("localhost", LOOPBACK).private_key_and_cert_chain_pem.write_to_path(str(certificate))
        self.authority = Path(self._folder.name) / "authority.pem"
        authority.cert_pem.write_to_path(str(self.authority))
        self._released = threading.Event()
        mounts = [Mount(f"/{service.name}", routes=self._routes(service)) for service in (*services, self.identity)]
        self._server = ServerThread(
            Starlette(routes=mounts), purpose="Azure's services", certificate=certificate, grace_seconds=1
        )

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._released.set()
        self._server.stop()
        self._folder.cleanup()

    def url(self, service: str) -> str:
        """Where a service is, without a slash at the end."""
        return f"{self._server.url}/{service}"

    @property
    def identity_environment(self) -> dict[str, str]:
        """What the Functions host tells its app: with it set, `ManagedIdentityCredential` finds its tokens here."""
        return {"IDENTITY_ENDPOINT": f"{self.url('identity')}/token", "IDENTITY_HEADER": self.identity.header}

    def credential(self) -> HostIdentity:
        """The identity of the app, for clients of these services."""
        return HostIdentity(self.identity_environment, self.authority)

    def requests(self, service: str = "", method: str = "", path: str = "") -> list[Logged]:
        """The requests so far, oldest first, that match: `path` is a regular expression that is searched for."""
        return [
            logged
            for logged in list(self._log)
            if service in ("", logged.call.service)
            and method in ("", logged.call.method)
            and re.search(path, logged.call.path)
        ]

    def _routes(self, service: Service) -> list[Route]:
        service.azure = self
        unknown = Endpoint("", "/{rest:path}", _unknown)
        return [
            Route(
                endpoint.path,
                self._answering(service, endpoint),
                methods=[endpoint.method] if endpoint.method else METHODS,
            )
            for endpoint in (*service.endpoints(), unknown)
        ]

    def _answering(self, service: Service, endpoint: Endpoint) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            content = await request.body()
            call = Call(
                service=service.name,
                method=request.method,
                path=request.url.path.removeprefix(f"/{service.name}"),
                parts=request.path_params,
                query=dict(request.query_params),
                headers=dict(request.headers),
                body=_json(content),
            )
            fault = self.faults.take(call)
            if fault and fault.kind == "hang":
                await self._hang(fault.seconds)
            reply = self._reply(service, endpoint, call, fault)
            operation = f"{call.method} {service.name}{endpoint.path}"
            self._log.append(Logged(call, operation, reply.status, reply.body, fault.kind if fault else ""))
            if reply.body is None:
                return Response(status_code=reply.status, headers=dict(reply.headers))
            return JSONResponse(reply.body, reply.status, dict(reply.headers))

        return answer

    def _reply(self, service: Service, endpoint: Endpoint, call: Call, fault: Fault | None) -> Reply:
        try:
            if fault and fault.kind != "lose":
                raise _as_refused(fault)
            self._check_token(service, call)
            service.check(call)
            reply = endpoint.answer(call)
            if fault:
                raise _as_refused(fault)
            return reply
        except Refused as refused:
            return Reply(refused.status, service.error(refused), refused.headers)

    def _check_token(self, service: Service, call: Call) -> None:
        kind, _, token = call.headers.get("authorization", "").partition(" ")
        if service.audience and not (kind == "Bearer" and self.identity.admits(token, service.audiences)):
            raise Refused(401, "InvalidAuthenticationToken", f"the token is not one for {service.audience}")

    async def _hang(self, seconds: float) -> None:
        """Let the client wait; the server's end does not wait with it."""
        for _ in range(int(seconds / 0.05)):
            if self._released.is_set():
                return
            await asyncio.sleep(0.05)


def _unknown(call: Call) -> Reply:
    raise Refused(404, "NotFound", f"there is no {call.method} {call.path}")


def _as_refused(fault: Fault) -> Refused:
    after = {} if fault.retry_after is None else {"Retry-After": f"{fault.retry_after:g}"}
    return Refused(fault.status, "Fault", "switched on by a test", {**after, **fault.headers})


def _json(content: bytes) -> Any:
    try:
        return json.loads(content) if content else None
    except ValueError:
        return content.decode(errors="replace")
