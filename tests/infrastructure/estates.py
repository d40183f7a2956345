"""The estates that the parameter files describe, evaluated once each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.infrastructure.bicep import Deployment, Resource, evaluate, parameters_of

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
ENVIRONMENTS = ("dev", "test", "prod")
PRIVATE = {"dev": False, "test": True, "prod": True}


@dataclass(frozen=True)
class Estate:
    """What `main.bicep` and afterwards `events.bicep` deploy for one environment."""

    environment: str
    parameters: dict[str, Any]
    main: Deployment
    events: Deployment

    @property
    def resources(self) -> list[Resource]:
        return [*self.main.resources, *self.events.resources]

    def of_type(self, kind: str) -> list[Resource]:
        return [*self.main.of_type(kind), *self.events.of_type(kind)]

    def only(self, kind: str) -> Resource:
        """The one resource of a type."""
        (found,) = self.of_type(kind)
        return found


@cache
def estate(environment: str) -> Estate:
    """As scripts/deploy.sh deploys it: what main.bicep puts out is what events.bicep takes."""
    given = parameters_of(INFRA / "parameters" / f"{environment}.json")
    main = evaluate(INFRA / "main.bicep", given)
    passed_on = {name: given[name] for name in ("name", "environmentName", "privateNetwork")}
    told = {name: main.outputs[name] for name in ("appId", "storageId", "topics")}
    return Estate(environment, given, main, evaluate(INFRA / "events.bicep", {**passed_on, **told}))
