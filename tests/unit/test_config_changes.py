from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import check_env_change, detect_config_changes, get_env_from_config, load_all_circuits, read_config
from shared.config_changes import (
    Change,
    ChangesUnknown,
    CircuitChange,
    Commits,
    ConfigChanges,
    Consequence,
    config_changes,
    environment_change,
    matrix,
    output_variable,
    uncommitted,
)
from shared.configuration import load_fleet
from shared.yaml_documents import merged

ROOT = Path(__file__).parents[2]
RETRAIN, RELEASE, DEPLOYMENT, MONITORING, DESCRIPTION, RETIRE = Consequence


class Repository:
    """A git repository with the product's configuration in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "config", folder / "config")
        self.write("ml/environment/conda.yml", "name: sensor-forecast-env\n")
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("first")

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=ana", "-c", "user.email=ana@example.com", "-c", "commit.gpgsign=false")
        ran = subprocess.run(
            ["git", *identity, *arguments], cwd=self.folder, capture_output=True, text=True, check=True
        )
        return ran.stdout.strip()

    def commit(self, message: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def write(self, path: str, text: str) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text)

    def change(self, path: str, **content: Any) -> None:
        before = yaml.safe_load((self.folder / path).read_text())
        self.write(path, yaml.safe_dump(merged(before, content), sort_keys=False))

    def remove_circuit(self, plant: str, circuit: str) -> dict[str, Any]:
        """Take a circuit out of the master list; its file stays. Returns its entry."""
        path = self.folder / "config/plants_circuits.yml"
        master = yaml.safe_load(path.read_text())
        entry: dict[str, Any] = master["plants"][plant]["circuits"].pop(circuit)
        path.write_text(yaml.safe_dump(master, sort_keys=False))
        return entry

    def changes(self, base: str = "HEAD~1") -> ConfigChanges:
        return config_changes(Commits.since(self.folder, base))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def only(changes: ConfigChanges) -> CircuitChange:
    (change,) = changes.circuits
    return change


@pytest.mark.parametrize(
    ("content", "consequences", "key"),
    [
        ({"training": {"cutoff_date": "2026-01-31"}}, (RETRAIN,), "training.cutoff_date"),
        ({"training": {"hyperparameters": {"max_iter": 80}}}, (RETRAIN,), "training.hyperparameters.max_iter"),
        ({"release": {"supersede": "queue"}}, (RELEASE,), "release.supersede"),
        ({"deployment": {"max_retries": 5}}, (DEPLOYMENT,), "deployment.max_retries"),
        ({"monitoring": {"mae": {"warn": 0.1}}}, (MONITORING,), "monitoring.mae.warn"),
        ({"name": "Crusher"}, (DESCRIPTION,), "name"),
    ],
)
def test_a_change_says_what_has_to_follow(
    repository: Repository, content: dict[str, Any], consequences: tuple[Consequence, ...], key: str
) -> None:
    repository.change("config/plants/P001/C001.yml", **content)
    repository.commit("change")
    assert only(repository.changes()) == CircuitChange("P001_C001", Change.CHANGED, consequences, (key,))


def test_several_changes_of_a_circuit_name_the_heaviest_first(repository: Repository) -> None:
    repository.change(
        "config/plants/P001/C001.yml", name="x", monitoring={"null_rate": 0.2}, deployment={"max_retries": 9}
    )
    repository.commit("one")
    repository.change("config/plants/P001/C001.yml", training={"forecast_horizon": 12})
    repository.commit("two")
    assert only(repository.changes("HEAD~2")).consequences == (RETRAIN, DEPLOYMENT, MONITORING, DESCRIPTION)


def test_a_comment_or_another_order_of_keys_changes_nothing(repository: Repository) -> None:
    path = repository.folder / "config/plants/P001/C001.yml"
    content = yaml.safe_load(path.read_text())
    path.write_text("# why\n" + yaml.safe_dump(dict(reversed(content.items())), sort_keys=False))
    repository.commit("comment")
    assert repository.changes().circuits == ()


def test_a_circuit_that_is_added_is_trained_and_one_that_is_removed_is_retired(repository: Repository) -> None:
    repository.remove_circuit("P001", "C002")
    (repository.folder / "config/plants/P001/C002.yml").unlink()
    repository.change(
        "config/plants_circuits.yml", plants={"P004": {"name": "New", "circuits": {"C001": {"name": "n"}}}}
    )
    content: dict[str, Any] = yaml.safe_load((repository.folder / "config/plants/P002/C001.yml").read_text())
    content["plant_id"], content["training"]["data_filters"]["sensor_id"] = "P004", "SENSOR_P004_C001"
    content["training"] |= {"hyperparameters": {"max_iter": 99}, "forecast_horizon": 48, "cutoff_date": "2024-02-03"}
    content["monitoring"] = {"null_rate": 0.01, "drift": {"low": 0.1, "medium": 0.2, "high": 0.3}}
    repository.write("config/plants/P004/C001.yml", yaml.safe_dump(content))
    repository.commit("one goes, one comes")
    assert repository.changes().circuits == (
        CircuitChange("P001_C002", Change.REMOVED, (RETIRE,)),
        CircuitChange("P004_C001", Change.ADDED, (RETRAIN,)),
    )


def test_a_renamed_circuit_is_a_new_model_and_names_the_old_one(repository: Repository) -> None:
    entry = repository.remove_circuit("P001", "C003")
    repository.change("config/plants_circuits.yml", plants={"P001": {"circuits": {"C033": entry}}})
    repository.git("mv", "config/plants/P001/C003.yml", "config/plants/P001/C033.yml")
    repository.change(
        "config/plants/P001/C033.yml", circuit_id="C033", training={"data_filters": {"sensor_id": "SENSOR_P001_C033"}}
    )
    repository.commit("rename")
    renamed = only(repository.changes())
    assert (renamed.circuit, renamed.change, renamed.previous) == ("P001_C033", Change.RENAMED, "P001_C003")
    assert renamed.consequences == (RETRAIN,)
    assert set(renamed.keys) == {"circuit_id", "training.data_filters.sensor_id"}


def test_a_shared_default_concerns_exactly_the_circuits_that_inherit_it(repository: Repository) -> None:
    repository.change("config/plants/P001/C001.yml", training={"hyperparameters": {"max_iter": 30}})
    repository.commit("its own")
    repository.change("config/policy.yml", defaults={"training": {"hyperparameters": {"max_iter": 70}}})
    repository.commit("policy")
    changes = repository.changes()
    concerned = {change.circuit for change in changes.needing(RETRAIN)}
    fleet = load_circuits(repository)
    own = {key for key in fleet if "max_iter" in own_hyperparameters(repository, key)}
    assert "P001_C001" in own and concerned == fleet - own
    assert all(change.inherited for change in changes.circuits)
    repository.change("config/plants_circuits.yml", plants={"P003": {"defaults": {"deployment": {"max_retries": 8}}}})
    repository.commit("plant")
    changes = repository.changes()
    assert {change.circuit for change in changes.circuits} == {f"P003_C00{n}" for n in range(1, 5)}
    assert {change.consequences for change in changes.circuits} == {(DEPLOYMENT,)}


def load_circuits(repository: Repository) -> set[str]:
    return {f"{path.parent.name}_{path.stem}" for path in (repository.folder / "config/plants").glob("*/*.yml")}


def own_hyperparameters(repository: Repository, key: str) -> dict[str, Any]:
    path = repository.folder / "config/plants" / key.replace("_", "/")
    own: dict[str, Any] = yaml.safe_load(path.with_suffix(".yml").read_text())["training"].get("hyperparameters", {})
    return own


def test_the_range_of_a_column_concerns_the_circuits_that_read_it_and_other_rules_none(repository: Repository) -> None:
    repository.change("config/policy.yml", features={"level": {"maximum": 110}}, approval_timeout_hours=48)
    repository.commit("policy")
    changes = repository.changes()
    readers = {path for path in load_circuits(repository) if "level" in circuit_text(repository, path)}
    assert readers and {change.circuit for change in changes.circuits} == readers
    assert {change.keys for change in changes.circuits} == {("features.level.maximum",)}
    assert changes.policy == ("approval_timeout_hours",)


def circuit_text(repository: Repository, key: str) -> str:
    return (repository.folder / "config/plants" / key.replace("_", "/")).with_suffix(".yml").read_text()


def test_a_branch_is_compared_with_where_it_left_and_a_merge_with_what_it_was_merged_into(
    repository: Repository,
) -> None:
    repository.git("switch", "--quiet", "--create", "feature")
    repository.change("config/plants/P001/C001.yml", deployment={"max_retries": 5})
    repository.commit("on the branch")
    repository.git("switch", "--quiet", "main")
    repository.change("config/plants/P002/C001.yml", deployment={"max_retries": 5})
    repository.commit("on main meanwhile")
    repository.git("switch", "--quiet", "feature")
    assert only(repository.changes("main")).circuit == "P001_C001"
    repository.git("switch", "--quiet", "main")
    repository.git("merge", "--quiet", "--no-ff", "--message", "merge", "feature")
    assert only(config_changes(Commits.of_merge(repository.folder, "HEAD"))).circuit == "P001_C001"
    assert only(config_changes(Commits.of_merge(repository.folder, "HEAD~1"))).circuit == "P002_C001"


def test_a_branch_is_compared_with_main_and_main_with_what_its_newest_commit_brought(repository: Repository) -> None:
    before = repository.git("rev-parse", "HEAD")
    newest = repository.commit("on main")
    assert Commits.of_branch(repository.folder) == Commits(repository.folder, before, newest)
    repository.git("switch", "--quiet", "--create", "topic")
    repository.commit("one")
    head = repository.commit("two")
    assert Commits.of_branch(repository.folder) == Commits(repository.folder, newest, head)


def test_files_that_no_commit_holds_are_named(repository: Repository) -> None:
    assert uncommitted(repository.folder, "config") == ()
    repository.change("config/plants/P001/C001.yml", name="other")
    repository.write("config/plants/P001/C 009.yml", "")
    repository.write("elsewhere.yml", "")
    assert set(uncommitted(repository.folder, "config")) == {
        "config/plants/P001/C001.yml", "config/plants/P001/C 009.yml",
    }  # fmt: skip


def test_a_commits_configuration_is_written_whatever_is_checked_out(repository: Repository, tmp_path: Path) -> None:
    commits = Commits.since(repository.folder, "HEAD")
    repository.change("config/plants/P001/C001.yml", training={"forecast_horizon": 12})
    target = tmp_path / "left" / commits.head
    commits.write_configuration(target)
    commits.write_configuration(target)
    assert load_fleet(target) == commits.fleets()[1]
    assert load_fleet(target).circuit("P001_C001").training.forecast_horizon != 12


def test_a_repository_without_configuration_before_adds_every_circuit(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main"], cwd=tmp_path / "r", check=True)
    made = object.__new__(Repository)
    made.folder = tmp_path / "r"
    made.commit("empty")
    shutil.copytree(ROOT / "config", made.folder / "config")
    made.commit("configuration")
    changes = made.changes()
    assert {change.change for change in changes.circuits} == {Change.ADDED} and len(changes.circuits) == 12
    assert changes.policy == () and changes.new_environments == ("1.0.0",)


def test_what_cannot_be_compared_says_why_and_what_to_do(repository: Repository, tmp_path: Path) -> None:
    with pytest.raises(ChangesUnknown, match=r"'nowhere' names no commit of .*; fetch it"):
        Commits.since(repository.folder, "nowhere")
    with pytest.raises(ChangesUnknown, match=r"HEAD has no parent here; fetch more of the history \(fetchDepth: 0\)"):
        Commits.of_merge(repository.folder, "HEAD")
    with pytest.raises(ChangesUnknown, match="names no commit"):
        Commits.since(repository.folder, "--output=/tmp/x")
    repository.git("switch", "--quiet", "--orphan", "other")
    repository.commit("unrelated")
    with pytest.raises(ChangesUnknown, match="have no commit in common; fetch the whole history"):
        Commits.since(repository.folder, "main")
    repository.git("switch", "--quiet", "main")
    repository.change("config/plants/P001/C001.yml", training={"forecast_horizon": 0})
    repository.commit("broken")
    with pytest.raises(ChangesUnknown, match=r"(?s)at commit .*config/plants/P001/C001.yml:\d+: training.forecast_hor"):
        repository.changes()


# --------------------------------------------------------------------------------------------------------- environment


def spec(version: str, breaking: bool = False, summary: str = "A newer scikit-learn.") -> str:
    return yaml.safe_dump(
        {
            "version": version,
            "backward_compatible": not breaking,
            "requires_retrain": breaking,
            "change_summary": summary,
        }
    )


def test_a_changed_environment_needs_a_new_version(repository: Repository) -> None:
    repository.write("ml/environment/conda.yml", "name: another\n")
    repository.commit("conda")
    change = environment_change(Commits.since(repository.folder, "HEAD~1"))
    assert not change.is_new and change.files == ("ml/environment/conda.yml",)
    assert "the newest environment is still 1.0.0; add config/environments/1.1.0.yml" in change.problems[0]
    repository.write("config/environments/1.1.0.yml", spec("1.1.0"))
    repository.change("config/plants/P001/C001.yml", training={"environment_version": "1.1.0"})
    repository.commit("version")
    change = environment_change(Commits.since(repository.folder, "HEAD~2"))
    assert (change.previous, change.version, change.is_new, change.problems) == ("1.0.0", "1.1.0", True, ())
    assert change.circuits == ("P001_C001",)
    assert change.backward_compatible and not change.requires_retrain


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"1.0.0": spec("1.0.0")}, "1.0.0.yml was changed: models may have been trained with this version"),
        ({"1.1.0": spec("1.1.0")}, "1.1.0.yml is older than 1.2.0; number it higher"),
        ({"1.3.0": spec("1.3.0"), "1.4.0": spec("1.4.0")}, "1.3.0, 1.4.0 were added at once"),
    ],
)
def test_published_versions_stay_and_new_ones_come_one_by_one(
    repository: Repository, files: dict[str, str], expected: str
) -> None:
    repository.write("config/environments/1.2.0.yml", spec("1.2.0"))
    repository.commit("published")
    for version, text in files.items():
        repository.write(f"config/environments/{version}.yml", text)
    repository.commit("versions")
    assert expected in "\n".join(environment_change(Commits.since(repository.folder, "HEAD~1")).problems)


# ------------------------------------------------------------------------------------------------------------ commands


def test_a_matrix_has_a_job_a_circuit_or_spreads_them_evenly() -> None:
    keys = [f"P001_C{number:03}" for number in range(1, 8)]
    assert matrix(keys)["P001_C003"] == {"circuits": "P001_C003", "plantId": "P001", "circuitId": "C003"}
    spread = matrix(keys, jobs=3)
    assert [len(job["circuits"].split()) for job in spread.values()] == [3, 2, 2]
    assert sorted(" ".join(job["circuits"] for job in spread.values()).split()) == keys
    assert matrix([], jobs=3) == {} and len(matrix(keys, jobs=20)) == 7
    with pytest.raises(ChangesUnknown, match="300 circuits are more jobs than a matrix takes; spread them with --jobs"):
        matrix([f"P{number}_C1" for number in range(300)])


def test_a_pipeline_variable_is_one_line_whatever_it_holds() -> None:
    assert output_variable("count", 3) == "##vso[task.setvariable variable=count;isOutput=true]3"
    assert output_variable("text", "50 %\nof it").endswith("]50 %AZP25%0Aof it")


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(command: Callable[[list[str]], int], *arguments: object) -> tuple[int, str, str]:
        code = command([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out.strip(), captured.err.strip()

    return call


def test_detect_config_changes_answers_in_every_format(repository: Repository, run: Run) -> None:
    repository.change("config/plants/P001/C001.yml", training={"forecast_horizon": 12})
    repository.change("config/plants/P001/C002.yml", monitoring={"null_rate": 0.2})
    repository.commit("change")
    detect = (detect_config_changes.main, "--repository", repository.folder, "--base", "HEAD~1")
    code, out, _ = run(*detect)
    assert code == 0
    assert "P001_C001 changed -> retrain: training.forecast_horizon" in out
    assert "P001_C002 changed -> monitoring: monitoring.null_rate" in out
    code, out, _ = run(*detect, "--format", "json", "--only", "monitoring")
    assert [circuit["circuit"] for circuit in json.loads(out)["circuits"]] == ["P001_C002"]
    code, out, _ = run(*detect, "--format", "matrix")
    assert list(json.loads(out)) == ["P001_C001"]
    code, out, _ = run(
        detect_config_changes.main, "--repository", repository.folder, "--merge", "HEAD", "--format", "devops"
    )
    variables = dict(
        line.removeprefix("##vso[task.setvariable variable=").split(";isOutput=true]") for line in out.split("\n")
    )
    assert json.loads(variables["matrix"]) == {
        "P001_C001": {"circuits": "P001_C001", "plantId": "P001", "circuitId": "C001"}
    }
    assert (variables["count"], variables["hasChanges"]) == ("1", "true")
    assert len(json.loads(variables["changes"])["circuits"]) == 2
    code, out, err = run(detect_config_changes.main, "--repository", repository.folder, "--base", "nowhere")
    assert (code, out) == (1, "") and "'nowhere' names no commit" in err


def test_read_config_gives_what_is_in_effect(run: Run) -> None:
    folder = ("--config", ROOT / "config")
    assert run(read_config.main, "P003_C001", "deployment.scoring_timeout_minutes", *folder) == (0, "45", "")
    assert run(read_config.main, "P001_C001", "training.environment_version", *folder) == (0, "1.0.0", "")
    code, out, _ = run(read_config.main, "P001_C001", *folder)
    assert code == 0 and yaml.safe_load(out)["training"]["hyperparameters"]["max_iter"] == 20
    code, out, _ = run(read_config.main, "P001_C001", "training", "--format", "json", *folder)
    assert json.loads(out)["target_column"] == "temperature"
    code, out, err = run(read_config.main, "P001_C001", "training.horizon", *folder)
    assert code == 1 and "'horizon' is not among cutoff_date, environment_version" in err
    code, out, err = run(read_config.main, "P001_C01", *folder)
    assert code == 1 and "near: P001_C001" in err


def test_load_all_circuits_lists_the_fleet_or_some_plants(run: Run) -> None:
    folder = ("--config", ROOT / "config")
    code, out, _ = run(load_all_circuits.main, *folder)
    assert code == 0 and len(out.split("\n")) == 12
    code, out, _ = run(load_all_circuits.main, "--plant", "P002", "--format", "matrix", *folder)
    assert list(json.loads(out)) == [f"P002_C00{number}" for number in range(1, 5)]
    code, out, err = run(load_all_circuits.main, "--plant", "P009", *folder)
    assert code == 1 and "no plant P009; plants: P001, P002, P003" in err


def test_check_env_change_fails_on_an_environment_that_is_not_declared(repository: Repository, run: Run) -> None:
    check = (check_env_change.main, "--repository", repository.folder, "--base", "HEAD~1")
    repository.write("ml/environment/conda.yml", "name: another\n")
    repository.commit("conda")
    code, out, err = run(*check)
    assert code == 1 and "add config/environments/1.1.0.yml" in err
    repository.write("config/environments/2.0.0.yml", spec("2.0.0", breaking=True))
    repository.commit("breaking")
    code, out, err = run(*check, "--format", "devops")
    assert (code, err) == (0, "")
    assert "variable=environmentBreaking;isOutput=true]true" in out
    assert "variable=environmentVersion;isOutput=true]2.0.0" in out


def test_get_env_from_config_names_the_environment_and_its_tags(repository: Repository, run: Run) -> None:
    folder = ("--config", repository.folder / "config")
    assert run(get_env_from_config.main, "P001_C001", *folder) == (0, "sensor-forecast-env:1.0.0", "")
    repository.write("config/environments/1.1.0.yml", spec("1.1.0"))
    _, out, _ = run(
        get_env_from_config.main, "--newest", "--commit", "0a1b2c3", "--pull-request", "17", "--format", "json", *folder
    )
    assert json.loads(out)["version"] == "1.1.0"
    assert json.loads(out)["tags"] == {
        "backward_compatible": "true",
        "requires_retrain": "false",
        "change_summary": "A newer scikit-learn.",
        "git_commit_sha": "0a1b2c3",
        "pr_number": "17",
    }


@pytest.mark.parametrize(
    "name",
    ["detect_config_changes", "read_config", "load_all_circuits", "check_env_change", "get_env_from_config"],
)
def test_every_command_runs_from_anywhere_and_explains_itself(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / f"{name}.py")]
    shown = subprocess.run([*command, "--help"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "Exit codes: 0" in shown.stdout
    assert subprocess.run([*command, "--no-such"], cwd=tmp_path, capture_output=True, check=False).returncode == 2
