"""Errors of the core. The type says whether trying again helps; the text names the thing, the cause and the next step.

FleetError
├── Transient   trying again helps: throttling, a lost connection, an operation in progress
├── Permanent   trying again does not help until something else changes
├── Invalid     what came from outside is not acceptable; names the field and what is allowed
├── Conflict    somebody else changed the rows since they were read; load and decide again
└── AlreadyExists   a row that was to be new is there already
"""

from __future__ import annotations


class FleetError(Exception):
    """Base of every error the core raises on purpose."""


class Transient(FleetError):
    """Trying again helps, after `retry_after` seconds when the other side said so."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Permanent(FleetError):
    """Trying again does not help until something else changes."""


class Invalid(FleetError):
    """Something from outside is not acceptable; `field` names it and `allowed` says what would be."""

    def __init__(self, field: str, problem: str, allowed: str = "") -> None:
        super().__init__(f"{field}: {problem}" + (f" (allowed: {allowed})" if allowed else ""))
        self.field = field
        self.problem = problem
        self.allowed = allowed


class Conflict(FleetError):
    """The rows changed since they were read."""


class AlreadyExists(FleetError):
    """A row that was to be new is there already; `key` names it."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} exists already")
        self.key = key
