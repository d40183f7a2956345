"""A token issuer for one machine: signs people's tokens as Entra ID does, so that the app verifies real ones.

Embedded mode only. It asks for no password, so it must never be trusted by an app on Azure: whatever it signs carries
LOCAL_ISSUER, an address that cannot exist, and the Azure wiring refuses a configuration that names it.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import RSAAlgorithm
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.browser_sign_in import FORM_LIMIT, BrowserSignIn, refusal

LOCAL_ISSUER = "https://local-issuer.invalid/v2.0"
DEFAULT_AUDIENCE = "api://circuit-fleet"
DEFAULT_TENANT = "00000000-0000-4000-8000-00000000feed"
TOKEN_SECONDS = 3600
ALGORITHM = "RS256"
KEY_FILE = "issuer-key.pem"


class BadPeopleFile(ValueError):
    """The file of people cannot be used; the message names the entry and the field."""


class UnknownPerson(KeyError):
    """Nobody has that user name; the message lists who is known."""

    def __str__(self) -> str:
        return str(self.args[0])


class Person(BaseModel):
    """One person. groups: names or ids of the groups the token shall claim; oid is derived when not given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    username: str = Field(min_length=1)
    name: str = Field(min_length=1)
    groups: tuple[str, ...] = ()
    oid: uuid.UUID | None = None

    @property
    def object_id(self) -> str:
        return str(self.oid or uuid.uuid5(uuid.NAMESPACE_URL, f"{LOCAL_ISSUER}/people/{self.username.lower()}"))


class TokenIssuer:
    """Signs tokens for the people of `people_file` with a key kept in `state_folder`, readable by its owner only."""

    def __init__(
        self,
        state_folder: Path,
        people_file: Path,
        *,
        audience: str = DEFAULT_AUDIENCE,
        tenant: str = DEFAULT_TENANT,
        issuer: str = LOCAL_ISSUER,
    ) -> None:
        """Raises BadPeopleFile."""
        self.issuer = issuer
        self.audience = audience
        self._tenant = tenant
        self._people = read_people(people_file)
        self._key = _kept_key(state_folder / KEY_FILE)
        self._jwk = RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        self._jwk |= {"use": "sig", "alg": ALGORITHM}
        thumbprint = json.dumps({name: self._jwk[name] for name in ("e", "kty", "n")}, sort_keys=True)
        self._jwk["kid"] = str(uuid.uuid5(uuid.NAMESPACE_OID, thumbprint))
        self._base_url: str | None = None
        self.sign_in = BrowserSignIn(self.people, self.token_answer)
        self.application = Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._configuration, methods=["GET"]),
                Route("/discovery/keys", self._keys, methods=["GET"]),
                Route("/token", self._token, methods=["POST"]),
                *self.sign_in.routes,
            ]
        )

    @property
    def people(self) -> list[Person]:
        return list(self._people.values())

    @property
    def keys_url(self) -> str:
        """Where the app fetches the public key (JWKS)."""
        if self._base_url is None:
            raise RuntimeError("The issuer is not served yet: call serve_at() first.")
        return f"{self._base_url}/discovery/keys"

    def serve_at(self, base_url: str) -> None:
        """Tell under which address `application` is served."""
        self._base_url = base_url.rstrip("/")

    def issue(self, username: str, **overrides: Any) -> str:
        """A token for one of the people, valid for an hour. Raises UnknownPerson.

        overrides: claims to set, or to leave out with None, for tests of tokens that must be refused.
        """
        person = self._people.get(username.lower())
        if person is None:
            known = ", ".join(sorted(each.username for each in self._people.values()))
            raise UnknownPerson(f"Nobody is called {username!r}. Known: {known}.")
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": self.audience,
            "iat": now,
            "nbf": now,
            "exp": now + TOKEN_SECONDS,
            "oid": person.object_id,
            "sub": person.object_id,
            "tid": self._tenant,
            "preferred_username": person.username,
            "name": person.name,
            "groups": list(person.groups),
            "ver": "2.0",
            **overrides,
        }
        present = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(present, self._key, algorithm=ALGORITHM, headers={"kid": self._jwk["kid"]})

    async def _configuration(self, request: Request) -> Response:
        base = self._base_url or str(request.base_url).rstrip("/")
        return JSONResponse(
            {
                "issuer": self.issuer,
                "jwks_uri": f"{base}/discovery/keys",
                "authorization_endpoint": f"{base}/authorize",
                "end_session_endpoint": f"{base}/logout",
                "token_endpoint": f"{base}/token",
                "id_token_signing_alg_values_supported": [ALGORITHM],
                "response_types_supported": ["code"],
                "code_challenge_methods_supported": ["S256"],
                "subject_types_supported": ["public"],
            }
        )

    async def _keys(self, _: Request) -> Response:
        return JSONResponse({"keys": [self._jwk]})

    async def _token(self, request: Request) -> Response:
        body = await request.body()
        if len(body) > FORM_LIMIT:
            return refusal(413, f"The form may hold {FORM_LIMIT} bytes at most.")
        try:
            form = parse_qs(body.decode(), strict_parsing=True) if body else {}
        except ValueError:
            form = {}
        if "grant_type" in form:
            return self.sign_in.redeemed({name: values[0] for name, values in form.items()}, request)
        usernames = form.get("username", [])
        if len(usernames) != 1:
            return refusal(400, "The form must hold exactly one username.")
        return self.token_answer(usernames[0])

    def token_answer(self, username: str, **further: str) -> Response:
        """A person's token as an answer of the token endpoint."""
        try:
            token = self.issue(username)
        except UnknownPerson as error:
            return refusal(400, str(error), code="invalid_grant")
        answer = {"token_type": "Bearer", "expires_in": TOKEN_SECONDS, "access_token": token, **further}
        return JSONResponse(answer, headers={"cache-control": "no-store"})


def read_people(path: Path) -> Mapping[str, Person]:
    """People by lower-case user name, from a YAML or JSON list. Raises BadPeopleFile naming what is wrong."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        people = TypeAdapter(list[Person]).validate_python(content)
    except OSError as error:
        raise BadPeopleFile(f"The file of people, {path}, cannot be read: {error.strerror}.") from None
    except yaml.YAMLError as error:
        raise BadPeopleFile(f"{path} is neither YAML nor JSON: {error}") from None
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'file'}: {each['msg']}" for each in error.errors())
        raise BadPeopleFile(
            f"{path}: {wrong}. Write a list of people with username, name and groups; oid may be given."
        ) from None
    by_name = {person.username.lower(): person for person in people}
    if len(by_name) != len(people):
        raise BadPeopleFile(f"{path}: a username occurs twice.")
    return by_name


def _kept_key(path: Path) -> RSAPrivateKey:
    if path.exists():
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(key, RSAPrivateKey):
            raise ValueError(f"{path} is no RSA key. Delete it: a new one is made, and old tokens lose their value.")
        return key
    key = generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.tmp")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    partial.replace(path)
    return key
