"""Why a caller is not served: not known, or known and not permitted."""

from __future__ import annotations


class NotSignedIn(Exception):
    """There is no token, or it cannot be believed; the text says why, `challenge` is for `WWW-Authenticate`."""

    def __init__(self, message: str, challenge: str = 'Bearer error="invalid_token"') -> None:
        super().__init__(message)
        self.challenge = challenge


class NotPermitted(Exception):
    """The person is known and may not do this; the text says who may."""
