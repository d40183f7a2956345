"""Telemetry as Application Insights receives it: the real exporter, against an ingestion endpoint on this machine."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.servers import ServerThread

ROOT = Path(__file__).resolve().parents[2]
KEY = "11111111-2222-4333-8444-555555555555"
TOLD = """
import logging, os
import function_app
from opentelemetry import metrics, trace
from shared.wiring import telemetry
told = telemetry(os.environ)
with told.span("work PromoteModel", {"plant": "P001", "circuit": "C001"}, "00-" + "a" * 32 + "-" + "b" * 16 + "-01"):
    logging.getLogger("fleet.application").warning("said within the span")
told.count("fleet.transitions", {"plant": "P001", "circuit": "C001", "phase": "live"})
trace.get_tracer_provider().shutdown()
metrics.get_meter_provider().shutdown()
"""


class Ingestion:
    """Where Application Insights takes telemetry; keeps every item."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.application = Starlette(routes=[Route("/{rest:path}", self._take, methods=["GET", "POST"])])

    async def _take(self, request: Request) -> Response:
        content = await request.body()
        if request.headers.get("content-encoding") == "gzip":
            content = gzip.decompress(content)
        taken = json.loads(content) if content.startswith(b"[") else []
        self.items += taken
        return JSONResponse({"itemsReceived": len(taken), "itemsAccepted": len(taken), "errors": []})

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [item["data"]["baseData"] for item in self.items if item["data"]["baseType"] == kind]


@pytest.fixture
def ingestion(tmp_path: Path) -> Iterator[Ingestion]:
    made = Ingestion()
    with ServerThread(made.application) as server:
        settings = {
            "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={KEY};IngestionEndpoint={server.url}/",
            "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
            "TMPDIR": str(tmp_path),
        }
        ran = subprocess.run(
            [sys.executable, "-c", TOLD],
            cwd=ROOT,
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        yield made


def test_spans_measures_and_logs_arrive_with_plant_and_circuit_in_the_trace_that_caused_them(
    ingestion: Ingestion,
) -> None:
    spans = [span for span in ingestion.of("RemoteDependencyData") if span["name"] == "work PromoteModel"]
    assert [(span["properties"]["plant"], span["properties"]["circuit"]) for span in spans] == [("P001", "C001")]
    (span,) = [item for item in ingestion.items if item["data"]["baseData"].get("name") == "work PromoteModel"]
    assert span["tags"]["ai.operation.id"] == "a" * 32
    measures = [one for one in ingestion.of("MetricData") if one["metrics"][0]["name"] == "fleet.transitions"]
    assert [(one["metrics"][0]["value"], one["properties"]["phase"]) for one in measures] == [(1, "live")]
    (said,) = [item for item in ingestion.items if item["data"]["baseData"].get("message") == "said within the span"]
    assert said["tags"]["ai.operation.id"] == "a" * 32
