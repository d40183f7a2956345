"""AzureML's adapter on the services of `tests/azure_services`, for the contract of the model platform."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from harness import ENVIRONMENTS, TRAINED, ModelsUnderTest

from local.platform.faults import Fault, FaultKind
from shared.adapters.azure.model_platform import AzureModelPlatform
from shared.adapters.azure.rest import request_id
from shared.adapters.azure.starts import Starts
from shared.adapters.local.state_store import MemoryStateStore
from shared.domain.values import ENVIRONMENT, OperationState, OperationStatus, Pair, Stage
from shared.errors import Transient
from tests.azure_services import server
from tests.azure_services.arm import REGISTRY, AzureMlState, wanted
from tests.azure_services.server import AzureServices


class AzureSwitches:
    """The embedded platform's switches, on Azure's services."""

    def __init__(self, azure: AzureServices, state: AzureMlState) -> None:
        self._azure = azure
        self._state = state

    def switch_on(self, kind: FaultKind, **options: Any) -> int:
        fault = Fault(kind=kind, **options)
        if kind in (FaultKind.THROTTLED, FaultKind.ANSWER_LOST):
            assert fault.command_id, "a fault of one request strikes that of a command"
            throttled = kind is FaultKind.THROTTLED
            self._azure.faults.switch_on(
                server.Fault(
                    "refuse" if throttled else "lose",
                    header=("x-ms-client-request-id", request_id(fault.command_id)),
                    status=429 if throttled else 500,
                    retry_after=fault.seconds if throttled else None,
                    times=fault.times,
                )
            )
        else:
            self._state.faults.append((fault, 0))
        return len(self._state.faults)

    def switch_off(self) -> None:
        self._state.faults.clear()
        self._azure.faults.switch_off()


class AzurePlatform(ModelsUnderTest):
    """AzureML with a few circuits trained; its time goes by when somebody waits."""

    def __init__(self, azure: AzureServices, state: AzureMlState) -> None:
        self.azure = azure
        self.state = state
        self.faults = AzureSwitches(azure, state)
        self.store = MemoryStateStore()
        self.models = self.restarted()
        self._versions: dict[str, int] = {}
        for circuit in TRAINED:
            self._train(circuit, 1)
        for version in ENVIRONMENTS:
            for kind in ("environments", "codes"):
                state.assets[REGISTRY, kind, ENVIRONMENT, version] = {}

    def restarted(self, store: MemoryStateStore | None = None) -> AzureModelPlatform:
        """The adapter of a process that has just begun: it knows what the state knows, and no more."""
        return AzureModelPlatform(
            wanted(self.azure),
            self.azure.credential(),
            Starts(store or self.store, self.azure.clock),
            self.azure.clock,
            connection_verify=str(self.azure.authority),
        )

    def now(self) -> datetime:
        return self.azure.clock.now()

    def ended(self, reference: str, timeout: float = 60) -> OperationStatus:
        for _ in range(60):
            status = self.look(reference)
            if status.state is not OperationState.RUNNING:
                return status
            self.azure.clock.advance(timedelta(minutes=1))
        raise AssertionError(f"{reference} still runs after an hour")

    def wait(self, error: Transient) -> None:
        if "another caller" in str(error):  # whose work takes real time
            time.sleep(0.02)
        else:
            self.azure.clock.advance(timedelta(seconds=error.retry_after or 1))

    def unpromoted(self, circuit: str, command: str) -> int:
        if command not in self._versions:
            self._versions[command] = 100 + len(self._versions)
            self._train(circuit, self._versions[command])
        return self._versions[command]

    def register_environment(self, version: str, tags: Mapping[str, str]) -> None:
        self.state.register_environment(version, tags)

    def change_by_hand(self, stage: Stage, circuit: str, pair: Pair) -> None:
        self.state.change_by_hand(stage, circuit, **self.state.assets_of(circuit, pair))

    def request_uri(self, circuit: str, pair: Pair, command: str) -> str:
        return f"https://documents.example.org/requests/{circuit}/{command}.json"

    def _train(self, circuit: str, version: int) -> None:
        plant, name = circuit.split("_")
        self.state.register_model(circuit, version, {"plant_id": plant, "circuit_id": name, "pr_author": "ann"})
