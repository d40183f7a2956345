"""Endpoints: each declares once, in its signature, what it takes and answers, and is checked and documented by that.

    @bp.post("circuits/{circuit}/hold", statuses=(200, 208))
    def hold(person: Operator, circuit: CircuitId, body: OrderBody, request: RequestId) -> Answered[Recorded]:

Names in the route are path parameters, a `Query` is read from the query, a `Body` from the JSON body, and who may call
is what a `Caller` or an `Operator` asks for: without either, any signed-in person. Every GET has an ETag; every change
may be given a name with `Idempotency-Key`, and is then made once. `functions.description` makes the OpenAPI document of
all this.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeGuard, TypeVar, get_args, get_origin, get_type_hints
from uuid import uuid4

import azure.functions as func
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from functions.answers import Recorded
from functions.http import NotFound, Refused, TooLarge, Trigger, answers_problems
from functions.parameters import Body, Caller, Key, Query, Who
from shared.advance import Advanced
from shared.domain.machine import Verdict
from shared.domain.messages import Person
from shared.errors import Invalid
from shared.request_keys import KeyUsed, Told, scoped
from shared.wiring import wired

BODY_LIMIT = 64 * 1024
KEY_HEADER = "Idempotency-Key"
KEY_FORM = r"^[A-Za-z0-9._-]{8,64}$"
FUNCTION_KEY = "code"
"""The query parameter in which a function's key may come; that is between the caller and the host."""
STATUS_OF_REFUSAL = {"closed": 409, "changed": 409, "forbidden": 403, "unknown": 404, "unavailable": 503}
_CALLER: Who = get_args(Caller)[1]

Method = Literal["GET", "POST"]
M = TypeVar("M", bound=BaseModel)
Q = TypeVar("Q", bound=Query)
B = TypeVar("B", bound=Body)
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Answered(Generic[M]):
    """An answer whose status is not always 200."""

    body: M
    status: int = 200


@dataclass(frozen=True)
class Endpoint:
    """One endpoint, as its function's signature declares it; `who` is None where anybody may ask.

    `fleeting` fields of the answer differ with every asking and are no part of its ETag. `guard` names the endpoint
    that shows what a change is about: `If-Match` holds the change against its ETag.
    """

    method: Method
    route: str
    function: Callable[..., Any]
    who: Who | None
    person: str
    path: Mapping[str, TypeAdapter[Any]]
    query: tuple[str, type[Query]] | None
    body: tuple[str, type[Body]] | None
    key: str
    answer: type[BaseModel]
    statuses: tuple[int, ...]
    fleeting: frozenset[str]
    guard: str

    def __call__(self, req: func.HttpRequest) -> func.HttpResponse:
        """Check the request in the order who, path, query, body; carry it out; answer."""
        person = self.who.check(req) if self.who else None
        given: dict[str, Any] = {name: path_value(req, name, adapter) for name, adapter in self.path.items()}
        query = read_query(self.query[1] if self.query else Query, req.params)
        if self.query:
            given[self.query[0]] = query
        if self.body:
            given[self.body[0]] = read_body(req, self.body[1])
        if self.person:
            given[self.person] = person
        if self.method == "GET":
            return self._shown(req, _told(self.function(**given), self.fleeting))
        assert person is not None
        return self._changed(req, person, given)

    def _shown(self, req: func.HttpRequest, told: tuple[Told, str]) -> func.HttpResponse:
        shown, compared = told
        etag = f"{'W/' if self.fleeting else ''}{_etag(compared)}"
        headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
        return unchanged(req, etag, headers) or _response(shown, headers)

    def _changed(self, req: func.HttpRequest, person: Person, given: dict[str, Any]) -> func.HttpResponse:
        """Carry a change out; once where it has a name, and only on what its caller saw where they say so."""
        self._expect_unchanged(req, given)
        key = req.headers.get(KEY_HEADER.lower())
        if key is None:
            return _response(self._carried_out(given, uuid4().hex))
        if not re.fullmatch(KEY_FORM, key):
            raise Invalid(KEY_HEADER, f"is {key!r:.80}", "8 to 64 of the characters A-Z a-z 0-9 . _ -")
        name = scoped(person.oid, key)
        try:
            told = wired().request_keys.once(name, self._fingerprint(given), lambda: self._carried_out(given, name))
        except KeyUsed:
            raise Refused(
                422, "Key used", f"{KEY_HEADER} {key} came with another request before: give this one a key of its own"
            ) from None
        return _response(told, {"Idempotency-Replayed": "true"} if told.repeated else {})

    def _expect_unchanged(self, req: func.HttpRequest, given: Mapping[str, Any]) -> None:
        """Raises Refused where the caller has seen something else than there is now."""
        seen = req.headers.get("if-match", "").strip()
        if not self.guard or seen in ("", "*"):
            return
        shown = DECLARED[self.guard]
        now = _etag(_told(shown.function(**{name: given[name] for name in shown.path}))[1])
        if now not in [tag.strip() for tag in seen.split(",")]:
            text = f"it is not what it was any more: read {shown.route} again, somebody else may have decided meanwhile"
            raise Refused(412, "Changed meanwhile", text)

    def _carried_out(self, given: Mapping[str, Any], name: str) -> Told:
        named = {**given, self.key: name} if self.key else given
        return _told(self.function(**named))[0]

    def _fingerprint(self, given: Mapping[str, Any]) -> str:
        """What a key stands for: the endpoint with its path and body."""
        parts = [self.function.__name__, *(given[name] for name in self.path)]
        parts += [given[self.body[0]].model_dump_json()] if self.body else []
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


