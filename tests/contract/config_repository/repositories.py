"""A repository with the fleet's configuration, behind either adapter, as one story sees it."""

from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod
from pathlib import Path

from shared.adapters.azure.config_repository import DevopsConfigRepository
from shared.adapters.local.config_repository import LocalConfigRepository
from shared.ports import ConfigRepository, FileChange
from shared.yaml_edit import with_value
from tests.azure_services.definitions import devops as definitions
from tests.azure_services.git import DevopsGit, GitState, repository
from tests.azure_services.server import AzureServices, Call

PATH = "plants/P001/C001.yml"
BEFORE = "# why it is so\nplant_id: P001\ntraining:\n  cutoff_date: 2025-12-09  # until the pump was changed\n"
AFTER = BEFORE.replace("2025-12-09", "2026-03-01")
COMMAND = "P001_C001!proposal.1.2.OpenChange"
GENERIC = "item is an object, not a string"
"""The definition writes a generic type's parameter, `T`, where the service takes a path."""


def change(path: str = PATH, to: str = "2026-03-01", text: str = "It drifts.") -> FileChange:
    """The circuit's cutoff date moved."""
    return FileChange(
        path, lambda before: with_value(before, ("training", "cutoff_date"), to), "Train P001_C001 to 2026-03-01", text
    )


class Stage(ABC):
    """A repository whose branch main has the configuration's file."""

    port: ConfigRepository

    @abstractmethod
    def branches(self) -> dict[str, str]:
        """What the circuit's file says on each branch but main."""

    @abstractmethod
    def said(self, branch: str) -> str:
        """What people read of the change on a branch."""

    @abstractmethod
    def merge(self, branch: str) -> None:
        """A person merges the change."""

    @abstractmethod
    def abandon(self, branch: str) -> None:
        """A person gives the change up."""

    @abstractmethod
    def commit(self, text: str) -> None:
        """Somebody else changes the file on main."""


class OnDevops(Stage):
    def __init__(self) -> None:
        self.state = GitState()
        self.service = DevopsGit(self.state, problems)
        self.azure = AzureServices(self.service)
        self.commit(BEFORE)

    def start(self) -> None:
        self.azure.__enter__()
        options = {"connection_verify": str(self.azure.authority)}
        self.port = DevopsConfigRepository(repository(self.azure), self.azure.credential(), **options)

    def branches(self) -> dict[str, str]:
        return {
            ref.removeprefix("refs/heads/"): self.state.commits[tip].files[f"/config/{PATH}"]
            for ref, tip in self.state.refs.items()
            if ref != "refs/heads/main"
        }

    def said(self, branch: str) -> str:
        (request,) = [each for each in self.state.pull_requests if each.source == f"refs/heads/{branch}"]
        return f"{request.title}\n\n{request.description}"

    def merge(self, branch: str) -> None:
        self.service.complete(next(r for r in self.state.pull_requests if r.source == f"refs/heads/{branch}"))

    def abandon(self, branch: str) -> None:
        next(r for r in self.state.pull_requests if r.source == f"refs/heads/{branch}").status = "abandoned"

    def commit(self, text: str) -> None:
        self.state.commit("main", {f"/config/{PATH}": text})


class OnThisMachine(Stage):
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        file = folder / "config" / PATH
        file.parent.mkdir(parents=True)
        self._git("init", "-q", "-b", "main")
        self.commit(BEFORE)
        self.port = LocalConfigRepository(folder)

    def branches(self) -> dict[str, str]:
        names = self._git("for-each-ref", "--format=%(refname:short)", "refs/heads").split()
        return {name: self._git("show", f"{name}:config/{PATH}") for name in names if name != "main"}

    def said(self, branch: str) -> str:
        return self._git("log", "-1", "--format=%B", branch).strip()

    def merge(self, branch: str) -> None:
        self._git("merge", "-q", "--no-ff", "-m", "merged", branch)

    def abandon(self, branch: str) -> None:
        self._git("branch", "-q", "-D", branch)

    def commit(self, text: str) -> None:
        (self._folder / "config" / PATH).write_text(text)
        self._git("add", ".")
        self._git("commit", "-q", "-m", "by hand")

    def _git(self, *arguments: str) -> str:
        who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
        command = ["git", *who, "-C", str(self._folder), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def problems(call: Call) -> list[str] | None:
    """What a request does that Microsoft's definition of it does not allow."""
    found = definitions().problems(call)
    return [problem for problem in found if GENERIC not in problem] if found is not None else None
