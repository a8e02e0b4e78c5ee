"""How people and their tools look into a gateway: `/metrics`, the dashboard at `/`, OpenTelemetry where the environment asks."""

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
from paymaster.gateway.dashboard_auth import viewer_of
from paymaster.gateway.service import Service
from paymaster.registry.models import Registry
from paymaster.resources import Options
from paymaster.telemetry.prometheus import PrometheusMetrics
from paymaster.telemetry.prometheus_ledger import LedgerGauges
from paymaster.views.ledger_status import ledger_status

if TYPE_CHECKING:
    from paymaster.telemetry.otel_export import Export


class Observability:
    """One per process: its listeners hear the calls from the first on, whatever registry is in force.

    Use `listening` on the options that a gateway is started and renewed with, hand `routes` and `around` to it, and `close` it at the end.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._metrics = PrometheusMetrics()
        self._export: Export | None = None

    def listening(self, options: Options) -> Options:
        """The options with these listeners among theirs. Raises ExtraMissing where OpenTelemetry is asked for and not installed."""
        self._export = self._export or _export(self._environ, options.registry)
        own = (self._metrics, *((self._export.listener,) if self._export else ()))
        return replace(options, listeners=(*options.listeners, *own))

    def routes(self, service: Service) -> Sequence[BaseRoute]:
        """Everything there is to look at."""
        return [Route("/metrics", self._exposition(service), methods=["GET"]), *DashboardPages(service).routes()]

    def around(self, app: ASGIApp) -> ASGIApp:
        """The gateway, whose calls go on with the traces of those who ask, where traces are sent."""
        if self._export is None:
            return app
        from paymaster.gateway.trace_context import continue_traces

        return continue_traces(app)

    def close(self) -> None:
        """Send what is left."""
        if self._export is not None:
            self._export.close()

    def _exposition(self, service: Service) -> Callable[[Request], Awaitable[Response]]:
        async def exposition(request: Request) -> Response:
            viewer_of(service, request.scope)
            world = service.active.world
            now_ms = world.runtime.now_ms()
            gauges: list[LedgerGauges] = []
            with suppress(LedgerUnavailable):  # what this process counted is worth most while the ledger is away
                queue = await world.books.waiting(now_ms)
                now = ledger_status(await world.books.balances("", now_ms), world.registry, queue=queue)
                gauges.append(LedgerGauges(lambda: (now, now_ms), world.registry))
            text, content_type = self._metrics.exposition(*gauges, accept=request.headers.get("accept", ""))
            return Response(text, headers={"content-type": content_type, "cache-control": "no-store"})

        return exposition


def _export(environ: Mapping[str, str], registry: Registry) -> "Export | None":
    """Nothing of OpenTelemetry is imported unless the environment names a place to send to."""
    if not any(name.startswith("OTEL_EXPORTER_OTLP_") for name in environ):
        return None
    try:
        from paymaster.telemetry.otel_export import Export, is_wanted
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("opentelemetry"):
            raise
        advice = "Install it with: pip install 'paymaster[telemetry]', or take OTEL_EXPORTER_OTLP_… out of the environment."
        raise ExtraMissing("the environment asks for OpenTelemetry, which is not installed", advice=advice) from error
    return Export(environ, registry.models) if is_wanted(environ) else None
