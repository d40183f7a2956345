"""host.json: the settings this host obeys. Valid settings that only Azure can obey are read over."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

OVERRIDE_PREFIX = "AzureFunctionsJobHost"
DEFAULT_TIMEOUT = timedelta(minutes=30)
_TIME_SPAN = re.compile(r"(?:(\d+)\.)?(\d{1,2}):([0-5]\d):([0-5]\d)(?:\.(\d{1,7}))?", re.ASCII)


class BadHostJson(ValueError):
    """host.json cannot be used; the message names every wrong setting and what is allowed."""


def _time_span(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    match = _TIME_SPAN.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[2]) > 23:
        raise ValueError("write it as hh:mm:ss")
    days, hours, minutes, seconds = (int(text or 0) for text in match.groups()[:4])
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds + float(f"0.{match[5] or 0}"))


def _function_timeout(value: object) -> object:
    if value is None:
        return DEFAULT_TIMEOUT
    return None if value == "-1" else _time_span(value)


TimeSpan = Annotated[timedelta, BeforeValidator(_time_span)]
LogLevel = Literal["Trace", "Debug", "Information", "Warning", "Error", "Critical", "None"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel)


class HttpSettings(_Section):
    """extensions.http; -1 means no limit."""

    route_prefix: str = "api"
    max_concurrent_requests: int = Field(default=-1, ge=-1)
    max_outstanding_requests: int = Field(default=-1, ge=-1)
    custom_headers: dict[str, str] = Field(default_factory=dict)


class QueueSettings(_Section):
    """extensions.queues; times as hh:mm:ss."""

    batch_size: int = Field(default=16, ge=1, le=32)
    new_batch_threshold: int | None = Field(default=None, ge=0)
    max_polling_interval: TimeSpan = Field(default=timedelta(minutes=1), ge=timedelta(milliseconds=100))
    visibility_timeout: TimeSpan = Field(default=timedelta(0), ge=timedelta(0))
    max_dequeue_count: int = Field(default=5, ge=1)
    message_encoding: Literal["base64", "none"] = "base64"

    @property
    def threshold(self) -> int:
        """How many messages may still run when the next batch is fetched."""
        return self.batch_size // 2 if self.new_batch_threshold is None else self.new_batch_threshold


class _Extensions(_Section):
    http: HttpSettings = HttpSettings()
    queues: QueueSettings = QueueSettings()


class _Logging(_Section):
    log_level: dict[str, LogLevel] = Field(default_factory=dict)


class HostJson(_Section):
    """The whole file; function_timeout None means no limit."""

    version: Literal["2.0"]
    extensions: _Extensions = _Extensions()
    function_timeout: Annotated[timedelta | None, BeforeValidator(_function_timeout)] = DEFAULT_TIMEOUT
    logging: _Logging = _Logging()

    @property
    def http(self) -> HttpSettings:
        return self.extensions.http

    @property
    def queues(self) -> QueueSettings:
        return self.extensions.queues

    @property
    def log_levels(self) -> Mapping[str, str]:
        return self.logging.log_level


def read_host_json(path: Path, environment: Mapping[str, str]) -> HostJson:
    """Read `path`, overridden as on Azure by settings like AzureFunctionsJobHost__extensions__queues__batchSize.

    Raises BadHostJson naming every wrong setting.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadHostJson(f'{path} is missing. The smallest one is {{"version": "2.0"}}.') from None
    except ValueError as error:
        raise BadHostJson(f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise BadHostJson(f"{path} must hold a JSON object.")
    for name, value in environment.items():
        prefix, *keys = re.split(r"__|:", name)
        if prefix.lower() == OVERRIDE_PREFIX.lower() and all(keys) and keys:
            _override(document, keys, value)
    try:
        return HostJson.model_validate(document)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg'].removeprefix('Value error, ')} (found {each['input']!r})"
            for each in error.errors()
        )
        raise BadHostJson(f"{path}: {wrong}") from None


def _override(section: dict[str, Any], keys: list[str], value: str) -> None:
    name = next((known for known in section if known.lower() == keys[0].lower()), keys[0])
    if len(keys) == 1:
        section[name] = value
        return
    inner = section.get(name)
    if not isinstance(inner, dict):
        inner = section[name] = {}
    _override(inner, keys[1:], value)
