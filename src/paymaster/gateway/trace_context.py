"""A caller's trace goes on in ours: the span that a request names becomes the parent of its call's; knows W3C's header and no exporter."""

from opentelemetry.context import attach, detach
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Receive, Scope, Send

_NAMES = (b"traceparent", b"tracestate")


def continue_traces(app: ASGIApp) -> ASGIApp:
    """The application, each request within the trace that its headers name."""
    propagator = TraceContextTextMapPropagator()

    async def traced(scope: Scope, receive: Receive, send: Send) -> None:
        named = {name.decode(): value.decode("latin-1") for name, value in scope.get("headers", ()) if name in _NAMES}
        if not named:
            await app(scope, receive, send)
            return
        before = attach(propagator.extract(named))  # what is no trace is an empty context
        try:
            await app(scope, receive, send)
        finally:
            detach(before)

    return traced
