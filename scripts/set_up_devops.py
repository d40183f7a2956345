#!/usr/bin/env python3
"""Make an Azure DevOps project what pipelines/devops.yml says, over REST 7.1; run again, it changes what differs.

  scripts/set_up_devops.py --organization https://dev.azure.com/contoso --project fleet --values FILE --dry-run
  scripts/set_up_devops.py --organization https://dev.azure.com/contoso --project fleet --values FILE

Groups, environments with their approval checks, service connections, variable groups, pipelines and what they may use,
policies of the branch main, and the service hooks. Nothing is ever removed. --values (may be repeated) are JSON files
with what the placeholders of devops.yml stand for: the app's settings (docs/examples/azure.settings.json) and the rest
(docs/examples/devops.values.json). Secrets (DEVOPS_HOOK_SECRET, HOOK_FUNCTION_KEY) are read from the environment. Who
is signed in to Azure CLI does it, and must be an administrator of the project. A service connection needs a federated
credential on its identity: issuer and subject are printed.

Prints one JSON object with every change. Exit codes: 0 the project is so (or --dry-run said what would change); 1 not;
2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import yaml

from shared.adapters.azure.rest import RestClient
from shared.errors import FleetError

DECLARED = Path(__file__).resolve().parents[1] / "pipelines" / "devops.yml"
SCOPE = "499b84ac-1321-427f-aa17-267ca6975798/.default"
VERSION = {"api-version": "7.1"}
PREVIEW = {"api-version": "7.1-preview.1"}
APPROVAL = {"id": "8c6f20a7-a545-4486-9777-f762fafe0d4d", "name": "Approval"}
POLICIES: Mapping[str, str] = {
    "minimum reviewers": "fa4e907d-c16b-4a4c-9dfa-4906e5d171dd",
    "comments resolved": "c6a1889d-b943-4856-b76f-9e46bb6b0df2",
    "build": "0609b952-1397-4640-95ec-e00a01b2c241",
    "required reviewers": "fd2167ab-b0be-447a-8ec8-39368250530e",
}
"""The ids of Azure DevOps' own policy types, the same in every organisation."""
SECRETS = ("DEVOPS_HOOK_SECRET", "HOOK_FUNCTION_KEY")
NOT_YET = "(not made yet)"


class NotSetUp(Exception):
    """The project cannot be made what is declared; the text says what is missing."""


def declared(values: Mapping[str, str], file: Path = DECLARED) -> dict[str, Any]:
    """The declaration with its placeholders filled. Raises NotSetUp naming every value that is missing."""
    missing: set[str] = set()

    def filled(part: Any) -> Any:
        if isinstance(part, Mapping):
            return {key: filled(value) for key, value in part.items()}
        if isinstance(part, list):
            return [filled(value) for value in part]
        return re.sub(r"\{(\w+)\}", value, part) if isinstance(part, str) else part

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            missing.add(match[1])
        return values.get(match[1], "")

    whole: dict[str, Any] = filled(yaml.safe_load(file.read_text(encoding="utf-8")))
    if missing:
        raise NotSetUp(f"devops.yml needs values for {', '.join(sorted(missing))}: give them with --values")
    return whole


@dataclass(frozen=True)
class Place:
    """An organisation and one of its projects: addresses without a slash at the end, and the project's name."""

    organization: str
    project: str
    graph: str

    @classmethod
    def of(cls, organization: str, project: str) -> Place:
        organization = organization.rstrip("/")
        return cls(
            organization, project, organization.replace("https://dev.azure.com/", "https://vssps.dev.azure.com/")
        )


