"""Access keys: which level a presented key opens, with the exact matching of Azure Functions."""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

KEY_HEADER = "x-functions-key"
KEY_PARAMETER = "code"


class Level(Enum):
    """What a key opens. Levels match exactly; only the master key opens all."""

    ANONYMOUS = "anonymous"
    FUNCTION = "function"
    SYSTEM = "system"
    ADMIN = "admin"


@dataclass(frozen=True)
class Keys:
    """The host's keys. functions: keys that open one function each, by function name."""

    master: str
    host: str
    event_grid: str
    functions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Keys:
        """FUNCTIONS_MASTER_KEY, FUNCTIONS_HOST_KEY and FUNCTIONS_EVENTGRID_KEY, each generated when missing.

        FUNCTIONS_FUNCTION_KEYS: JSON object of function name to key. Raises ValueError when it is not one.
        """
        text = environment.get("FUNCTIONS_FUNCTION_KEYS") or "{}"
        try:
            functions = json.loads(text)
        except ValueError:
            functions = None
        if not isinstance(functions, dict) or not all(isinstance(key, str) and key for key in functions.values()):
            raise ValueError('FUNCTIONS_FUNCTION_KEYS must be a JSON object of function name to key: {"name": "key"}.')

        def key(name: str) -> str:
            return environment.get(name) or secrets.token_urlsafe(32)

        return cls(
            master=key("FUNCTIONS_MASTER_KEY"),
            host=key("FUNCTIONS_HOST_KEY"),
            event_grid=key("FUNCTIONS_EVENTGRID_KEY"),
            functions={name.lower(): key for name, key in functions.items()},
        )

    def opens(self, required: Level, presented: str | None, function_name: str | None = None) -> bool:
        """Whether a request with the key `presented` (None or "" for none) may go where `required` is asked."""
        if required is Level.ANONYMOUS:
            return True
        granted = self._level_of(presented, function_name) if presented else Level.ANONYMOUS
        return granted in (required, Level.ADMIN)

    def _level_of(self, presented: str, function_name: str | None) -> Level:
        if _same(presented, self.master):
            return Level.ADMIN
        own = self.functions.get(function_name.lower()) if function_name else None
        if _same(presented, self.host) or (own is not None and _same(presented, own)):
            return Level.FUNCTION
        return Level.SYSTEM if _same(presented, self.event_grid) else Level.ANONYMOUS


def _same(presented: str, key: str) -> bool:
    return hmac.compare_digest(presented.encode(), key.encode())


def presented_key(headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:
    """The key a request carries: the header wins over the query, even when the header is wrong or empty."""
    header = headers.get(KEY_HEADER)
    return header if header is not None else query.get(KEY_PARAMETER)
