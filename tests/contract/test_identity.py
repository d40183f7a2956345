"""Who calls: tokens of the real local issuer, and everything that somebody could present instead of one."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from local.issuer import LOCAL_ISSUER, TokenIssuer
from local.ports import free_port
from local.servers import ServerThread
from shared.errors import Transient
from shared.identity import NotSignedIn
from shared.tokens import Tokens

AUDIENCE = "api://circuit-fleet"
PEOPLE = """
- {username: erik@plant.example, name: Erik Lindqvist, groups: [ML-Engineers, Night-Shift]}
- {username: sam@plant.example, name: Sam Visser, groups: []}
"""
NOW = int(time.time())
"""When the tests were collected, which may be a quarter of an hour before they run."""


@pytest.fixture
def people(tmp_path: Path) -> Path:
    file = tmp_path / "people.yml"
    file.write_text(PEOPLE)
    return file


@pytest.fixture
def issuer(tmp_path: Path, people: Path) -> Iterator[TokenIssuer]:
    made = TokenIssuer(tmp_path / "state", people, audience=AUDIENCE)
    with ServerThread(made.application) as server:
        made.serve_at(server.url)
        yield made


@pytest.fixture
def tokens(issuer: TokenIssuer) -> Tokens:
    return Tokens(LOCAL_ISSUER, AUDIENCE, issuer.keys_url)


def bearer(token: str) -> str:
    return f"Bearer {token}"


def part(content: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def claims_of(issuer: TokenIssuer) -> dict[str, Any]:
    return dict(jwt.decode(issuer.issue("erik@plant.example"), options={"verify_signature": False}))


def published_key(issuer: TokenIssuer) -> dict[str, Any]:
    return dict(jwt.PyJWKClient(issuer.keys_url).fetch_data()["keys"][0])


def test_a_valid_token_names_the_person_with_groups(issuer: TokenIssuer, tokens: Tokens) -> None:
    erik = tokens.person(bearer(issuer.issue("erik@plant.example")))
    assert (erik.username, erik.name) == ("erik@plant.example", "Erik Lindqvist")
    assert erik.groups == ("ML-Engineers", "Night-Shift")
    assert erik.oid == claims_of(issuer)["oid"]
    assert tokens.person(bearer(issuer.issue("sam@plant.example"))).groups == ()


def test_the_scheme_is_read_in_any_case(issuer: TokenIssuer, tokens: Tokens) -> None:
    assert tokens.person(f"bearer  {issuer.issue('erik@plant.example')} ").name == "Erik Lindqvist"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic ZXJpazpzZWNyZXQ=", "Token abc"])
def test_without_a_token_the_answer_is_sign_in_first(tokens: Tokens, header: str | None) -> None:
    with pytest.raises(NotSignedIn, match="sign in first") as refused:
        tokens.person(header)
    assert refused.value.challenge == "Bearer"


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": NOW - 120},
        {"nbf": NOW + 36_000},
        {"iat": NOW + 36_000},
        {"aud": "api://somebody-else"},
        {"aud": None},
        {"iss": "https://login.microsoftonline.com/0d1c/v2.0"},
        {"iss": None},
        {"exp": None},
        {"oid": None},
        {"oid": ""},
        {"oid": 7},
        {"preferred_username": None},
        {"idtyp": "app"},
    ],
    ids=lambda changed: " ".join(f"{claim} {type(value).__name__}" for claim, value in changed.items()),
)
def test_a_token_that_is_signed_and_yet_not_right_is_refused(
    issuer: TokenIssuer, tokens: Tokens, changed: dict[str, Any]
) -> None:
    with pytest.raises(NotSignedIn) as refused:
        tokens.person(bearer(issuer.issue("erik@plant.example", **changed)))
    assert refused.value.challenge == 'Bearer error="invalid_token"'


PROGRAM = {"preferred_username": None, "name": None, "azp": "0a1b", "idtyp": "app", "groups": None}


def test_a_program_is_a_caller_by_its_role_and_never_a_person(issuer: TokenIssuer, tokens: Tokens) -> None:
    token = bearer(issuer.issue("erik@plant.example", **PROGRAM, roles=["Fleet-Operators"]))
    pipeline = tokens.caller(token)
    assert (pipeline.username, pipeline.groups) == ("app/0a1b", ("Fleet-Operators",))
    with pytest.raises(NotSignedIn, match="names no person"):
        tokens.person(token)


@pytest.mark.parametrize("changed", [{"roles": []}, {"roles": None}, {"azp": None, "roles": ["R"]}], ids=str)
def test_a_program_that_was_given_no_role_is_nobody(
    issuer: TokenIssuer, tokens: Tokens, changed: dict[str, Any]
) -> None:
    with pytest.raises(NotSignedIn, match="no program with a role"):
        tokens.caller(bearer(issuer.issue("erik@plant.example", **{**PROGRAM, **changed})))


def test_a_person_stays_a_person_whatever_application_they_use(issuer: TokenIssuer, tokens: Tokens) -> None:
    token = bearer(issuer.issue("erik@plant.example", azp="0a1b", roles=["Fleet-Operators"]))
    assert tokens.caller(token) == tokens.person(token) and tokens.caller(token).username == "erik@plant.example"


def test_a_clock_that_is_a_little_off_does_no_harm(issuer: TokenIssuer, tokens: Tokens) -> None:
    expired = int(time.time()) - 20
    assert tokens.person(bearer(issuer.issue("erik@plant.example", exp=expired, nbf=expired - 600)))


def test_one_of_several_audiences_is_enough(issuer: TokenIssuer, tokens: Tokens) -> None:
    assert tokens.person(bearer(issuer.issue("erik@plant.example", aud=["api://other", AUDIENCE])))


@pytest.mark.parametrize(
    ("changed", "groups"),
    [
        ({"groups": None, "roles": ["ML-Engineers"]}, ("ML-Engineers",)),
        ({"groups": ["a", "b"], "roles": ["b", "c"]}, ("a", "b", "c")),
        ({"groups": "ML-Engineers"}, ()),
        ({"groups": {"ML-Engineers": True}}, ()),
        ({"groups": ["ML-Engineers", 7, None, ["Engineering-Managers"]]}, ("ML-Engineers",)),
    ],
)
def test_groups_are_group_claims_and_app_roles_and_only_texts_in_lists(
    issuer: TokenIssuer, tokens: Tokens, changed: dict[str, Any], groups: tuple[str, ...]
) -> None:
    assert tokens.person(bearer(issuer.issue("erik@plant.example", **changed))).groups == groups


def test_a_user_name_of_the_older_token_version_is_taken(issuer: TokenIssuer, tokens: Tokens) -> None:
    token = issuer.issue("erik@plant.example", preferred_username=None, upn="erik@corp.example", name=None)
    assert tokens.person(bearer(token)).username == tokens.person(bearer(token)).name == "erik@corp.example"


def test_a_strangers_signature_is_refused_whatever_key_it_names(issuer: TokenIssuer, tokens: Tokens) -> None:
    stranger = generate_private_key(public_exponent=65537, key_size=2048)
    for kid in (published_key(issuer)["kid"], "unknown", None):
        headers = {"kid": kid} if kid else {}
        with pytest.raises(NotSignedIn):
            tokens.person(bearer(jwt.encode(claims_of(issuer), stranger, algorithm="RS256", headers=headers)))


def test_the_public_key_is_no_shared_secret(issuer: TokenIssuer, tokens: Tokens) -> None:
    """HS256 with the published key as its secret: the classic confusion of algorithms."""
    key = published_key(issuer)
    pem = jwt.PyJWK.from_dict(key).key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = f"{part({'alg': 'HS256', 'typ': 'JWT', 'kid': key['kid']})}.{part(claims_of(issuer))}"
    for secret in (pem, json.dumps(key).encode()):
        mac = jwt.get_algorithm_by_name("HS256").sign(signed.encode(), secret)
        with pytest.raises(NotSignedIn):
            tokens.person(bearer(f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"))


@pytest.mark.parametrize("algorithm", ["none", "None", "nOnE", "RS512", "PS256", "ES256", "", None, 5])
def test_no_other_algorithm_is_believed(issuer: TokenIssuer, tokens: Tokens, algorithm: object) -> None:
    _, claims, signature = issuer.issue("erik@plant.example").split(".")
    renamed = part({"alg": algorithm, "typ": "JWT", "kid": published_key(issuer)["kid"]})
    for token in (f"{renamed}.{claims}.", f"{renamed}.{claims}.{signature}"):
        with pytest.raises(NotSignedIn):
            tokens.person(bearer(token))


@pytest.mark.parametrize(
    "token",
    ["x", "a.b.c", "..", "\u00e9.\u00e9.\u00e9", "a" * 50_000, f"{part('text')}.{part([])}.x", part({"alg": "RS256"})],
)
def test_what_is_no_token_is_refused(tokens: Tokens, token: str) -> None:
    with pytest.raises(NotSignedIn):
        tokens.person(bearer(token))


def test_a_payload_that_is_nested_without_end_is_refused(issuer: TokenIssuer, tokens: Tokens) -> None:
    header = issuer.issue("erik@plant.example").partition(".")[0]
    nested = base64.urlsafe_b64encode(b"[" * 100_000).decode().rstrip("=")
    with pytest.raises(NotSignedIn):
        tokens.person(bearer(f"{header}.{nested}.x"))


def test_a_changed_claim_breaks_the_signature(issuer: TokenIssuer, tokens: Tokens) -> None:
    header, _, signature = issuer.issue("sam@plant.example").split(".")
    forged = part({**claims_of(issuer), "groups": ["ML-Engineers"]})
    with pytest.raises(NotSignedIn):
        tokens.person(bearer(f"{header}.{forged}.{signature}"))


TENANT = "11111111-2222-3333-4444-555555555555"
ENTRA = f"https://login.microsoftonline.com/{TENANT}/v2.0"
ENGINEERS = "9f3c0000-0000-4000-8000-0000000000c1"


@pytest.fixture
def entra(tmp_path: Path, people: Path) -> Iterator[TokenIssuer]:
    """An issuer whose tokens are like those of Entra ID's v2.0 endpoint, for one tenant."""
    made = TokenIssuer(tmp_path / "entra", people, audience=AUDIENCE, issuer=ENTRA, tenant=TENANT)
    with ServerThread(made.application) as server:
        made.serve_at(server.url)
        yield made


