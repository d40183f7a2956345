"""What worker processes do. All heavy imports are here, and only workers and their fork server import this module."""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Self

import numpy as np

import etl.run
import etl.upkeep
import ml.score
import ml.train
from etl.report import report_path
from etl.storage import read_bytes
from local.platform import events
from local.platform.data_assets import FolderDataAssets
from local.platform.faults import FaultKind
from local.platform.ledger import ETL_UNTIL, Ledger, State, WorkItem
from local.platform.names import Work
from local.platform.outcomes import Finished
from local.platform.settings import PlatformSettings
from local.platform.stores import ModelNotFound, Stores
from ml.artifact import CircuitForecaster, ModelCache, load_folder
from ml.history import Array, open_version
from ml.monitor_messages import MonitoringRequest
from ml.requests import Contender, ScoringRequest, TrainingRequest
from ml.training_data import TrainingData
from shared.adapters.names import deployment_name, endpoint_name
from shared.configuration import load_fleet
from shared.domain.values import Pair, Stage, model_name

MODELS_KEPT = 256  # a pilot's circuits; a model is about 1 MB


class NodeLost(Exception):
    """A fault that was switched on made the job fail."""


class WrongModel(Exception):
    """A request names another pair than the deployment serves."""


def warm_up() -> None:
    """Nothing: a worker that answered has started."""


# ------------------------------------------------------------------------------------------------------------- stores


@cache
def _stores(root: Path) -> Stores:
    return Stores(root)


def create_stores(root: Path) -> None:
    _stores(root).create()


def open_stores(root: Path) -> None:
    """Connect to dev and the registry before a job has to wait for it."""
    for store in (_stores(root).workspace(Stage.DEV), _stores(root).registry):
        store.version("none", 1)


def model_tags(root: Path, stage: Stage, name: str, version: int) -> dict[str, str] | None:
    """The tags of a workspace's model version, or None."""
    model = _stores(root).workspace(stage).version(name, version)
    return dict(model.tags) if model else None


def promote(root: Path, name: str, version: int) -> int:
    """Copy a dev model version to the registry and return its number there; a copy that is there is a success."""
    return int(_stores(root).promote(name, version).version)


def require_promoted(root: Path, name: str, version: int) -> None:
    """Raise ModelNotFound unless the registry has a copy of the dev model version."""
    _stores(root).promoted_artifacts(name, version)


# --------------------------------------------------------------------------------------------------------------- jobs


def run(settings: PlatformSettings, job: WorkItem) -> Finished:
    """Run one job in this process; what it raises is why it failed."""
    ledger = _ledger(settings.ledger)
    told = () if job.work in (Work.ETL, Work.UPKEEP) else (events.run_status_changed(job, State.RUNNING),)
    if not ledger.move(job.reference, State.RUNNING, events=told):
        raise CancelledError
    if slow := job.fault(FaultKind.JOB_SLOW):
        time.sleep(slow.seconds)
    if job.fault(FaultKind.JOB_HANGS):
        threading.Event().wait()
    if job.fault(FaultKind.JOB_FAILS):
        raise NodeLost("the compute node went away while the job ran")
    if job.work is Work.TRAINING:
        return _train(settings, job)
    if job.work is Work.SCORING:
        return _score(settings, ledger, job)
    if job.work is Work.UPKEEP:
        return _keep_up(settings, job)
    if job.work is Work.MONITORING:
        return _monitor(settings, job)
    return _run_etl(settings, ledger, job)


@cache
def _ledger(path: Path) -> Ledger:
    return Ledger(path)


def _train(settings: PlatformSettings, job: WorkItem) -> Finished:
    """By the commit's configuration where a build has left it, on what the circuit's data asset reads."""
    commit = job.request["commit"]
    left = settings.configurations / commit
    fleet = load_fleet(left if left.is_dir() else settings.config)
    circuit = fleet.circuit(job.circuit)
    table = open_version(settings.table_uri, None)
    data = TrainingData(circuit, settings.table_uri, str(table.metadata().id), table.version())
    delta_version, _ = FolderDataAssets(settings.data_assets).register(data)
    dev = _stores(settings.stores).workspace(Stage.DEV)
    result = ml.train.train(
        TrainingRequest(
            circuit=circuit,
            table_uri=settings.table_uri,
            delta_version=delta_version,
            plausible_ranges={name: (column.minimum, column.maximum) for name, column in fleet.policy.features.items()},
            tracking_uri=dev.uri,
            artifact_root=dev.artifacts.as_uri(),
            git_commit_sha=commit,
            pr_number=job.request["pull_request"],
            pr_author=job.request["author"],
            command_id=job.command_id,
            champion=_champion(settings, job),
        )
    )
    registered = events.model_registered(Stage.DEV, result.model_name, result.model_version, result.tags)
    return Finished({"model_version": str(result.model_version)}, (registered,))


