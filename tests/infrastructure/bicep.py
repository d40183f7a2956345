"""Bicep files read and evaluated offline: what a deployment with some parameters would ask Azure for.

No compiler: tree-sitter reads the syntax, and this evaluates the part of the language that `infra/` uses. Whatever it
does not know (an expression, a function, a name, a parameter, an output) is an error. What only a deployment knows, as
an identity's principal, is a text in angle brackets that names it: `<principalId of {resource id}>`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NoReturn
from uuid import NAMESPACE_URL, uuid5

import tree_sitter_bicep
import yaml
from tree_sitter import Language, Node, Parser

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
TENANT = "11111111-2222-3333-4444-555555555555"
CLOUD = {
    "suffixes": {"storage": "core.windows.net", "keyvaultDns": ".vault.azure.net"},
    "authentication": {"loginEndpoint": "https://login.microsoftonline.com/"},
}
PRIMITIVE: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "int": int,
    "bool": bool,
    "object": dict,
    "array": list,
}

DECORATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "allowed": lambda value, limit: value in limit,
    "minLength": lambda value, limit: len(value) >= limit,
    "maxLength": lambda value, limit: len(value) <= limit,
    "description": lambda value, limit: True,
}
"""Whether a parameter's value is allowed."""


class BicepError(Exception):
    """A file is no Bicep, or says something that cannot be; the text names file, line and what is wrong."""


@dataclass
class Resource:
    """One resource of a deployment, every expression in it evaluated."""

    type: str
    version: str
    id: str
    name: str
    body: dict[str, Any]
    scope: str
    place: str
    existing: bool = False

    def get(self, name: str) -> Any:
        """A property of the body; what only Azure knows is a text that names it."""
        if name in ("id", "name", "type"):
            return getattr(self, name)
        if name in ("properties", "identity"):
            return _AtRunTime(self, self.body.get(name) or {})
        return self.body[name]


@dataclass
class _AtRunTime:
    """Properties of a resource that exists once it is deployed: those that were given, and those that Azure adds."""

    resource: Resource
    given: Mapping[str, Any]
    path: str = ""

    def get(self, name: str) -> Any:
        if name in self.given:
            return self.given[name]
        path = f"{self.path}.{name}" if self.path else name
        if path == "primaryEndpoints":
            return _AtRunTime(self.resource, {}, path)
        if path.startswith("primaryEndpoints."):
            service = path.partition(".")[2]
            return f"https://{self.resource.name}.{service}.{CLOUD['suffixes']['storage']}/"
        if path == "vaultUri":
            return f"https://{self.resource.name}{CLOUD['suffixes']['keyvaultDns']}/"
        if path == "clientId":
            return str(uuid5(NAMESPACE_URL, f"client {self.resource.id}"))
        return f"<{path} of {self.resource.id}>"


@dataclass
class Deployment:
    """What one file with its parameters, and every module below it, deploys."""

    resources: list[Resource] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)

    def of_type(self, kind: str) -> list[Resource]:
        """Resources to be created of one type, whatever its version."""
        return [each for each in self.resources if each.type.lower() == kind.lower() and not each.existing]


def evaluate(file: Path, parameters: Mapping[str, Any], scope: str = f"/subscriptions/{SUBSCRIPTION}") -> Deployment:
    """What a deployment of `file` asks for; raises BicepError."""
    return _File(file, parameters, scope).deploy()


def parameters_of(file: Path) -> dict[str, Any]:
    """The values of an ARM parameter file."""
    return {name: each["value"] for name, each in json.loads(file.read_text())["parameters"].items()}


@cache
def parse(file: Path) -> Node:
    """The syntax tree; raises BicepError at the first error."""
    root = Parser(Language(tree_sitter_bicep.language())).parse(file.read_bytes()).root_node
    for node in _all(root):
        if node.type == "ERROR" or node.is_missing:
            raise BicepError(f"{file}:{node.start_point[0] + 1}: syntax error at {_text(node)[:60]!r}")
    return root


