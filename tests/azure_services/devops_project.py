"""An Azure DevOps project here, as its administrator sets it up: what it has, and what the service refuses."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar
from uuid import NAMESPACE_OID, uuid5

from tests.azure_services.devops import AUDIENCE
from tests.azure_services.server import Call, Endpoint, Refused, Reply, Service

ORGANIZATION, PROJECT, PROJECT_ID = "contoso", "fleet", "6a1d8b0c-1111-4222-8333-944455556666"
PAGE = 2
EXCUSED: tuple[tuple[str, str], ...] = (
    # The definition names only what all pipelines have; Microsoft's page for YAML has path and repository.
    (r"Pipelines_Create: body\.configuration\.(path|repository) is unknown", "the page of Pipelines - Create"),
    # One path for two operations, of which the definition has the one by id.
    (r"query parameter groupIds is missing", "the page of Variablegroups - Get Variable Groups"),
    # The definition leaves settings out, which its own examples have.
    (r"body\.settings is unknown", "approvals-examples/POST__AddApprovalCheckConfiguration.json"),
    # Settings of a policy are of its type's own schema.
    (r"body\.settings\.\w+ is unknown", "the page of Policy Configurations - Create"),
)
"""What the definitions do not know of requests, and what stands in for them."""
Problems = Callable[[Call], Sequence[str] | None]


def unexcused(problems: Sequence[str]) -> list[str]:
    return [problem for problem in problems if not any(re.search(known, problem) for known, _ in EXCUSED)]


@dataclass
class ProjectState:
    """Everything that the project has, by kind, in the order in which it was made."""

    made: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    permitted: dict[str, set[int]] = field(default_factory=dict)

    def all(self, kind: str) -> list[dict[str, Any]]:
        return self.made.setdefault(kind, [])

    def add(self, kind: str, body: Any, **further: Any) -> dict[str, Any]:
        one = {"id": len(self.all(kind)) + 1, **body, **further}
        self.all(kind).append(one)
        return one

    def find(self, kind: str, number: str) -> dict[str, Any]:
        for one in self.all(kind):
            if str(one["id"]) == number:
                return one
        raise Refused(404, "NotFoundException", f"there is no {kind} {number}")


class DevopsProject(Service):
    """`dev.azure.com`: what a project is made of."""

    name: ClassVar[str] = "devops"
    audience: ClassVar[str] = AUDIENCE

    def __init__(self, state: ProjectState, problems: Problems) -> None:
        self.state = state
        self._problems = problems

    def endpoints(self) -> list[Endpoint]:
        organization = f"/{ORGANIZATION}/_apis"
        project = f"/{ORGANIZATION}/{PROJECT}/_apis"
        shown = {"id": PROJECT_ID, "name": PROJECT}
        return [
            Endpoint("GET", f"{organization}/projects/{PROJECT}", lambda call: Reply(body=shown)),
            Endpoint("GET", f"{project}/git/repositories/{PROJECT}", lambda call: Reply(body={**shown, "id": "r1"})),
            *self._collection(f"{project}/distributedtask/environments", "environment"),
            Endpoint("GET", f"{project}/pipelines/checks/configurations", self._checks),
            Endpoint("POST", f"{project}/pipelines/checks/configurations", self._add("check")),
            Endpoint("PATCH", f"{project}/pipelines/checks/configurations/{{id}}", self._update("check")),
            Endpoint("GET", f"{project}/serviceendpoint/endpoints", self._list("endpoint")),
            Endpoint("POST", f"{organization}/serviceendpoint/endpoints", self._connect),
            Endpoint("GET", f"{project}/distributedtask/variablegroups", self._list("variablegroup")),
            Endpoint("POST", f"{organization}/distributedtask/variablegroups", self._add("variablegroup")),
            Endpoint("PUT", f"{organization}/distributedtask/variablegroups/{{id}}", self._update("variablegroup")),
            *self._collection(f"{project}/pipelines", "pipeline"),
            Endpoint("GET", f"{project}/pipelines/pipelinepermissions/{{kind}}/{{id}}", self._permissions),
            Endpoint("PATCH", f"{project}/pipelines/pipelinepermissions/{{kind}}/{{id}}", self._permit),
            *self._collection(f"{project}/policy/configurations", "policy"),
            Endpoint("PUT", f"{project}/policy/configurations/{{id}}", self._update("policy")),
            *self._collection(f"{organization}/hooks/subscriptions", "hook"),
        ]

    def check(self, call: Call) -> None:
        if not call.query.get("api-version", "").startswith("7.1"):
            raise Refused(400, "VssVersionNotSpecifiedException", "no api-version was given, or one that is not 7.1")
        if problems := unexcused(self._problems(call) or ()):
            raise Refused(400, "InvalidRequest", "; ".join(problems))

    def error(self, refused: Refused) -> Any:
        return {"$id": "1", "message": refused.message, "typeKey": refused.code, "errorCode": 0, "eventId": 3000}

    def _collection(self, path: str, kind: str) -> list[Endpoint]:
        return [Endpoint("GET", path, self._list(kind)), Endpoint("POST", path, self._add(kind))]

    def _list(self, kind: str) -> Callable[[Call], Reply]:
        """Pages of two, as a list that is long."""

        def answer(call: Call) -> Reply:
            begin = int(call.query.get("continuationToken", "0"))
            found = self.state.all(kind)
            more = {"x-ms-continuationtoken": str(begin + PAGE)} if len(found) > begin + PAGE else {}
            return Reply(body={"count": PAGE, "value": found[begin : begin + PAGE]}, headers=more)

        return answer

    def _add(self, kind: str) -> Callable[[Call], Reply]:
        def answer(call: Call) -> Reply:
            name = (call.body or {}).get("name")
            if name and any(one.get("name") == name for one in self.state.all(kind)):
                raise Refused(409, "AlreadyExistsException", f"{kind} {name} already exists")
            return Reply(body=self.state.add(kind, call.body))

        return answer

    def _update(self, kind: str) -> Callable[[Call], Reply]:
        def answer(call: Call) -> Reply:
            one = self.state.find(kind, call.parts["id"])
            one.update(call.body)
            return Reply(body=one)

        return answer

    def _checks(self, call: Call) -> Reply:
        resource = {"type": call.query["resourceType"], "id": call.query["resourceId"]}
        found = [one for one in self.state.all("check") if resource.items() <= one["resource"].items()]
        if call.query.get("$expand") != "settings":
            found = [{name: value for name, value in one.items() if name != "settings"} for one in found]
        return Reply(body={"count": len(found), "value": found})

    def _connect(self, call: Call) -> Reply:
        subject = f"sc://{ORGANIZATION}/{PROJECT}/{call.body['name']}"
        federation = {
            "workloadIdentityFederationIssuer": "https://vstoken",
            "workloadIdentityFederationSubject": subject,
        }
        made = self.state.add("endpoint", call.body)
        made["authorization"] = {
            **made["authorization"],
            "parameters": {**made["authorization"]["parameters"], **federation},
        }
        return Reply(body=made)

    def _permissions(self, call: Call) -> Reply:
        self.state.find(call.parts["kind"], call.parts["id"])
        users = self.state.permitted.get(f"{call.parts['kind']}/{call.parts['id']}", set())
        return Reply(body={"pipelines": [{"id": user, "authorized": True} for user in sorted(users)]})

    def _permit(self, call: Call) -> Reply:
        users = self.state.permitted.setdefault(f"{call.parts['kind']}/{call.parts['id']}", set())
        users.update(one["id"] for one in call.body["pipelines"] if one["authorized"])
        return self._permissions(call)


class Directory(Service):
    """`vssps.dev.azure.com`: groups of the project, and the identities that checks name."""

    name: ClassVar[str] = "vssps"
    audience: ClassVar[str] = AUDIENCE

    def __init__(self, state: ProjectState) -> None:
        self.state = state

    def endpoints(self) -> list[Endpoint]:
        base = f"/{ORGANIZATION}/_apis"
        return [
            Endpoint("GET", f"{base}/graph/descriptors/{PROJECT_ID}", lambda call: Reply(body={"value": "scp.1"})),
            Endpoint("GET", f"{base}/graph/groups", lambda call: Reply(body={"value": self.state.all("group")})),
            Endpoint("POST", f"{base}/graph/groups", self._add),
            Endpoint("GET", f"{base}/identities", self._identity),
        ]

    def _add(self, call: Call) -> Reply:
        descriptor = f"vssgp.{uuid5(NAMESPACE_OID, call.body['displayName'])}"
        return Reply(201, self.state.add("group", call.body, descriptor=descriptor))

    def _identity(self, call: Call) -> Reply:
        return Reply(body={"value": [{"id": identity_of(call.query["subjectDescriptors"])}]})


def identity_of(descriptor: str) -> str:
    return str(uuid5(NAMESPACE_OID, descriptor))
