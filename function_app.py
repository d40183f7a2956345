"""The function app: telemetry, its blueprints, and nothing else."""

import os

import azure.functions as func

from functions import (
    alerts,
    approvals,
    description,
    devops,
    environments,
    event_grid,
    explanations,
    lake,
    ledger,
    monitoring,
    operations,
    orders,
    overview,
    pages,
    proposals,
    releases,
    schedules,
    work,
)
from shared.wiring import telemetry

telemetry(os.environ)  # first, so that the libraries used below are seen from their first call

app = func.FunctionApp()

for module in (
    event_grid,
    work,
    schedules,
    alerts,
    proposals,
    approvals,
    devops,
    releases,
    orders,
    environments,
    explanations,
    lake,
    ledger,
    monitoring,
    operations,
    overview,
    pages,
    description,
):
    app.register_functions(module.bp)