@pytest.fixture
def of_tenant(entra: TokenIssuer) -> Tokens:
    return Tokens(ENTRA, AUDIENCE, entra.keys_url, TENANT, {ENGINEERS: "ML-Engineers"})


def test_groups_of_entra_are_called_what_the_settings_say_and_roles_what_they_are(
    entra: TokenIssuer, of_tenant: Tokens
) -> None:
    claims = {"groups": [ENGINEERS.upper(), "9f3c0000-0000-4000-8000-0000000000ff"], "roles": ["Engineering-Managers"]}
    person = of_tenant.person(bearer(entra.issue("erik@plant.example", **claims)))
    assert person.groups == ("ML-Engineers", "Engineering-Managers")


def test_a_group_that_only_bears_the_name_of_ours_is_none_of_ours(entra: TokenIssuer, of_tenant: Tokens) -> None:
    """Anybody in a tenant may make a group, and tokens can be told to carry names."""
    token = entra.issue("sam@plant.example", groups=["ML-Engineers"])
    assert of_tenant.person(bearer(token)).groups == ()


@pytest.mark.parametrize(
    "claims",
    [
        {"tid": "66666666-2222-3333-4444-555555555555"},
        {"tid": None},
        {"iss": f"https://sts.windows.net/{TENANT}/"},
        {"iss": "https://login.microsoftonline.com/66666666-2222-3333-4444-555555555555/v2.0"},
        {"aud": "api://another"},
    ],
)
def test_a_token_of_another_tenant_version_or_audience_is_refused(
    entra: TokenIssuer, of_tenant: Tokens, claims: dict[str, Any]
) -> None:
    with pytest.raises(NotSignedIn):
        of_tenant.person(bearer(entra.issue("erik@plant.example", **claims)))


