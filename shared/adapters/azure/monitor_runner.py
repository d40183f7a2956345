"""The monitor runner port on AzureML: one command job a run, in the production workspace, over REST.

A job's name is the caller's to choose, so the name follows from the command: PUT again, it is the same job. Its code
and environment are those that the registry has of what serves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from azure.core.credentials import TokenCredential

from shared.adapters.azure.rest import RestClient, request_id
from shared.adapters.azure.training_runner import (
    API_VERSION,
    JOB_STATES,
    MANAGEMENT,
    SCOPE,
    has_started,
    job_error,
    utc,
)
from shared.adapters.names import MONITORING_EXPERIMENT
from shared.domain.values import ENVIRONMENT, OperationState, OperationStatus


@dataclass(frozen=True)
class MonitoringJobs:
    """Where monitoring runs. `workspace` is an ARM resource id.

    Jobs run as the cluster's managed identity, which may read the table and the predictions and write beside them.
    """

    workspace: str
    registry: str
    compute: str = "batch-cluster"
    timeout: str = "PT3H"
    management: str = MANAGEMENT


class AzureMonitorRunner:
    """Monitoring jobs of the production workspace. Safe in threads. `options` go to the REST client."""

    def __init__(self, jobs: MonitoringJobs, credential: TokenCredential, **options: Any) -> None:
        self._jobs = jobs
        self._client = RestClient("AzureML", jobs.management, credential, SCOPE, **options)

    def start(self, command_id: str, request_uri: str, output_uri: str, environment: str) -> str:
        name = f"monitor-{request_id(command_id)}"
        if self._job(name) is None:
            body = self._body(command_id, request_uri, output_uri, environment)
            self._client.start("PUT", self._path(name), command_id, body, {"api-version": API_VERSION})
        return name

    def look(self, reference: str) -> OperationStatus:
        found = self._job(reference)
        if found is None:
            return OperationStatus(reference=reference, state=OperationState.UNKNOWN)
        shown = found["properties"]
        state = JOB_STATES.get(str(shown.get("status")).lower(), OperationState.RUNNING)
        times = shown.get("properties") or {}
        return OperationStatus(
            reference=reference,
            state=state,
            error=job_error(found) if state is OperationState.FAILED else "",
            started_at=utc(times.get("StartTimeUtc")) if has_started(shown) else None,
            ended_at=utc(times.get("EndTimeUtc")),
        )

    def cancel(self, reference: str) -> None:
        if self.look(reference).state is OperationState.RUNNING:
            path = f"{self._path(reference)}/cancel"
            self._client.send("POST", path, query={"api-version": API_VERSION}, absent=True)

    def _body(self, command_id: str, request_uri: str, output_uri: str, environment: str) -> dict[str, Any]:
        assets = f"azureml://registries/{self._jobs.registry}"
        return {
            "properties": {
                "jobType": "Command",
                "displayName": "Monitor the fleet",
                "experimentName": MONITORING_EXPERIMENT,
                "command": "python -m ml.monitor --request ${{inputs.request}} --output ${{inputs.output}}",
                "codeId": f"{assets}/codes/{ENVIRONMENT}/versions/{environment}",
                "environmentId": f"{assets}/environments/{ENVIRONMENT}/versions/{environment}",
                "computeId": f"{self._jobs.workspace}/computes/{self._jobs.compute}",
                "identity": {"identityType": "Managed"},
                "inputs": {
                    "request": {"jobInputType": "uri_file", "uri": request_uri},
                    # Named, not mounted: pages and findings are written beside the predictions, as those are.
                    "output": {"jobInputType": "literal", "value": output_uri},
                },
                "limits": {"jobLimitsType": "Command", "timeout": self._jobs.timeout},
                "tags": {"command_id": command_id},
            }
        }

    def _job(self, name: str) -> Mapping[str, Any] | None:
        answer = self._client.get(self._path(name), {"api-version": API_VERSION})
        body: Mapping[str, Any] | None = answer.body if answer else None
        return body

    def _path(self, name: str) -> str:
        return f"{self._jobs.workspace}/jobs/{quote(name, safe='')}"
