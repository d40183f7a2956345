"""HTTP routes as Azure Functions reads them: templates, constraints, precedence and the path's own encoding."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar
from urllib.parse import unquote

T = TypeVar("T")
Constraint = Callable[[str], bool]
_PARAMETER = re.compile(r"(?P<stars>\*{0,2})(?P<name>\w+)(?P<constraints>(?::.+)?)", re.DOTALL)
_CONSTRAINT = re.compile(r"(?P<name>\w+)(?:\((?P<arguments>.*)\))?", re.DOTALL)


class BadRoute(ValueError):
    """A route template that Azure would refuse; the message names the template and the part."""


@dataclass(frozen=True)
class _Parameter:
    name: str
    constraints: tuple[Constraint, ...]
    catch_all: bool = False
    optional: bool = False
    default: str | None = None

    def accepts(self, text: str) -> bool:
        return all(allowed(text) for allowed in self.constraints)


@dataclass(frozen=True)
class _Segment:
    parts: tuple[str | _Parameter, ...]
    pattern: re.Pattern[str]

    @property
    def parameters(self) -> tuple[_Parameter, ...]:
        return tuple(part for part in self.parts if isinstance(part, _Parameter))

    @property
    def only(self) -> _Parameter | None:
        return self.parameters[0] if len(self.parts) == 1 and self.parameters else None

    @property
    def precedence(self) -> int:
        """1 for text, then constrained before free parameters, catch-alls last."""
        if not self.parameters:
            return 1
        if self.only is None:
            return 2
        free = 0 if self.only.constraints else 1
        return (4 if self.only.catch_all else 2) + free

    def match(self, text: str) -> dict[str, str] | None:
        found = self.pattern.fullmatch(text)
        if found is None:
            return None
        values = dict(zip((each.name for each in self.parameters), found.groups(), strict=True))
        return values if all(each.accepts(values[each.name]) for each in self.parameters) else None


@dataclass(frozen=True)
class RouteTemplate:
    """One parsed template, such as `circuits/{id:int}/{*rest}`."""

    text: str
    segments: tuple[_Segment, ...]

    @classmethod
    def parse(cls, text: str) -> RouteTemplate:
        """Raise BadRoute for unbalanced braces, unknown constraints, or a catch-all that is not last."""
        segments = tuple(_segment(part, text) for part in _split(text.strip("/"), text))
        names = [parameter.name.lower() for segment in segments for parameter in segment.parameters]
        if len(names) != len(set(names)):
            raise BadRoute(f"Route {text!r} names a parameter twice.")
        if any(segment.only and segment.only.catch_all for segment in segments[:-1]):
            raise BadRoute(f"Route {text!r}: a catch-all parameter must be the last segment.")
        return cls(text, segments)

    @property
    def precedence(self) -> tuple[int, ...]:
        return tuple(segment.precedence for segment in self.segments)

    def match(self, path: list[str]) -> dict[str, str] | None:
        """The parameters of a path given as decoded segments, or None. Text matches without regard to case."""
        values: dict[str, str] = {}
        for position, segment in enumerate(self.segments):
            parameter = segment.only
            if parameter is not None and parameter.catch_all:
                rest = "/".join(path[position:])
                if rest and not parameter.accepts(rest):
                    return None
                return {**values, parameter.name: rest} if rest else values
            if position < len(path):
                found = segment.match(path[position])
                if found is None:
                    return None
                values.update(found)
            elif parameter is not None and parameter.default is not None:
                values[parameter.name] = parameter.default
            elif parameter is None or not parameter.optional:
                return None
        return values if len(path) <= len(self.segments) else None


class Router(Generic[T]):
    """Finds whom a request is for. `routes`: (template, methods, target); no methods means all of them."""

    def __init__(self, routes: Iterable[tuple[RouteTemplate, frozenset[str], T]]) -> None:
        self._routes = sorted(routes, key=lambda route: route[0].precedence)

    def match(self, method: str, path: list[str]) -> tuple[T, Mapping[str, str]] | None:
        """The target and its route parameters, or None: a wrong method is not found, like a wrong path."""
        for template, methods, target in self._routes:
            if not methods or method in methods:
                values = template.match(path)
                if values is not None:
                    return target, values
        return None


def path_segments(raw_path: bytes) -> list[str]:
    """Split an undecoded URL path and decode its segments; dot segments are resolved, %2F stays as it is."""
    segments: list[str] = []
    for raw in raw_path.decode("latin-1").split("?", 1)[0].strip("/").split("/"):
        text = "%2F".join(unquote(part) for part in re.split("%2f", raw, flags=re.IGNORECASE))
        if text == "..":
            del segments[-1:]
        elif text not in ("", "."):
            segments.append(text)
    return segments


def _split(text: str, template: str) -> list[str]:
    """Split at the slashes that are outside braces."""
    parts, depth, current = [], 0, ""
    for character in text:
        depth += (character == "{") - (character == "}")
        if depth < 0:
            break
        if character == "/" and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += character
    if depth != 0:
        raise BadRoute(f"Route {template!r}: braces do not match.")
    return [part for part in [*parts, current] if part]


def _segment(text: str, template: str) -> _Segment:
    parts: list[str | _Parameter] = []
    pattern = ""
    for piece in re.findall(r"\{(?:[^{}]|\{\{[^{}]*\}\})*\}|[^{}]+", text):
        if piece.startswith("{"):
            parts.append(_parameter(piece[1:-1].replace("{{", "{").replace("}}", "}"), template))
            pattern += "(.+)"
        else:
            parts.append(piece)
            pattern += re.escape(piece)
    if len(parts) > 1 and any(isinstance(part, _Parameter) and part.catch_all for part in parts):
        raise BadRoute(f"Route {template!r}: a catch-all parameter must be a segment of its own.")
    return _Segment(tuple(parts), re.compile(pattern, re.IGNORECASE | re.DOTALL))


def _parameter(text: str, template: str) -> _Parameter:
    body, has_default, default = text.partition("=") if "(" not in text else (text, "", "")
    optional = body.endswith("?")
    match = _PARAMETER.fullmatch(body.removesuffix("?"))
    if match is None:
        raise BadRoute(f"Route {template!r}: {{{text}}} is no parameter; write {{name}}, {{name:int}} or {{*rest}}.")
    constraints = tuple(_constraint(each, template) for each in re.split(r":(?![^(]*\))", match["constraints"])[1:])
    return _Parameter(match["name"], constraints, bool(match["stars"]), optional, default if has_default else None)


def _constraint(text: str, template: str) -> Constraint:
    match = _CONSTRAINT.fullmatch(text)
    try:
        if match is not None and match["arguments"] is None:
            return _PLAIN[match["name"].lower()]
        if match is not None:
            return _WITH_ARGUMENTS[match["name"].lower()](match["arguments"])
    except (KeyError, ValueError, TypeError, re.error):
        pass
    known = ", ".join(sorted({*_PLAIN, *_WITH_ARGUMENTS}))
    raise BadRoute(f"Route {template!r}: unknown or malformed constraint {text!r}. Known: {known}.")


def _parses(parse: Callable[[str], object]) -> Constraint:
    def accepts(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return accepts


def _integer(bits: int) -> Constraint:
    limit = 1 << (bits - 1)
    return lambda text: bool(re.fullmatch(r"[+-]?\d+", text, re.ASCII)) and -limit <= int(text) < limit


def _length(arguments: str) -> Constraint:
    numbers = [int(number) for number in arguments.split(",")]
    low, high = (numbers[0], numbers[-1]) if len(numbers) < 3 else (1, 0)
    if low > high:
        raise ValueError(arguments)
    return lambda text: low <= len(text) <= high


def _between(low: int | None, high: int | None) -> Constraint:
    is_integer = _integer(64)
    return lambda text: is_integer(text) and (low is None or int(text) >= low) and (high is None or int(text) <= high)


def _range(arguments: str) -> Constraint:
    low, high = (int(number) for number in arguments.split(","))
    return _between(low, high)


def _minimum_length(arguments: str) -> Constraint:
    least = int(arguments)
    return lambda text: len(text) >= least


def _maximum_length(arguments: str) -> Constraint:
    most = int(arguments)
    return lambda text: len(text) <= most


def _regex(arguments: str) -> Constraint:
    pattern = re.compile(arguments, re.IGNORECASE)
    return lambda text: pattern.search(text) is not None


_PLAIN: Mapping[str, Constraint] = {
    "int": _integer(32),
    "long": _integer(64),
    "bool": lambda text: text.lower() in ("true", "false"),
    "double": _parses(float),
    "float": _parses(float),
    "decimal": _parses(float),
    "guid": _parses(uuid.UUID),
    "datetime": _parses(datetime.fromisoformat),
    "alpha": lambda text: bool(re.fullmatch(r"[A-Za-z]*", text)),
    "required": lambda text: bool(text),
}
_WITH_ARGUMENTS: Mapping[str, Callable[[str], Constraint]] = {
    "length": _length,
    "minlength": _minimum_length,
    "maxlength": _maximum_length,
    "min": lambda arguments: _between(int(arguments), None),
    "max": lambda arguments: _between(None, int(arguments)),
    "range": _range,
    "regex": _regex,
}
