"""The configuration's repository in Azure DevOps: a change is a branch with one commit, and a pull request for it.

Three requests make one change, and any of them may be lost. The branch is named after the command, its commit and its
pull request are looked for before they are made, so the next try goes on where the last one ended.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from azure.core.credentials import TokenCredential

from shared.adapters.azure.rest import RestClient
from shared.domain.values import ChangeState
from shared.errors import Permanent, Transient
from shared.ports import FileChange, OpenedChange

SCOPE = "499b84ac-1321-427f-aa17-267ca6975798/.default"
VERSION = {"api-version": "7.1"}
NOTHING = "0" * 40
LONGEST_TEXT = 4000
"""Characters that Azure DevOps takes for a pull request's description."""

_STATES: Mapping[str, ChangeState] = {
    "active": ChangeState.OPEN,
    "completed": ChangeState.MERGED,
    "abandoned": ChangeState.ABANDONED,
}

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Repository:
    """Where the configuration is: addresses and names in Azure DevOps, the branch it is merged to, and its folder."""

    organization: str
    project: str
    name: str
    branch: str = "main"
    folder: str = "config"


class DevopsConfigRepository:
    """Pull requests by the app's identity, which may contribute and create branches, and cannot complete them."""

    def __init__(self, repository: Repository, credential: TokenCredential, **options: Any) -> None:
        self._repository = repository
        project = f"{repository.organization.rstrip('/')}/{repository.project}"
        self._git = RestClient(
            "Azure DevOps", f"{project}/_apis/git/repositories/{quote(repository.name)}", credential, SCOPE, **options
        )
        self._pages = f"{project}/_git/{quote(repository.name)}/pullrequest"

    def open_change(self, command_id: str, change: FileChange) -> OpenedChange:
        branch = branch_name(command_id)
        asked = self._pull_request(branch)
        if asked is None:
            self._commit(branch, command_id, change)
            asked = self._ask(branch, command_id, change)
        number = str(asked["pullRequestId"])
        return OpenedChange(number, f"{self._pages}/{number}")

    def look(self, reference: str) -> ChangeState:
        answer = self._git.get(f"pullrequests/{reference}", VERSION)
        return _STATES.get(str(_document(answer.body)["status"]), ChangeState.OPEN) if answer else ChangeState.UNKNOWN

    def _pull_request(self, branch: str) -> Document | None:
        """The pull request of the branch, whatever became of it; of two, the older."""
        query = {"searchCriteria.sourceRefName": _ref(branch), "searchCriteria.status": "all", **VERSION}
        answer = self._git.get("pullrequests", query)
        found = _values(answer.body) if answer else ()
        return min(found, key=lambda request: int(request["pullRequestId"]), default=None)

    def _commit(self, branch: str, command_id: str, change: FileChange) -> None:
        """One commit on a branch of its own, unless an earlier try has made it."""
        tip = self._tip(branch)
        base = tip or self._require_tip()
        path = f"/{self._repository.folder}/{change.path}".replace("//", "/")
        before = self._read(path, base)
        after = change.edit(before)
        if after == before:
            if tip is None:
                raise Permanent(f"{path} says that already on {self._repository.branch}: there is nothing to propose")
            return
        if tip is None:
            self._create(branch, base, command_id)
        content = {"content": after, "contentType": "rawText"}
        edited = {"changeType": "edit", "item": {"path": path}, "newContent": content}
        body = {
            "refUpdates": [{"name": _ref(branch), "oldObjectId": base}],
            "commits": [{"comment": change.title, "changes": [edited]}],
        }
        self._git.start("POST", "pushes", command_id, body, VERSION)

    def _create(self, branch: str, tip: str, command_id: str) -> None:
        body = [{"name": _ref(branch), "oldObjectId": NOTHING, "newObjectId": tip}]
        answer = self._git.start("POST", "refs", command_id, body, VERSION)
        (made,) = _values(answer.body)
        if not made.get("success"):
            # The answer is 200 also when the branch could not be made.
            status = made.get("updateStatus")
            if status == "staleOldObjectId":
                raise Transient(f"branch {branch} is being made by somebody else", retry_after=2)
            raise Permanent(
                f"Azure DevOps did not make branch {branch}: {status}. May the app's identity create branches?"
            )

    def _ask(self, branch: str, command_id: str, change: FileChange) -> Document:
        text = change.text if len(change.text) <= LONGEST_TEXT else f"{change.text[: LONGEST_TEXT - 1]}…"
        body = {
            "sourceRefName": _ref(branch),
            "targetRefName": _ref(self._repository.branch),
            "title": change.title,
            "description": text,
        }
        return _document(self._git.start("POST", "pullrequests", command_id, body, VERSION).body)

    def _tip(self, branch: str) -> str | None:
        """The commit that a branch is at. The service's filter takes every branch whose name begins so."""
        answer = self._git.get("refs", {"filter": _ref(branch).removeprefix("refs/"), **VERSION})
        refs = _values(answer.body) if answer else ()
        return next((str(ref["objectId"]) for ref in refs if ref["name"] == _ref(branch)), None)

    def _require_tip(self) -> str:
        tip = self._tip(self._repository.branch)
        if tip is None:
            raise Permanent(
                f"repository {self._repository.name} has no branch {self._repository.branch} that the app's identity"
                " may read: correct CONFIG_REPOSITORY and CONFIG_BRANCH, or its rights"
            )
        return tip

    def _read(self, path: str, commit: str) -> str:
        query = {
            "path": path,
            "includeContent": "true",
            "$format": "json",
            "versionDescriptor.version": commit,
            "versionDescriptor.versionType": "commit",
            **VERSION,
        }
        answer = self._git.get("items", query)
        if answer is None:
            raise Permanent(f"repository {self._repository.name} has no file {path}: correct CONFIG_PATH")
        return str(_document(answer.body)["content"])


def branch_name(command_id: str) -> str:
    """The branch of a command's change; what Git does not take in a name is replaced, and two never meet."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", command_id).strip("-")
    return f"proposals/{plain[:80]}-{hashlib.sha256(command_id.encode()).hexdigest()[:8]}"


def _ref(branch: str) -> str:
    return f"refs/heads/{branch}"


def _document(body: Any) -> Document:
    if not isinstance(body, Mapping):
        raise Transient("Azure DevOps answered with a page instead of data: the app's identity is not signed in there")
    return body


def _values(body: Any) -> Sequence[Document]:
    return _document(body).get("value") or ()
