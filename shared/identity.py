"""Identity: who calls, from a verified token and never from a body."""

from __future__ import annotations

from typing import Any

import jwt

from shared.domain.messages import Person

ALGORITHMS = ["RS256"]
LEEWAY_SECONDS = 60


class NotSignedIn(Exception):
    """There is no token, or it cannot be believed; the text says why."""


class NotPermitted(Exception):
    """The person is known and may not do this; the text says who may."""


class Tokens:
    """Verifies people's tokens: signature, issuer, audience, expiry. Signing keys are cached by the key client."""

    def __init__(self, issuer: str, audience: str, keys_uri: str) -> None:
        self._issuer = issuer
        self._audience = audience
        self._keys = jwt.PyJWKClient(keys_uri, cache_keys=True, lifespan=3600, timeout=5)

    def person(self, authorization: str | None) -> Person:
        """The person behind an `Authorization: Bearer …` header; raises NotSignedIn."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise NotSignedIn("sign in first: the header 'Authorization: Bearer <token>' is missing")
        try:
            key = self._keys.get_signing_key_from_jwt(token.strip())
            claims = jwt.decode(
                token.strip(),
                key.key,
                algorithms=ALGORITHMS,
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "oid"]},
            )
        except jwt.PyJWTError as error:
            raise NotSignedIn(f"the token cannot be believed: {error}") from error
        return _person(claims)


def _person(claims: dict[str, Any]) -> Person:
    """Groups are the token's group claims and app roles: a tenant with many groups sends roles instead."""
    groups = [*_texts(claims.get("groups")), *_texts(claims.get("roles"))]
    username = str(claims.get("preferred_username") or claims.get("upn") or claims["oid"])
    return Person(
        oid=str(claims["oid"]),
        name=str(claims.get("name") or username),
        username=username,
        groups=tuple(dict.fromkeys(groups)),
    )


def _texts(claim: Any) -> list[str]:
    return [text for text in claim if isinstance(text, str)] if isinstance(claim, list) else []
