"""The training runner port on AzureML: one command job a training, in the dev workspace, over REST.

A job's name is the caller's to choose, so the name follows from the command: PUT again, it is the same job.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from azure.core.credentials import TokenCredential

from shared.adapters.azure.rest import RestClient, request_id
from shared.adapters.names import experiment_name
from shared.configuration import ENVIRONMENT_NAME, CircuitConfig, Fleet
from shared.domain.values import OperationState, OperationStatus, model_name
from shared.errors import Permanent
from shared.ports import Documents, Lake

if TYPE_CHECKING:
    from ml.requests import Contender

MANAGEMENT = "https://management.azure.com"
SCOPE = "https://management.azure.com/.default"
API_VERSION = "2024-04-01"

JOB_STATES = {
    "completed": OperationState.SUCCEEDED,
    "failed": OperationState.FAILED,
    "canceled": OperationState.CANCELLED,
}


@dataclass(frozen=True)
class TrainingJobs:
    """Where trainings run; `workspace` is an ARM resource id.

    Jobs run as the cluster's managed identity, which may read the lake and the documents.
    """

    workspace: str
    compute: str = "batch-cluster"
    timeout: str = "PT1H"
    management: str = MANAGEMENT


class AzureTrainingRunner:
    """Training jobs of the dev workspace. Safe in threads. `options` go to the REST client."""

    def __init__(
        self,
        jobs: TrainingJobs,
        credential: TokenCredential,
        fleet: Fleet,
        lake: Lake,
        documents: Documents,
        **options: Any,
    ) -> None:
        self._jobs = jobs
        self._fleet = fleet
        self._lake = lake
        self._documents = documents
        self._client = RestClient("AzureML", jobs.management, credential, SCOPE, **options)

    def start(
        self, command_id: str, circuit: str, commit: str, author: str, pull_request: str, champion: int | None = None
    ) -> str:
        """Raises Permanent where the circuit is not configured or its training data or its code is not registered."""
        config = self._fleet.circuits.get(circuit)
        if config is None:
            raise Permanent(
                f"there is no circuit {circuit!r:.60}: trainings are of the circuits of plants_circuits.yml"
            )
        name = f"train-{circuit}-{request_id(command_id)}"
        if self._job(name) is None:
            compared = self._contender(config, champion)
            request = self._documents.write(
                f"trainings/{name}.json", self._request(config, command_id, commit, author, pull_request, compared)
            )
            tags = {"command_id": command_id, "circuit": circuit, "git_commit_sha": commit, "pr_number": pull_request}
            query = {"api-version": API_VERSION}
            self._client.start("PUT", self._path(name), command_id, self._body(config, request, compared, tags), query)
        return f"job:{name}"

    def look(self, reference: str) -> OperationStatus:
        """Times are AzureML's where its job tells them; else of the job's creation, and of its model's."""
        found = self._job(_name(reference))
        if found is None:
            return OperationStatus(reference=reference, state=OperationState.UNKNOWN)
        shown = found["properties"]
        state = JOB_STATES.get(str(shown.get("status")).lower(), OperationState.RUNNING)
        model = self._registered(shown.get("tags") or {}) if state is OperationState.SUCCEEDED else None
        times = shown.get("properties") or {}
        return OperationStatus(
            reference=reference,
            state=state,
            error=job_error(found) if state is OperationState.FAILED else "",
            outputs={"model_version": str(model["name"])} if model else {},
            started_at=utc(times.get("StartTimeUtc") or _created(found)) if has_started(shown) else None,
            ended_at=utc(times.get("EndTimeUtc") or _created(model or {})),
        )

    def cancel(self, reference: str) -> None:
        if self.look(reference).state is OperationState.RUNNING:
            path = f"{self._path(_name(reference))}/cancel"
            self._client.send("POST", path, query={"api-version": API_VERSION}, absent=True)

    def _request(
        self,
        config: CircuitConfig,
        command_id: str,
        commit: str,
        author: str,
        pull_request: str,
        champion: Contender | None,
    ) -> dict[str, Any]:
        """What `ml.train` obeys: the commit's configuration, and the Delta version that the data asset was made of."""
        from ml.requests import TrainingRequest

        features = self._fleet.policy.features
        request = TrainingRequest(
            circuit=config,
            table_uri=self._lake.table_uri,
            delta_version=self._delta_version(config),
            plausible_ranges={name: (column.minimum, column.maximum) for name, column in features.items()},
            tracking_uri=self._tracking_uri(),
            git_commit_sha=commit,
            pr_number=pull_request,
            pr_author=author,
            command_id=command_id,
            champion=champion,
        )
        return request.model_dump(mode="json")

    def _contender(self, config: CircuitConfig, version: int | None) -> Contender | None:
        """The champion; None, and the evidence says "not comparable", once the dev workspace no longer has it."""
        from ml.requests import Contender

        found = version and self._get(f"{_model(self._jobs.workspace, config.key)}/versions/{version}")
        if not version or not found:
            return None
        cutoff = date.fromisoformat(found["properties"]["tags"]["cutoff_date"])
        return Contender(version=version, cutoff_date=cutoff, folder="")

    def _delta_version(self, config: CircuitConfig) -> int:
        cutoff = config.training.cutoff_date.isoformat()
        found = self._get(_data_asset(self._jobs.workspace, config.data_asset_name, cutoff))
        if found is None:
            raise Permanent(
                f"{config.data_asset_name}:{cutoff} is not registered in the dev workspace: "
                f"run scripts/register_mltable.py {config.key} first"
            )
        return int(found["properties"]["tags"]["delta_version"])

    def _code(self, config: CircuitConfig) -> str:
        """The code that is released with the environment: a pair says all of what runs, in training as in scoring."""
        version = config.training.environment_version
        path = f"{self._jobs.workspace}/codes/{ENVIRONMENT_NAME}/versions/{version}"
        if self._get(path) is None:
            raise Permanent(
                f"the code of {ENVIRONMENT_NAME}:{version} is not registered in the dev workspace: "
                f"run scripts/register_environment.py {version} first"
            )
        return path

    def _tracking_uri(self) -> str:
        workspace = self._get(self._jobs.workspace)
        if workspace is None:
            raise Permanent(f"there is no workspace {self._jobs.workspace}: DEV_WORKSPACE must name one")
        return str(workspace["properties"]["mlFlowTrackingUri"])

    def _body(
        self, config: CircuitConfig, request: str, champion: Contender | None, tags: Mapping[str, str]
    ) -> dict[str, Any]:
        workspace, training = self._jobs.workspace, config.training
        asset = _data_asset(workspace, config.data_asset_name, training.cutoff_date.isoformat())
        command = "python -m ml.train ${{inputs.request}} --result ${{outputs.result}}"
        compared: dict[str, Any] = {}
        if champion:
            command += " --champion ${{inputs.champion}}"
            model = f"{_model(workspace, config.key)}/versions/{champion.version}"
            compared = {"champion": {"jobInputType": "mlflow_model", "uri": model, "mode": "Download"}}
        return {
            "properties": {
                "jobType": "Command",
                "displayName": f"Train {config.key}",
                "experimentName": experiment_name(config.key),
                "command": command,
                "codeId": self._code(config),
                "environmentId": f"{workspace}/environments/{ENVIRONMENT_NAME}/versions/{training.environment_version}",
                "computeId": f"{workspace}/computes/{self._jobs.compute}",
                "identity": {"identityType": "Managed"},
                "inputs": {
                    "request": {"jobInputType": "uri_file", "uri": request},
                    # Only named, so that AzureML shows the model's lineage: ml.train reads the table itself.
                    "training_data": {"jobInputType": "mltable", "uri": asset, "mode": "Direct"},
                    **compared,
                },
                "outputs": {"result": {"jobOutputType": "uri_file", "mode": "Upload"}},
                "limits": {"jobLimitsType": "Command", "timeout": self._jobs.timeout},
                "tags": dict(tags),
            }
        }

    def _registered(self, tags: Mapping[str, str]) -> Mapping[str, Any] | None:
        """The model version that the job registered: it carries the command's id."""
        wanted = tags.get("command_id")
        for version in self._versions(_model(self._jobs.workspace, tags.get("circuit", ""))):
            if wanted and (version["properties"].get("tags") or {}).get("command_id") == wanted:
                return version
        return None

    def _versions(self, model: str) -> Iterator[Mapping[str, Any]]:
        address: str | None = f"{model}/versions"
        query: dict[str, str] | None = {"api-version": API_VERSION, "$orderBy": "createdtime desc"}
        while address:
            answer = self._client.get(address, query)
            body = answer.body if answer else {}
            yield from body.get("value") or ()
            address, query = body.get("nextLink"), None

    def _job(self, name: str) -> Mapping[str, Any] | None:
        return self._get(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._jobs.workspace}/jobs/{quote(name, safe='')}"

    def _get(self, path: str) -> Mapping[str, Any] | None:
        answer = self._client.get(path, {"api-version": API_VERSION})
        body: Mapping[str, Any] | None = answer.body if answer else None
        return body


def _data_asset(workspace: str, name: str, version: str) -> str:
    return f"{workspace}/data/{name}/versions/{version}"


def _model(workspace: str, circuit: str) -> str:
    return f"{workspace}/models/{model_name(circuit)}"


def _name(reference: str) -> str:
    return reference.removeprefix("job:")


def has_started(shown: Mapping[str, Any]) -> bool:
    """Whether the job of these properties has left its queue."""
    return str(shown.get("status")).lower() not in ("notstarted", "starting", "provisioning", "preparing", "queued")


def job_error(job: Mapping[str, Any]) -> str:
    """What became of a job that failed, and where its logs are."""
    studio = ((job["properties"].get("services") or {}).get("Studio") or {}).get("endpoint") or job["id"]
    return f"AzureML says {job['properties']['status']} of job {job['name']}; its logs are at {studio}"


def _created(resource: Mapping[str, Any]) -> str | None:
    return (resource.get("systemData") or {}).get("createdAt")


def utc(text: str | None) -> datetime | None:
    """A time as AzureML writes it; without a zone it is UTC."""
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
