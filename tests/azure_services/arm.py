"""AzureML here: Resource Manager, registry discovery and import, and the endpoints' scoring, on one state.

What a request may look like is said by Microsoft's definitions where they are at hand; which orders are refused is
written below, from the service's documented behaviour. `faults` switches on what goes wrong with work of its own
(`local.platform.faults.FaultKind`); faults of single requests are the server's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import uuid4

from local.platform.faults import Fault, FaultKind
from local.platform.names import Work
from shared.adapters.azure.model_platform import AzureMl
from shared.adapters.azure.rest import request_id
from shared.domain.values import ENVIRONMENT, Pair, Stage, model_name
from tests.azure_services.definitions import SPECS, Definitions, azureml
from tests.azure_services.server import AzureServices, Call, Endpoint, Refused, Reply, Service

LOCATION = "westeurope"
REGISTRY = "sensor-forecast-registry"
SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
PROVIDER = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.MachineLearningServices"
MFE = "/mferp/managementfrontend"
OPERATION_TIME, JOB_QUEUED, JOB_TIME = timedelta(seconds=60), timedelta(seconds=10), timedelta(minutes=4)
QUOTA, PAGE = 20, 10

_SOURCE = re.compile(r"^azureml://locations/([^/]+)/workspaces/([^/]+)/(models|environments)/([^/]+)/versions/([^/]+)$")
_ASSET = re.compile(r"^azureml://registries/([^/]+)/(models|environments|codes)/([^/]+)/versions/([^/]+)$")


def workspace_id(stage: Stage) -> str:
    """A workspace's ARM resource id."""
    return f"{PROVIDER.format(subscription=SUBSCRIPTION, group='sensor-forecast')}/workspaces/sensor-forecast-{stage}"


def wanted(azure: AzureServices) -> AzureMl:
    """The adapter's constructor parameters for these services."""
    return AzureMl(
        workspaces={stage: workspace_id(stage) for stage in Stage},
        registry=REGISTRY,
        management=azure.url("arm"),
        discovery=azure.url("discovery"),
    )


@dataclass
class Operation:
    """A long-running operation: `finish` does it, and says what went wrong if anything did."""

    name: str
    target: str
    started_at: datetime
    ends_at: datetime
    finish: Callable[[], str]
    status: str = "InProgress"
    error: str = ""

    def body(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"name": self.name, "status": self.status, "startTime": self.started_at.isoformat()}
        if self.status != "InProgress":
            shown["endTime"] = self.ends_at.isoformat()
        if self.error:
            code, _, message = self.error.partition(": ")
            shown["error"] = {"code": code, "message": message}
        return shown


@dataclass
class Job:
    """A job of a workspace."""

    name: str
    workspace: str
    properties: dict[str, Any]
    created_at: datetime
    starts_at: datetime
    ends_at: datetime
    outcome: str = "Completed"

    def status(self, now: datetime) -> str:
        if now >= self.ends_at:
            return self.outcome
        if self.outcome == "Canceled":
            return "CancelRequested"
        return "Running" if now >= self.starts_at else "Queued"

    def body(self, now: datetime) -> dict[str, Any]:
        status = self.status(now)
        times = {"StartTimeUtc": self.starts_at.isoformat()} if now >= self.starts_at else {}
        if status == self.outcome:
            times["EndTimeUtc"] = self.ends_at.isoformat()
        path = f"{self.workspace}/jobs/{self.name}"
        studio = {"Studio": {"endpoint": f"https://ml.azure.com/runs/{self.name}"}}
        properties = {**self.properties, "status": status, "services": studio}
        properties["properties"] = {**self.properties.get("properties", {}), **times}
        system = {"createdAt": self.created_at.isoformat()}
        return {"id": path, "name": self.name, "systemData": system, "properties": properties}


