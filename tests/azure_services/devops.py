"""Azure DevOps here: runs of a gate pipeline, the checks of its environments, and the people who answer them.

The pipeline is the repository's own file, expanded as the service does it. What a request may look like is said by
Microsoft's definitions where they are at hand; which orders are refused is written below.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar
from uuid import NAMESPACE_OID, uuid4, uuid5

import yaml

from shared.adapters.azure.approvals import GatePipeline
from shared.domain.messages import Person
from tests.azure_services.server import AzureServices, Call, Endpoint, Refused, Reply, Service

ROOT = Path(__file__).resolve().parents[2]
PIPELINE_FILE = ROOT / "pipelines/approval_gate.yml"
AUDIENCE = "499b84ac-1321-427f-aa17-267ca6975798"
ORGANIZATION, PROJECT, PIPELINE = "contoso", "6a1d8b0c-1111-4222-8333-944455556666", 12
EXPRESSION = re.compile(r"\$\{\{\s*(.+?)\s*\}\}")
PENDING = ("pending", "deferred")
Problems = Callable[[Call], Sequence[str] | None]


def wanted(azure: AzureServices) -> GatePipeline:
    """The adapter's constructor parameters for these services."""
    organization, graph = (f"{azure.url(service.name)}/{ORGANIZATION}" for service in (Devops, Graph))
    return GatePipeline(organization, PROJECT, PIPELINE, graph)


@dataclass
class Check:
    """An environment's approval check: whom it asks, any one of whom may answer, and for how long."""

    approvers: tuple[str, ...]
    timeout: timedelta = timedelta(minutes=1440)
    required: int = 1


@dataclass
class Step:
    """One approver that an approval asks, a group, and who acted for it."""

    approver: str
    status: str = "pending"
    actual: Person | None = None
    comment: str = ""
    until: datetime | None = None


@dataclass
class Approval:
    """One approval that a stage waits for. It becomes void with its run, and times out by the clock."""

    id: str
    run: int
    stage: str
    check: Check
    created_at: datetime
    steps: list[Step]
    status: str = "pending"


@dataclass
class Stage:
    name: str
    environment: str
    approval: Approval | None = None
    state: str = "pending"
    result: str | None = None


@dataclass
class Run:
    id: int
    name: str
    parameters: dict[str, str]
    stages: list[Stage]
    created_at: datetime
    state: str = "inProgress"
    result: str | None = None

    def end(self, result: str) -> None:
        self.state, self.result = "completed", result


@dataclass
class DevopsState:
    """Everything that the project keeps. An environment without a check lets every stage through unasked."""

    environments: dict[str, Check | None] = field(default_factory=dict)
    runs: dict[int, Run] = field(default_factory=dict)
    approvals: dict[str, Approval] = field(default_factory=dict)
    users: dict[str, Person] = field(default_factory=dict)
    programs: set[str] = field(default_factory=set)
    told: Callable[[str, Approval], None] = lambda kind, approval: None
    """Called with `pending` or `completed`: where the project's service hooks begin."""
    says_who: bool = True
    """Whether identities carry the descriptor that leads to the directory."""


