"""Every setting: what it is for, its default, and in which mode it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from scripts.reference.markdown import code, page, table
from shared.settings import AZURE, LOCAL, Settings, SettingsError

INTRODUCTION = f"""
The application reads its settings from the environment once, when it is first used, and reports everything that is
missing or wrong at once. On Azure they are the Function App's application settings; `local.settings.sample.json` shows
all of them; `make demo` and `make up` set them by themselves.

`FLEET_MODE` is `{LOCAL}` (the embedded mode) or `{AZURE}`. `docs/examples/azure.settings.json` shows the settings of a
Function App on Azure: none of them is a key of an account or a password, and the app refuses to start with one. What is
secret there, `DEVOPS_HOOK_SECRET` and the settings of webhooks, is a reference to Key Vault.
"""
OTHERS = """
## What the host reads

Named in the triggers' bindings, and read by the function host, not by the application: `AzureWebJobsStorage`,
`FUNCTIONS_WORKER_RUNTIME`, and the schedules ([triggers](http.md#other-triggers)). On Azure the host signs in
with the managed identity too: `AzureWebJobsStorage__accountName` instead of a connection string, and for a
user-assigned identity `…__credential=managedidentity` with `…__clientId`, for both `AzureWebJobsStorage` and
`FLEET_STORAGE`.

## What telemetry reads

Telemetry is off unless one of them is set, and costs nothing then ([telemetry](../telemetry.md)).

| Name | Purpose |
| --- | --- |
| `APPLICATIONINSIGHTS_CONNECTION_STRING` | the Application Insights that spans, measures and logs are sent to |
| `APPLICATIONINSIGHTS_AUTHENTICATION_STRING` | `Authorization=AAD`: send as the managed identity |
| `FLEET_TELEMETRY` | `console`: write spans and measures to the standard output (embedded mode) |

## What the tools read

| Name | Purpose | Default |
| --- | --- | --- |
| `FLEET_PORT` | the port of the app | a free one for `make demo`, 7071 for `make up` |
| `PYTHON_BIN` | the Python to set up with | the first of python3.12, python3.11, python3 that fits |
| `REFERENCE_DIR` | a folder with public data and specifications, for the tests that use it | ../shared |
| `EXPECTED_SKIPS` | the file of skips that do not fail a run with `CI` set | tests/expected_skips.txt |
"""


def write() -> str:
    """docs/reference/settings.md"""
    asked = {mode: _problems({"FLEET_MODE": mode}) for mode in (LOCAL, AZURE)}
    lines = []
    for setting in fields(Settings):
        name = setting.metadata["name"]
        lines.append((f"`{name}`", setting.metadata["purpose"], _default(setting.default), _modes(name, asked)))
    return page("Settings", INTRODUCTION, table(("Name", "Purpose", "Default", "Needed"), lines), OTHERS)


def _problems(environment: Mapping[str, str]) -> list[str]:
    """What the settings themselves say about an environment."""
    try:
        Settings.read(environment)
    except SettingsError as error:
        return str(error).splitlines()
    return []


def _modes(name: str, asked: Mapping[str, list[str]]) -> str:
    if name == "FLEET_MODE":
        return "always"
    needed = [mode for mode, problems in asked.items() if any(p.startswith(f"- {name} is missing") for p in problems)]
    refusal = f"- {name} belongs to the embedded mode"
    refused = any(problem.startswith(refusal) for problem in _problems({"FLEET_MODE": AZURE, name: "given"}))
    text = "always" if len(needed) == len(asked) else f"with {code(needed)}" if needed else "no"
    return f"{text}, refused with `{AZURE}`" if refused else text


def _default(default: Any) -> str:
    if default is MISSING:
        return "—"
    if default in ("", ()):
        return "empty"
    return code(default) if isinstance(default, tuple) else f"`{default}`"