@dataclass
class AzureMlState:
    """Everything that AzureML keeps. Assets by (workspace or registry, kind, name, version)."""

    azure: AzureServices | None = None
    faults: list[tuple[Fault, int]] = field(default_factory=list)
    assets: dict[tuple[str, str, str, str], dict[str, Any]] = field(default_factory=dict)
    endpoints: dict[str, dict[str, Any]] = field(default_factory=dict)
    deployments: dict[str, dict[str, Any]] = field(default_factory=dict)
    operations: dict[str, Operation] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    operation_time: timedelta = OPERATION_TIME
    takes_job_names: bool = True
    """Whether a job gets the name its caller gave, which is documented nowhere."""

    def services(self) -> list[Service]:
        return [ResourceManager(self), Discovery(), Registry(self), Scoring(self)]

    @property
    def now(self) -> datetime:
        assert self.azure, "the services run"
        return self.azure.clock.now()

    def register_model(self, circuit: str, version: int, tags: Mapping[str, str]) -> None:
        """A model version in the dev workspace, as a training job leaves it."""
        self.assets[workspace_id(Stage.DEV), "models", model_name(circuit), str(version)] = dict(tags)

    def register_environment(self, version: str, tags: Mapping[str, str]) -> None:
        """An environment's version in the dev workspace, as a build leaves it."""
        self.assets[workspace_id(Stage.DEV), "environments", ENVIRONMENT, version] = dict(tags)

    def change_by_hand(self, stage: Stage, circuit: str, **properties: Any) -> None:
        """What somebody does to a deployment in the portal: its properties change, its tags do not."""
        (changed,) = [
            each for each in self.deployments.values() if (_stage(each["id"]), _circuit(each["id"])) == (stage, circuit)
        ]
        changed["properties"] |= properties

    def assets_of(self, circuit: str, pair: Pair) -> dict[str, Any]:
        """A deployment's properties that make it serve this pair."""
        return {
            "model": {"referenceType": "Id", "assetId": _asset("models", model_name(circuit), str(pair.model))},
            "environmentId": _asset("environments", ENVIRONMENT, pair.environment),
        }

    def take(self, kind: FaultKind, call: Call, **subject: str) -> Fault | None:
        """The fault of this kind that strikes work of this request, counted."""
        asked = call.headers.get("x-ms-client-request-id", "")
        for index, (fault, struck) in enumerate(self.faults):
            named = fault.command_id is not None and request_id(fault.command_id) == asked
            about = {**subject, "command_id": fault.command_id or ""} if named else subject
            if fault.kind is kind and struck < fault.times and fault.strikes(**about):
                self.faults[index] = (fault, struck + 1)
                return fault
        return None

    def begin(self, call: Call, target: str, finish: Callable[[], str], **subject: str) -> Operation:
        """Start an operation on a target that has none under way."""
        self.settle()
        if any(each.target == target and each.status == "InProgress" for each in self.operations.values()):
            raise Refused(409, "Conflict", f"an operation on {target} is in progress")
        slow = self.take(FaultKind.OPERATION_SLOW, call, **subject)
        if self.take(FaultKind.OPERATION_FAILS, call, **subject):
            finish = _fails
        ends_at = self.now + self.operation_time + timedelta(seconds=slow.seconds if slow else 0)
        operation = Operation(str(uuid4()), target, self.now, ends_at, finish)
        self.operations[operation.name] = operation
        return operation

    def settle(self) -> None:
        """End what is due by now, in the order in which it ends."""
        for each in sorted(self.operations.values(), key=lambda operation: operation.ends_at):
            if each.status == "InProgress" and each.ends_at <= self.now:
                each.error = each.finish()
                each.status = "Failed" if each.error else "Succeeded"


