from __future__ import annotations

import re
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from etl.source_list import load_sources
from local.configuration import copy_configuration
from scripts import write_config_schemas
from shared.config_schemas import json_schemas, stale_schemas
from shared.configuration import ConfigurationError, Fleet, load_fleet
from shared.yaml_documents import merged

CONFIG = Path(__file__).parents[2] / "config"
SOURCES = CONFIG.parent / "docs/examples/sources"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(CONFIG, tmp_path / "config"))


def change(path: Path, **content: Any) -> None:
    path.write_text(yaml.safe_dump(merged(yaml.safe_load(path.read_text()), content), sort_keys=False))


def problems(folder: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        load_fleet(folder)
    return [str(problem) for problem in raised.value.problems]


def test_the_repository_has_twelve_healthy_circuits_in_three_plants() -> None:
    fleet = load_fleet(CONFIG)
    assert len(fleet) == 12
    assert fleet.plants["P001"].name == "Northfield Concentrator"
    assert len({circuit.name for circuit in fleet}) == 12
    assert all(circuit.sensor_id == f"SENSOR_{circuit.key}" for circuit in fleet)
    assert len({circuit.target_column for circuit in fleet}) >= 5


def test_names_of_azure_things_follow_from_the_ids() -> None:
    circuit = load_fleet(CONFIG).circuit("P001_C002")
    assert circuit.model_name == "sensor_model_P001_C002"
    assert circuit.experiment_name == "plant_P001_circuit_C002"
    assert circuit.data_asset_name == "sensor_training_data_P001_C002"
    assert circuit.endpoint_name("prd") == "batch-endpoint-plant-P001-prd"
    assert circuit.deployment_name == "deployment-circuit-C002"


def test_a_circuit_wins_over_its_plant_and_a_plant_over_the_policy(folder: Path) -> None:
    change(folder / "policy.yml", defaults={"monitoring": {"null_rate": 0.11}, "deployment": {"max_retries": 1}})
    change(folder / "plants_circuits.yml", plants={"P001": {"defaults": {"deployment": {"max_retries": 2}}}})
    change(folder / "plants/P001/C002.yml", deployment={"max_retries": 7})
    fleet = load_fleet(folder)
    assert [fleet.circuit(key).deployment.max_retries for key in ("P002_C001", "P001_C001", "P001_C002")] == [1, 2, 7]
    assert fleet.circuit("P001_C002").monitoring.null_rate == 0.11
    assert fleet.circuit("P003_C004").monitoring.null_rate == 0.03


def test_every_problem_of_every_file_is_reported_at_once_with_file_line_and_key(folder: Path) -> None:
    change(folder / "plants/P001/C001.yml", training={"forecast_horizon": 0})
    change(folder / "plants/P001/C002.yml", training={"targt_column": "flow"})
    change(folder / "plants/P002/C001.yml", training={"target_column": "speed"})
    (folder / "plants/P002/C002.yml").write_text("plant_id: P002\ntraining: [\n")
    (folder / "plants/P003/C001.yml").unlink()
    change(folder / "policy.yml", approval_timeout_hours="soon")
    found = problems(folder)
    assert len(found) == 6
    text = "\n".join(found)
    assert (
        "config/plants/P001/C001.yml:11: training.forecast_horizon: input should be greater than or equal to 1" in text
    )
    assert "training.targt_column: unknown key; did you mean target_column? Allowed: cutoff_date" in text
    assert "training.target_column: 'speed' is not a feature of policy.yml; allowed: temperature" in text
    assert "config/plants/P002/C002.yml:3: not valid YAML" in text
    assert "config/plants/P003/C001.yml:1: the file does not exist" in text
    assert "config/policy.yml" in text and "approval_timeout_hours: input should be a valid integer" in text


def test_a_problem_in_defaults_points_to_the_file_that_has_it(folder: Path) -> None:
    defaults = {"deployment": {"scoring_timeout_minutes": 0}}
    change(folder / "plants_circuits.yml", plants={"P003": {"defaults": defaults}})
    found = problems(folder)
    assert len(found) == 4, "one for each circuit that inherits it"
    assert all(problem.startswith("config/plants_circuits.yml:") for problem in found)
    assert all("greater than or equal to 1 (got 0)" in problem for problem in found)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("target_column", "speed", "'speed' is not a feature of policy.yml; allowed: temperature, pressure"),
        ("environment_version", 1.0, "should be a valid string (got 1.0)"),
        ("environment_version", "1.0", "should match pattern"),
        ("cutoff_date", "someday", "valid date"),
        ("hyperparameters", {"learning_rate": -1}, "hyperparameters.learning_rate: input should be greater than 0"),
        ("data_filters", {"sensor_id": "SENSOR_X"}, "use 'SENSOR_P001_C001', or set custom_sensor_id: true"),
        ("data_filters", {"feature_columns": ["flow", "flow"]}, "'flow' is listed twice"),
        ("data_filters", {"feature_columns": ["temperature"]}, "'temperature' is the target"),
        ("data_filters", {"feature_columns": "flow"}, "valid tuple"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(folder: Path, key: str, value: Any, expected: str) -> None:
    change(folder / "plants/P001/C001.yml", training={key: value})
    found = problems(folder)
    assert len(found) == 1
    assert found[0].startswith("config/plants/P001/C001.yml:")
    assert expected in found[0]


@pytest.mark.parametrize("plant_id", ["P001-A", "P0000001", "../P", "1P", "P 1", "P/1"])
def test_a_plant_id_that_cannot_become_a_path_or_an_azure_name_is_refused(folder: Path, plant_id: str) -> None:
    change(folder / "plants_circuits.yml", plants={plant_id: {"name": "x", "circuits": {"C001": {"name": "y"}}}})
    assert any(f"plants.{plant_id}" in problem and "match pattern" in problem for problem in problems(folder))


def test_the_longest_ids_still_fit_the_names_azure_takes(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(CONFIG, tmp_path / "config"))
    plant, circuit = "P" + "9" * 6, "C" + "9" * 12
    change(folder / "plants_circuits.yml", plants={plant: {"name": "x", "circuits": {circuit: {"name": "y"}}}})
    content = yaml.safe_load((folder / "plants/P001/C001.yml").read_text())
    content |= {"plant_id": plant, "circuit_id": circuit}
    content["training"]["data_filters"]["sensor_id"] = f"SENSOR_{plant}_{circuit}"
    (folder / "plants" / plant).mkdir()
    (folder / "plants" / plant / f"{circuit}.yml").write_text(yaml.safe_dump(content))
    longest = load_fleet(folder).circuit(f"{plant}_{circuit}")
    assert len(longest.endpoint_name("prd")) == 32
    assert len(longest.deployment_name) == 32


def test_a_key_that_is_given_twice_is_a_problem_and_not_a_surprise(folder: Path) -> None:
    path = folder / "plants/P001/C001.yml"
    path.write_text(path.read_text() + "plant_id: P001\n")
    assert "the key was already given on line 2" in problems(folder)[0]


def test_an_impossible_date_is_named(folder: Path) -> None:
    path = folder / "plants/P001/C001.yml"
    path.write_text(path.read_text().replace("2025-12-09", "2025-02-30"))
    assert "C001.yml:5: training.cutoff_date: '2025-02-30' is not possible" in "\n".join(problems(folder))


def test_files_and_master_list_must_agree(folder: Path) -> None:
    shutil.copy(folder / "plants/P001/C001.yml", folder / "plants/P001/C009.yml")
    change(folder / "plants/P001/C002.yml", circuit_id="C003")
    text = "\n".join(problems(folder))
    assert "C009.yml:1: not in plants_circuits.yml" in text
    assert "circuit_id: is 'C003', but its folder and file say 'C002'" in text


def test_two_circuits_cannot_read_one_sensor(folder: Path) -> None:
    filters = {"sensor_id": "SENSOR_P001_C001", "custom_sensor_id": True}
    change(folder / "plants/P001/C002.yml", training={"data_filters": filters})
    assert "already belongs to P001_C001" in problems(folder)[0]


def test_ids_that_differ_only_in_case_are_refused(folder: Path) -> None:
    change(folder / "plants_circuits.yml", plants={"p001": {"name": "x", "circuits": {"C001": {"name": "y"}}}})
    assert any("differs from P001 only in case" in problem for problem in problems(folder))


def test_an_empty_folder_says_which_files_are_needed(tmp_path: Path) -> None:
    text = "\n".join(problems(tmp_path))
    assert "policy.yml:1: the file does not exist" in text
    assert "plants_circuits.yml:1: the file does not exist" in text


def test_thresholds_and_gates_must_make_sense(folder: Path) -> None:
    change(folder / "plants/P001/C001.yml", monitoring={"mae": {"warn": 0.5, "critical": 0.1}})
    assert "monitoring.mae: warn (0.5) must be below critical (0.1)" in problems(folder)[0]
    shutil.copy(CONFIG / "plants/P001/C001.yml", folder / "plants/P001/C001.yml")
    change(folder / "policy.yml", approval_groups={"production": [[]]})
    assert "gate production must ask for at least one approval" in problems(folder)[0]


def test_a_fleet_finds_circuits_by_key_and_by_sensor() -> None:
    fleet = load_fleet(CONFIG)
    found = fleet.by_sensor("SENSOR_P002_C003")
    assert found is fleet.circuit("P002_C003")
    assert fleet.by_sensor("SENSOR_X") is None
    with pytest.raises(KeyError, match="near: P001_C001"):
        fleet.circuit("P001C001")


def test_the_hash_of_hyperparameters_changes_with_them_and_with_nothing_else(folder: Path) -> None:
    before = load_fleet(folder).circuit("P001_C001").training.hyperparameters.digest()
    change(folder / "plants/P001/C001.yml", training={"cutoff_date": "2025-12-10"})
    assert load_fleet(folder).circuit("P001_C001").training.hyperparameters.digest() == before
    change(folder / "plants/P001/C001.yml", training={"hyperparameters": {"max_iter": 61}})
    assert load_fleet(folder).circuit("P001_C001").training.hyperparameters.digest() != before


def test_a_copied_configuration_takes_a_cutoff_and_overrides(tmp_path: Path) -> None:
    fleet: Fleet = copy_configuration(
        CONFIG,
        tmp_path / "config",
        cutoff_date=date(2026, 1, 31),
        overrides={"P001_C002": {"training": {"hyperparameters": {"learning_rate": 25}}}},
    )
    assert {circuit.training.cutoff_date for circuit in fleet} == {date(2026, 1, 31)}
    assert fleet.circuit("P001_C002").training.hyperparameters.learning_rate == 25
    with pytest.raises(KeyError, match="P009_C001"):
        copy_configuration(CONFIG, tmp_path / "again", overrides={"P009_C001": {}})


def environment(folder: Path, name: str, **content: Any) -> None:
    spec = {"version": name, "backward_compatible": True, "requires_retrain": False, "change_summary": "Newer polars."}
    (folder / f"environments/{name}.yml").write_text(yaml.safe_dump(spec | content))


def test_environments_are_listed_by_version_and_say_what_they_are_registered_with(folder: Path) -> None:
    environment(folder, "1.10.0")
    environment(folder, "1.9.0")
    fleet = load_fleet(folder)
    assert list(fleet.environments) == ["1.0.0", "1.9.0", "1.10.0"]
    spec = fleet.environment("1.10.0")
    assert spec.reference == "sensor-forecast-env:1.10.0"
    assert spec.tags("0a1b2c3", "17") == {
        "backward_compatible": "true",
        "requires_retrain": "false",
        "change_summary": "Newer polars.",
        "git_commit_sha": "0a1b2c3",
        "pr_number": "17",
    }
    with pytest.raises(KeyError, match=r"no 3\.0\.0\.yml; versions: 1\.0\.0, 1\.9\.0"):
        fleet.environment("3.0.0")


@pytest.mark.parametrize(
    ("version", "content", "expected"),
    [
        ("2.0.0", {}, "backward_compatible: 2.0.0 is a new MAJOR version after 1.0.0: set it to false"),
        ("1.1.0", {"backward_compatible": False, "requires_retrain": True}, "1.1.0 is the same MAJOR version after"),
        ("2.0.0", {"backward_compatible": False}, "requires_retrain must be true where backward_compatible is false"),
        ("1.1.0", {"version": "1.2.0"}, "version: is '1.2.0', but the file is 1.1.0.yml"),
        ("1.1.0", {"change_summary": "newer"}, "change_summary: string should have at least 10 characters"),
    ],
)
def test_an_environment_that_breaks_models_says_so_in_its_number_and_in_its_tags(
    folder: Path, version: str, content: dict[str, Any], expected: str
) -> None:
    environment(folder, version, **content)
    assert expected in "\n".join(problems(folder))


def test_a_circuit_is_not_blamed_for_what_is_wrong_in_the_file_of_its_environment(folder: Path) -> None:
    environment(folder, "1.1.0", change_summary="newer")
    change(folder / "plants/P001/C001.yml", training={"environment_version": "1.1.0"})
    (only,) = problems(folder)
    assert "1.1.0.yml" in only and "change_summary" in only


def test_a_circuit_names_an_environment_that_is_described(folder: Path) -> None:
    change(folder / "plants/P001/C001.yml", training={"environment_version": "1.7.0"})
    (only,) = problems(folder)
    assert "training.environment_version: '1.7.0' has no file in environments/; allowed: 1.0.0" in only
    shutil.rmtree(folder / "environments")
    assert load_fleet(folder).circuit("P001_C001").training.environment_version == "1.7.0"


# ------------------------------------------------------------------------------------------------------------- schemas


class EditorYaml(yaml.SafeLoader):
    """YAML as editors read it: a date is a string."""


EditorYaml.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def complaints(schema: str, content: Any) -> list[str]:
    validator = jsonschema.Draft7Validator(json_schemas()[schema])
    return [f"{'.'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(content)]


def read(path: Path) -> Any:
    return yaml.load(path.read_text(), EditorYaml)


def test_the_published_schemas_say_what_the_models_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert stale_schemas(CONFIG / "schemas") == {}, "run scripts/write_config_schemas.py"
    for schema in json_schemas().values():
        jsonschema.Draft7Validator.check_schema(schema)
    assert write_config_schemas.main(["--check", "--folder", str(tmp_path)]) == 1
    assert "circuit.schema.json is stale" in capsys.readouterr().err
    assert write_config_schemas.main(["--folder", str(tmp_path)]) == 0
    assert write_config_schemas.main(["--check", "--folder", str(tmp_path)]) == 0


@pytest.mark.parametrize(
    "path",
    sorted([*CONFIG.rglob("*.yml"), *SOURCES.rglob("*.yml")]),
    ids=lambda path: str(path.relative_to(CONFIG.parent)),
)
def test_every_configuration_file_names_its_schema_and_an_editor_finds_nothing_wrong(path: Path) -> None:
    line = re.match(r"# yaml-language-server: \$schema=(\S+)\n", path.read_text())
    assert line, "its first line"
    schema = (path.parent / line[1]).resolve()
    assert schema.parent == CONFIG / "schemas" and schema.is_file()
    assert complaints(schema.name, read(path)) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"training": {"targt_column": "flow"}}, "'targt_column' was unexpected"),
        ({"training": {"environment_version": "1.0"}}, "training.environment_version: '1.0' does not match"),
        ({"monitoring": {"mae": {"warn": -1}}}, "monitoring.mae.warn: -1 is less than or equal to the minimum of 0"),
        (
            {"deployment": {"scoring_timeout_minutes": 0}},
            "deployment.scoring_timeout_minutes: 0 is less than the minimum of 1",
        ),
        ({"plant_id": "P-1"}, "plant_id: 'P-1' does not match"),
    ],
)
def test_an_editor_marks_what_the_loader_would_refuse(change: dict[str, Any], expected: str) -> None:
    content = merged(read(CONFIG / "plants/P001/C001.yml"), change)
    (only,) = complaints("circuit.schema.json", content)
    assert expected in only


