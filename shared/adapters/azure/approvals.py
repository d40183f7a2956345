"""Approvals in Azure DevOps: one run of the gate pipeline asks for one gate; the checks of its environments ask people.

A gate that asks several approvals has one environment, and so one stage, for each. What is told of a run is a hint:
everything is read from the service again, and held against what was started. A run carries our approval id as its
name, so that it is found after a crash, and the evidence's digest with a nonce as parameters.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from azure.core.credentials import TokenCredential

from shared import records
from shared.adapters.azure.rest import RestClient
from shared.adapters.azure.starts import Starts
from shared.domain.messages import Person
from shared.domain.retention import Kept
from shared.domain.values import AskState, Gate
from shared.errors import AlreadyExists, Permanent, Transient
from shared.ports import Ask, Asked, Clock, Row, StateStore, Write

log = logging.getLogger("fleet.devops")

SCOPE = "499b84ac-1321-427f-aa17-267ca6975798/.default"
VERSION = {"api-version": "7.1"}
GRAPH_VERSION = {"api-version": "7.1-preview.1"}
ENVIRONMENTS: Mapping[str, str] = {Gate.REGISTRY: "azureml-registry", Gate.PRODUCTION: "production-workspace"}

_STATES: Mapping[str, AskState] = {
    "uninitiated": AskState.PENDING,
    "pending": AskState.PENDING,
    "approved": AskState.APPROVED,
    "rejected": AskState.REJECTED,
    "deferred": AskState.DEFERRED,
    "skipped": AskState.SKIPPED,
    "timedOut": AskState.TIMED_OUT,
    "canceled": AskState.CANCELLED,
}
_BY_PEOPLE = (AskState.APPROVED, AskState.REJECTED, AskState.DEFERRED)
_PEOPLE, _GROUPS = ("aad.", "msa."), ("aadgp.", "vssgp.")
"""How descriptors of people and of groups begin; those of programs begin otherwise."""

Document = Mapping[str, Any]


@dataclass(frozen=True)
class GatePipeline:
    """The pipeline that asks: `organization` and `graph` are addresses, `project` is the project's id (a GUID).

    `environments` names each gate's environment. A gate that asks several approvals has one for each, named with the
    groups that may give it: `production-workspace-ML-Engineers`.
    """

    organization: str
    project: str
    pipeline: int
    graph: str
    environments: Mapping[str, str] = field(default_factory=lambda: dict(ENVIRONMENTS))

    @classmethod
    def of(cls, organization: str, project: str, pipeline: int) -> GatePipeline:
        """The pipeline of an organisation at `https://dev.azure.com/{name}`."""
        organization = organization.rstrip("/")
        graph = organization.replace("https://dev.azure.com/", "https://vssps.dev.azure.com/")
        return cls(organization, project, pipeline, graph)

    def asking(self, gate: str, approvals: Sequence[Sequence[str]]) -> tuple[str, ...]:
        """The environment that asks each approval. Raises Permanent for what a pipeline cannot ask."""
        base = self.environments.get(gate)
        if base is None:
            raise Permanent(f"no environment asks the gate {gate!r}; there are {', '.join(self.environments)}")
        if len(approvals) == 1:
            return (base,)
        named = tuple(f"{base}-{'-or-'.join(re.sub(r'[^A-Za-z0-9]+', '-', g) for g in groups)}" for groups in approvals)
        if len(set(named)) < len(named):
            raise Permanent(f"{gate} asks the same groups twice; let the check of {base} ask for two approvers instead")
        return named


def stage_name(environment: str) -> str:
    """The stage that deploys to an environment: as pipelines/approval_gate.yml names it."""
    return environment.replace("-", "_")


def run_name(approval_id: str) -> str:
    """The name of the run that asks an approval: names of runs have no colons."""
    return approval_id.replace(":", ".")


class DevopsApprovals:
    """Asks in runs of the gate pipeline. What was asked, and the run that asks it, lie in one row for each approval."""

    def __init__(
        self, pipeline: GatePipeline, credential: TokenCredential, store: StateStore, clock: Clock, **options: Any
    ) -> None:
        self._pipeline = pipeline
        self._store = store
        self._clock = clock
        self._starts = Starts(store, clock)
        project = f"{pipeline.organization}/{pipeline.project}"
        self._devops = RestClient("Azure DevOps", f"{project}/_apis", credential, SCOPE, **options)
        self._graph = RestClient("Azure DevOps Graph", f"{pipeline.graph}/_apis/graph", credential, SCOPE, **options)
        self._results = f"{project}/_build/results?buildId="

    def request(self, approval_id: str, instructions: Mapping[str, Any]) -> Asked:
        asking = self._pipeline.asking(instructions["gate"], instructions["groups"])
        asked = self._asked(
            approval_id,
            {
                "approval": run_name(approval_id),
                "release": str(instructions["release"]),
                "gate": str(instructions["gate"]),
                "evidence": str(instructions["evidence"]),
                "digest": str(instructions["digest"]),
                "nonce": secrets.token_urlsafe(24),
                "environments": ",".join(asking),
            },
        )
        parameters = asked["parameters"]
        run = self._starts.once(
            approval_id, parameters, lambda: self._find(parameters), lambda: self._start(approval_id, parameters)
        )
        if run != asked["run"]:
            self._write(approval_id, {**asked, "run": run})
        return Asked(f"{self._results}{run}", run)

    def withdraw(self, approval_id: str, reason: str) -> None:
        asked = self._read(approval_id)
        run = asked and (asked["run"] or self._find(asked["parameters"]))
        if run and self._is_under_way(run):
            try:
                self._devops.send("PATCH", f"build/builds/{run}", {"status": "cancelling"}, VERSION)
            except Permanent:
                if self._is_under_way(run):
                    raise
            log.info("run %s of %s is cancelled: %s", run, approval_id, reason)

    def look(self, approval_id: str, digest: str) -> Sequence[Ask]:
        asked = self._read(approval_id)
        if asked is None or not asked["run"]:
            return ()
        run, parameters = self._run(asked["run"]), asked["parameters"]
        if run is None:
            raise Permanent(f"run {asked['run']}, which asks {approval_id}, was deleted: ask again")
        if parameters["digest"] != digest or not self._is_ours(run, parameters):
            raise Permanent(f"run {asked['run']} does not ask {approval_id} with the evidence it was started with")
        stages = [stage_name(environment) for environment in parameters["environments"].split(",")]
        by_stage = self._approvals(asked["run"])
        return [ask for stage in stages for ask in self._asks(stage, by_stage.get(stage), run)]

    # ------------------------------------------------------------------------------------------------------- asking

    def _start(self, approval_id: str, parameters: Mapping[str, str]) -> str:
        body = {"templateParameters": dict(parameters)}
        answer = self._devops.start("POST", f"{self._gate()}/runs", approval_id, body, VERSION)
        return str(_document(answer.body)["id"])

    def _find(self, parameters: Mapping[str, str]) -> str | None:
        """The run with our name and our parameters. Of two, which a lost answer may leave, the older one asks."""
        query = {"definitions": str(self._pipeline.pipeline), "buildNumber": parameters["approval"], **VERSION}
        answer = self._devops.get("build/builds", query)
        ids = sorted(int(build["id"]) for build in _values(answer.body if answer else None))
        return next((str(i) for i in ids if (run := self._run(str(i))) and self._is_ours(run, parameters)), None)

    def _run(self, run: str) -> Document | None:
        answer = self._devops.get(f"{self._gate()}/runs/{run}", VERSION)
        return _document(answer.body) if answer else None

    def _gate(self) -> str:
        return f"pipelines/{self._pipeline.pipeline}"

    def _is_ours(self, run: Document, parameters: Mapping[str, str]) -> bool:
        given = {name: str(value) for name, value in (run.get("templateParameters") or {}).items()}
        return (run.get("pipeline") or {}).get("id") == self._pipeline.pipeline and given == parameters

    def _is_under_way(self, run: str) -> bool:
        found = self._run(run)
        return found is not None and found.get("state") not in ("completed", "canceling")

    # ------------------------------------------------------------------------------------------------------ answers

    def _approvals(self, run: str) -> Mapping[str, Document]:
        """The approval that each stage of the run waits or waited for: the run's timeline says which they are."""
        answer = self._devops.get(f"build/builds/{run}/timeline", VERSION)
        timeline = (_document(answer.body).get("records") or ()) if answer else ()
        by_id = {record["id"]: record for record in timeline}
        stages: dict[str, str] = {}
        for record in timeline:
            if record.get("type") == "Checkpoint.Approval":
                checkpoint = by_id.get(record.get("parentId"), {})
                stage = by_id.get(checkpoint.get("parentId"), {})
                stages[record["id"]] = stage.get("identifier") or stage.get("name") or ""
        if not stages:
            return {}
        query = {"approvalIds": ",".join(stages), "$expand": "steps", **VERSION}
        approvals = self._devops.get("pipelines/approvals", query)
        found = _values(approvals.body if approvals else None)
        return {stages[approval["id"]]: approval for approval in found if approval.get("id") in stages}

    def _asks(self, stage: str, approval: Document | None, run: Document) -> Iterator[Ask]:
        """What people did at a stage, and then what became of the whole, where that is nobody's doing."""
        ended = run.get("result") if run.get("state") == "completed" else None
        if approval is None:
            if ended in ("succeeded", "failed"):
                raise Permanent(
                    f"run {run['id']} ended {ended} and stage {stage} asked nobody: its environment needs an approval "
                    f"check, and the pipeline the right to use it"
                )
            yield Ask(AskState.CANCELLED if ended == "canceled" else AskState.PENDING)
            return
        state = _state(approval)
        acted = 0
        for step in approval.get("steps") or ():
            done = _state(step)
            if done in _BY_PEOPLE:
                acted += 1
                comment, until = step.get("comment") or "", _time(step.get("deferredTo"))
                yield Ask(done, self._person(step), comment, until)
        if state not in _BY_PEOPLE:
            yield Ask(AskState.CANCELLED if state is AskState.PENDING and ended == "canceled" else state)
        elif not acted:
            raise Permanent(f"approval {approval['id']} of run {run['id']} is {state}, and nothing says by whom")

    def _person(self, step: Document) -> Person:
        """Who really acted, by their Entra object id; their group is the one that the check asked for.

        `assignedApprover` is the group, or a person of whom no group is known.
        """
        acted, assigned = step.get("actualApprover") or {}, step.get("assignedApprover") or {}
        descriptor, unique = acted.get("descriptor") or "", acted.get("uniqueName") or ""
        if descriptor and not descriptor.startswith(_PEOPLE):
            raise Permanent(f"{acted.get('displayName') or descriptor} is a program: only people answer a gate")
        answer = self._graph.get(f"users/{descriptor}", GRAPH_VERSION) if descriptor else None
        user = _document(answer.body) if answer else {}
        username = user.get("principalName") or unique
        if "@" not in username:
            raise Permanent(f"Azure DevOps does not say who acted: {acted.get('displayName') or 'nobody is named'}")
        oid = user.get("originId") if user.get("origin") == "aad" else None
        groups = (_group(assigned),) if _is_group(assigned) else ()
        return Person(
            oid=oid or username.casefold(),
            name=user.get("displayName") or acted.get("displayName") or username,
            username=username,
            groups=groups,
        )

    # --------------------------------------------------------------------------------------------------- what we know

    def _asked(self, approval_id: str, parameters: Mapping[str, str]) -> dict[str, Any]:
        """What is asked, written before anything is started: the nonce of a second try is that of the first."""
        fresh = {"parameters": dict(parameters), "run": ""}
        try:
            kept = records.kept(Kept.LOOKUPS, self._clock.now().date(), _key(approval_id))
            self._store.commit(records.GATE_RUNS, [Write("insert", Row(_key(approval_id), fresh)), Write("put", kept)])
            return fresh
        except AlreadyExists:
            known = self._read(approval_id)
            assert known is not None
        if {**known["parameters"], "nonce": ""} != {**parameters, "nonce": ""}:
            raise Permanent(f"{approval_id} was asked with other evidence already; a gate that changed has a new id")
        return known

    def _read(self, approval_id: str) -> dict[str, Any] | None:
        row = self._store.read(records.GATE_RUNS, _key(approval_id))
        return dict(row.body) if row else None

    def _write(self, approval_id: str, body: Mapping[str, Any]) -> None:
        self._store.commit(records.GATE_RUNS, [Write("put", Row(_key(approval_id), body))])


def _key(approval_id: str) -> str:
    return f"asked|{records.safe(approval_id)}"


def _state(asked: Document) -> AskState:
    """The state of an approval or of one of its steps. Raises Permanent for one that is not known."""
    state = _STATES.get(str(asked.get("status")))
    if state is None:
        raise Permanent(f"Azure DevOps says that an approval is {asked.get('status')}; known are {', '.join(_STATES)}")
    return state


def _is_group(identity: Document) -> bool:
    return bool(identity.get("isContainer")) or (identity.get("descriptor") or "").startswith(_GROUPS)


def _group(identity: Document) -> str:
    r"""`[Sensor Forecast]\ML-Engineers` without where it is."""
    return str(identity.get("displayName") or "").rpartition("\\")[2]


def _time(text: str | None) -> datetime | None:
    if not text:
        return None
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _document(body: Any) -> Document:
    """An answer's JSON object; who is not signed in is shown a page instead, with a good status."""
    if not isinstance(body, Mapping):
        raise Transient("Azure DevOps answered with a page instead of data: the app's identity is not signed in there")
    return body


def _values(body: Any) -> Sequence[Document]:
    return _document(body).get("value") or ()
