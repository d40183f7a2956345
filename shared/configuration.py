"""What the fleet is and how each circuit is to be trained, released and watched: `config/` as frozen, checked values.

Three layers, the later one wins: `defaults` of `policy.yml`, `defaults` of a plant in `plants_circuits.yml`, the
circuit's own file. `environments/` has a file for each version of the environment that trains and scores.
`load_fleet` reports every problem of every file at once, each with its file, line and key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import date
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.domain.alerts.causes import Route
from shared.domain.discrepancy import OutOfBand
from shared.domain.freeze import FreezeWindow
from shared.domain.period import Every
from shared.domain.persistence import PersistenceRules
from shared.domain.promotion import PromotionRules
from shared.domain.retention import RetentionRules
from shared.domain.rules import LateReadings, Supersede
from shared.domain.values import ENVIRONMENT, version_numbers
from shared.domain.values import Monitoring as Watched
from shared.yaml_documents import ConfigurationError, Key, YamlDocument, YamlReader

__all__ = ["CircuitConfig", "ConfigurationError", "EnvironmentSpec", "Fleet", "Policy", "load_fleet"]

# Ids become paths, table keys and AzureML names. `batch-endpoint-plant-{plant}-{3}` and `deployment-circuit-{circuit}`
# may have 32 characters, which leaves 7 for a plant and 13 for a circuit.
PlantId = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9]{0,6}$")]
CircuitId = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9]{0,12}$")]
SensorId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
ColumnName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
SemanticVersion = Annotated[str, Field(pattern=r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$")]
Rate = Annotated[float, Field(ge=0, le=1)]

KEY_COLUMNS = ("timestamp", "date", "sensor_id")
ENVIRONMENT_NAME = ENVIRONMENT


class Frozen(BaseModel):
    """A value that cannot change after it was checked, and takes no key it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Hyperparameters(Frozen):
    """The default model's settings: a linear and a boosted-trees forecaster, averaged."""

    ridge_alpha: float = Field(default=10.0, gt=0)
    learning_rate: float = Field(default=0.2, gt=0)
    max_iter: int = Field(default=20, ge=1, le=2000)
    max_leaf_nodes: int = Field(default=15, ge=2, le=1024)
    min_samples_leaf: int = Field(default=20, ge=1)
    l2_regularization: float = Field(default=1.0, ge=0)
    holdout_days: int = Field(default=28, ge=2, le=365)
    backtest_folds: int = Field(default=3, ge=1, le=12)

    def digest(self) -> str:
        """Twelve hexadecimal digits that are equal exactly when all settings are."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


class DataFilters(Frozen):
    """Which rows and columns of the Delta table belong to a circuit."""

    sensor_id: SensorId
    custom_sensor_id: bool = False
    feature_columns: tuple[ColumnName, ...] = ()


class Training(Frozen):
    """Readings up to the end of `cutoff_date` (a UTC day) train the model; `forecast_horizon` is in hours."""

    cutoff_date: date
    environment_version: SemanticVersion
    target_column: ColumnName
    forecast_horizon: int = Field(default=24, ge=1, le=168)
    hyperparameters: Hyperparameters = Hyperparameters()
    data_filters: DataFilters


class Deployment(Frozen):
    """How a circuit's scoring jobs run: how long one may take, and how often a failed one is tried again.

    The time is a deployment's, so a change takes effect with the next one.
    """

    scoring_timeout_minutes: int = Field(default=30, ge=1, le=1440)
    max_retries: int = Field(default=3, ge=0, le=10)


class ReleaseRules(Frozen):
    """What a newer version does to an older one that is a candidate: it takes its place, or queues behind it."""

    supersede: Supersede = "latest"


class Threshold(Frozen):
    """Two limits of a metric that is better when lower."""

    warn: float = Field(gt=0)
    critical: float = Field(gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.warn >= self.critical:
            raise ValueError(f"warn ({self.warn}) must be below critical ({self.critical})")
        return self


class DriftLevels(Frozen):
    """Lower bounds of the three grades of drift."""

    low: float = Field(default=0.05, gt=0)
    medium: float = Field(default=0.15, gt=0)
    high: float = Field(default=0.25, gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.medium < self.high:
            raise ValueError(f"low < medium < high is required (got {self.low}, {self.medium}, {self.high})")
        return self


class Monitoring(Frozen):
    """When a circuit is reported. Errors are in standard deviations of the target in the training window."""

    null_rate: Rate = 0.05
    out_of_range_rate: Rate = 0.05
    missing_rate: Rate = 0.1
    late_rate: Rate = 0.5
    stuck_hours: int = Field(default=24, ge=7, le=30 * 24)
    mae: Threshold = Threshold(warn=0.15, critical=0.25)
    rmse: Threshold = Threshold(warn=0.20, critical=0.35)
    mape: Threshold = Threshold(warn=0.10, critical=0.20)
    drift: DriftLevels = DriftLevels()
    persistence: PersistenceRules = PersistenceRules()
    plausible_range_sd: float = Field(default=3.0, ge=0)


class CircuitConfig(Frozen):
    """One circuit: one sensor, one forecast model."""

    plant_id: PlantId
    circuit_id: CircuitId
    name: str = ""
    training: Training
    release: ReleaseRules = ReleaseRules()
    deployment: Deployment = Deployment()
    monitoring: Monitoring = Monitoring()

    @property
    def key(self) -> str:
        return f"{self.plant_id}_{self.circuit_id}"

    @property
    def sensor_id(self) -> str:
        return self.training.data_filters.sensor_id

    @property
    def target_column(self) -> str:
        return self.training.target_column

    @property
    def feature_columns(self) -> tuple[str, ...]:
        return self.training.data_filters.feature_columns

    @property
    def model_name(self) -> str:
        return f"sensor_model_{self.key}"

    @property
    def experiment_name(self) -> str:
        return f"plant_{self.plant_id}_circuit_{self.circuit_id}"

    @property
    def data_asset_name(self) -> str:
        return f"sensor_training_data_{self.key}"

    @property
    def deployment_name(self) -> str:
        return f"deployment-circuit-{self.circuit_id}"

    def endpoint_name(self, workspace_suffix: str) -> str:
        """The plant's batch endpoint in a workspace; `workspace_suffix` has three characters, e.g. `prd`."""
        return f"batch-endpoint-plant-{self.plant_id}-{workspace_suffix}"


