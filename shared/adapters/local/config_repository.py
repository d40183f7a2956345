"""The configuration's repository on this machine: a change is a branch with one commit, whose message says why.

Nothing is checked out: the commit is made beside the working tree, so what somebody edits there is not touched.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from shared.adapters.azure.config_repository import branch_name
from shared.domain.values import ChangeState
from shared.errors import Permanent, Transient
from shared.ports import FileChange, OpenedChange

NOTHING = "0" * 40
WHO = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "sensor-forecast"), ("EMAIL", "sensor-forecast@localhost"))
}


class LocalConfigRepository:
    """Branches in a repository that somebody merges with `git merge`."""

    def __init__(self, repository: Path | str, branch: str = "main", folder: str = "config") -> None:
        self._repository = Path(repository)
        self._branch = branch
        self._folder = folder

    def open_change(self, command_id: str, change: FileChange) -> OpenedChange:
        branch = branch_name(command_id)
        commit = self._commit_of(branch)
        if commit is None:
            commit = self._commit(change)
            self._git("update-ref", f"refs/heads/{branch}", commit, NOTHING)
        return OpenedChange(f"{branch}@{commit}", f"{self._repository}: git show {branch}")

    def look(self, reference: str) -> ChangeState:
        branch, _, commit = reference.partition("@")
        if not self._ok("cat-file", "-e", f"{commit}^{{commit}}"):
            return ChangeState.UNKNOWN
        if self._ok("merge-base", "--is-ancestor", commit, f"refs/heads/{self._branch}"):
            return ChangeState.MERGED
        return ChangeState.OPEN if self._commit_of(branch) else ChangeState.ABANDONED

    def _commit(self, change: FileChange) -> str:
        parent = self._commit_of(self._branch)
        if parent is None:
            raise Permanent(
                f"{self._repository} has no branch {self._branch}: correct CONFIG_REPOSITORY and CONFIG_BRANCH"
            )
        path = f"{self._folder}/{change.path}".lstrip("/")
        if not self._ok("cat-file", "-e", f"{parent}:{path}"):
            raise Permanent(f"{self._repository} has no file {path} on {self._branch}: correct CONFIG_PATH")
        before = self._git("cat-file", "blob", f"{parent}:{path}")
        after = change.edit(before)
        if after == before:
            raise Permanent(f"{path} says that already on {self._branch}: there is nothing to propose")
        blob = self._git("hash-object", "-w", "--stdin", given=after).strip()
        mode = self._git("ls-tree", parent, path).split(" ", 1)[0]
        with tempfile.TemporaryDirectory() as beside:
            index = {"GIT_INDEX_FILE": str(Path(beside) / "index")}
            self._git("read-tree", parent, **index)
            self._git("update-index", "--cacheinfo", f"{mode},{blob},{path}", **index)
            tree = self._git("write-tree", **index).strip()
        message = f"{change.title}\n\n{change.text}\n"
        return self._git("commit-tree", tree, "-p", parent, given=message, **WHO).strip()

    def _commit_of(self, branch: str) -> str | None:
        name = f"refs/heads/{branch}"
        return (
            self._git("rev-parse", "--verify", name).strip() if self._ok("rev-parse", "--verify", "-q", name) else None
        )

    def _ok(self, *arguments: str) -> bool:
        return self._run(*arguments).returncode == 0

    def _git(self, *arguments: str, given: str = "", **environment: str) -> str:
        ran = self._run(*arguments, given=given, **environment)
        if ran.returncode:
            raise Transient(f"git {arguments[0]} in {self._repository}: {ran.stderr.decode(errors='replace').strip()}")
        return ran.stdout.decode()

    def _run(self, *arguments: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
        if not self._repository.is_dir():
            raise Permanent(f"CONFIG_REPOSITORY is {self._repository}, and there is no such folder")
        own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        command = ["git", "-C", str(self._repository), *arguments]
        return subprocess.run(
            command, input=given.encode(), env={**own, **environment}, capture_output=True, check=False
        )
