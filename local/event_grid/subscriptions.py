"""Event subscriptions: which events of a topic go where, and for how long delivery is tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from local.event_grid.schema import attribute

Operator = Literal[
    "StringIn",
    "StringNotIn",
    "StringContains",
    "StringNotContains",
    "StringBeginsWith",
    "StringNotBeginsWith",
    "StringEndsWith",
    "StringNotEndsWith",
    "NumberIn",
    "NumberNotIn",
    "NumberGreaterThanOrEquals",
    "NumberLessThanOrEquals",
    "BoolEquals",
    "IsNotNull",
    "IsNullOrUndefined",
]
_TEXT: Mapping[str, Callable[[str, str], bool]] = {
    "In": lambda found, wanted: found == wanted,
    "Contains": lambda found, wanted: wanted in found,
    "BeginsWith": str.startswith,
    "EndsWith": str.endswith,
}
_NUMBER: Mapping[str, Callable[[float, float], bool]] = {
    "In": lambda found, wanted: found == wanted,
    "GreaterThanOrEquals": lambda found, wanted: found >= wanted,
    "LessThanOrEquals": lambda found, wanted: found <= wanted,
}
_MISSING = object()


class AdvancedFilter(BaseModel):
    """One condition on an attribute (`subject`, `id`, …) or on `data.…`. Text is compared without regard to case."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    operator: Operator
    key: str = Field(min_length=1)
    values: tuple[str | float | bool, ...] = Field(default=(), max_length=25)

    def matches(self, event: Mapping[str, Any]) -> bool:
        """Whether the event satisfies the condition; a missing key satisfies only the negative ones."""
        found = _value(event, self.key)
        if self.operator == "IsNotNull":
            return found is not _MISSING and found is not None
        if self.operator == "IsNullOrUndefined":
            return found is _MISSING or found is None
        if self.operator == "BoolEquals":
            return isinstance(found, bool) and found in self.values
        kind, negative, comparison = self._parts()
        if kind == "String":
            same = isinstance(found, str) and any(
                _TEXT[comparison](found.lower(), str(wanted).lower()) for wanted in self.values
            )
        else:
            is_number = isinstance(found, (int, float)) and not isinstance(found, bool)
            same = is_number and any(_NUMBER[comparison](found, float(wanted)) for wanted in self.values)
        return same != negative

    def _parts(self) -> tuple[str, bool, str]:
        kind = "String" if self.operator.startswith("String") else "Number"
        comparison = self.operator.removeprefix(kind)
        return kind, comparison.startswith("Not"), comparison.removeprefix("Not")


class DeadLetterDestination(BaseModel):
    """Where undeliverable events are kept: a folder, or a blob container."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path | None = None
    connection_string: str | None = Field(default=None, repr=False)
    container: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        in_storage = self.connection_string is not None and self.container is not None
        if in_storage == (self.folder is not None):
            raise ValueError("give either folder, or connection_string and container")
        return self


class Subscription(BaseModel):
    """One subscription to a topic. endpoint: the webhook with its key. Attempts and time to live as Azure bounds them.

    event_types None takes all of them; max_delivery_attempts 1-30; event_ttl_minutes 1-1440.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    topic: str
    name: str = Field(pattern=r"^[A-Za-z0-9-]{3,64}$")
    endpoint: str = Field(pattern=r"^https?://", repr=False)
    event_types: tuple[str, ...] | None = None
    subject_begins_with: str = ""
    subject_ends_with: str = ""
    subject_case_sensitive: bool = False
    advanced_filters: tuple[AdvancedFilter, ...] = ()
    max_delivery_attempts: int = Field(default=30, ge=1, le=30)
    event_ttl_minutes: int = Field(default=1440, ge=1, le=1440)
    dead_letter: DeadLetterDestination | None = None

    @property
    def shown_endpoint(self) -> str:
        """The endpoint without its key, for messages and logs."""
        parts = urlsplit(self.endpoint)
        query = [(name, "***" if name.lower() == "code" else value) for name, value in parse_qsl(parts.query)]
        return urlunsplit(parts._replace(query=urlencode(query, safe="*")))

    def takes(self, event: Mapping[str, Any]) -> bool:
        """Whether the event passes every filter of this subscription."""
        if self.event_types is not None:
            wanted = {name.lower() for name in self.event_types}
            if attribute(event, "type").lower() not in wanted:
                return False
        subject, begins, ends = attribute(event, "subject"), self.subject_begins_with, self.subject_ends_with
        if not self.subject_case_sensitive:
            subject, begins, ends = subject.lower(), begins.lower(), ends.lower()
        in_subject = subject.startswith(begins) and subject.endswith(ends)
        return in_subject and all(condition.matches(event) for condition in self.advanced_filters)


def _value(event: Mapping[str, Any], key: str) -> Any:
    found: Any = event
    for name in key.split("."):
        if not isinstance(found, Mapping) or name not in found:
            return _MISSING
        found = found[name]
    return found
