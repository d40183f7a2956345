"""`python -m local.functions_host --app function_app:app --port 7071 --script-root .`"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from local.functions_host.host import FunctionsHost, HostOptions, HostStartError
from local.functions_host.host_json import BadHostJson, read_host_json
from local.functions_host.index import IndexingError, load_app
from local.functions_host.invocation import DEFAULT_THREADS
from local.functions_host.logs import configure_logging
from local.functions_host.queue_trigger import LEASE_SECONDS
from local.ports import LOOPBACK, PortTaken, free_port, require_free
from local.servers import Server, server_options


def main(arguments: list[str] | None = None) -> int:
    """Host the app until SIGINT or SIGTERM; exit code 1 with the reason when it cannot be hosted."""
    parser = argparse.ArgumentParser(prog="python -m local.functions_host", description=__doc__)
    parser.add_argument("--app", default="function_app:app", help="module:attribute of the azure.functions.FunctionApp")
    parser.add_argument("--port", type=int, default=7071, help="port on the loopback; 0 for a free one")
    parser.add_argument("--script-root", type=Path, default=Path(), help="folder of host.json and the app")
    parser.add_argument("--grace", type=int, default=20, help="seconds running invocations get at the end")
    parser.add_argument(
        "--queue-lease",
        type=int,
        default=LEASE_SECONDS,
        help="seconds after which the messages of a killed host are tried again (as on Azure, 600, unless given)",
    )
    parser.add_argument("--stop-with-stdin", action="store_true", help="stop when standard input ends")
    given = parser.parse_args(arguments)
    try:
        settings = read_host_json(given.script_root / "host.json", os.environ)
        configure_logging(settings.log_levels)
        port = given.port or free_port()
        require_free(port, "the function host")
        threads = int(os.environ.get("PYTHON_THREADPOOL_THREAD_COUNT") or DEFAULT_THREADS)
        app = load_app(given.app, given.script_root)
        options = HostOptions(given.grace, threads, given.queue_lease)
        host = FunctionsHost(app, given.script_root, options=options)
    except (BadHostJson, HostStartError, IndexingError, PortTaken) as error:
        print(f"The function host cannot start. {error}", file=sys.stderr)
        return 1
    print(host.table(f"http://{LOOPBACK}:{port}"), flush=True)
    server = Server(server_options(host.application, port, given.grace), before_exit=host.stop_taking)
    if given.stop_with_stdin:
        threading.Thread(target=_stop_with_stdin, name="stdin", daemon=True).start()
    server.run()
    return 0 if server.started else 1


def _stop_with_stdin() -> None:
    """So that no host outlives, unseen, the process that started it."""
    with contextlib.suppress(OSError):
        while os.read(sys.stdin.fileno(), 4096):
            continue
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    if any(thread.name.startswith("function") for thread in threading.enumerate()):
        sys.stderr.flush()
        os._exit(code)  # the interpreter would wait for functions that outlived the grace time
    sys.exit(code)
