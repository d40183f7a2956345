"""YAML files read into pydantic models, every problem with its file, line and key, all of them at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

# libyaml reads ten times as fast; wheels have it, a PyYAML that was built without it reads the same, only later.
SafeLoader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Key = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class ConfigurationProblem:
    """One thing that is wrong, where it is, and what would be right."""

    file: str
    line: int
    key: str
    problem: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.key + ': ' if self.key else ''}{self.problem}"


class ConfigurationError(ValueError):
    """The configuration folder cannot be used; `problems` holds everything that is wrong with it."""

    def __init__(self, problems: list[ConfigurationProblem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.file, p.line, p.key)))
        count = f"{len(problems)} problem{'s' * (len(problems) != 1)} in the configuration"
        super().__init__("\n".join([f"{count}:", *map(str, self.problems)]))


@dataclass
class YamlDocument:
    """The content of a YAML file, with the file and line of every key in it."""

    content: dict[str, Any]
    places: dict[Key, tuple[str, int]]

    def place(self, key: Key) -> tuple[str, int]:
        while key not in self.places:
            key = key[:-1]
        return self.places[key]

    def below(self, key: Key) -> YamlDocument:
        """The mapping under `key`, or an empty one; its places keep pointing into the file."""
        content: Any = self.content
        for step in key:
            content = content.get(step, {}) if isinstance(content, dict) else {}
        places = {place[len(key) :]: where for place, where in self.places.items() if place[: len(key)] == key}
        return YamlDocument(content if isinstance(content, dict) else {}, places or {(): self.place(key)})

    def over(self, base: YamlDocument) -> YamlDocument:
        """This document with what it leaves out taken from `base`, key by key in nested mappings."""
        return YamlDocument(merged(base.content, self.content), base.places | self.places)


def merged(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `top` laid over it, key by key in nested mappings."""
    result = dict(base)
    for key, value in top.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


@dataclass
class YamlReader:
    """Reads the YAML files of one folder and collects what is wrong with them."""

    folder: Path
    problems: list[ConfigurationProblem] = field(default_factory=list)

    def raise_problems(self) -> None:
        """Raise ConfigurationError if anything was wrong so far."""
        if self.problems:
            raise ConfigurationError(self.problems)

    def report(self, place: tuple[str, int], key: Key | str, problem: str) -> None:
        dotted = key if isinstance(key, str) else ".".join(map(str, key))
        self.problems.append(ConfigurationProblem(*place, dotted, problem))

    def name_of(self, path: Path) -> str:
        return f"{self.folder.name}/{path.relative_to(self.folder).as_posix()}"

    def read(self, path: Path, advice: str = "create it") -> YamlDocument | None:
        """The file's content, or None if it cannot be used; `advice` is for a file that does not exist."""
        name = self.name_of(path)
        if not path.is_file():
            self.report((name, 1), "", f"the file does not exist; {advice}")
            return None
        try:
            # Some YAML errors only show when scalars are constructed (an impossible date, for example).
            loader = SafeLoader(path.read_text(encoding="utf-8"))
            node = loader.get_single_node()
            places: dict[Key, tuple[str, int]] = {(): (name, 1)}
            content = self._construct(loader, node, (), name, places) if node else {}
        except (yaml.YAMLError, ValueError) as error:
            mark = getattr(error, "problem_mark", None)
            reason = getattr(error, "problem", None) or str(error)
            self.report((name, mark.line + 1 if mark else 1), "", f"not valid YAML: {reason}")
            return None
        if not isinstance(content, dict):
            self.report((name, 1), "", "a mapping of keys to values is expected")
            return None
        return YamlDocument(content, places)

    def _construct(
        self, loader: yaml.SafeLoader, node: Node, key: Key, file: str, places: dict[Key, tuple[str, int]]
    ) -> Any:
        if isinstance(node, MappingNode):
            mapping: dict[str, Any] = {}
            for key_node, value_node in node.value:
                name, line = str(key_node.value), key_node.start_mark.line + 1
                if name in mapping:
                    first = places[(*key, name)][1]
                    self.report((file, line), (*key, name), f"the key was already given on line {first}")
                places[(*key, name)] = (file, line)
                mapping[name] = self._construct(loader, value_node, (*key, name), file, places)
            return mapping
        if isinstance(node, SequenceNode):
            for index, item in enumerate(node.value):
                places[(*key, index)] = (file, item.start_mark.line + 1)
            return [self._construct(loader, item, (*key, i), file, places) for i, item in enumerate(node.value)]
        assert isinstance(node, ScalarNode)
        try:
            return loader.construct_object(node)
        except ValueError as error:
            self.report((file, node.start_mark.line + 1), key, f"{node.value!r} is not possible: {error}")
            return None

    def parse(self, model: type[Model], document: YamlDocument) -> Model | None:
        try:
            return model.model_validate(document.content)
        except ValidationError as error:
            for detail in error.errors():
                key = tuple(step for step in detail["loc"] if step != "[key]")
                self.report(document.place(key), key, _explain(model, key, dict(detail)))
            return None


def _explain(model: type[BaseModel], key: Key, detail: dict[str, Any]) -> str:
    """Pydantic's finding in words that say what is allowed."""
    given = detail.get("input")
    match detail["type"]:
        case "missing":
            return "a required key is missing"
        case "extra_forbidden":
            allowed = list(_fields_at(model, key[:-1]))
            near = get_close_matches(str(key[-1]), allowed, n=1)
            return "unknown key" + (f"; did you mean {near[0]}?" if near else "") + f" Allowed: {', '.join(allowed)}"
        case "value_error":
            return str(detail["ctx"]["error"])
        case _:
            shown = "" if isinstance(given, dict | list) else f" (got {given!r})"
            return f"{detail['msg'][0].lower()}{detail['msg'][1:]}{shown}"


def _fields_at(model: type[BaseModel], key: Key) -> Iterator[str]:
    annotation: Any = model
    for step in key:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            annotation = annotation.model_fields[str(step)].annotation
        elif arguments := get_args(annotation):
            annotation = arguments[-1]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from annotation.model_fields