DECLARED: dict[str, Endpoint] = {}
"""Every endpoint by its function's name, in the order in which they are declared."""


class Endpoints(func.Blueprint):
    """A blueprint whose HTTP functions are endpoints; the functions stay what they are, to be called by tests."""

    def __init__(self) -> None:
        super().__init__()

    def get(self, route: str, *, anybody: bool = False, fleeting: Collection[str] = ()) -> Callable[[F], F]:
        return self._endpoint("GET", route, (200,), anybody, frozenset(fleeting))

    def post(self, route: str, *, statuses: tuple[int, ...] = (200,), guard: str = "") -> Callable[[F], F]:
        """`statuses`: those of its good answers; `guard`: the endpoint whose ETag `If-Match` may name."""
        return self._endpoint("POST", route, statuses, guard=guard)

    def _endpoint(
        self,
        method: Method,
        route: str,
        statuses: tuple[int, ...],
        anybody: bool = False,
        fleeting: frozenset[str] = frozenset(),
        guard: str = "",
    ) -> Callable[[F], F]:
        def declare(function: F) -> F:
            endpoint = _read(method, route, function, statuses, anybody, fleeting, guard)
            DECLARED[function.__name__] = endpoint
            add = self.route(route=route, methods=[method], auth_level=func.AuthLevel.ANONYMOUS)
            add(_trigger(endpoint))
            return function

        return declare


def _trigger(endpoint: Endpoint) -> Trigger:
    """The function as the host calls it: its own name and contract, and nothing but the request as argument."""

    def trigger(req: func.HttpRequest) -> func.HttpResponse:
        return endpoint(req)

    trigger.__name__ = trigger.__qualname__ = endpoint.function.__name__
    trigger.__doc__ = endpoint.function.__doc__
    return answers_problems(trigger)


def _read(
    method: Method,
    route: str,
    function: Callable[..., Any],
    statuses: tuple[int, ...],
    anybody: bool,
    fleeting: frozenset[str],
    guard: str,
) -> Endpoint:
    """An endpoint from its function's signature."""
    hints = get_type_hints(function, include_extras=True)
    answer = hints.pop("return")
    marks = {name: mark for name, hint in hints.items() for mark in get_args(hint)[1:] if isinstance(mark, (Who, Key))}
    who = next(((name, mark) for name, mark in marks.items() if isinstance(mark, Who)), ("", _CALLER))
    in_path = re.findall(r"{(\w+)}", route)
    models = {name: hint for name, hint in hints.items() if isinstance(hint, type) and issubclass(hint, BaseModel)}
    endpoint = Endpoint(
        method=method,
        route=route,
        function=function,
        who=None if anybody else who[1],
        person=who[0],
        path={name: TypeAdapter(hints[name]) for name in in_path},
        query=next(((name, model) for name, model in models.items() if issubclass(model, Query)), None),
        body=next(((name, model) for name, model in models.items() if issubclass(model, Body)), None),
        key=next((name for name, mark in marks.items() if isinstance(mark, Key)), ""),
        answer=get_args(answer)[0] if get_origin(answer) is Answered else answer,
        statuses=statuses,
        fleeting=fleeting,
        guard=guard,
    )
    read = {*in_path, *marks, *(pair[0] for pair in (endpoint.query, endpoint.body) if pair)}
    if left := hints.keys() - read:
        raise TypeError(f"{function.__name__}: {', '.join(sorted(left))} are no parameters that can be read")
    return endpoint


def _told(answer: BaseModel | Answered[Any], fleeting: frozenset[str] = frozenset()) -> tuple[Told, str]:
    """An answer as text that ends its line, for people who ask from a shell; and the part that an ETag is made of."""
    body, status = (answer.body, answer.status) if isinstance(answer, Answered) else (answer, 200)
    text = body.model_dump_json(by_alias=True)
    return Told(status, f"{text}\n"), body.model_dump_json(by_alias=True, exclude=set(fleeting)) if fleeting else text


