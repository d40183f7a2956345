"""Telemetry through OpenTelemetry: Azure Monitor on Azure, the console or a test's exporter elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from opentelemetry import metrics, propagate, trace
from opentelemetry.metrics import Counter, Histogram, MeterProvider
from opentelemetry.trace import TracerProvider

from shared.telemetry import Attributes

NAME = "sensor-forecast"
PARENT = "traceparent"


class OpenTelemetry:
    """Spans and measures of one tracer and one meter. Safe in threads."""

    def __init__(self, tracers: TracerProvider | None = None, meters: MeterProvider | None = None) -> None:
        """Without providers it is the process's own, as `azure_monitor` or `console` has set them."""
        self._tracer = trace.get_tracer(NAME, tracer_provider=tracers)
        self._meter = metrics.get_meter(NAME, meter_provider=meters)
        self._counter = cache(self._new_counter)
        self._histogram = cache(self._new_histogram)

    @contextmanager
    def span(self, name: str, attributes: Attributes, parent: str = "") -> Iterator[None]:
        context = propagate.extract({PARENT: parent}) if parent else None
        with self._tracer.start_as_current_span(name, context, attributes=dict(attributes)):
            yield

    def trace(self) -> str:
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        return carrier.get(PARENT, "")

    def count(self, name: str, attributes: Attributes) -> None:
        self._counter(name).add(1, dict(attributes))

    def seconds(self, name: str, value: float, attributes: Attributes) -> None:
        self._histogram(name).record(value, dict(attributes))

    def _new_counter(self, name: str) -> Counter:
        return self._meter.create_counter(name)

    def _new_histogram(self, name: str) -> Histogram:
        return self._meter.create_histogram(name, unit="s")


def azure_monitor(connection_string: str, credential: Any = None) -> OpenTelemetry:
    """Send to Application Insights; with a credential as that identity, a Monitoring Metrics Publisher there."""
    from azure.monitor.opentelemetry import configure_azure_monitor

    signing = {"credential": credential} if credential else {}
    configure_azure_monitor(connection_string=connection_string, logger_name="fleet", **signing)
    return OpenTelemetry()


def console() -> OpenTelemetry:
    """Write spans and measures to the standard output, one JSON document each."""
    from opentelemetry.sdk.metrics import MeterProvider as Meters
    from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
    from opentelemetry.sdk.trace import TracerProvider as Tracers
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    tracers = Tracers()
    tracers.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
    return OpenTelemetry(tracers, Meters([PeriodicExportingMetricReader(ConsoleMetricExporter())]))
