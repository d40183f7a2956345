"""Long-running operations: promotion, deployment and its removal. Accepted at once, done and ended later."""

from __future__ import annotations

from datetime import UTC, datetime

from local.platform.faults import FaultKind
from local.platform.jobs import JobRunner, NotReady
from local.platform.ledger import DeploymentRow, Ledger, State, WorkItem
from local.platform.names import Work
from local.platform.outcomes import WorkFailed
from shared.adapters.names import deployment_name, endpoint_name
from shared.domain.values import Stage, model_name


class OperationRunner:
    """Ends operations that are due; one at a time, which their milliseconds allow."""

    def __init__(self, ledger: Ledger, jobs: JobRunner) -> None:
        self._ledger = ledger
        self._jobs = jobs

    def step(self) -> None:
        """Do what is due. Interrupted anywhere it is done again: each effect finds its own traces."""
        for operation in self._ledger.due_operations():
            try:
                self._perform(operation)
            except NotReady:
                return
            except WorkFailed as error:
                self._ledger.finish(operation.reference, State.FAILED, error=str(error))

    def _perform(self, operation: WorkItem) -> None:
        if operation.fault(FaultKind.OPERATION_FAILS):
            self._ledger.finish(operation.reference, State.FAILED, error="InternalServerError: the operation failed")
        elif operation.work is Work.PROMOTION:
            version = self._jobs.on_stores("promote", model_name(operation.circuit), operation.request["model_version"])
            self._ledger.finish(operation.reference, State.SUCCEEDED, outputs={"registry_version": str(version)})
        elif operation.work is Work.ENVIRONMENT:
            version = operation.request["version"]
            if version not in self._ledger.environments():
                raise WorkFailed(f"the dev workspace has no environment {version}; register it first")
            self._ledger.promote_environment(version)
            self._ledger.finish(operation.reference, State.SUCCEEDED, outputs={"registry_version": version})
        elif operation.work is Work.REMOVAL:
            stage = Stage(operation.stage)
            place = endpoint_name(stage, operation.circuit), deployment_name(operation.circuit)
            self._ledger.finish(operation.reference, State.SUCCEEDED, removed=place)
        else:
            row = _deployment(operation)
            if not self._ledger.has_promoted_environment(row.environment_version):
                raise WorkFailed(f"the registry has no environment {row.environment_version}; promote it first")
            self._jobs.on_stores("require_promoted", model_name(operation.circuit), row.model_version)
            self._ledger.finish(operation.reference, State.SUCCEEDED, deployment=row)


def _deployment(operation: WorkItem) -> DeploymentRow:
    request = operation.request
    stage = Stage(operation.stage)
    return DeploymentRow(
        endpoint=endpoint_name(stage, operation.circuit),
        name=deployment_name(operation.circuit),
        stage=stage,
        circuit=operation.circuit,
        model_version=int(request["model_version"]),
        environment_version=request["environment_version"],
        tags={**request["tags"], "deployed_at": datetime.now(UTC).isoformat()},
        scoring_seconds=request["scoring_seconds"],
    )
