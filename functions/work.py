"""Work from the queue: one command a message. What goes wrong is data by the time the application returns."""

from __future__ import annotations

import azure.functions as func

from shared.wiring import wired

bp = func.Blueprint()


@bp.queue_trigger(arg_name="message", queue_name="%WORK_QUEUE%", connection="FLEET_STORAGE")
def on_work(message: func.QueueMessage) -> None:
    wired().application.work(message.get_body().decode())


@bp.queue_trigger(arg_name="message", queue_name="%WORK_QUEUE%-poison", connection="FLEET_STORAGE")
def on_poisoned_work(message: func.QueueMessage) -> None:
    wired().application.poisoned(message.get_body().decode(errors="replace"))
