"""What the function app costs to import and to make ready, beside a minimal app, each time in a fresh process.

Measured with the packages of requirements.txt alone, as it is deployed: with others there, Azure's clients import more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from tests.bench.fleet import ROOT, environment
from tests.bench.rows import BenchRow, measured, ours_at_most, ratio_at_most

REPETITIONS = 9
PACKAGES = ROOT / "requirements.txt"
DEPLOYED = ROOT / ".local" / "bench" / "deployed"
BYTECODE = ROOT / ".local" / "bench" / "bytecode"
FORBIDDEN = ("mlflow", "sklearn", "azure.ai.ml")
EXAMPLE = ROOT / "docs" / "examples" / "azure.settings.json"
TELEMETRY = {
    "APPLICATIONINSIGHTS_CONNECTION_STRING": "InstrumentationKey=00000000-0000-0000-0000-000000000000;"
    "IngestionEndpoint=http://127.0.0.1:9/;LiveEndpoint=http://127.0.0.1:9/",
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
}
SHOWN = {
    "imported": "imported",
    "ready": "imported and wired, ready for the first event",
    "azure": "imported and wired for Azure, ready for the first event",
    "told": "imported and wired for Azure, telemetry on",
}
REFERENCE = "minimal app: azure-functions, pydantic, azure-data-tables"
MINIMAL = """
import azure.functions as func
from azure.data.tables import TableServiceClient
from pydantic import BaseModel

app = func.FunctionApp()

class Body(BaseModel):
    name: str

@app.route("hello", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
def hello(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(Body.model_validate_json(req.get_body()).name)
"""
IMPORTED = "import function_app"
READY = f"{IMPORTED}\nfrom shared.wiring import wired\nwired()"
WORKED = f"{READY}\nimport etl.delta_log, etl.report, etl.storage, ml.predictions"
"""With everything that the lake's adapter imports at its first use."""
CHILD = """
import json, sys
from time import perf_counter
began = perf_counter()
exec(sys.argv[1])
print(json.dumps({"seconds": perf_counter() - began, "modules": sorted(sys.modules)}), flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Started:
    """One fresh process after running some code: seconds, resident memory in MB, modules."""

    seconds: float
    memory: float
    modules: frozenset[str]


def measure(connection_string: str) -> list[BenchRow]:
    """Medians of several fresh processes; the app and the minimal app take turns."""
    named = environment(connection_string, "benchstart")
    python = _deployed_python()
    on_azure = azure_environment()
    cases = {
        "minimal": (MINIMAL, named),
        "imported": (IMPORTED, named),
        "ready": (READY, named),
        "azure": (READY, on_azure),
        "told": (READY, {**on_azure, **TELEMETRY}),
    }
    for case in cases.values():
        _start(python, *case)  # compiles what was never imported: no deployed app starts without bytecode
    runs: dict[str, list[Started]] = {name: [] for name in cases}
    for _ in range(REPETITIONS):
        for name, case in cases.items():
            runs[name].append(_start(python, *case))
    rows = []
    for name, what in SHOWN.items():
        for unit, value in (("ms", lambda run: run.seconds * 1000), ("MB", lambda run: run.memory)):
            ours, minimal = (median(map(value, runs[which])) for which in (name, "minimal"))
            goal = ratio_at_most(2) if name == "imported" else None
            rows.append(measured(f"function_app {what}", ours, minimal, REFERENCE, unit, goal))
    at_work = _start(python, WORKED, named).modules
    heavy = [name for name in FORBIDDEN if name in at_work]
    forbidden = f"function_app at work: {', '.join(FORBIDDEN)} imported"
    return [*rows, measured(forbidden, len(heavy), 0, "none of them", "packages", ours_at_most(0))]


def azure_environment() -> dict[str, str]:
    """The example's settings of a Function App on Azure, with gates that the product asks."""
    settings: dict[str, str] = json.loads(EXAMPLE.read_text(encoding="utf-8"))["Values"]
    without = dict.fromkeys(("DEVOPS_HOOK_SECRET", "ALERT_WEBHOOKS", "ALERT_WEBHOOK_SECRET"), "")
    return {**settings, **without, "APPROVAL_CHANNEL": "product", "CONFIG_FOLDER": str(ROOT / "config")}


def _deployed_python() -> Path:
    """A Python with what the Function App is deployed with, and nothing else."""
    uv = Path(sys.executable).with_name("uv")
    python = DEPLOYED / "bin" / "python"
    if not python.exists():
        subprocess.run([uv, "venv", "-q", "--python", sys.executable, DEPLOYED], check=True)
    subprocess.run([uv, "pip", "sync", "-q", "--require-hashes", "--python", python, PACKAGES], check=True)
    return python


def _plain_environment() -> dict[str, str]:
    """This process's environment without what changes how Python starts, such as not to write bytecode."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def _start(python: Path, code: str, named: Mapping[str, str]) -> Started:
    process = subprocess.Popen(
        [python, "-c", CHILD, code],
        cwd=ROOT,
        env={**_plain_environment(), **named, "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(BYTECODE)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin and process.stdout
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"a fresh process could not run:\n{code}")
    memory = psutil.Process(process.pid).memory_info().rss / 1e6
    process.stdin.close()
    process.wait()
    said = json.loads(line)
    return Started(said["seconds"], memory, frozenset(said["modules"]))
