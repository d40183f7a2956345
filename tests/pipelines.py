"""Pipelines as Azure DevOps expands them before a run: templates, parameters, and the expressions that ours use."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "pipelines"
FILES = sorted(path for path in FOLDER.glob("*.yml") if path.name != "devops.yml")
TEMPLATES = sorted((FOLDER / "templates").glob("*.yml"))
EXPRESSION = re.compile(r"\$\{\{\s*(.+?)\s*\}\}")

Names = Mapping[str, Any]


class NotExpanded(Exception):
    """The service would refuse this file; the text names the file and what is wrong."""


def load(file: Path) -> Any:
    """The file as the service reads it: every scalar is a text."""
    return yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)


def expanded(file: Path, given: Names) -> dict[str, Any]:
    """The pipeline with its templates in place. Raises NotExpanded."""
    document = load(file)
    whole: dict[str, Any] = _Expansion(file).part(document, {"parameters": parameters(file, document, given)})
    return whole


def parameters(file: Path, document: Mapping[str, Any], given: Names) -> dict[str, Any]:
    """What a file's parameters are, with its defaults. Raises NotExpanded for one missing, unknown or not allowed."""
    declared = {parameter["name"]: parameter for parameter in document.get("parameters") or ()}
    if unknown := sorted(set(given) - set(declared)):
        raise NotExpanded(f"{file.name} takes no parameter {', '.join(unknown)}")
    missing = [name for name, one in declared.items() if name not in given and "default" not in one]
    if missing:
        raise NotExpanded(f"{file.name} needs {', '.join(missing)}")
    values = {name: given.get(name, one.get("default")) for name, one in declared.items()}
    for name, value in values.items():
        allowed = declared[name].get("values")
        if allowed and value not in allowed:
            raise NotExpanded(f"{file.name}: {name} is {value!r}, not one of {', '.join(allowed)}")
    return values


class _Expansion:
    """One file's expansion; paths of templates are relative to it."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def part(self, part: Any, names: Names) -> Any:
        if isinstance(part, Mapping):
            return dict(self._members(part, names))
        if isinstance(part, list):
            return [each for entry in part for each in self._entries(entry, names)]
        return self.text(part, names) if isinstance(part, str) else part

    def _members(self, part: Mapping[str, Any], names: Names) -> Iterator[tuple[str, Any]]:
        for key, value in part.items():
            if each := re.fullmatch(r"\$\{\{\s*each (\w+) in (.+?)\s*\}\}", key):
                found = self.value(each[2], names)
                for name, setting in found.items() if isinstance(found, Mapping) else enumerate(found):
                    yield from self._members(value, {**names, each[1]: {"key": name, "value": setting}})
            else:
                yield self.text(key, names), self.part(value, names)

    def _entries(self, entry: Any, names: Names) -> Iterator[Any]:
        if not isinstance(entry, Mapping):
            yield self.part(entry, names)
            return
        key = next(iter(entry))
        if condition := re.fullmatch(r"\$\{\{\s*if (.+?)\s*\}\}", key):
            if self.value(condition[1], names):
                yield from self.part(entry[key], names)
        elif each := re.fullmatch(r"\$\{\{\s*each (\w+) in (.+?)\s*\}\}", key):
            for value in self.value(each[2], names):
                yield from self.part(entry[key], {**names, each[1]: value})
        elif key == "template":
            yield from self._template(self.text(entry[key], names), self.part(entry.get("parameters", {}), names))
        else:
            yield self.part(entry, names)

    def _template(self, path: str, given: Names) -> Sequence[Any]:
        file = (self._file.parent / path).resolve()
        if not file.is_file():
            raise NotExpanded(f"{self._file.name} names {path}, which is not there")
        document = load(file)
        (content,) = (document[name] for name in ("stages", "jobs", "steps") if name in document)
        found: Sequence[Any] = _Expansion(file).part(content, {"parameters": parameters(file, document, given)})
        return found

    def text(self, text: str, names: Names) -> Any:
        """The text with its expressions replaced; a text that is one expression becomes what that is."""
        if whole := re.fullmatch(r"\$\{\{\s*((?:(?!\}\}).)+?)\s*\}\}", text):
            return self.value(whole[1], names)
        return EXPRESSION.sub(lambda match: str(self.value(match[1], names)), text)

    def value(self, expression: str, names: Names) -> Any:
        if call := re.fullmatch(r"(\w+)\((.*)\)", expression):
            arguments = [self.value(argument.strip(), names) for argument in call[2].split(", ")]
            match call[1], arguments:
                case "containsValue", [listed, value]:
                    return value in listed
                case "split", [value, separator]:
                    return value.split(separator)
                case "replace", [value, old, new]:
                    return value.replace(old, new)
        if literal := re.fullmatch(r"'([^']*)'", expression):
            return literal[1]
        found: Any = names
        for step in expression.split("."):
            if not isinstance(found, Mapping) or step not in found:
                raise NotExpanded(f"{self._file.name}: {expression} is not understood here")
            found = found[step]
        return found


def jobs(pipeline: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Every job, with its stage."""
    return ((stage, job) for stage in pipeline["stages"] for job in stage["jobs"])


def steps(job: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The steps of a job, or of a deployment's only hook."""
    found: Sequence[Mapping[str, Any]] = (
        job["steps"] if "steps" in job else job["strategy"]["runOnce"]["deploy"]["steps"]
    )
    return found


def name_of(job: Mapping[str, Any]) -> str:
    return str(job.get("job") or job.get("deployment"))


def script(step: Mapping[str, Any]) -> str:
    """What a step runs in a shell; nothing for other steps."""
    return str(step.get("bash") or step.get("script") or (step.get("inputs") or {}).get("inlineScript") or "")
