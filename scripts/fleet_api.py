"""The app's HTTP API, as scripts and the command line call it: by address and person, problems in its own words."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

DEFAULT_URL = "http://127.0.0.1:7071"
ENVIRONMENT = f"""
FLEET_URL    where the app is (default: {DEFAULT_URL})
FLEET_TOKEN  your access token; without it you are signed in with Azure CLI, and with make up as FLEET_USER
FLEET_USER   who you are at the embedded issuer, such as erik@plant.example
TOKEN_AUDIENCE  whom tokens of Azure CLI are for, where that is not the api:// address that the app names
"""
SECONDS = 60
LONGEST_PAGE = 200
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ApiProblem(Exception):
    """The app did not do what was asked; the text is its own. `status` is 0 where it could not be asked."""

    def __init__(self, text: str, status: int = 0, told: Mapping[str, Any] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.told = told or {}


class FleetApi:
    """Calls of a person's or a pipeline's; `environment` names where and who. Signs in with the first call."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self.url = environment.get("FLEET_URL", DEFAULT_URL).rstrip("/")
        address = urlsplit(self.url)
        if address.scheme != "https" and not (address.scheme == "http" and address.hostname in LOOPBACK):
            raise ApiProblem(f"{self.url} is no https address: a token would go there in the clear", 400)
        self._token = environment.get("FLEET_TOKEN", "")
        self._user = environment.get("FLEET_USER", "")
        self._audience = environment.get("TOKEN_AUDIENCE", "")

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        given = {name: value for name, value in query.items() if value is not None}
        return self._call("GET", f"{path}?{urlencode(given)}" if given else path)

    def pages(self, path: str, name: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Every entry of a list, page after page."""
        continuation: str | None = None
        while True:
            page = self.get(path, size=LONGEST_PAGE, continuation=continuation, **query)
            yield from page[name]
            continuation = page["continuation"]
            if continuation is None:
                return

    def post(self, path: str, key: str | None = None, **body: Any) -> dict[str, Any]:
        """Make a change; `key` is its own name, with which it is made once however often it is sent."""
        sent = json.dumps(body, default=str).encode()
        return self._call("POST", path, sent, {"Idempotency-Key": key} if key else {})

    def token(self) -> str:
        """The caller's access token; signs in with the first call."""
        self._token = self._token or self._signed_in()
        return self._token

    def anonymously(self, path: str) -> dict[str, Any]:
        """What the app tells anybody."""
        return _json(Request(f"{self.url}/api/{path}"), self.url)

    def _call(
        self, method: str, path: str, body: bytes | None = None, named: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.token()}", "Content-Type": "application/json", **(named or {})}
        address = f"{self.url}/api/{quote(path, safe='/?&=%:@!+~.,-_')}"
        return _json(Request(address, body, headers, method=method), self.url)

    def _signed_in(self) -> str:
        """A token of whoever is signed in where the app's people sign in; raises ApiProblem saying what to do."""
        where = self.anonymously("sign-in")
        if urlsplit(where["token"]).hostname not in LOOPBACK:
            return _from_entra(self._audience, str(where["scope"]).partition("/.default")[0])
        if not self._user:
            raise ApiProblem(
                "nobody is signed in: say who you are with FLEET_USER (fleet --as), or set FLEET_TOKEN", 401
            )
        form = urlencode({"username": self._user}).encode()
        return str(_json(Request(where["token"], form), where["token"])["access_token"])


def opener(url: str) -> OpenerDirector:
    """What opens an address; a proxy that the environment names is not asked for what is on this machine."""
    return build_opener(ProxyHandler({})) if urlsplit(url).hostname in LOOPBACK else build_opener()


def _json(request: Request, where: str) -> dict[str, Any]:
    try:
        with opener(request.full_url).open(request, timeout=SECONDS) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except HTTPError as error:
        raise _told(error) from error
    except (URLError, TimeoutError, ConnectionError) as error:
        raise ApiProblem(f"{where} does not answer: {error}; set FLEET_URL to where the app is") from error
    except ValueError as error:
        raise ApiProblem(f"{where} answers no JSON: set FLEET_URL to where the app is") from error


def _told(error: HTTPError) -> ApiProblem:
    """What the app says is wrong."""
    try:
        told = json.load(error)
        text = told["error_description"] if "error_description" in told else f"{told['title']}: {told['detail']}"
        return ApiProblem(text, error.code, told)
    except (ValueError, KeyError, TypeError):
        return ApiProblem(f"the app answered {error.code} {error.reason}", error.code)


def _from_entra(configured: str, named: str) -> str:
    """An access token of who is signed in to Azure's command lines, for the configured audience or the one named.

    What an app names is believed only where it can be no service of Azure's: its address may be somebody else's.
    """
    audience = configured or named
    if not configured and not named.startswith("api://"):
        raise ApiProblem(
            f"set TOKEN_AUDIENCE, after making sure that it is your app's ({named:.80}), or FLEET_TOKEN", 401
        )
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import AzureCliCredential, AzureDeveloperCliCredential, ChainedTokenCredential

    credential = ChainedTokenCredential(AzureCliCredential(), AzureDeveloperCliCredential())
    try:
        return credential.get_token(f"{audience}/.default").token
    except ClientAuthenticationError as error:
        raise ApiProblem(f"nobody is signed in: run az login, or set FLEET_TOKEN. {error.message}", 401) from error
