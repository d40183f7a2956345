"""Sign-in: where a browser signs people in, by the authorization code flow with PKCE; what comes back is a token that
`identity` verifies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from shared.settings import Settings, SettingsError

ENTRA = "https://login.microsoftonline.com"
EMBEDDED_CLIENT = "dashboard"


@dataclass(frozen=True)
class SignIn:
    """The addresses and names that a page needs; `origin` is the one place beside the app that it talks to."""

    origin: str
    authorize: str
    token: str
    sign_out: str
    client: str
    scope: str

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """On Azure always the tenant whose tokens are believed. Raises SettingsError."""
        if settings.tenant:
            base, client = f"{ENTRA}/{settings.tenant}/oauth2/v2.0", settings.sign_in_client
            lacking = "SIGN_IN_CLIENT: the client id of its app registration"
        else:
            base, client = settings.sign_in_endpoint.rstrip("/"), EMBEDDED_CLIENT
            lacking = "SIGN_IN_ENDPOINT: the embedded issuer's address"
        if not base or not client:
            raise SettingsError(f"nobody can sign in to the dashboard without {lacking}")
        return cls(
            origin="/".join(base.split("/")[:3]),
            authorize=f"{base}/authorize",
            token=f"{base}/token",
            sign_out=f"{base}/logout",
            client=client,
            scope=f"{settings.audience}/.default openid profile offline_access",
        )
