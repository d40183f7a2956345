"""The model platform port on AzureML, over REST: operations and jobs are started here and looked at later.

References are what a look needs after a restart: `operation:{address}`, `promotion:{kind}:{name}:{version}:{address}`
(the address is empty where the registry had the version before), `removal:{stage}:{circuit}:{address}` (empty where
nothing was there any more), and a scoring job's name alone, which is all that its
events tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Literal
from urllib.parse import quote

from azure.core.credentials import TokenCredential

from shared.adapters.azure.rest import IN_PROGRESS_SECONDS, Answer, RestClient, request_id, service_error
from shared.adapters.azure.starts import Starts
from shared.adapters.names import SUFFIXES, deployment_name, endpoint_name
from shared.domain.values import (
    ENVIRONMENT,
    SCORING_TIME,
    Deployment,
    OperationState,
    OperationStatus,
    Pair,
    RegisteredEnvironment,
    RegisteredModel,
    Stage,
    model_name,
    split_circuit,
)
from shared.errors import FleetError, Permanent, Transient
from shared.ports import Clock

MANAGEMENT = "https://management.azure.com"
DISCOVERY = "https://eastus.api.azureml.ms"
ARM_SCOPE = "https://management.azure.com/.default"
ML_SCOPE = "https://ml.azure.com/.default"
API_VERSION = "2024-04-01"
IMPORT_API_VERSION = "2021-10-01-dataplanepreview"
DEPLOYMENTS_OF_AN_ENDPOINT = 20
ENDPOINT_SECONDS = 20.0
"""How long a new endpoint takes, about: when to ask again for what is to lie below it."""
SCORED_IN = (Stage.PRODUCTION, Stage.TEST)

_STATES = {
    "succeeded": OperationState.SUCCEEDED,
    "completed": OperationState.SUCCEEDED,
    "failed": OperationState.FAILED,
    "canceled": OperationState.CANCELLED,
}
_ASSET = re.compile(r"^azureml://registries/([^/]+)/(models|environments)/([^/]+)/versions/([^/]+)$", re.IGNORECASE)

Kind = Literal["models", "environments"]


@dataclass(frozen=True)
class AzureMl:
    """Where AzureML is: `workspaces` are ARM resource ids, so that each may lie in a subscription of its own.

    `compute` is the cluster's name in the workspaces that score, `suffixes` end the endpoints' names, and `datastore`
    is the workspaces' blob datastore for the jobs' summaries.
    """

    workspaces: Mapping[Stage, str]
    registry: str
    compute: str = "batch-cluster"
    suffixes: Mapping[Stage, str] = field(default_factory=lambda: SUFFIXES)
    datastore: str = "workspaceblobstore"
    management: str = MANAGEMENT
    discovery: str = DISCOVERY


@dataclass(frozen=True)
class _Registry:
    """The registry's ARM id, and the client of its own region."""

    id: str
    client: RestClient


