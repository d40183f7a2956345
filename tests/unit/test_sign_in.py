"""Signing in with a browser: the code flow with PKCE at the embedded issuer, and where a page is told to go."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from local.issuer import TokenIssuer
from local.servers import ServerThread
from shared.settings import Settings, SettingsError
from shared.sign_in import SignIn
from tests.unit.test_settings import AZURE, LOCAL, TENANT

PAGE = "http://127.0.0.1:7071/api/dashboard"
VERIFIER = "a-verifier-of-forty-three-characters-or-more"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
ASKED = {
    "redirect_uri": PAGE,
    "response_type": "code",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
    "state": "the-tab's",
}


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    people = tmp_path / "people.yml"
    people.write_text("- {username: ann, name: 'Ann <b>Engineer</b>', groups: [ML-Engineers]}")
    issuer = TokenIssuer(tmp_path / "state", people)
    with ServerThread(issuer.application) as server:
        issuer.serve_at(server.url)
        yield server.url


def told(answer: requests.Response) -> dict[str, str]:
    """What the page is told on the way back."""
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(f"{PAGE}?")
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}


def code_of(address: str, session: requests.Session | None = None) -> str:
    picked = (session or requests.Session()).post(
        f"{address}/authorize", data={**ASKED, "username": "ann"}, allow_redirects=False
    )
    found = told(picked)
    assert found["state"] == "the-tab's"
    return found["code"]


def exchange(address: str, **form: str) -> requests.Response:
    given = {"grant_type": "authorization_code", "code_verifier": VERIFIER, "redirect_uri": PAGE, **form}
    return requests.post(f"{address}/token", data=given, headers={"Origin": "http://127.0.0.1:7071"})


def test_a_code_gives_a_token_once_to_who_knows_the_verifier(address: str) -> None:
    code = code_of(address)
    answer = exchange(address, code=code)
    assert answer.ok and answer.json()["token_type"] == "Bearer"
    assert answer.headers["access-control-allow-origin"] == "http://127.0.0.1:7071"
    assert exchange(address, code=code).json()["error"] == "invalid_grant"
    again = exchange(address, grant_type="refresh_token", refresh_token=answer.json()["refresh_token"])
    assert again.ok and again.json()["access_token"]


@pytest.mark.parametrize("wrong", [{"code_verifier": "another"}, {"redirect_uri": f"{PAGE}/x"}, {"code": "made-up"}])
def test_a_code_is_worth_nothing_to_anybody_else(address: str, wrong: dict[str, str]) -> None:
    assert exchange(address, **{"code": code_of(address), **wrong}).json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "wrong",
    [
        {"redirect_uri": "https://elsewhere.example/api/dashboard"},
        {"redirect_uri": "http://127.0.0.1.elsewhere.example/"},
        {"redirect_uri": "javascript:alert(1)"},
        {"code_challenge": "short"},
        {"code_challenge_method": "plain"},
        {"response_type": "token"},
    ],
)
def test_only_pages_of_this_machine_are_sent_a_code_and_only_with_pkce(address: str, wrong: dict[str, str]) -> None:
    assert requests.get(f"{address}/authorize", params={**ASKED, **wrong}, allow_redirects=False).status_code == 400
    form = {**ASKED, **wrong, "username": "ann"}
    assert requests.post(f"{address}/authorize", data=form, allow_redirects=False).status_code == 400


def test_a_page_that_loads_again_is_let_in_without_asking_and_another_person_can_be_picked(address: str) -> None:
    silent = {**ASKED, "prompt": "none"}
    unknown = requests.get(f"{address}/authorize", params=silent, allow_redirects=False)
    assert told(unknown)["error"] == "login_required"
    with requests.Session() as browser:
        code_of(address, browser)
        assert "code" in told(browser.get(f"{address}/authorize", params=silent, allow_redirects=False))
        page = browser.get(f"{address}/authorize", params={**ASKED, "prompt": "select_account"})
        assert "Ann &lt;b&gt;Engineer&lt;/b&gt;" in page.text and "script" not in page.text
        left = browser.get(f"{address}/logout", params={"post_logout_redirect_uri": PAGE}, allow_redirects=False)
        assert left.headers["location"] == PAGE
        assert told(browser.get(f"{address}/authorize", params=silent, allow_redirects=False))["error"]


def test_on_azure_people_sign_in_at_the_tenant_whose_tokens_are_believed() -> None:
    client = "00000000-0000-0000-0000-0000000000cc"
    found = SignIn.of(Settings.read({**AZURE, "SIGN_IN_CLIENT": client}))
    assert found.authorize == f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/authorize"
    assert (found.origin, found.client) == ("https://login.microsoftonline.com", client)
    assert found.scope.split()[0] == "api://circuit-fleet/.default"
    with pytest.raises(SettingsError, match="SIGN_IN_CLIENT"):
        SignIn.of(Settings.read(AZURE))
    with pytest.raises(SettingsError, match="SIGN_IN_ENDPOINT belongs to the embedded mode"):
        Settings.read({**AZURE, "SIGN_IN_ENDPOINT": "http://127.0.0.1:7072/issuer"})


def test_on_one_machine_people_sign_in_at_the_embedded_issuer() -> None:
    found = SignIn.of(Settings.read({**LOCAL, "SIGN_IN_ENDPOINT": "http://127.0.0.1:7072/issuer"}))
    assert (found.origin, found.token) == ("http://127.0.0.1:7072", "http://127.0.0.1:7072/issuer/token")
    with pytest.raises(SettingsError, match="SIGN_IN_ENDPOINT"):
        SignIn.of(Settings.read(LOCAL))