class Keys:
    """A JWKS endpoint that counts how often it is asked, and can be told what to answer."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.asked = 0
        self.url = ""
        self.answer: Response | None = None
        self._keys = list(keys)
        self.application = Starlette(routes=[Route("/keys", self._serve)])

    def publish(self, *keys: dict[str, Any]) -> None:
        self._keys = list(keys)

    async def _serve(self, _: Request) -> Response:
        self.asked += 1
        return self.answer or Response(json.dumps({"keys": self._keys}), media_type="application/json")


@pytest.fixture
def keys(issuer: TokenIssuer) -> Iterator[Keys]:
    made = Keys(published_key(issuer))
    with ServerThread(made.application) as server:
        made.url = f"{server.url}/keys"
        yield made


def with_keys(keys: Keys, **options: Any) -> Tokens:
    return Tokens(LOCAL_ISSUER, AUDIENCE, keys.url, **options)


def test_the_issuers_keys_are_read_once_for_many_callers(issuer: TokenIssuer, keys: Keys) -> None:
    tokens = with_keys(keys)
    for _ in range(5):
        tokens.person(bearer(issuer.issue("erik@plant.example")))
    assert keys.asked == 1


def test_made_up_keys_do_not_make_us_ask_the_issuer_again_and_again(issuer: TokenIssuer, keys: Keys) -> None:
    tokens = with_keys(keys)
    for number in range(20):
        with pytest.raises(NotSignedIn):
            tokens.person(bearer(f"{part({'alg': 'RS256', 'kid': f'made-up-{number}'})}.{part({})}.x"))
    assert keys.asked <= 2


def test_a_new_key_is_believed_and_a_withdrawn_one_no_longer(
    issuer: TokenIssuer, keys: Keys, tmp_path: Path, people: Path
) -> None:
    tokens = with_keys(keys, keys_lifespan_seconds=0.2, keys_cooldown_seconds=0.0)
    old = issuer.issue("erik@plant.example")
    assert tokens.person(bearer(old))
    successor = TokenIssuer(tmp_path / "successor", people, audience=AUDIENCE)
    with ServerThread(successor.application) as server:
        successor.serve_at(server.url)
        keys.publish(published_key(issuer), published_key(successor))
        assert tokens.person(bearer(successor.issue("erik@plant.example")))
        assert tokens.person(bearer(old))
        keys.publish(published_key(successor))
    time.sleep(0.25)
    with pytest.raises(NotSignedIn):
        tokens.person(bearer(old))
    assert tokens.person(bearer(successor.issue("erik@plant.example")))


@pytest.mark.parametrize("answer", [PlainTextResponse("down", 503), PlainTextResponse("<html>not keys</html>")])
def test_while_the_keys_cannot_be_read_the_caller_is_told_to_try_again(
    issuer: TokenIssuer, keys: Keys, answer: Response
) -> None:
    """It says nothing about the caller, so it must not look like a refusal."""
    tokens = with_keys(keys)
    keys.answer = answer
    with pytest.raises(Transient, match="try again"):
        tokens.person(bearer(issuer.issue("erik@plant.example")))
    keys.answer = None
    assert tokens.person(bearer(issuer.issue("erik@plant.example")))


def test_an_issuer_that_does_not_answer_at_all_is_no_refusal_either(issuer: TokenIssuer) -> None:
    tokens = Tokens(LOCAL_ISSUER, AUDIENCE, f"http://127.0.0.1:{free_port()}/keys")
    with pytest.raises(Transient):
        tokens.person(bearer(issuer.issue("erik@plant.example")))
    with pytest.raises(NotSignedIn):
        tokens.person("Bearer garbage")


def test_an_outage_after_the_keys_were_read_is_not_noticed(issuer: TokenIssuer, keys: Keys) -> None:
    tokens = with_keys(keys)
    tokens.person(bearer(issuer.issue("erik@plant.example")))
    keys.answer = PlainTextResponse("down", 503)
    assert tokens.person(bearer(issuer.issue("erik@plant.example")))


def test_a_refusal_never_shows_the_token(issuer: TokenIssuer, tokens: Tokens) -> None:
    token = issuer.issue("erik@plant.example", exp=NOW - 600)
    with pytest.raises(NotSignedIn) as refused:
        tokens.person(bearer(token))
    assert not any(piece in str(refused.value) for piece in token.split("."))
