"""The ground on which the Azure adapters are tested: HTTPS, tokens, the clock, the log and the faults."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import ClassVar

import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ManagedIdentityCredential

from tests.azure_services.server import AzureServices, Call, Endpoint, Fault, Refused, Reply, Service

AUDIENCE = "https://counter.example.org"


class Counter(Service):
    """A service with one counter, that refuses to count beyond ten."""

    name: ClassVar[str] = "counter"
    audience: ClassVar[str] = AUDIENCE

    def __init__(self) -> None:
        self.count = 0

    def endpoints(self) -> list[Endpoint]:
        return [Endpoint("POST", "/{name}/add", self._add)]

    def _add(self, call: Call) -> Reply:
        if self.count + call.body["by"] > 10:
            raise Refused(409, "TooMany", f"{call.parts['name']} ends at 10")
        self.count += call.body["by"]
        return Reply(201, {"count": self.count})


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture
def azure(counter: Counter) -> Iterator[AzureServices]:
    with AzureServices(counter) as running:
        yield running


def _add(azure: AzureServices, by: int = 1, token: str | None = None, timeout: float = 10) -> requests.Response:
    token = token or azure.credential().get_token(f"{AUDIENCE}/.default").token
    return requests.post(
        f"{azure.url('counter')}/apples/add",
        json={"by": by},
        headers={"Authorization": f"Bearer {token}"},
        verify=str(azure.authority),
        timeout=timeout,
    )


def test_a_service_keeps_state_and_every_request_is_logged(azure: AzureServices) -> None:
    assert _add(azure, 4).json() == {"count": 4}
    refused = _add(azure, 7)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "TooMany")
    log = azure.requests("counter", "POST", "^/apples/")
    assert [(logged.status, logged.call.body) for logged in log] == [(201, {"by": 4}), (409, {"by": 7})]


def test_only_a_token_for_the_service_is_taken_and_only_while_it_is_good(azure: AzureServices) -> None:
    other = azure.credential().get_token("https://other.example.org/.default").token
    own = azure.credential().get_token(f"{AUDIENCE}/.default").token
    assert [_add(azure, token=token).status_code for token in ("made up", other, own)] == [401, 401, 201]
    azure.identity.revoke()
    assert _add(azure, token=own).status_code == 401


def test_the_managed_identity_of_a_functions_host_finds_its_tokens_here(
    azure: AzureServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in azure.identity_environment.items():
        monkeypatch.setenv(name, value)
    credential = ManagedIdentityCredential(connection_verify=str(azure.authority))
    assert _add(azure, token=credential.get_token(f"{AUDIENCE}/.default").token).status_code == 201


def test_without_a_token_nothing_is_asked(azure: AzureServices) -> None:
    azure.faults.switch_on(Fault("refuse", "identity", status=500))
    with pytest.raises(ClientAuthenticationError):
        _add(azure)
    assert not azure.requests("counter")


def test_a_stranger_to_the_authority_is_not_spoken_to(azure: AzureServices) -> None:
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(azure.url("counter"), timeout=10)


def test_an_operation_that_the_service_does_not_know_is_not_found(azure: AzureServices) -> None:
    answer = requests.get(azure.url("identity") + "/never", verify=str(azure.authority), timeout=10)
    assert (answer.status_code, azure.requests(path="never")[0].status) == (404, 404)


@pytest.mark.parametrize(("kind", "done"), [("refuse", 0), ("lose", 1)])
def test_a_fault_strikes_as_often_as_it_was_asked_to(
    azure: AzureServices, counter: Counter, kind: str, done: int
) -> None:
    fault = azure.faults.switch_on(Fault(kind, "counter", body='"by": 1', status=429, retry_after=7, times=2))  # type: ignore[arg-type]
    assert _add(azure, 2).status_code == 201
    struck = [_add(azure, 1) for _ in range(2)]
    assert [(answer.status_code, answer.headers["Retry-After"]) for answer in struck] == [(429, "7")] * 2
    assert (counter.count, fault.struck) == (2 + 2 * done, 2)
    assert _add(azure, 1).status_code == 201
    assert [logged.fault for logged in azure.requests("counter")] == ["", kind, kind, ""]


def test_a_hanging_request_is_answered_after_the_client_has_gone(azure: AzureServices, counter: Counter) -> None:
    azure.faults.switch_on(Fault("hang", "counter", seconds=30))
    with pytest.raises(requests.exceptions.ReadTimeout):
        _add(azure, timeout=0.2)
    assert _add(azure).status_code == 201 and counter.count == 1


def test_time_goes_by_when_a_test_says_so(azure: AzureServices) -> None:
    before = azure.clock.now()
    azure.clock.advance(timedelta(days=1))
    assert azure.clock.now() - before >= timedelta(days=1)
