"""The HTTP API, shaped after AzureML's: models, registry import, batch deployments, invocation, jobs, operations.

Every start carries its command id in `Repeatability-Request-ID` and answers the same for the same id. Answers that
report trouble have AzureML's body `{"error": {"code", "message"}}`.
"""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from local.platform import names
from local.platform.data_assets import FolderDataAssets
from local.platform.events import environment_registered
from local.platform.faults import Fault, FaultKind
from local.platform.jobs import JOBS, JobRunner, NotReady
from local.platform.ledger import ETL_UNTIL, CommandReused, Ledger, State, TargetBusy, WorkItem
from local.platform.names import Work
from local.platform.settings import PlatformSettings
from shared.adapters.names import deployment_name, endpoint_name
from shared.domain.values import ENVIRONMENT, SCORING_TIME, Stage, model_name

log = logging.getLogger(__name__)

_OPERATION_FAULTS = (FaultKind.OPERATION_FAILS, FaultKind.OPERATION_SLOW)
_JOB_FAULTS = (FaultKind.JOB_FAILS, FaultKind.JOB_HANGS, FaultKind.JOB_SLOW, FaultKind.OUTPUT_UNUSABLE)

Circuit = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9]{0,6}_[A-Za-z][A-Za-z0-9]{0,12}$")]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{7,40}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
Body = TypeVar("Body", bound=BaseModel)
Choice = TypeVar("Choice", bound=StrEnum)
RunId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Import(_Body):
    """Copy a dev model version to the registry."""

    circuit: Circuit
    model_version: int


class DeploymentBody(_Body):
    """What a batch deployment is to serve."""

    circuit: Circuit
    model_version: int
    environment_version: Text
    tags: Mapping[str, str] = {}
    scoring_seconds: float = Field(SCORING_TIME.total_seconds(), gt=0)


class Removal(_Body):
    """Whose batch deployment is to be deleted; one that is not there is a success."""

    circuit: Circuit


class EnvironmentBody(_Body):
    """A version of the environment: what its tags say of it."""

    tags: Mapping[str, str]


class EnvironmentImport(_Body):
    """Copy one version of the environment from dev to the registry."""

    version: Text


class Invocation(_Body):
    """One request file for one deployment."""

    circuit: Circuit
    request_uri: Text


class TrainingBody(_Body):
    """Train a circuit as the commit's configuration says if a build has left it, else as it is now; who asked.

    `champion` is the promoted version that the new model is compared with.
    """

    circuit: Circuit
    commit: Commit
    author: str
    pull_request: str
    champion: int | None = None


class MonitoringBody(_Body):
    """One monitoring run: its request file, where it writes, and the environment that it would run in elsewhere."""

    request_uri: Text
    output_uri: Text
    environment_version: Text


class EtlBody(_Body):
    """One run of the ETL, or of the table's upkeep."""

    run_id: RunId


class EtlUntil(_Body):
    """Readings after this time are left for a later run; null lifts it."""

    until: datetime | None


