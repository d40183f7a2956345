"""Facts from Event Grid: ETL completed, the Delta log was written, a model was registered, a job changed its state.

All are heard in one way: `Signals` checks topic and fields, and keeps as a dead letter what cannot be taken.
"""

from __future__ import annotations

from typing import Any

import azure.functions as func

from shared.wiring import wired

bp = func.Blueprint()


def _document(event: func.EventGridEvent) -> dict[str, Any]:
    return {
        "id": event.id,
        "topic": event.topic,
        "subject": event.subject,
        "eventType": event.event_type,
        "eventTime": event.event_time.isoformat() if event.event_time else None,
        "dataVersion": event.data_version,
        "data": event.get_json(),
    }


@bp.event_grid_trigger(arg_name="event")
def on_model_registered(event: func.EventGridEvent) -> None:
    wired().signals.hear(_document(event))


@bp.event_grid_trigger(arg_name="event")
def on_run_changed(event: func.EventGridEvent) -> None:
    wired().signals.hear(_document(event))


@bp.event_grid_trigger(arg_name="event")
def on_delta_log_written(event: func.EventGridEvent) -> None:
    wired().signals.hear(_document(event))


@bp.event_grid_trigger(arg_name="event")
def on_etl_completed(event: func.EventGridEvent) -> None:
    wired().signals.hear(_document(event))