class Devops(Service):
    """`dev.azure.com`: pipelines, builds and approvals of one project."""

    name: ClassVar[str] = "devops"
    audience: ClassVar[str] = AUDIENCE

    def __init__(self, state: DevopsState, problems: Problems) -> None:
        self.state = state
        self._problems = problems

    def endpoints(self) -> list[Endpoint]:
        project = f"/{ORGANIZATION}/{PROJECT}/_apis"
        run = f"{project}/pipelines/{PIPELINE}/runs"
        return [
            Endpoint("POST", run, self._start),
            Endpoint("GET", f"{run}/{{run:int}}", self._show),
            Endpoint("GET", f"{project}/build/builds", self._builds),
            Endpoint("PATCH", f"{project}/build/builds/{{run:int}}", self._update_build),
            Endpoint("GET", f"{project}/build/builds/{{run:int}}/timeline", self._timeline),
            Endpoint("GET", f"{project}/pipelines/approvals", self._approvals),
        ]

    def check(self, call: Call) -> None:
        if not call.query.get("api-version", "").startswith("7.1"):
            raise Refused(400, "VssVersionNotSpecifiedException", "no api-version was given, or one that is not 7.1")
        if problems := self._problems(call):
            raise Refused(400, "InvalidRequest", "; ".join(problems))

    def error(self, refused: Refused) -> Any:
        """Azure DevOps' form of an error."""
        return {"$id": "1", "message": refused.message, "typeKey": refused.code, "errorCode": 0, "eventId": 3000}

    # ------------------------------------------------------------------------------------------------ what people do

    def answer(
        self, person: Person, approval: Approval, status: str, comment: str = "", until: datetime | None = None
    ) -> None:
        """A person approves, rejects or defers in the portal. Raises ValueError for whom the check does not ask."""
        self._pass_time()
        if approval.status not in PENDING:
            raise ValueError(f"approval {approval.id} is {approval.status}")
        mine = [step for step in approval.steps if step.approver in person.groups and step.status in PENDING]
        if not mine:
            raise ValueError(f"{person.username} is none of {', '.join(approval.check.approvers)}")
        self.state.users[descriptor(person)] = person
        step = mine[0]
        step.status, step.actual, step.comment, step.until = status, person, comment, until
        if status == "rejected":
            self._close(approval, "rejected")
        elif status == "approved" and [s.status for s in approval.steps].count("approved") >= approval.check.required:
            self._close(approval, "approved")

    def skip(self, approval: Approval) -> None:
        """An administrator lets the stage go on without its check."""
        self._close(approval, "skipped")

    def cancel(self, run: Run) -> None:
        """Somebody cancels the run in the portal."""
        for stage in run.stages:
            if stage.approval and stage.approval.status in PENDING:
                self._close(stage.approval, "canceled")
        run.end("canceled")

    def open_approvals(self) -> list[Approval]:
        """What waits for people, oldest first."""
        self._pass_time()
        return [approval for approval in self.state.approvals.values() if approval.status in PENDING]

    # ---------------------------------------------------------------------------------------------------- operations

    def _start(self, call: Call) -> Reply:
        given = (call.body or {}).get("templateParameters") or {}
        pipeline = expanded(yaml.safe_load(PIPELINE_FILE.read_text()), given)
        environments = [job["environment"] for stage in pipeline["stages"] for job in stage["jobs"]]
        for environment in environments:
            if environment not in self.state.environments:
                message = f"Environment {environment} could not be found, or has not been authorized for use."
                raise Refused(400, "PipelineValidationException", message)
        run = Run(len(self.state.runs) + 101, pipeline["name"], dict(given), [], self.now)
        self.state.runs[run.id] = run
        run.stages = [self._stage(run, environment) for environment in environments]
        self._settle(run)
        return Reply(body=self._run_body(run))

    def _show(self, call: Call) -> Reply:
        return Reply(body=self._run_body(self._found(call)))

    def _builds(self, call: Call) -> Reply:
        self._pass_time()
        if call.query.get("definitions") != str(PIPELINE):
            return Reply(body={"count": 0, "value": []})
        number = call.query.get("buildNumber")
        found = [run for run in self.state.runs.values() if number in (None, run.name)]
        newest = sorted(found, key=lambda run: run.id, reverse=True)
        builds = [{"id": run.id, "buildNumber": run.name, "status": run.state, "result": run.result} for run in newest]
        return Reply(body={"count": len(builds), "value": builds})

    def _update_build(self, call: Call) -> Reply:
        run = self._found(call)
        if call.body != {"status": "cancelling"}:
            raise Refused(400, "InvalidBuildException", f"{call.body} is no change of a build")
        if run.state == "completed":
            raise Refused(400, "BuildStatusInvalidChangeException", f"build {run.id} is completed")
        self.cancel(run)
        return Reply(body={"id": run.id, "buildNumber": run.name, "status": "cancelling"})

    def _timeline(self, call: Call) -> Reply:
        records = []
        for stage in self._found(call).stages:
            above = {"id": _guid(call.parts["run"], stage.name), "parentId": None, "type": "Stage"}
            records.append({**above, "name": stage.name, "identifier": stage.name, "state": stage.state})
            if stage.approval:
                checkpoint = {"id": _guid(call.parts["run"], stage.name, "checkpoint"), "parentId": above["id"]}
                records.append({**checkpoint, "type": "Checkpoint", "name": "Checkpoint", "identifier": "Checkpoint"})
                below = {"id": stage.approval.id, "parentId": checkpoint["id"], "type": "Checkpoint.Approval"}
                records.append({**below, "name": "Checkpoint.Approval", "identifier": "Checkpoint.Approval"})
        return Reply(body={"records": records, "id": _guid(call.parts["run"])})

    def _approvals(self, call: Call) -> Reply:
        self._pass_time()
        ids = call.query.get("approvalIds", "").split(",")
        unknown = [i for i in ids if i not in self.state.approvals]
        if unknown:
            raise Refused(404, "ApprovalNotFoundException", f"there is no approval {unknown[0]}")
        steps = call.query.get("$expand") == "steps"
        found = [self._approval_body(self.state.approvals[i], steps) for i in ids]
        return Reply(body={"count": len(found), "value": found})

    # ---------------------------------------------------------------------------------------------------- what is so

    def _found(self, call: Call) -> Run:
        self._pass_time()
        run = self.state.runs.get(int(call.parts["run"]))
        if run is None:
            raise Refused(404, "BuildNotFoundException", f"there is no build {call.parts['run']}")
        return run

    def _stage(self, run: Run, environment: str) -> Stage:
        check, name = self.state.environments[environment], environment.replace("-", "_")
        if check is None:
            return Stage(name, environment, state="completed", result="succeeded")
        steps = [Step(approver) for approver in check.approvers]
        approval = Approval(str(uuid4()), run.id, name, check, self.now, steps)
        self.state.approvals[approval.id] = approval
        self.state.told("pending", approval)
        return Stage(name, environment, approval)

    def _close(self, approval: Approval, status: str) -> None:
        approval.status = status
        run = self.state.runs[approval.run]
        stage = next(stage for stage in run.stages if stage.approval is approval)
        results = {"approved": "succeeded", "skipped": "succeeded", "rejected": "failed", "canceled": "canceled"}
        stage.state, stage.result = "completed", results.get(status, "skipped")
        self._settle(run)
        self.state.told("completed", approval)

    def _settle(self, run: Run) -> None:
        """A run ends with the last of its stages."""
        results = {stage.result for stage in run.stages}
        if run.state != "completed" and None not in results:
            run.end("failed" if "failed" in results else "canceled" if "canceled" in results else "succeeded")

    def _pass_time(self) -> None:
        """What is over by now is over, and a yes for later counts when its time has come."""
        for approval in self.state.approvals.values():
            for step in approval.steps:
                if approval.status in PENDING and step.status == "deferred" and step.until and step.until <= self.now:
                    step.status = "approved"
                    self._close(approval, "approved")
            if approval.status in PENDING and approval.created_at + approval.check.timeout <= self.now:
                self._close(approval, "timedOut")

    def _run_body(self, run: Run) -> dict[str, Any]:
        return {
            "id": run.id,
            "name": run.name,
            "state": run.state,
            **({"result": run.result} if run.result else {}),
            "pipeline": {"id": PIPELINE, "name": "approval gate", "folder": "\\", "revision": 1},
            "templateParameters": run.parameters,
            "createdDate": run.created_at.isoformat(),
        }

    def _approval_body(self, approval: Approval, steps: bool) -> dict[str, Any]:
        return {
            "id": approval.id,
            "status": approval.status,
            "createdOn": approval.created_at.isoformat(),
            "minRequiredApprovers": approval.check.required,
            "executionOrder": "anyOrder",
            "blockedApprovers": [],
            "steps": [self._step_body(step) for step in approval.steps] if steps else [],
        }

    def _step_body(self, step: Step) -> dict[str, Any]:
        group = {"id": _guid(step.approver), "displayName": f"[Sensor Forecast]\\{step.approver}", "isContainer": True}
        shown: dict[str, Any] = {"assignedApprover": group, "status": step.status, "comment": step.comment}
        if step.actual:
            known = {"descriptor": descriptor(step.actual)} if self.state.says_who else {}
            person = {"id": _guid(step.actual.username), "displayName": step.actual.name}
            shown["actualApprover"] = {**person, "uniqueName": step.actual.username, **known}
        if step.until:
            shown["deferredTo"] = step.until.isoformat()
        return shown