class AzureModelPlatform:
    """Workspaces and registry of AzureML. Safe in threads. `options` go to the REST clients."""

    def __init__(
        self, azure: AzureMl, credential: TokenCredential, starts: Starts, clock: Clock, **options: Any
    ) -> None:
        self._azure = azure
        self._starts = starts
        self._clock = clock
        self._credential = credential
        self._options = options
        self._arm = RestClient("AzureML", azure.management, credential, ARM_SCOPE, **options)
        self._workspaces: dict[Stage, Mapping[str, Any]] = {}

    # ------------------------------------------------------------------------------------------------------- models

    def describe_model(self, circuit: str, version: int) -> RegisteredModel | None:
        name = model_name(circuit)
        found = self._get(f"{self._azure.workspaces[Stage.DEV]}/models/{quote(name, safe='')}/versions/{version}")
        return RegisteredModel(name=name, version=version, tags=_tags(found["properties"])) if found else None

    def start_promotion(self, command_id: str, circuit: str, version: int) -> str:
        return self._promote(command_id, "models", model_name(circuit), str(version))

    def environments(self) -> Sequence[str]:
        return [str(each["name"]) for each in self._list(self._environment_path)]

    def describe_environment(self, version: str) -> RegisteredEnvironment | None:
        found = self._get(f"{self._environment_path}/{quote(version, safe='')}")
        return RegisteredEnvironment(version=version, tags=_tags(found["properties"])) if found else None

    def environment_is_promoted(self, version: str) -> bool:
        return self._is_in_registry("environments", ENVIRONMENT, version)

    def start_environment_promotion(self, command_id: str, version: str) -> str:
        return self._promote(command_id, "environments", ENVIRONMENT, version)

    def _promote(self, command_id: str, kind: Kind, name: str, version: str) -> str:
        reference = f"promotion:{kind}:{name}:{version}:"

        def find() -> str | None:
            return reference if self._is_in_registry(kind, name, version) else None

        def start() -> str:
            return find() or reference + self._import(command_id, kind, name, version)

        return self._starts.once(command_id, {"promote": kind, "name": name, "version": version}, find, start)

    def _import(self, command_id: str, kind: Kind, name: str, version: str) -> str:
        """Start the registry's import as `share` of azure-ai-ml does, and return the operation's address."""
        dev = self._workspace(Stage.DEV)
        guid = dev["properties"]["workspaceId"]
        body = {
            "properties": {
                "referenceType": "Id",
                "destinationName": name,
                "destinationVersion": version,
                "sourceAssetId": f"azureml://locations/{dev['location']}/workspaces/{guid}/{kind}/{name}/versions/{version}",
            }
        }
        path, query = f"{self._registry.id}/import", {"api-version": IMPORT_API_VERSION}
        try:
            return _operation(self._registry.client.start("POST", path, command_id, body, query), "")
        except FleetError:
            if self._is_in_registry(kind, name, version):  # somebody else was faster
                return ""
            raise

    def _is_in_registry(self, kind: Kind, name: str, version: str) -> bool:
        return self._get(f"{self._registry.id}/{kind}/{quote(name, safe='')}/versions/{quote(version)}") is not None

    # -------------------------------------------------------------------------------------------------- deployments

    def start_deployment(
        self,
        command_id: str,
        stage: Stage,
        circuit: str,
        pair: Pair,
        previous: Pair | None,
        scoring_time: timedelta = SCORING_TIME,
    ) -> str:
        path = self._deployment_path(stage, circuit)

        def find() -> str | None:
            found = self._get(path)
            ours = found is not None and _tags(found).get("command_id") == command_id
            return f"operation:{self._arm.url}{path}" if ours else None

        def start() -> str:
            self._require_endpoint(command_id, stage, circuit)
            self._require_room(stage, circuit)
            tags = {
                "model_version": str(pair.model),
                "environment_version": pair.environment,
                "previous_model_version": str(previous.model) if previous else "",
                "previous_environment_version": previous.environment if previous else "",
                "command_id": command_id,
                "deployed_at": self._clock.now().isoformat(),
            }
            body = self._deployment_body(stage, circuit, pair, tags, scoring_time)
            answer = self._arm.start("PUT", path, command_id, body, {"api-version": API_VERSION})
            return f"operation:{_operation(answer, self._arm.url + path)}"

        asked = {"deploy": circuit, "stage": stage.value, "pair": pair.model_dump()}
        return self._starts.once(command_id, asked, find, start)

    def start_removal(self, command_id: str, stage: Stage, circuit: str) -> str:
        path, reference = self._deployment_path(stage, circuit), f"removal:{stage}:{circuit}:"

        def find() -> str | None:
            found = self._get(path)
            return reference if found is None or _is_being_deleted(found) else None

        def start() -> str:
            named = {"x-ms-client-request-id": request_id(command_id)}
            answer = self._arm.send("DELETE", path, query={"api-version": API_VERSION}, headers=named, absent=True)
            return reference + (_operation(answer, "") if answer else "")

        return self._starts.once(command_id, {"remove": circuit, "stage": stage.value}, find, start)

    def deployed(self, stage: Stage, circuit: str) -> Deployment | None:
        """What the deployment's own ids say, whatever its tags say."""
        found = self._get(self._deployment_path(stage, circuit))
        state = found["properties"].get("provisioningState") if found else "Deleting"
        if found is None or state in ("Creating", "Failed", "Deleting"):
            return None
        if state == "Updating":  # its ids may be those that are to come
            raise Transient(f"{found['id']} is being changed; look again", IN_PROGRESS_SECONDS)
        serves = found["properties"]
        model = self._version_of(found, "models", (serves.get("model") or {}).get("assetId"), model_name(circuit))
        environment = self._version_of(found, "environments", serves.get("environmentId"), ENVIRONMENT)
        pair = Pair(model=int(model), environment=environment)
        return Deployment(circuit=circuit, stage=stage, pair=pair, tags=_tags(found))

    def _version_of(self, deployment: Mapping[str, Any], kind: Kind, asset: str | None, name: str) -> str:
        expected = (self._azure.registry.lower(), kind, name.lower())
        parts = _ASSET.match(asset or "")
        if parts is None or tuple(part.lower() for part in parts.groups()[:3]) != expected:
            raise Permanent(
                f"{deployment['id']} serves {asset or 'nothing'}, which is no version of {name} in registry"
                f" {self._azure.registry}: it was changed by hand; deploy the pair again"
            )
        return parts[4]

    def _require_endpoint(self, command_id: str, stage: Stage, circuit: str) -> None:
        """Raise Transient until the plant's endpoint can take deployments; create it where it is missing."""
        path = self._endpoint_path(stage, circuit)
        found = self._get(path)
        state = found["properties"].get("provisioningState", "Succeeded") if found else "missing"
        if state in ("Succeeded", "Updating"):
            return
        if state in ("missing", "Failed", "Canceled"):
            plant = split_circuit(circuit)[0]
            body = {
                "location": self._workspace(stage)["location"],
                "tags": {"plant_id": plant},
                "properties": {"authMode": "AADToken", "description": f"Daily forecasts of plant {plant}."},
            }
            self._arm.start("PUT", path, command_id, body, {"api-version": API_VERSION})
        name = endpoint_name(stage, circuit, self._azure.suffixes)
        raise Transient(f"endpoint {name} is being created; deploy again when it is there", ENDPOINT_SECONDS)

    def _require_room(self, stage: Stage, circuit: str) -> None:
        """Raise Permanent where one more deployment would be over the endpoint's quota."""
        path, name = self._endpoint_path(stage, circuit), deployment_name(circuit)
        if self._get(self._deployment_path(stage, circuit)) is not None:
            return
        there = sum(1 for _ in self._list(f"{path}/deployments"))
        if there >= DEPLOYMENTS_OF_AN_ENDPOINT:
            endpoint = endpoint_name(stage, circuit, self._azure.suffixes)
            raise Permanent(
                f"{name} is not created: {endpoint} has {there} deployments,"
                f" and AzureML takes {DEPLOYMENTS_OF_AN_ENDPOINT} an endpoint; delete those of retired circuits, or ask"
                " Microsoft for a higher quota"
            )

    def _deployment_body(
        self, stage: Stage, circuit: str, pair: Pair, tags: Mapping[str, str], scoring_time: timedelta
    ) -> dict[str, Any]:
        assets = f"azureml://registries/{self._azure.registry}"
        plant, name = split_circuit(circuit)
        return {
            "location": self._workspace(stage)["location"],
            "tags": dict(tags),
            "properties": {
                "model": {
                    "referenceType": "Id",
                    "assetId": f"{assets}/models/{model_name(circuit)}/versions/{pair.model}",
                },
                "environmentId": f"{assets}/environments/{ENVIRONMENT}/versions/{pair.environment}",
                # The scoring code is released with the environment: the pair says all of what runs.
                "codeConfiguration": {
                    "codeId": f"{assets}/codes/{ENVIRONMENT}/versions/{pair.environment}",
                    "scoringScript": "ml/score.py",
                },
                "compute": f"{self._azure.workspaces[stage]}/computes/{self._azure.compute}",
                "environmentVariables": {"PLANT_ID": plant, "CIRCUIT_ID": name},
                "resources": {"instanceCount": 1},
                "miniBatchSize": 1,
                "maxConcurrencyPerInstance": 1,
                "errorThreshold": 0,
                "outputAction": "AppendRow",
                "outputFileName": "summaries.csv",
                "loggingLevel": "Info",
                "retrySettings": {"maxRetries": 0, "timeout": f"PT{scoring_time.total_seconds():.0f}S"},
            },
        }

    # ------------------------------------------------------------------------------------------------------ scoring

    def start_scoring(self, command_id: str, stage: Stage, circuit: str, request_uri: str) -> str:
        name = f"scoring-{request_id(command_id)}"

        def find() -> str | None:
            if self._get(f"{self._azure.workspaces[stage]}/jobs/{name}"):
                return name
            # Whether AzureML takes a job's name from its caller is not written anywhere; that it keeps properties is.
            jobs = self._list(f"{self._azure.workspaces[stage]}/jobs", {"properties": f"command_id={name}"})
            return next((str(job["name"]) for job in jobs), None)

        def start() -> str:
            return self._invoke(command_id, name, stage, circuit, request_uri)

        asked = {"score": circuit, "stage": stage.value, "request": request_uri}
        return self._starts.once(command_id, asked, find, start)

    def _invoke(self, command_id: str, name: str, stage: Stage, circuit: str, request_uri: str) -> str:
        deployment = deployment_name(circuit)
        endpoint = self._get(self._endpoint_path(stage, circuit))
        address = endpoint["properties"].get("scoringUri") if endpoint else None
        if not address:
            wanted = endpoint_name(stage, circuit, self._azure.suffixes)
            raise Permanent(f"{deployment} cannot score: endpoint {wanted} is not there; deploy the circuit first")
        summaries = f"azureml://datastores/{self._azure.datastore}/paths/scoring/{name}/summaries.csv"
        body = {
            "properties": {
                "name": name,
                "inputData": {"request": {"jobInputType": "UriFile", "uri": request_uri}},
                "outputData": {"score": {"jobOutputType": "UriFile", "uri": summaries}},
                "properties": {"command_id": name},
            }
        }
        # Without it the endpoint's default deployment would score, which may be another circuit's.
        headers = {"azureml-model-deployment": deployment}
        scoring = RestClient(f"endpoint of {deployment}", address, self._credential, ML_SCOPE, **self._options)
        return str(scoring.start("POST", address, command_id, body, headers=headers).body["name"])

    # ------------------------------------------------------------------------------------------------ looks, cancels

    def look(self, reference: str) -> OperationStatus:
        kind, _, rest = reference.partition(":")
        if kind == "promotion":
            return self._look_at_promotion(reference, rest)
        if kind == "removal":
            return self._look_at_removal(reference, rest)
        if kind == "operation":
            return self._look_at_operation(reference, rest)
        return self._look_at_job(reference)

    def cancel(self, reference: str) -> None:
        found = self._job(reference.removeprefix("job:"))
        if found and _job_status(reference, found).state is OperationState.RUNNING:
            self._arm.send("POST", f"{found['id']}/cancel", query={"api-version": API_VERSION}, absent=True)

    def _look_at_promotion(self, reference: str, rest: str) -> OperationStatus:
        kind, name, version, address = rest.split(":", 3)
        outputs = {"registry_version": version}
        if address:
            status = self._look_at_operation(reference, address)
            if status.state in (OperationState.RUNNING, OperationState.CANCELLED):
                return status
            if status.state is OperationState.SUCCEEDED:
                return status.model_copy(update={"outputs": outputs})
        # An operation that failed because the version was there before, or that was forgotten, has done what was asked.
        if self._is_in_registry("models" if kind == "models" else "environments", name, version):
            return OperationStatus(reference=reference, state=OperationState.SUCCEEDED, outputs=outputs)
        return status if address else OperationStatus(reference=reference, state=OperationState.UNKNOWN)

    def _look_at_removal(self, reference: str, rest: str) -> OperationStatus:
        """What the endpoint has decides: an operation is forgotten, a deployment that is gone is not there."""
        stage, circuit, address = rest.split(":", 2)
        if address:
            status = self._look_at_operation(reference, address)
            if status.state is OperationState.RUNNING:
                return status
        found = self._get(self._deployment_path(Stage(stage), circuit))
        if found is None:
            return OperationStatus(reference=reference, state=OperationState.SUCCEEDED)
        if _is_being_deleted(found):
            return OperationStatus(reference=reference, state=OperationState.RUNNING)
        error = (status.error if address else "") or f"{found['id']} is still there; delete it again"
        return OperationStatus(reference=reference, state=OperationState.FAILED, error=error)

    def _look_at_operation(self, reference: str, address: str) -> OperationStatus:
        client = self._client_of(address)
        found = client.get(address, _version(address)) if client else None
        if found is None:
            return OperationStatus(reference=reference, state=OperationState.UNKNOWN)
        body = found.body if isinstance(found.body, Mapping) else {}
        state = body.get("status") or (body.get("properties") or {}).get("provisioningState")
        if state is None:  # an operation without a body: 202 while it runs
            state = "Running" if found.status == 202 else "Succeeded"
        return OperationStatus(
            reference=reference,
            state=_STATES.get(str(state).lower(), OperationState.RUNNING),
            error=service_error(body) if body.get("error") else "",
            started_at=_time(body.get("startTime")),
            ended_at=_time(body.get("endTime")),
        )

    def _look_at_job(self, reference: str) -> OperationStatus:
        found = self._job(reference.removeprefix("job:"))
        if found is None:
            return OperationStatus(reference=reference, state=OperationState.UNKNOWN)
        return _job_status(reference, found)

    def _job(self, name: str) -> Mapping[str, Any] | None:
        """A job by its name, which does not say whose: production's are the many."""
        for stage in SCORED_IN:
            found = self._get(f"{self._azure.workspaces[stage]}/jobs/{quote(name, safe='')}")
            if found is not None:
                return found
        return None

    def _client_of(self, address: str) -> RestClient | None:
        """Who is asked about an operation; nobody else is sent a token."""
        if address.startswith(self._arm.url + "/"):
            return self._arm
        if address.startswith(self._registry.client.url + "/"):
            return self._registry.client
        return None

    # ------------------------------------------------------------------------------------------------------- places

    @cached_property
    def _registry(self) -> _Registry:
        """The registry as the discovery service tells it: only that knows its region's address."""
        discovery = RestClient("registry discovery", self._azure.discovery, self._credential, ML_SCOPE, **self._options)
        found = discovery.send("GET", f"registrymanagement/v1.0/registries/{self._azure.registry}/discovery")
        assert found is not None
        told = found.body
        address = f"{told['primaryRegionResourceProviderUri'].rstrip('/')}/mferp/managementfrontend"
        return _Registry(
            id=f"/subscriptions/{told['subscriptionId']}/resourceGroups/{told['resourceGroup']}"
            f"/providers/Microsoft.MachineLearningServices/registries/{told['registryName']}",
            client=RestClient("the registry", address, self._credential, ARM_SCOPE, **self._options),
        )

    def _workspace(self, stage: Stage) -> Mapping[str, Any]:
        if stage not in self._workspaces:
            found = self._get(self._azure.workspaces[stage])
            if found is None:
                raise Permanent(
                    f"there is no workspace {self._azure.workspaces[stage]}; mend the {stage} workspace's id"
                )
            self._workspaces[stage] = found
        return self._workspaces[stage]

    @property
    def _environment_path(self) -> str:
        return f"{self._azure.workspaces[Stage.DEV]}/environments/{ENVIRONMENT}/versions"

    def _endpoint_path(self, stage: Stage, circuit: str) -> str:
        return f"{self._azure.workspaces[stage]}/batchEndpoints/{endpoint_name(stage, circuit, self._azure.suffixes)}"

    def _deployment_path(self, stage: Stage, circuit: str) -> str:
        return f"{self._endpoint_path(stage, circuit)}/deployments/{deployment_name(circuit)}"

    def _get(self, path: str, query: Mapping[str, str] | None = None) -> Mapping[str, Any] | None:
        found = self._arm.get(path, {"api-version": API_VERSION, **(query or {})})
        return found.body if found else None

    def _list(self, path: str, query: Mapping[str, str] | None = None) -> Iterator[Mapping[str, Any]]:
        """Every resource of a list, page by page; none where there is no list."""
        page = self._get(path, query)
        while page is not None:
            yield from page["value"]
            following = page.get("nextLink")
            found = self._arm.get(following) if following else None
            page = found.body if found else None