class AzureMlService(Service):
    """What the services of AzureML share: their state, and that work which is due has ended."""

    def __init__(self, state: AzureMlState) -> None:
        self.state = state

    def check(self, call: Call) -> None:
        self.state.azure = self.azure
        self.state.settle()

    def started(self, call: Call, operation: Operation, below: str) -> dict[str, str]:
        """The headers by which a client follows an operation."""
        root, version = self.azure.url(self.name) + below, call.query["api-version"]
        return {
            "Azure-AsyncOperation": f"{root}/operations/{operation.name}?api-version={version}",
            "Location": f"{root}/operationResults/{operation.name}?api-version={version}",
            "Retry-After": "1",
        }

    def operation(self, call: Call) -> Reply:
        """Where an operation stands."""
        return Reply(body=self._operation(call).body())

    def result(self, call: Call) -> Reply:
        """Nothing: 202 as long as the operation runs, 204 afterwards."""
        return Reply(202 if self._operation(call).status == "InProgress" else 204)

    def _operation(self, call: Call) -> Operation:
        operation = self.state.operations.get(call.parts["operation"])
        if operation is None:
            raise Refused(404, "NotFound", f"there is no operation {call.parts['operation']}")
        return operation


class ResourceManager(AzureMlService):
    name: ClassVar[str] = "arm"
    audience: ClassVar[str] = "https://management.azure.com"

    def __init__(self, state: AzureMlState) -> None:
        super().__init__(state)
        self._definitions: Definitions | None = azureml() if SPECS.is_dir() else None

    def endpoints(self) -> list[Endpoint]:
        workspace = PROVIDER + "/workspaces/{workspace}"
        endpoint = workspace + "/batchEndpoints/{endpoint}"
        return [
            Endpoint("GET", workspace, self._workspace),
            Endpoint("GET", workspace + "/{kind}/{asset}/versions", self._versions),
            Endpoint("GET", workspace + "/{kind}/{asset}/versions/{version}", self._asset),
            Endpoint("GET", PROVIDER + "/registries/{registry}/{kind}/{asset}/versions/{version}", self._asset),
            Endpoint("GET", endpoint, self._endpoint),
            Endpoint("PUT", endpoint, self._put_endpoint),
            Endpoint("GET", endpoint + "/deployments", self._deployments),
            Endpoint("GET", endpoint + "/deployments/{deployment}", self._deployment),
            Endpoint("PUT", endpoint + "/deployments/{deployment}", self._put_deployment),
            Endpoint("DELETE", endpoint + "/deployments/{deployment}", self._delete_deployment),
            Endpoint("GET", workspace + "/jobs", self._jobs),
            Endpoint("GET", workspace + "/jobs/{job}", self._job),
            Endpoint("POST", workspace + "/jobs/{job}/cancel", self._cancel),
            Endpoint("GET", "/subscriptions/{subscription}/operations/{operation}", self.operation),
        ]

    def check(self, call: Call) -> None:
        super().check(call)
        problems = self._definitions.problems(call) if self._definitions else None
        if problems:
            raise Refused(400, "InvalidRequest", "; ".join(problems))

    def _workspace(self, call: Call) -> Reply:
        properties = {"workspaceId": _guid(call.path), "discoveryUrl": self.azure.url("discovery")}
        return Reply(body={"id": call.path, "name": _last(call.path), "location": LOCATION, "properties": properties})

    def _asset(self, call: Call) -> Reply:
        properties: dict[str, Any] = {"tags": _find_asset(self.state, call)}
        if call.parts["kind"] == "data":
            properties |= {
                "dataType": "mltable",
                "dataUri": f"azureml://datastores/workspaceblobstore/paths{call.path}",
            }
        return Reply(body={"id": call.path, "name": call.parts["version"], "properties": properties})

    def _versions(self, call: Call) -> Reply:
        workspace = call.path.rsplit(f"/{call.parts['kind']}/", 1)[0]
        return self._page(
            call,
            [
                {"id": f"{call.path}/{version}", "name": version, "properties": {"tags": tags}}
                for (place, kind, name, version), tags in self.state.assets.items()
                if (place, kind, name) == (workspace, call.parts["kind"], call.parts["asset"])
            ],
        )

    def _endpoint(self, call: Call) -> Reply:
        return Reply(body=_found(self.state.endpoints, call.path))

    def _put_endpoint(self, call: Call) -> Reply:
        key = call.path.lower()
        if any(key.split("/")[-1] == other.split("/")[-1] and key != other for other in self.state.endpoints):
            raise Refused(409, "EndpointNameTaken", f"{_last(call.path)} is taken in {LOCATION}")
        _require_location(call)
        before = self.state.endpoints.get(key)
        scoring = f"{self.azure.url('scoring')}/{_last(call.path)}/jobs"
        given = {"scoringUri": scoring, "provisioningState": "Updating" if before else "Creating"}
        resource = _resource(call, given)

        def finish() -> str:
            resource["properties"]["provisioningState"] = "Succeeded"
            return ""

        operation = self.state.begin(call, call.path, finish, work=Work.DEPLOYMENT, stage=_stage(call.path))
        self.state.endpoints[key] = resource
        return Reply(201, resource, self.started(call, operation, f"/subscriptions/{SUBSCRIPTION}"))

    def _deployments(self, call: Call) -> Reply:
        _found(self.state.endpoints, call.path.removesuffix("/deployments"))
        below = call.path.lower() + "/"
        names = [each for key, each in sorted(self.state.deployments.items()) if key.startswith(below)]
        return self._page(call, names)

    def _page(self, call: Call, resources: Sequence[Mapping[str, Any]]) -> Reply:
        """The resources from `$skip` on, and where the next ones are."""
        after = int(call.query.get("$skip", "0")) + PAGE
        page: dict[str, Any] = {"value": resources[after - PAGE : after]}
        if resources[after:]:
            page["nextLink"] = (
                f"{self.azure.url(self.name)}{call.path}?api-version={call.query['api-version']}&$skip={after}"
            )
        return Reply(body=page)

    def _deployment(self, call: Call) -> Reply:
        return Reply(body=_found(self.state.deployments, call.path))

    def _put_deployment(self, call: Call) -> Reply:
        key, parent = call.path.lower(), call.path.rsplit("/", 2)[0]
        endpoint = _found(self.state.endpoints, parent)
        if endpoint["properties"]["provisioningState"] != "Succeeded":
            raise Refused(409, "Conflict", f"endpoint {endpoint['name']} is being changed")
        before = self.state.deployments.get(key)
        beside = [other for other in self.state.deployments if other.startswith(parent.lower() + "/")]
        if before is None and len(beside) >= QUOTA:
            raise Refused(400, "QuotaExceeded", f"{endpoint['name']} has {QUOTA} deployments")
        _require_location(call)
        resource = _resource(call, {"provisioningState": "Updating" if before else "Creating"})

        def finish() -> str:
            missing = _missing(self.state, resource["properties"])
            if missing:
                restore()
            else:
                resource["properties"]["provisioningState"] = "Succeeded"
            return missing

        def restore() -> None:
            if before:
                self.state.deployments[key] = before
            else:
                del self.state.deployments[key]

        def failing() -> str:
            restore()
            return _fails()

        subject = {"work": Work.DEPLOYMENT, "stage": _stage(call.path), "circuit": _circuit(call.path)}
        operation = self.state.begin(call, call.path, finish, **subject)
        if operation.finish is _fails:
            operation.finish = failing
        self.state.deployments[key] = resource
        headers = self.started(call, operation, f"/subscriptions/{SUBSCRIPTION}")
        return Reply(201 if before is None else 200, resource, headers)

    def _delete_deployment(self, call: Call) -> Reply:
        key, endpoint = call.path.lower(), _found(self.state.endpoints, call.path.rsplit("/", 2)[0])
        deployment = self.state.deployments.get(key)
        if deployment is None:
            return Reply(204)
        default = (endpoint["properties"].get("defaults") or {}).get("deploymentName", "")
        if default.lower() == _last(key):
            raise Refused(400, "UserError", f"{_last(call.path)} is the default of {endpoint['name']}")

        def finish() -> str:
            del self.state.deployments[key]
            return ""

        def failing() -> str:
            self.state.deployments[key] = deployment
            return _fails()

        subject = {"work": Work.REMOVAL, "stage": _stage(call.path), "circuit": _circuit(call.path)}
        operation = self.state.begin(call, call.path, finish, **subject)
        if operation.finish is _fails:
            operation.finish = failing
        deleting = {**deployment["properties"], "provisioningState": "Deleting"}
        self.state.deployments[key] = {**deployment, "properties": deleting}
        return Reply(202, headers=self.started(call, operation, f"/subscriptions/{SUBSCRIPTION}"))

    def _jobs(self, call: Call) -> Reply:
        workspace = call.path.removesuffix("/jobs").lower()
        wanted = dict(part.partition("=")[::2] for part in call.query.get("properties", "").split(",") if part)
        found = [
            job.body(self.now)
            for job in self.state.jobs.values()
            if job.workspace.lower() == workspace and wanted.items() <= job.properties.get("properties", {}).items()
        ]
        return Reply(body={"value": found})

    def _job(self, call: Call) -> Reply:
        return Reply(body=self._found_job(call.path).body(self.now))

    def _cancel(self, call: Call) -> Reply:
        job = self._found_job(call.path.removesuffix("/cancel"))
        if job.status(self.now) in ("Completed", "Failed", "Canceled"):
            raise Refused(400, "UserError", f"job {job.name} has ended")
        job.outcome, job.ends_at = "Canceled", self.now + timedelta(seconds=5)
        return Reply(202)

    def _found_job(self, path: str) -> Job:
        job = self.state.jobs.get(_last(path))
        if job is None or job.workspace.lower() != path.rsplit("/", 2)[0].lower():
            raise Refused(404, "UserError", f"there is no job {_last(path)}")
        return job


