"""One function for each thing a host can get wrong. Calls are noted as JSON lines in the file TRACE_FILE."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
_writing = threading.Lock()


def note(name: str, **seen: Any) -> None:
    with _writing, Path(os.environ["TRACE_FILE"]).open("a", encoding="utf-8") as trace:
        trace.write(json.dumps({"name": name, "at": time.time(), **seen}) + "\n")


def _json(content: Any, **options: Any) -> func.HttpResponse:
    return func.HttpResponse(json.dumps(content), mimetype="application/json", **options)


@app.route(route="echo/{kind}/{number:int?}")
def echo(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    body = req.get_body().decode()
    return _json(
        {
            "method": req.method,
            "url": req.url,
            "headers": dict(req.headers),
            "params": dict(req.params),
            "route": dict(req.route_params),
            "body": body,
            "function": context.function_name,
            "invocation": context.invocation_id,
        }
    )


@app.route(route="only/post", methods=["POST"])
async def only_post(req: func.HttpRequest) -> func.HttpResponse:
    await asyncio.sleep(0)
    return func.HttpResponse(req.get_body(), status_code=201, headers={"x-kind": "posted"})


@app.route(route="files/{*path}")
def files(req: func.HttpRequest) -> func.HttpResponse:
    return _json(dict(req.route_params))


@app.route(route="guarded", auth_level=func.AuthLevel.FUNCTION)
def guarded(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("in")


@app.route(route="other/guarded", auth_level=func.AuthLevel.FUNCTION)
def other_guarded(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("in")


@app.route(route="master", auth_level=func.AuthLevel.ADMIN)
def master(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("in")


@app.route(route="returns/{what}")
def returns(req: func.HttpRequest) -> Any:
    answers: dict[str, Any] = {"text": "plain words", "none": None, "dict": {"a": 1}}
    what = req.route_params["what"]
    if what == "error":
        raise RuntimeError("secret detail of the failure")
    if what == "exit":
        sys.exit(3)
    if what == "cookies":
        return func.HttpResponse("sweet", headers={"Set-Cookie": "a=1; Path=/"})
    return answers[what]


@app.route(route="slow/{milliseconds:int}")
def slow(req: func.HttpRequest) -> func.HttpResponse:
    note("slow")
    time.sleep(int(req.route_params["milliseconds"]) / 1000)
    return func.HttpResponse("done")


@app.route(route="slow/async/{milliseconds:int}")
async def slow_async(req: func.HttpRequest) -> func.HttpResponse:
    await asyncio.sleep(int(req.route_params["milliseconds"]) / 1000)
    return func.HttpResponse("done")


@app.event_grid_trigger(arg_name="event")
def on_event(event: func.EventGridEvent) -> None:
    note("on_event", id=event.id, topic=event.topic, type=event.event_type, content=event.get_json())
    if event.subject == "fail":
        raise RuntimeError("this event fails")


@app.event_grid_trigger(arg_name="event")
def on_cloud_event(event: func.CloudEvent) -> None:
    note("on_cloud_event", id=event.id, source=event.source, type=event.type, content=event.get_json())


@app.event_grid_trigger(arg_name="event")
def on_event_returning(event: func.EventGridEvent) -> Any:
    return "nobody bound this"


@app.timer_trigger(arg_name="timer", schedule="%TICK_SCHEDULE%")
def tick(timer: func.TimerRequest) -> None:
    note("tick", past_due=timer.past_due, status=timer.schedule_status)  # type: ignore[attr-defined]
    time.sleep(float(os.environ.get("TICK_SECONDS", "0")))
    note("tick ended")
    if os.environ.get("TICK_FAILS"):
        raise RuntimeError("the tick fails")


@app.timer_trigger(arg_name="timer", schedule="%HOURLY_SCHEDULE%")
def hourly(timer: func.TimerRequest) -> None:
    note("hourly", past_due=timer.past_due, status=timer.schedule_status)  # type: ignore[attr-defined]


@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *", run_on_startup=True)
def at_startup(timer: func.TimerRequest) -> None:
    note("at_startup", past_due=timer.past_due)


@app.queue_trigger(arg_name="message", queue_name="%WORK_QUEUE%", connection="WorkStorage")
def work(message: func.QueueMessage) -> None:
    body = message.get_body().decode(errors="replace")
    note("work", id=message.id, body=body, count=message.dequeue_count, inserted=str(message.insertion_time))
    if body.startswith("sleep "):
        time.sleep(float(body.removeprefix("sleep ")))
    note("work ended", body=body)
    if body == "fail" or (body == "fail once" and message.dequeue_count == 1):
        raise RuntimeError("this message fails")


@app.route(route="logs")
def quiet(req: func.HttpRequest) -> func.HttpResponse:
    logging.getLogger("sample").info("spoken at info")
    logging.getLogger("sample").warning("spoken at warning")
    return func.HttpResponse("logged")
