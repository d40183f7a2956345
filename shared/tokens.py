"""Tokens: who calls, from a verified token and never from a body.

Apart from `identity`, because cryptography is slow to import, and events and timers bring no token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jwt

from shared.domain.messages import Person
from shared.errors import Transient
from shared.identity import NotSignedIn

ALGORITHMS = ["RS256"]
LEEWAY_SECONDS = 60
KEYS_LIFESPAN_SECONDS = 3600.0
KEYS_COOLDOWN_SECONDS = 30.0
"""A token with an unknown key makes us read the issuer's keys again, but not more often than this: it costs nothing to
make up keys."""


class Tokens:
    """Verifies people's tokens: signature, issuer, audience, tenant, times, and that a person is named.

    `tenant` is the Entra tenant that a person must be of. `group_names` says what groups are called here, by the object
    ids that Entra's tokens carry; with None they are called what the token calls them.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        keys_uri: str,
        tenant: str = "",
        group_names: Mapping[str, str] | None = None,
        keys_lifespan_seconds: float = KEYS_LIFESPAN_SECONDS,
        keys_cooldown_seconds: float = KEYS_COOLDOWN_SECONDS,
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        self._tenant = tenant
        self._group_names = group_names
        # The whole set is kept and read anew after its time; single keys are not, a withdrawn one would live for ever.
        self._keys = jwt.PyJWKClient(
            keys_uri,
            cache_keys=False,
            lifespan=keys_lifespan_seconds,
            cooldown_duration=keys_cooldown_seconds,
            timeout=5,
        )

    def person(self, authorization: str | None) -> Person:
        """The person behind an `Authorization: Bearer …` header.

        Raises NotSignedIn, and Transient while the issuer's keys cannot be read: that says nothing about the caller.
        """
        return self._person(self._claims(authorization))

    def caller(self, authorization: str | None) -> Person:
        """The person, or a program that was given a role here (a pipeline), called `app/{client id}`.

        Raises as `person`. A program orders what its roles allow; it never counts as a person who approves.
        """
        claims = self._claims(authorization)
        return _program(claims) or self._person(claims)

    def _claims(self, authorization: str | None) -> dict[str, Any]:
        scheme, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise NotSignedIn("sign in first: the header 'Authorization: Bearer <token>' is missing", "Bearer")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._signing_key(token),
                algorithms=ALGORITHMS,
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "oid"]},
            )
        except (jwt.PyJWTError, RecursionError) as error:
            raise NotSignedIn(f"the token cannot be believed: {error!s:.200}") from error
        if self._tenant and claims.get("tid") != self._tenant:
            raise NotSignedIn("the token is of another tenant")
        return claims

    def _signing_key(self, token: str) -> jwt.PyJWK:
        try:
            return self._keys.get_signing_key_from_jwt(token)
        except (jwt.PyJWKClientConnectionError, ValueError) as error:
            raise Transient("the token issuer's signing keys cannot be read now; try again", 10) from error

    def _person(self, claims: dict[str, Any]) -> Person:
        """Groups are the token's app roles and its groups: a tenant with many groups sends roles instead.

        An application's own token names nobody: it must not count as a person who approves.
        """
        oid, username = _text(claims, "oid"), _text(claims, "preferred_username", "upn", "unique_name")
        if not oid or not username or claims.get("idtyp") == "app":
            raise NotSignedIn("the token names no person (oid, preferred_username), and no program with a role here")
        return Person(
            oid=oid,
            name=_text(claims, "name") or username,
            username=username,
            groups=tuple(dict.fromkeys([*self._groups(claims), *_texts(claims.get("roles"))])),
        )

    def _groups(self, claims: dict[str, Any]) -> list[str]:
        """A group that only bears a name of ours is none of ours: anybody in a tenant may make one."""
        groups, names = _texts(claims.get("groups")), self._group_names
        return groups if names is None else [names[group.lower()] for group in groups if group.lower() in names]


def _program(claims: dict[str, Any]) -> Person | None:
    """The program whose own token this is; None for a person's, and for a program that was given no role."""
    client, roles = _text(claims, "azp", "appid"), _texts(claims.get("roles"))
    if _text(claims, "preferred_username", "upn", "unique_name") or not client or not roles or not _text(claims, "oid"):
        return None
    name = f"app/{client}"
    shown = _text(claims, "app_displayname") or name
    return Person(oid=_text(claims, "oid"), name=shown, username=name, groups=tuple(roles))


def _text(claims: dict[str, Any], *names: str) -> str:
    """The first of the claims that is a text and not empty."""
    return next((found.strip() for name in names if isinstance(found := claims.get(name), str) and found.strip()), "")


def _texts(claim: Any) -> list[str]:
    return [text for text in claim if isinstance(text, str)] if isinstance(claim, list) else []