class FeatureColumn(Frozen):
    """A measured column of the Delta table and the values a working sensor can give."""

    unit: str
    minimum: float
    maximum: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.minimum >= self.maximum:
            raise ValueError(f"minimum ({self.minimum}) must be below maximum ({self.maximum})")
        return self


class ApprovalGates(Frozen):
    """Per gate the approvals it asks for, each of a different person: one of any of the groups listed for it."""

    registry: tuple[tuple[str, ...], ...] = (("ML-Engineers",),)
    production: tuple[tuple[str, ...], ...] = (("ML-Engineers", "Engineering-Managers"),)
    environment_production: tuple[tuple[str, ...], ...] = (("ML-Engineers",), ("Engineering-Managers",))

    @model_validator(mode="after")
    def _nobody_is_not_an_approver(self) -> Self:
        for gate, approvals in self:
            if not approvals or not all(approvals):
                raise ValueError(f"gate {gate} must ask for at least one approval, and name a group for each")
        return self


class Observation(Frozen):
    """A release is observed until this many scorings were verified, or for `hours` with at least one of them.

    `rolls_back`: whether refused predictions of what is observed undo it at once, or people decide.
    """

    verified_scorings: int = Field(default=1, ge=1)
    hours: int | None = Field(default=None, ge=1, le=14 * 24)
    rolls_back: bool = True


class LedgerRules(Frozen):
    """A day's forecast is late when it is published more than `late_after_hours` after its forecast origin.

    late_readings: what becomes of the newest forecast when readings that it was to be made from come afterwards.
    """

    late_after_hours: int = Field(default=9, ge=1)
    late_readings: LateReadings = "leave"


class MonitoringSchedules(Frozen):
    """How often the whole fleet is looked at. Drift decides at most weekly: each look may be wrong.

    `drift_warnings` follow the ETL; `settle_hours` is how long the last readings of a period may take to arrive.
    """

    performance: Literal["week", "month", "never"] = "month"
    drift: Literal["week", "month", "quarter", "never"] = "quarter"
    drift_warnings: Literal["day", "week", "never"] = "day"
    settle_hours: int = Field(default=6, ge=0, le=14 * 24)

    def every(self) -> dict[Watched, Every]:
        """How often, by what is looked at."""
        return {
            Watched.PERFORMANCE: Every(self.performance),
            Watched.DRIFT: Every(self.drift),
            Watched.WARNING: Every(self.drift_warnings),
        }


class EnvironmentUpdates(Frozen):
    """How an environment goes through the fleet: first to `canary_circuits`, then in waves, and watched at the end.

    More failures than `failure_budget`, a share of the circuits it reached, halt it; a failing canary always does. Each
    canary scores with it before the first wave begins; with `verify_waves`, each circuit of a wave before the next.
    """

    canary_circuits: int = Field(default=2, ge=1, le=50)
    wave_circuits: int = Field(default=20, ge=1, le=500)
    verify_waves: bool = False
    failure_budget: Rate = 0.1
    observation_hours: int = Field(default=24, ge=1, le=14 * 24)


