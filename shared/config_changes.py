"""What a commit means for the fleet: which circuits it adds, changes, renames or removes, and what has to follow.

Two states of `config/` are read whole from git and compared circuit by circuit as they are in effect, defaults of plant
and policy included. So a shared default concerns just the circuits that inherit it, and a comment concerns none.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any

from shared.configuration import CircuitConfig, EnvironmentSpec, Fleet, load_fleet
from shared.domain.values import version_numbers
from shared.yaml_documents import ConfigurationError

CONFIG_FOLDER = "config"
ENVIRONMENT_FOLDER = "ml/environment"
MATRIX_LIMIT = 256  # jobs that Azure Pipelines makes of one matrix


class ChangesUnknown(Exception):
    """git, or the configuration at a commit, does not allow to say what changed; names the cause and the next step."""


class Change(StrEnum):
    """What became of a circuit."""

    ADDED = "added"
    CHANGED = "changed"
    RENAMED = "renamed"
    REMOVED = "removed"


class Consequence(StrEnum):
    """What has to follow, the heaviest first."""

    RETRAIN = "retrain"
    RELEASE = "release"
    DEPLOYMENT = "deployment"
    MONITORING = "monitoring"
    DESCRIPTION = "description"
    RETIRE = "retire"


@dataclass(frozen=True)
class CircuitChange:
    """One circuit's change. keys are those whose effective value differs; inherited: its own file did not change.

    previous is the key a renamed circuit had. consequences has the heaviest first.
    """

    circuit: str
    change: Change
    consequences: tuple[Consequence, ...]
    keys: tuple[str, ...] = ()
    previous: str | None = None
    inherited: bool = False


@dataclass(frozen=True)
class ConfigChanges:
    """Everything between two commits; policy has the keys of fleet-wide rules that differ."""

    base: str
    head: str
    circuits: tuple[CircuitChange, ...]
    policy: tuple[str, ...]
    new_environments: tuple[str, ...]

    def needing(self, *consequences: Consequence) -> tuple[CircuitChange, ...]:
        """The circuits for which any of these has to follow."""
        return tuple(change for change in self.circuits if set(change.consequences) & set(consequences))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class EnvironmentChange:
    """What became of the environment that trains and scores. Without problems it may be registered.

    files are those of `ml/environment` that differ; version and previous are the newest before and after.
    """

    files: tuple[str, ...]
    previous: str | None
    version: str | None
    backward_compatible: bool
    requires_retrain: bool
    circuits: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def is_new(self) -> bool:
        return self.version is not None and self.version != self.previous


# -------------------------------------------------------------------------------------------------------- comparison


def compare_fleets(
    before: Fleet | None, after: Fleet, renamed: Mapping[str, str], own_files: Iterable[str]
) -> tuple[CircuitChange, ...]:
    """The circuits that differ, by key. renamed: new key -> old key; own_files: keys of circuits whose file differs."""
    old = before.circuits if before else {}
    touched = set(own_files)
    gone = {key: circuit for key, circuit in old.items() if key not in after.circuits}
    # The files are short and alike, so git does not see every renaming: the name of the circuit tells, too.
    names = {circuit.name: key for key, circuit in gone.items()}
    same_name = {circuit.key: names[circuit.name] for circuit in after if circuit.name in names}
    renamed = {new: was for new, was in {**same_name, **renamed}.items() if new not in old and was in gone}
    changes: list[CircuitChange] = []
    for circuit in after:
        was = renamed.get(circuit.key, circuit.key)
        if was not in old:
            changes.append(CircuitChange(circuit.key, Change.ADDED, (Consequence.RETRAIN,)))
        elif keys := _differing(_effective(old[was], before), _effective(circuit, after)):
            change = Change.CHANGED if was == circuit.key else Change.RENAMED
            consequences = {_consequence(key) for key in keys} | (
                {Consequence.RETRAIN} if was != circuit.key else set()
            )
            changes.append(
                CircuitChange(
                    circuit=circuit.key,
                    change=change,
                    consequences=tuple(sorted(consequences, key=list(Consequence).index)),
                    keys=keys,
                    previous=was if change is Change.RENAMED else None,
                    inherited=circuit.key not in touched,
                )
            )
    retired = gone.keys() - renamed.values()
    changes += [CircuitChange(key, Change.REMOVED, (Consequence.RETIRE,)) for key in retired]
    return tuple(sorted(changes, key=lambda change: change.circuit))


def _effective(circuit: CircuitConfig, fleet: Fleet | None) -> dict[str, Any]:
    """Everything that a circuit's training, release and monitoring depend on, flat, by dotted key."""
    features = fleet.policy.features if fleet else {}
    used = (circuit.target_column, *circuit.feature_columns)
    columns = {name: features[name].model_dump() for name in used if name in features}
    return dict(_flat({**circuit.model_dump(mode="json"), "features": columns}))


