"""Observability of a gateway: `/metrics`, the dashboard at `/`, OpenTelemetry if the environment asks for it; knows no dialect."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from paymaster.errors import ExtraMissing, LedgerUnavailable
from paymaster.gateway.dashboard import DashboardPages
from paymaster.gateway.dashboard_auth import check_operator
from paymaster.gateway.service import Service
from paymaster.gateway.status_readings import StatusReadings
from paymaster.registry.models import Registry
from paymaster.resources import Options
from paymaster.telemetry.prometheus import PrometheusMetrics
from paymaster.telemetry.prometheus_ledger import LedgerGauges
from paymaster.views.visibility import Reader

if TYPE_CHECKING:
    from paymaster.telemetry.otel_export import Export


class Observability:
    """One per process: its listeners receive the events of all calls, also after the registry is reloaded.

    Call `add_listeners` on the options of every (re)load, pass `routes` and `wrap` to the gateway, and `close` it at the end.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._metrics = PrometheusMetrics()
        self._export: Export | None = None

    def add_listeners(self, options: Options) -> Options:
        """The options with these listeners added. Raises ExtraMissing if OpenTelemetry is requested and not installed."""
        self._export = self._export or _export(self._environ, options.registry)
        own = (self._metrics, *((self._export.listener,) if self._export else ()))
        return replace(options, listeners=(*options.listeners, *own))

    def routes(self, service: Service) -> Sequence[BaseRoute]:
        """`/metrics`, which with keys needs an operator's, and the dashboard."""
        readings = StatusReadings(lambda: service.active.world, service.active.world.runtime)
        metrics = Route("/metrics", self._exposition(service, readings), methods=["GET"])
        return [metrics, *DashboardPages(service, readings).routes()]

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """The application; if traces are exported, its calls continue the callers' traces."""
        if self._export is None:
            return app
        from paymaster.gateway.trace_context import continue_traces

        return continue_traces(app)

    def close(self) -> None:
        """Export what has not been sent yet."""
        if self._export is not None:
            self._export.close()

    def _exposition(self, service: Service, readings: StatusReadings) -> Callable[[Request], Awaitable[Response]]:
        async def exposition(request: Request) -> Response:
            check_operator(service, request.scope)
            gauges: list[LedgerGauges] = []
            with suppress(LedgerUnavailable):  # the counters of this process matter most while the ledger is unavailable
                read = await readings.status(Reader())
                gauges.append(LedgerGauges(lambda: (read.status, read.at_ms), service.active.world.registry))
            text, content_type = self._metrics.exposition(*gauges, accept=request.headers.get("accept", ""))
            return Response(text, headers={"content-type": content_type, "cache-control": "no-store"})

        return exposition


def _export(environ: Mapping[str, str], registry: Registry) -> "Export | None":
    """The exporter. OpenTelemetry is only imported if the environment names an endpoint."""
    if not any(name.startswith("OTEL_EXPORTER_OTLP_") for name in environ):
        return None
    try:
        from paymaster.telemetry.otel_export import Export, is_wanted
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("opentelemetry"):
            raise
        advice = "Install it with: pip install 'paymaster[telemetry]', or unset OTEL_EXPORTER_OTLP_…."
        raise ExtraMissing("OTEL_EXPORTER_OTLP_… is set, but OpenTelemetry is not installed", advice=advice) from error
    return Export(environ, registry.models) if is_wanted(environ) else None