class Graph(Service):
    """`vssps.dev.azure.com`: who is who in the directory."""

    name: ClassVar[str] = "vssps"
    audience: ClassVar[str] = AUDIENCE

    def __init__(self, state: DevopsState) -> None:
        self.state = state

    def endpoints(self) -> list[Endpoint]:
        return [Endpoint("GET", f"/{ORGANIZATION}/_apis/graph/users/{{descriptor}}", self._user)]

    def _user(self, call: Call) -> Reply:
        person = self.state.users.get(call.parts["descriptor"])
        if person is None:
            raise Refused(404, "GraphSubjectNotFoundException", f"there is no user {call.parts['descriptor']}")
        user = {"subjectKind": "user", "origin": "aad", "originId": person.oid, "principalName": person.username}
        return Reply(body={**user, "displayName": person.name, "descriptor": call.parts["descriptor"]})


def services(state: DevopsState, problems: Problems = lambda call: None) -> tuple[Devops, Graph]:
    """The two addresses of Azure DevOps, on one state; `problems` of a request, by its definition."""
    return Devops(state, problems), Graph(state)


def descriptor(person: Person) -> str:
    """What Azure DevOps calls a person of the directory; of a program it begins otherwise."""
    return f"{'aad' if '@' in person.username else 'aadsp'}.{_guid(person.oid).replace('-', '')}"


