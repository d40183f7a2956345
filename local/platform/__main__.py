"""`python -m local.platform`: the embedded model platform, on this machine's loopback only."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette

from local.platform.api import PlatformApi
from local.platform.background import Repeating
from local.platform.events import Publisher
from local.platform.jobs import JobRunner
from local.platform.ledger import Ledger
from local.platform.operations import OperationRunner
from local.platform.settings import PlatformSettings
from local.servers import server_options

log = logging.getLogger("local.platform")

OPERATIONS_EVERY_SECONDS = 0.05
PUBLISH_EVERY_SECONDS = 0.05
GRACE_SECONDS = 3


def application(settings: PlatformSettings) -> Starlette:
    """The service: API, job workers, operations and the outbox, started and stopped with the application."""
    ledger = Ledger(settings.ledger)
    jobs = JobRunner(settings, ledger)
    publisher = Publisher(
        ledger, settings.topic_endpoint, settings.topic_key, settings.publish_backoff, settings.source_topics
    )
    repeating = (
        Repeating("operations", OperationRunner(ledger, jobs).step, OPERATIONS_EVERY_SECONDS),
        Repeating("events", publisher.step, PUBLISH_EVERY_SECONDS),
    )

    def start_workers() -> None:
        try:
            jobs.start()
        except Exception:
            log.critical("the job workers cannot start; the service ends", exc_info=True)
            os._exit(1)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        # Workers import for seconds; requests are accepted meanwhile and their work waits in the ledger.
        threading.Thread(target=start_workers, name="start workers", daemon=True).start()
        for each in repeating:
            each.start()
        yield
        for each in repeating:
            each.stop()
        jobs.stop()

    return PlatformApi(settings, ledger, jobs).app(lifespan=lifespan)


def parse(arguments: list[str]) -> PlatformSettings:
    """Settings from the command line; keys from the environment variables that it names."""
    defaults = PlatformSettings
    parser = argparse.ArgumentParser(prog="python -m local.platform", description=__doc__)
    for name, text in (
        ("state", "folder that keeps the service's state"),
        ("config", "configuration folder of the fleet"),
        ("lake", "folder of the data lake"),
        ("landing", "folder that the ETL reads"),
    ):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="DIR", help=text)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--key-env", default="PLATFORM_KEY", help="variable that holds the key callers must give")
    parser.add_argument("--topic-endpoint", required=True, help="Event Grid topic that events are published to")
    parser.add_argument(
        "--source-topic",
        dest="source_topics",
        action="append",
        default=[],
        metavar="RESOURCE_ID=ENDPOINT",
        help="system topic of a workspace or storage account; repeatable",
    )
    parser.add_argument("--topic-key-env", default="TOPIC_KEY", help="variable that holds the topic's key")
    parser.add_argument(
        "--storage-connection-env",
        default="AzureWebJobsStorage",
        help="variable that holds the connection string of the account with the request files, if they are blobs",
    )
    parser.add_argument("--stop-with-stdin", action="store_true", help="stop when standard input ends")
    numbers = {name: value for name, value in vars(defaults).items() if isinstance(value, int | float)}
    for name, value in numbers.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, help=f"default {value}")
    options = vars(parser.parse_args(arguments))
    if options.pop("stop_with_stdin"):
        threading.Thread(target=_stop_with_stdin, daemon=True).start()
    storage_connection = os.environ.get(options.pop("storage_connection_env"), "")
    options["source_topics"] = dict(each.split("=", 1) for each in options["source_topics"])
    keys = {"key": options.pop("key_env"), "topic_key": options.pop("topic_key_env")}
    missing = sorted(variable for variable in keys.values() if not os.environ.get(variable))
    if missing:
        parser.error(f"set {', '.join(missing)} in the environment")
    folders = {name: options.pop(name).resolve() for name in ("state", "config", "lake", "landing")}
    secrets: dict[str, Any] = {name: os.environ[variable] for name, variable in keys.items()}
    return PlatformSettings(**folders, **options, **secrets, storage_connection=storage_connection)


def _stop_with_stdin() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    settings = parse(sys.argv[1:])
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    uvicorn.Server(server_options(application(settings), settings.port, GRACE_SECONDS)).run()


if __name__ == "__main__":
    main()
