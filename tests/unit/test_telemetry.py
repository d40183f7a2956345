"""Telemetry: one trace from a fact to its effects, measures by plant and circuit, and nothing while it is off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared.adapters.open_telemetry import OpenTelemetry
from shared.relay import Work
from shared.telemetry import COMMAND_SECONDS, COMMANDS, TRANSITIONS, about
from tests.builders import CIRCUIT, registered
from tests.world import World

ROOT = Path(__file__).resolve().parents[2]
RELEASE = f"{CIRCUIT}:1"
PLANT, NAME = CIRCUIT.split("_")


@dataclass
class Seen:
    """A simulated fleet whose spans and measures are kept."""

    world: World
    spans: InMemorySpanExporter
    measures: InMemoryMetricReader

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans.get_finished_spans() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    def points(self, name: str) -> list[tuple[Mapping[str, Any], Any]]:
        found = self.measures.get_metrics_data()
        assert found is not None
        return [
            (dict(point.attributes or {}), point)
            for resource in found.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def seen() -> Iterator[Seen]:
    spans, measures = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    yield Seen(World(telemetry=OpenTelemetry(tracers, MeterProvider([measures]))), spans, measures)
    tracers.shutdown()


def trace_of(span: ReadableSpan) -> int:
    assert span.context is not None
    trace: int = span.context.trace_id
    return trace


def test_a_trace_goes_from_the_fact_through_outbox_and_queue_to_the_effect_and_its_outcome(seen: Seen) -> None:
    seen.world.register()
    seen.world.run(minutes=5)
    chain = [
        "advance ModelRegistered",
        "work DescribeModel",
        "advance ModelDescribed",
        "work RequestApproval",
        "advance ApprovalRequested",
    ]
    spans = [seen.one(name) for name in chain]
    assert len({trace_of(span) for span in spans}) == 1
    for cause, effect in pairwise(spans):
        assert effect.parent is not None and cause.context is not None
        assert effect.parent.span_id == cause.context.span_id, f"{effect.name} was not caused by {cause.name}"


def test_the_trace_goes_on_through_a_long_operation_that_is_looked_at_later(seen: Seen) -> None:
    seen.world.register()
    seen.world.run(minutes=5)
    seen.spans.clear()
    seen.world.approve(RELEASE)
    seen.world.run(hours=1)
    (decided, *_) = seen.named("advance ApprovalDecided")
    for effect in ("work PromoteModel", "advance ModelPromoted", "work DeployToTest", "advance DeployedToTest"):
        assert trace_of(seen.one(effect)) == trace_of(decided), effect


def test_a_command_that_is_put_back_stays_in_its_trace(seen: Seen) -> None:
    seen.world.app.advance(registered())
    (message,) = seen.world.queue.messages
    work = Work.from_json(message.text)
    assert work.trace.split("-")[1] == f"{trace_of(seen.one('advance ModelRegistered')):032x}"
    assert Work.from_json(Work(work.command, attempt=3, trace=work.trace).to_json()).trace == work.trace


def test_measures_carry_plant_and_circuit(seen: Seen) -> None:
    seen.world.go_live()
    transitions = [attributes for attributes, _ in seen.points(TRANSITIONS) if attributes.get("phase") == "live"]
    assert [(each["plant"], each["circuit"]) for each in transitions] == [(PLANT, NAME)]
    outcomes = {(each["command"], each["outcome"]) for each, _ in seen.points(COMMANDS) if each.get("circuit") == NAME}
    assert ("DeployToProduction", "done") in outcomes
    took = [point for each, point in seen.points(COMMAND_SECONDS) if each["command"] == "DeployToProduction"]
    assert took and all(point.count >= 1 and point.sum > 0 for point in took)


def test_what_is_no_circuit_says_so() -> None:
    assert about("lake") == {"root": "lake"}
    assert about("P001_C002") == {"plant": "P001", "circuit": "C002"}


def test_without_telemetry_a_message_has_no_trace() -> None:
    world = World()
    world.app.advance(registered())
    assert [Work.from_json(message.text).trace for message in world.queue.messages] == [""]


SWITCHED_ON = """
import os, sys
import function_app
from shared.wiring import telemetry
told = telemetry(os.environ)
with told.span("advance Something", {"plant": "P001", "circuit": "C001"}):
    told.count("fleet.transitions", {"plant": "P001", "circuit": "C001"})
"""


def started(**settings: str) -> str:
    """What a process with these settings wrote until it ended."""
    ran = subprocess.run(
        [sys.executable, "-c", SWITCHED_ON + "print(*sorted(sys.modules))"],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_switched_off_no_library_is_imported() -> None:
    assert "opentelemetry" not in started()


def test_the_embedded_mode_writes_the_same_names_to_the_console() -> None:
    written = started(FLEET_TELEMETRY="console")
    assert '"name": "advance Something"' in written and "fleet.transitions" in written
    assert "azure.monitor" not in written


def test_the_host_sends_its_own_telemetry_the_same_way() -> None:
    assert json.loads((ROOT / "host.json").read_text())["telemetryMode"] == "OpenTelemetry"
