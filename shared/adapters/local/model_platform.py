"""The model platform port on the embedded service."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from urllib.parse import quote

from shared.adapters.local.platform_client import PlatformClient
from shared.adapters.names import deployment_name, endpoint_name
from shared.domain.values import (
    ENVIRONMENT,
    SCORING_TIME,
    Deployment,
    OperationStatus,
    Pair,
    RegisteredEnvironment,
    RegisteredModel,
    Stage,
    model_name,
)


class LocalModelPlatform:
    """Workspaces and registry of `python -m local.platform`.

    References are `operation:{id}`; a scoring job's is its name alone, which is all that its events tell.
    """

    def __init__(self, url: str, key: str) -> None:
        self._client = PlatformClient(url, key)

    def describe_model(self, circuit: str, version: int) -> RegisteredModel | None:
        name = model_name(circuit)
        found = self._client.get(f"workspaces/{Stage.DEV}/models/{quote(name, safe='')}/versions/{version}")
        return RegisteredModel(name=name, version=version, tags=found["properties"]["tags"]) if found else None

    def start_promotion(self, command_id: str, circuit: str, version: int) -> str:
        body = {"circuit": circuit, "model_version": version}
        return f"operation:{self._client.start('POST', 'registry/import', command_id, body)}"

    def environments(self) -> Sequence[str]:
        found = self._client.get(_environment_path(Stage.DEV)) or {"value": []}
        return [version["name"] for version in found["value"]]

    def describe_environment(self, version: str) -> RegisteredEnvironment | None:
        found = self._client.get(f"{_environment_path(Stage.DEV)}/{quote(version, safe='')}")
        return RegisteredEnvironment(version=version, tags=found["tags"]) if found else None

    def environment_is_promoted(self, version: str) -> bool:
        return self._client.get(f"registry/environments/{quote(version, safe='')}") is not None

    def start_environment_promotion(self, command_id: str, version: str) -> str:
        started = self._client.start("POST", "registry/environments/import", command_id, {"version": version})
        return f"operation:{started}"

    def start_deployment(
        self,
        command_id: str,
        stage: Stage,
        circuit: str,
        pair: Pair,
        previous: Pair | None,
        scoring_time: timedelta = SCORING_TIME,
    ) -> str:
        tags = {
            "model_version": str(pair.model),
            "environment_version": pair.environment,
            "previous_model_version": str(previous.model) if previous else "",
            "previous_environment_version": previous.environment if previous else "",
            "command_id": command_id,
        }
        body = {
            "circuit": circuit,
            "model_version": pair.model,
            "environment_version": pair.environment,
            "tags": tags,
            "scoring_seconds": scoring_time.total_seconds(),
        }
        return f"operation:{self._client.start('PUT', _deployment_path(stage, circuit), command_id, body)}"

    def start_removal(self, command_id: str, stage: Stage, circuit: str) -> str:
        path = _deployment_path(stage, circuit)
        return f"operation:{self._client.start('DELETE', path, command_id, {'circuit': circuit})}"

    def start_scoring(self, command_id: str, stage: Stage, circuit: str, request_uri: str) -> str:
        return self._client.start(
            "POST",
            f"{_endpoint_path(stage, circuit)}/jobs",
            command_id,
            {"circuit": circuit, "request_uri": request_uri},
            {"azureml-model-deployment": deployment_name(circuit)},
        )

    def look(self, reference: str) -> OperationStatus:
        return self._client.look(reference)

    def cancel(self, reference: str) -> None:
        if not reference.startswith("operation:"):
            self._client.cancel(reference)

    def deployed(self, stage: Stage, circuit: str) -> Deployment | None:
        found = self._client.get(_deployment_path(stage, circuit))
        if found is None:
            return None
        serves = found["properties"]
        pair = Pair(model=serves["model_version"], environment=serves["environment_version"])
        return Deployment(circuit=circuit, stage=stage, pair=pair, tags=found["tags"])


def _environment_path(stage: Stage) -> str:
    return f"workspaces/{stage}/environments/{ENVIRONMENT}/versions"


def _endpoint_path(stage: Stage, circuit: str) -> str:
    return f"workspaces/{stage}/batchEndpoints/{quote(endpoint_name(stage, circuit), safe='')}"


def _deployment_path(stage: Stage, circuit: str) -> str:
    return f"{_endpoint_path(stage, circuit)}/deployments/{quote(deployment_name(circuit), safe='')}"
