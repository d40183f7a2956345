"""The API describes itself: its OpenAPI document, made from the endpoints' signatures; and requests that fit none."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import azure.functions as func
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from functions.endpoints import DECLARED, KEY_FORM, KEY_HEADER, Endpoint, unchanged
from functions.http import Refused, answers_problems

bp = func.Blueprint()
TITLE = "Sensor forecast fleet"
VERSION = "1"
INTRODUCTION = """\
Model releases, scoring and monitoring of a fleet of circuits.

Sign in with a bearer token of the directory: who decides is read from the token, never from a body. Errors are problems
(RFC 9457): `detail` says what is wrong and what to do, `field` and `allowed` what was not acceptable. Lists take `size`
and the `continuation` that the page before gave. Every GET has an ETag for `If-None-Match`. A change sent with an
`Idempotency-Key` is made once, however often it is sent within a day; the same key with another request is refused.
Times are UTC."""
STATUS: Mapping[int, str] = {
    200: "Here it is, or it is done.",
    202: "It was asked for; the answer says where to look.",
    207: "Some of it was not taken; each part says why.",
    208: "It was recorded before; nothing was done.",
    304: "It is what the ETag says.",
    400: "Something given is not acceptable: `field` names it, `allowed` says what would be.",
    401: "No token, or one that cannot be believed.",
    403: "The person may not do this.",
    404: "There is no such thing.",
    405: "There is such a thing, and it is not asked for in this way; `Allow` says how.",
    409: "Closed, changed by somebody else, or not possible now: the detail says which.",
    412: "It is not what `If-Match` names any more: somebody else may have decided meanwhile.",
    413: "The body is larger than anything this takes.",
    415: "The body is not sent as JSON.",
    422: "The key came with another request before.",
    500: "Something broke; the log has it, nothing was half-written.",
    503: "A part does not answer, or the application is not configured; `Retry-After` says when to try again.",
}
"""What each status means, wherever it is answered."""
_LONG_NAME = re.compile(r"(?:\w+__)?(\w+?)__(\w+)")
_REFERENCE = "#/components/schemas/{model}"


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    field: str | None = None
    allowed: str | None = None


@bp.route("openapi.json", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def show_openapi(req: func.HttpRequest) -> func.HttpResponse:
    """The OpenAPI document."""
    content, etag = _openapi()
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    return unchanged(req, etag, headers) or func.HttpResponse(content, headers=headers, mimetype="application/json")


@bp.route("{*path}", auth_level=func.AuthLevel.ANONYMOUS)
@answers_problems
def no_such_route(req: func.HttpRequest) -> func.HttpResponse:
    """Whatever fits no other route: a problem like any other, with the methods that would have been right."""
    path = req.route_params.get("path") or ""
    methods = sorted({e.method for e in DECLARED.values() if re.fullmatch(re.sub(r"{\w+}", "[^/]+", e.route), path)})
    if methods:
        allow = ", ".join(methods)
        raise Refused(405, "Not in this way", f"/{path:.100} takes {allow}, not {req.method}", {"Allow": allow})
    raise Refused(404, "No such route", f"there is nothing at /{path:.100}: openapi.json names what there is")


@cache
def _openapi() -> tuple[bytes, str]:
    """The document and its ETag, made once."""
    content = json.dumps(openapi()).encode()
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def openapi() -> dict[str, Any]:
    """The OpenAPI 3.1 document of every declared endpoint."""
    endpoints = list(DECLARED.values())
    answers: list[tuple[type[BaseModel], JsonSchemaMode]] = [(e.answer, "serialization") for e in endpoints]
    bodies: list[tuple[type[BaseModel], JsonSchemaMode]] = [(e.body[1], "validation") for e in endpoints if e.body]
    answers.append((Problem, "serialization"))
    places, definitions = models_json_schema([*answers, *bodies], ref_template=_REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        answer = places[endpoint.answer, "serialization"]
        body = places[endpoint.body[1], "validation"] if endpoint.body else None
        paths.setdefault(f"/{endpoint.route}", {})[endpoint.method.lower()] = _operation(endpoint, answer, body)
    document = {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": VERSION, "description": INTRODUCTION},
        "servers": [{"url": "/api"}],
        "security": [{"token": []}],
        "tags": [{"name": name} for name in sorted({endpoint.route.partition("/")[0] for endpoint in endpoints})],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "schemas": definitions["$defs"],
        },
    }
    named: dict[str, Any] = json.loads(_LONG_NAME.sub(_short_name, json.dumps(document)))
    return named


def _short_name(found: re.Match[str]) -> str:
    """`shared__domain__update__Standing` as `UpdateStanding`."""
    return found[1].rpartition("__")[2].title().replace("_", "") + found[2]


def _operation(endpoint: Endpoint, answer: Mapping[str, Any], body: Mapping[str, Any] | None) -> dict[str, Any]:
    text = inspect.getdoc(endpoint.function) or ""
    operation: dict[str, Any] = {
        "operationId": endpoint.function.__name__,
        "summary": text.partition("\n")[0],
        "description": f"{text}\n\nFor {endpoint.who.text if endpoint.who else 'anybody'}.",
        "tags": [endpoint.route.partition("/")[0]],
        "parameters": [*_of_path(endpoint), *_of_query(endpoint), *_headers(endpoint)],
        "responses": _responses(endpoint, answer),
    }
    if endpoint.who is None:
        operation["security"] = []
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


def _of_path(endpoint: Endpoint) -> list[dict[str, Any]]:
    schemas = {name: adapter.json_schema() for name, adapter in endpoint.path.items()}
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name, schema in schemas.items()]


def _of_query(endpoint: Endpoint) -> list[dict[str, Any]]:
    if endpoint.query is None:
        return []
    schema = endpoint.query[1].model_json_schema(by_alias=True)
    parameters = []
    for name, described in schema["properties"].items():
        given = {key: value for key, value in described.items() if key not in ("title", "description", "anyOf")}
        choices = [choice for choice in described.get("anyOf", []) if choice != {"type": "null"}]
        choices = [schema["$defs"][each["$ref"].rpartition("/")[2]] if "$ref" in each else each for each in choices]
        if given.get("default", ...) is None:  # not given is not null: a query has no null
            del given["default"]
        parameters.append(
            {
                "name": name,
                "in": "query",
                "required": name in schema.get("required", []),
                "description": described["description"],
                "schema": _inlined({**given, **(choices[0] if choices else {})}, schema.get("$defs", {})),
            }
        )
    return parameters


def _inlined(schema: dict[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter's schema with what it refers to, such as the words of an enumeration, in its place."""
    name = schema.get("$ref", "").rpartition("/")[2]
    return {**definitions[name], **{key: value for key, value in schema.items() if key != "$ref"}} if name else schema


