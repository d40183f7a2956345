"""Pages for people: the files that a browser loads. What they show comes from the same HTTP API that anybody uses."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from functools import cache
from pathlib import Path

import azure.functions as func

from functions.answers import Me, SignInShown
from functions.endpoints import Endpoints, unchanged
from functions.http import NotFound, answers_problems
from functions.parameters import Caller
from shared.wiring import wired

bp = Endpoints()
STATIC = Path(__file__).parent / "static"
KINDS = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
GUARDED = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src {reached};"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What a page may load: nothing from elsewhere, and no script or style that stands in the page itself."""
POLICY_OF_DOCS = POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'").replace("blob:", "data:")
"""The API's page is a library's: it sets styles as it goes, and has its pictures in its style sheet."""


@bp.route("dashboard/{*page}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def show_dashboard(req: func.HttpRequest) -> func.HttpResponse:
    """The dashboard; it signs people in itself and shows what the API tells them."""
    return _file(req, "dashboard/index.html", f"'self' {wired().sign_in.origin}")


@bp.route("static/{*file}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def serve_static(req: func.HttpRequest) -> func.HttpResponse:
    """A file that pages load: a script, a style, a library, its licence."""
    return _file(req, req.route_params.get("file") or "", "'none'")


@bp.route("docs", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def show_docs(req: func.HttpRequest) -> func.HttpResponse:
    """The API's own document as a page, on which requests can be tried."""
    return _file(req, "docs/index.html", "'self'", POLICY_OF_DOCS)


@bp.get("sign-in", anybody=True)
def show_sign_in() -> SignInShown:
    """Where a browser signs people in: addresses, client and scope of the authorization code flow with PKCE."""
    return SignInShown(**asdict(wired().sign_in))


@bp.get("me")
def show_me(person: Caller) -> Me:
    """Who is signed in, in which groups, and which groups operate the fleet."""
    return Me(**person.model_dump(), operators=wired().settings.operators)


def _file(req: func.HttpRequest, name: str, reached: str, policy: str = POLICY) -> func.HttpResponse:
    """A file of the static folder, or that the browser's copy is still the same."""
    found = _static().get(name)
    if found is None:
        raise NotFound(f"there is no file {name!r:.100}")
    content, etag = found
    headers = {
        **GUARDED,
        "Content-Security-Policy": policy.format(reached=reached.strip()),
        "ETag": etag,
        "Cache-Control": "no-cache",
    }
    kind = KINDS[Path(name).suffix]
    return unchanged(req, etag, headers) or func.HttpResponse(content, headers=headers, mimetype=kind)


@cache
def _static() -> dict[str, tuple[bytes, str]]:
    """Every file of the static folder with its ETag: only what is here can be asked for, whatever a path says."""
    files = sorted(file for file in STATIC.rglob("*") if file.suffix in KINDS)
    contents = {file.relative_to(STATIC).as_posix(): file.read_bytes() for file in files}
    return {name: (content, f'"{hashlib.sha256(content).hexdigest()[:32]}"') for name, content in contents.items()}
