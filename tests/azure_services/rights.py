"""Which right a request to AzureML needs, by Azure Resource Manager's convention: the path of types, and the verb."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from tests.azure_services.server import Call

MATRIX: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "infra" / "rbac.yml").read_text())
BUILT_IN: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("built_in_roles.yml").read_text())
PROVIDER = "Microsoft.MachineLearningServices"
_RESOURCE = re.compile(rf".*/providers/{PROVIDER}/(workspaces|registries)/([^/]+)(?:/(.*))?", re.IGNORECASE)
_DONE = {"GET": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}


@dataclass(frozen=True)
class Needed:
    """A right, and the name of the workspace or registry in which it is needed."""

    place: str
    action: str


def needed(calls: Iterable[Call]) -> set[Needed]:
    """The rights that requests need. What a started operation's own address tells needs none."""
    return {right for call in calls if (right := _of(call)) is not None}


def unused(role: str, rights: Iterable[Needed]) -> set[str]:
    """Actions that a role of our own has because of the adapters' requests, and that none of these needs."""
    asked = {right.action for right in rights}
    return {
        action for action in MATRIX["custom_roles"][role]["called"] if not any(fnmatch(one, action) for one in asked)
    }


def allows(role: str, right: Needed) -> bool:
    """Whether a role of our own has a right because of the adapters' requests."""
    return any(fnmatch(right.action, action) for action in MATRIX["custom_roles"][role]["called"])


def permits(role: str, action: str) -> bool:
    """Whether a role lets its holder do something, for whatever reason it does. Case does not matter to Azure."""
    if own := MATRIX["custom_roles"].get(role):
        allowed, denied = [*own["called"], *own["invoking"]], []
    else:
        allowed, denied = BUILT_IN[role]["actions"], BUILT_IN[role].get("not_actions", [])
    return _among(action, allowed) and not _among(action, denied)


def sent(script: str, scope: str) -> set[str]:
    """What `infra/rbac.yml` says that a pipeline's script itself sends there."""
    (one,) = [one for one in MATRIX["calls"][script] if one["scope"] == scope]
    return set(one["sent"])


def _among(action: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(action.lower(), pattern.lower()) for pattern in patterns)


def _of(call: Call) -> Needed | None:
    if call.service == "scoring":
        return Needed("scoring", f"{PROVIDER}/workspaces/batchEndpoints/score/action")
    if call.service == "discovery":
        return Needed("registry", f"{PROVIDER}/registries/read")
    match = _RESOURCE.fullmatch(call.path)
    if match is None or "/operations/" in call.path:
        return None
    kind, place, rest = match[1].lower(), match[2], match[3] or ""
    parts = rest.split("/") if rest else []
    if kind == "registries" and parts == ["import"]:
        return Needed(place, f"{PROVIDER}/registries/assets/write")
    types = parts[::2]
    if kind == "registries" and types:  # of whatever type, they are assets there
        return Needed(
            place, f"{PROVIDER}/registries/assets/{'stage/write' if call.method == 'POST' else _DONE[call.method]}"
        )
    done = f"{types.pop()}/action" if call.method == "POST" else _DONE[call.method]
    return Needed(place, "/".join([PROVIDER, kind, *types, done]))
