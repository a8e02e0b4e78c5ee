"""A caller's trace continues through the gateway."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from paymaster.gateway.observability import Observability
from paymaster.gateway.serving import GatewayConfig, in_background, listen
from paymaster.gateway.trace_context import continue_traces
from paymaster.options import configure
from paymaster.telemetry.otel import OpenTelemetry

if TYPE_CHECKING:
    from pathlib import Path

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hello"}]}).encode()


@pytest.mark.parametrize(("shown", "is_followed"), [(f"00-{TRACE}-{PARENT}-01", True), ("00-nonsense", False), (None, False)])
def test_a_calls_span_is_a_child_of_the_requests_span(tmp_path: Path, shown: str | None, is_followed: bool) -> None:
    (tmp_path / "script.yaml").write_text("models: {m: {answers: [{text: Hi}]}}\n")
    (tmp_path / "registry.yaml").write_text("models: {m: {provider: scripted, model_id: m, script: script.yaml}}\n")
    exporter, tracers = InMemorySpanExporter(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    settings = {"run": "r", "listeners": [OpenTelemetry(tracer_provider=tracers)]}
    config = GatewayConfig(read_options=lambda: configure(tmp_path / "registry.yaml", settings), wrap=continue_traces)
    server_socket = listen("127.0.0.1", 0)
    headers = {"content-type": "application/json", **({"traceparent": shown} if shown else {})}
    with in_background(config, server_socket):
        address = f"http://127.0.0.1:{server_socket.getsockname()[1]}/v1/chat/completions"
        urllib.request.urlopen(urllib.request.Request(address, BODY, headers), timeout=60).close()
    call = next(span for span in exporter.get_finished_spans() if span.name == "paymaster call")
    assert (f"{call.context.trace_id:032x}" == TRACE) is is_followed
    assert (call.parent is not None and f"{call.parent.span_id:016x}" == PARENT) is is_followed


def test_without_trace_export_the_app_is_not_wrapped() -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        pass

    assert Observability({}).wrap(app) is app