def _is_being_deleted(deployment: Mapping[str, Any]) -> bool:
    return bool(deployment["properties"].get("provisioningState") == "Deleting")


def _operation(answer: Answer, otherwise: str) -> str:
    """The address at which a started operation is looked at."""
    return answer.headers.get("azure-asyncoperation") or answer.headers.get("location") or otherwise


def _version(address: str) -> Mapping[str, str] | None:
    """A resource's own address has no API version; an operation's comes with one."""
    return None if "api-version=" in address else {"api-version": API_VERSION}


def _job_status(reference: str, job: Mapping[str, Any]) -> OperationStatus:
    shown = job["properties"]
    state = _STATES.get(str(shown.get("status")).lower(), OperationState.RUNNING)
    error = ""
    if state is OperationState.FAILED:
        studio = ((shown.get("services") or {}).get("Studio") or {}).get("endpoint") or job["id"]
        error = f"AzureML says {shown['status']} of job {job['name']}; its logs are at {studio}"
    times = shown.get("properties") or {}
    created = (job.get("systemData") or {}).get("createdAt")
    return OperationStatus(
        reference=reference,
        state=state,
        error=error,
        outputs={name: each["uri"] for name, each in (shown.get("outputs") or {}).items() if each and each.get("uri")},
        started_at=_time(times.get("StartTimeUtc") or created),
        ended_at=_time(times.get("EndTimeUtc")),
    )


def _tags(resource: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in (resource.get("tags") or {}).items()}


def _time(text: str | None) -> datetime | None:
    """A time of the service's; in UTC where it names no zone, None where it is none."""
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
