"""One thread for a process that works on one circuit: numeric libraries otherwise start one per core, and fight."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")


def limit_threads(environment: MutableMapping[str, str] = os.environ, threads: int = 1) -> None:
    """Set what is not set yet. Counts for libraries imported afterwards, or for a process started with it."""
    for variable in VARIABLES:
        environment.setdefault(variable, str(threads))
