"""Continues a caller's trace: the span in a request's headers becomes the parent of its call's; knows W3C's header and no exporter."""

from opentelemetry.context import attach, detach
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Receive, Scope, Send

_NAMES = (b"traceparent", b"tracestate")


def continue_traces(app: ASGIApp) -> ASGIApp:
    """The application, with each request in the trace that its headers name."""
    propagator = TraceContextTextMapPropagator()

    async def traced(scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode(): value.decode("latin-1") for name, value in scope.get("headers", ()) if name in _NAMES}
        if not headers:
            await app(scope, receive, send)
            return
        before = attach(propagator.extract(headers))  # an invalid header gives an empty context
        try:
            await app(scope, receive, send)
        finally:
            detach(before)

    return traced