@dataclass
class Setup:
    """Brings a project in line. `changes` says what was done, or with `dry_run` what would be."""

    place: Place
    credential: Any
    wanted: Mapping[str, Any]
    subscription: Mapping[str, str]
    dry_run: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    changes: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        def client(address: str) -> RestClient:
            return RestClient("Azure DevOps", address, self.credential, SCOPE, **self.options)

        self._organization = client(f"{self.place.organization}/_apis")
        self._project = client(f"{self.place.organization}/{self.place.project}/_apis")
        self._graph = client(f"{self.place.graph}/_apis")

    def run(self) -> None:
        """Everything, in the order in which one thing needs another. Raises NotSetUp, and FleetError of the service."""
        self._id = self._get(self._organization, f"projects/{self.place.project}")["id"]
        self._repository = self._get(self._project, f"git/repositories/{self.place.project}")["id"]
        groups = self.ensure_groups()
        pipelines = self.ensure_pipelines()
        environments = self.ensure_environments(groups)
        connections = self.ensure_service_connections()
        variables = self.ensure_variable_groups()
        for kind, name, made in (
            ("environment", "environments", environments),
            ("endpoint", "service_connections", connections),
            ("variablegroup", "variable_groups", variables),
        ):
            self.ensure_permitted(kind, self.wanted[name], made, pipelines)
        self.ensure_branch_policies(pipelines, groups)
        self.ensure_hooks(pipelines)

    # ---------------------------------------------------------------------------------------------------- who approves

    def ensure_groups(self) -> dict[str, str]:
        """Each group's identity, which checks and policies name, by its name."""
        scope = self._get(self._graph, f"graph/descriptors/{self._id}", PREVIEW)["value"]
        query = {"scopeDescriptor": scope, **PREVIEW}
        known = {group["displayName"]: group["descriptor"] for group in self._list(self._graph, "graph/groups", query)}
        for name in self.wanted["groups"]:
            if name not in known:
                made = self._change("create", "group", name, self._graph, "POST", "graph/groups",
                                    {"displayName": name, "description": "Approves releases."}, query)  # fmt: skip
                known[name] = made.get("descriptor", NOT_YET)
        return {name: self._identity(known[name]) for name in self.wanted["groups"]}

    def _identity(self, descriptor: str) -> str:
        if descriptor == NOT_YET:
            return NOT_YET
        found = self._list(self._graph, "identities", {"subjectDescriptors": descriptor, **VERSION})
        if not found:
            raise NotSetUp(f"Azure DevOps knows no identity of {descriptor}: wait until it is known, and run again")
        return str(found[0]["id"])

    # ---------------------------------------------------------------------------------------------------- environments

    def ensure_environments(self, groups: Mapping[str, str]) -> dict[str, str]:
        known = {one["name"]: str(one["id"]) for one in self._list(self._project, "distributedtask/environments")}
        for one in self.wanted["environments"]:
            name = one["name"]
            if name not in known:
                body = {"name": name, "description": one["description"]}
                made = self._change("create", "environment", name, self._project, "POST",
                                    "distributedtask/environments", body)  # fmt: skip
                known[name] = str(made.get("id", NOT_YET))
            if "approval" in one:
                self._ensure_check(name, known[name], [groups[group] for group in one["approval"]["groups"]])
        return known

    def _ensure_check(self, environment: str, number: str, approvers: Sequence[str]) -> None:
        common = self.wanted["approval"]
        settings = {
            "approvers": [{"id": approver} for approver in approvers],
            "executionOrder": "anyOrder",
            "minRequiredApprovers": 1,
            "instructions": common["instructions"],
            "requesterCannotBeApprover": True,
            "blockedApprovers": [],
        }
        body = {
            "type": APPROVAL,
            "settings": settings,
            "timeout": common["timeout_minutes"],
            "resource": {"type": "environment", "id": number, "name": environment},
        }
        address = "pipelines/checks/configurations"
        query = {"resourceType": "environment", "resourceId": number, "$expand": "settings", **PREVIEW}
        found = [] if number == NOT_YET else self._list(self._project, address, query)
        check = next((one for one in found if one["type"]["id"] == APPROVAL["id"]), None)
        if check is None:
            self._change("create", "approval check", environment, self._project, "POST", address, body, PREVIEW)
        elif not _agrees(settings, check["settings"]) or check["timeout"] != body["timeout"]:
            self._change("update", "approval check", environment, self._project, "PATCH",
                         f"{address}/{check['id']}", body, PREVIEW)  # fmt: skip

    # --------------------------------------------------------------------------------- service connections, variables

    def ensure_service_connections(self) -> dict[str, str]:
        names = ",".join(one["name"] for one in self.wanted["service_connections"])
        found = self._list(self._project, "serviceendpoint/endpoints", {"endpointNames": names, **VERSION})
        known = {one["name"]: str(one["id"]) for one in found}
        for one in self.wanted["service_connections"]:
            if one["name"] in known:
                continue
            reference = {"id": self._id, "name": self.place.project}
            body = {
                "name": one["name"],
                "description": one["description"],
                "type": "azurerm",
                "url": "https://management.azure.com/",
                "authorization": {
                    "scheme": "WorkloadIdentityFederation",
                    "parameters": {
                        "tenantid": self.subscription["AZURE_TENANT_ID"],
                        "serviceprincipalid": one["client_id"],
                    },
                },
                "data": {
                    "environment": "AzureCloud",
                    "scopeLevel": "Subscription",
                    "creationMode": "Manual",
                    "subscriptionId": self.subscription["AZURE_SUBSCRIPTION_ID"],
                    "subscriptionName": self.subscription["AZURE_SUBSCRIPTION_ID"],
                },
                "serviceEndpointProjectReferences": [{"projectReference": reference, "name": one["name"]}],
            }
            made = self._change("create", "service connection", one["name"], self._organization, "POST",
                                "serviceendpoint/endpoints", body)  # fmt: skip
            known[one["name"]] = str(made.get("id", NOT_YET))
            if federation := (made.get("authorization") or {}).get("parameters"):
                issuer, subject = (
                    federation.get(f"workloadIdentityFederation{part}") for part in ("Issuer", "Subject")
                )
                self.changes[-1] |= {"issuer": str(issuer), "subject": str(subject)}
        return known

    def ensure_variable_groups(self) -> dict[str, str]:
        found = {one["name"]: one for one in self._list(self._project, "distributedtask/variablegroups")}
        made: dict[str, str] = {}
        for one in self.wanted["variable_groups"]:
            name, there = one["name"], found.get(one["name"])
            reference = {"projectReference": {"id": self._id, "name": self.place.project}, "name": name}
            body = {
                "name": name,
                "description": one["description"],
                "type": "Vsts",
                "variables": {variable: {"value": str(value)} for variable, value in one["variables"].items()},
                "variableGroupProjectReferences": [reference],
            }
            address = "distributedtask/variablegroups"
            if there is None:
                answer = self._change("create", "variable group", name, self._organization, "POST", address, body)
                made[name] = str(answer.get("id", NOT_YET))
                continue
            made[name] = str(there["id"])
            if not _agrees(body["variables"], there["variables"]):
                # What people have added to the group stays in it.
                whole = {**body, "variables": {**there["variables"], **body["variables"]}}
                self._change("update", "variable group", name, self._organization, "PUT",
                             f"{address}/{there['id']}", whole)  # fmt: skip
        return made

    # ---------------------------------------------------------------------------------------- pipelines, permissions

    def ensure_pipelines(self) -> dict[str, str]:
        known = {one["name"]: str(one["id"]) for one in self._list(self._project, "pipelines")}
        for one in self.wanted["pipelines"]:
            if one["name"] not in known:
                repository = {"id": self._repository, "type": "azureReposGit"}
                configuration = {"type": "yaml", "path": f"/{one['file']}", "repository": repository}
                body = {"name": one["name"], "folder": "\\", "configuration": configuration}
                made = self._change("create", "pipeline", one["name"], self._project, "POST", "pipelines", body)
                known[one["name"]] = str(made.get("id", NOT_YET))
        return known

    def ensure_permitted(
        self, kind: str, resources: Sequence[Mapping[str, Any]], ids: Mapping[str, str], pipelines: Mapping[str, str]
    ) -> None:
        """Each resource may be used by the pipelines that are named beside it; who else may is left as it is."""
        for resource in resources:
            number, users = ids[resource["name"]], [pipelines[name] for name in resource.get("used_by", ())]
            address = f"pipelines/pipelinepermissions/{kind}/{number}"
            there = {} if number == NOT_YET else self._get(self._project, address, PREVIEW)
            permitted = {str(one["id"]) for one in there.get("pipelines", ()) if one.get("authorized")}
            missing = [user for user in users if user not in permitted]
            if missing:
                body = {"pipelines": [{"id": int(user), "authorized": True} for user in missing if user != NOT_YET]}
                self._change("permit", kind, f"{resource['name']} to {len(missing)} pipelines", self._project, "PATCH",
                             address, body, PREVIEW)  # fmt: skip

    # ---------------------------------------------------------------------------------------------- policies, hooks

    def ensure_branch_policies(self, pipelines: Mapping[str, str], groups: Mapping[str, str]) -> None:
        scope = [{"repositoryId": self._repository, "refName": "refs/heads/main", "matchKind": "Exact"}]
        found = self._list(self._project, "policy/configurations")
        for one in self.wanted["branch_policies"]:
            kind, path = one["kind"], one.get("path")
            wanted = self._policy(one, pipelines, groups) | {"scope": scope}
            body = {"isEnabled": True, "isBlocking": True, "type": {"id": POLICIES[kind]}, "settings": wanted}
            same = [
                policy
                for policy in found
                if policy["type"]["id"] == POLICIES[kind]
                and policy["settings"].get("scope") == scope
                and policy["settings"].get("filenamePatterns") == ([path] if path else None)
            ]
            name = f"{kind}{f' of {path}' if path else ''}"
            if not same:
                self._change("create", "branch policy", name, self._project, "POST", "policy/configurations", body)
            elif not (_agrees(wanted, same[0]["settings"]) and same[0]["isEnabled"] and same[0]["isBlocking"]):
                self._change("update", "branch policy", name, self._project, "PUT",
                             f"policy/configurations/{same[0]['id']}", body)  # fmt: skip

    def _policy(
        self, one: Mapping[str, Any], pipelines: Mapping[str, str], groups: Mapping[str, str]
    ) -> dict[str, Any]:
        match one["kind"]:
            case "minimum reviewers":
                return {
                    "minimumApproverCount": one["count"],
                    "creatorVoteCounts": False,
                    "resetOnSourcePush": True,
                }
            case "build":
                number = pipelines[one["pipeline"]]
                return {
                    "buildDefinitionId": number if number == NOT_YET else int(number),
                    "queueOnSourceUpdateOnly": True,
                    "manualQueueOnly": False,
                    "displayName": one["pipeline"],
                    "validDuration": 720.0,
                }
            case "required reviewers":
                return {
                    "requiredReviewerIds": [groups[group] for group in one["groups"]],
                    "filenamePatterns": [one["path"]],
                    "creatorVoteCounts": False,
                    "minimumApproverCount": 1,
                }
            case _:
                return {}

    def ensure_hooks(self, pipelines: Mapping[str, str]) -> None:
        wanted = self.wanted["hooks"]
        pipeline, secrets = pipelines[wanted["pipeline"]], [os.environ.get(name, "") for name in SECRETS]
        query = {"publisherId": "pipelines", "consumerId": "webHooks", **VERSION}
        found = self._list(self._organization, "hooks/subscriptions", query)
        there = {(one["eventType"], one["publisherInputs"].get("pipelineId")) for one in found}
        for event in wanted["events"]:
            if (event, pipeline) in there:  # what it sends is masked: rotate by deleting it there, and running this
                continue
            if not self.dry_run and not all(secrets):
                raise NotSetUp(f"the hooks need {' and '.join(SECRETS)} in the environment")
            body = {
                "publisherId": "pipelines",
                "eventType": event,
                "resourceVersion": "5.1-preview.1",
                "consumerId": "webHooks",
                "consumerActionId": "httpRequest",
                "publisherInputs": {"projectId": self._id, "pipelineId": pipeline},
                "consumerInputs": {"url": wanted["url"], "httpHeaders": f"X-Hook-Secret:{wanted['secret']}"},
            }
            self._change("create", "service hook", event, self._organization, "POST", "hooks/subscriptions", body)

    # ------------------------------------------------------------------------------------------------------- requests

    def _change(
        self,
        action: str,
        kind: str,
        name: str,
        client: RestClient,
        method: str,
        address: str,
        body: Mapping[str, Any],
        query: Mapping[str, str] = VERSION,
    ) -> Mapping[str, Any]:
        """Do one change, and say it; nothing is sent in a dry run."""
        self.changes.append({"action": action, "kind": kind, "name": name})
        if self.dry_run:
            return {}
        answer = client.send(method, address, body, query)
        return _object(answer.body if answer else None)

    def _get(self, client: RestClient, address: str, query: Mapping[str, str] = VERSION) -> Mapping[str, Any]:
        answer = client.get(address, query)
        if answer is None:
            raise NotSetUp(
                f"there is no {client.url}/{address}: make the project, with a repository of its name, first"
            )
        return _object(answer.body)

    def _list(self, client: RestClient, address: str, query: Mapping[str, str] = VERSION) -> list[Mapping[str, Any]]:
        """Everything of a list, over all its pages."""
        found: list[Mapping[str, Any]] = []
        token = ""
        while True:
            answer = client.send("GET", address, query={**query, **({"continuationToken": token} if token else {})})
            assert answer is not None
            found += _object(answer.body)["value"]
            token = answer.headers.get("x-ms-continuationtoken", "")
            if not token:
                return found