class DriftRules(Frozen):
    """How drift is told from what a sensor does anyway.

    A window of `window_days` decides, two of `warning_days` in a row warn; each is held against the last
    `reference_days` of what the live model was trained on. `false_discovery_rate` is the share of findings that may be
    chance, over all circuits and columns of a run.
    """

    reference_days: int = Field(default=365, ge=30, le=3 * 366)
    window_days: int = Field(default=30, ge=7, le=92)
    warning_days: int = Field(default=7, ge=1, le=30)
    false_discovery_rate: float = Field(default=0.05, gt=0, lt=1)


class AlertRepeats(Frozen):
    """Hours after which an open alert is told again that nobody looks after."""

    warning: int = Field(default=168, ge=1)
    critical: int = Field(default=24, ge=1)


class AlertRules(Frozen):
    """Who is told of alerts and how often: `acknowledged_days` is how long somebody may look after one in silence.

    More than `training_failures` within 24 hours, in the whole fleet, alert. `webhook_hosts` are the hosts that
    webhooks may lead to; which webhooks there are is a setting.
    """

    repeat_hours: AlertRepeats = AlertRepeats()
    training_failures: int = Field(default=5, ge=0)
    acknowledged_days: int = Field(default=7, ge=1, le=90)
    webhook_hosts: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()


class ProposalRules(Frozen):
    """What a degraded circuit gets unasked: a pull request, or its former model back. Else people accept it first."""

    open_pull_requests: bool = False
    roll_back: bool = False


class Policy(Frozen):
    """What holds for the whole fleet."""

    features: dict[ColumnName, FeatureColumn] = Field(min_length=1)
    scoring_origin_hour: int = Field(default=0, ge=0, le=23)
    approval_groups: ApprovalGates = ApprovalGates()
    approval_timeout_hours: int = Field(default=24, ge=1)
    promotion: PromotionRules = PromotionRules()
    observation: Observation = Observation()
    freeze_windows: tuple[FreezeWindow, ...] = ()
    ledger: LedgerRules = LedgerRules()
    out_of_band: OutOfBand = "repair"
    environment_updates: EnvironmentUpdates = EnvironmentUpdates()
    monitoring: MonitoringSchedules = MonitoringSchedules()
    drift: DriftRules = DriftRules()
    alerts: AlertRules = AlertRules()
    proposals: ProposalRules = ProposalRules()
    retention: RetentionRules = RetentionRules()
    max_parallel_training: int = Field(default=5, ge=1)
    max_parallel_invocations: int = Field(default=20, ge=1)
    defaults: dict[str, Any] = {}

    @model_validator(mode="after")
    def _open_gates_are_known(self) -> Self:
        if self.retention.lookups_days * 24 <= self.approval_timeout_hours:
            raise ValueError(
                f"retention.lookups_days ({self.retention.lookups_days}) must be longer than a gate may be open"
                f" (approval_timeout_hours: {self.approval_timeout_hours})"
            )
        return self

    @model_validator(mode="after")
    def _features_are_not_keys(self) -> Self:
        if taken := [name for name in self.features if name in KEY_COLUMNS]:
            raise ValueError(f"feature columns may not be named {', '.join(taken)}: every table has them already")
        return self


class ListedCircuit(Frozen):
    """A circuit's entry in the master list."""

    name: str


class Plant(Frozen):
    """One site: its entry in the master list."""

    name: str
    defaults: dict[str, Any] = {}
    circuits: dict[CircuitId, ListedCircuit] = Field(min_length=1)


class MasterList(Frozen):
    """`plants_circuits.yml`."""

    plants: dict[PlantId, Plant] = Field(min_length=1)


class EnvironmentSpec(Frozen):
    """One version of the environment that trains and scores; never changed once it is published.

    A new MAJOR version is one that models trained before cannot be scored with: they are trained again.
    """

    version: SemanticVersion
    backward_compatible: bool
    requires_retrain: bool
    change_summary: str = Field(min_length=10, max_length=250)

    @model_validator(mode="after")
    def _breaking_means_retraining(self) -> Self:
        if not self.backward_compatible and not self.requires_retrain:
            raise ValueError("requires_retrain must be true where backward_compatible is false: old models stop")
        return self

    @property
    def reference(self) -> str:
        """Its name in AzureML, with the version."""
        return f"{ENVIRONMENT_NAME}:{self.version}"

    def tags(self, commit: str, pull_request: str) -> dict[str, str]:
        """The tags it is registered with. The commit is known only to the build that registers it."""
        return {
            "backward_compatible": str(self.backward_compatible).lower(),
            "requires_retrain": str(self.requires_retrain).lower(),
            "change_summary": self.change_summary,
            "git_commit_sha": commit,
            "pr_number": pull_request,
        }


