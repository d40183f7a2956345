"""The embedded model platform: AzureML's workspaces, registry, deployments and jobs as one service on this machine.

    client ──HTTP──> api ──> ledger (SQLite: commands, operations, jobs, deployments, events, faults)
                              │ operations: promotion, deployment; end later, never inside the call
                              │ jobs: training, scoring, ETL; processes of their own (jobs → workers → work → etl, ml)
                              └ events: the outbox, published to the Event Grid topic until accepted

The service is a process apart from the function host, so work survives a restart of either: what the ledger holds is
taken up again. Models live in MLflow stores (stores), which only worker processes open.
"""
