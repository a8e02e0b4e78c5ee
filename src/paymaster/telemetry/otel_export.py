"""Exports traces and metrics to the endpoints in OpenTelemetry's standard variables, for programs without their own setup.

Knows the SDK and its OTLP exporter, and no event. A program with its own tracer and meter providers passes them to the listener instead.
"""

from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from paymaster.registry.models import Model
from paymaster.telemetry.otel import OpenTelemetry

_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_TRACES = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
_METRICS = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"


class Export:
    """A listener that exports spans and metrics by OTLP over HTTP. Close it at the end.

    `OTEL_EXPORTER_OTLP_ENDPOINT` and its variants for traces and metrics decide what is exported. The SDK reads all other settings
    (headers, compression, sampling, intervals, resource) from the process's environment.
    """

    def __init__(self, environ: Mapping[str, str], models: Mapping[str, Model] | None = None) -> None:
        service_name = environ.get("OTEL_SERVICE_NAME")
        resource = Resource.create({} if service_name else {SERVICE_NAME: "paymaster"})
        self._tracers = TracerProvider(resource=resource)
        if environ.get(_ENDPOINT) or environ.get(_TRACES):
            self._tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        readers: list[MetricReader] = []
        if environ.get(_ENDPOINT) or environ.get(_METRICS):
            readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
        self._meters = MeterProvider(readers, resource=resource)
        self.listener = OpenTelemetry(tracer_provider=self._tracers, meter_provider=self._meters, models=models, environ=environ)

    def close(self) -> None:
        """Export all pending data, and stop."""
        self._tracers.shutdown()
        self._meters.shutdown()


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Whether the environment sets an endpoint and doesn't disable the SDK."""
    disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return not disabled and any(environ.get(name) for name in (_ENDPOINT, _TRACES, _METRICS))