class Discovery(Service):
    name: ClassVar[str] = "discovery"
    audience: ClassVar[str] = "https://ml.azure.com"

    def endpoints(self) -> list[Endpoint]:
        return [Endpoint("GET", "/registrymanagement/v1.0/registries/{registry}/discovery", self._discover)]

    def _discover(self, call: Call) -> Reply:
        if call.parts["registry"].lower() != REGISTRY:
            raise Refused(404, "RegistryNotFound", f"there is no registry {call.parts['registry']}")
        return Reply(
            body={
                "registryName": REGISTRY,
                "primaryRegion": LOCATION,
                "regions": [LOCATION],
                "subscriptionId": SUBSCRIPTION,
                "resourceGroup": "sensor-forecast",
                "primaryRegionResourceProviderUri": f"{self.azure.url('registry')}/",
            }
        )


class Registry(AzureMlService):
    """The registry's own region. Its import has no published definition: the requests are those of azure-ai-ml."""

    name: ClassVar[str] = "registry"
    audience: ClassVar[str] = "https://management.azure.com"

    @property
    def audiences(self) -> tuple[str, ...]:
        return (self.audience, self.azure.url("arm"))

    def endpoints(self) -> list[Endpoint]:
        registry = MFE + PROVIDER + "/registries/{registry}"
        return [
            Endpoint("POST", registry + "/import", self._import),
            Endpoint("GET", registry + "/operations/{operation}", self.operation),
            Endpoint("GET", registry + "/operationResults/{operation}", self.result),
            Endpoint("GET", registry + "/{kind}/{asset}/versions", self._versions),
            Endpoint("GET", registry + "/{kind}/{asset}/versions/{version}", self._asset),
        ]

    def _import(self, call: Call) -> Reply:
        given = call.body["properties"]
        if set(given) != {"referenceType", "destinationName", "destinationVersion", "sourceAssetId"}:
            raise Refused(400, "InvalidRequest", f"an import has other properties than {', '.join(sorted(given))}")
        source = _SOURCE.match(given["sourceAssetId"])
        if source is None or source[1] != LOCATION or given["referenceType"] != "Id":
            raise Refused(400, "InvalidRequest", f"{given['sourceAssetId']} is no asset of a workspace")
        guid, kind, name, version = source.groups()[1:]
        target = (REGISTRY, kind, given["destinationName"], given["destinationVersion"])
        if target in self.state.assets:
            raise Refused(400, "AlreadyExists", f"{name}:{version} exists in {REGISTRY}")

        def finish() -> str:
            for place, *asset in self.state.assets:
                if _guid(place) == guid and asset == [kind, name, version]:
                    self.state.assets[target] = dict(self.state.assets[place, kind, name, version])
                    return ""
            return f"NotFound: there is no {name}:{version} in workspace {guid}"

        circuit = name.removeprefix("sensor_model_")
        operation = self.state.begin(call, "/".join(target), finish, work=Work.PROMOTION, circuit=circuit)
        return Reply(202, None, self.started(call, operation, call.path.removesuffix("/import")))

    def _versions(self, call: Call) -> Reply:
        found = [
            _version(kind, name, version, tags)
            for (place, kind, name, version), tags in self.state.assets.items()
            if (place, kind, name) == (REGISTRY, call.parts["kind"], call.parts["asset"])
        ]
        return Reply(body={"value": found})

    def _asset(self, call: Call) -> Reply:
        kind, name, version = (call.parts[part] for part in ("kind", "asset", "version"))
        return Reply(body=_version(kind, name, version, _find_asset(self.state, call)))