def _headers(endpoint: Endpoint) -> list[dict[str, Any]]:
    if endpoint.method == "GET":
        return [_header("If-None-Match", "the ETag of what the caller has already", {"type": "string"})]
    text = "the caller's own name for the change: sent again within a day, it is done once"
    headers = [_header(KEY_HEADER, text, {"type": "string", "pattern": KEY_FORM})]
    if endpoint.guard:
        seen = f"the ETag of what the caller saw (GET /{DECLARED[endpoint.guard].route}): changed, nothing is done"
        headers.append(_header("If-Match", seen, {"type": "string"}))
    return headers


def _header(name: str, text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": text, "schema": schema}


def _responses(endpoint: Endpoint, answer: Mapping[str, Any]) -> dict[str, Any]:
    good = {"application/json": {"schema": answer}}
    bad = {"application/problem+json": {"schema": {"$ref": _REFERENCE.format(model=Problem.__name__)}}}
    responses: dict[str, Any] = {
        str(status): {"description": STATUS[status], "content": good} for status in endpoint.statuses
    }
    if endpoint.method == "GET":
        responses["200"]["headers"] = {"ETag": {"schema": {"type": "string"}}}
        responses["304"] = {"description": STATUS[304]}
    responses |= {str(status): {"description": STATUS[status], "content": bad} for status in problems_of(endpoint)}
    return responses


def problems_of(endpoint: Endpoint) -> tuple[int, ...]:
    """The statuses of what can go wrong at an endpoint."""
    found = {400, 500, 503}
    if endpoint.who:
        found |= {401, 404}
    if endpoint.method == "POST":
        found |= {403, 409, 422}
    if endpoint.body:
        found |= {413, 415}
    if endpoint.guard:
        found |= {412}
    return tuple(sorted(found))
