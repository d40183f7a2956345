"""The dev workspace's trainings here: data assets, jobs that queue, run and register models, and their versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal

import ml.monitor
from ml.monitor_messages import MonitoringRequest
from ml.requests import TrainingRequest
from shared.domain.values import model_name
from tests.azure_services.definitions import SPECS, Definitions, azureml
from tests.azure_services.server import Call, Endpoint, Refused, Reply, Service

WORKSPACE = (
    "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/fleet"
    "/providers/Microsoft.MachineLearningServices/workspaces/dev"
)
TRACKING = f"azureml://westeurope.api.azureml.ms/mlflow/v1.0{WORKSPACE}"
QUEUED, RUNS = timedelta(seconds=30), timedelta(minutes=10)
PAGE = 2

Ending = Literal["Completed", "Failed", "Canceled", "never"]


@dataclass
class Job:
    """A training job. It runs from `starts_at`, and ends at `ends_at` as `ending` says."""

    name: str
    properties: dict[str, Any]
    created_at: datetime
    starts_at: datetime
    ends_at: datetime
    ending: Ending = "Completed"
    settled: bool = False

    def status(self, now: datetime) -> str:
        if self.ending != "never" and now >= self.ends_at:
            return self.ending
        return "Running" if now >= self.starts_at else "Queued"

    def body(self, now: datetime) -> dict[str, Any]:
        path = f"{WORKSPACE}/jobs/{self.name}"
        shown = {
            **self.properties,
            "status": self.status(now),
            "services": {"Studio": {"endpoint": f"https://ml/{path}"}},
        }
        return {
            "id": path,
            "name": self.name,
            "systemData": {"createdAt": _stamp(self.created_at)},
            "properties": shown,
        }


class TrainingWorkspace(Service):
    """`request_of` reads the request file of a job by its URI, as the job itself would."""

    name: ClassVar[str] = "arm"
    audience: ClassVar[str] = "https://management.azure.com"

    def __init__(self, request_of: Callable[[str], Mapping[str, Any]]) -> None:
        self._request_of = request_of
        self._definitions: Definitions | None = azureml() if SPECS.is_dir() else None
        self.jobs: dict[str, Job] = {}
        self.models: dict[tuple[str, int], tuple[dict[str, str], datetime]] = {}
        self.data: dict[tuple[str, str], dict[str, str]] = {}
        self.code: set[str] = {"1.0.0"}
        """The versions of sensor-forecast-env whose code is registered."""
        self.endings: list[Ending] = []
        """How the next jobs end, in order; those after them complete."""

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("GET", WORKSPACE, self._workspace),
            Endpoint("GET", WORKSPACE + "/data/{asset}/versions/{version}", self._data),
            Endpoint("GET", WORKSPACE + "/codes/sensor-forecast-env/versions/{version}", self._code),
            Endpoint("GET", WORKSPACE + "/models/{model}/versions", self._versions),
            Endpoint("GET", WORKSPACE + "/models/{model}/versions/{version}", self._model),
            Endpoint("GET", WORKSPACE + "/jobs/{job}", self._job),
            Endpoint("PUT", WORKSPACE + "/jobs/{job}", self._put_job),
            Endpoint("POST", WORKSPACE + "/jobs/{job}/cancel", self._cancel),
        ]

    def register_data(self, name: str, version: str, delta_version: int) -> None:
        """A data asset, as scripts/register_mltable.py leaves it."""
        self.data[name, version] = {"delta_version": str(delta_version)}

    def register_model(self, name: str, tags: Mapping[str, str]) -> int:
        version = 1 + max((known for model, known in self.models if model == name), default=0)
        self.models[name, version] = (dict(tags), self.now)
        return version

    def check(self, call: Call) -> None:
        problems = self._definitions.problems(call) if self._definitions else None
        if problems:
            raise Refused(400, "InvalidRequest", "; ".join(problems))
        for job in self.jobs.values():
            if not job.settled and job.status(self.now) not in ("Queued", "Running"):
                job.settled = True
                if job.ending == "Completed":
                    self._train(job)

    def _train(self, job: Job) -> None:
        """What `ml.train` does with its request, as far as the workspace sees it."""
        request = TrainingRequest.model_validate(self._request_of(job.properties["inputs"]["request"]["uri"]))
        tags = {"command_id": request.command_id, "git_commit_sha": request.git_commit_sha}
        self.register_model(model_name(request.circuit.key), tags)

    def _workspace(self, call: Call) -> Reply:
        return Reply(body={"id": call.path, "name": "dev", "properties": {"mlFlowTrackingUri": TRACKING}})

    def _data(self, call: Call) -> Reply:
        tags = self.data.get((call.parts["asset"], call.parts["version"]))
        if tags is None:
            raise Refused(404, "NotFound", f"there is no {call.parts['asset']}:{call.parts['version']}")
        return Reply(body={"id": call.path, "name": call.parts["version"], "properties": {"tags": tags}})

    def _code(self, call: Call) -> Reply:
        if call.parts["version"] not in self.code:
            raise Refused(404, "NotFound", f"there is no code of {call.parts['version']}")
        return Reply(body={"id": call.path, "name": call.parts["version"], "properties": {}})

    def _versions(self, call: Call) -> Reply:
        found = sorted((version for model, version in self.models if model == call.parts["model"]), reverse=True)
        if not found:
            raise Refused(404, "NotFound", f"there is no model {call.parts['model']}")
        skip = int(call.query.get("$skip", "0"))
        page: dict[str, Any] = {"value": [self._version(call, version) for version in found[skip : skip + PAGE]]}
        if found[skip + PAGE :]:
            page["nextLink"] = f"{self.azure.url('arm')}{call.path}?api-version=2024-04-01&$skip={skip + PAGE}"
        return Reply(body=page)

    def _model(self, call: Call) -> Reply:
        name, version = call.parts["model"], call.parts["version"]
        if (name, int(version)) not in self.models:
            raise Refused(404, "NotFound", f"there is no model {name}:{version}")
        return Reply(body=self._version(call, int(version)))

    def _version(self, call: Call, version: int) -> dict[str, Any]:
        tags, at = self.models[call.parts["model"], version]
        return {"name": str(version), "systemData": {"createdAt": _stamp(at)}, "properties": {"tags": tags}}

    def _job(self, call: Call) -> Reply:
        return Reply(body=self._found(call).body(self.now))

    def _put_job(self, call: Call) -> Reply:
        name, given = call.parts["job"], call.body["properties"]
        known = self.jobs.get(name)
        if known is not None:
            if known.properties != given:
                raise Refused(409, "Conflict", f"job {name} is there with other properties")
            return Reply(200, known.body(self.now))
        for asset in given["inputs"].values():
            self._check_asset(asset.get("uri", ""))
        starts = self.now + QUEUED
        ending = self.endings.pop(0) if self.endings else "Completed"
        self.jobs[name] = Job(name, given, self.now, starts, starts + RUNS, ending)
        return Reply(201, self.jobs[name].body(self.now))

    def _check_asset(self, uri: str) -> None:
        """A job may only name assets that are there."""
        kind, _, path = uri.removeprefix(f"{WORKSPACE}/").partition("/")
        name, _, version = path.partition("/versions/")
        known = {"data": (name, version) in self.data, "models": (name, version) in self._model_versions()}
        if not known.get(kind, True):
            raise Refused(400, "UserError", f"there is nothing at {uri}")

    def _model_versions(self) -> set[tuple[str, str]]:
        return {(name, str(version)) for name, version in self.models}

    def _cancel(self, call: Call) -> Reply:
        job = self._found(call)
        if job.settled:
            raise Refused(400, "UserError", f"job {job.name} has ended")
        job.ending, job.ends_at = "Canceled", self.now
        return Reply(202)

    def _found(self, call: Call) -> Job:
        job = self.jobs.get(call.parts["job"])
        if job is None:
            raise Refused(404, "UserError", f"there is no job {call.parts['job']}")
        return job


class MonitoringWorkspace(TrainingWorkspace):
    """The production workspace's monitoring jobs; one that ends well has run `ml.monitor` on its request."""

    def _train(self, job: Job) -> None:
        inputs = job.properties["inputs"]
        request = MonitoringRequest.model_validate(self._request_of(inputs["request"]["uri"]))
        ml.monitor.monitor(request, inputs["output"]["value"])


def _stamp(moment: datetime) -> str:
    """As AzureML writes times: with seven decimals, which Python's parser takes from 3.11 on."""
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}0+00:00"
