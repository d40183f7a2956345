"""What workers send back. Light: the service process unpickles it, and must not import what workers import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Finished:
    """What a job that did its work leaves: its outputs, and the events of what it made."""

    outputs: Mapping[str, str]
    events: tuple[Mapping[str, Any], ...] = ()


class WorkFailed(Exception):
    """Why a worker could not do what it was asked, as text: the original error's class may be a heavy one."""