def _champion(settings: PlatformSettings, job: WorkItem) -> Contender | None:
    """The promoted model that the new one is compared with."""
    version = job.request["champion"]
    if version is None:
        return None
    stores, name = _stores(settings.stores), model_name(job.circuit)
    copy = stores.promoted(name, version)
    if copy is None:
        raise ModelNotFound(f"{name}:{version} is to be compared with, and the registry does not have it")
    return Contender(
        version=version,
        cutoff_date=date.fromisoformat(copy.tags["cutoff_date"]),
        folder=str(stores.promoted_artifacts(name, version)),
    )


def _score(settings: PlatformSettings, ledger: Ledger, job: WorkItem) -> Finished:
    stage = Stage(job.stage)
    endpoint, deployment = endpoint_name(stage, job.circuit), deployment_name(job.circuit)
    serving = ledger.deployment(endpoint, deployment)
    if serving is None:
        raise WrongModel(f"{endpoint} no longer has the deployment {deployment}")
    request = ScoringRequest.model_validate_json(_read(job.request["request_uri"], settings.storage_connection))
    asked = Pair(model=request.model_version, environment=request.environment_version)
    served = Pair(model=serving.model_version, environment=serving.environment_version)
    if (request.circuit, asked) != (job.circuit, served):
        raise WrongModel(
            f"the request is for {request.circuit}, {asked}; {endpoint}/{deployment} serves {job.circuit}, {served}"
        )
    load_model = _models(settings.stores)
    if job.fault(FaultKind.OUTPUT_UNUSABLE):
        summary = ml.score.score(request, lambda reference: DivergedForecaster.of(load_model(reference)))
    else:
        summary = ml.score.score(request, load_model)
    return Finished({"predictions": summary.output_uri, "rows": str(summary.rows)})


def _read(uri: str, storage_connection: str) -> bytes:
    """The content of a file or, for http and https, of a blob in the account of the connection string."""
    if not uri.startswith(("http://", "https://")):
        return read_bytes(uri)
    from azure.storage.blob import BlobClient, BlobServiceClient

    account = BlobServiceClient.from_connection_string(storage_connection)
    with BlobClient.from_blob_url(uri, credential=account.credential) as blob:
        return bytes(blob.download_blob().readall())


@cache
def _models(root: Path) -> ModelCache:
    """The registry's models that this worker has loaded."""
    registry = _stores(root)
    return ModelCache(
        lambda wanted: load_folder(registry.promoted_artifacts(model_name(wanted.circuit), wanted.model_version)),
        size=MODELS_KEPT,
    )


class DivergedForecaster(CircuitForecaster):
    """A model that answers with no numbers."""

    @classmethod
    def of(cls, model: CircuitForecaster) -> Self:
        return cls(model.circuit, model.sensor_id, model.forecaster, model.plausible, model.offsets)

    def predict(self, X: Array) -> Array:
        return np.full((len(X), self.spec.horizon), np.nan)


def _monitor(settings: PlatformSettings, job: WorkItem) -> Finished:
    # Not with the others: few runs need it, and every start of the platform would wait for it.
    import ml.monitor

    request = MonitoringRequest.model_validate_json(_read(job.request["request_uri"], settings.storage_connection))
    ml.monitor.monitor(request, job.request["output_uri"])
    return Finished({"findings": job.request["output_uri"]})


def _run_etl(settings: PlatformSettings, ledger: Ledger, job: WorkItem) -> Finished:
    fleet = load_fleet(settings.config)
    run_id, until = job.request["run_id"], ledger.setting(ETL_UNTIL)
    report = etl.run.run_etl(
        settings.landing,
        settings.table_uri,
        run_id,
        fleet.policy,
        fleet,
        datetime.fromisoformat(until) if until else None,
    )
    # Relative, as the commit's own metadata names it and the lake port takes it.
    path = report_path(settings.table_uri, run_id)
    outputs = {"report": path, "table_id": report.table_id or "", "version": ""}
    if report.version is None or report.table_id is None:
        return Finished(outputs)
    return Finished(
        {**outputs, "version": str(report.version)},
        (
            events.etl_completed(run_id, report.table_id, report.version, path),
            _log_created(settings, report.version),
        ),
    )


def _keep_up(settings: PlatformSettings, job: WorkItem) -> Finished:
    run_id = job.request["run_id"]
    version = etl.upkeep.keep_up(settings.table_uri, run_id).version
    return Finished({"run_id": run_id}, () if version is None else (_log_created(settings, version),))


def _log_created(settings: PlatformSettings, version: int) -> events.Event:
    log_file = Path(settings.table_uri) / "_delta_log" / f"{version:020d}.json"
    return events.delta_log_created(version, log_file.stat().st_size)
