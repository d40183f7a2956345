"""The local token issuer: real signatures over Entra-like claims, and nothing for strangers."""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
import requests

from local.issuer import LOCAL_ISSUER, BadPeopleFile, TokenIssuer, UnknownPerson
from local.servers import ServerThread

PEOPLE = """
- {username: ann, name: Ann Engineer, groups: [ML-Engineers], oid: 6b29fc40-ca47-1067-b31d-00dd010662da}
- {username: Bob, name: Bob Manager, groups: [Engineering-Managers, ML-Engineers]}
"""


@pytest.fixture
def people(tmp_path: Path) -> Path:
    file = tmp_path / "people.yml"
    file.write_text(PEOPLE)
    return file


@pytest.fixture
def issuer(tmp_path: Path, people: Path) -> Iterator[TokenIssuer]:
    made = TokenIssuer(tmp_path / "state", people, audience="api://app")
    with ServerThread(made.application) as server:
        made.serve_at(server.url)
        yield made


def verified(issuer: TokenIssuer, token: str) -> dict[str, object]:
    key = jwt.PyJWKClient(issuer.keys_url).get_signing_key_from_jwt(token).key
    claims: dict[str, object] = jwt.decode(token, key, algorithms=["RS256"], audience="api://app", issuer=LOCAL_ISSUER)
    return claims


def test_a_token_verifies_with_the_published_key_and_claims_the_person(issuer: TokenIssuer) -> None:
    claims = verified(issuer, issuer.issue("ANN"))
    assert claims["oid"] == claims["sub"] == "6b29fc40-ca47-1067-b31d-00dd010662da"
    assert (claims["preferred_username"], claims["name"]) == ("ann", "Ann Engineer")
    assert (claims["groups"], claims["ver"]) == (["ML-Engineers"], "2.0")
    assert set(claims) >= {"iss", "aud", "exp", "nbf", "iat", "tid"}


def test_people_without_an_object_id_keep_a_derived_one(issuer: TokenIssuer) -> None:
    first, second = (verified(issuer, issuer.issue(name))["oid"] for name in ("bob", "Bob"))
    assert first == second != verified(issuer, issuer.issue("ann"))["oid"]


@pytest.mark.parametrize(
    ("overrides", "error"),
    [
        ({"exp": int(time.time()) - 60}, jwt.ExpiredSignatureError),
        ({"nbf": int(time.time()) + 86_400}, jwt.ImmatureSignatureError),
        ({"aud": "api://somebody-else"}, jwt.InvalidAudienceError),
        ({"iss": "https://evil.example"}, jwt.InvalidIssuerError),
        ({"aud": None}, jwt.MissingRequiredClaimError),
    ],
)
def test_tokens_for_tests_of_refusal_are_refused(
    issuer: TokenIssuer, overrides: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        verified(issuer, issuer.issue("ann", **overrides))


def test_a_restart_keeps_tokens_valid_and_the_key_private(issuer: TokenIssuer, tmp_path: Path, people: Path) -> None:
    token = issuer.issue("ann")
    again = TokenIssuer(tmp_path / "state", people, audience="api://app")
    with ServerThread(again.application) as server:
        again.serve_at(server.url)
        assert verified(again, token)["name"] == "Ann Engineer"
    mode = (tmp_path / "state" / "issuer-key.pem").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_another_issuers_token_does_not_verify(issuer: TokenIssuer, tmp_path: Path, people: Path) -> None:
    stranger = TokenIssuer(tmp_path / "elsewhere", people, audience="api://app")
    with pytest.raises(jwt.PyJWKClientError):
        verified(issuer, stranger.issue("ann"))


def test_discovery_names_the_issuer_that_cannot_exist_and_the_real_key_address(issuer: TokenIssuer) -> None:
    base = issuer.keys_url.removesuffix("/discovery/keys")
    document = requests.get(f"{base}/.well-known/openid-configuration", timeout=5).json()
    assert document["issuer"] == LOCAL_ISSUER
    assert document["jwks_uri"] == issuer.keys_url
    assert "d" not in requests.get(issuer.keys_url, timeout=5).json()["keys"][0]


def test_the_token_endpoint_signs_in_the_people_of_the_file_and_nobody_else(issuer: TokenIssuer) -> None:
    address = issuer.keys_url.replace("discovery/keys", "token")
    answer = requests.post(address, data={"username": "ann"}, timeout=5)
    assert answer.headers["cache-control"] == "no-store"
    assert verified(issuer, answer.json()["access_token"])["name"] == "Ann Engineer"
    stranger = requests.post(address, data={"username": "eve"}, timeout=5)
    assert (stranger.status_code, stranger.json()["error"]) == (400, "invalid_grant")
    assert "ann" in stranger.json()["error_description"]
    for form in ({}, {"username": ["ann", "Bob"]}):
        assert requests.post(address, data=form, timeout=5).json()["error"] == "invalid_request"
    assert requests.get(address, timeout=5).status_code == 405


def test_an_unknown_person_is_refused_with_the_known_ones(issuer: TokenIssuer) -> None:
    with pytest.raises(UnknownPerson, match="Bob, ann"):
        issuer.issue("eve")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("- {username: ann}", "0.name"),
        ("- {username: ann, name: A, role: boss}", "0.role"),
        ("username: ann", "file: "),
        ("- {username: ann, name: A}\n- {username: ANN, name: B}", "twice"),
        ("- [", "neither YAML nor JSON"),
    ],
)
def test_a_wrong_file_of_people_is_refused_by_name(tmp_path: Path, content: str, named: str) -> None:
    file = tmp_path / "people.yml"
    file.write_text(content)
    with pytest.raises(BadPeopleFile) as refused:
        TokenIssuer(tmp_path / "state", file)
    assert named in str(refused.value) and str(file) in str(refused.value)


def test_a_missing_file_of_people_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadPeopleFile, match=r"nobody\.yml"):
        TokenIssuer(tmp_path / "state", tmp_path / "nobody.yml")