class Scoring(AzureMlService):
    """The endpoints' scoring addresses. There is no published definition: the requests are those of azure-ai-ml."""

    name: ClassVar[str] = "scoring"
    audience: ClassVar[str] = "https://ml.azure.com"

    def endpoints(self) -> list[Endpoint]:
        return [Endpoint("POST", "/{endpoint}/jobs", self._invoke)]

    def _invoke(self, call: Call) -> Reply:
        endpoint = next(
            (each for each in self.state.endpoints.values() if each["name"].lower() == call.parts["endpoint"].lower()),
            None,
        )
        if endpoint is None:
            raise Refused(404, "NotFound", f"there is no endpoint {call.parts['endpoint']}")
        default = (endpoint["properties"].get("defaults") or {}).get("deploymentName", "")
        name = call.headers.get("azureml-model-deployment", default)
        deployment = self.state.deployments.get(f"{endpoint['id']}/deployments/{name}".lower())
        if deployment is None or deployment["properties"]["provisioningState"] == "Creating":
            raise Refused(404, "DeploymentNotFound", f"{endpoint['name']} has no deployment {name or '(no default)'}")
        given = call.body["properties"]
        _require_one_file(given)
        workspace = endpoint["id"].split("/batchEndpoints/")[0]
        subject = {"work": Work.SCORING, "stage": _stage(workspace), "circuit": _circuit(deployment["id"])}
        job = self._started(call, given, workspace, subject, _longest(deployment))
        self.state.jobs[job.name] = job
        return Reply(201, {"id": f"{workspace}/jobs/{job.name}", "name": job.name, "properties": {"status": "Queued"}})

    def _started(
        self, call: Call, given: Mapping[str, Any], workspace: str, subject: Mapping[str, str], longest: timedelta
    ) -> Job:
        name = given.get("name") if self.state.takes_job_names else None
        if name in self.state.jobs:
            raise Refused(409, "Conflict", f"there is a job {name}")
        score = {"score": {"jobOutputType": "uri_file", "uri": given["outputData"]["score"]["uri"]}}
        starts = self.now + JOB_QUEUED
        hangs = self.state.take(FaultKind.JOB_HANGS, call, **subject)
        fails = self.state.take(FaultKind.JOB_FAILS, call, **subject)
        return Job(
            name=name or f"batchjob-{uuid4()}",
            workspace=workspace,
            properties={"jobType": "Pipeline", "properties": given.get("properties", {}), "outputs": score},
            created_at=self.now,
            starts_at=starts,
            ends_at=starts + (longest if hangs else JOB_TIME),
            outcome="Failed" if fails or hangs else "Completed",
        )


