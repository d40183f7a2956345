"""The gate pipeline's file, expanded as Azure DevOps does it, against the schema that Azure DevOps publishes."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator  # type: ignore[import-untyped]

from shared.adapters.azure.approvals import stage_name
from tests.azure_services.definitions import SPECS
from tests.azure_services.devops import PIPELINE_FILE, expanded
from tests.azure_services.server import Refused

SCHEMA = SPECS / "azure-pipelines-service-schema.json"
ENVIRONMENTS = ("production-workspace-ML-Engineers", "production-workspace-Engineering-Managers")
GIVEN = {
    "approval": "P001_C001.3.production.2",
    "release": "P001_C001:3",
    "gate": "production",
    "evidence": "https://fleet.blob.core.windows.net/fleet-documents/evidence/P001_C001/1.json",
    "digest": "5f" * 32,
    "nonce": "n",
    "environments": ",".join(ENVIRONMENTS),
}


def pipeline() -> Any:
    """The file as the service reads it: every scalar is a text."""
    return yaml.load(PIPELINE_FILE.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)


def test_each_environment_is_asked_at_once_by_the_stage_that_the_adapter_looks_for() -> None:
    stages = expanded(pipeline(), GIVEN)["stages"]
    assert [stage["stage"] for stage in stages] == [stage_name(environment) for environment in ENVIRONMENTS]
    assert [job["environment"] for stage in stages for job in stage["jobs"]] == list(ENVIRONMENTS)
    assert all(stage["dependsOn"] == [] for stage in stages)


@pytest.mark.skipif(not SCHEMA.is_file(), reason="REFERENCE_DIR holds no schema of pipelines")
def test_the_expanded_file_is_a_pipeline_by_the_published_schema() -> None:
    schema = Draft7Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    found = expanded(pipeline(), GIVEN)
    assert [error.message for error in schema.iter_errors(found)] == []
    found["stages"][0]["jobs"][0]["strategi"] = found["stages"][0]["jobs"][0].pop("strategy")
    assert not schema.is_valid(found)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"colour": "red"}, "Unexpected parameter 'colour'"),
        ({"digest": None}, "A value for the 'digest' parameter must be provided"),
        ({"environments": "a,a"}, "Stage name a is not valid or not unique"),
        ({"approval": "P001_C001:3:production:2"}, "is no name of a run"),
    ],
)
def test_what_the_service_would_not_start_is_not_started_here(changed: dict[str, str | None], said: str) -> None:
    given = {name: value for name, value in {**GIVEN, **changed}.items() if value is not None}
    with pytest.raises(Refused, match=said):
        expanded(pipeline(), given)