def test_an_editor_marks_what_a_sources_file_may_not_say_and_the_example_is_taken() -> None:
    example = read(SOURCES / "sources.yml")
    assert [source.name for source in load_sources(SOURCES / "sources.yml", ["temperature"]).sql] == ["historian"]
    (source,) = example["sql"]
    for wrong, expected in (
        ({}, "is not valid under any of the given schemas"),
        ({"folders": [{"folder": "landing"}]}, "'folder' was unexpected"),
        ({"sql": [{**source, "look_back_hours": -1}]}, "-1 is less than the minimum of 0"),
        ({"sql": [{name: value for name, value in source.items() if name != "table"}]}, "is not valid under any"),
    ):
        assert expected in " ".join(complaints("sources.schema.json", wrong))


def test_an_editor_lets_a_circuit_inherit_and_checks_what_it_may_inherit() -> None:
    bare = {"plant_id": "P001", "circuit_id": "C001", "training": {"data_filters": {"sensor_id": "SENSOR_P001_C001"}}}
    assert complaints("circuit.schema.json", bare) == []
    policy = read(CONFIG / "policy.yml")
    assert complaints("policy.schema.json", merged(policy, {"defaults": {"training": {"forecast_horizon": 0}}})) != []
    assert complaints("policy.schema.json", merged(policy, {"defaults": {"plant_id": "P001"}})) != []