class ApiError(Exception):
    """An answer that reports trouble."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.headers = status, code, headers


class PlatformApi:
    """The routes over the ledger and the job runner."""

    def __init__(self, settings: PlatformSettings, ledger: Ledger, jobs: JobRunner) -> None:
        self._settings = settings
        self._ledger = ledger
        self._jobs = jobs

    def app(self, **options: Any) -> Starlette:
        """The ASGI application; `options` go to Starlette."""
        workspace = "/workspaces/{stage}"
        environments = f"/workspaces/{Stage.DEV}/environments/{ENVIRONMENT}/versions"
        deployment = f"{workspace}/batchEndpoints/{{endpoint}}/deployments/{{deployment}}"
        routes = [
            Route("/health", self.health),
            Route(f"{workspace}/models/{{name}}/versions/{{version:int}}", self.describe_model),
            Route("/workspaces/dev/data", self.list_data_assets),
            Route("/registry/import", self.import_model, methods=["POST"]),
            Route(f"{environments}", self.list_environments),
            Route(f"{environments}/{{version}}", self.describe_environment),
            Route(f"{environments}/{{version}}", self.register_environment, methods=["PUT"]),
            Route("/registry/environments/import", self.import_environment, methods=["POST"]),
            Route("/registry/environments/{version}", self.describe_promoted_environment),
            Route(deployment, self.get_deployment),
            Route(deployment, self.put_deployment, methods=["PUT"]),
            Route(deployment, self.delete_deployment, methods=["DELETE"]),
            Route(f"{workspace}/batchEndpoints/{{endpoint}}/jobs", self.invoke, methods=["POST"]),
            Route("/workspaces/dev/jobs", self.train, methods=["POST"]),
            Route("/workspaces/production/monitoring", self.monitor, methods=["POST"]),
            Route("/etl/jobs", self.run_etl, methods=["POST"]),
            Route("/etl/upkeep", self.keep_up, methods=["POST"]),
            Route("/etl/until", self.set_etl_until, methods=["PUT"]),
            Route("/jobs", self.list_jobs),
            Route("/jobs/{reference}", self.get_work),
            Route("/jobs/{reference}/cancel", self.cancel_work, methods=["POST"]),
            Route("/operations/{reference}", self.get_work),
            Route("/faults", self.list_faults),
            Route("/faults", self.add_fault, methods=["POST"]),
            Route("/faults", self.clear_faults, methods=["DELETE"]),
        ]
        key = Middleware(_RequireKey, key=self._settings.key)
        handlers: dict[Any, Callable[..., Response]] = {
            ApiError: lambda _, error: _problem(error.status, error.code, str(error), error.headers),
            ValidationError: lambda _, error: _problem(400, "BadRequest", _explained(error)),
            CommandReused: lambda _, error: _problem(422, "RepeatabilityMismatch", str(error)),
            TargetBusy: lambda _, error: _problem(409, "Conflict", str(error), {"Retry-After": "1"}),
            NotReady: lambda _, error: _problem(503, "ServiceUnavailable", str(error), {"Retry-After": "2"}),
        }
        return Starlette(routes=routes, middleware=[key], exception_handlers=handlers, **options)

    # --------------------------------------------------------------------------------------------------- starts

    def import_model(self, request: Request) -> Response:
        body = _parsed(Import, request)
        target = f"{names.REGISTRY}/models/{model_name(body.circuit)}/versions/{body.model_version}"
        return self._start(request, Work.PROMOTION, Stage.DEV, body.circuit, body, target)

    def import_environment(self, request: Request) -> Response:
        body = _parsed(EnvironmentImport, request)
        target = f"{names.REGISTRY}/environments/{ENVIRONMENT}/versions/{body.version}"
        return self._start(request, Work.ENVIRONMENT, Stage.DEV, "", body, target)

    def put_deployment(self, request: Request) -> Response:
        body = _parsed(DeploymentBody, request)
        return self._change_deployment(request, Work.DEPLOYMENT, body.circuit, body)

    def delete_deployment(self, request: Request) -> Response:
        body = _parsed(Removal, request)
        return self._change_deployment(request, Work.REMOVAL, body.circuit, body)

    def _change_deployment(self, request: Request, work: Work, circuit: str, body: _Body) -> Response:
        stage, (endpoint, deployment) = _stage(request), self._named(request)
        expected = (endpoint_name(stage, circuit), deployment_name(circuit))
        if (endpoint, deployment) != expected:
            raise ApiError(
                400, "BadRequest", f"{circuit} is deployed as {'/'.join(expected)}, not as {endpoint}/{deployment}"
            )
        return self._start(request, work, stage, circuit, body, f"{endpoint}/{deployment}")

    def invoke(self, request: Request) -> Response:
        body, stage = _parsed(Invocation, request), _stage(request)
        endpoint = request.path_params["endpoint"]
        deployment = request.headers.get("azureml-model-deployment", "")
        row = self._ledger.deployment(endpoint, deployment)
        if row is None or row.circuit != body.circuit:
            raise ApiError(
                404, "DeploymentNotFound", f"endpoint {endpoint} has no deployment {deployment!r} of {body.circuit}"
            )
        return self._start(request, Work.SCORING, stage, body.circuit, body)

    def train(self, request: Request) -> Response:
        body = _parsed(TrainingBody, request)
        return self._start(request, Work.TRAINING, Stage.DEV, body.circuit, body)

    def monitor(self, request: Request) -> Response:
        body = _parsed(MonitoringBody, request)
        return self._start(request, Work.MONITORING, Stage.PRODUCTION, "", body)

    def run_etl(self, request: Request) -> Response:
        body = _parsed(EtlBody, request)
        return self._start(request, Work.ETL, Stage.PRODUCTION, "", body)

    def keep_up(self, request: Request) -> Response:
        body = _parsed(EtlBody, request)
        return self._start(request, Work.UPKEEP, Stage.PRODUCTION, "", body)

    def _start(
        self, request: Request, work: Work, stage: Stage, circuit: str, body: _Body, target: str | None = None
    ) -> Response:
        command_id = request.headers.get("Repeatability-Request-ID", "")
        if not 0 < len(command_id) <= 500:
            raise ApiError(400, "BadRequest", "header Repeatability-Request-ID must hold the command's id")
        subject = {"work": work, "circuit": circuit, "stage": stage, "command_id": command_id}
        if fault := self._ledger.strike(FaultKind.THROTTLED, **subject):
            raise ApiError(
                429, "TooManyRequests", "too many requests; try again later", {"Retry-After": f"{fault.seconds:g}"}
            )
        is_job = work in JOBS
        item = WorkItem(
            reference=names.new_job_name(work) if is_job else names.new_operation_id(),
            work=work,
            stage=stage,
            circuit=circuit,
            command_id=command_id,
            request=body.model_dump(mode="json"),
            state=State.NOT_STARTED if is_job else State.IN_PROGRESS,
            target=target,
            due=time.time() + self._settings.operation_delay,
        )
        accepted, is_new = self._ledger.accept(item, _JOB_FAULTS if is_job else _OPERATION_FAULTS)
        if is_job:
            self._jobs.submit(accepted)
        if is_new and self._ledger.strike(FaultKind.ANSWER_LOST, **subject):
            raise ApiError(500, "InternalServerError", "the connection was lost after the request was accepted")
        path = f"{'jobs' if is_job else 'operations'}/{accepted.reference}"
        headers = {"Location": f"/{path}"} | ({} if is_job else {"Azure-AsyncOperation": f"/{path}"})
        return JSONResponse(_shown(accepted), status_code=202 if work is Work.PROMOTION else 201, headers=headers)

    # --------------------------------------------------------------------------------------------------- looks

    def health(self, _: Request) -> Response:
        """Ready once the workers are; work is accepted before that and waits."""
        ready = self._jobs.is_ready
        return JSONResponse({"status": "ready" if ready else "starting"}, status_code=200 if ready else 503)

    def describe_model(self, request: Request) -> Response:
        name, version = request.path_params["name"], request.path_params["version"]
        tags = self._jobs.on_stores("model_tags", _stage(request), name, version)
        if tags is None:
            raise ApiError(404, "ModelNotFound", f"workspace {_stage(request)} has no model {name}:{version}")
        return JSONResponse({"name": str(version), "properties": {"tags": tags}})

    def list_environments(self, _: Request) -> Response:
        return JSONResponse({"value": [{"name": version} for version in self._ledger.environments()]})

    def describe_environment(self, request: Request) -> Response:
        version = request.path_params["version"]
        tags = self._ledger.environments().get(version)
        if tags is None:
            raise ApiError(404, "EnvironmentNotFound", f"workspace {Stage.DEV} has no environment {version}")
        return JSONResponse({"name": version, "tags": tags})

    def describe_promoted_environment(self, request: Request) -> Response:
        version = request.path_params["version"]
        if not self._ledger.has_promoted_environment(version):
            raise ApiError(404, "EnvironmentNotFound", f"the registry has no environment {version}")
        return JSONResponse({"name": version})

    def list_data_assets(self, _: Request) -> Response:
        return JSONResponse({"value": FolderDataAssets(self._settings.data_assets).listed()})

    def get_deployment(self, request: Request) -> Response:
        endpoint, deployment = self._named(request)
        row = self._ledger.deployment(endpoint, deployment)
        if row is None or row.stage != _stage(request):
            raise ApiError(404, "DeploymentNotFound", f"endpoint {endpoint} has no deployment {deployment}")
        properties = {"model_version": row.model_version, "environment_version": row.environment_version}
        return JSONResponse({"name": deployment, "tags": row.tags, "properties": properties})

    def get_work(self, request: Request) -> Response:
        return JSONResponse(_shown(self._found(request)))

    def list_jobs(self, request: Request) -> Response:
        kinds = [_choice(Work, kind, "kind") for kind in request.query_params.getlist("kind")] or JOBS
        return JSONResponse({"value": [_shown(item) for item in self._ledger.listed(work=kinds)]})

    def cancel_work(self, request: Request) -> Response:
        item = self._found(request)
        if self._ledger.request_cancel(item.reference) is State.CANCEL_REQUESTED:
            self._jobs.cancel(item.reference)
        return Response(status_code=202)

    # --------------------------------------------------------------------------------------------------- admin

    def register_environment(self, request: Request) -> Response:
        """What a build does; a version that is there stays as it is."""
        version, body = request.path_params["version"], _parsed(EnvironmentBody, request)
        new = self._ledger.register_environment(version, body.tags, environment_registered(version))
        return JSONResponse({"name": version, "tags": body.tags}, status_code=201 if new else 200)

    def set_etl_until(self, request: Request) -> Response:
        until = _parsed(EtlUntil, request).until
        if until and until.tzinfo is None:
            raise ApiError(400, "BadRequest", "until: a time zone is missing, e.g. 2025-12-09T06:00:00Z")
        self._ledger.set_setting(ETL_UNTIL, until.isoformat() if until else None)
        return Response(status_code=204)

    def list_faults(self, _: Request) -> Response:
        return JSONResponse({"value": self._ledger.faults()})

    def add_fault(self, request: Request) -> Response:
        return JSONResponse({"number": self._ledger.add_fault(_parsed(Fault, request))}, status_code=201)

    def clear_faults(self, _: Request) -> Response:
        self._ledger.clear_faults()
        return Response(status_code=204)

    # -------------------------------------------------------------------------------------------------- inside

    def _found(self, request: Request) -> WorkItem:
        reference = request.path_params["reference"]
        item = self._ledger.find(reference)
        if item is None:
            raise ApiError(404, "NotFound", f"there is no operation or job {reference}")
        return item

    @staticmethod
    def _named(request: Request) -> tuple[str, str]:
        return request.path_params["endpoint"], request.path_params["deployment"]


class _RequireKey:
    """Refuses requests without the service's key; reads the body, which handlers in threads cannot await."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._expected = f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope, receive)
            given = request.headers.get("authorization", "").encode()
            if request.url.path != "/health" and not hmac.compare_digest(given, self._expected):
                refused = _problem(401, "AuthenticationFailed", "the platform's key is missing or wrong")
                await refused(scope, receive, send)
                return
            scope["state"] = {**scope.get("state", {}), "body": await request.body()}
        await self._app(scope, receive, send)


def _parsed(kind: type[Body], request: Request) -> Body:
    return kind.model_validate_json(request.state.body or b"{}")


def _stage(request: Request) -> Stage:
    return _choice(Stage, request.path_params["stage"], "workspace")


def _choice(kind: type[Choice], text: str, field: str) -> Choice:
    try:
        return kind(text)
    except ValueError:
        raise ApiError(404, "NotFound", f"{field} {text!r} is not one of {', '.join(kind)}") from None


def _shown(item: WorkItem) -> dict[str, Any]:
    """An operation or job as the API tells it; times are UTC."""
    times = {"createdAt": item.created_at, "startTime": item.started_at, "endTime": item.ended_at}
    return {
        "name": item.reference,
        "kind": item.work,
        "workspace": item.stage,
        "circuit": item.circuit,
        "status": item.state,
        "outputs": dict(item.outputs or {}),
        **({"error": {"code": "Failed", "message": item.error}} if item.error else {}),
        **{name: time.isoformat() if time else None for name, time in times.items()},
    }


def _explained(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, problem['loc'])) or 'body'}: {problem['msg']}" for problem in error.errors())


def _problem(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    body = {"error": {"code": code, "message": message}}
    return JSONResponse(body, status_code=status, headers=dict(headers or {}))
