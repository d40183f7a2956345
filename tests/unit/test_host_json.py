"""host.json: defaults, overrides by setting, settings that are read over, and refusals that name the setting."""

from __future__ import annotations

import json
import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from jsonschema.validators import validator_for  # type: ignore[import-untyped]

from local.functions_host.host_json import BadHostJson, HostJson, read_host_json

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / os.environ.get("REFERENCE_DIR", "../shared") / "specs" / "schemastore-host.json"


def read(folder: Path, content: Any, **environment: str) -> HostJson:
    (folder / "host.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return read_host_json(folder / "host.json", environment)


def test_defaults_are_those_of_azure(tmp_path: Path) -> None:
    settings = read(tmp_path, {"version": "2.0"})
    assert settings.http.route_prefix == "api"
    assert (settings.queues.batch_size, settings.queues.threshold, settings.queues.max_dequeue_count) == (16, 8, 5)
    assert settings.queues.max_polling_interval == timedelta(minutes=1)
    assert settings.queues.message_encoding == "base64"
    assert settings.function_timeout == timedelta(minutes=30)


def test_settings_only_azure_obeys_are_read_over(tmp_path: Path) -> None:
    content = {
        "version": "2.0",
        "extensionBundle": {"id": "Microsoft.Azure.Functions.ExtensionBundle", "version": "[4.*, 5.0.0)"},
        "telemetryMode": "OpenTelemetry",
        "extensions": {"eventHubs": {"maxEventBatchSize": 5}, "http": {"hsts": {"isEnabled": True}}},
        "logging": {"applicationInsights": {"samplingSettings": {"isEnabled": True}}},
    }
    assert read(tmp_path, content).http.route_prefix == "api"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("00:00:02", timedelta(seconds=2)), ("01:30:00.250", timedelta(hours=1, minutes=30, milliseconds=250))],
)
def test_times_are_read(tmp_path: Path, text: str, expected: timedelta) -> None:
    content = {"version": "2.0", "functionTimeout": text, "extensions": {"queues": {"visibilityTimeout": text}}}
    settings = read(tmp_path, content)
    assert settings.function_timeout == settings.queues.visibility_timeout == expected


def test_a_timeout_of_minus_one_is_no_limit(tmp_path: Path) -> None:
    assert read(tmp_path, {"version": "2.0", "functionTimeout": "-1"}).function_timeout is None


def test_a_setting_overrides_the_file_in_any_case(tmp_path: Path) -> None:
    content = {"version": "2.0", "extensions": {"queues": {"batchSize": 4}}}
    settings = read(
        tmp_path,
        content,
        AzureFunctionsJobHost__extensions__queues__BATCHSIZE="9",
        AzureFunctionsJobHost__functionTimeout="00:01:00",
        AzureFunctionsJobHost__extensions__http__routePrefix="v1",
    )
    assert (settings.queues.batch_size, settings.http.route_prefix) == (9, "v1")
    assert settings.function_timeout == timedelta(minutes=1)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({}, "version"),
        ({"version": "1.0"}, "version"),
        ("{", "not JSON"),
        ("[]", "JSON object"),
        ({"version": "2.0", "functionTimeout": "ten minutes"}, "functionTimeout: write it as hh:mm:ss"),
        ({"version": "2.0", "extensions": {"queues": {"batchSize": 33}}}, "extensions.queues.batchSize"),
        ({"version": "2.0", "extensions": {"queues": {"batchSize": 0}}}, "extensions.queues.batchSize"),
        ({"version": "2.0", "extensions": {"queues": {"maxPollingInterval": 1000}}}, "maxPollingInterval"),
        ({"version": "2.0", "extensions": {"queues": {"maxPollingInterval": "00:00:00"}}}, "maxPollingInterval"),
        ({"version": "2.0", "extensions": {"queues": {"messageEncoding": "utf8"}}}, "messageEncoding"),
        ({"version": "2.0", "extensions": {"http": {"maxConcurrentRequests": "many"}}}, "maxConcurrentRequests"),
        ({"version": "2.0", "logging": {"logLevel": {"default": "Loud"}}}, "logging.logLevel.default"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, content: Any, named: str) -> None:
    with pytest.raises(BadHostJson) as refused:
        read(tmp_path, content)
    assert named in str(refused.value)


@pytest.mark.skipif(not SCHEMA.is_file(), reason="REFERENCE_DIR holds no schema of host.json")
def test_our_own_file_is_as_the_published_schema_says() -> None:
    schema = json.loads(SCHEMA.read_text())
    checker = validator_for(schema)(schema)
    ours = json.loads((ROOT / "host.json").read_text())
    assert [f"{'.'.join(map(str, e.path))}: {e.message}" for e in checker.iter_errors(ours)] == []
    wrong = {**ours, "extensions": {**ours["extensions"], "queues": {"batchSize": "many"}}}
    assert not checker.is_valid(wrong)


def test_a_missing_file_says_what_the_smallest_one_is(tmp_path: Path) -> None:
    with pytest.raises(BadHostJson, match=re.escape('{"version": "2.0"}')):
        read_host_json(tmp_path / "host.json", {})