def _longest(deployment: Mapping[str, Any]) -> timedelta:
    """How long a job of the deployment is tried: by the REST definitions' defaults where it says nothing."""
    given = {"maxRetries": 3, "timeout": "PT30S", **deployment["properties"].get("retrySettings", {})}
    seconds = int(given["timeout"].removeprefix("PT").removesuffix("S"))
    return timedelta(seconds=seconds * (1 + int(given["maxRetries"])))


def _require_one_file(given: Mapping[str, Any]) -> None:
    """A model deployment takes exactly one file or folder, and writes one file."""
    kinds = [each.get("jobInputType") for each in given.get("inputData", {}).values()]
    if len(kinds) != 1 or kinds[0] not in ("UriFile", "UriFolder"):
        raise Refused(400, "BadInput", f"a model deployment takes one UriFile or UriFolder, not {kinds}")
    written = [each.get("jobOutputType") for each in given.get("outputData", {}).values()]
    if written not in ([], ["UriFile"]):
        raise Refused(400, "BadOutput", f"a model deployment writes one UriFile, not {written}")


def _missing(state: AzureMlState, properties: Mapping[str, Any]) -> str:
    """What a deployment refers to and the registry lacks."""
    for asset in (
        properties["model"]["assetId"],
        properties["environmentId"],
        properties["codeConfiguration"]["codeId"],
    ):
        parts = _ASSET.match(asset)
        if parts is None or (parts[1], parts[2], parts[3], parts[4]) not in state.assets:
            name = f"{parts[3]}:{parts[4]}" if parts else asset
            return f"AssetNotFound: there is no {name} in {REGISTRY}"
    return ""