def hook(kind: str, approval: Approval, run: Run, now: datetime) -> dict[str, Any]:
    """The body that a service hook posts when an approval is `pending` or `completed`."""
    return {
        "id": str(uuid4()),
        "eventType": f"ms.vss-pipelinechecks-events.approval-{kind}",
        "publisherId": "pipelines",
        "resource": {
            "approval": {"id": approval.id, "status": approval.status, "steps": None},
            "projectId": PROJECT,
            "pipeline": {"id": PIPELINE, "name": "approval gate"},
            "run": {"id": run.id, "name": run.name},
            "stage": None,
            "stageName": approval.stage,
            "attemptId": 1,
        },
        "resourceContainers": {"project": {"id": PROJECT}},
        "createdDate": now.isoformat(),
    }


def expanded(pipeline: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, Any]:
    """The pipeline as its template expressions make it with these parameters.

    Raises Refused for parameters that it does not take or that are missing, and for names that are not allowed.
    """
    taken = {parameter["name"]: parameter for parameter in pipeline["parameters"]}
    for name in given:
        if name not in taken:
            raise Refused(400, "PipelineValidationException", f"Unexpected parameter '{name}'")
    for name, parameter in taken.items():
        if name not in given and "default" not in parameter:
            message = f"A value for the '{name}' parameter must be provided."
            raise Refused(400, "PipelineValidationException", message)
    names = {f"parameters.{name}": value for name, value in given.items()}
    (template,) = pipeline["stages"]
    ((loop, repeated),) = template.items()
    each = re.fullmatch(r"\$\{\{\s*each (\w+) in split\((parameters\.\w+), '(.)'\)\s*\}\}", loop)
    assert each, f"{loop!r} is not understood here"
    variable, values, separator = each.groups()
    stages = [
        _evaluated(stage, {**names, variable: value}) for value in names[values].split(separator) for stage in repeated
    ]
    stage_names = [stage["stage"] for stage in stages]
    for name in stage_names:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or stage_names.count(name) > 1:
            raise Refused(400, "PipelineValidationException", f"Stage name {name} is not valid or not unique")
    run_name = _evaluated(pipeline["name"], names)
    if re.search(r'["/:<>\\|?@*]', run_name) or run_name.endswith(".") or len(run_name) > 255:
        raise Refused(400, "BuildNumberFormatException", f"'{run_name}' is no name of a run")
    return {**pipeline, "name": run_name, "stages": stages}


def _evaluated(part: Any, names: Mapping[str, str]) -> Any:
    """The part with every template expression in its texts replaced."""

    def value(match: re.Match[str]) -> str:
        expression = match.group(1)
        replace = re.fullmatch(r"replace\((\w+), '(.)', '(.)'\)", expression)
        return names[replace[1]].replace(replace[2], replace[3]) if replace else names[expression]

    if isinstance(part, Mapping):
        return {key: _evaluated(each, names) for key, each in part.items()}
    if isinstance(part, list):
        return [_evaluated(each, names) for each in part]
    return EXPRESSION.sub(value, part) if isinstance(part, str) else part


def _guid(*parts: Sequence[str] | str) -> str:
    return str(uuid5(NAMESPACE_OID, "/".join(map(str, parts))))
