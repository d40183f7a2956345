"""What things are called in AzureML, by the fixed conventions."""

from __future__ import annotations

from collections.abc import Mapping

from shared.domain.values import Stage, split_circuit

# Batch endpoint names are unique in a region, so the same plant's needs a suffix in each workspace.
SUFFIXES: Mapping[Stage, str] = {Stage.DEV: "dev", Stage.TEST: "tst", Stage.PRODUCTION: "prd"}


def endpoint_name(stage: Stage, circuit: str, suffixes: Mapping[Stage, str] = SUFFIXES) -> str:
    """The batch endpoint of the circuit's plant in a workspace."""
    return f"batch-endpoint-plant-{split_circuit(circuit)[0]}-{suffixes[stage]}"


def deployment_name(circuit: str) -> str:
    """The circuit's batch deployment, below its plant's endpoint."""
    return f"deployment-circuit-{split_circuit(circuit)[1]}"


MONITORING_EXPERIMENT = "fleet_monitoring"
"""What monitoring jobs are filed under: each looks at many circuits."""


def experiment_name(circuit: str) -> str:
    plant, name = split_circuit(circuit)
    return f"plant_{plant}_circuit_{name}"