def _find_asset(state: AzureMlState, call: Call) -> dict[str, Any]:
    parts = call.parts
    place = REGISTRY if "registry" in parts else call.path.rsplit(f"/{parts['kind']}/", 1)[0]
    found = state.assets.get((place, parts["kind"], parts["asset"], parts["version"]))
    if found is None:
        raise Refused(404, "NotFound", f"there is no {parts['asset']}:{parts['version']} in {_last(place)}")
    return found


def _resource(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    body = call.body
    properties = {**body["properties"], **given}
    shown = {"id": call.path, "name": _last(call.path), "location": body["location"], "tags": body.get("tags", {})}
    return {**shown, "properties": properties}


def _found(resources: Mapping[str, dict[str, Any]], path: str) -> dict[str, Any]:
    resource = resources.get(path.lower())
    if resource is None:
        raise Refused(404, "ResourceNotFound", f"there is no {path}")
    return resource


def _require_location(call: Call) -> None:
    if call.body["location"].lower() != LOCATION:
        raise Refused(400, "LocationMismatch", f"the workspace is in {LOCATION}, not in {call.body['location']}")


def _fails() -> str:
    return "InternalServerError: the operation failed"


def _guid(workspace: str) -> str:
    return request_id(workspace.lower())


def _last(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _asset(kind: str, name: str, version: str) -> str:
    return f"azureml://registries/{REGISTRY}/{kind}/{name}/versions/{version}"


def _version(kind: str, name: str, version: str, tags: Mapping[str, str]) -> dict[str, Any]:
    """An asset's version as the registry shows it."""
    asset = _asset(kind, name, version)
    properties = {"tags": tags, "properties": {}, "flavors": {}, "modelType": "mlflow_model", "modelUri": asset}
    return {"id": asset, "name": version, "properties": properties}


def _stage(path: str) -> Stage:
    return next(stage for stage in Stage if path.lower().startswith(workspace_id(stage).lower()))


def _circuit(path: str) -> str:
    parts = re.search(r"/batch-endpoint-plant-([^/]+)-[^/-]+/deployments/deployment-circuit-([^/]+)$", path, re.I)
    return f"{parts[1]}_{parts[2]}" if parts else ""