def _object(body: Any) -> Mapping[str, Any]:
    """An answer's JSON; who is not signed in is shown a page instead, with a good status."""
    if not isinstance(body, Mapping):
        raise NotSetUp("Azure DevOps answered with a page instead of data: sign in with az login, to its own directory")
    return body


def _agrees(wanted: Any, there: Any) -> bool:
    """Whether everything that is wanted is so; what else is there is nobody's affair here."""
    if isinstance(wanted, Mapping) and isinstance(there, Mapping):
        return all(name in there and _agrees(value, there[name]) for name, value in wanted.items())
    if isinstance(wanted, list) and isinstance(there, list):
        return len(wanted) == len(there) and all(any(_agrees(one, other) for other in there) for one in wanted)
    return bool(wanted == there)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--organization", required=True, help="https://dev.azure.com/{name}")
    parser.add_argument("--project", required=True, help="the project's name; its repository has the same")
    parser.add_argument("--values", type=Path, action="append", required=True, help="JSON file; may be repeated")
    parser.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
    given = parser.parse_args(arguments)
    if not re.fullmatch(r"https://dev\.azure\.com/[A-Za-z0-9-]+/?", given.organization):
        parser.error(f"--organization is {given.organization!r}, not https://dev.azure.com/{{name}}")
    try:
        values: dict[str, str] = {}
        for file in given.values:
            document = json.loads(file.read_text(encoding="utf-8"))
            values |= document.get("Values", document)
        values |= {name: os.environ.get(name, "") for name in SECRETS}
        needed = ("AZURE_TENANT_ID", "AZURE_SUBSCRIPTION_ID")
        if missing := [name for name in needed if not values.get(name)]:
            raise NotSetUp(f"the service connections need {' and '.join(missing)}: give them with --values")
        from azure.identity import AzureCliCredential

        setup = Setup(
            Place.of(given.organization, given.project), AzureCliCredential(), declared(values), values, given.dry_run
        )
        setup.run()
    except (FleetError, NotSetUp, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps({"project": given.project, "dry_run": given.dry_run, "changes": setup.changes}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
