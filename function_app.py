"""The function app: its blueprints, and nothing else."""

import azure.functions as func

from functions import approvals, event_grid, explanations, ledger, operations, orders, releases, schedules, work

app = func.FunctionApp()

for module in (event_grid, work, schedules, approvals, releases, orders, explanations, ledger, operations):
    app.register_functions(module.bp)
