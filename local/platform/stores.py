"""Models: one MLflow store a workspace and one for the registry, each a SQLite file with a folder of artifacts.

Imported by worker processes only: MLflow costs seconds and 170 MB.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from local.platform.names import REGISTRY
from shared.domain.values import Stage

SOURCE_WORKSPACE = "source_workspace"
SOURCE_VERSION = "source_version"
TEMPLATES = Path(__file__).resolve().parents[2] / ".local" / "mlflow"


class ModelNotFound(Exception):
    """A store has no such model version."""


class Store:
    """One workspace's, or the registry's, experiments and models."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self._folder = root / name
        self._database = self._folder / "mlflow.sqlite"

    @property
    def uri(self) -> str:
        """Tracking and registry URI of the store."""
        return f"sqlite:///{self._database}"

    @property
    def artifacts(self) -> Path:
        return self._folder / "artifacts"

    @cached_property
    def client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def create(self) -> None:
        """Make the store from the migrated template unless it exists: a migration in each takes seconds."""
        self.artifacts.mkdir(parents=True, exist_ok=True)
        if not self._database.exists():
            _copy_whole(_template(), self._database)

    def version(self, name: str, version: int) -> ModelVersion | None:
        try:
            return self.client.get_model_version(name, str(version))
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def version_tagged(self, name: str, **tags: str) -> ModelVersion | None:
        """The first version of the model that carries all the tags."""
        wanted = "".join(f" AND tags.`{key}` = '{value}'" for key, value in tags.items())
        found = self.client.search_model_versions(f"name = '{name}'{wanted}", order_by=["version_number ASC"])
        return found[0] if found else None


class Stores:
    """The three workspaces' stores and the registry's."""

    def __init__(self, root: Path) -> None:
        self.registry = Store(root, REGISTRY)
        self._workspaces = {stage: Store(root, stage) for stage in Stage}

    def workspace(self, stage: Stage) -> Store:
        return self._workspaces[stage]

    def create(self) -> None:
        for store in (*self._workspaces.values(), self.registry):
            store.create()

    def promoted(self, name: str, version: int) -> ModelVersion | None:
        """The registry's copy of a dev model version. MLflow numbers copies by itself, so a tag tells which it is."""
        return self.registry.version_tagged(name, **{SOURCE_WORKSPACE: Stage.DEV, SOURCE_VERSION: str(version)})

    def promote(self, name: str, version: int) -> ModelVersion:
        """Copy a dev model version with its tags to the registry, or find the copy; raises ModelNotFound."""
        if copy := self.promoted(name, version):
            return copy
        dev = self.workspace(Stage.DEV)
        model = dev.version(name, version)
        if model is None:
            raise ModelNotFound(f"the dev workspace has no model {name}:{version}; train and register it first")
        artifacts = self.registry.artifacts / name / str(version)
        _download(dev, model, artifacts)
        try:
            self.registry.client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        tags = {**model.tags, SOURCE_WORKSPACE: str(Stage.DEV), SOURCE_VERSION: str(version)}
        return self.registry.client.create_model_version(name, source=artifacts.as_uri(), tags=tags)

    def promoted_artifacts(self, name: str, version: int) -> Path:
        """Where the registry keeps the copy's files; raises ModelNotFound."""
        if self.promoted(name, version) is None:
            raise ModelNotFound(f"the registry has no copy of {name}:{version}; promote it first")
        return self.registry.artifacts / name / str(version)


def _download(store: Store, model: ModelVersion, destination: Path) -> None:
    """Copy a model's files; the destination appears whole or not at all."""
    if destination.exists():
        return
    destination.parent.mkdir(parents=True, exist_ok=True)
    source = store.client.get_model_version_download_uri(model.name, model.version)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".download-") as scratch:
        files = mlflow.artifacts.download_artifacts(artifact_uri=source, dst_path=scratch, tracking_uri=store.uri)
        os.rename(files, destination)


def _template() -> Path:
    """An empty store, migrated once for this version of MLflow and kept for every later start on this machine."""
    template = TEMPLATES / f"template-{mlflow.__version__}.sqlite"
    if not template.exists():
        TEMPLATES.mkdir(parents=True, exist_ok=True)
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        with tempfile.TemporaryDirectory(dir=TEMPLATES) as scratch:
            database = Path(scratch) / template.name
            uri = f"sqlite:///{database}"
            MlflowClient(tracking_uri=uri, registry_uri=uri).search_registered_models()
            _copy_whole(database, template)
    return template


def _copy_whole(source: Path, destination: Path) -> None:
    partial: Any = destination.with_suffix(f".{os.getpid()}.partial")
    shutil.copyfile(source, partial)
    os.replace(partial, destination)