def _all(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _all(child)


def _text(node: Node) -> str:
    return (node.text or b"").decode()


def _named(node: Node) -> list[Node]:
    return [child for child in node.named_children if child.type not in ("comment", "diagnostic_comment")]


def _is_used(node: Node) -> bool:
    """Whether an identifier stands for a value: it is no declaration, key, function, loop variable or type."""
    parent = node.parent
    assert parent is not None
    first = parent.named_children[0] == node
    if parent.type in ("for_loop_parameters", "for_statement") and first:
        return False
    declares = parent.type.endswith("_declaration") or parent.type in ("object_property", "call_expression")
    return not (declares and first) and parent.type != "type"


def _loop_variables(node: Node) -> set[str]:
    found: set[str] = set()
    above = node.parent
    while above is not None:
        if above.type == "for_statement":
            variable = _named(above)[0]
            found |= {_text(each) for each in _named(variable)} or {_text(variable)}
        above = above.parent
    return found


Names = Mapping[str, Any]


class _File:
    """One file being evaluated at one scope; variables, resources and modules are worked out when asked for."""

    def __init__(self, file: Path, parameters: Mapping[str, Any], scope: str) -> None:
        self.file = file
        self.scope = scope
        self.deployment = Deployment()
        self._declared: dict[str, Node] = {}
        self._values: dict[str, Any] = {}
        self._asked: list[str] = []
        self._outputs: list[Node] = []
        decorators: list[Node] = []
        for node in _named(parse(file)):
            if node.type == "decorators":
                decorators = _named(node)
                continue
            if node.type == "target_scope_assignment":
                wanted = self._evaluate(_named(node)[0], {})
                if (wanted == "subscription") == ("/resourceGroups/" in scope):
                    self._fail(node, f"is deployed to a {wanted}, not to {scope}")
            elif node.type == "output_declaration":
                self._outputs.append(node)
            else:
                name = _text(_named(node)[0])
                if name in self._declared or name in self._values:
                    self._fail(node, f"{name} is declared twice")
                if node.type == "parameter_declaration":
                    self._parameter(node, name, parameters, decorators)
                else:
                    self._declared[name] = node
            decorators = []
        unknown = set(parameters) - set(self._values)
        if unknown:
            raise BicepError(f"{file} has no parameter {', '.join(sorted(unknown))}")
        self._check_names()

    def _check_names(self) -> None:
        """Also where nothing is evaluated: every name that is used is declared, and the other way round."""
        used = set()
        for node in _all(parse(self.file)):
            if node.type != "identifier" or node.parent is None or not _is_used(node):
                continue
            name = _text(node)
            used.add(name)
            if name not in self._declared and name not in self._values and name not in _loop_variables(node):
                self._fail(node, f"nothing is called {name}")
        kept = {name for name, node in self._declared.items() if node.type != "variable_declaration"}
        unused = (set(self._declared) | set(self._values)) - kept - used
        if unused:
            raise BicepError(f"{self.file}: {', '.join(sorted(unused))}: declared and never used")

    def deploy(self) -> Deployment:
        for name, node in self._declared.items():
            if node.type in ("resource_declaration", "module_declaration"):
                self._value(node, name)
        for node in self._outputs:
            told, kind, expression = _named(node)
            value = self._evaluate(expression, {})
            self._check_type(node, f"output {_text(told)}", _text(kind), value)
            self.deployment.outputs[_text(told)] = value
        return self.deployment

    # ------------------------------------------------------------------------------------------------- declarations

    def _parameter(self, node: Node, name: str, given: Mapping[str, Any], decorators: list[Node]) -> None:
        _, kind, *default = _named(node)
        if name in given:
            value = given[name]
        elif default:
            value = self._evaluate(default[0], {})
        else:
            self._fail(node, f"parameter {name} is not given")
        self._check_type(node, f"parameter {name}", _text(kind), value)
        for decorator in decorators:
            called = _named(decorator)[0]
            rule, (limit, *_) = _text(_named(called)[0]), self._array(_named(called)[1], {})
            if rule not in DECORATORS:
                self._fail(node, f"decorator {rule} is not known here")
            if not DECORATORS[rule](value, limit):
                self._fail(node, f"parameter {name} is {value!r}, against {rule}({limit})")
        self._values[name] = value

    def _check_type(self, node: Node, what: str, kind: str, value: Any) -> None:
        wrong = not isinstance(value, PRIMITIVE[kind]) or (kind == "int" and isinstance(value, bool))
        if wrong:
            self._fail(node, f"{what} is {value!r:.80}, not of type {kind}")

    def _value(self, node: Node, name: str) -> Any:
        """What a name stands for; worked out once."""
        if name in self._values:
            return self._values[name]
        if name not in self._declared:
            self._fail(node, f"nothing is called {name}")
        if name in self._asked:
            self._fail(node, f"{' -> '.join([*self._asked, name])}: a cycle")
        self._asked.append(name)
        declaration = self._declared[name]
        if declaration.type == "variable_declaration":
            value = self._evaluate(_named(declaration)[1], {})
        else:
            existing = any(child.type == "existing" or _text(child) == "existing" for child in declaration.children)
            _, kind, body = _named(declaration)[0], _named(declaration)[1], _named(declaration)[-1]
            make = self._module if declaration.type == "module_declaration" else self._resource
            value = self._each(body, lambda node, names: make(self._evaluate(kind, {}), node, names, existing))
        self._asked.pop()
        self._values[name] = value
        return value

    def _each(self, body: Node, make: Callable[[Node, Names], Any], names: Names | None = None) -> Any:
        """A resource's or module's body: itself, under a condition, or once for each of something."""
        names = names or {}
        if body.type == "if_statement":
            condition, then = _named(body)
            return self._each(then, make, names) if self._known_at_start(condition, names) else None
        if body.type == "for_statement":
            *_, then = _named(body)
            return [self._each(then, make, {**names, **one}) for one in self._loop(body, names)]
        return make(body, names)

    def _known_at_start(self, node: Node, names: Names) -> Any:
        """A condition, a loop or a name: Azure must know it before it deploys anything of the file."""
        value = self._evaluate(node, names)
        if "<" in json.dumps(value, default=str) and not self._given(node, names):
            self._fail(node, f"{_text(node)[:80]} is known only after something was deployed: {value!r:.120}")
        return value

    def _given(self, node: Node, names: Names) -> bool:
        """Whether an expression reads no resource or module of this file."""
        return not any(
            each.type == "identifier"
            and _text(each) in self._declared
            and self._declared[_text(each)].type in ("resource_declaration", "module_declaration")
            and not self._is_id_or_name(each)
            for each in _all(node)
        )

    @staticmethod
    def _is_id_or_name(node: Node) -> bool:
        parent = node.parent
        return parent is not None and parent.type == "member_expression" and _text(_named(parent)[-1]) in ("id", "name")

    def _resource(self, kind: str, body: Node, names: Names, existing: bool) -> Resource:
        type_, _, version = kind.partition("@")
        properties = self._object(body, names)
        for property_ in _named(body):
            if _text(_named(property_)[0]) == "name":
                self._known_at_start(_named(property_)[1], names)
        parent = properties.pop("parent", None)
        scope = properties.pop("scope", None)
        properties.pop("dependsOn", None)
        name = properties.get("name")
        if not isinstance(name, str):
            self._fail(body, f"{type_} has no name")
        depth = type_.count("/")
        if (parent is None) == (depth > 1):
            self._fail(body, f"{type_} needs {'a' if depth > 1 else 'no'} parent")
        if parent is not None:
            if parent.type.lower() != type_.rpartition("/")[0].lower():
                self._fail(body, f"{type_} cannot lie below {parent.type}")
            full, id_ = f"{parent.name}/{name}", f"{parent.id}/{type_.rpartition('/')[2]}/{name}"
        else:
            base = scope.id if isinstance(scope, Resource) else scope or self.scope
            provider = "" if type_ == "Microsoft.Resources/resourceGroups" else "/providers"
            kind_ = "/resourceGroups" if not provider else f"/{type_}"
            full, id_ = name, f"{base}{provider}{kind_}/{name}"
        resource = Resource(
            type=type_,
            version=version,
            id=id_,
            name=full,
            body=properties,
            scope=scope.id if isinstance(scope, Resource) else scope or self.scope,
            place=f"{self.file.name}:{body.start_point[0] + 1}",
            existing=existing,
        )
        self.deployment.resources.append(resource)
        return resource

    def _module(self, path: str, body: Node, names: Names, existing: bool) -> Deployment:
        given = self._object(body, names)
        scope = given.get("scope", self.scope)
        unknown = set(given) - {"name", "scope", "params", "dependsOn"}
        if unknown or "name" not in given:
            self._fail(body, f"a module takes name, scope, params and dependsOn, not {', '.join(sorted(unknown))}")
        scope = scope.id if isinstance(scope, Resource) else scope
        file = (self.file.parent / path).resolve()
        if not file.is_file():
            self._fail(body, f"there is no module {path}")
        try:
            deployed = _File(file, given.get("params", {}), scope).deploy()
        except BicepError as error:
            raise BicepError(f"{error}\n  in {self.file.name}:{body.start_point[0] + 1}") from error
        self.deployment.resources += deployed.resources
        return deployed

    # ------------------------------------------------------------------------------------------------- expressions

    def _evaluate(self, node: Node, names: Names) -> Any:
        how = getattr(self, f"_{node.type}", None)
        if how is None:
            self._fail(node, f"{node.type} is not known here: {_text(node)[:60]}")
        return how(node, names)

    def _string(self, node: Node, names: Names) -> str:
        """Text is taken by its place: to the grammar, white space before an interpolation is a part of it."""
        if _text(node).startswith("'''"):
            self._fail(node, "multi-line strings are not known here")
        parts, at = [], node.start_byte + 1
        for child in node.named_children:
            if child.type == "interpolation":
                begin = child.start_byte + _text(child).index("${")
                parts += [self._unescaped(node, at, begin), self._interpolated(child, names)]
                at = child.end_byte
        return "".join([*parts, self._unescaped(node, at, node.end_byte - 1)])

    @staticmethod
    def _unescaped(node: Node, begin: int, end: int) -> str:
        text = (node.text or b"")[begin - node.start_byte : end - node.start_byte].decode()
        return re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t", "r": "\r"}.get(m[1], m[1]), text)

    def _interpolated(self, node: Node, names: Names) -> str:
        value = self._evaluate(_named(node)[0], names)
        if not isinstance(value, str | int | bool):
            self._fail(node, f"{_text(node)} is {type(value).__name__}, and cannot stand in a text")
        return str(value).lower() if isinstance(value, bool) else str(value)

    def _number(self, node: Node, names: Names) -> int:
        return int(_text(node))

    def _boolean(self, node: Node, names: Names) -> bool:
        return _text(node) == "true"

    def _null(self, node: Node, names: Names) -> None:
        return None

    def _identifier(self, node: Node, names: Names) -> Any:
        name = _text(node)
        return names[name] if name in names else self._value(node, name)

    def _array(self, node: Node, names: Names) -> list[Any]:
        return [self._evaluate(child, names) for child in _named(node)]

    def _object(self, node: Node, names: Names) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for child in _named(node):
            key, value = _named(child)
            name = self._string(key, names) if key.type == "string" else _text(key)
            if name in found:
                self._fail(child, f"{name} is given twice")
            found[name] = self._evaluate(value, names)
        return found

    def _for_statement(self, node: Node, names: Names) -> list[Any]:
        *_, body = _named(node)
        return [self._evaluate(body, {**names, **one}) for one in self._loop(node, names)]

    def _loop(self, node: Node, names: Names) -> Iterator[dict[str, Any]]:
        variable, over, _ = _named(node)
        labels = [_text(each) for each in _named(variable)] or [_text(variable)]
        items = self._known_at_start(over, names)
        if not isinstance(items, list):
            self._fail(node, f"{_text(over)} is no array")
        for index, item in enumerate(items):
            yield dict(zip(labels, (item, index), strict=False))

    def _parenthesized_expression(self, node: Node, names: Names) -> Any:
        return self._evaluate(_named(node)[0], names)

    def _ternary_expression(self, node: Node, names: Names) -> Any:
        condition, yes, no = _named(node)
        return self._evaluate(yes if self._evaluate(condition, names) else no, names)

    def _unary_expression(self, node: Node, names: Names) -> Any:
        value = self._evaluate(_named(node)[0], names)
        return not value if _text(node).startswith("!") else -value

    def _binary_expression(self, node: Node, names: Names) -> Any:
        left, right = _named(node)
        operator = _text(node.children[1])
        first = self._evaluate(left, names)
        if operator == "&&":
            return first and self._evaluate(right, names)
        if operator == "||":
            return first or self._evaluate(right, names)
        second = self._evaluate(right, names)
        if operator not in ("==", "!="):
            self._fail(node, f"operator {operator} is not known here")
        return (first == second) is (operator == "==")

    def _member_expression(self, node: Node, names: Names) -> Any:
        of, name = _named(node)
        return self._member(node, self._evaluate(of, names), _text(name))

    def _subscript_expression(self, node: Node, names: Names) -> Any:
        of, key = _named(node)
        return self._member(node, self._evaluate(of, names), self._evaluate(key, names))

    def _member(self, node: Node, of: Any, key: Any) -> Any:
        if isinstance(of, Resource | _AtRunTime):
            return of.get(key)
        if isinstance(of, Deployment):
            if key == "outputs":
                return of.outputs
        elif isinstance(of, dict):
            if key in of:
                return of[key]
        elif isinstance(of, list) and isinstance(key, int):
            return of[key]
        self._fail(node, f"{_text(node)[:80]}: there is no {key!r}")

    def _call_expression(self, node: Node, names: Names) -> Any:
        name = _text(_named(node)[0])
        arguments = [self._evaluate(each, names) for each in _named(_named(node)[1])]
        known: dict[str, Callable[..., Any]] = {
            "contains": lambda where, what: what in where,
            "empty": lambda value: not value,
            "environment": lambda: CLOUD,
            "guid": lambda *parts: str(uuid5(NAMESPACE_URL, "|".join(parts))),
            "items": lambda value: [{"key": key, "value": value[key]} for key in sorted(value)],
            "join": lambda parts, by: by.join(parts),
            "loadJsonContent": lambda path: json.loads((self.file.parent / path).read_text()),
            "loadTextContent": lambda path: (self.file.parent / path).read_text(),
            "loadYamlContent": lambda path: yaml.safe_load((self.file.parent / path).read_text()),
            "replace": lambda text, old, new: text.replace(old, new),
            "resourceGroup": self._resource_group,
            "resourceId": lambda kind, name: f"{self.scope}/providers/{kind}/{name}",
            "string": lambda value: value if isinstance(value, str) else json.dumps(value),
            "subscription": lambda id_=None: self._subscription(id_),
            "subscriptionResourceId": lambda kind, name: f"{self._subscription()['id']}/providers/{kind}/{name}",
            "take": lambda value, count: value[:count],
            "tenant": lambda: {"tenantId": TENANT},
            "toLower": lambda text: text.lower(),
            "union": _union,
            "uniqueString": lambda *parts: uuid5(NAMESPACE_URL, "|".join(parts)).hex[:13],
            "utcNow": lambda form: {"yyyy-MM-01": "2026-01-01"}[form],
        }
        if name not in known:
            self._fail(node, f"function {name} is not known here")
        try:
            return known[name](*arguments)
        except (TypeError, ValueError, KeyError, OSError, yaml.YAMLError) as error:
            self._fail(node, f"{_text(node)[:80]}: {error}")

    def _subscription(self, id_: str | None = None) -> dict[str, str]:
        own = id_ or self.scope.split("/")[2]
        return {"id": f"/subscriptions/{own}", "subscriptionId": own}

    def _resource_group(self, *names: str) -> Any:
        if not names:
            return {"id": self.scope, "name": self.scope.rpartition("/")[2]}
        own, name = (self.scope.split("/")[2], *names) if len(names) == 1 else names
        return f"/subscriptions/{own}/resourceGroups/{name}"

    def _fail(self, node: Node, message: str) -> NoReturn:
        raise BicepError(f"{self.file}:{node.start_point[0] + 1}: {message}")


def _union(*values: Any) -> Any:
    if all(isinstance(value, dict) for value in values):
        merged: dict[str, Any] = {}
        for value in values:
            for key, each in value.items():
                deep = isinstance(each, dict) and isinstance(merged.get(key), dict)
                merged[key] = _union(merged[key], each) if deep else each
        return merged
    found: list[Any] = []
    for each in (item for value in values for item in value):
        if each not in found:
            found.append(each)
    return found