def _flat(content: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(key for key in sorted({*before, *after}) if before.get(key) != after.get(key))


def _consequence(key: str) -> Consequence:
    """Ranges of a column are limits beyond which readings do not train a model, so they are part of the training."""
    match key.split("."):
        case ["name"] | ["training", "data_filters", "custom_sensor_id"] | ["features", _, "unit"]:
            return Consequence.DESCRIPTION
        case ["release", *_]:
            return Consequence.RELEASE
        case ["deployment", *_]:
            return Consequence.DEPLOYMENT
        case ["monitoring", *_]:
            return Consequence.MONITORING
        case _:
            return Consequence.RETRAIN


def compare_policies(before: Fleet | None, after: Fleet) -> tuple[str, ...]:
    """Keys of the fleet-wide rules that differ: not those of defaults and features, which circuits take up."""
    shared = {"defaults", "features"}
    old = dict(_flat(before.policy.model_dump(mode="json", exclude=shared))) if before else {}
    return _differing(old, dict(_flat(after.policy.model_dump(mode="json", exclude=shared)))) if before else ()


def compare_environments(before: Fleet | None, after: Fleet, files: Sequence[str]) -> EnvironmentChange:
    """What became of the environment; `files` of its folder differ."""
    old: Mapping[str, EnvironmentSpec] = before.environments if before else {}
    previous, version = _newest(old), _newest(after.environments)
    problems = [
        f"config/environments/{name}.yml was {'changed' if name in after.environments else 'removed'}: models may have"
        " been trained with this version; leave it as it was, and add a new version"
        for name, spec in old.items()
        if after.environments.get(name) != spec
    ]
    added = [name for name in after.environments if name not in old]
    for name in added:
        if previous and version_numbers(name) < version_numbers(previous):
            problems.append(f"config/environments/{name}.yml is older than {previous}; number it higher")
    if len(added) > 1 and old:
        problems.append(f"{', '.join(added)} were added at once, but there is one folder to build; add one at a time")
    if files and old and not added:
        problems.append(
            f"{', '.join(files)} changed, but the newest environment is still {previous}; add"
            f" config/environments/{_next_minor(previous)}.yml, or a new MAJOR version if old models cannot go on"
        )
    spec = after.environments[version] if version else None
    return EnvironmentChange(
        files=tuple(files),
        previous=previous,
        version=version,
        backward_compatible=spec.backward_compatible if spec else True,
        requires_retrain=spec.requires_retrain if spec else False,
        circuits=tuple(circuit.key for circuit in after if circuit.training.environment_version in added),
        problems=tuple(problems),
    )


def _newest(environments: Mapping[str, EnvironmentSpec]) -> str | None:
    return max(environments, key=version_numbers, default=None)


def _next_minor(version: str | None) -> str:
    major, minor, _ = version_numbers(version or "0.0.0")
    return f"{major}.{minor + 1}.0"


# --------------------------------------------------------------------------------------------------------------- git


@dataclass(frozen=True)
class Commits:
    """Two commits of a repository, by their full ids: what `head` changed since `base`."""

    repository: Path
    base: str
    head: str

    @classmethod
    def since(cls, repository: Path, base: str, head: str = "HEAD") -> Commits:
        """What `head` changed since it left `base`, whatever `base` has done since. Raises ChangesUnknown."""
        older, newer = _commit(repository, base), _commit(repository, head)
        try:
            left = _git(repository, "merge-base", older, newer).strip()
        except ChangesUnknown:
            raise ChangesUnknown(
                f"{head} and {base} have no commit in common; fetch the whole history (checkout with fetchDepth: 0)"
            ) from None
        return cls(repository, left, newer)

    @classmethod
    def of_merge(cls, repository: Path, commit: str) -> Commits:
        """What a merge, or any commit, brought to the branch it was made on. Raises ChangesUnknown."""
        merge = _commit(repository, commit)
        try:
            return cls(repository, _commit(repository, f"{merge}^1"), merge)
        except ChangesUnknown:
            raise ChangesUnknown(
                f"{commit} has no parent here; fetch more of the history (fetchDepth: 0), or give --base"
            ) from None

    @classmethod
    def of_branch(cls, repository: Path) -> Commits:
        """What the branch changed since it left the main branch; on the main branch what its newest commit brought."""
        for main in ("origin/main", "main"):
            try:
                commits = cls.since(repository, main)
            except ChangesUnknown:
                continue
            if commits.base != commits.head:
                return commits
        return cls.of_merge(repository, "HEAD")

    def fleets(self, folder: str = CONFIG_FOLDER) -> tuple[Fleet | None, Fleet]:
        """The fleet at both commits; None where the folder did not exist yet. Raises ChangesUnknown."""
        after = _fleet(self.repository, self.head, folder)
        if after is None:
            raise ChangesUnknown(
                f"commit {self.head[:10]} has no folder {folder}; name the folder of the configuration"
            )
        return _fleet(self.repository, self.base, folder), after

    def write_configuration(self, target: Path, folder: str = CONFIG_FOLDER) -> None:
        """Write the configuration as it is at `head` to a folder, which appears whole or not at all."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".writing-") as place:
            _unpack(self.repository, self.head, folder, Path(place))
            try:
                (Path(place) / folder).rename(target)
            except OSError:  # it is there: a commit's content never changes
                if not target.is_dir():
                    raise

    def files(self, folder: str) -> tuple[str, ...]:
        """The files below the folder that differ."""
        return tuple(_git(self.repository, "diff", "--name-only", self.base, self.head, "--", folder).split("\n")[:-1])

    def circuit_files(self, folder: str = CONFIG_FOLDER) -> tuple[set[str], dict[str, str]]:
        """Keys of the circuits whose own file differs, and of those renamed: new key -> old key."""
        differs = ("diff", "--name-status", "-z", "-M", self.base, self.head, "--", f"{folder}/plants")
        fields = iter(_git(self.repository, *differs).split("\0")[:-1])
        touched: set[str] = set()
        renamed: dict[str, str] = {}
        for status in fields:
            path = next(fields)
            if status.startswith("R"):
                was, path = path, next(fields)
                renamed[_circuit_of(path)] = _circuit_of(was)
            touched.add(_circuit_of(path))
        return touched, {new: was for new, was in renamed.items() if new != was}

    def author(self) -> str:
        """The e-mail address of who made `head`."""
        return _git(self.repository, "log", "-1", "--format=%ae", self.head).strip()

    def pull_request(self) -> str:
        """The number of the pull request that `head` merged, as its message says; empty where it says none."""
        subject = _git(self.repository, "log", "-1", "--format=%s", self.head)
        found = re.search(r"Merged PR (\d+):|[Pp]ull request #(\d+)|\(#(\d+)\)", subject)
        return next(filter(None, found.groups()), "") if found else ""


def config_changes(commits: Commits, folder: str = CONFIG_FOLDER) -> ConfigChanges:
    """What the commits changed in the configuration. Raises ChangesUnknown."""
    before, after = commits.fleets(folder)
    touched, renamed = commits.circuit_files(folder)
    return ConfigChanges(
        base=commits.base,
        head=commits.head,
        circuits=compare_fleets(before, after, renamed, touched),
        policy=compare_policies(before, after),
        new_environments=tuple(name for name in after.environments if not before or name not in before.environments),
    )


def environment_change(commits: Commits, folder: str = CONFIG_FOLDER) -> EnvironmentChange:
    """What the commits changed in the environment that trains and scores. Raises ChangesUnknown."""
    before, after = commits.fleets(folder)
    return compare_environments(before, after, commits.files(ENVIRONMENT_FOLDER))


def _circuit_of(path: str) -> str:
    return f"{PurePosixPath(path).parent.name}_{PurePosixPath(path).stem}"


def uncommitted(repository: Path, *folders: str) -> tuple[str, ...]:
    """Files of the folders that are not as the newest commit has them, new ones included. Raises ChangesUnknown."""
    fields = _git(repository, "status", "--porcelain", "-z", "--no-renames", "--", *folders).split("\0")[:-1]
    return tuple(field[3:] for field in fields)


def _fleet(repository: Path, commit: str, folder: str) -> Fleet | None:
    if not _git(repository, "ls-tree", commit, "--", folder).strip():
        return None
    with tempfile.TemporaryDirectory() as place:
        _unpack(repository, commit, folder, Path(place))
        try:
            return load_fleet(Path(place) / folder)
        except ConfigurationError as error:
            raise ChangesUnknown(f"at commit {commit[:10]}: {error}") from None


def _unpack(repository: Path, commit: str, folder: str, place: Path) -> None:
    """Write the commit's folder below `place`."""
    archive = subprocess.run(
        ["git", "-C", str(repository), "archive", "--format=tar", commit, "--", folder], capture_output=True, check=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        for member in files:
            if content := files.extractfile(member):
                path = place / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())


def _commit(repository: Path, name: str) -> str:
    try:
        return _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").strip()
    except ChangesUnknown:
        raise ChangesUnknown(f"{name!r} names no commit of {repository}; fetch it, or name another") from None


def _git(repository: Path, *arguments: str) -> str:
    ran = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise ChangesUnknown(f"git {arguments[0]} in {repository}: {ran.stderr.strip() or f'exit {ran.returncode}'}")
    return ran.stdout


# --------------------------------------------------------------------------------------------------- Azure Pipelines


def matrix(circuits: Sequence[str], jobs: int | None = None) -> dict[str, dict[str, str]]:
    """A job matrix of Azure Pipelines: one job a circuit, or the circuits spread evenly over at most `jobs` jobs.

    Each job has the variable `circuits` (keys, by spaces); a job of one circuit also plantId and circuitId. Raises
    ChangesUnknown when Azure Pipelines would refuse so many jobs.
    """
    if jobs is None:
        if len(circuits) > MATRIX_LIMIT:
            raise ChangesUnknown(f"{len(circuits)} circuits are more jobs than a matrix takes; spread them with --jobs")
        return {
            key: {"circuits": key, "plantId": key.partition("_")[0], "circuitId": key.partition("_")[2]}
            for key in circuits
        }
    used = min(jobs, len(circuits))
    return {f"part_{part + 1}": {"circuits": " ".join(circuits[part::used])} for part in range(used)}


def output_variable(name: str, value: object) -> str:
    """The log line with which a step of Azure Pipelines sets an output variable; anything but text as JSON."""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), default=str)
    for character, escape in (("%", "%AZP25"), ("\r", "%0D"), ("\n", "%0A")):
        text = text.replace(character, escape)
    return f"##vso[task.setvariable variable={name};isOutput=true]{text}"
