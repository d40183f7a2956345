"""What the workers' fork server imports once for all of them, MLflow's late imports included."""

from __future__ import annotations

import gc
import logging

import mlflow.sklearn
import mlflow.store.model_registry.sqlalchemy_store
import mlflow.store.tracking.sqlalchemy_store
from sqlalchemy.orm import configure_mappers

import local.platform.work

# Each saved model would bring a warning about pickle; what is unpickled here is what was trained here.
logging.getLogger("mlflow").setLevel(logging.ERROR)
configure_mappers()  # SQLAlchemy would do it in each worker, at its first query
# Collections in a worker would otherwise write to, and so copy, every page shared with the fork server.
gc.collect()
gc.freeze()

__all__ = ["local", "mlflow"]