def _response(told: Told, headers: Mapping[str, str] | None = None) -> func.HttpResponse:
    status = 208 if told.repeated else told.status
    return func.HttpResponse(told.text, status_code=status, headers=headers, mimetype="application/json")


def _etag(text: str) -> str:
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def unchanged(req: func.HttpRequest, etag: str, headers: Mapping[str, str]) -> func.HttpResponse | None:
    """304 where the caller has what the ETag names already (a weak comparison, as RFC 9110 wants it)."""
    known = {tag.strip().removeprefix("W/") for tag in req.headers.get("if-none-match", "").split(",")}
    if known & {etag.removeprefix("W/"), "*"}:
        return func.HttpResponse(status_code=304, headers=headers)
    return None


def path_value(req: func.HttpRequest, name: str, adapter: TypeAdapter[Any]) -> Any:
    """A path parameter, which must look like what it names; raises Invalid."""
    value = req.route_params.get(name) or ""
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        (example, *_) = adapter.json_schema()["examples"]
        raise Invalid(name, f"is {value!r:.100}", f"the form {example}") from error


def read_query(kind: type[Q], parameters: Mapping[str, str]) -> Q:
    """A query's parameters; raises Invalid naming the first wrong one and what is allowed."""
    given = {name: text for name, text in parameters.items() if name != FUNCTION_KEY}
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        name = str(error.errors(include_url=False)[0]["loc"][0])
        fields = {field.alias or name: field for name, field in kind.model_fields.items()}
        if name in fields:
            raise Invalid(name, f"is {given.get(name, '')!r:.40}", fields[name].description or "") from error
        raise Invalid(f"{name:.40}", "is no parameter of this request", ", ".join(fields) or "none") from error


def read_body(req: func.HttpRequest, kind: type[B]) -> B:
    """The request's body as `kind`.

    Raises TooLarge, Refused for what is not JSON by its own word, and Invalid naming the first wrong field and what is
    allowed.
    """
    raw = req.get_body()
    if len(raw) > BODY_LIMIT:
        raise TooLarge(f"the body has {len(raw)} bytes; at most {BODY_LIMIT} are taken")
    sent_as = req.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sent_as not in ("", "application/json"):
        raise Refused(415, "Not JSON", f"the body is sent as {sent_as:.80}: send JSON, as application/json")
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "body"
        raise Invalid(f"{place:.100}", f"{first['msg']:.300}", _allowed(first, kind)) from error


def _allowed(error: ErrorDetails, kind: type[BaseModel]) -> str:
    """What would be right where the error is: the field's own values, or the fields that there are."""
    limits = error.get("ctx", {})
    for name, text in (
        ("expected", "{}"),
        ("pattern", "a text like {}"),
        ("max_length", "at most {} characters"),
    ):
        if name in limits:
            return text.format(limits[name])
    if error["type"] in ("missing", "extra_forbidden", "json_invalid", "model_type"):
        at = error["loc"] if error["type"] == "model_type" else error["loc"][:-1]
        return f"a JSON object with {', '.join(_inside(kind, at).model_fields)}"
    return str(error["type"]).removesuffix("_type").replace("_", " ")


def _inside(kind: type[BaseModel], place: Sequence[int | str]) -> type[BaseModel]:
    """The model at a place of a body: lists are passed through."""
    for name in place:
        if isinstance(name, str) and name in kind.model_fields:
            annotation = kind.model_fields[name].annotation
            kind = next((each for each in (*get_args(annotation), annotation) if _is_model(each)), kind)
    return kind


def _is_model(kind: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def found(thing: Mapping[str, Any] | None, name: str, identity: str) -> Mapping[str, Any]:
    """The thing; raises NotFound naming what was asked for."""
    if thing is None:
        raise NotFound(f"there is no {name} {identity!r:.100}")
    return thing


def recorded(advanced: Advanced, root: str) -> Answered[Recorded]:
    """What became of a person's order: what it moved; raises Refused, saying why it moved nothing."""
    if advanced.verdict is Verdict.REFUSED:
        raise Refused(STATUS_OF_REFUSAL.get(advanced.code, 409), "Not possible", advanced.reason)
    moved = [{"item": line.item, "event": line.event, "phase": line.after} for line in advanced.history]
    body = Recorded.model_validate({"root": root, "recorded": moved, "note": advanced.reason})
    return Answered(body, 200 if advanced.verdict is Verdict.APPLIED else 208)
