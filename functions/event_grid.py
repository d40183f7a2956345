"""Facts from Event Grid: ETL completed, the Delta log was written, a model was registered, a job changed its state.

All are heard in one way: `Signals` checks topic and fields, and keeps as a dead letter what cannot be taken. Where the
app has no address that Event Grid reaches, the same events come through a queue.
"""

from __future__ import annotations

from typing import Any

import azure.functions as func

from shared.wiring import wired

bp = func.Blueprint()


def _document(event: func.EventGridEvent | func.CloudEvent) -> dict[str, Any]:
    """The event by the names of the Event Grid schema, whichever schema it came in."""
    if isinstance(event, func.CloudEvent):
        topic, kind, time, version = event.source, event.type, event.time, ""
    else:
        topic, kind, time, version = event.topic, event.event_type, event.event_time, event.data_version
    return {
        "id": event.id,
        "topic": topic,
        "subject": event.subject,
        "eventType": kind,
        "eventTime": time.isoformat() if time else None,
        "dataVersion": version,
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


@bp.event_grid_trigger(arg_name="event")
def on_environment_registered(event: func.EventGridEvent) -> None:
    wired().signals.hear(_document(event))


@bp.queue_trigger(arg_name="message", queue_name="%EVENTS_QUEUE%", connection="FLEET_STORAGE")
def on_queued_event(message: func.QueueMessage) -> None:
    wired().signals.hear_message(message.get_body().decode(errors="replace"))


@bp.queue_trigger(arg_name="message", queue_name="%EVENTS_QUEUE%-poison", connection="FLEET_STORAGE")
def on_poisoned_event(message: func.QueueMessage) -> None:
    wired().signals.given_up(message.get_body().decode(errors="replace"))
