"""Wiring: which adapters each mode gets, and what getting them costs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "azure.settings.json"
HEAVY = ("azure.ai.ml", "mlflow", "sklearn", "pandas", "polars", "pyarrow", "deltalake", "opentelemetry", "local")
WIRE = """
import json, sys
import function_app
from shared.wiring import wire
wired = wire(json.loads(sys.stdin.read()))
ports = {name: f"{type(port).__module__}.{type(port).__name__}" for name, port in vars(wired.application.ports).items()}
print(json.dumps({"ports": ports, "modules": sorted(sys.modules)}))
"""


@pytest.fixture(scope="module")
def on_azure() -> dict[str, object]:
    """The app as it starts on Azure with the settings of the example."""
    settings = json.loads(EXAMPLE.read_text())["Values"]
    settings |= {
        "DEVOPS_HOOK_SECRET": "what Key Vault has in the place of its reference",
        "ALERT_WEBHOOKS": "",  # the policy of the repository allows no host
        "ALERT_WEBHOOK_SECRET": "what Key Vault has in the place of its reference",
        "CONFIG_FOLDER": str(ROOT / "config"),
    }
    ran = subprocess.run(
        [sys.executable, "-c", WIRE], cwd=ROOT, input=json.dumps(settings), capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, object] = json.loads(ran.stdout)
    return found


def test_on_azure_every_port_is_an_azure_adapter(on_azure: dict[str, object]) -> None:
    assert isinstance(on_azure["ports"], dict)
    others = {name: port for name, port in on_azure["ports"].items() if not port.startswith("shared.adapters.azure.")}
    assert others == {"clock": "shared.clock.SystemClock"}


@pytest.mark.parametrize("library", HEAVY)
def test_on_azure_the_app_is_wired_without(library: str, on_azure: dict[str, object]) -> None:
    assert isinstance(on_azure["modules"], list)
    assert library not in on_azure["modules"]
