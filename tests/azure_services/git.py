"""Azure DevOps' Git here: one repository with branches, commits and pull requests.

Objects are kept as snapshots of all files; their ids are of their content, as Git's are. What a request may look like
is said by Microsoft's definitions where they are at hand; what is refused is written below.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from shared.adapters.azure.config_repository import Repository
from tests.azure_services.devops import AUDIENCE, ORGANIZATION, PROJECT
from tests.azure_services.server import AzureServices, Call, Endpoint, Refused, Reply, Service

REPOSITORY = "fleet-config"
NOTHING = "0" * 40
Problems = Callable[[Call], Sequence[str] | None]


def repository(azure: AzureServices) -> Repository:
    """The adapter's constructor parameters for this service."""
    return Repository(f"{azure.url(DevopsGit.name)}/{ORGANIZATION}", PROJECT, REPOSITORY)


@dataclass(frozen=True)
class Commit:
    parent: str
    comment: str
    files: Mapping[str, str]

    @property
    def id(self) -> str:
        return hashlib.sha1(repr((self.parent, self.comment, sorted(self.files.items()))).encode()).hexdigest()


@dataclass
class PullRequest:
    id: int
    source: str
    target: str
    title: str
    description: str
    status: str = "active"


@dataclass
class GitState:
    """Everything that the repository keeps: tips by full name of their branch."""

    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    pull_requests: list[PullRequest] = field(default_factory=list)
    may_create_branches: bool = True

    def commit(self, branch: str, files: Mapping[str, str], comment: str = "by hand") -> str:
        """Somebody's commit to a branch, which is made if it is not there."""
        ref = f"refs/heads/{branch}"
        parent = self.refs.get(ref, NOTHING)
        before = self.commits[parent].files if parent in self.commits else {}
        made = Commit(parent, comment, {**before, **files})
        self.commits[made.id] = made
        self.refs[ref] = made.id
        return made.id


class DevopsGit(Service):
    """`dev.azure.com`: Git of one repository."""

    name: ClassVar[str] = "devops-git"
    audience: ClassVar[str] = AUDIENCE

    def __init__(self, state: GitState, problems: Problems) -> None:
        self.state = state
        self._problems = problems

    def endpoints(self) -> list[Endpoint]:
        git = f"/{ORGANIZATION}/{PROJECT}/_apis/git/repositories/{REPOSITORY}"
        return [
            Endpoint("GET", f"{git}/refs", self._refs),
            Endpoint("POST", f"{git}/refs", self._update_refs),
            Endpoint("GET", f"{git}/items", self._item),
            Endpoint("POST", f"{git}/pushes", self._push),
            Endpoint("GET", f"{git}/pullrequests", self._pull_requests),
            Endpoint("POST", f"{git}/pullrequests", self._ask),
            Endpoint("GET", f"{git}/pullrequests/{{number:int}}", self._pull_request),
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

    def complete(self, request: PullRequest) -> None:
        """A person merges a pull request."""
        source = self.state.commits[self.state.refs[request.source]]
        self.state.commit(request.target.removeprefix("refs/heads/"), source.files, f"Merged PR {request.id}")
        request.status = "completed"

    # ---------------------------------------------------------------------------------------------------- operations

    def _refs(self, call: Call) -> Reply:
        wanted = f"refs/{call.query.get('filter', '')}"
        found = [{"name": n, "objectId": tip} for n, tip in sorted(self.state.refs.items()) if n.startswith(wanted)]
        return Reply(body={"count": len(found), "value": found})

    def _update_refs(self, call: Call) -> Reply:
        results = []
        for update in call.body:
            name, old, new = update["name"], update["oldObjectId"], update["newObjectId"]
            status = "succeeded"
            if self.state.refs.get(name, NOTHING) != old:
                status = "staleOldObjectId"
            elif not self.state.may_create_branches:
                status = "createBranchPermissionRequired"
            else:
                self.state.refs[name] = new
            results.append({"name": name, "success": status == "succeeded", "updateStatus": status})
        return Reply(body={"count": len(results), "value": results})

    def _item(self, call: Call) -> Reply:
        version, kind = call.query["versionDescriptor.version"], call.query["versionDescriptor.versionType"]
        commit = self.state.commits.get(version) if kind == "commit" else None
        path = call.query["path"]
        if commit is None or path not in commit.files:
            raise Refused(404, "GitItemNotFoundException", f"TF401174: The item '{path}' could not be found")
        return Reply(body={"objectId": commit.id, "path": path, "content": commit.files[path]})

    def _push(self, call: Call) -> Reply:
        (update,), (made,) = call.body["refUpdates"], call.body["commits"]
        name, old = update["name"], update["oldObjectId"]
        if self.state.refs.get(name) != old:
            raise Refused(409, "GitReferenceStaleException", f"TF401028: The reference '{name}' has been updated")
        files = {}
        for change in made["changes"]:
            path = change["item"]["path"]
            if change["changeType"] == "edit" and path not in self.state.commits[old].files:
                raise Refused(400, "GitItemNotFoundException", f"there is no {path} to edit")
            files[path] = change["newContent"]["content"]
        tip = self.state.commit(name.removeprefix("refs/heads/"), files, made["comment"])
        return Reply(201, {"pushId": len(self.state.commits), "refUpdates": [{"name": name, "newObjectId": tip}]})

    def _pull_requests(self, call: Call) -> Reply:
        source, status = (
            call.query.get("searchCriteria.sourceRefName"),
            call.query.get("searchCriteria.status", "active"),
        )
        found = [
            _shown(request)
            for request in reversed(self.state.pull_requests)
            if source in (None, request.source) and status in ("all", request.status)
        ]
        return Reply(body={"count": len(found), "value": found})

    def _ask(self, call: Call) -> Reply:
        source, target = call.body["sourceRefName"], call.body["targetRefName"]
        if any(r.status == "active" and (r.source, r.target) == (source, target) for r in self.state.pull_requests):
            raise Refused(409, "GitPullRequestExistsException", "TF401179: An active pull request exists already")
        if len(call.body["description"]) > 4000:
            raise Refused(400, "InvalidArgumentValueException", "A description may have 4000 characters")
        number = len(self.state.pull_requests) + 1
        made = PullRequest(number, source, target, call.body["title"], call.body["description"])
        self.state.pull_requests.append(made)
        return Reply(201, _shown(made))

    def _pull_request(self, call: Call) -> Reply:
        number = int(call.parts["number"])
        found = next((request for request in self.state.pull_requests if request.id == number), None)
        if found is None:
            raise Refused(404, "GitPullRequestNotFoundException", f"TF401180: pull request {number} was not found")
        return Reply(body=_shown(found))


def _shown(request: PullRequest) -> dict[str, Any]:
    return {
        "pullRequestId": request.id,
        "status": request.status,
        "sourceRefName": request.source,
        "targetRefName": request.target,
        "title": request.title,
        "description": request.description,
    }
