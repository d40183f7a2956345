"""How a browser signs in at the embedded issuer: by the flow that Entra ID gives to a single-page application."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, unquote, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from local.issuer import Person

CODE_SECONDS = 60.0
PERSON_COOKIE = "embedded-person"
PAGE_OF_THIS_MACHINE = re.compile(r"http://(127\.0\.0\.1|localhost)(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?")
FORM_LIMIT = 16 * 1024
_REMEMBERED = 200
"""Codes and refresh tokens that are kept; the oldest are forgotten."""


class BrowserSignIn:
    """The authorization code flow with PKCE (RFC 7636) for pages of this machine, as Entra ID gives it to a single-page
    application. The person is picked from a list; a cookie remembers who, so that a page that loads again asks nobody.
    """

    def __init__(self, people: Sequence[Person], answer: Callable[..., Response]) -> None:
        """answer: gives a user name's token as an answer of the token endpoint."""
        self._people = people
        self._answer = answer
        self._codes: dict[str, _Code] = {}
        self._refreshing: dict[str, str] = {}
        self.routes = [
            Route("/authorize", self._ask, methods=["GET"]),
            Route("/authorize", self._picked, methods=["POST"]),
            Route("/logout", self._forget, methods=["GET"]),
        ]

    async def _ask(self, request: Request) -> Response:
        asked = request.query_params
        if wrong := _wrong_request(asked):
            return refusal(400, wrong)
        known = {person.username for person in self._people}
        remembered = unquote(request.cookies.get(PERSON_COOKIE, ""))
        if remembered in known and asked.get("prompt") != "select_account":
            return self._sent_back(remembered, asked)
        if asked.get("prompt") == "none":
            return _redirect(asked, error="login_required")
        return _page_of_people(self._people, asked)

    async def _picked(self, request: Request) -> Response:
        body = await request.body()
        if len(body) > FORM_LIMIT:
            return refusal(413, f"The form may hold {FORM_LIMIT} bytes at most.")
        form = {name: values[0] for name, values in parse_qs(body.decode(errors="replace")).items()}
        if wrong := _wrong_request(form):
            return refusal(400, wrong)
        username = form.get("username", "")
        if username not in {person.username for person in self._people}:
            return refusal(400, f"Nobody is called {username!r:.80}.")
        answer = self._sent_back(username, form)
        answer.set_cookie(PERSON_COOKIE, quote(username), httponly=True, samesite="lax")
        return answer

    async def _forget(self, request: Request) -> Response:
        target = request.query_params.get("post_logout_redirect_uri", "")
        if not PAGE_OF_THIS_MACHINE.fullmatch(target):
            return refusal(400, "post_logout_redirect_uri must be a page of this machine.")
        answer = RedirectResponse(target, 303)
        answer.delete_cookie(PERSON_COOKIE)
        return answer

    def _sent_back(self, username: str, asked: Mapping[str, str]) -> Response:
        """Back to the page, with a code that it can exchange once, within a minute."""
        code = secrets.token_urlsafe(32)
        self._codes[code] = _Code(username, asked["redirect_uri"], asked["code_challenge"], time.monotonic())
        for old in list(self._codes)[:-_REMEMBERED]:
            del self._codes[old]
        return _redirect(asked, code=code)

    def redeemed(self, form: Mapping[str, str], request: Request) -> Response:
        """A token for a code or a refresh token; readable by pages of this machine."""
        match form.get("grant_type"):
            case "authorization_code":
                username = self._of_code(form)
            case "refresh_token":
                username = self._refreshing.pop(form.get("refresh_token", ""), None)
            case _:
                return refusal(400, "grant_type is authorization_code or refresh_token.", "unsupported_grant_type")
        if username is None:
            answer = refusal(400, "The code or refresh token is unknown, used or too old.", "invalid_grant")
        else:
            again = secrets.token_urlsafe(32)
            self._refreshing[again] = username
            for old in list(self._refreshing)[:-_REMEMBERED]:
                del self._refreshing[old]
            answer = self._answer(username, refresh_token=again)
        origin = request.headers.get("origin", "")
        if PAGE_OF_THIS_MACHINE.fullmatch(origin):
            answer.headers["access-control-allow-origin"] = origin
        return answer

    def _of_code(self, form: Mapping[str, str]) -> str | None:
        code = self._codes.pop(form.get("code", ""), None)
        if code is None or time.monotonic() - code.at > CODE_SECONDS:
            return None
        proof = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        proven = base64.urlsafe_b64encode(proof).decode().rstrip("=") == code.challenge
        return code.username if proven and form.get("redirect_uri") == code.redirect_uri else None


@dataclass(frozen=True)
class _Code:
    username: str
    redirect_uri: str
    challenge: str
    at: float


def _wrong_request(asked: Mapping[str, str]) -> str:
    """What is wrong with a request for a code, or nothing."""
    if not PAGE_OF_THIS_MACHINE.fullmatch(asked.get("redirect_uri", "")):
        return "redirect_uri must be a page of this machine."
    if asked.get("response_type") != "code" or asked.get("code_challenge_method") != "S256":
        return "Ask for response_type=code with code_challenge_method=S256."
    if not re.fullmatch(r"[A-Za-z0-9_-]{43}", asked.get("code_challenge", "")):
        return "code_challenge must be the S256 challenge of a verifier."
    return ""


def _redirect(asked: Mapping[str, str], **told: str) -> Response:
    query = urlencode({**told, "state": asked.get("state", "")})
    return RedirectResponse(f"{asked['redirect_uri']}?{query}", 303, headers={"cache-control": "no-store"})


def _page_of_people(people: Sequence[Person], asked: Mapping[str, str]) -> Response:
    """The page on which a person is picked; without a script."""
    kept = "".join(
        f'<input type="hidden" name="{name}" value="{html.escape(asked.get(name, ""))}">'
        for name in ("redirect_uri", "response_type", "code_challenge", "code_challenge_method", "state")
    )
    buttons = "".join(
        f'<button name="username" value="{html.escape(person.username)}"><b>{html.escape(person.name)}</b>'
        f"<span>{html.escape(person.username)}</span>"
        f"<span>{html.escape(', '.join(person.groups) or 'in no group')}</span></button>"
        for person in people
    )
    style = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{style}'; form-action 'self' http://127.0.0.1:* http://localhost:*"
    return HTMLResponse(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Sign in (embedded mode)</title>'
        '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">'
        f"<style>{_STYLE}</style><main><h1>Who are you?</h1>"
        "<p>This is the embedded mode, on this machine only: nobody is asked for a password.</p>"
        f'<form method="post" action="authorize">{kept}{buttons}</form></main></html>',
        headers={"content-security-policy": f"{policy}; base-uri 'none'; frame-ancestors 'none'"},
    )


_STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;margin:0}main{max-width:26rem;margin:12vh auto;padding:0 1rem}"
    "h1{font-size:1.5rem;margin:0}button{display:block;width:100%;margin:.75rem 0;padding:.75rem 1rem;font:inherit;"
    "text-align:left;border:1px solid GrayText;border-radius:.5rem;background:Field;color:FieldText;cursor:pointer}"
    "button:hover,button:focus-visible{outline:2px solid Highlight}span{display:block}"
)


def refusal(status: int, message: str, code: str = "invalid_request") -> Response:
    """An error of the token endpoint (RFC 6749, 5.2)."""
    return JSONResponse({"error": code, "error_description": message}, status_code=status)