class Fleet(Frozen):
    """All plants and circuits and the policy they share. Circuits are ordered by key, environments by version."""

    policy: Policy
    plants: dict[str, Plant]
    circuits: dict[str, CircuitConfig]
    environments: dict[str, EnvironmentSpec] = {}

    def __iter__(self) -> Iterator[CircuitConfig]:  # type: ignore[override]
        return iter(self.circuits.values())

    def __len__(self) -> int:
        return len(self.circuits)

    def circuit(self, key: str) -> CircuitConfig:
        """The circuit with key `{plant_id}_{circuit_id}`; KeyError names it and its nearest neighbours."""
        if key not in self.circuits:
            near = get_close_matches(key, self.circuits, n=3)
            raise KeyError(f"no circuit {key!r} in the fleet" + (f"; near: {', '.join(near)}" if near else ""))
        return self.circuits[key]

    def environment(self, version: str) -> EnvironmentSpec:
        """The environment of this version; KeyError names those there are."""
        if version not in self.environments:
            known = ", ".join(self.environments) or "none"
            raise KeyError(f"config/environments has no {version}.yml; versions: {known}")
        return self.environments[version]

    def by_sensor(self, sensor_id: str) -> CircuitConfig | None:
        """The circuit that the sensor belongs to, or None if no circuit reads it."""
        return next((circuit for circuit in self if circuit.sensor_id == sensor_id), None)


