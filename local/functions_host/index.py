"""Indexing: from an app object to the functions in it, with the checks the Python worker makes."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import azure.functions as func
from azure.functions.meta import Datum, get_binding_registry

HTTP, EVENT_GRID, TIMER, QUEUE = "httpTrigger", "eventGridTrigger", "timerTrigger", "queueTrigger"
TRIGGERS = (HTTP, EVENT_GRID, TIMER, QUEUE)
RETURN = "$return"
CONTEXT_ARGUMENT = "context"
_SETTING = re.compile(r"%([^%\s]+)%")


class IndexingError(RuntimeError):
    """The app or one of its functions cannot be hosted; the message names the function and the cause."""


@dataclass(frozen=True)
class IndexedFunction:
    """One function: what triggers it, what to call, and how its argument and answer are converted.

    trigger: the binding as function.json would have it, %SETTING% already replaced.
    """

    name: str
    call: Callable[..., Any]
    trigger: Mapping[str, Any]
    trigger_argument: str
    answers: bool
    is_async: bool
    wants_context: bool
    directory: Path

    @property
    def kind(self) -> str:
        return str(self.trigger["type"])

    def decode(self, datum: Datum, metadata: Mapping[str, Datum]) -> Any:
        """The argument of the trigger, made by the converter the real worker uses."""
        return _converter(self.kind).decode(datum, trigger_metadata=metadata)

    def encode(self, value: object) -> Datum | None:
        """The answer for the host; raises TypeError for what Azure fails on (None, dict, an unbound return)."""
        if not self.answers:
            if value is not None:
                raise TypeError(
                    f"Function {self.name!r} has no $return binding but returned a {type(value).__name__}: return None."
                )
            return None
        try:
            answer: Datum = _converter("http").encode(value, expected_type=None)
            return answer
        except NotImplementedError:
            raise TypeError(
                f"HTTP function {self.name!r} returned a {type(value).__name__}: "
                "return an azure.functions.HttpResponse or a str."
            ) from None


def load_app(app_path: str, script_root: Path) -> func.FunctionApp:
    """Import `module:attribute` with `script_root` first on the path; raise IndexingError if it is no function app."""
    module_name, _, attribute = app_path.partition(":")
    root = str(script_root.resolve())
    if root not in sys.path:
        sys.path.insert(0, root)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name.partition(".")[0]:
            raise
        raise IndexingError(f"There is no module {module_name!r} in {root}. Check --app and --script-root.") from None
    app = getattr(module, attribute or "app", None)
    if not isinstance(app, func.FunctionApp):
        raise IndexingError(f"{app_path}: {attribute or 'app'} is no azure.functions.FunctionApp (found {app!r}).")
    return app


def index(app: func.FunctionApp, environment: Mapping[str, str], script_root: Path) -> list[IndexedFunction]:
    """Every function of the app. Raises IndexingError listing all functions that cannot be hosted."""
    app.functions_bindings = None  # names of an earlier index of the same app would count as duplicates
    try:
        functions = app.get_functions()
    except ValueError as error:
        raise IndexingError(str(error)) from None
    indexed: list[IndexedFunction] = []
    problems: list[str] = []
    for function in functions:
        try:
            indexed.append(_index_one(function, environment, script_root))
        except IndexingError as error:
            problems.append(f"Function {function.get_function_name()!r}: {error}")
    if problems:
        raise IndexingError("\n".join(problems))
    return indexed


def resolve_settings(text: str, environment: Mapping[str, str]) -> str:
    """Replace each %NAME% by the setting of that name; raise IndexingError naming all that are missing."""
    missing = [name for name in _SETTING.findall(text) if name not in environment]
    if missing:
        raise IndexingError(f"{text!r} refers to setting(s) that are not set: {', '.join(missing)}.")
    return _SETTING.sub(lambda match: environment[match[1]], text)


def _index_one(function: Any, environment: Mapping[str, str], script_root: Path) -> IndexedFunction:
    bindings: list[dict[str, Any]] = [json.loads(text) for text in function.get_raw_bindings()]
    trigger = next((each for each in bindings if each["type"] in TRIGGERS), None)
    if trigger is None:
        raise IndexingError(f"its trigger is not one of {', '.join(TRIGGERS)}.")
    others = [each["type"] for each in bindings if each is not trigger and each["name"] != RETURN]
    if others:
        raise IndexingError(f"bindings other than its trigger are not hosted ({', '.join(others)}): use an SDK client.")
    if function.get_settings_dict("retry_policy"):
        raise IndexingError("in-function retry policies are not hosted: the queue, Event Grid or a timer tries again.")
    call = function.get_user_function()
    _check_signature(call, trigger)
    resolved = {
        key: resolve_settings(value, environment) if isinstance(value, str) else value for key, value in trigger.items()
    }
    return IndexedFunction(
        name=function.get_function_name(),
        call=call,
        trigger=resolved,
        trigger_argument=trigger["name"],
        answers=any(each["name"] == RETURN for each in bindings),
        is_async=inspect.iscoroutinefunction(call),
        wants_context=CONTEXT_ARGUMENT in inspect.signature(call).parameters,
        directory=script_root,
    )


def _converter(binding: str) -> Any:
    return get_binding_registry().get(binding)  # type: ignore[no-untyped-call]


def _check_signature(call: Callable[..., Any], trigger: Mapping[str, Any]) -> None:
    arguments = set(inspect.signature(call).parameters) - {CONTEXT_ARGUMENT}
    if arguments != {trigger["name"]}:
        raise IndexingError(
            f"it must take exactly the argument of its trigger, {trigger['name']!r} (and {CONTEXT_ARGUMENT!r} if it "
            f"likes); it takes {', '.join(sorted(arguments)) or 'none'}."
        )
    try:
        annotation = typing.get_type_hints(call).get(trigger["name"])
    except NameError as error:
        raise IndexingError(f"its annotations cannot be resolved: {error}.") from None
    converter = _converter(trigger["type"])
    is_class = isinstance(annotation, type) and not typing.get_args(annotation)
    if annotation is not None and not (is_class and converter.check_input_type_annotation(annotation)):
        raise IndexingError(f"{trigger['name']!r} is annotated {annotation}, which a {trigger['type']} does not give.")
