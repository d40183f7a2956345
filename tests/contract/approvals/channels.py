"""The two approval channels as their contract sees them: asking through the port, and looking at what people see."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from shared.adapters.azure.approvals import SCOPE, VERSION, DevopsApprovals
from shared.adapters.azure.rest import RestClient
from shared.adapters.local.approvals import TopicApprovals
from shared.adapters.local.state_store import MemoryStateStore
from shared.domain.messages import Person
from shared.ports import ApprovalChannel, StateStore
from tests.azure_services.definitions import devops
from tests.azure_services.devops import (
    ORGANIZATION,
    PIPELINE,
    PROJECT,
    Approval,
    Check,
    DevopsState,
    Run,
    services,
    wanted,
)
from tests.azure_services.server import AzureServices, Fault
from tests.builders import DIRECTORS, ENGINEERS
from tests.simulated import SimulatedTopic

RELEASE = "P001_C001:3"
DIGEST = "5f" * 32
EITHER, BOTH = ((ENGINEERS, DIRECTORS),), ((ENGINEERS,), (DIRECTORS,))


def approval_id(number: int = 1, gate: str = "registry") -> str:
    return f"{RELEASE}:{gate}:{number}"


def instructions(gate: str = "registry", groups: tuple[tuple[str, ...], ...] = ((ENGINEERS,),)) -> dict[str, Any]:
    """What the application tells a channel about a gate."""
    return {
        "release": RELEASE,
        "gate": gate,
        "evidence": "https://fleet.blob.core.windows.net/fleet-documents/evidence/P001_C001/1.json",
        "digest": DIGEST,
        "groups": groups,
        "expires_at": "2026-01-31T06:00:00+00:00",
    }


class Channel(ABC):
    """One channel. `questions`: what people were asked, by approval id; `taken_back`: what they no longer are."""

    port: ApprovalChannel

    @property
    @abstractmethod
    def questions(self) -> Mapping[str, Mapping[str, Any]]: ...

    @property
    @abstractmethod
    def taken_back(self) -> set[str]: ...

    @abstractmethod
    def break_down(self) -> None:
        """Let the system behind the channel refuse everything, as one that will be well again."""


class Embedded(Channel):
    """The product's own: people answer its API, and the topic tells of what is asked."""

    def __init__(self) -> None:
        self._topic = SimulatedTopic()
        self.port = TopicApprovals(self._topic)

    @property
    def questions(self) -> Mapping[str, Mapping[str, Any]]:
        return {payload["approval"]: payload for payload in self._told("ApprovalRequested")}

    @property
    def taken_back(self) -> set[str]:
        return {payload["approval"] for payload in self._told("ApprovalWithdrawn")}

    def break_down(self) -> None:
        self._topic.down = True

    def _told(self, ending: str) -> list[Mapping[str, Any]]:
        return [payload for kind, _, payload in self._topic.published if kind.endswith(ending)]


class OnDevops(Channel):
    """Azure DevOps: runs of the gate pipeline, and people who answer in its portal."""

    def __init__(self) -> None:
        self.services = self.devops, self._graph = services(DevopsState(), devops().problems)
        self.azure = AzureServices(self.devops, self._graph)

    def renew(self) -> None:
        """A project in which nothing has happened, asked by an application that remembers nothing."""
        self.azure.faults.switch_off()
        self.devops.state = self._graph.state = self.state = DevopsState(
            environments={
                "azureml-registry": Check((ENGINEERS,)),
                "production-workspace": Check((ENGINEERS, DIRECTORS)),
                f"production-workspace-{ENGINEERS}": Check((ENGINEERS,)),
                f"production-workspace-{DIRECTORS}": Check((DIRECTORS,)),
            }
        )
        self.store: StateStore = MemoryStateStore()
        self.port = self.adapter(self.store)

    def adapter(self, store: StateStore) -> DevopsApprovals:
        options = {"connection_verify": str(self.azure.authority), "read_timeout": 2}
        return DevopsApprovals(wanted(self.azure), self.azure.credential(), store, self.azure.clock, **options)

    @property
    def questions(self) -> Mapping[str, Mapping[str, Any]]:
        return {run.name.replace(".", ":"): run.parameters for run in self.state.runs.values()}

    @property
    def taken_back(self) -> set[str]:
        return {run.name.replace(".", ":") for run in self.state.runs.values() if run.result == "canceled"}

    def break_down(self) -> None:
        self.azure.faults.switch_on(Fault("refuse", service="devops", status=503, retry_after=7, times=10**6))

    @property
    def run(self) -> Run:
        """The one run that there is."""
        (run,) = self.state.runs.values()
        return run

    def start_by_hand(self, parameters: Mapping[str, str]) -> None:
        """Somebody who may start the pipeline starts it."""
        body = {"templateParameters": dict(parameters)}
        address = f"pipelines/{PIPELINE}/runs"
        project = f"{self.azure.url('devops')}/{ORGANIZATION}/{PROJECT}/_apis"
        options = {"connection_verify": str(self.azure.authority)}
        client = RestClient("Azure DevOps", project, self.azure.credential(), SCOPE, **options)
        client.send("POST", address, body, VERSION)

    def ask(self, gate: str = "registry", groups: tuple[tuple[str, ...], ...] = ((ENGINEERS,),)) -> str:
        """Ask one gate; returns its approval's id."""
        asked = approval_id(gate=gate)
        self.port.request(asked, instructions(gate, groups))
        return asked

    def answer(self, person: Person, status: str = "approved", comment: str = "", **further: Any) -> Approval:
        """A person answers the oldest question that asks them."""
        mine = [a for a in self.devops.open_approvals() if set(a.check.approvers) & set(person.groups)]
        self.devops.answer(person, mine[0], status, comment, **further)
        return mine[0]