class _FleetReader(YamlReader):
    """Reads a configuration folder; what the files say of each other is checked here."""

    def load(self) -> Fleet:
        policy_document = self.read(self.folder / "policy.yml")
        policy = self.parse(Policy, policy_document) if policy_document else None
        defaults = policy_document.below(("defaults",)) if policy_document else YamlDocument({}, {})
        # Taken from the document, so that columns are checked even while something else in the policy is wrong.
        features = list(policy_document.below(("features",)).content) if policy_document else []
        master_document = self.read(self.folder / "plants_circuits.yml")
        master = self.parse(MasterList, master_document) if master_document else None
        if policy and policy_document and master_document:
            self._check_routes(policy, policy_document, master_document)
        environments = self._environments()
        circuits: dict[str, CircuitConfig] = {}
        if master_document:
            listed = set()
            for plant_id, circuit_id in self._listed_ids(master_document):
                path = self.folder / "plants" / plant_id / f"{circuit_id}.yml"
                listed.add(path)
                if own := self.read(path, "create it, or take the circuit out of plants_circuits.yml"):
                    plant = master_document.below(("plants", plant_id, "defaults"))
                    entry = master_document.below(("plants", plant_id, "circuits", circuit_id))
                    document = own.over(plant.over(defaults)) if plant.content else own.over(defaults)
                    document.content.setdefault("name", entry.content.get("name"))
                    document.places[()] = own.places[()]
                    if circuit := self._circuit(document, plant_id, circuit_id, features, list(circuits.values())):
                        circuits[circuit.key] = circuit
                        self._check_environment(document, circuit, environments)
            for path in sorted(set((self.folder / "plants").glob("**/*.yml")) - listed):
                self.report((self.name_of(path), 1), "", "not in plants_circuits.yml; add it there, or remove the file")
        self.raise_problems()
        assert policy and master, "a model that is missing was reported"
        return Fleet(
            policy=policy,
            plants=master.plants,
            circuits=dict(sorted(circuits.items())),
            environments=environments,
        )

    def _check_routes(self, policy: Policy, document: YamlDocument, master: YamlDocument) -> None:
        plants = master.below(("plants",)).content
        for number, route in enumerate(policy.alerts.routes):
            for unknown in [plant for plant in route.plants if plant not in plants]:
                key: Key = ("alerts", "routes", number, "plants")
                self.report(document.place(key), key, f"there is no plant {unknown!r}; plants: {', '.join(plants)}")

    def _environments(self) -> dict[str, EnvironmentSpec]:
        """Every readable version, in order; a folder without `environments/` leaves the versions unchecked."""
        found: dict[str, tuple[EnvironmentSpec, YamlDocument]] = {}
        for path in sorted((self.folder / "environments").glob("*.yml")):
            document = self.read(path)
            spec = self.parse(EnvironmentSpec, document) if document else None
            if document and spec:
                if spec.version != path.stem:
                    key = ("version",)
                    self.report(document.place(key), key, f"is {spec.version!r}, but the file is {path.name}")
                found[spec.version] = (spec, document)
        ordered = sorted(found.values(), key=lambda item: version_numbers(item[0].version))
        for (before, _), (spec, document) in pairwise(ordered):
            breaking = version_numbers(spec.version)[0] > version_numbers(before.version)[0]
            if breaking == spec.backward_compatible:
                which = "a new MAJOR version" if breaking else "the same MAJOR version"
                wanted = str(not breaking).lower()
                problem = f"{spec.version} is {which} after {before.version}: set it to {wanted}, or number it anew"
                self.report(document.place(("backward_compatible",)), "backward_compatible", problem)
        return {spec.version: spec for spec, _ in ordered}

    def _check_environment(
        self, document: YamlDocument, circuit: CircuitConfig, environments: Mapping[str, EnvironmentSpec]
    ) -> None:
        key: Key = ("training", "environment_version")
        version = circuit.training.environment_version
        described = (self.folder / "environments" / f"{version}.yml").is_file()  # perhaps wrongly: that is reported
        if environments and version not in environments and not described:
            problem = f"{version!r} has no file in environments/; allowed: {', '.join(environments)}"
            self.report(document.place(key), key, problem)

    def _listed_ids(self, master: YamlDocument) -> Iterator[tuple[str, str]]:
        """Pairs of ids that are safe to make a path of; two that differ only in case are reported."""
        plants = master.below(("plants",)).content
        self._report_case_twins(master, ("plants",), plants)
        for plant_id in plants:
            where = ("plants", plant_id, "circuits")
            circuits = master.below(where).content
            self._report_case_twins(master, where, circuits)
            for circuit_id in circuits:
                if plant_id.isalnum() and circuit_id.isalnum():
                    yield plant_id, circuit_id

    def _report_case_twins(self, document: YamlDocument, where: Key, ids: Mapping[str, Any]) -> None:
        seen: dict[str, str] = {}
        for name in ids:
            if (first := seen.setdefault(name.casefold(), name)) != name:
                key = (*where, name)
                self.report(document.place(key), key, f"differs from {first} only in case: Azure would mix them up")

    def _circuit(
        self,
        document: YamlDocument,
        plant_id: str,
        circuit_id: str,
        features: list[str],
        others: list[CircuitConfig],
    ) -> CircuitConfig | None:
        circuit = self.parse(CircuitConfig, document)
        for key, listed in (("plant_id", plant_id), ("circuit_id", circuit_id)):
            given = document.content.get(key)
            if given is not None and given != listed:
                self.report(document.place((key,)), key, f"is {given!r}, but its folder and file say {listed!r}")
        if circuit:
            self._check_columns(document, circuit, features)
            self._check_sensor(document, circuit, others)
        return circuit

    def _check_columns(self, document: YamlDocument, circuit: CircuitConfig, features: list[str]) -> None:
        target_key: Key = ("training", "target_column")
        columns_key: Key = ("training", "data_filters", "feature_columns")
        used = [(target_key, circuit.target_column)]
        used += [((*columns_key, index), name) for index, name in enumerate(circuit.feature_columns)]
        seen: set[str] = set()
        for key, name in used:
            if features and name not in features:
                allowed = ", ".join(features)
                self.report(document.place(key), key, f"{name!r} is not a feature of policy.yml; allowed: {allowed}")
            elif name in seen:
                is_target = name == circuit.target_column
                reason = "is the target, whose past is used anyway" if is_target else "is listed twice"
                self.report(document.place(key), key, f"{name!r} {reason}; take it out")
            seen.add(name)

    def _check_sensor(self, document: YamlDocument, circuit: CircuitConfig, others: list[CircuitConfig]) -> None:
        key: Key = ("training", "data_filters", "sensor_id")
        expected = f"SENSOR_{circuit.key}"
        if circuit.sensor_id != expected and not circuit.training.data_filters.custom_sensor_id:
            hint = "or set custom_sensor_id: true if the sensor is really called that"
            self.report(document.place(key), key, f"is {circuit.sensor_id!r}; use {expected!r}, {hint}")
        for other in others:
            if other.sensor_id == circuit.sensor_id and other.key != circuit.key:
                self.report(document.place(key), key, f"{circuit.sensor_id!r} already belongs to {other.key}")


def load_fleet(folder: Path | str) -> Fleet:
    """The fleet that a configuration folder describes.

    Raises ConfigurationError with every problem of every file: file, line, key, what is wrong, what is allowed.
    """
    return _FleetReader(Path(folder)).load()
